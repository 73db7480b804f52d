"""Redriving: jobs that ended badly, or are about to, run again now, one by one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from jobline import transitions
from jobline.job import Job, Status
from jobline.store import Store
from jobline.transitions import Condition

_MILLISECOND: Final = timedelta(milliseconds=1)


class Redriving:
    """Retries one job at a time, and no job that ended, or started, since the operation began (R31)."""

    def __init__(self, *, store: Store, op: str, began: datetime, dry_run: bool, clock: Callable[[], datetime]) -> None:
        """`op` names the operation: by it a retry whose reply was lost is known again (R30). `began`: when it was asked for."""
        self._store = store
        self._op = op
        self._began = began
        self._dry_run = dry_run
        self._clock = clock

    def __call__(self, job: Job) -> str:
        """What was done, or in a dry run would be: `retried`, or `changed` (by others meanwhile)."""
        if self._dry_run:
            return "retried"
        field = "started_at" if job.status is Status.FAILED else "completed_at"
        write = transitions.retry(job, now=self._clock(), op=self._op)
        applied, after = self._store.apply(job.id, write.on_condition(Condition(field, "<=", self._began - _MILLISECOND)))
        return "retried" if applied or (after is not None and after.last_op == self._op) else "changed"
