"""Every error that Jobline raises, in one tree; a class's docstring is its title for people.

Adapters turn botocore's errors into these; `problems` turns these into HTTP, in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self


class JoblineError(Exception):
    """Something went wrong in Jobline."""

    slug: ClassVar[str] = "error"
    """Last part of the problem type's URI, and the CLI's name for it."""

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or (self.__doc__ or "").split("\n")[0])
        self.extra = extra
        """Facts for the problem document (for example `candidates`, `status`)."""

    @property
    def detail(self) -> str:
        return str(self.args[0])


class FieldProblem(dict[str, str]):
    """One thing wrong with one place of a request: `pointer` (RFC 6901) and `detail`."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(pointer=pointer, detail=detail)


class InvalidRequest(JoblineError):
    """The request cannot be understood."""

    slug = "invalid-request"

    def __init__(self, detail: str = "", *, problems: tuple[FieldProblem, ...] = (), **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.problems = problems

    @classmethod
    def of(cls, problems: Sequence[FieldProblem]) -> Self:
        """The error whose detail is the first of these problems, and how many more there are."""
        first = f"{problems[0]['pointer'].removeprefix('/')} {problems[0]['detail']}"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return cls(f"{first}{more}", problems=tuple(problems))


class InvalidJson(InvalidRequest):
    """The body is not the strict JSON that Jobline takes."""

    slug = "invalid-json"


class InvalidJob(InvalidRequest):
    """The request is understood, but this job cannot be accepted."""

    slug = "invalid-job"


class InvalidSchedule(InvalidRequest):
    """The request is understood, but this schedule cannot be accepted."""

    slug = "invalid-schedule"


class UnknownQueue(InvalidJob):
    """There is no such queue."""

    slug = "unknown-queue"


class UnknownType(InvalidJob):
    """No worker of this queue registers that type."""

    slug = "unknown-type"


class UnknownUpload(InvalidJob):
    """There is no such upload, or none any more."""

    slug = "unknown-upload"


class IdempotencyKeyReused(InvalidJob):
    """The idempotency key was used before with another request."""

    slug = "idempotency-key-reused"


class TooDeep(InvalidJob):
    """Jobs that enqueue jobs have gone too deep."""

    slug = "too-deep"


class NotFound(JoblineError):
    """There is no such thing here."""

    slug = "not-found"


class JobNotFound(NotFound):
    """There is no such job."""

    slug = "job-not-found"


class BatchNotFound(NotFound):
    """There is no such batch."""

    slug = "batch-not-found"


class TopicNotFound(NotFound):
    """No topic has this name."""

    slug = "topic-not-found"


class SubscriptionNotFound(NotFound):
    """The topic has no subscription of this name."""

    slug = "subscription-not-found"


class ScheduleNotFound(NotFound):
    """There is no such schedule."""

    slug = "schedule-not-found"


class MethodNotAllowed(JoblineError):
    """The route exists, but not with this method."""

    slug = "method-not-allowed"


class Conflict(JoblineError):
    """The job's state does not allow this."""

    slug = "conflict"


class AmbiguousId(Conflict):
    """Several jobs begin with this prefix."""

    slug = "ambiguous-id"


class UniqueConflict(Conflict):
    """Another job holds this unique key."""

    slug = "unique-conflict"


class SubscriptionConflict(Conflict):
    """What subscriptions there are does not allow this."""

    slug = "subscription-conflict"


class ScheduleConflict(Conflict):
    """What schedules there are does not allow this."""

    slug = "schedule-conflict"


class PreconditionFailed(JoblineError):
    """The job has changed since it was read."""

    slug = "precondition-failed"


class ScheduleChanged(PreconditionFailed):
    """The schedule is not as the request expects it."""

    slug = "schedule-changed"


class SubscriptionChanged(PreconditionFailed):
    """The subscription is not as the request expects it."""

    slug = "subscription-changed"


class TooLarge(JoblineError):
    """The request is larger than Jobline takes."""

    slug = "too-large"


class Unavailable(JoblineError):
    """AWS did not take the call this time; the same request may succeed later."""

    slug = "unavailable"


class InvalidDefinitions(JoblineError):
    """A definition file (`queues.toml`, `worker.toml`) is wrong."""

    slug = "invalid-definitions"


class InvalidSettings(JoblineError):
    """A function's environment lacks a setting or holds one that cannot be read."""

    slug = "invalid-settings"


class InvalidMessage(JoblineError):
    """An SQS message is not one that Jobline sends."""

    slug = "invalid-message"


class CorruptRecord(JoblineError):
    """A record of the table cannot be read as a job."""

    slug = "corrupt-record"
