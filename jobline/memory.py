"""The table in memory: the same answers as `store.JobStore`, for tests and for trying handlers without AWS.

It interprets `Write` directly, keeps the change feed that DynamoDB's stream would carry, and holds nothing but jobs and locks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from jobline.creation import Creation, Replaced, new_record
from jobline.job import Job
from jobline.locks import Lock
from jobline.shards import attention_partitions, queue_partitions
from jobline.store import Key, Outcome, Page, Position, merge, refuse_to_delete_what_is_open
from jobline.transitions import Condition, Write, applied


class Change(NamedTuple):
    """One entry of the change feed: the record before and after; `None` where there was or is none."""

    before: Job | None
    after: Job | None


class MemoryStore:
    """A `store.Store` that lives in this process."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.locks: dict[str, Lock] = {}
        self.changes: list[Change] = []

    def get(self, job_id: str) -> Job | None:
        return self.jobs.get(job_id)

    def get_many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        return {job_id: self.jobs[job_id] for job_id in job_ids if job_id in self.jobs}

    def create(self, job: Job, *, now: datetime) -> Outcome:
        existing = self.jobs.get(job.id)
        if existing is not None and not existing.gone(now):
            return Outcome(False, existing)
        job = new_record(job, existing)
        self._record(existing, job)
        return Outcome(True, job)

    def create_many(self, jobs: Sequence[Job]) -> list[bool | None]:
        verdicts: list[bool | None] = []
        for job in jobs:
            free = job.id not in self.jobs
            if free:
                self._record(None, new_record(job, None))
            verdicts.append(free)
        return verdicts

    def create_unique(
        self, job: Job, lock: Lock, *, over: Job | None = None, before: Lock | None = None, replaced: Replaced | None = None
    ) -> Creation:
        existing, held = self.jobs.get(job.id), self.locks.get(lock.id)
        waiting = replaced is None or self._holds(replaced.job.id, replaced.write)
        if existing != over or held != before or not waiting:
            return Creation(False, existing, held)
        if replaced is not None:
            self.apply(replaced.job.id, replaced.write)
        job = new_record(job, over)
        self._record(existing, job)
        self.locks[lock.id] = lock
        return Creation(True, job, lock)

    def get_lock(self, lock_id: str) -> Lock | None:
        return self.locks.get(lock_id)

    def apply(self, job_id: str, write: Write) -> Outcome:
        job = self.jobs.get(job_id)
        if job is None or not self._holds(job_id, write):
            return Outcome(False, job)
        changed = applied(job, write)
        self._record(job, changed)
        for made in write.makes:
            if made.id not in self.jobs:
                self._record(None, new_record(made, None))
        return Outcome(True, changed)

    def delete(self, job: Job) -> bool:
        refuse_to_delete_what_is_open(job)
        known = self.jobs.get(job.id)
        if known is not None and known.rev != job.rev:
            return False
        if known is not None:
            self.remove(job.id)
        return True

    def apply_many(self, writes: Sequence[tuple[str, Write]]) -> list[Outcome | None]:
        return [None if write.makes else self.apply(job_id, write) for job_id, write in writes]

    def _holds(self, job_id: str, write: Write) -> bool:
        job = self.jobs.get(job_id)
        return job is not None and all(holds(condition, job) for condition in write.when)

    def remove(self, job_id: str) -> None:
        """What DynamoDB does to a record some time after its `ttl`."""
        self.changes.append(Change(self.jobs.pop(job_id), None))

    def _record(self, before: Job | None, after: Job) -> None:
        self.jobs[after.id] = after
        if before != after:
            self.changes.append(Change(before, after))

    def page_by_queue(
        self, queue: str, *, limit: int, start: Position | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Page:
        keys = {job.id: (job.queue_shard, Key(job.id, job.created_at)) for job in self.jobs.values()}
        return _page(list(keys.values()), queue_partitions(queue), limit, start, newest_first=True, since=since, until=until)

    def page_by_attention(
        self, queue: str, kind: str, *, limit: int, start: Position | None = None, until: datetime | None = None, newest_first: bool = False
    ) -> Page:
        keys = [(job.attention, Key(job.id, job.attention_at)) for job in self.jobs.values() if job.attention and job.attention_at]
        return _page(keys, attention_partitions(queue, kind), limit, start, newest_first=newest_first, since=None, until=until)

    def walk(self, partition: str, *, after: Key | None, until: datetime, limit: int, since: datetime | None = None) -> tuple[Key, ...]:
        keys = sorted((Key(job.id, job.created_at) for job in self.jobs.values() if job.queue_shard == partition), key=_order)
        unread = [
            key for key in keys if (since is None or key.at >= since) and key.at <= until and (after is None or _order(key) > _order(after))
        ]
        return tuple(unread[:limit])


def _order(key: Key) -> tuple[datetime, str]:
    return (key.at, key.id)


def _page(
    entries: Sequence[tuple[str, Key]],
    partitions: tuple[str, ...],
    limit: int,
    start: Position | None,
    *,
    newest_first: bool,
    since: datetime | None,
    until: datetime | None,
) -> Page:
    position = dict(start or {})
    found: dict[str, tuple[Key, ...]] = {}
    more = set()
    for partition in partitions:
        after = position.get(partition)
        if partition in position and after is None:
            continue
        keys = sorted((key for home, key in entries if home == partition), key=_order, reverse=newest_first)
        keys = [key for key in keys if (since is None or key.at >= since) and (until is None or key.at <= until)]
        if after is not None:
            keys = [key for key in keys if (_order(key) < _order(after) if newest_first else _order(key) > _order(after))]
        found[partition] = tuple(keys[:limit])
        if len(keys) > limit:
            more.add(partition)
    return merge(found, more, position, limit, newest_first=newest_first)


def holds(condition: Condition, job: Job) -> bool:
    """Whether one condition holds of a record, as DynamoDB would judge it: a missing field satisfies only `missing`."""
    field, operator, wanted = condition
    value: Any = getattr(job, field)
    if operator == "missing":
        return value is None or value is False or value == ()
    if value is None or value is False:
        return False
    if operator == "in":
        return value in wanted
    if operator == "=":
        return bool(value == wanted)
    return bool(value <= wanted if operator == "<=" else value > wanted)
