"""A tick that is cut short: what it has looked at is kept, and no queue waits for another's backlog."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from jobline.job import Status
from jobline.log import Silence
from jobline.memory import MemoryStore
from jobline.queue_states import QueueState
from jobline.store import Key
from jobline.ticker import Ticker
from jobline.transitions import enqueued
from tests.factories import KEEP, NOW, make_job, seconds


class States:
    """Queue states in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, QueueState] = {}

    def get(self, queue: str) -> QueueState:
        return self.kept.get(queue, QueueState())

    def save_walk(self, queue: str, state: QueueState) -> None:
        self.kept[queue] = state


class CountingStore(MemoryStore):
    """Counts the reads of the walk and of the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def walk(self, partition: str, *, after: Key | None, until: datetime, limit: int, since: datetime | None = None) -> tuple[Key, ...]:
        self.reads += 1
        return super().walk(partition, after=after, until=until, limit=limit, since=since)


def after_reads(store: CountingStore, most: int) -> Callable[[], bool]:
    """Out of time once `most` more reads were made."""
    end = store.reads + most
    return lambda: store.reads >= end


def ticker(store: MemoryStore, states: States, *queues: str, now: datetime = NOW) -> Ticker:
    return Ticker(store=store, states=states, queues=queues, keep=lambda queue: KEEP, clock=lambda: now, log=Silence())


def fill_with_finished_jobs(store: MemoryStore, count: int) -> None:
    for number in range(count):
        job_id = f"0197a000-0000-7000-8000-{number:012d}"
        store.create(make_job(id=job_id, status=Status.DONE, created_at=NOW - timedelta(hours=1) + seconds(number / 10)), now=NOW)


def test_a_sample_that_runs_out_of_time_goes_on_where_it_stopped() -> None:
    store, states = CountingStore(), States()
    fill_with_finished_jobs(store, 4000)
    waiting = make_job(id="0197a000-0000-7000-8000-ffffffffffff", created_at=NOW - seconds(30), scheduled_at=NOW - seconds(30))
    store.create(waiting, now=NOW)
    ticks = 0
    while states.get("emails").oldest_created_at != waiting.created_at:
        before = store.reads
        ticker(store, states, "emails").tick(after_reads(store, 20))
        assert store.reads - before <= 20
        ticks += 1
        assert ticks < 30, "the sample never gets past a backlog of finished jobs"
    assert ticks > 1


def test_every_queue_is_attended_before_any_is_walked() -> None:
    store, states = CountingStore(), States()
    fill_with_finished_jobs(store, 3000)
    due = enqueued(make_job(id="0197a000-0000-7000-8000-ffffffffffff", queue="images", scheduled_at=NOW + timedelta(hours=1)), now=NOW)
    store.create(due, now=NOW)
    ticker(store, states, "emails", "images", now=NOW + timedelta(hours=1)).tick(after_reads(store, 5))
    assert store.jobs[due.id].status is Status.PENDING
