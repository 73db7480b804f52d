"""What went wrong with a request to the API, as the caller sees it: the problem documents' own errors, and those of the way there.

An answer that is a problem document becomes the error of our tree that wrote it. What the gateway itself refuses has no such
document; it is worded here for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from jobline import errors
from jobline.errors import FieldProblem, InvalidRequest, JoblineError, Unavailable
from jobline.problems import TYPE_PREFIX


class NotConfigured(JoblineError):
    """It is not clear which API to speak to, or as whom."""

    slug = "not-configured"


class Unreachable(JoblineError):
    """No answer came from the API."""

    slug = "unreachable"


class NotJobline(JoblineError):
    """What answered is not a Jobline API."""

    slug = "not-jobline"


class NotAllowed(JoblineError):
    """These credentials may not do this."""

    slug = "not-allowed"


class UploadRefused(JoblineError):
    """S3 did not take what was uploaded."""

    slug = "upload-refused"


class TooManyRequests(Unavailable):
    """More requests come than the API takes; the same one may succeed later."""

    slug = "too-many-requests"


class ServerError(JoblineError):
    """The API failed."""

    slug = "internal"


_BY_STATUS: Final[Mapping[int, type[JoblineError]]] = MappingProxyType(
    {
        400: InvalidRequest,
        401: NotAllowed,
        403: NotAllowed,
        404: errors.NotFound,
        405: errors.MethodNotAllowed,
        409: errors.Conflict,
        412: errors.PreconditionFailed,
        413: errors.TooLarge,
        422: errors.InvalidJob,
        429: TooManyRequests,
        502: ServerError,
        503: Unavailable,
        504: Unavailable,
    }
)


def error_of(status: int, document: Any, api_url: str) -> JoblineError:
    """The error that an answer which is no success tells; `extra` has `status` and what else its document says."""
    if isinstance(document, dict) and isinstance(document.get("detail"), str) and "type" in document:
        return _of_problem(status, document)
    message = document.get("message") or document.get("Message") if isinstance(document, dict) else None
    return _of_gateway(status, message if isinstance(message, str) else None, api_url)


def _of_problem(status: int, document: Mapping[str, Any]) -> JoblineError:
    slug = str(document["type"]).removeprefix(TYPE_PREFIX)
    # A class that only inherits its slug says less of what went wrong than the one that gave it.
    kinds = {kind.slug: kind for kind in _tree(JoblineError) if "slug" in vars(kind)}
    kind = kinds.get(slug) or _BY_STATUS.get(status, ServerError if status >= 500 else JoblineError)
    error = kind(document["detail"])
    error.extra = {name: value for name, value in document.items() if name not in ("type", "title", "detail", "errors")} | {
        "status": status
    }
    if isinstance(error, InvalidRequest):
        error.problems = tuple(
            FieldProblem(str(each.get("pointer", "")), str(each.get("detail", ""))) for each in _objects(document.get("errors"))
        )
    return error


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _of_gateway(status: int, message: str | None, api_url: str) -> JoblineError:
    """The error of an answer that none of our code gave (API Gateway's are `{"message": "…"}`)."""
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else NotJobline)
    said = f" It says: {message.rstrip('.')}." if message and message not in ("Forbidden", "Unauthorized") else ""
    if status == 401:
        sentence = f"{api_url} takes tokens and does not take this one: it is missing, expired, or of another issuer or audience.{said}"
    elif kind is NotAllowed:
        sentence = (
            f"{api_url} refuses this request: your AWS credentials are not valid there, or lack execute-api:Invoke for it;"
            f" or your token lacks the scope for it.{said}"
        )
    elif kind is TooManyRequests:
        sentence = "More requests come than the API takes at once. Try again in a moment."
    elif kind is errors.TooLarge:
        sentence = "The request is larger than API Gateway takes."
    elif status >= 500:
        sentence = f"The API failed with status {status}.{said} The function's log says more."
    else:
        kind, sentence = NotJobline, f"{api_url} answered with status {status} as no Jobline API does. Is the URL right?{said}"
    return kind(sentence, status=status)


def _tree(kind: type[JoblineError]) -> Iterator[type[JoblineError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)
