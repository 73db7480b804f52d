"""A sweep: the selected jobs of one queue, visited one at a time, at a pace, from checkpoint to checkpoint.

A sweep may be killed anywhere, run twice at once, or go on in another run: it goes on from the last checkpoint, and what it did since
then it meets again and leaves alone (`Selection.wants`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from jobline.context import Context
from jobline.errors import Unavailable
from jobline.job import Job
from jobline.listing import FILTERS
from jobline.selection import Selection
from jobline.shards import attention_partitions, queue_partitions
from jobline.store import Key, Position, Store
from jobline.times import from_milliseconds, to_milliseconds

PAGE: Final = 100
REPORT_EVERY: Final = timedelta(seconds=2)
"""Between two checkpoints, each with a progress report: two writes of the operation's own record."""
TRIES: Final = 6
FIRST_PAUSE: Final = 0.5
"""Seconds before a call that AWS did not take is repeated; it doubles each time."""

CHANGES: Final = ("cancelled", "deleted", "retried")
"""The counts that a `limit` limits."""

T = TypeVar("T")


class Stretch(NamedTuple):
    """One index partition to read."""

    kind: str | None
    """A kind of `by_attention`, or `None` for `by_queue`."""
    partition: str


@dataclass
class Sweep:
    """One run of one operation. `visit` does what is to be done with a job and says under which name to count it."""

    store: Store
    ctx: Context
    selection: Selection
    visit: Callable[[Job], str]
    sleep: Callable[[float], None]
    counts: dict[str, int] = field(default_factory=dict)
    _place: int = 0
    _after: Key | None = None
    _reported_at: datetime | None = None
    _next_change_at: datetime | None = None

    def run(self) -> dict[str, Any]:
        """The operation's result, `{"dry_run", "cancelled": 3, …}`, when every selected job was visited or the limit is reached.

        Ends this run by `Context.checkpoint`'s own exception when its time is over; the next one goes on. Raises Unavailable when AWS
        takes no calls for a while.
        """
        self._load()
        stretches = self._stretches()
        while self._place < len(stretches):
            for job in self._jobs(stretches[self._place]):
                if job is not None and self._wants(job):
                    self._change(job)
                    if self._full:
                        return self._result()
                self._report(len(stretches))
            self._place, self._after = self._place + 1, None
        return self._result()

    @property
    def _full(self) -> bool:
        limit = self.selection.limit
        return limit is not None and self._changed >= limit

    @property
    def _changed(self) -> int:
        return sum(self.counts.get(name, 0) for name in CHANGES)

    def _wants(self, job: Job) -> bool:
        return not job.gone(self.ctx.clock()) and self.selection.wants(job, began=self.ctx.job.created_at)

    def _change(self, job: Job) -> None:
        self._keep_pace()
        name = patiently(lambda: self.visit(job), self.sleep)
        self.counts[name] = self.counts.get(name, 0) + 1

    def _keep_pace(self) -> None:
        if self.selection.rate is None or self.selection.dry_run:
            return
        now = self.ctx.clock()
        if self._next_change_at is not None and now < self._next_change_at:
            self.sleep((self._next_change_at - now).total_seconds())
        self._next_change_at = max(now, self._next_change_at or now) + timedelta(seconds=1 / self.selection.rate)

    # ------------------------------------------------------------------------------------------------ where it stands

    def _load(self) -> None:
        cursor = self.ctx.cursor
        if cursor is not None:
            after = cursor["after"]
            self._place, self.counts = cursor["place"], dict(cursor["counts"])
            self._after = None if after is None else Key(after[0], from_milliseconds(after[1]))

    def _report(self, stretches: int) -> None:
        """Every few seconds: how far it is, for people, and the checkpoint from which it goes on."""
        now = self.ctx.clock()
        if self._reported_at is None:
            self._reported_at = now
        if now - self._reported_at < REPORT_EVERY:
            return
        self._reported_at = now
        done = self._place / stretches
        if self.selection.limit:
            done = max(done, min(1.0, self._changed / self.selection.limit))
        told = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        self.ctx.progress(round(100 * done, 1), told or "nothing yet")
        after = None if self._after is None else [self._after.id, to_milliseconds(self._after.at)]
        self.ctx.checkpoint({"place": self._place, "after": after, "counts": self.counts})

    def _result(self) -> dict[str, Any]:
        return {"dry_run": self.selection.dry_run, **dict(sorted(self.counts.items()))}

    # ------------------------------------------------------------------------------------------------ reading

    def _stretches(self) -> list[Stretch]:
        """Every partition that may hold a selected job, always in this order."""
        queue, parts = self.selection.queue, FILTERS[self.selection.statuses][0]
        return [
            Stretch(part.kind, partition)
            for part in parts
            for partition in (queue_partitions(queue) if part.kind is None else attention_partitions(queue, part.kind))
        ]

    def _jobs(self, stretch: Stretch) -> Iterator[Job | None]:
        """The records of a partition after the one that was visited last, in its order; `None` where there is none any more."""
        while True:
            keys = patiently(partial(self._keys, stretch), self.sleep)
            jobs = patiently(partial(self.store.get_many, [key.id for key in keys]), self.sleep)
            for key in keys:
                self._after = key
                yield jobs.get(key.id)
            if len(keys) < PAGE:
                return

    def _keys(self, stretch: Stretch) -> tuple[Key, ...]:
        if stretch.kind is None:
            return self.store.walk(stretch.partition, after=self._after, until=self.ctx.job.created_at, limit=PAGE)
        start: dict[str, Key | None] = dict.fromkeys(attention_partitions(self.selection.queue, stretch.kind))
        del start[stretch.partition]
        position: Position = start if self._after is None else start | {stretch.partition: self._after}
        return self.store.page_by_attention(self.selection.queue, stretch.kind, limit=PAGE, start=position).keys


def patiently(call: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """What the call answers; one that AWS does not take is repeated after a pause, a few times. Raises the last Unavailable."""
    pause = FIRST_PAUSE
    for _ in range(TRIES - 1):
        try:
            return call()
        except Unavailable:
            sleep(pause)
            pause *= 2
    return call()
