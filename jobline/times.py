"""Instants and durations as people and programs write them, read strictly and written in one way.

Everything is exact to the millisecond, as the table is. What is finer is rounded up, so that nothing starts early.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
LONGEST_TEXT: Final = 64

# Patterns are texts, compiled by `re` when first used: a cold start need not pay for those that it never meets.
_UNITS: Final = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_AMOUNT: Final = r"[0-9]+(?:\.[0-9]+)?"
_SHORT: Final = "".join(rf"(?:(?P<{unit}>{_AMOUNT}){unit})?" for unit in _UNITS)
# ISO 8601-1 §5.5.2: weeks stand alone; days and T-parts combine. Years and months are left out: they have no fixed length.
_ISO: Final = rf"P(?:(?P<w>{_AMOUNT})W|(?:(?P<d>{_AMOUNT})D)?(?:T(?:(?P<h>{_AMOUNT})H)?(?:(?P<m>{_AMOUNT})M)?(?:(?P<s>{_AMOUNT})S)?)?)"
_ISO_CALENDAR: Final = r"P[0-9.]+[YM].*"
# RFC 3339 §5.6 `date-time`; both letters may be lower case there.
_INSTANT: Final = r"(?a)(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:([Zz])|([+-])([01]\d|2[0-3]):([0-5]\d))"


def parse_duration(value: object) -> timedelta:
    """The duration that `value` says: a number of seconds (`3600`, `2.5`), `"10m"`, `"1h30m"`, `"PT10M"`, or `"3600"`.

    Units are `w d h m s ms`, largest first, each at most once; ISO 8601 has no years and no months here.
    Raises `ValueError` with one sentence for people: negative, not finite, too long, or not a duration.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("a duration is a number of seconds or text such as '10m' or 'PT10M'")
    if not isinstance(value, str):
        if value < 0 or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError("a duration is neither negative nor infinite")
        # By its shortest text, 0.1 is a tenth; by its bits it is a little more, and would be rounded up.
        return _milliseconds(Decimal(str(value)) * 1000)
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"a duration is at most {LONGEST_TEXT} characters of text")
    if re.fullmatch(_AMOUNT, value):
        return _milliseconds(Decimal(value) * 1000)
    match = re.fullmatch(_ISO if value.startswith("P") else _SHORT, value)
    parts = {unit: amount for unit, amount in match.groupdict().items() if amount} if match else {}
    if not parts or value.endswith("T"):
        if re.fullmatch(_ISO_CALENDAR, value):
            raise ValueError(f"{value!r} has years or months, whose length is not fixed; use days")
        raise ValueError(f"{value!r} is not a duration; write seconds, or text such as '90s', '10m', '1h30m' or 'PT10M'")
    return _milliseconds(sum((Decimal(amount) * _UNITS[unit] for unit, amount in parts.items()), Decimal(0)))


def parse_instant(text: object) -> datetime:
    """The instant of RFC 3339 text such as `2026-01-31T09:30:00Z` or `…T10:30:00.250+01:00`, as aware UTC.

    Raises `ValueError` with one sentence for people; a time without an offset is refused, because it names no instant.
    """
    match = re.fullmatch(_INSTANT, text) if isinstance(text, str) and len(text) <= LONGEST_TEXT else None
    if match is None:
        raise ValueError("a time is RFC 3339 text with an offset, such as '2026-01-31T09:30:00Z'")
    date, time, fraction, _zulu, sign, hours, minutes = match.groups()
    try:
        # A leap second (`:60`) is refused here: no clock of AWS knows one.
        instant = datetime.fromisoformat(f"{date}T{time}+00:00")
        if fraction:
            instant += _milliseconds(Decimal(f"0.{fraction}") * 1000)
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            instant = instant - offset if sign == "+" else instant + offset
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time that exists") from None
    return instant


def format_instant(instant: datetime) -> str:
    """RFC 3339 text in UTC with `Z`; three digits of milliseconds when there are any, none otherwise."""
    instant = instant.astimezone(UTC)
    precision = "milliseconds" if instant.microsecond >= 1000 else "seconds"
    return f"{instant.replace(tzinfo=None).isoformat(timespec=precision)}Z"


def to_milliseconds(instant: datetime) -> int:
    """Epoch milliseconds, as the table holds times; what is finer is cut."""
    return (instant - _EPOCH) // _MILLISECOND


def from_milliseconds(milliseconds: int) -> datetime:
    """The aware UTC instant of epoch milliseconds."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _milliseconds(amount: Decimal) -> timedelta:
    try:
        return timedelta(milliseconds=math.ceil(amount))
    except OverflowError:
        raise ValueError("a duration is shorter than 999999999 days") from None
