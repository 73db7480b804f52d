"""What a running handler may say to, and ask of, its own record."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta

from jobline.errors import Unavailable
from jobline.job import Job, Status
from jobline.store import Store
from jobline.times import format_instant
from jobline.transitions import checkpoint, progress

ASK_AGAIN_AFTER = timedelta(seconds=2)
"""How long an answer to `cancelled` holds, so that a tight loop does not read the record a thousand times a second."""


class HeldLease:
    """The lease of one running attempt (see `context.Lease`)."""

    def __init__(self, store: Store, job: Job, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._job = job
        self._clock = clock
        self._requested = job.cancel_requested
        self._asked_at: datetime | None = None

    def progress(self, percent: float, note: str) -> bool:
        """Stores the progress; true when the attempt should stop: cancelled on request, or its lease lost.

        A progress report that AWS does not take is dropped: the work matters more than the report.
        """
        text = json.dumps({"percent": percent, "note": note, "at": format_instant(self._clock())}, ensure_ascii=False)
        try:
            outcome = self._store.apply(self._job.id, progress(self._job, text))
        except Unavailable:
            return self._requested
        self._learn(outcome.job)
        return self._requested

    def checkpoint(self, text: str) -> bool | None:
        """Stores the checkpoint. True when the attempt may go on, false when it should stop; `None`: AWS did not take it."""
        try:
            outcome = self._store.apply(self._job.id, checkpoint(self._job, text))
        except Unavailable:
            return None
        self._learn(outcome.job)
        return not self._requested

    def cancelled(self) -> bool:
        """Whether the attempt should stop; the record is read at most every two seconds."""
        now = self._clock()
        if not self._requested and (self._asked_at is None or now - self._asked_at >= ASK_AGAIN_AFTER):
            self._asked_at = now
            try:
                self._learn(self._store.get(self._job.id))
            except Unavailable:
                return self._requested
        return self._requested

    def _learn(self, job: Job | None) -> None:
        mine = job is not None and job.status is Status.RUNNING and job.token == self._job.token
        self._requested = self._requested or not mine or (job is not None and job.cancel_requested)
