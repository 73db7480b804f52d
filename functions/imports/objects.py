"""Objects of S3 that a payload names: a key of the data bucket, or `s3://bucket/key`."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from jobline import Context, NonRetryable

_GONE: Final = ("NoSuchKey", "NoSuchBucket", "AccessDenied")
"""S3 says "access denied" of a missing object to whoever may not list the bucket (GetObject, Amazon S3 API reference)."""


class Location(NamedTuple):
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def location_of(source: str, ctx: Context) -> Location:
    """Where an object is; raises NonRetryable when `source` cannot be the name of one."""
    if not source.startswith("s3://"):
        return Location(ctx.bucket, source)
    bucket, _, key = source.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise NonRetryable(f"source: {source} is not s3://bucket/key")
    return Location(bucket, key)


def open_object(ctx: Context, location: Location, **options: Any) -> Any:
    """S3's answer for an object (`Body` is a stream); raises NonRetryable when it is not there, or no longer what `IfMatch` says."""
    from botocore.exceptions import ClientError, ParamValidationError

    try:
        return ctx.aws("s3").get_object(Bucket=location.bucket, Key=location.key, **options)
    except ParamValidationError as error:
        raise NonRetryable(f"{location} cannot be the name of an object: {error}") from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _GONE:
            raise NonRetryable(f"{location} is not there, or this worker may not read it") from error
        if code in ("PreconditionFailed", "412"):
            raise NonRetryable(f"{location} is not what it was when this import began") from error
        raise
