"""Objects of S3 that a payload names, as handlers read them: a key of the data bucket, or `s3://bucket/key`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta

from jobline.context import Context
from jobline.steering import NonRetryable

Source = Annotated[str, Meta(min_length=1, max_length=1100)]

_NOT_TO_BE_NAMED: Final = ("bodies/", "uploads/", "quarantine/", "receipts/")
"""What lies in the data bucket for Jobline itself, payloads of other jobs among it. A worker may read its own jobs' payloads there, so that
its permissions do not keep a client from naming somebody else's."""
_GONE: Final = ("NoSuchKey", "NoSuchBucket", "AccessDenied", "InvalidObjectState")
"""S3 says "access denied" of a missing object to whoever may not list the bucket (GetObject, Amazon S3 API reference)."""
_CHUNK: Final = 1024 * 1024


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
        raise NonRetryable(f"{source} is Jobline's own: put what is to be read under another prefix")
    return Place(bucket, key)


def open_object(ctx: Context, place: Place, *, most: int | None = None, **conditions: Any) -> Any:
    """S3's answer for an object (`Body` is a stream).

    Raises NonRetryable when it is not there, or this worker may not read it, or it has more than `most` bytes, or one of `conditions`,
    those of GetObject, does not hold.
    """
    from botocore.exceptions import ClientError, ParamValidationError

    try:
        answer = ctx.aws("s3").get_object(Bucket=place.bucket, Key=place.key, **conditions)
    except ParamValidationError as error:
        raise NonRetryable(f"{place} cannot be the name of an object: {error}") from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _GONE:
            raise NonRetryable(f"{place} is not there, or this worker may not read it") from error
        if code in ("PreconditionFailed", "412"):
            raise NonRetryable(f"{place} is not what it was when this job began") from error
        raise
    if most is not None and answer["ContentLength"] > most:
        raise NonRetryable(f"{place} has {answer['ContentLength']:,} bytes; at most {most:,} are read")
    return answer


def read_object(ctx: Context, source: str, *, most: int) -> bytes:
    """An object's bytes; raises what `place_of` and `open_object` raise."""
    return bytes(open_object(ctx, place_of(source, ctx), most=most)["Body"].read())


def download(ctx: Context, source: str, path: Path, *, most: int) -> int:
    """Writes an object into a file, a piece at a time; how many bytes it has. Raises what `read_object` raises."""
    answer = open_object(ctx, place_of(source, ctx), most=most)
    with path.open("wb") as file:
        shutil.copyfileobj(answer["Body"], file, _CHUNK)
    return int(answer["ContentLength"])
