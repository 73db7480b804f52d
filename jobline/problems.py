"""What an error looks like over HTTP: one mapping from our errors to problem documents (RFC 9457), used by every route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from jobline import errors

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:jobline:problem:"
"""Before an error's slug it makes the problem's `type`: a name to compare, not a page to fetch."""
INTERNAL: Final = "Something went wrong inside Jobline."
"""The title of what is ours."""
RETRY_AFTER_SECONDS: Final = 1

_STATUS: Final[Mapping[type[errors.JoblineError], int]] = MappingProxyType(
    {
        errors.InvalidRequest: 400,
        errors.InvalidJson: 400,
        errors.InvalidSchedule: 400,
        errors.NotFound: 404,
        errors.JobNotFound: 404,
        errors.ScheduleNotFound: 404,
        errors.TopicNotFound: 404,
        errors.SubscriptionNotFound: 404,
        errors.BatchNotFound: 404,
        errors.MethodNotAllowed: 405,
        errors.Conflict: 409,
        errors.AmbiguousId: 409,
        errors.UniqueConflict: 409,
        errors.ScheduleConflict: 409,
        errors.SubscriptionConflict: 409,
        errors.PreconditionFailed: 412,
        errors.ScheduleChanged: 412,
        errors.SubscriptionChanged: 412,
        errors.TooLarge: 413,
        errors.InvalidJob: 422,
        errors.UnknownQueue: 422,
        errors.UnknownType: 422,
        errors.UnknownUpload: 422,
        errors.IdempotencyKeyReused: 422,
        errors.TooDeep: 422,
        # Ours, not the client's: what exactly is wrong is in the log.
        errors.JoblineError: 500,
        errors.InvalidDefinitions: 500,
        errors.InvalidSettings: 500,
        errors.InvalidMessage: 500,
        errors.CorruptRecord: 500,
        errors.Unavailable: 503,
    }
)


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer that says what went wrong: its status, its document, and headers that belong to it."""

    status: int
    document: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        """Whether it is our fault, so that somebody should look into the log."""
        return self.status >= 500 and self.status != 503


def is_mapped(error: type[errors.JoblineError]) -> bool:
    """Whether this very class has a status of its own."""
    return error in _STATUS


def status_of(error: type[errors.JoblineError]) -> int:
    """The status that answers errors of this class."""
    return next(_STATUS[kind] for kind in error.__mro__ if kind in _STATUS)


def problem(error: BaseException, request_id: str) -> Problem:
    """The problem that answers `error`; one of ours that is the client's tells its detail, anything else tells nothing of the inside."""
    if not isinstance(error, errors.JoblineError):
        return _internal(request_id)
    status = status_of(type(error))
    if status == 500:
        return _internal(request_id)
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + error.slug,
        "title": (error.__doc__ or "").partition("\n")[0],
        "status": status,
        "detail": error.detail,
        "request_id": request_id,
    }
    if isinstance(error, errors.InvalidRequest) and error.problems:
        document["errors"] = [dict(each) for each in error.problems]
    headers = {}
    if isinstance(error, errors.Unavailable):
        document["detail"] = "AWS did not take the call this time. Repeat the request; with an idempotency key that is always safe."
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if isinstance(error, errors.MethodNotAllowed):
        headers["Allow"] = ", ".join(error.extra.get("allow", ()))
    return Problem(status, error.extra | document, headers)


def _internal(request_id: str) -> Problem:
    return Problem(
        500,
        {
            "type": f"{TYPE_PREFIX}internal",
            "title": INTERNAL,
            "status": 500,
            "detail": f"It was logged under the request id {request_id}.",
            "request_id": request_id,
        },
    )
