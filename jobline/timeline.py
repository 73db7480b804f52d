"""What happened to a job, told from its record: the times of its straight path and the entries of its `history`.

This module decides nothing and asks nobody: the same record at the same time tells the same events.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from jobline.errors import CorruptRecord
from jobline.job import Job, Status
from jobline.times import format_instant, from_milliseconds
from jobline.transitions import HISTORY_LIMIT

LOST: Final = frozenset({"crash", "lost"})
"""A lease that ended without a word from its worker, as this release and an earlier one call it."""
FAILED: Final = frozenset({"failed", "timeout", "exit"})
_PUT_OFF: Final = frozenset({"snoozed"})
ENDS_A_RUN: Final = LOST | FAILED | _PUT_OFF | {"cancelled", "done", "dead", "expired"}
_MOVES_THE_TIME: Final = LOST | FAILED | _PUT_OFF | {"retried", "rescheduled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to a job."""

    at: datetime
    event: str
    """`enqueued`, `due`, `started`, `done`, `dead`, `expired`, or what a history entry says: `failed`, `timeout`, `exit`, `crash`,
    `snoozed`, `put_back`, `rescheduled`, `retried`, `cancel_requested`, `cancelled`."""
    attempt: int
    """The number of the attempt that it belongs to; 0 before the first."""
    detail: str = ""
    """The cause, for people."""
    seconds: float | None = None
    """How long what it ended had lasted: of `due` the delay, of `started` the wait, of the end of an attempt the attempt itself."""

    def document(self) -> dict[str, Any]:
        """The event as the API answers it; without `seconds` when the record does not tell them."""
        document: dict[str, Any] = {"at": format_instant(self.at), "event": self.event, "attempt": self.attempt, "detail": self.detail}
        return document if self.seconds is None else document | {"seconds": round(self.seconds, 3)}


def read_entry(text: str) -> Event:
    """The event of a history entry (`transitions.history_entry`); what a later release added to its end is passed over.

    Raises CorruptRecord.
    """
    try:
        event, at, attempt, detail, *more = json.loads(text)
        milliseconds = more[0] if more and type(more[0]) is int else None
        return Event(
            at=from_milliseconds(int(at)),
            event=str(event),
            attempt=int(attempt),
            detail=str(detail),
            seconds=None if milliseconds is None else milliseconds / 1000,
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise CorruptRecord(f"a history entry cannot be read: {error!r}") from error


def timeline(job: Job, *, now: datetime) -> list[Event]:
    """What happened to the job until `now`, oldest first. Raises CorruptRecord."""
    entries = [read_entry(text) for text in job.history]
    events = [_enqueued(job, entries), *_with_their_starts(entries)]
    events += _last_start(job, entries, events)
    events += _end(job, events)
    events += _due(job, events, now)
    events.sort(key=lambda event: (event.at, _rank(event)))
    return list(_with_durations(events, job))


def timeline_document(job: Job, *, now: datetime) -> dict[str, Any]:
    """The timeline as the API answers it: `{"events": […]}`, and `"truncated": true` when the oldest entries are no longer kept."""
    document: dict[str, Any] = {"events": [event.document() for event in timeline(job, now=now)]}
    return document | {"truncated": True} if len(job.history) >= HISTORY_LIMIT else document


def _enqueued(job: Job, entries: list[Event]) -> Event:
    moved = job.continued > 0 or any(entry.event in _MOVES_THE_TIME for entry in entries)
    later = not moved and job.scheduled_at > job.created_at
    return Event(at=job.created_at, event="enqueued", attempt=0, detail=f"due {format_instant(job.scheduled_at)}" if later else "")


def _with_their_starts(entries: list[Event]) -> Iterator[Event]:
    """The entries, and before each that says how long its attempt took, the start of that attempt."""
    for entry in entries:
        if entry.seconds is not None:
            yield Event(at=entry.at - timedelta(seconds=entry.seconds), event="started", attempt=entry.attempt)
        yield entry


def _last_start(job: Job, entries: list[Event], events: list[Event]) -> list[Event]:
    """The last start, which the record itself tells, unless an entry told it already."""
    started = job.started_at
    if started is None or any(event.event == "started" and event.at == started for event in events):
        return []
    ended = next((entry for entry in entries if entry.at > started and entry.event in LOST | FAILED | _PUT_OFF), None)
    if ended is not None:
        return [Event(at=started, event="started", attempt=ended.attempt)]
    if job.status is not Status.RUNNING:
        # Of the others only these end without an entry what had been started; else the claim was handed back, nothing started.
        really = job.status in {Status.DONE, Status.DEAD} or job.continued > 0
        return [Event(at=started, event="started", attempt=job.attempts)] if really else []
    # A claim in a batch spends the attempt only when it ends; then the last failure tells which one this is.
    last = next((entry for entry in reversed(entries) if entry.event in FAILED | {"retried"}), None)
    after = last.attempt + 1 if last is not None and last.event != "retried" else 1
    return [Event(at=started, event="started", attempt=max(job.attempts, after))]


def _end(job: Job, events: list[Event]) -> list[Event]:
    if not job.over or job.completed_at is None:
        return []
    told = any(event.event == job.status and event.at == job.completed_at for event in events)
    if told:
        return []
    details = {
        Status.DEAD: f"{job.attempts} of {job.max_attempts} attempts" if job.attempts >= job.max_attempts else job.error or "",
        Status.CANCELLED: "on request",
        Status.EXPIRED: f"not started by {format_instant(job.expires_at)}",
    }
    return [Event(at=job.completed_at, event=job.status.value, attempt=job.attempts, detail=details.get(job.status, ""))]


def _due(job: Job, events: list[Event], now: datetime) -> list[Event]:
    """The moment for which the job last waited, if that was no other event's and has come."""
    until = job.completed_at or now
    if job.scheduled_at > until or any(event.at == job.scheduled_at for event in events):
        return []
    before = [event for event in events if event.at < job.scheduled_at]
    return [Event(at=job.scheduled_at, event="due", attempt=before[-1].attempt if before else 0)]


def _rank(event: Event) -> int:
    """The order of events of the same millisecond; a lease is lost before its job is started again."""
    return {"enqueued": 0, "due": 1, "started": 3, "done": 5, "dead": 5, "expired": 5}.get(event.event, 2 if event.event in LOST else 4)


def _with_durations(events: list[Event], job: Job) -> Iterator[Event]:
    """The events, each with what its predecessors tell of how long something took."""
    started: datetime | None = None
    before: datetime | None = None
    for event in events:
        seconds = event.seconds
        if event.event == "started":
            seconds = (event.at - before).total_seconds() if before is not None else None
            started = event.at
        elif event.event == "due" and before is not None:
            seconds = (event.at - before).total_seconds()
        elif event.event in ENDS_A_RUN:
            if started is not None and seconds is None:
                seconds = (event.at - started).total_seconds()
            started = None
        yield replace(event, seconds=seconds)
        before = event.at
