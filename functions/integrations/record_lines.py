"""A file of JSON lines in S3, read from where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from jobline import Context, NonRetryable
from jobline.objects import Place, open_object

BLOCK: Final = 1024 * 1024
"""Bytes that one request to S3 reads: no connection to it stays open while somebody else's system takes its time."""
LONGEST_LINE: Final = 256 * 1024


class Line(NamedTuple):
    text: bytes | None
    """Without its end; `None` when it is longer than `LONGEST_LINE`."""
    end: int
    """Where the next one begins, in bytes from the start of the file."""


class LinesOfAnObject:
    """The lines of one object. Raises NonRetryable when it is not there, or is no longer the one that was begun with."""

    def __init__(self, ctx: Context, place: Place, *, etag: str | None = None, size: int = 0) -> None:
        """`etag` and `size` are those that an earlier run found; without them they are asked for."""
        self._ctx = ctx
        self._place = place
        if etag is None:
            etag, size = self._described()
        self.etag = etag
        self.size = size

    def read(self, start: int) -> Iterator[Line]:
        """The lines from byte `start` on."""
        rest, too_long, end = b"", False, start
        for block in self._blocks(start):
            *lines, rest = (rest + block).split(b"\n")
            for text in lines:
                end += len(text) + 1
                yield Line(None if too_long or len(text) > LONGEST_LINE else text, end)
                too_long = False
            if len(rest) > LONGEST_LINE:
                end, rest, too_long = end + len(rest), b"", True
        if rest or too_long:
            yield Line(None if too_long else rest, self.size)

    def _blocks(self, start: int) -> Iterator[bytes]:
        for offset in range(start, self.size, BLOCK):
            yield self._get(offset)

    def _described(self) -> tuple[str, int]:
        answer = open_object(self._ctx, self._place)
        answer["Body"].close()
        return answer["ETag"], answer["ContentLength"]

    def _get(self, offset: int) -> bytes:
        from botocore.exceptions import ClientError

        try:
            answer = self._ctx.aws("s3").get_object(
                Bucket=self._place.bucket, Key=self._place.key, Range=f"bytes={offset}-{offset + BLOCK - 1}", IfMatch=self.etag
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "NoSuchKey", "AccessDenied", "InvalidRange"):
                raise NonRetryable(f"source: {self._place} was changed or removed while it was being read") from error
            raise
        return answer["Body"].read()
