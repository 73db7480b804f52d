"""Rows of a file in S3, one by one and from any place on, in bounded memory: CSV and JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

from functions.imports.columns import RowRefused
from jobline import NonRetryable

LONGEST_LINE: Final = 1024 * 1024
"""Bytes; also of a CSV record in quotes that goes over several lines."""
_PIECE: Final = 256 * 1024
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Place:
    """Between two rows of a file."""

    at: int = 0
    """Bytes before it; in Parquet, rows."""
    line: int = 0
    """Lines before it; in Parquet, rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, or what is in the place of one."""

    line: int
    """Where it begins; the file's first line is 1."""
    after: Place
    values: dict[str, Any] | None
    """`None`: it cannot be read, and `refused` says why."""
    text: str
    """What is in the file, for whoever mends it."""
    refused: str = ""


class Lines:
    """The lines of a stream of bytes, and how far they have been read."""

    def __init__(self, body: Any, place: Place) -> None:
        self._body = body
        self._buffer = b""
        self._end = False
        self.place = place

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """A line with its end; raises RowRefused for one that is too long, after it was passed over."""
        length, first = 0, b""
        while True:
            found = self._buffer.find(b"\n")
            if found >= 0 or self._end:
                cut = found + 1 if found >= 0 else len(self._buffer)
                line, self._buffer = self._buffer[:cut], self._buffer[cut:]
                length += len(line)
                break
            if len(self._buffer) > LONGEST_LINE:  # the rest of it is read and forgotten
                first = first or self._buffer[:200]
                length += len(self._buffer)
                self._buffer = b""
            self._fill()
        if not length:
            raise StopIteration
        self.place = Place(self.place.at + length, self.place.line + 1)
        if length > LONGEST_LINE:
            raise RowRefused(f"the line has {length:,} bytes; at most {LONGEST_LINE:,} are read")
        return line

    def _fill(self) -> None:
        more = self._body.read(_PIECE)
        self._buffer += more
        self._end = not more


def json_rows(lines: Lines) -> Iterator[Row]:
    """The objects of a file of JSON lines; empty lines are none."""
    decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
    while True:
        line = lines.place.line + 1
        text = b""
        try:
            text = next(lines)
            if line == 1:
                text = text.removeprefix(_BOM)
            if not text.strip():
                continue
            yield Row(line, lines.place, decoder.decode(text), text.decode().rstrip("\r\n"))
        except StopIteration:
            return
        except RowRefused as error:
            yield Row(line, lines.place, None, "", str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError, ArithmeticError) as error:
            yield Row(line, lines.place, None, text.decode(errors="replace").rstrip("\r\n"), f"it is no JSON object: {error}")


def csv_header(lines: Lines, delimiter: str) -> list[str]:
    """The names in the first record; raises NonRetryable when they are no header."""
    try:
        header = next(csv.reader(_Texts(lines), delimiter=delimiter, strict=True), [])
    except (csv.Error, RowRefused) as error:
        raise NonRetryable(f"the file's first line is no header: {error}") from error
    if not header or len(set(header)) != len(header):
        raise NonRetryable("the file's first line is no header: " + ("a name comes twice" if header else "it is empty"))
    return header


def csv_rows(lines: Lines, header: list[str], delimiter: str) -> Iterator[Row]:
    """The records after the header; an empty cell is no value, an empty line no record."""
    seen: list[str] = []
    reader = csv.reader(_Kept(_Texts(lines), seen), delimiter=delimiter, strict=True)
    while True:
        line = lines.place.line + 1
        seen.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, RowRefused) as error:
            yield Row(line, lines.place, None, "".join(seen).rstrip("\r\n"), f"it is no CSV: {error}")
            continue
        text = "".join(seen).rstrip("\r\n")
        if not cells:
            continue
        if any("\udc80" <= character <= "\udcff" for character in text):
            yield Row(line, lines.place, None, text.encode("utf-8", "surrogateescape").decode(errors="replace"), "it is not UTF-8")
        elif len(cells) != len(header):
            yield Row(line, lines.place, None, text, f"it has {len(cells)} cells, and the header {len(header)}")
        else:
            yield Row(line, lines.place, {name: cell for name, cell in zip(header, cells, strict=True) if cell}, text)


class _Texts:
    """The lines as text; what is no UTF-8 can still be told apart (surrogate escapes). No generator: it goes on after it has raised."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        first = not self._lines.place.at
        line = next(self._lines)
        return (line.removeprefix(_BOM) if first else line).decode("utf-8", "surrogateescape")


class _Kept:
    """The same texts, each put into `seen` on its way; a record over too many lines is refused."""

    def __init__(self, texts: _Texts, seen: list[str]) -> None:
        self._texts, self._seen = texts, seen

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        text = next(self._texts)
        self._seen.append(text)
        if sum(map(len, self._seen)) > LONGEST_LINE:
            raise RowRefused(f"a record in quotes has more than {LONGEST_LINE:,} characters")
        return text
