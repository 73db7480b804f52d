"""Columns: what a row must have, and what becomes of its values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

Value = str | int | Decimal | bool
"""A value as it is imported; dates and timestamps are text by then."""
MOST_DIGITS: Final = 38
"""Of a number, as DynamoDB keeps it (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html)."""
LARGEST_EXPONENT: Final = 125
SMALLEST_EXPONENT: Final = -130
SHOWN: Final = 60
"""Characters of a refused value that its reason shows."""
LONGEST_TEXT: Final = 100_000

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,38}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?", re.ASCII
)
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


class Column(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=255, description="The column's name in the file, and in what is made of it.")]
    type: Annotated[
        Literal["string", "integer", "number", "boolean", "date", "timestamp"],
        Meta(description="What its values are: a `date` is YYYY-MM-DD, a `timestamp` ISO 8601 with a time zone, kept in UTC."),
    ] = "string"
    required: Annotated[bool, Meta(description="Whether a row without it is refused; an empty cell of a CSV file is no value.")] = False
    max_length: Annotated[int, Meta(ge=1, le=LONGEST_TEXT, description="Characters that a string may have at most.")] = 10_000


class RowRefused(Exception):
    """The row cannot be imported; the text says which column is wrong, and how."""


def checked(row: Mapping[str, Any], columns: Iterable[Column]) -> dict[str, Value]:
    """The row's values, those that it has, in the types of `columns`; what is in no column is left out. Raises RowRefused."""
    values: dict[str, Value] = {}
    for column in columns:
        value = row.get(column.name)
        if value is None:
            if column.required:
                raise RowRefused(f"{column.name}: this is required")
            continue
        try:
            values[column.name] = _CONVERT[column.type](value)
        except (ValueError, TypeError, ArithmeticError, InvalidOperation) as error:
            shown = value if isinstance(value, str) else str(value)
            detail = f" ({error.args[0]})" if isinstance(error, _Because) else ""
            raise RowRefused(f"{column.name}: {shown[:SHOWN]!r} is no {column.type}{detail}") from None
        text = values[column.name]
        if column.type == "string" and isinstance(text, str) and len(text) > column.max_length:
            raise RowRefused(f"{column.name}: {len(text):,} characters; at most {column.max_length:,} are taken")
    return values


class _Because(ValueError):
    """Why a value is not what it should be, where that is not plain to see."""


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _integer(value: Any) -> int:
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise ValueError
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 10**MOST_DIGITS:
        raise TypeError
    return value


def _number(value: Any) -> Decimal:
    """A number that DynamoDB can keep without rounding it."""
    if (
        isinstance(value, bool)
        or not isinstance(value, str | int | float | Decimal)
        or (isinstance(value, str) and not _NUMBER.fullmatch(value))
    ):
        raise TypeError
    number = Decimal(repr(value) if isinstance(value, float) else value)
    if not number.is_finite():
        raise ValueError
    digits = "".join(map(str, number.as_tuple().digits))
    if len(digits.strip("0")) > MOST_DIGITS:
        raise _Because(f"more than {MOST_DIGITS} digits")
    if number and not SMALLEST_EXPONENT <= number.adjusted() <= LARGEST_EXPONENT:
        raise _Because("too large or too small")
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    if not isinstance(value, bool):
        raise TypeError
    return value


def _date(value: Any) -> str:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise TypeError
    return date.fromisoformat(value).isoformat()


def _timestamp(value: Any) -> str:
    if isinstance(value, str):
        if not _TIMESTAMP.fullmatch(value):
            raise ValueError
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise TypeError
    if value.tzinfo is None:
        raise _Because("it has no time zone")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


_CONVERT: Final[Mapping[str, Callable[[Any], Value]]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "timestamp": _timestamp,
}
