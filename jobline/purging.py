"""Purging: what waits is cancelled, what is over is removed, what runs is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from jobline import transitions
from jobline.job import WAITING, Job, Status
from jobline.store import Store
from jobline.timeline import LOST
from jobline.times import from_milliseconds
from jobline.transitions import Keep

LONGEST_INVOCATION: Final = timedelta(minutes=16)
"""Nothing that a worker started lives longer: Lambda ends it after 15 minutes (Lambda quotas); a minute for our clocks."""


_TRIES: Final = 3
"""A job whose end is told is cancelled only as it was read; others may come between now and then."""


class Purging:
    """Purges one job at a time."""

    def __init__(self, *, store: Store, keep: Keep, op: str, dry_run: bool, clock: Callable[[], datetime]) -> None:
        """`op` names the operation: by it a cancellation whose reply was lost is known again (R30)."""
        self._store = store
        self._keep = keep
        self._op = op
        self._dry_run = dry_run
        self._clock = clock

    def __call__(self, job: Job) -> str:
        """What was done, or in a dry run would be: `cancelled`, `deleted`, `running` (left alone) or `changed` (by others meanwhile)."""
        if job.status is Status.RUNNING:
            return "running"
        if self._dry_run:
            return "cancelled" if job.status in WAITING else "deleted"
        return self._cancel(job) if job.status in WAITING else self._remove(job)

    def _cancel(self, job: Job) -> str:
        after: Job | None = job
        for _ in range(_TRIES):
            if after is None or after.status not in WAITING:
                break
            write = transitions.cancel(after, now=self._clock(), op=self._op, keep=self._keep(job.queue), reason="purged")
            applied, after = self._store.apply(job.id, write)
            if applied or (after is not None and after.last_op == self._op):
                return "cancelled"
        return "running" if after is not None and after.status is Status.RUNNING else "changed"

    def _remove(self, job: Job) -> str:
        now = self._clock()
        if may_still_run(job, now):
            outcome = self._store.apply(job.id, transitions.forget(job, now=now))
            gone = outcome.applied or outcome.job is None or outcome.job.gone(now)
        else:
            gone = self._store.delete(job)
        return "deleted" if gone else "changed"


def may_still_run(job: Job, now: datetime) -> bool:
    """Whether a worker that lost its lease on this job may still be at it; only then is there one beside who finished it."""
    for entry in reversed(job.history):
        event, at, *_ = json.loads(entry)
        if event in LOST:
            return now - from_milliseconds(at) < LONGEST_INVOCATION
    return False
