"""Imports: rows of a file in S3 into a DynamoDB table, or into files by the values of a column."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from functions.imports.columns import Column, RowRefused, checked
from functions.imports.destinations import Partitions, Table, destination
from functions.imports.parquet_rows import parquet_rows
from functions.imports.refusals import Refusals
from functions.imports.rows import Lines, Place, Row, csv_header, csv_rows, json_rows
from jobline import Context, NonRetryable, job
from jobline.objects import Place as ObjectPlace
from jobline.objects import open_object, place_of

LARGEST_PARQUET: Final = 400 * 1024 * 1024
"""Bytes: such a file is read from its end, so it is copied to the function's disk of 512 MB. Of the other formats any size is taken."""
PIECE_BYTES: Final = 4 * 1024 * 1024
"""Text of the rows that are in memory together."""
_COPIED: Final = 1024 * 1024


class DataImport(msgspec.Struct, forbid_unknown_fields=True):
    source: Annotated[str, Meta(min_length=1, max_length=1100, description="The file: a key of the data bucket, or `s3://bucket/key`.")]
    format: Annotated[
        Literal["csv", "jsonl", "parquet"], Meta(description="What it is; `csv` (RFC 4180, with a header) and `jsonl` are UTF-8.")
    ]
    columns: Annotated[list[Column], Meta(min_length=1, max_length=200, description="What a row has; other columns are left out.")]
    to: Annotated[Table | Partitions, Meta(description="Where rows go: `kind` is `table` or `partitions`.")]
    delimiter: Annotated[Literal[",", ";", "\t", "|"], Meta(description="What is between the cells of a CSV file.")] = ","
    most_rejected: Annotated[
        int, Meta(ge=0, le=10_000, description="Refused rows with which the import still goes on; one more ends it.")
    ] = 1000


class Standing(msgspec.Struct, frozen=True):
    """How far an import has come: what its checkpoints keep."""

    etag: str
    """Of the file: another one would be counted on from the middle of this."""
    at: int = 0
    line: int = 0
    piece: int = 0
    imported: int = 0
    rejected: int = 0


@job("data_import", timeout=570, max_attempts=5, retry={"backoff": "exponential", "base_delay": 2000, "max_delay": 300_000})
def data_import(payload: DataImport, ctx: Context) -> dict[str, Any]:
    """Imports rows from S3, checked against a schema, into a DynamoDB table or partitions in S3; refused rows go to a file.

    Returns `{read, imported, rejected, rejects}`: read = imported + rejected, and `rejects` is the key of the file of refused rows,
    with line, reason and text of each. It goes piece by piece, with a checkpoint after each, so that it may take longer than one run;
    a piece that is done twice is the same items and files again.
    """
    _refuse_doubles(payload.columns)
    location = place_of(payload.source, ctx)
    answer = open_object(ctx, location)
    with closing(answer["Body"]) as body:
        standing = msgspec.convert(ctx.cursor, Standing) if ctx.cursor else Standing(etag=answer["ETag"])
        if standing.etag != answer["ETag"]:
            raise NonRetryable(f"source: {location} is not what it was when this import began")
        to, refusals, size = destination(payload.to, payload.columns, ctx), Refusals(ctx), answer["ContentLength"]
        with _rows(payload, ctx, location, answer, Place(standing.at, standing.line), body) as rows:
            for piece in _pieces(rows, to.rows_at_once):
                good, bad = _sorted(piece, payload.columns, to.check)
                to.write([row.values for row in good if row.values is not None], standing.piece)
                refusals.add(bad[: payload.most_rejected + 1 - standing.rejected], after=standing.rejected)
                if standing.rejected + len(bad) > payload.most_rejected:
                    raise NonRetryable(
                        f"more than {payload.most_rejected:,} rows were refused, up to line {piece[-1].line:,}; see {refusals.key};"
                        f" line {bad[0].line:,}: {bad[0].refused}"
                    )
                after = piece[-1].after
                standing = Standing(
                    standing.etag, after.at, after.line, standing.piece + 1, standing.imported + len(good), standing.rejected + len(bad)
                )
                if payload.format != "parquet":
                    ctx.progress(min(100.0, 100 * after.at / size), f"{standing.imported:,} rows imported, {standing.rejected:,} refused")
                ctx.checkpoint(msgspec.to_builtins(standing))
    return {
        "read": standing.imported + standing.rejected,
        "imported": standing.imported,
        "rejected": standing.rejected,
        "rejects": refusals.key if standing.rejected else None,
    }


def _refuse_doubles(columns: list[Column]) -> None:
    names = [column.name for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise NonRetryable(f"columns: {twice[0]!r} comes twice")


@contextmanager
def _rows(payload: DataImport, ctx: Context, location: ObjectPlace, answer: Any, place: Place, body: Any) -> Iterator[Iterator[Row]]:
    """The file's rows after `place`."""
    names = [column.name for column in payload.columns]
    if payload.format == "parquet":
        with _copied(location, answer) as path:
            yield parquet_rows(path, names, place)
        return
    lines = Lines(body, Place())
    header: list[str] = []
    if payload.format == "csv":
        header = csv_header(lines, payload.delimiter)
        if missing := [name for name in names if name not in header]:
            raise NonRetryable(f"columns: the file has no column {missing[0]!r}; it has {', '.join(header)[:500]}")
    if place.at >= answer["ContentLength"]:
        yield iter(())  # there is no range after the end
    elif place.at:
        rest = open_object(ctx, location, Range=f"bytes={place.at}-", IfMatch=answer["ETag"])
        with closing(rest["Body"]) as stream:
            lines = Lines(stream, place)
            yield json_rows(lines) if payload.format == "jsonl" else csv_rows(lines, header, payload.delimiter)
    else:
        yield json_rows(lines) if payload.format == "jsonl" else csv_rows(lines, header, payload.delimiter)


@contextmanager
def _copied(location: ObjectPlace, answer: Any) -> Iterator[Path]:
    """The file on this machine's disk."""
    if answer["ContentLength"] > LARGEST_PARQUET:
        raise NonRetryable(
            f"source: {location} has {answer['ContentLength']:,} bytes; of a Parquet file at most {LARGEST_PARQUET:,} are read"
        )
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        for piece in answer["Body"].iter_chunks(_COPIED):
            file.write(piece)
        file.flush()
        yield Path(file.name)


def _pieces(rows: Iterable[Row], most: int) -> Iterator[list[Row]]:
    """The rows in lists of at most `most`, and of about `PIECE_BYTES`; where one ends depends on the rows alone."""
    rows = iter(rows)
    for first in rows:
        piece, size = [], 0
        for row in chain([first], rows):
            piece.append(row)
            size += len(row.text)
            if len(piece) >= most or size >= PIECE_BYTES:
                break
        yield piece


def _sorted(piece: list[Row], columns: list[Column], check: Any) -> tuple[list[Row], list[Row]]:
    """The rows that can be imported, with their values as they will be, and those that cannot, with the reason."""
    good, bad = [], []
    for row in piece:
        if row.values is None:
            bad.append(row)
            continue
        try:
            values = checked(row.values, columns)
            check(values)
        except RowRefused as error:
            bad.append(replace(row, refused=str(error)))
        else:
            good.append(replace(row, values=values))
    return good, bad
