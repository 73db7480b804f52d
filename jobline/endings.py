"""Endings as writes: what the record becomes by the way in which an attempt ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from jobline import transitions
from jobline.attempt import Abandoned, Continued, Ending, Failed, Returned, Snoozed
from jobline.claims import Held
from jobline.job import Job
from jobline.payloads import Placed
from jobline.retry import stored_policy
from jobline.transitions import Keep, Write


class BodyStore(Protocol):
    """What the worker asks of `payloads.Bodies`."""

    def put(self, job_id: str, kind: Any, text: str, *, version: str = "") -> Placed: ...
    def load(self, inline: str | None, reference: str | None) -> str | None: ...


class Endings:
    """Turns endings into writes."""

    def __init__(self, *, bodies: BodyStore, keep: Keep, clock: Callable[[], datetime], uniform: Callable[[float, float], float]) -> None:
        self._bodies = bodies
        self._keep = keep
        self._clock = clock
        self._uniform = uniform

    def change(self, held: Held, ending: Ending) -> Callable[[Job], Write]:
        """The finish as a function of the record as last read; a large result is put away once, before the first write."""
        alone = held.alone
        keep = self._keep(held.job.queue)
        placed: Placed | None = None

        def write(job: Job) -> Write:
            nonlocal placed
            now = self._clock()
            match ending:
                case Returned():
                    placed = placed or self._bodies.put(job.id, "result", ending.result, version=f"{job.token}#")
                    return transitions.done(job, now=now, result=placed.inline, result_ref=placed.reference, alone=alone, keep=keep)
                case Snoozed():
                    return transitions.snooze(job, now=now, delay=timedelta(seconds=ending.seconds), alone=alone, keep=keep)
                case Continued():
                    return transitions.go_on(job, now=now, alone=alone, keep=keep)
                case Abandoned():
                    return transitions.abandon(job, now=now, reason=ending.reason, alone=alone, keep=keep)
                case Failed():
                    delay = self._delay(job, ending, alone=alone)
                    return transitions.fail(
                        job,
                        now=now,
                        error=ending.error,
                        delay=delay,
                        alone=alone,
                        keep=keep,
                        retryable=ending.retryable,
                        cause=ending.cause,
                    )

        return write

    def _delay(self, job: Job, failed: Failed, *, alone: bool) -> timedelta:
        if failed.retry_after is not None:
            return timedelta(seconds=failed.retry_after)
        failures_before = job.attempts - (1 if alone else 0)
        return stored_policy(job.retry).delay(failures_before, self._uniform)
