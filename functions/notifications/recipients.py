"""Lists of recipients: CSV with a header line, or JSON lines, read row by row; what is no recipient is told with its line."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final, Literal, NamedTuple

from jobline import Context, NonRetryable
from jobline.errors import InvalidRequest
from jobline.objects import Place, open_object
from jobline.strict_json import parse

LARGEST_LIST: Final = 200 * 1024 * 1024
"""Bytes: Lambda gives a function 512 MB of disk."""
LONGEST_LINE: Final = 64 * 1024
"""Bytes of one line."""
SHOWN: Final = 500
"""Characters of a bad row that are kept with the reason."""

Format = Literal["csv", "jsonl"]

_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
# Inside a request, so that what is refused there is refused here: the same depth, the same numbers.
_BEFORE, _AFTER = b'{"payload":{"data":', b"}}"


class Recipient(NamedTuple):
    line: int
    """Where the row begins; 1 for the first of the file."""
    address: str
    row: dict[str, Any]
    """The whole row, by its columns or members: the variables of the message."""

    @property
    def key(self) -> str:
        """The same for the same address, whatever its case: 32 hexadecimal digits."""
        return hashlib.sha256(self.address.lower().encode()).hexdigest()[:32]


class Reject(NamedTuple):
    line: int
    reason: str
    row: str


@contextmanager
def opened(ctx: Context, place: Place, etag: str | None) -> Iterator[tuple[IO[bytes], str]]:
    """The list as a file on disk, so that S3 need not wait while jobs are made of it, and its ETag.

    With `etag` it must still be the one that was read before. Raises NonRetryable when it is not, is not there or is too large.
    """
    conditions: dict[str, Any] = {} if etag is None else {"IfMatch": etag}
    answer = open_object(ctx, place, **conditions)
    if answer["ContentLength"] > LARGEST_LIST:
        raise NonRetryable(f"{place} has {answer['ContentLength']:,} bytes; a list has at most {LARGEST_LIST:,}")
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(answer["Body"], file)
        file.seek(0)
        yield file, answer["ETag"]


def read_list(file: IO[bytes], format: Format, field: str) -> Iterator[Recipient | Reject]:
    """Every row of a list, in order; `field` has the address. Rows that are empty are left out.

    Raises NonRetryable when nobody can tell which rows there are: no header, a quote that is never closed, a line that is too long.
    """
    rows = _csv_rows(file) if format == "csv" else _json_rows(file)
    for line, row, raw in rows:
        try:
            if isinstance(row, ValueError):
                raise row
            if field not in row:
                raise ValueError(f"has no {field!r}")
            yield Recipient(line, mail_address(row[field]), row)
        except ValueError as error:
            yield Reject(line, str(error), raw[:SHOWN])


def mail_address(text: Any) -> str:
    """The address as SES takes it, its domain in ASCII; raises ValueError with what is wrong with it."""
    if not isinstance(text, str):
        raise ValueError("the address is no text")
    local, at, domain = text.strip().rpartition("@")
    if not at:
        raise ValueError("the address has no @")
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("the address has no domain after its @") from None
    labels = domain.split(".")
    if len(labels) < 2 or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("the address has no domain after its @")
    if not _LOCAL.fullmatch(local) or len(local) > 64 or len(local) + len(domain) > 253:
        raise ValueError("the address is none before its @, or too long")
    return f"{local}@{domain}"


Row = tuple[int, dict[str, Any] | ValueError, str]


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise NonRetryable(f"line {number} of the list has more than {LONGEST_LINE:,} bytes")
        yield line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _json_rows(file: IO[bytes]) -> Iterator[Row]:
    for number, line in enumerate(_lines(file), start=1):
        text = line.strip()
        if text:
            yield number, _json_row(text), text.decode(errors="replace")


def _json_row(text: bytes) -> dict[str, Any] | ValueError:
    try:
        row = parse(_BEFORE + text + _AFTER).value["payload"]["data"]
    except (InvalidRequest, KeyError, TypeError) as error:
        return ValueError(f"is no JSON: {error}")
    return row if isinstance(row, dict) else ValueError("is no JSON object")


def _csv_rows(file: IO[bytes]) -> Iterator[Row]:
    taken: list[str] = []

    def texts() -> Iterator[str]:
        for line in _lines(file):
            taken.append(line.decode(errors="surrogateescape"))
            yield taken[-1]

    reader = csv.reader(texts(), strict=True)
    _, header, _ = next(_read(reader, taken), (0, [], ""))
    if isinstance(header, ValueError) or not header:
        raise NonRetryable("the list has no header line that names its columns")
    names = [name.strip() for name in header]
    if len(set(names)) < len(names) or not all(names):
        raise NonRetryable(f"line 1 of the list names a column twice, or not at all: {', '.join(names)[:SHOWN]}")
    for line, values, raw in _read(reader, taken):
        yield line, _csv_row(names, values, raw), raw.encode(errors="surrogateescape").decode(errors="replace").rstrip("\r\n")


def _csv_row(names: list[str], values: list[str] | ValueError, raw: str) -> dict[str, Any] | ValueError:
    if isinstance(values, ValueError):
        return values
    if not raw.isascii() and any("\udc80" <= character <= "\udcff" for character in raw):
        return ValueError("is not UTF-8")
    if len(values) != len(names):
        return ValueError(f"has {len(values)} fields, not {len(names)}")
    return dict(zip(names, values, strict=True))


def _read(reader: Any, taken: list[str]) -> Iterator[tuple[int, list[str] | ValueError, str]]:
    """Line, fields and text of each row that is not empty. `taken` has the lines that the reader took since the last row."""
    while True:
        line = reader.line_num + 1
        taken.clear()
        try:
            values: list[str] | ValueError = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if len(taken) != 1:  # which lines are rows, and which are parts of the one that is broken?
                raise NonRetryable(f"line {line} of the list opens a quote that no line closes rightly: {error}") from error
            values = ValueError(f"is no CSV: {error}")
        if values:
            yield line, values, "".join(taken)


def distinct(rows: Iterator[Recipient | Reject], bad: Callable[[Reject], None], again: Callable[[Recipient], None]) -> Iterator[Recipient]:
    """The recipients whose address did not come before; `bad` is told the rows that are none, and `again` those that came before."""
    seen: set[bytes] = set()
    for row in rows:
        if isinstance(row, Reject):
            bad(row)
            continue
        digest = bytes.fromhex(row.key)
        if digest in seen:
            again(row)
            continue
        seen.add(digest)
        yield row
