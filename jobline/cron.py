"""Cron expressions as people write them, in the dialect of AWS or of unix, and as EventBridge Scheduler takes them.

Five fields are unix cron (crontab(5): `minute hour day-of-month month day-of-week`, Sunday is 0 or 7), six are AWS's
(`minutes hours day-of-month month day-of-week year`, Sunday is 1, one of the two days is `?`). What both would read differently, or
AWS cannot say, is refused with a sentence; what is taken means one thing. (EventBridge Scheduler user guide, "Schedule types".)
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

LONGEST: Final = 256
"""Characters of a ScheduleExpression (CreateSchedule, EventBridge Scheduler API reference)."""
WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MACROS: Final = {
    "@HOURLY": "0 * * * *",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@WEEKLY": "0 0 * * 0",
    "@MONTHLY": "0 0 1 * *",
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
}
_SURE_DAYS: Final = 28
"""Days that every month has."""


class _Field(NamedTuple):
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    """Of the values from `least` on."""


_MINUTES: Final = _Field("minutes", 0, 59)
_HOURS: Final = _Field("hours", 0, 23)
_DAYS: Final = _Field("day of month", 1, 31)
_MONTH: Final = _Field("month", 1, 12, _MONTHS)
_AWS_WEEKDAY: Final = _Field("day of week", 1, 7, WEEKDAYS)
_UNIX_WEEKDAY: Final = _Field("day of week", 0, 7, WEEKDAYS)
_YEARS: Final = _Field("year", 1970, 2199)

Days = Callable[[int, int], frozenset[int]]
"""The days of a month that are meant, by year and month."""


@dataclass(frozen=True, slots=True)
class Cron:
    """The minutes of local time that an expression names."""

    expression: str
    """The six fields in AWS's dialect, written in one way whatever was given."""
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    years: tuple[int, ...]
    days: Days

    def times(self, after: datetime) -> Iterator[datetime]:
        """The local times later than `after` (naive), in order; none is checked against a time zone."""
        for year in self.years:
            for month in self.months if year >= after.year else ():
                if (year, month) < (after.year, after.month):
                    continue
                for day in sorted(self.days(year, month)):
                    if (year, month, day) < (after.year, after.month, after.day):
                        continue
                    times = (datetime(year, month, day, hour, minute) for hour in self.hours for minute in self.minutes)  # noqa: DTZ001  local
                    yield from (time for time in times if time > after)


def parse_cron(text: object) -> Cron:
    """The expression that `text` says, with or without `cron(…)` around it; `@daily` and its like are taken too.

    Raises ValueError with one sentence for people.
    """
    if not isinstance(text, str) or not text.isascii() or len(text) > LONGEST:
        raise ValueError(f"must be a cron expression: text of at most {LONGEST} ASCII characters, such as '0 9 * * MON-FRI'")
    inner = re.fullmatch(r"\s*cron\((.*)\)\s*", text, re.IGNORECASE)
    written = (inner.group(1) if inner else text).strip().upper()
    if written.startswith("@"):
        if written not in _MACROS:
            raise ValueError(f"{text!r} is not known; there are {', '.join(_MACROS).lower()}")
        written = _MACROS[written]
    fields = written.split()
    if len(fields) == 5:
        cron = _unix(*fields)
    elif len(fields) == 6:
        cron = _aws(*fields)
    else:
        raise ValueError(
            f"has {len(fields)} fields: five are read as unix cron (minute hour day-of-month month day-of-week), six as AWS's, with a year"
        )
    if not any(cron.days(year, month) for year in cron.years for month in cron.months):
        raise ValueError("names no day that exists")
    if len(cron.expression) > LONGEST - len("cron()"):
        raise ValueError("is longer than EventBridge Scheduler takes once it is written out")
    return cron


# ---------------------------------------------------------------------------------------------------- the two dialects


def _unix(minute: str, hour: str, day: str, month: str, weekday: str) -> Cron:
    for text, field in ((day, _DAYS), (weekday, _UNIX_WEEKDAY)):
        if re.search(r"[?LW#]", re.sub("|".join((*WEEKDAYS, *_MONTHS)), "", text)):
            raise ValueError(f"{field.name} {text}: ? L W and # belong to AWS's dialect, which has six fields; add the year")
    if "*" not in {day, weekday}:
        raise ValueError(
            "restricts both day of month and day of week: unix cron runs when either fits, which AWS cannot say; make two schedules"
        )
    if weekday != "*":
        chosen = _values(weekday, _UNIX_WEEKDAY, unix=True)
        return _cron(minute, hour, "?", month, _weekdays({number % 7 + 1 for number in chosen}), "*", unix=True)
    return _cron(minute, hour, day, month, "?", "*", unix=True)


def _aws(minute: str, hour: str, day: str, month: str, weekday: str, year: str) -> Cron:
    if "?" in {minute, hour, month, year}:
        raise ValueError("? stands only for day of month or day of week; six fields are minutes hours day-of-month month day-of-week year")
    if (day == "?") == (weekday == "?"):
        raise ValueError("has six fields, so exactly one of day of month (third) and day of week (fifth) is ?, as AWS has it")
    return _cron(minute, hour, day, month, weekday, year, unix=False)


def _cron(minute: str, hour: str, day: str, month: str, weekday: str, year: str, *, unix: bool) -> Cron:
    minutes, hours = _values(minute, _MINUTES, unix=unix), _values(hour, _HOURS, unix=unix)
    months, years = _values(month, _MONTH, unix=unix), _values(year, _YEARS, unix=unix)
    day, weekday, days = _by_weekday(weekday) if day == "?" else _by_date(day, unix=unix)
    fields = (_steps(minutes, _MINUTES), _steps(hours, _HOURS), day, _steps(months, _MONTH), weekday, _ranges(years, _YEARS))
    return Cron(" ".join(fields), minutes, hours, months, years, days)


# ---------------------------------------------------------------------------------------------------- days


def _by_date(text: str, *, unix: bool) -> tuple[str, str, Days]:
    if text == "L":
        return "L", "?", lambda year, month: frozenset({monthrange(year, month)[1]})
    if nearest := re.fullmatch(r"(\d{1,2})W", text):
        number = int(nearest.group(1))
        if not 1 <= number <= _SURE_DAYS:
            raise ValueError(f"day of month {text}: W stands after a day that every month has, 1 to {_SURE_DAYS}")
        return f"{number}W", "?", lambda year, month: frozenset({_nearest_weekday(year, month, number)})
    _refuse_specials(text, "day of month", "L or a single day with W")
    chosen = frozenset(_values(text, _DAYS, unix=unix))
    return _steps(tuple(sorted(chosen)), _DAYS), "?", lambda year, month: chosen & set(range(1, monthrange(year, month)[1] + 1))


def _by_weekday(text: str) -> tuple[str, str, Days]:
    if last := re.fullmatch(r"(\d|[A-Z]{3})L", text):
        number = _number(last.group(1), _AWS_WEEKDAY)
        return "?", f"{number}L", lambda year, month: frozenset({max(_days_of(year, month, number))})
    if nth := re.fullmatch(r"(\d|[A-Z]{3})#(\d)", text):
        number, which = _number(nth.group(1), _AWS_WEEKDAY), int(nth.group(2))
        if not 1 <= which <= 5:
            raise ValueError(f"day of week {text}: after # comes which one of the month, 1 to 5")
        return "?", f"{number}#{which}", lambda year, month: frozenset(_days_of(year, month, number)[which - 1 : which])
    if text == "L":
        text = "SAT"  # the last day of the week
    _refuse_specials(text, "day of week", "a single day with L or #")
    if "/" in text:
        raise ValueError(f"day of week {text}: AWS takes no steps there; list the days")
    chosen = frozenset(_values(text, _AWS_WEEKDAY, unix=False))
    if len(chosen) == 7:
        return "*", "?", lambda year, month: frozenset(range(1, monthrange(year, month)[1] + 1))
    return "?", _weekdays(chosen), lambda year, month: frozenset(day for number in chosen for day in _days_of(year, month, number))


def _refuse_specials(text: str, name: str, known: str) -> None:
    if re.search(r"[?LW#]", re.sub("|".join(WEEKDAYS), "", text)):
        raise ValueError(f"{name} {text}: only {known} is taken, or days without such letters")


def _days_of(year: int, month: int, number: int) -> list[int]:
    """The days of a month that are this weekday, 1 for Sunday."""
    first, length = monthrange(year, month)  # 0 is Monday
    return list(range(1 + (number - 2 - first) % 7, length + 1, 7))


def _nearest_weekday(year: int, month: int, day: int) -> int:
    """Of Monday to Friday the day nearest to a date, inside its month."""
    first, length = monthrange(year, month)
    weekday = (first + day - 1) % 7
    if weekday == 5:
        return day - 1 if day > 1 else day + 2
    if weekday == 6:
        return day + 1 if day < length else day - 2
    return day


# ---------------------------------------------------------------------------------------------------- one field


def _values(text: str, field: _Field, *, unix: bool) -> tuple[int, ...]:
    """The numbers that a field names, in order."""
    found: set[int] = set()
    for part in text.split(","):
        found |= _part(part, text, field, unix=unix)
    return tuple(sorted(found))


def _part(part: str, text: str, field: _Field, *, unix: bool) -> set[int]:
    match = re.fullmatch(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d{1,4}))?", part)
    if match is None or (match.group(1) and part != text):
        raise ValueError(f"{field.name} {text} cannot be read")
    star, first, last, step = match.groups()
    if star:
        low, high = field.least, min(field.most, 6) if field is _UNIX_WEEKDAY else field.most
    else:
        low = _number(first, field)
        high = _number(last, field) if last else field.most if step else low
        if step and not last and unix:
            raise ValueError(f"{field.name} {text}: crons read {part} differently; write {first}-{field.most}/{step}")
        if high < low:
            raise ValueError(f"{field.name} {text}: the range {first}-{last} runs backwards; name its two parts, with a comma")
    if step and not 1 <= int(step) <= field.most:
        raise ValueError(f"{field.name} {text}: a step is from 1 to {field.most}")
    return set(range(low, high + 1, int(step or 1)))


def _number(text: str, field: _Field) -> int:
    if text in field.names:
        return field.least + field.names.index(text)
    if not text.isdigit() or not field.least <= int(text) <= field.most:
        names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise ValueError(f"{field.name} {text} is not {field.least} to {field.most}{names}")
    return int(text)


def _steps(values: tuple[int, ...], field: _Field) -> str:
    """Numbers as a field of AWS's: `*`, `0/15` for steps that go on to the end, or ranges and single ones."""
    step = values[1] - values[0] if len(values) > 2 else 0
    if step > 1 and values == tuple(range(values[0], field.most + 1, step)):
        return f"{values[0]}/{step}"
    return _ranges(values, field)


def _ranges(values: tuple[int, ...], field: _Field) -> str:
    if values == tuple(range(field.least, field.most + 1)):
        return "*"
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _weekdays(numbers: set[int] | frozenset[int]) -> str:
    """Days of the week by their names, so that nobody has to know whose Sunday is 0."""
    if len(numbers) == 7:
        return "*"
    return re.sub(r"\d", lambda digit: WEEKDAYS[int(digit.group()) - 1], _ranges(tuple(sorted(numbers)), _AWS_WEEKDAY))
