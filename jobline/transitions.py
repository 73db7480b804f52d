"""Every row of the protocol as a function that returns one conditional write.

A `Write` is data: what must hold, what is set, added and removed. The store turns it into a DynamoDB request, the in-memory
store interprets it, and nothing else in Jobline changes a record. Times, ids and chance come in as arguments.
docs/protocol.md (PROTOCOL.md in comments) has the table; the rule numbers in the comments are its rules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from jobline.follow_ups import follow_ups
from jobline.job import FAR_FUTURE, LONGEST_MESSAGE_DELAY, RETRYABLE, TERMINAL, TRANSITIONS, WAITING, WATCH_GRACE, Job, Status
from jobline.shards import attention_partition
from jobline.times import format_instant, to_milliseconds

PROMOTE_AHEAD = timedelta(seconds=90)
"""The ticker hands a job to the relay this long before it is due: a tick and a half."""
RESEND_FIRST_PAUSE = timedelta(minutes=15)
RESEND_LONGEST_PAUSE = timedelta(hours=24)
REST_LONGEST_PAUSE = timedelta(hours=1)
MAX_SNOOZES = 100
MAX_CONTINUATIONS = 1000
"""Runs that one piece of work may take, one after the other: at a quarter of an hour each, ten days."""
HISTORY_LIMIT = 40
"""Entries kept in `history`; beyond it the oldest go (they are also in the logs)."""
ERROR_LIMIT = 2048
"""Bytes of UTF-8 that an error text may take."""

Cause = Literal["failed", "timeout", "exit"]
"""How an attempt failed, as its history entry begins: it raised, took too long, or tried to end the process. A lost lease is a `crash`."""
Operator = Literal["=", "<=", ">", "in", "missing"]


class Condition(NamedTuple):
    """One thing that must hold of one field; a missing field satisfies only `missing`."""

    field: str
    operator: Operator
    value: Any = None


class Retention(NamedTuple):
    """Seconds that an ended job is kept."""

    done: int = 7 * 24 * 3600
    others: int = 30 * 24 * 3600


Keep = Callable[[str], Retention]
"""The retention of a queue, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One conditional change of one record; all conditions must hold (there is no OR, R18)."""

    event: str
    """The row of `TRANSITIONS` that this is."""
    when: tuple[Condition, ...]
    set: Mapping[str, Any]
    add: Mapping[str, int]
    remove: tuple[str, ...] = ()
    note: str | None = None
    """A history entry to append."""
    makes: tuple[Job, ...] = ()
    """Jobs that are made by the same write: the follow-ups of an ending. One that is there already is not made again."""
    read: Job | None = None
    """With `makes`: the record as it was read. The write holds only while it is still that one, so what it becomes is known."""

    def __post_init__(self) -> None:
        target = self.set.get("status")
        if target is not None and target not in TRANSITIONS[self.event].targets:
            raise ValueError(f"{self.event} cannot lead to {target}")

    def on_condition(self, *more: Condition) -> Write:
        """The same write under further conditions."""
        return replace(self, when=self.when + more)


_EMPTY: dict[str, Any] = {"cancel_requested": False, "solo": False, "history": (), "tags": ()}


def applied(job: Job, write: Write) -> Job:
    """The record after an unconditional application of `write`."""
    fields: dict[str, Any] = {name: _EMPTY.get(name) for name in write.remove if name not in write.set}
    fields |= write.set
    fields |= {name: getattr(job, name) + amount for name, amount in write.add.items()}
    if write.note is not None:
        fields["history"] = (*job.history, write.note)
    return replace(job, **fields)


def history_entry(event: str, at: datetime, attempt: int, detail: str = "", *, since: datetime | None = None) -> str:
    """One compact history entry: `[event, epoch milliseconds, attempt, detail]`.

    The end of an attempt that began at `since` has the milliseconds that it took as a fifth element.
    """
    entry: list[Any] = [event, to_milliseconds(at), attempt, detail[:400]]
    if since is not None:
        entry.append(max(0, to_milliseconds(at) - to_milliseconds(since)))
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False)


def clip_error(text: str) -> str:
    """`text` cut to `ERROR_LIMIT` bytes of UTF-8, never inside a character; lone surrogates are escaped."""
    data = text.encode("utf-8", "backslashreplace")
    return data[:ERROR_LIMIT].decode("utf-8", "ignore")


# ---------------------------------------------------------------------------------------------------- enqueue


def enqueued(job: Job, *, now: datetime) -> Job:
    """The record as enqueue writes it: `pending` when a message can wait that long, else `scheduled` and under watch (R2)."""
    if job.scheduled_at - now <= LONGEST_MESSAGE_DELAY:
        return replace(job, status=Status.PENDING, attention=None, attention_at=None)
    return replace(job, **_waiting(job, job.scheduled_at, now, short=Status.PENDING, long=Status.SCHEDULED))


# ---------------------------------------------------------------------------------------------------- claim


class Claimant(NamedTuple):
    """Who claims: the Lambda request, the SQS message it came with, that message's dispatch, and until when."""

    request_id: str
    carrier: str
    dispatch: int
    lease_until: datetime


def claim(who: Claimant, *, now: datetime, alone: bool) -> Write:
    """Take the lease of a job that waits and is due.

    `alone` spends the attempt and takes suspects too; a claim in a batch leaves suspects out and spends none (R12, R13).
    """
    when: tuple[Condition, ...] = (
        Condition("status", "in", (Status.PENDING, Status.FAILED)),
        Condition("dispatch", "=", who.dispatch),
        Condition("scheduled_at", "<=", now),
        Condition("expires_at", ">", now),
    )
    if not alone:
        when += (Condition("solo", "missing"),)
    add = {"token": 1, "attempts": 1} if alone else {"token": 1}
    return _write("claim", when, _lease(who, now), add=add, remove=("ttl",))


def take_over(job: Job, who: Claimant, *, now: datetime, keep: Retention) -> Write:
    """Settle a lost lease while holding its message: end the job, or run it alone (R11).

    `job` is the record as it was read; the write holds only while token and cancel request are still the same.
    """
    when = (*_lost(job, now), Condition("dispatch", "=", who.dispatch))
    ended = _ended_by_lost_lease(job, now, keep)
    note = history_entry("crash", now, job.attempts, f"the worker {job.claimed_by} ended without a word", since=job.started_at)
    if ended is not None:
        return _write("take_over", when, ended.set, remove=ended.remove, note=note, job=job)
    return _write(
        "take_over", when, _lease(who, now) | {"solo": True}, add={"token": 1, "attempts": 1}, remove=("ttl",), note=note, job=job
    )


def lose(job: Job, *, now: datetime, keep: Retention, over_since: datetime, dispatch: int | None = None) -> Write:
    """Settle a lost lease without holding its message: end the job, or make it due now, marked to run alone (R11).

    `over_since`: the lease must have ended by then. Never `pending`: the suspicion would be wiped.
    """
    when = _lost(job, over_since)
    if dispatch is not None:
        when += (Condition("dispatch", "=", dispatch),)
    ended = _ended_by_lost_lease(job, now, keep)
    note = history_entry("crash", now, job.attempts, f"the worker {job.claimed_by} ended without a word", since=job.started_at)
    if ended is not None:
        return _write("lose", when, ended.set, remove=ended.remove, note=note, job=job)
    fields = {"status": Status.FAILED, "solo": True, "scheduled_at": now, "error": LOST_LEASE_ERROR, **_watched(job, now + WATCH_GRACE)}
    return _write("lose", when, fields, add=_new_message(job), remove=(*_LEASE, "ttl"), note=note, job=job)


LOST_LEASE_ERROR = "WorkerLost: the worker ended without finishing this job (killed, out of memory, or timed out)"


# ---------------------------------------------------------------------------------------------------- finish


def hand_back(job: Job, *, now: datetime, alone: bool, keep: Retention) -> Write:
    """Give up the lease of a job that was not started; an attempt that the claim spent comes back (R12, R17)."""
    when = (*_held(job), _cancel_as_read(job))
    add = {"attempts": -1} if alone else {}
    if job.cancel_requested:
        ending = _ending(job, Status.CANCELLED, now, keep)
        return _write("hand_back", when, ending.set, add=add, remove=ending.remove, job=job)
    return _write("hand_back", when, {"status": Status.PENDING}, add=add, remove=(*_LEASE, "ttl"))


def done(job: Job, *, now: datetime, result: str | None, result_ref: str | None, alone: bool, keep: Retention) -> Write:
    """Record the result; a cancel request that came too late changes nothing (R21)."""
    ending = _ending(job, Status.DONE, now, keep)
    fields = ending.set | {"result": result, "result_ref": result_ref, "attempts": job.attempts + (0 if alone else 1)}
    kept = {name: value for name, value in fields.items() if value is not None}
    return _write("done", _held(job), kept, remove=(*ending.remove, "error"), job=job)


def fail(
    job: Job,
    *,
    now: datetime,
    error: str,
    delay: timedelta,
    alone: bool,
    keep: Retention,
    retryable: bool = True,
    cause: Cause = "failed",
) -> Write:
    """Record a failed attempt, by its `cause`.

    It is `cancelled` if that was requested, `dead` when no attempt is left, else `failed` until `now + delay`.
    """
    attempts = job.attempts + (0 if alone else 1)
    error = clip_error(error)
    note = history_entry(cause, now, attempts, error, since=job.started_at)
    when = (*_held(job), _cancel_as_read(job))
    if job.cancel_requested or not retryable or attempts >= job.max_attempts:
        ending = _ending(job, Status.CANCELLED if job.cancel_requested else Status.DEAD, now, keep)
        return _write("fail", when, ending.set | {"attempts": attempts, "error": error}, remove=ending.remove, note=note, job=job)
    fields = _waiting(job, now + delay, now, short=Status.FAILED, long=Status.FAILED) | {"attempts": attempts, "error": error}
    return _write("fail", when, fields, add=_new_message(job), remove=(*_LEASE, "solo", "ttl"), note=note, job=job)


def snooze(job: Job, *, now: datetime, delay: timedelta, alone: bool, keep: Retention, cap: int = MAX_SNOOZES) -> Write:
    """Put the job off without using an attempt; `dead` past `cap` snoozes, so that it always ends (R22)."""
    when = (*_held(job), _cancel_as_read(job))
    note = history_entry("snoozed", now, job.attempts, f"{delay.total_seconds():g} s", since=job.started_at)
    if job.snoozes >= cap or job.cancel_requested:
        ending = _ending(job, Status.CANCELLED if job.cancel_requested else Status.DEAD, now, keep)
        fields = ending.set | {"attempts": job.attempts + (0 if alone else 1)}
        if not job.cancel_requested:
            fields["error"] = f"SnoozedTooOften: snoozed {cap} times without an end"
        return _write("snooze", when, fields, remove=ending.remove, note=note, job=job)
    fields = _waiting(job, now + delay, now, short=Status.PENDING, long=Status.SCHEDULED)
    add = {"snoozes": 1} | _new_message(job) | ({"attempts": -1} if alone else {})
    return _write("snooze", when, fields, add=add, remove=(*_LEASE, "ttl"), note=note, job=job)


def go_on(job: Job, *, now: datetime, alone: bool, keep: Retention, cap: int = MAX_CONTINUATIONS) -> Write:
    """Stop at a checkpoint and go on in another run, at once and without using an attempt; `dead` past `cap` runs (R22)."""
    when = (*_held(job), _cancel_as_read(job))
    if job.continued >= cap or job.cancel_requested:
        ending = _ending(job, Status.CANCELLED if job.cancel_requested else Status.DEAD, now, keep)
        fields = ending.set | {"attempts": job.attempts + (0 if alone else 1)}
        if not job.cancel_requested:
            fields["error"] = f"ContinuedTooOften: went on {cap} times without an end"
        return _write("continue", when, fields, remove=ending.remove, job=job)
    fields = {"status": Status.PENDING, "scheduled_at": now, **_watched(job, now + WATCH_GRACE)}
    add = {"continued": 1} | _new_message(job) | ({"attempts": -1} if alone else {})
    return _write("continue", when, fields, add=add, remove=(*_LEASE, "ttl"))


def abandon(job: Job, *, now: datetime, reason: str, alone: bool, keep: Retention) -> Write:
    """End a running job as `cancelled` because its handler asked for that."""
    attempts = job.attempts + (0 if alone else 1)
    ending = _ending(job, Status.CANCELLED, now, keep)
    note = history_entry("cancelled", now, attempts, clip_error(reason), since=job.started_at)
    return _write("abandon", _held(job), ending.set | {"attempts": attempts}, remove=ending.remove, note=note, job=job)


def progress(job: Job, text: str) -> Write:
    """Store what the handler reports of its progress, only while it holds the lease."""
    return _write("progress", _held(job), {"progress": text})


def checkpoint(job: Job, text: str) -> Write:
    """Store where the work stands, only while it holds the lease."""
    return _write("checkpoint", _held(job), {"checkpoint": text})


# ---------------------------------------------------------------------------------------------------- api


def cancel(job: Job, *, now: datetime, op: str, keep: Retention, reason: str = "on request") -> Write:
    """Cancel a job that waits; refused for any other."""
    ending = _ending(job, Status.CANCELLED, now, keep)
    note = history_entry("cancelled", now, job.attempts, reason)
    return _write("cancel", (_in(WAITING),), ending.set | {"last_op": op}, remove=ending.remove, note=note, job=job)


def forget(job: Job, *, now: datetime) -> Write:
    """Make a record that is over count as absent from now on; DynamoDB removes it later.

    For a record that may not be removed at once: a worker that lost its lease may still be running, and a new job of the same id
    must go on counting the token that refuses its finish (R19).
    """
    return _write("forget", (_in(TERMINAL), Condition("rev", "=", job.rev)), {"ttl": int(now.timestamp())})


def recount(job: Job, *, since: datetime) -> Write:
    """Bring a record into the counters that are being made anew from `since` on; nothing else of it changes.

    Every status but `done`, which no counter counts and nothing leaves; `cancelled` and `expired` can be retried.
    """
    return _write("recount", (_in(frozenset(Status) - {Status.DONE}),), {"recounted_at": since})


def request_cancel(job: Job, *, now: datetime, op: str) -> Write:
    """Ask the running attempt to stop; no later attempt will start (R21)."""
    note = history_entry("cancel_requested", now, job.attempts)
    return _write(
        "request_cancel", (Condition("status", "=", Status.RUNNING),), {"cancel_requested": True, "last_op": op}, note=note, job=job
    )


def retry(job: Job, *, now: datetime, op: str) -> Write:
    """Run a failed, dead, cancelled or expired job again now: attempts start over, history and token stay (R19)."""
    expires_at = FAR_FUTURE if job.expires_in is None else now + timedelta(seconds=job.expires_in)
    fields = {
        "status": Status.PENDING,
        "scheduled_at": now,
        "attempts": 0,
        "snoozes": 0,
        "continued": 0,
        "expires_at": expires_at,
        "last_op": op,
        **_watched(replace(job, expires_at=expires_at), now + WATCH_GRACE),
    }
    removed = (*_LEASE, "ttl", "cancel_requested", "error", "result", "result_ref", "started_at", "completed_at", "progress")
    note = history_entry("retried", now, job.attempts, f"was {job.status}")
    when = (_in(RETRYABLE), Condition("rev", "=", job.rev))
    return _write("retry", when, fields, add={"dispatch": 1}, remove=removed, note=note, job=job)


def reschedule(job: Job, *, now: datetime, op: str, scheduled_at: datetime, priority: int) -> Write:
    """Move a waiting job to another time or priority: a new message in the right lane, the old one void (R24)."""
    failed = job.status is Status.FAILED
    short, long = (Status.FAILED, Status.FAILED) if failed else (Status.PENDING, Status.SCHEDULED)
    fields = _waiting(job, scheduled_at, now, short=short, long=long) | {"priority": priority, "last_op": op}
    when = (_in(WAITING), Condition("rev", "=", job.rev))
    note = history_entry("rescheduled", now, job.attempts, f"due {format_instant(scheduled_at)}, priority {priority}")
    return _write("reschedule", when, fields, add={"dispatch": 1}, remove=("ttl",), note=note, job=job)


# ---------------------------------------------------------------------------------------------------- ticker, dead_letters


def promote(job: Job, *, now: datetime) -> Write:
    """Hand a job that falls due to the relay; checked in the write, since the index that named it may be stale (R4)."""
    when = (
        _in({Status.SCHEDULED, Status.FAILED}),
        Condition("scheduled_at", "<=", now + PROMOTE_AHEAD),
        Condition("expires_at", ">", now),
        Condition("rev", "=", job.rev),
    )
    fields = {"status": Status.PENDING, **_watched(job, job.scheduled_at + WATCH_GRACE)}
    return _write("promote", when, fields, add={"dispatch": 1}, remove=("ttl",))


def expire(job: Job, *, now: datetime, keep: Retention, dispatch: int | None = None) -> Write:
    """End a waiting job whose `expires_at` has passed."""
    when: tuple[Condition, ...] = (_in(WAITING), Condition("expires_at", "<=", now))
    if dispatch is not None:
        when += (Condition("dispatch", "=", dispatch),)
    ending = _ending(job, Status.EXPIRED, now, keep)
    return _write("expire", when, ending.set, remove=ending.remove, job=job)


def resend(job: Job, *, now: datetime) -> Write:
    """Ask the relay for one more copy of the same dispatch, with growing pauses (R10)."""
    pause = min(RESEND_FIRST_PAUSE * 4 ** min(job.resend, 5), RESEND_LONGEST_PAUSE)
    when = (
        Condition("status", "in", (Status.PENDING, Status.FAILED)),
        Condition("attention_at", "<=", now),
        Condition("rev", "=", job.rev),
    )
    return _write("resend", when, _watched(job, now + pause), add={"resend": 1})


def rest(job: Job, *, now: datetime) -> Write:
    """Look again later at a waiting job whose queue is paused, or was until lately, and send nothing (R10).

    The longer it has waited, the longer the pause: what a paused queue holds costs little, and stands in nobody's way.
    """
    pause = min(max(now - job.created_at, RESEND_FIRST_PAUSE), REST_LONGEST_PAUSE)
    return _write("watch", (_in(WAITING), Condition("rev", "=", job.rev)), _watched(job, now + pause))


def put_back(job: Job, *, now: datetime, dispatch: int) -> Write:
    """Replace a message that SQS gave up on: status and due time stay, the new dispatch brings a new message (R23)."""
    when = (
        Condition("status", "in", (Status.PENDING, Status.FAILED)),
        Condition("dispatch", "=", dispatch),
        Condition("expires_at", ">", now),
    )
    note = history_entry("put_back", now, job.attempts, "its message ran out of receives")
    fields = _watched(job, max(now, job.scheduled_at) + WATCH_GRACE)
    return _write("put_back", when, fields, add={"dispatch": 1}, note=note, job=job)


def watch(job: Job, *, now: datetime) -> Write:
    """Put a job that nobody watches under watch: the next tick looks at it (R6, R7)."""
    when = (_in(WAITING | {Status.RUNNING}), Condition("attention", "missing"))
    return _write("watch", when, {"attention": attention_partition(job.queue, "open", job.id), "attention_at": now})


def watch_lease(job: Job, *, now: datetime) -> Write:
    """Look at a running job again when its lease should be over (R7)."""
    when = (Condition("status", "=", Status.RUNNING), Condition("rev", "=", job.rev))
    return _write("watch", when, _watched(job, max(now, job.lease_until or now) + WATCH_GRACE))


# ---------------------------------------------------------------------------------------------------- what rows share

_LEASE = ("lease_until", "claimed_by", "carrier")


class _Change(NamedTuple):
    set: dict[str, Any]
    remove: tuple[str, ...]


def _write(
    event: str,
    when: tuple[Condition, ...],
    fields: Mapping[str, Any],
    *,
    add: Mapping[str, int] | None = None,
    remove: tuple[str, ...] = (),
    note: str | None = None,
    job: Job | None = None,
) -> Write:
    """`job` is the record as it was read: for a note, and for every write that ends the job, which makes its follow-ups."""
    fields = dict(fields)
    if note is not None and job is not None and len(job.history) >= HISTORY_LIMIT:
        fields["history"], note = (*job.history[1 - HISTORY_LIMIT :], note), None
    write = Write(event=event, when=when, set=fields, add={"rev": 1, **(add or {})}, remove=remove, note=note)
    if fields.get("status") not in TERMINAL:
        return write
    if job is None:
        raise ValueError(f"{event} ends a job without saying which")
    makes = follow_ups(job, fields["status"], fields["completed_at"])
    return replace(write, when=(*when, *_as_read(job)), makes=makes, read=job) if makes else write


def _in(statuses: frozenset[Status] | set[Status]) -> Condition:
    return Condition("status", "in", tuple(sorted(statuses)))


def _held(job: Job) -> tuple[Condition, ...]:
    return (Condition("status", "=", Status.RUNNING), Condition("token", "=", job.token))


def _as_read(job: Job) -> tuple[Condition, ...]:
    """The record is still the one that was read, and no other job's that has come under the same id: `rev` alone begins anew."""
    return (Condition("rev", "=", job.rev), Condition("created_at", "=", job.created_at))


def _cancel_as_read(job: Job) -> Condition:
    return Condition("cancel_requested", "=", True) if job.cancel_requested else Condition("cancel_requested", "missing")


def _lost(job: Job, by: datetime) -> tuple[Condition, ...]:
    return (*_held(job), Condition("lease_until", "<=", by), _cancel_as_read(job))


def _lease(who: Claimant, now: datetime) -> dict[str, Any]:
    return {
        "status": Status.RUNNING,
        "lease_until": who.lease_until,
        "claimed_by": who.request_id,
        "carrier": who.carrier,
        "started_at": now,
    }


def _watched(job: Job, at: datetime) -> dict[str, Any]:
    """Under watch at `at`, and never later than expiry (R18)."""
    return {"attention": attention_partition(job.queue, "open", job.id), "attention_at": min(at, job.expires_at)}


def _new_message(job: Job) -> dict[str, int]:
    """What asks the relay for a new message. A job of an ordered queue keeps the one that it has, and so its place (R28)."""
    return {} if job.ordered else {"dispatch": 1}


def _waiting(job: Job, due: datetime, now: datetime, *, short: Status, long: Status) -> dict[str, Any]:
    """Wait until `due`; who delivers is fixed here and by nobody's clock later (R2). An ordered job's message waits in SQS all the time."""
    if job.ordered or due - now <= LONGEST_MESSAGE_DELAY:
        # A job that is late already is not overdue again at once: its new message has just been asked for.
        return {"status": short, "scheduled_at": due, **_watched(job, max(due, now) + WATCH_GRACE)}
    return {"status": long, "scheduled_at": due, **_watched(job, due)}


def _ending(job: Job, status: Status, now: datetime, keep: Retention) -> _Change:
    retention = keep.done if status is Status.DONE else keep.others
    fields: dict[str, Any] = {"status": status, "completed_at": now, "ttl": int(now.timestamp()) + retention}
    if status is Status.DONE:
        return _Change(fields, (*_LEASE, "solo", "attention", "attention_at"))
    fields |= {"attention": attention_partition(job.queue, status.value, job.id), "attention_at": now}
    return _Change(fields, _LEASE)


def _ended_by_lost_lease(job: Job, now: datetime, keep: Retention) -> _Change | None:
    if job.attempts >= job.max_attempts:
        ending = _ending(job, Status.DEAD, now, keep)
        return _Change(ending.set | {"error": LOST_LEASE_ERROR}, ending.remove)
    if job.cancel_requested:
        return _ending(job, Status.CANCELLED, now, keep)
    return None
