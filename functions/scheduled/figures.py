"""The figures of one day: a tally that grows by one record after the other, and what it comes to.

Pure: no AWS, no clock. A tally is small whatever the number of jobs, and goes to JSON and back, so that counting may stop anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from jobline.job import Job, Status
from jobline.times import format_instant, from_milliseconds, to_milliseconds

HOUR: Final = timedelta(hours=1)
SLOWEST: Final = 5
"""Types of a queue that are told, the slowest first."""
MOST_ERRORS: Final = 10
"""Kinds of errors of a queue that are told, the most frequent first."""
MOST_KINDS: Final = 300
"""Kinds of errors of a queue that are told apart; what comes after them is one more kind."""
LONGEST_ERROR: Final = 120
OTHER_ERRORS: Final = "(other errors)"
_FAILURES: Final = frozenset({"failed", "timeout", "exit", "crash"})
"""Entries of a record's history that an attempt leaves which came to no good end (`transitions.history_entry`)."""
_PARTICULAR: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|0x[0-9a-f]+|\b(?=[a-z]*\d)[0-9a-f]{8,}\b|\d+", re.IGNORECASE)
"""What differs from one error to the next of the same kind: ids and numbers."""


class Day(NamedTuple):
    """A day as the clocks of a time zone have it: 23 to 25 hours."""

    on: date
    timezone: str

    @property
    def start(self) -> datetime:
        return self._midnight(self.on)

    @property
    def end(self) -> datetime:
        """When the next day begins."""
        return self._midnight(self.on + timedelta(days=1))

    def _midnight(self, on: date) -> datetime:
        # Where clocks skip midnight, this is the moment at which they do.
        return datetime(on.year, on.month, on.day, tzinfo=ZoneInfo(self.timezone)).astimezone(UTC)

    @property
    def hours(self) -> list[str]:
        """What the clocks show at the beginning of each hour; an hour that they show twice is there twice."""
        count = -(-(self.end - self.start) // HOUR)
        return [f"{(self.start + number * HOUR).astimezone(ZoneInfo(self.timezone)):%H:%M}" for number in range(count)]

    @classmethod
    def before(cls, moment: datetime, timezone: str) -> Day:
        """The last day that is over at that moment."""
        return cls(moment.astimezone(ZoneInfo(timezone)).date() - timedelta(days=1), timezone)


class Durations(msgspec.Struct):
    """Durations in milliseconds: their sum is exact, percentiles are right to three digits."""

    sum: int = 0
    longest: int = 0
    counts: dict[int, int] = {}

    def add(self, milliseconds: int) -> None:
        milliseconds = max(0, milliseconds)  # two machines' clocks
        kept = round(milliseconds, 3 - len(str(milliseconds))) if milliseconds > 999 else milliseconds
        self.sum += milliseconds
        self.longest = max(self.longest, milliseconds)
        self.counts[kept] = self.counts.get(kept, 0) + 1

    def merge(self, other: Durations) -> None:
        self.sum += other.sum
        self.longest = max(self.longest, other.longest)
        for kept, count in other.counts.items():
            self.counts[kept] = self.counts.get(kept, 0) + count

    def told(self) -> dict[str, float] | None:
        """`{"avg", "p95", "longest"}` in seconds; `None` when there is none."""
        number = sum(self.counts.values())
        if not number:
            return None
        rank = -(-95 * number // 100)
        ordered = sorted(self.counts)
        below = accumulate(self.counts[kept] for kept in ordered)
        p95 = next(kept for kept, count in zip(ordered, below, strict=True) if count >= rank)
        return {"avg": round(self.sum / number / 1000, 3), "p95": p95 / 1000, "longest": self.longest / 1000}


class TypeTally(msgspec.Struct):
    jobs: int = 0
    runs: Durations = msgspec.field(default_factory=Durations)


class Tally(msgspec.Struct):
    """What is counted of one queue's jobs of one day."""

    hours: list[list[int]] = []
    """For each hour: jobs enqueued in it, and how many of them are done, and dead."""
    statuses: dict[str, int] = {}
    retried: int = 0
    attempts: int = 0
    waits: Durations = msgspec.field(default_factory=Durations)
    runs: Durations = msgspec.field(default_factory=Durations)
    types: dict[str, TypeTally] = {}
    errors: dict[str, int] = {}

    def add(self, job: Job, day: Day) -> None:
        """Counts one job, which was created on that day."""
        self.statuses[job.status.value] = self.statuses.get(job.status.value, 0) + 1
        hour = (job.created_at - day.start) // HOUR
        while len(self.hours) <= hour:
            self.hours.append([0, 0, 0])
        self.hours[hour][0] += 1
        self.hours[hour][1] += job.status is Status.DONE
        self.hours[hour][2] += job.status is Status.DEAD
        self.attempts += job.attempts
        of_type = self.types.setdefault(job.type, TypeTally())
        of_type.jobs += 1
        if job.started_at is not None and job.status in (Status.DONE, Status.DEAD):
            due = max(job.created_at, job.scheduled_at)
            self.waits.add(to_milliseconds(job.started_at) - to_milliseconds(due))
        if job.started_at is not None and job.completed_at is not None and job.status is Status.DONE:
            ran = to_milliseconds(job.completed_at) - to_milliseconds(job.started_at)
            self.runs.add(ran)
            of_type.runs.add(ran)
        self.retried += job.attempts > 1
        for failure in _failures(job):
            kind = kind_of(failure)
            if kind not in self.errors and len(self.errors) >= MOST_KINDS:
                kind = OTHER_ERRORS
            self.errors[kind] = self.errors.get(kind, 0) + 1

    def merge(self, other: Tally) -> None:
        """Adds another queue's tally of the same day; its types and errors are left out."""
        while len(self.hours) < len(other.hours):
            self.hours.append([0, 0, 0])
        for own, others in zip(self.hours, other.hours, strict=False):
            own[:] = [a + b for a, b in zip(own, others, strict=True)]
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count
        self.retried += other.retried
        self.attempts += other.attempts
        self.waits.merge(other.waits)
        self.runs.merge(other.runs)

    def figures(self, hours: int) -> dict[str, Any]:
        """What the report says of it; `enqueued` is the sum of the five counts that follow it."""
        ended = {name: self.statuses.get(name, 0) for name in ("done", "dead", "cancelled", "expired")}
        enqueued = sum(self.statuses.values())
        filled = [*self.hours, *([0, 0, 0] for _ in range(hours - len(self.hours)))]
        return {
            "enqueued": enqueued,
            **ended,
            "open": enqueued - sum(ended.values()),
            "retried": self.retried,
            "attempts": self.attempts,
            "wait": self.waits.told(),
            "run": self.runs.told(),
            "hours": [{"enqueued": all_, "done": done, "dead": dead} for all_, done, dead in filled],
        }

    def slowest(self) -> list[dict[str, Any]]:
        """The types whose jobs ran longest on average."""
        told = ((name, one.jobs, one.runs.told()) for name, one in self.types.items())
        ran = [(run["avg"], {"type": name, "jobs": jobs, "run": run}) for name, jobs, run in told if run is not None]
        return [one for _, one in sorted(ran, key=lambda pair: (-pair[0], pair[1]["type"]))[:SLOWEST]]

    def top_errors(self) -> list[dict[str, Any]]:
        """The kinds of errors that attempts ended with, the most frequent first."""
        top = sorted(self.errors.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_ERRORS]
        return [{"error": error, "attempts": count} for error, count in top]


def day_figures(day: Day, tallies: Mapping[str, Tally], *, as_of: datetime, kept: Mapping[str, int]) -> dict[str, Any]:
    """The whole report as data. `kept`: for how many seconds at least each queue keeps the records of ended jobs."""
    total, hours = Tally(), day.hours
    for tally in tallies.values():
        total.merge(tally)
    age = (as_of - day.start).total_seconds()
    return {
        "day": day.on.isoformat(),
        "timezone": day.timezone,
        "from": format_instant(day.start),
        "to": format_instant(day.end),
        "as_of": format_instant(as_of),
        "hours": hours,
        "total": total.figures(len(hours)),
        "queues": [
            {
                "queue": name,
                **tally.figures(len(hours)),
                "slowest_types": tally.slowest(),
                "top_errors": tally.top_errors(),
                "incomplete": kept[name] < age,
            }
            for name, tally in tallies.items()
        ],
    }


def kind_of(error: str) -> str:
    """An error's first line, short, with `#` for ids and numbers: equal for errors of the same kind."""
    first = error.strip().partition("\n")[0]
    return _PARTICULAR.sub("#", first)[:LONGEST_ERROR] or "(no text)"


def _failures(job: Job) -> list[str]:
    """The errors of the job's attempts, as far as its record keeps them."""
    found = []
    for text in job.history:
        event, _, _, detail, *_ = json.loads(text)
        if event in _FAILURES:
            found.append(detail)
    return found


class Place(msgspec.Struct):
    """Where counting goes on: a queue, one of its parts, and the key in it that was counted last."""

    queue: int = 0
    part: int = 0
    after: tuple[str, int] | None = None


class Standing(msgspec.Struct):
    """How far the counting of a day has come, and what was counted: always written together."""

    day: str
    as_of: int
    """Epoch milliseconds: when counting began."""
    queues: list[str]
    tallies: dict[str, Tally]
    place: Place = msgspec.field(default_factory=Place)

    @property
    def began(self) -> datetime:
        return from_milliseconds(self.as_of)

    @classmethod
    def begin(cls, day: Day, queues: Iterable[str], now: datetime) -> Standing:
        names = list(queues)
        return cls(day.on.isoformat(), to_milliseconds(now), names, {name: Tally() for name in names})
