"""Recounting: a queue's counters made anew from its records, exactly, while the observer goes on folding (PROTOCOL.md R20).

The method. A moment `since`, a minute ahead, is written into the counters with new counts beside the old ones, which begin at nothing.
From then on the observer folds every change into both; the new counts know only records whose *vintage* is `since` or
younger: those created since, and those that the recount has found. 15 minutes later, when every older record is in `by_queue` whatever the
api, the index or a clock took, the recount walks that index and marks each older record that is not `done` with `recounted_at = since`, by
one conditional write. The stream carries that write to the observer as a change from a record that the new counts do not know to one that
they do: so it is added in the status that it has at that place of its own history, neither before nor after, however far the
stream is behind the walk. At last the new counts take the old ones' place, and the rule of vintage stays.

So nothing is lost and nothing counted twice: a record enters the new counts exactly once, by its creation or by its mark, and every later
change of it is folded, since the stream keeps the order of one record's changes. What the stream has not brought yet when the counts are
exchanged comes with the next batches. Records that were lost from the stream *during* a recount show as a new doubt, and it begins again.

Rates, waits and `done` of the last 24 hours are not made anew: what is missing in them has passed after an hour, or a day.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec

from jobline import ids, transitions
from jobline.context import Context
from jobline.counter_items import CounterItems
from jobline.counters import Counters, vintage
from jobline.definitions import OPERATIONS, Queue
from jobline.errors import Unavailable
from jobline.job import Job, Status
from jobline.shards import queue_partitions
from jobline.steering import Snooze
from jobline.store import Key, Store
from jobline.sweep import patiently
from jobline.times import from_milliseconds, to_milliseconds

AHEAD: Final = timedelta(minutes=1)
"""No clock is ahead of another by this: a record created at `since` or later was created after `since` was written."""
BEHIND: Final = timedelta(minutes=15)
"""The walk begins so long after `since`: more than the api's time limit, any index lag and any clock together (R6)."""
QUIET: Final = timedelta(minutes=5)
"""A recount begins when no doubt has shown for this long: while the observer is a day behind, another would follow at once."""
PAGE: Final = 100
CHECKPOINT_EVERY: Final = timedelta(seconds=2)
TRIES: Final = 10


def recount_job(queue: str, doubted_since: int, definition: Queue, *, now: datetime) -> Job:
    """The job that recounts a queue whose counts are in doubt since then: the same id however often it is made in one day.

    `definition` is that of the queue `operations`.
    """
    return transitions.enqueued(
        Job(
            # No client's idempotency key has a space, so none names this job.
            id=ids.derived_id(OPERATIONS, f"recount {queue} {doubted_since} {now:%Y-%m-%d}"),
            queue=OPERATIONS,
            type="recount",
            status=Status.PENDING,
            created_at=now,
            scheduled_at=now,
            max_attempts=definition.max_attempts,
            retry=msgspec.json.encode(definition.retry).decode(),
            timeout=definition.timeout,
            payload=f'{{"queue":"{queue}"}}',
        ),
        now=now,
    )


class Recounting:
    """One run of one recount; where it stands is in the counters and in the job's checkpoint."""

    def __init__(self, *, store: Store, items: CounterItems, ctx: Context, queue: str, sleep: Callable[[float], None]) -> None:
        self._store = store
        self._items = items
        self._ctx = ctx
        self._queue = queue
        self._sleep = sleep

    def run(self) -> dict[str, Any]:
        """`{"recounted": true, "found": records marked}`; `recounted` is false when the counts are not in doubt.

        Raises Snooze until the walk may begin, and when the recount must begin again.
        """
        counters = self._read()
        if counters.doubt is None:
            return {"recounted": False, "found": 0}
        if counters.fresh is None or spoiled(counters):
            raise Snooze(self._begin(counters).total_seconds())
        since = from_milliseconds(counters.fresh.since)
        if self._ctx.clock() < since + BEHIND:
            raise Snooze((since + BEHIND - self._ctx.clock()).total_seconds())
        found = self._walk(since)
        self._exchange(counters.fresh.since)
        return {"recounted": True, "found": found}

    def _read(self) -> Counters:
        return patiently(lambda: self._items.read(self._queue), self._sleep)

    def _put(self, counters: Counters) -> bool:
        return patiently(lambda: self._items.put(self._queue, counters), self._sleep)

    def _begin(self, counters: Counters) -> timedelta:
        """Begins new counts, unless a doubt has shown just now; how long to wait then."""
        for _ in range(TRIES):
            now = self._ctx.clock()
            quiet_from = from_milliseconds(counters.doubt.last if counters.doubt else 0) + QUIET
            if now < quiet_from:
                return quiet_from - now
            if self._put(counters.begin_anew(now + AHEAD)):
                return AHEAD + BEHIND
            counters = self._read()
        raise Unavailable("the counters change too often")

    def _walk(self, since: datetime) -> int:
        """Marks every record that was created before `since`; how many that were, in all runs of this recount."""
        cursor = self._ctx.cursor
        partitions, place, after, found = queue_partitions(self._queue), 0, None, 0
        if cursor is not None and cursor["since"] == to_milliseconds(since):
            place, found = cursor["place"], cursor["found"]
            after = None if cursor["after"] is None else Key(cursor["after"][0], from_milliseconds(cursor["after"][1]))
        put_down_at = self._ctx.clock()
        while place < len(partitions):
            keys = patiently(partial(self._store.walk, partitions[place], after=after, until=since, limit=PAGE), self._sleep)
            found += self._mark(keys, since)
            place, after = (place, keys[-1]) if len(keys) == PAGE else (place + 1, None)
            if self._ctx.clock() - put_down_at >= CHECKPOINT_EVERY:
                put_down_at = self._ctx.clock()
                self._ctx.progress(round(100 * place / len(partitions), 1), f"{found} records found")
                position = None if after is None else [after.id, to_milliseconds(after.at)]
                self._ctx.checkpoint({"since": to_milliseconds(since), "place": place, "after": position, "found": found})
        return found

    def _mark(self, keys: tuple[Key, ...], since: datetime) -> int:
        marked = 0
        for job in patiently(partial(self._store.get_many, [key.id for key in keys]), self._sleep).values():
            if job.status is not Status.DONE and vintage(job) < to_milliseconds(since):
                write = transitions.recount(job, since=since)
                # Refused: it has ended `done` meanwhile, or is gone; either way no counter counts it.
                marked += patiently(partial(self._store.apply, job.id, write), self._sleep).applied
        return marked

    def _exchange(self, since: int) -> None:
        """Puts the new counts in the old ones' place; raises Snooze when they cannot be trusted either."""
        for _ in range(TRIES):
            counters = self._read()
            if counters.doubt is None:
                return  # another run of this recount was first
            if counters.fresh is None or counters.fresh.since != since or spoiled(counters):
                raise Snooze(AHEAD.total_seconds())
            if self._put(counters.renewed()):
                return
        raise Unavailable("the counters change too often")


def spoiled(counters: Counters) -> bool:
    """Whether stream records may have been lost since new counts were begun."""
    if counters.fresh is None or counters.doubt is None:
        return False
    return from_milliseconds(counters.doubt.last) >= from_milliseconds(counters.fresh.since) - AHEAD
