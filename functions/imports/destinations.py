"""Where rows go: a DynamoDB table, or files in S3 under a folder for each value of a column. The same rows twice are the same rows once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Protocol
from urllib.parse import quote

import msgspec
from msgspec import Meta

from functions.imports.columns import Column, RowRefused, Value
from jobline import Context, NonRetryable, RetryAfter

WRITTEN_AT_ONCE: Final = 25
"""Items of one BatchWriteItem."""
LARGEST_ITEM: Final = 400 * 1024
"""Bytes, names of attributes included (DynamoDB quotas)."""
LONGEST_KEYS: Final = {"HASH": 2048, "RANGE": 1024}
"""Bytes of a key attribute."""
MOST_ASKED: Final = 8
"""How often what DynamoDB did not write is asked for again before the job makes a pause."""
MOST_PARTITIONS: Final = 500
"""Of one import's piece: more means that the wrong column was named."""
NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
"""What Hive, Athena and Spark call the folder of rows that have no value there."""
LONGEST_FOLDER: Final = 200
_DYNAMO_TYPES: Final = {"string": "S", "date": "S", "timestamp": "S", "integer": "N", "number": "N"}


class Table(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="table"):
    """Rows become items; one with a key that is there already replaces it, and of two rows with the same key the later one stays."""

    table: Annotated[
        str, Meta(min_length=3, max_length=255, description="Name of a DynamoDB table that the worker's setting IMPORT_TABLES allows.")
    ]


class Partitions(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="partitions"):
    """Rows become files of JSON lines, as Athena and Spark read them: `imported/NAME/COLUMN=VALUE/…`."""

    name: Annotated[
        str,
        Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}(?![\s\S])", description="Folder under `imported/` of the data bucket, such as `orders`."),
    ]
    by: Annotated[str, Meta(min_length=1, max_length=255, description="The column whose values are the folders.")]


class Destination(Protocol):
    """What takes rows."""

    rows_at_once: int

    def check(self, row: Mapping[str, Value]) -> None:
        """Raises RowRefused for a row that cannot go there."""
        ...

    def write(self, rows: list[dict[str, Value]], piece: int) -> None:
        """Puts them there; once it is over they are. Given the same rows of the same piece again it changes nothing."""
        ...


def destination(to: Table | Partitions, columns: list[Column], ctx: Context, sleep: Callable[[float], None] = time.sleep) -> Destination:
    """What takes the rows of an import; raises NonRetryable when these columns cannot go there."""
    return TableDestination(to, columns, ctx, sleep) if isinstance(to, Table) else PartitionsDestination(to, columns, ctx)


class TableDestination:
    """Writes rows as items of a table."""

    rows_at_once = 1000

    def __init__(self, to: Table, columns: list[Column], ctx: Context, sleep: Callable[[float], None]) -> None:
        allowed = {name.strip() for name in ctx.setting("IMPORT_TABLES", "").split(",")} - {""}
        if to.table not in allowed:
            raise NonRetryable(
                f"to.table: {to.table!r} is not among the tables that IMPORT_TABLES allows ({', '.join(sorted(allowed)) or 'none'})"
            )
        self._table, self._ctx, self._sleep = to.table, ctx, sleep
        self._types = {column.name: column.type for column in columns}
        self._keys = self._described()

    def _described(self) -> dict[str, int]:
        """The table's key attributes, and how many bytes each may have."""
        from botocore.exceptions import ClientError

        try:
            table = self._ctx.aws("dynamodb").describe_table(TableName=self._table)["Table"]
        except ClientError as error:
            if error.response["Error"]["Code"] in ("ResourceNotFoundException", "AccessDeniedException"):
                raise NonRetryable(f"to.table: {self._table} is not there, or this worker may not write to it") from error
            raise
        kinds = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
        for key in table["KeySchema"]:
            name = key["AttributeName"]
            if _DYNAMO_TYPES.get(self._types.get(name, "")) != kinds[name]:
                raise NonRetryable(f"columns: {self._table} has the key {name!r} of type {kinds[name]}, and no column is that")
        return {key["AttributeName"]: LONGEST_KEYS[key["KeyType"]] for key in table["KeySchema"]}

    def check(self, row: Mapping[str, Value]) -> None:
        for name, most in self._keys.items():
            if name not in row or row[name] == "":
                raise RowRefused(f"{name}: this is a key of {self._table}, and is required")
            if len(str(row[name]).encode()) > most:
                raise RowRefused(f"{name}: as a key of {self._table} it has at most {most:,} bytes")
        if (size := sum(len(name.encode()) + len(str(value).encode()) + 3 for name, value in row.items())) > LARGEST_ITEM:
            raise RowRefused(f"the row has about {size:,} bytes; an item has at most {LARGEST_ITEM:,}")

    def write(self, rows: list[dict[str, Value]], piece: int) -> None:
        # DynamoDB refuses a batch in which a key comes twice.
        last = {tuple(_key_value(row[name]) for name in self._keys): row for row in rows}
        items = [{"PutRequest": {"Item": {name: _attribute(value) for name, value in row.items()}}} for row in last.values()]
        for batch in _batches(items):
            self._write_batch(batch)

    def _write_batch(self, waiting: list[Any]) -> None:
        for asked in range(MOST_ASKED):
            answer = self._ctx.aws("dynamodb").batch_write_item(RequestItems={self._table: waiting})
            waiting = answer.get("UnprocessedItems", {}).get(self._table, [])
            if not waiting:
                return
            self._sleep(min(5.0, 0.05 * 2**asked) * (0.5 + random.random() / 2))  # noqa: S311  spreads, hides nothing
        raise RetryAfter(10, f"{self._table} takes no more at the moment: {len(waiting)} items are left of {WRITTEN_AT_ONCE}")


def _batches(items: list[Any]) -> Iterable[list[Any]]:
    """At most 25 items; they may be 10 MB, and a request 16, so size needs no counting."""
    return (items[start : start + WRITTEN_AT_ONCE] for start in range(0, len(items), WRITTEN_AT_ONCE))


def _key_value(value: Value) -> Value:
    """Numbers are one key however they are written: 1 and 1.0."""
    return Decimal(value) if isinstance(value, int) else value


def _attribute(value: Value) -> dict[str, Any]:
    """The value as DynamoDB's low-level API has it."""
    if isinstance(value, bool):
        return {"BOOL": value}
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


class PartitionsDestination:
    """Writes rows as JSON lines, a file for each value and piece; its name is made of job and piece, and so the same the next time."""

    rows_at_once = 20_000

    def __init__(self, to: Partitions, columns: list[Column], ctx: Context) -> None:
        if to.by not in {column.name for column in columns}:
            raise NonRetryable(f"to.by: {to.by!r} is none of the columns")
        self._to, self._ctx = to, ctx

    def check(self, row: Mapping[str, Value]) -> None:
        if len(_folder(row.get(self._to.by))) > LONGEST_FOLDER:
            raise RowRefused(f"{self._to.by}: too long to be the name of a folder")

    def write(self, rows: list[dict[str, Value]], piece: int) -> None:
        folders: dict[str, list[bytes]] = {}
        for row in rows:
            folders.setdefault(_folder(row.get(self._to.by)), []).append(_json(row))
        if len(folders) > MOST_PARTITIONS:
            raise NonRetryable(f"to.by: {self._to.by} has more than {MOST_PARTITIONS} values in {len(rows):,} rows: too many folders")
        for folder, lines in folders.items():
            key = f"imported/{self._to.name}/{quote(self._to.by, safe='')}={folder}/{self._ctx.idempotency_key}-{piece:06}.jsonl"
            body = b"\n".join(lines) + b"\n"
            self._ctx.aws("s3").put_object(Bucket=self._ctx.bucket, Key=key, Body=body, ContentType="application/jsonl")


def _folder(value: Value | None) -> str:
    if value is None:
        return NO_VALUE
    return quote(str(value).lower() if isinstance(value, bool) else str(value), safe="")


def _json(row: Mapping[str, Value]) -> bytes:
    """One line of JSON; a number keeps its digits."""
    return msgspec.json.encode(
        {name: msgspec.Raw(str(value).encode()) if isinstance(value, Decimal) else value for name, value in row.items()}
    )
