"""The counters of one queue: a value that grows by folding what happened to jobs, and is asked for rates and averages.

Pure: no AWS, no clock. One `Counters` is one item of the table (`stats#<queue>`), so reading a queue's numbers costs the same
whatever the number of jobs. The item is kept small, because a write costs by its size: recent history is held in buckets of a
minute (5 of them), of five minutes (12) and of an hour (24), and the distribution of waits in a histogram of half octaves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from jobline.job import WAITING, Job, Status
from jobline.marks import Batch, Marks
from jobline.times import from_milliseconds, to_milliseconds

RATE_MINUTES: Final = 5
TIMING_MINUTES: Final = 60
DONE_HOURS: Final = 24
TRIMMED_AFTER: Final = timedelta(hours=24)
"""A stream drops its records after this (Amazon DynamoDB Developer Guide, "DynamoDB Streams")."""
RECOUNT_AFTER: Final = TRIMMED_AFTER - timedelta(hours=1)
"""A batch this late may follow records that nobody will ever see: the counters must be made anew."""

COUNTED: Final = (Status.PENDING, Status.SCHEDULED, Status.RUNNING, Status.FAILED, Status.DEAD)
_MINUTE_MS: Final = 60_000
_SPAN_MINUTES: Final = 5


class Doubt(NamedTuple):
    """That stream records may have been lost, so that the counts can no longer be trusted. Both are epoch milliseconds."""

    first: int
    """When this first showed."""
    last: int
    """When it last showed."""


class Fresh(NamedTuple):
    """Counts that are being made anew (see `recount`)."""

    since: int
    """Epoch milliseconds: they count records of this vintage and younger."""
    counts: Mapping[Status, int]


def vintage(job: Job) -> int:
    """Since when counters know the record, in epoch milliseconds: its creation, or the last recount that found it."""
    return to_milliseconds(job.created_at if job.recounted_at is None else max(job.created_at, job.recounted_at))


class Change(NamedTuple):
    """One record of the table's stream: a job before and after one write, `None` where it did not exist."""

    number: int
    """The stream's sequence number."""
    old: Job | None
    new: Job | None


class Minute(NamedTuple):
    """What happened in one minute."""

    enqueued: int = 0
    started: int = 0
    ended: int = 0
    """Attempts that came to an end: done, failed, or lost with their worker."""
    failed: int = 0


@dataclass(slots=True)
class Span:
    """Waits and runs of five minutes, in milliseconds."""

    waits: int = 0
    waited: int = 0
    runs: int = 0
    ran: int = 0
    histogram: dict[int, int] = field(default_factory=dict)
    """Waits by half octave: bin k holds those of 2**((k-1)/2) to 2**(k/2) milliseconds, bin 0 those under one."""

    def copy(self) -> Span:
        return replace(self, histogram=dict(self.histogram))


@dataclass(frozen=True, slots=True)
class Timing:
    """Averages over the last hour in seconds; `None` when nothing started or ended in it."""

    avg_wait: float | None
    p95_wait: float | None
    avg_run: float | None


@dataclass(frozen=True, slots=True)
class Rates:
    """Jobs per second over the last five minutes; `error` is the share of ended attempts that failed, 0 to 1."""

    enqueue: float
    dequeue: float
    error: float


@dataclass(frozen=True, slots=True)
class Counters:
    """What has been folded of one queue."""

    counts: Mapping[Status, int] = field(default_factory=dict)
    """Jobs by status, for the statuses in `COUNTED`; negative only after stream records were lost."""
    hours: Mapping[int, int] = field(default_factory=dict)
    """Epoch hour → jobs done."""
    minutes: Mapping[int, Minute] = field(default_factory=dict)
    spans: Mapping[int, Span] = field(default_factory=dict)
    """Epoch minute divided by five → its waits and runs."""
    marks: Marks = field(default_factory=lambda: Marks({}))
    since: int = 0
    """Only records of this vintage and younger are in `counts`."""
    doubt: Doubt | None = None
    fresh: Fresh | None = None
    rev: int = 0
    """Grows by one with every write; 0 for counters that were never written."""

    def fold(self, batch: Batch, changes: Iterable[Change], *, now: datetime, oldest: datetime | None = None) -> Counters:
        """These counters with a batch's changes on top, each change at most once; `self` when the batch holds nothing new.

        `changes` are this queue's, `batch` all of the delivery. `oldest`: when the first of the batch's records was written.
        """
        cover = self.marks.cover(batch)
        marks = self.marks.after(batch, _minute(to_milliseconds(now)))
        tally = _Tally(self, to_milliseconds(now))
        for change in changes:
            if change.number > cover:
                tally.add(change)
        late = oldest is not None and now - oldest >= RECOUNT_AFTER
        # Counts in doubt may well go below zero: that tells nothing new, and would keep a recount from its end.
        doubted = tally.counts if self.doubt is None else {}
        below = any(count < 0 for counts in (doubted, tally.fresh) for count in counts.values())
        doubt = self.doubted(now) if late or below else self.doubt
        if marks is self.marks and (doubt is None) == (self.doubt is None):
            return self
        return tally.counters(marks=marks, doubt=doubt)

    @property
    def recount(self) -> bool:
        """Whether the counts can no longer be trusted: a recount makes them anew."""
        return self.doubt is not None

    def doubted(self, now: datetime) -> Doubt:
        """The doubt as it is when it shows now."""
        at = to_milliseconds(now)
        return Doubt(at if self.doubt is None else self.doubt.first, at)

    def begin_anew(self, since: datetime) -> Counters:
        """These counters, with new counts beside the old ones that begin at nothing."""
        return replace(self, fresh=Fresh(to_milliseconds(since), {}), rev=self.rev + 1)

    def renewed(self) -> Counters:
        """These counters with the new counts in the place of the old ones, and no doubt. ValueError without new ones."""
        if self.fresh is None:
            raise ValueError("no new counts were begun")
        return replace(self, counts=self.fresh.counts, since=self.fresh.since, fresh=None, doubt=None, rev=self.rev + 1)

    def count(self, status: Status) -> int:
        """Jobs in this status now."""
        return max(0, self.counts.get(status, 0))

    def done(self, now: datetime) -> int:
        """Jobs done in the last 24 hours."""
        this_hour = _minute(to_milliseconds(now)) // 60
        return sum(count for hour, count in self.hours.items() if hour > this_hour - DONE_HOURS)

    def timing(self, now: datetime) -> Timing:
        """Waits and runs of the last 60 minutes; the 95th percentile is right to half an octave."""
        this_span = _minute(to_milliseconds(now)) // _SPAN_MINUTES
        spans = [span for number, span in self.spans.items() if number > this_span - TIMING_MINUTES // _SPAN_MINUTES]
        waits, runs = sum(span.waits for span in spans), sum(span.runs for span in spans)
        histogram: dict[int, int] = {}
        for span in spans:
            for bin_, count in span.histogram.items():
                histogram[bin_] = histogram.get(bin_, 0) + count
        return Timing(
            avg_wait=sum(span.waited for span in spans) / waits / 1000 if waits else None,
            p95_wait=percentile(histogram, 0.95) / 1000 if waits else None,
            avg_run=sum(span.ran for span in spans) / runs / 1000 if runs else None,
        )

    def rates(self, now: datetime) -> Rates:
        """Rates of the last 5 minutes."""
        at = to_milliseconds(now)
        first = _minute(at) - RATE_MINUTES + 1
        seconds = at / 1000 - first * 60
        minutes = [minute for number, minute in self.minutes.items() if number >= first]
        ended = sum(minute.ended for minute in minutes)
        return Rates(
            enqueue=sum(minute.enqueued for minute in minutes) / seconds,
            dequeue=sum(minute.started for minute in minutes) / seconds,
            error=sum(minute.failed for minute in minutes) / ended if ended else 0.0,
        )


class _Tally:
    """Counters being added to."""

    def __init__(self, before: Counters, now: int) -> None:
        self.now = now
        self.before = before
        self.counts = dict(before.counts)
        self.fresh: dict[Status, int] = {} if before.fresh is None else dict(before.fresh.counts)
        self.hours = dict(before.hours)
        self.minutes = dict(before.minutes)
        self.spans = {number: span.copy() for number, span in before.spans.items()}

    def add(self, change: Change) -> None:
        old, new = change.old, change.new
        self._count(old, -1)
        self._count(new, +1)
        if new is None:
            return
        # A record whose retention is over gives way to a new job of the same id.
        if old is None or old.created_at != new.created_at:
            self._happened(new.created_at, enqueued=1)
            return
        if old.status is Status.RUNNING and (new.status is not Status.RUNNING or new.token != old.token):
            self._left_running(old, new)
        if new.status is Status.RUNNING and new.token != old.token and new.started_at is not None:
            self._happened(new.started_at, started=1)
            if old.status in WAITING:
                self._waited(new.started_at, max(old.scheduled_at, old.created_at))

    def _count(self, job: Job | None, by: int) -> None:
        if job is None or job.status not in COUNTED:
            return
        if vintage(job) >= self.before.since:
            self.counts[job.status] = self.counts.get(job.status, 0) + by
        if self.before.fresh is not None and vintage(job) >= self.before.fresh.since:
            self.fresh[job.status] = self.fresh.get(job.status, 0) + by

    def _left_running(self, old: Job, new: Job) -> None:
        """Counts the end of an attempt; one that was handed back, snoozed or cancelled counts neither as good nor as failed."""
        if new.status is Status.DONE and new.completed_at is not None:
            hour = _minute(self._past(new.completed_at)) // 60
            self.hours[hour] = self.hours.get(hour, 0) + 1
            self._happened(new.completed_at, ended=1)
            self._ran(old.started_at, new.completed_at)
        elif new.status in (Status.FAILED, Status.DEAD, Status.RUNNING):
            event, at = _last_note(new) or ("", from_milliseconds(self.now))
            self._happened(at, ended=1, failed=1)
            if event == "failed":
                self._ran(old.started_at, at)

    def _happened(self, at: datetime, *, enqueued: int = 0, started: int = 0, ended: int = 0, failed: int = 0) -> None:
        minute = _minute(self._past(at))
        was = self.minutes.get(minute, Minute())
        self.minutes[minute] = Minute(was.enqueued + enqueued, was.started + started, was.ended + ended, was.failed + failed)

    def _waited(self, started_at: datetime, due: datetime) -> None:
        wait = max(0, to_milliseconds(started_at) - to_milliseconds(due))
        span = self._span(started_at)
        span.waits += 1
        span.waited += wait
        bin_ = bin_of(wait)
        span.histogram[bin_] = span.histogram.get(bin_, 0) + 1

    def _ran(self, started_at: datetime | None, ended_at: datetime) -> None:
        if started_at is not None:
            span = self._span(ended_at)
            span.runs += 1
            span.ran += max(0, to_milliseconds(ended_at) - to_milliseconds(started_at))

    def _span(self, at: datetime) -> Span:
        return self.spans.setdefault(_minute(self._past(at)) // _SPAN_MINUTES, Span())

    def _past(self, at: datetime) -> int:
        """When it happened by the observer's clock: another machine's may be ahead of it."""
        return min(to_milliseconds(at), self.now)

    def counters(self, *, marks: Marks, doubt: Doubt | None) -> Counters:
        minute = _minute(self.now)
        return Counters(
            counts=self.counts,
            hours={hour: done for hour, done in self.hours.items() if hour > minute // 60 - DONE_HOURS},
            minutes={number: seen for number, seen in self.minutes.items() if number > minute - RATE_MINUTES},
            spans={
                number: span for number, span in self.spans.items() if number > minute // _SPAN_MINUTES - TIMING_MINUTES // _SPAN_MINUTES
            },
            marks=marks,
            since=self.before.since,
            doubt=doubt,
            fresh=None if self.before.fresh is None else Fresh(self.before.fresh.since, self.fresh),
            rev=self.before.rev + 1,
        )


def _minute(at: int) -> int:
    return at // _MINUTE_MS


def _last_note(job: Job) -> tuple[str, datetime] | None:
    """Event and time of the newest history entry (`transitions.history_entry`), which every failed or lost attempt leaves."""
    try:
        event, at, *_ = json.loads(job.history[-1])
        return event, from_milliseconds(at)
    except (IndexError, TypeError, ValueError, OverflowError):
        return None


# ---------------------------------------------------------------------------------------------------- histogram


def bin_of(wait: int) -> int:
    """The histogram bin of a wait in milliseconds."""
    return 0 if wait < 1 else 1 + int(2 * math.log2(wait))


def percentile(histogram: Mapping[int, int], fraction: float) -> float:
    """The wait in milliseconds that `fraction` of the histogram's waits do not exceed, interpolated inside its bin."""
    rank = fraction * sum(histogram.values())
    below = 0
    for bin_, count in sorted(histogram.items()):
        if below + count >= rank:
            return 0.0 if bin_ == 0 else 2.0 ** ((bin_ - 1 + (rank - below) / count) / 2)
        below += count
    return 0.0
