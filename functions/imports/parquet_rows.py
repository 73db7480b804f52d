"""Rows of a Parquet file, one by one and from any of them on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from functions.imports.rows import Place, Row
from jobline import NonRetryable

MAGIC: Final = b"PAR1"
"""How such a file begins and ends (https://parquet.apache.org/docs/file-format/)."""


def parquet_rows(path: Path, names: list[str], place: Place) -> Iterator[Row]:
    """The rows of a file after `place`, with what they have in the columns `names`; the first row is 1.

    A batch of rows at a time is unpacked. Raises NonRetryable for what is no Parquet file, or does not have one of the columns.
    """
    at = 0
    for batch in _batches(path, names):
        if at + batch.num_rows <= place.at:
            at += batch.num_rows
            continue
        columns = [batch.column(name) for name in names]
        for index in range(max(0, place.at - at), batch.num_rows):
            values = {name: column[index].as_py() for name, column in zip(names, columns, strict=True)}
            number = at + index + 1
            text = json.dumps(values, default=str, ensure_ascii=False)
            yield Row(number, Place(number, number), values, text)
        at += batch.num_rows


def _batches(path: Path, names: list[str]) -> Iterator[Any]:
    """The file's batches of rows. What is wrong with a file is wrong with it at every attempt: NonRetryable."""
    # Imported here: the library has 20 MB, and the other formats do without it.
    from arro3.io import read_parquet

    with path.open("rb") as file:
        begin, size = file.read(4), file.seek(0, 2)
        file.seek(max(0, size - 4))
        if begin != MAGIC or file.read(4) != MAGIC or size < 12:
            raise NonRetryable("source: it is no Parquet file")
    try:
        reader = read_parquet(path)
        missing = [name for name in names if name not in reader.schema.names]
        if missing:
            raise NonRetryable(f"columns: the file has no column {missing[0]!r}; it has {', '.join(reader.schema.names)[:500]}")
        yield from reader
    except (NonRetryable, MemoryError):
        raise
    except BaseException as error:
        # A broken file makes the library panic, which Python sees as a BaseException of a class that cannot be imported.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise NonRetryable(f"source: it cannot be read as a Parquet file: {error}") from error
        raise
