"""When a schedule runs: a cron expression, a rate or a single time, in a time zone, as EventBridge Scheduler understands it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from jobline.cron import Cron, parse_cron
from jobline.times import format_instant, parse_duration, parse_instant

LONGEST_RATE: Final = timedelta(days=365)
_MINUTE: Final = timedelta(minutes=1)
_UNITS: Final = {"day": timedelta(days=1), "hour": timedelta(hours=1), "minute": _MINUTE}
_LOCAL: Final = re.compile(r"(?a)\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """One of `cron`, `every` and `at`, with what belongs to it."""

    cron: Cron | None = None
    every: timedelta | None = None
    """Whole minutes, counted from `start`; a day is 24 hours, whatever the clocks do."""
    at: datetime | None = None
    """A single time, as the zone's clocks show it (naive)."""
    timezone: str = "UTC"
    start: datetime | None = None
    """No run before this."""
    end: datetime | None = None
    """No run at or after this."""

    @property
    def expression(self) -> str:
        """The ScheduleExpression, written in one way."""
        if self.cron:
            return f"cron({self.cron.expression})"
        return f"rate({self.rate})" if self.every else f"at({self.local})"

    @property
    def rate(self) -> str | None:
        """`every` in AWS's words: `5 minutes`, `1 day`."""
        if self.every is None:
            return None
        unit, length = next((unit, length) for unit, length in _UNITS.items() if not self.every % length)
        count = self.every // length
        return f"{count} {unit}" if count == 1 else f"{count} {unit}s"

    @property
    def local(self) -> str | None:
        """`at` as text."""
        return None if self.at is None else self.at.isoformat(timespec="seconds")

    def runs(self, after: datetime) -> Iterator[datetime]:
        """When it runs later than `after`, in order, in UTC.

        A local time that the clocks skip has no run, one that comes twice has one, the first ("Daylight savings time on EventBridge
        Scheduler", user guide). A rate without a start has none that could be foretold.
        """
        for run in self._runs(after if self.start is None else max(after, self.start - _MINUTE)):
            if self.end is not None and run >= self.end:
                return
            if run > after and (self.start is None or run >= self.start):
                yield run

    def from_now(self, now: datetime) -> Timetable:
        """The same runs from `now` on, with a start that Scheduler still takes: it refuses one that is long over."""
        if self.start is None or self.start > now:
            return self
        start = None if self.every is None else self.start + -((self.start - now) // self.every) * self.every
        return Timetable(cron=self.cron, every=self.every, at=self.at, timezone=self.timezone, start=start, end=self.end)

    def _runs(self, after: datetime) -> Iterator[datetime]:
        zone = ZoneInfo(self.timezone)
        if self.at is not None:
            yield self.at.replace(tzinfo=zone).astimezone(UTC)
        elif self.cron is not None:
            # Two hours back: the clocks may have been put back since.
            for time in self.cron.times((after - 2 * _UNITS["hour"]).astimezone(zone).replace(tzinfo=None)):
                if exists(time, self.timezone):
                    yield time.replace(tzinfo=zone).astimezone(UTC)
        elif self.every is not None and self.start is not None:
            run = self.start + max(0, (after - self.start) // self.every) * self.every
            while True:
                yield run
                run += self.every


def exists(local: datetime, timezone: str) -> bool:
    """Whether the zone's clocks ever show this time."""
    zone = ZoneInfo(timezone)
    return local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local


# ---------------------------------------------------------------------------------------------------- as clients write it


def read_rate(value: Any) -> timedelta:
    """`rate(5 minutes)`, `5 minutes`, or a duration of whole minutes. Raises ValueError with what is wrong."""
    text = re.fullmatch(r"\s*(?:rate\()?\s*(\d{1,9})\s+(minute|hour|day)s?\s*\)?\s*", value) if isinstance(value, str) else None
    try:
        every = int(text.group(1)) * _UNITS[text.group(2)] if text else parse_duration(value)
    except OverflowError:
        every = timedelta.max
    if not _MINUTE <= every <= LONGEST_RATE or every % _MINUTE:
        raise ValueError(f"must be whole minutes, from 1 minute to {LONGEST_RATE.days} days")
    return every


def read_at(value: Any) -> datetime:
    """A time with an offset as aware UTC, one without as naive. Raises ValueError with what is wrong."""
    text = re.sub(r"^at\((.*)\)$", r"\1", value.strip()) if isinstance(value, str) else ""
    if not _LOCAL.fullmatch(text):
        try:
            return read_instant(text)
        except ValueError:
            raise ValueError("must be a time such as '2026-01-31T09:30:00', or with an offset '2026-01-31T09:30:00Z'") from None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time that exists") from None


def read_instant(value: Any) -> datetime:
    """A time with an offset, in whole seconds: what Scheduler takes; a part of one counts as one, since nothing starts early."""
    instant = parse_instant(value)
    return instant if not instant.microsecond else instant.replace(microsecond=0) + timedelta(seconds=1)


def read_timezone(value: Any) -> str:
    """The name of a zone of the tz database. Raises ValueError with what is wrong."""
    if isinstance(value, str) and value in zones():
        return value
    raise ValueError("must be a time zone of the tz database, such as 'Europe/Berlin' or 'UTC'")


@cache
def zones() -> frozenset[str]:
    """The names of all zones, the same on every machine: those that the package tzdata lists."""
    from importlib.resources import files

    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def read_cron(value: Any) -> Cron:
    """See `cron.parse_cron`."""
    return parse_cron(value)


def told(runs: Iterator[datetime], count: int) -> list[str]:
    """The first so many of these runs, as the API writes times."""
    return [format_instant(run) for run, _ in zip(runs, range(count), strict=False)]
