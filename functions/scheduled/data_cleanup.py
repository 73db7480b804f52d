"""Cleaning up: old objects under a prefix, old items of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from jobline import Context, NonRetryable, job

LOOKED_AT_ONCE: Final = 500
"""Objects or items between two checkpoints."""
_TIMESTAMP: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?)?", re.ASCII)


class Objects(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="objects"):
    """Objects of the data bucket, by when they were last written."""

    prefix: Annotated[
        str, Meta(min_length=2, max_length=500, description="What their keys begin with; within a prefix that CLEANUP_PREFIXES allows.")
    ]


class Items(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="items"):
    """Items of a table, by a time that they have in an attribute; an item without one is kept."""

    table: Annotated[str, Meta(min_length=3, max_length=255, description="A table that CLEANUP_TABLES allows.")]
    attribute: Annotated[str, Meta(min_length=1, max_length=255, description="The attribute that has the time.")]
    format: Annotated[
        Literal["iso", "seconds", "milliseconds"],
        Meta(description="How the time is written: `iso` is ISO 8601 text (UTC where it has no zone), the others are numbers since 1970."),
    ] = "iso"


class DataCleanup(msgspec.Struct, forbid_unknown_fields=True):
    what: Annotated[Objects | Items, Meta(description="What is deleted: `kind` is `objects` or `items`.")]
    older_than: Annotated[int, Meta(ge=1, le=36_500, description="Days.")]
    dry_run: Annotated[bool, Meta(description="Whether nothing is deleted, only counted; only an explicit false deletes.")] = True
    limit: Annotated[int, Meta(ge=1, le=1_000_000, description="Deletions at most; the next job goes on.")] = 10_000


class Standing(msgspec.Struct):
    """How far a cleanup has come: what its checkpoints keep."""

    before: str
    """What is older than this goes; decided once, so that every run of a job means the same."""
    after: Any = None
    seen: int = 0
    matched: int = 0
    deleted: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """Something that may have to go."""

    key: Any
    old: bool
    bytes: int = 0
    time: Any = None
    """An item's time as the table has it: it is deleted only while it still has that."""


@job("data_cleanup", timeout=570, max_attempts=5, retry={"backoff": "exponential", "base_delay": 2000, "max_delay": 300_000})
def data_cleanup(payload: DataCleanup, ctx: Context) -> dict[str, Any]:
    """Deletes what is older than some days: objects of S3 under a prefix, or items of a DynamoDB table.

    Returns `{seen, matched, deleted, bytes, dry_run, more}`; `more`: the limit was reached before the end. An object or item that is
    gone already is no error. What a run deleted that died before its checkpoint is not in the counts.
    """
    what = _Objects(payload.what, ctx) if isinstance(payload.what, Objects) else _Items(payload.what, ctx)
    cutoff = (ctx.clock() - timedelta(days=payload.older_than)).isoformat()
    standing = msgspec.convert(ctx.cursor, Standing) if ctx.cursor else Standing(before=cutoff)
    more = False
    for page, after in what.pages(standing.after, datetime.fromisoformat(standing.before)):
        matched = [found for found in page if found.old]
        room = payload.limit - standing.matched
        taken, more = matched[:room], len(matched) > room
        if not payload.dry_run:
            standing.deleted += what.delete(taken)
        standing.seen += len(page)
        standing.matched += len(taken)
        standing.bytes += sum(found.bytes for found in taken)
        standing.after = after
        if more:
            break
        if after is not None:
            ctx.checkpoint(msgspec.to_builtins(standing))
    counts = {"seen": standing.seen, "matched": standing.matched, "deleted": standing.deleted, "bytes": standing.bytes}
    return {**counts, "dry_run": payload.dry_run, "more": more}


def _allowed(ctx: Context, setting: str) -> list[str]:
    return [name.strip() for name in ctx.setting(setting, "").split(",") if name.strip()]


class _Objects:
    def __init__(self, what: Objects, ctx: Context) -> None:
        allowed = _allowed(ctx, "CLEANUP_PREFIXES")
        if not any(what.prefix.startswith(prefix) for prefix in allowed):
            raise NonRetryable(
                f"what.prefix: {what.prefix!r} is under no prefix that CLEANUP_PREFIXES allows ({', '.join(allowed) or 'none'})"
            )
        self._prefix, self._s3, self._bucket = what.prefix, ctx.aws("s3"), ctx.bucket

    def pages(self, after: Any, before: datetime) -> Iterator[tuple[list[Found], Any]]:
        """What there is, a page at a time, and after which key the next page begins; `None` at the end."""
        start: str = after or ""
        while True:
            answer = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, StartAfter=start, MaxKeys=LOOKED_AT_ONCE)
            page = [Found(one["Key"], one["LastModified"] < before, one["Size"]) for one in answer.get("Contents", [])]
            start = page[-1].key if page else start
            truncated = answer["IsTruncated"] and bool(page)
            yield page, start if truncated else None
            if not truncated:
                return

    def delete(self, found: list[Found]) -> int:
        if not found:
            return 0
        answer = self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": [{"Key": one.key} for one in found], "Quiet": True})
        if errors := answer.get("Errors"):
            raise CleanupFailed(f"{errors[0].get('Key')}: {errors[0].get('Code')}, and {len(errors) - 1} more")
        return len(found)


class CleanupFailed(Exception):
    """S3 did not delete what it was asked to."""


class _Items:
    def __init__(self, what: Items, ctx: Context) -> None:
        allowed = _allowed(ctx, "CLEANUP_TABLES")
        if what.table not in allowed:
            raise NonRetryable(
                f"what.table: {what.table!r} is not among the tables that CLEANUP_TABLES allows ({', '.join(allowed) or 'none'})"
            )
        self._what, self._dynamodb = what, ctx.aws("dynamodb")
        schema = self._dynamodb.describe_table(TableName=what.table)["Table"]["KeySchema"]
        self._keys = [key["AttributeName"] for key in schema]

    def pages(self, after: Any, before: datetime) -> Iterator[tuple[list[Found], Any]]:
        """What the table has, a page at a time, and the key with which the next page begins; `None` at the end."""
        names = {"#t": self._what.attribute, **{f"#k{number}": name for number, name in enumerate(self._keys)}}
        start = after
        while True:
            options = {"ExclusiveStartKey": start} if start else {}
            answer = self._dynamodb.scan(
                TableName=self._what.table,
                Limit=LOOKED_AT_ONCE,
                ProjectionExpression=", ".join(names),
                ExpressionAttributeNames=names,
                **options,
            )
            page = [self._found(item, before) for item in answer["Items"]]
            start = answer.get("LastEvaluatedKey")
            yield page, start
            if not start:
                return

    def _found(self, item: dict[str, Any], before: datetime) -> Found:
        value = item.get(self._what.attribute)
        at = None if value is None else _time(value, self._what.format)
        return Found({name: item[name] for name in self._keys}, at is not None and at < before, time=value)

    def delete(self, found: list[Found]) -> int:
        """How many were deleted: not those that are gone, or have another time by now."""
        deleted = 0
        for one in found:
            try:
                self._dynamodb.delete_item(
                    TableName=self._what.table,
                    Key=one.key,
                    ConditionExpression="#t = :seen",
                    ExpressionAttributeNames={"#t": self._what.attribute},
                    ExpressionAttributeValues={":seen": one.time},
                )
                deleted += 1
            except self._dynamodb.exceptions.ConditionalCheckFailedException:
                continue
        return deleted


def _time(value: dict[str, Any], format: str) -> datetime | None:
    """The time that an attribute has; `None` when it has none that can be read: what nobody understands is kept."""
    try:
        if format == "iso":
            if not _TIMESTAMP.fullmatch(value["S"]):
                return None
            at = datetime.fromisoformat(value["S"])
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at
        seconds = Decimal(value["N"]) / (1000 if format == "milliseconds" else 1)
        return datetime.fromtimestamp(float(seconds), UTC) if seconds > 0 else None
    except (KeyError, ValueError, OverflowError, OSError, ArithmeticError):
        return None
