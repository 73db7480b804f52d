"""Why a job is not running: one reason out of its record, its queue's definition and its queue's numbers.

This module decides and asks nobody. Where a number is an estimate, the sentence says "about".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobline.definitions import Queue
from jobline.job import WATCH_GRACE, Job, Status
from jobline.lanes import lane_of
from jobline.timeline import read_entry
from jobline.times import format_instant

if TYPE_CHECKING:
    from jobline.stats import QueueStats

ON_ITS_WAY: Final = timedelta(seconds=10)
"""For so long after a job is due nothing is wrong if it has not started: relay, SQS and Lambda need a moment each."""
STALLED_AFTER: Final = timedelta(minutes=2)
"""A job that waits longer, while nothing of its queue starts, waits for something that does not come by itself."""
FAILING: Final = 0.5
"""The share of failed attempts from which the failures are the reason."""
WALK_AFTER: Final = timedelta(minutes=15)
"""When at the latest a job that nobody watches is put under watch after its creation (see `ticker.WALK_BEHIND`)."""
TICK: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One answer."""

    code: str
    """For programs; the README lists them."""
    sentence: str
    """For people."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the sentence says, as JSON values."""

    def document(self, job: Job) -> dict[str, Any]:
        """The reason as the API answers it."""
        return {"id": job.id, "status": job.status.value, "code": self.code, "reason": self.sentence, "facts": self.facts}


def reason(job: Job, *, queue: Queue | None, takes_type: bool, stats: QueueStats | None, now: datetime) -> Reason:
    """Why the job is not running at this moment.

    `queue`: its definition, if it is still defined, and `takes_type` whether its worker still registers the job's type. `stats`, the
    queue's numbers, are needed for a job that waits in a queue that is defined (else ValueError).
    """
    if job.over:
        return _over(job)
    if job.status is Status.RUNNING:
        return _running(job, now)
    if job.expires_at <= now:
        return Reason(
            code="expiring",
            sentence=f"It should have started before {_at(job.expires_at)} and did not: it is about to be marked expired.",
            facts={"expires_at": _at(job.expires_at)},
        )
    if queue is None or not takes_type:
        gone = f"queue {job.queue!r} is no longer defined" if queue is None else f"queue {job.queue!r} no longer takes type {job.type!r}"
        return Reason(code="unserved", sentence=f"Its {gone}: nothing will run it.", facts={"queue": job.queue, "type": job.type})
    if stats is None:
        raise ValueError(f"job {job.id} waits: the numbers of its queue are needed")
    if job.scheduled_at > now:
        return _not_due(job, now, paused=stats.paused)
    if stats.paused:
        return Reason(
            code="paused", sentence=f"Its queue {job.queue!r} is paused: it starts after the queue is resumed.", facts=_due_facts(job, now)
        )
    if job.delivered_by_ticker:
        sentence = f"It fell due {_span(now - job.scheduled_at)} ago and waits for the ticker, which looks every minute."
        return Reason(code="waking", sentence=sentence, facts=_due_facts(job, now))
    return _waiting(job, queue, stats, now)


# ---------------------------------------------------------------------------------------------------- over, running


def _over(job: Job) -> Reason:
    ended = _at(job.completed_at)
    sentences = {
        Status.DONE: f"It is done since {ended}.",
        Status.DEAD: f"It is dead since {ended}, after {_count(job.attempts, 'attempt')}: {job.error or 'no error was recorded'}.",
        Status.CANCELLED: f"It was cancelled at {ended}.",
        Status.EXPIRED: f"It expired: it was to start before {_at(job.expires_at)}.",
    }
    again = "" if job.status is Status.DONE else " A retry runs it again."
    facts = {"completed_at": ended, "attempts": job.attempts, "max_attempts": job.max_attempts, "error": job.error}
    return Reason(code=job.status.value, sentence=sentences[job.status] + again, facts=facts)


def _running(job: Job, now: datetime) -> Reason:
    lease = job.lease_until or now
    facts = {
        "started_at": _at(job.started_at),
        "held_by": job.claimed_by,
        "lease_until": _at(job.lease_until),
        "cancel_requested": job.cancel_requested,
    }
    if lease > now:
        asked = " It has been asked to stop." if job.cancel_requested else ""
        sentence = (
            f"It is running: the worker {job.claimed_by} holds it since {_at(job.started_at)}, until {_at(lease)} at the latest.{asked}"
        )
        return Reason(code="running", sentence=sentence, facts=facts)
    settled = max(lease + WATCH_GRACE, _looked_at(job)) + TICK
    facts["settled_by"] = _at(max(settled, now))
    sentence = (
        f"Its worker {job.claimed_by} ended without a word: the lease was over at {_at(lease)}. It is settled when its message"
        f" comes back, which is soon, or else by the ticker, at about {_at(max(settled, now))}."
    )
    return Reason(code="lease_lost", sentence=sentence, facts=facts)


# ---------------------------------------------------------------------------------------------------- not due


def _not_due(job: Job, now: datetime, *, paused: bool) -> Reason:
    until, away = _at(job.scheduled_at), _span(job.scheduled_at - now)
    facts: dict[str, Any] = {"until": until, "seconds": _seconds(job.scheduled_at - now), "paused": paused}
    also = " Its queue is paused, too." if paused else ""
    if job.status is Status.FAILED:
        facts |= {"attempts": job.attempts, "max_attempts": job.max_attempts, "error": job.error}
        tried = f"Attempt {job.attempts} of {job.max_attempts} failed: {job.error or 'no error was recorded'}."
        return Reason(code="retrying", sentence=f"{tried} The next one is due at {until}, in {away}.{also}", facts=facts)
    if job.history and read_entry(job.history[-1]).event == "snoozed":
        return Reason(code="snoozed", sentence=f"Its handler put it off until {until}, in {away}.{also}", facts=facts)
    word = "scheduled for" if job.status is Status.SCHEDULED else "delayed until"
    code = "scheduled" if job.status is Status.SCHEDULED else "delayed"
    return Reason(code=code, sentence=f"It is {word} {until}, in {away}.{also}", facts=facts)


# ---------------------------------------------------------------------------------------------------- due and not started


def _waiting(job: Job, queue: Queue, stats: QueueStats, now: datetime) -> Reason:
    waited = now - job.scheduled_at
    facts = _due_facts(job, now)
    ahead = _ahead(job, stats, waited)
    facts |= {"jobs_ahead": ahead, "running": stats.running, "starts_per_second": stats.dequeue_rate, "error_rate": stats.error_rate}
    if job.ordered and waited > ON_ITS_WAY:
        return _in_order(job, now, facts)
    if waited > STALLED_AFTER and stats.dequeue_rate == 0 and stats.running == 0:
        facts["looked_at"] = _at(max(_looked_at(job), now) + TICK)
        sentence = (
            f"It is due for {_span(waited)}, and nothing of queue {job.queue!r} has started in the last 5 minutes: its worker"
            f" {queue.worker!r} cannot start (its log says why), or the message was lost; then another is sent at about"
            f" {facts['looked_at']}."
        )
        return Reason(code="stalled", sentence=sentence, facts=facts)
    lane = lane_of(job.priority, queue.lane_names)
    places = next(share for name, share in queue.lane_concurrency.items() if name == lane)
    if ahead > (0 if waited > ON_ITS_WAY else queue.concurrency * queue.batch_size):
        return _behind(job, stats, ahead, facts)
    if waited <= ON_ITS_WAY:
        return Reason(code="on_its_way", sentence=f"It is due for {_span(waited)}: its message is on its way to a worker.", facts=facts)
    if stats.running >= places:
        sentence = f"It waits for a free place: about {_count(stats.running, 'job')} of queue {job.queue!r} are running."
        return Reason(code="busy", sentence=sentence, facts=facts)
    facts["looked_at"] = _at(max(_looked_at(job), now) + TICK)
    sentence = (
        f"It is due for {_span(waited)} though hardly anything is ahead of it: its message is late or was lost. If nothing comes,"
        f" another is sent at about {facts['looked_at']}."
    )
    return Reason(code="overdue", sentence=sentence, facts=facts)


def _in_order(job: Job, now: datetime, facts: dict[str, Any]) -> Reason:
    facts |= {"ordering_key": job.ordering_key, "looked_at": _at(max(_looked_at(job), now) + TICK)}
    sentence = (
        f"It keeps its place: it starts when every job with the ordering key {job.ordering_key!r} that came before it is over, and the"
        f" first of them may be waiting for its next attempt. If there is none, its message is late or was lost, and another is sent at"
        f" about {facts['looked_at']}."
    )
    return Reason(code="in_order", sentence=sentence, facts=facts)


def _behind(job: Job, stats: QueueStats, ahead: int, facts: dict[str, Any]) -> Reason:
    jobs = f"about {_count(ahead, 'job')}"
    if stats.error_rate >= FAILING:
        sentence = (
            f"Its worker is failing: {stats.error_rate:.0%} of the attempts that ended in the last 5 minutes failed, and {jobs} of queue"
            f" {job.queue!r} wait ahead of it."
        )
        return Reason(code="failing", sentence=sentence, facts=facts)
    pace = "none has started in the last 5 minutes"
    if stats.dequeue_rate > 0:
        left = timedelta(seconds=ahead / stats.dequeue_rate)
        facts["seconds_left"] = _seconds(left)
        pace = f"{stats.dequeue_rate:.3g} start per second, so it may take about {_span(left)}"
    sentence = f"It waits its turn behind {jobs} of queue {job.queue!r}; {pace}."
    return Reason(code="behind", sentence=sentence, facts=facts)


def _ahead(job: Job, stats: QueueStats, waited: timedelta) -> int:
    """Jobs that probably start before this one: those that wait, less those that came after it at the pace of the last minutes."""
    itself = 1 if job.status is Status.PENDING else 0
    after = stats.enqueue_rate * waited.total_seconds()
    ahead = round(max(0.0, stats.pending - itself - after))
    # Two digits are all that an estimate has.
    return ahead if ahead < 100 else int(float(f"{ahead:.2g}"))


def _due_facts(job: Job, now: datetime) -> dict[str, Any]:
    facts: dict[str, Any] = {"due_at": _at(job.scheduled_at), "seconds": _seconds(now - job.scheduled_at)}
    return facts | {"attempts": job.attempts, "error": job.error} if job.status is Status.FAILED else facts


def _looked_at(job: Job) -> datetime:
    """When the ticker looks at the job at the latest."""
    return job.attention_at or job.created_at + WALK_AFTER


# ---------------------------------------------------------------------------------------------------- words


def _at(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _seconds(span: timedelta) -> float:
    return round(span.total_seconds(), 3)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _span(span: timedelta) -> str:
    """A duration in the largest unit that fits: `2.3 s`, `4 min`, `3 h`, `2 d`."""
    seconds = span.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s"
