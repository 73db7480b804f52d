"""Finishes: writes how the jobs of one invocation ended, several in one call where a job can wait for it.

A finish that one PartiQL statement can say is kept for at most a second, so that ten quick jobs of a batch cost one call. The others,
and those of a job that ran alone, are written at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

from jobline.errors import CorruptRecord, Unavailable
from jobline.job import Job, Status
from jobline.log import Log
from jobline.statements import sayable
from jobline.store import Store
from jobline.transitions import Write

FINISH_PAUSE: Final = 0.2
"""Seconds between tries of a finish that AWS did not take."""
LONGEST_KEPT: Final = 1.0
"""Seconds that a finish may wait for others to go with it."""

Change = Callable[[Job], Write]
"""A finish as a function of the record as last read."""
Settle = Callable[[Job | None], None]
"""Told what the record is once a finish was written or refused for good; `None`: it is gone. The job as it was held: not written."""


class Timer(Protocol):
    """A call that was put off (`threading.Timer` is one)."""

    def cancel(self) -> None: ...


def after(seconds: float, call: Callable[[], None]) -> Timer:
    """Calls in another thread after so many seconds, unless it is cancelled."""
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer


class _Kept(NamedTuple):
    job: Job
    write: Write
    change: Change
    settle: Settle


class Finishes:
    """The finishes of one invocation of a worker; safe to use from its threads."""

    def __init__(
        self,
        *,
        store: Store,
        ends_at: datetime,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
        log: Log,
        stale: Callable[[], None],
        later: Callable[[float, Callable[[], None]], Timer] = after,
    ) -> None:
        """`ends_at`: when Lambda ends the invocation; `stale` counts a finish that came after its lease was lost."""
        self._store = store
        self._ends_at = ends_at
        self._clock = clock
        self._sleep = sleep
        self._log = log
        self._stale = stale
        self._later = later
        self._kept: list[_Kept] = []
        self._timer: Timer | None = None
        self._lock = threading.Lock()

    def write(self, job: Job, change: Change, settle: Settle) -> None:
        """Writes a finish now, and tells `settle`."""
        try:
            settle(self._write(job, change))
        except CorruptRecord as error:
            self._log.error("record cannot be read", job=job.id, error=str(error))
            settle(job)

    def keep(self, job: Job, change: Change, settle: Settle) -> None:
        """Writes a finish within a second, together with others; one that cannot wait is written now."""
        try:
            write = change(job)
        except Unavailable:
            write = None
        if write is None or not sayable(write):
            self.write(job, change, settle)
            return
        with self._lock:
            self._kept.append(_Kept(job, write, change, settle))
            if self._timer is None:
                self._timer = self._later(LONGEST_KEPT, self._flush_what_is_due)

    def flush(self) -> None:
        """Writes everything that was kept; returns only when each is written, refused for good, or time is out."""
        with self._lock:
            self._write_together()
            left, self._kept = self._kept, []
        for kept in left:
            self.write(kept.job, kept.change, kept.settle)

    def _flush_what_is_due(self) -> None:
        """In the timer's thread: what is not plainly written stays for the invocation's own `flush`, and so does an error."""
        with self._lock:
            try:
                self._write_together()
            except Exception as error:
                self._log.error("finishes not written in time", error=f"{type(error).__name__}: {error}")

    def _write_together(self) -> None:
        """Writes what was kept in as few calls as possible; those whose outcome needs a closer look stay kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        kept = self._kept
        outcomes = self._store.apply_many([(one.job.id, one.write) for one in kept]) if kept else []
        written = [(one, outcome.job) for one, outcome in zip(kept, outcomes, strict=True) if outcome is not None and outcome.applied]
        self._kept = [one for one, outcome in zip(kept, outcomes, strict=True) if outcome is None or not outcome.applied]
        for one, job in written:
            one.settle(job)

    def _write(self, held: Job, change: Change) -> Job | None:
        """Applies a finish until it is written, refused for good, or time is out; answers the record as it is then.

        A refusal by our own token is read again (a cancel request came in between) or is our own lost reply; by another
        token it is stale: logged, counted, and nothing is overwritten. Out of time, the answer is the record as we held it:
        the message stays, and the lease ends by itself.
        """
        job = held
        while True:
            try:
                outcome = self._store.apply(job.id, change(job))
            except Unavailable as error:
                if self._clock() + timedelta(seconds=FINISH_PAUSE) >= self._ends_at:
                    self._log.warning("finish not written", job=job.id, error=str(error))
                    return held
                self._sleep(FINISH_PAUSE)
                continue
            found = outcome.job
            if outcome.applied or found is None:
                return found
            if found.token != held.token:
                self._stale()
                self._log.warning("stale finish refused", job=job.id, token=held.token, now=found.token)
                return found
            if found.status is not Status.RUNNING:
                return found
            job = found
