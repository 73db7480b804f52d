"""The file of refused rows: JSON lines that say where a row is, what is wrong with it, and what it was."""

from __future__ import annotations

from typing import Final

import msgspec

from functions.imports.rows import Row
from jobline import Context

LONGEST_REASON: Final = 300
LONGEST_ROW: Final = 2000
"""Characters of a row's text that are kept."""


class Refusals:
    """Adds to the file of one job. How many lines of it count is the caller's to remember: what a dead run added is written over."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.key = f"results/{ctx.idempotency_key}/rejected.jsonl"

    def add(self, rows: list[Row], after: int) -> None:
        """Puts the rows behind the file's first `after` lines."""
        if not rows:
            return
        kept = self._lines()[:after] if after else []
        lines = [
            msgspec.json.encode({"line": row.line, "reason": row.refused[:LONGEST_REASON], "row": row.text[:LONGEST_ROW]}) for row in rows
        ]
        body = b"\n".join([*kept, *lines]) + b"\n"
        self._ctx.aws("s3").put_object(Bucket=self._ctx.bucket, Key=self.key, Body=body, ContentType="application/jsonl")

    def _lines(self) -> list[bytes]:
        return self._ctx.aws("s3").get_object(Bucket=self._ctx.bucket, Key=self.key)["Body"].read().splitlines()
