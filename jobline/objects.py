"""Objects of S3 that a payload names, as handlers read them: a key of the data bucket, or `s3://bucket/key`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta

from jobline.context import Context
from jobline.steering import NonRetryable

Source = Annotated[str, Meta(min_length=1, max_length=1100)]

_GONE: Final = ("NoSuchKey", "NoSuchBucket", "AccessDenied")
"""S3 says "access denied" of a missing object to whoever may not list the bucket (GetObject, Amazon S3 API reference)."""
_CHUNK: Final = 1024 * 1024


class Place(NamedTuple):
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def place_of(source: str, ctx: Context) -> Place:
    """Where an object is; raises NonRetryable when `source` cannot be the name of one."""
    if not source.startswith("s3://"):
        return Place(ctx.bucket, source)
    bucket, _, key = source.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise NonRetryable(f"{source} is not s3://bucket/key")
    return Place(bucket, key)


def read_object(ctx: Context, source: str, *, most: int) -> bytes:
    """An object's bytes. Raises NonRetryable when it is not there, or has more than `most` bytes, or this worker may not read it."""
    return bytes(_open(ctx, source, most)["Body"].read())


def download(ctx: Context, source: str, path: Path, *, most: int) -> int:
    """Writes an object into a file, a piece at a time; how many bytes it has. Raises what `read_object` raises."""
    answer = _open(ctx, source, most)
    with path.open("wb") as file:
        shutil.copyfileobj(answer["Body"], file, _CHUNK)
    return int(answer["ContentLength"])


def _open(ctx: Context, source: str, most: int) -> Any:
    from botocore.exceptions import ClientError, ParamValidationError

    place = place_of(source, ctx)
    try:
        answer = ctx.aws("s3").get_object(Bucket=place.bucket, Key=place.key)
    except ParamValidationError as error:
        raise NonRetryable(f"{place} cannot be the name of an object: {error}") from error
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            raise NonRetryable(f"{place} is not there, or this worker may not read it") from error
        raise
    if answer["ContentLength"] > most:
        raise NonRetryable(f"{place} has {answer['ContentLength']} bytes; at most {most} are read")
    return answer
