"""Objects of S3 that a payload names: a key of the data bucket, or `s3://bucket/key`."""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta

from jobline import Context, NonRetryable

Source = Annotated[str, Meta(min_length=1, max_length=1100)]

_NOT_TO_BE_NAMED: Final = ("bodies/", "uploads/", "quarantine/", "receipts/")
"""What lies in the data bucket for Jobline itself, payloads of other jobs among it. A worker may read its own jobs' payloads there, so that
its permissions do not keep a client from naming somebody else's."""
_GONE: Final = ("NoSuchKey", "NoSuchBucket", "AccessDenied")
"""S3 says "access denied" of a missing object to whoever may not list the bucket (GetObject, Amazon S3 API reference)."""


class Place(NamedTuple):
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def place_of(source: str, ctx: Context) -> Place:
    """Where an object is; raises NonRetryable when `source` cannot be the name of one, or is not for clients to name."""
    bucket, key = ctx.bucket, source
    if source.startswith("s3://"):
        bucket, _, key = source.removeprefix("s3://").partition("/")
        if not bucket or not key:
            raise NonRetryable(f"{source} is not s3://bucket/key")
    if bucket == ctx.bucket and key.startswith(_NOT_TO_BE_NAMED):
        raise NonRetryable(f"{source} is Jobline's own: put what is to be sent under another prefix")
    return Place(bucket, key)


def open_object(ctx: Context, place: Place, **conditions: Any) -> Any:
    """S3's answer for an object (`Body` is a stream); raises NonRetryable when it is not there, or this worker may not read it.

    `conditions` are those of GetObject; one that does not hold is NonRetryable, too.
    """
    from botocore.exceptions import ClientError, ParamValidationError

    try:
        return ctx.aws("s3").get_object(Bucket=place.bucket, Key=place.key, **conditions)
    except ParamValidationError as error:
        raise NonRetryable(f"{place} cannot be the name of an object: {error}") from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _GONE:
            raise NonRetryable(f"{place} is not there, or this worker may not read it") from error
        if code in ("PreconditionFailed", "412"):
            raise NonRetryable(f"{place} is not what it was when this job began") from error
        raise


def read_object(ctx: Context, place: Place, *, most: int) -> tuple[bytes, str]:
    """An object's bytes and its content type; raises NonRetryable, also when it has more than `most` bytes."""
    answer = open_object(ctx, place)
    if answer["ContentLength"] > most:
        raise NonRetryable(f"{place} has {answer['ContentLength']:,} bytes; at most {most:,} are read")
    return answer["Body"].read(), answer.get("ContentType", "")
