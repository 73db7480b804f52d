"""What AWS's own errors mean to us: the one translation of botocore's errors, used by every adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from jobline.errors import Unavailable

_TRANSIENT_CODES = frozenset(
    {
        "InternalServerError",
        "InternalFailure",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
        "InternalError",
        "RequestThrottled",
        "ThrottledException",
    }
)


def is_transient(error: Exception) -> bool:
    """Whether the same AWS call may succeed later: throttled, a server error, or no answer at all."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return error.response.get("Error", {}).get("Code", "") in _TRANSIENT_CODES or status >= 500
    return isinstance(error, BotoCoreError)


@contextmanager
def aws_errors(what: str) -> Iterator[None]:
    """Turns transient errors of the AWS call inside into `Unavailable`; others are bugs and pass."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        if is_transient(error):
            raise Unavailable(f"{what}: {error}") from error
        raise
