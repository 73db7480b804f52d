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
from jobline.times import to_milliseconds
from jobline.transitions import Keep, Write


class BodyStore(Protocol):
    """What the worker asks of `payloads.Bodies`."""

    def put(self, job_id: str, kind: Any, text: str, *, version: str) -> Placed: ...
    def load(self, inline: str | None, reference: str | None) -> str | None: ...
    def discard(self, job_id: str, reference: str) -> None: ...


class Endings:
    """Turns endings into writes."""

    def __init__(self, *, bodies: BodyStore, keep: Keep, clock: Callable[[], datetime], uniform: Callable[[float, float], float]) -> None:
        self._bodies = bodies
        self._keep = keep
        self._clock = clock
        self._uniform = uniform

    def change(self, held: Held, ending: Ending, put_away: list[str]) -> Callable[[Job], Write]:
        """The finish as a function of the record as last read; a large result is put away once, before the first write.

        `put_away` gets the reference to it.
        """
        alone = held.alone
        keep = self._keep(held.job.queue)
        placed: Placed | None = None

        def write(job: Job) -> Write:
            nonlocal placed
            now = self._clock()
            match ending:
                case Returned():
                    if placed is None:
                        # A new record of the same id has the same tokens again, but never the same beginning.
                        version = f"{to_milliseconds(job.created_at):x}-{job.token}"
                        placed = self._bodies.put(job.id, "result", ending.result, version=version)
                        put_away.extend(filter(None, [placed.reference]))
                    return transitions.done(job, now=now, result=placed.inline, result_ref=placed.reference, alone=alone, keep=keep)
                case Snoozed():
                    delay = timedelta(seconds=ending.seconds)
                    return transitions.snooze(job, now=now, delay=delay, alone=alone, keep=keep, cap=ending.most)
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

    def discard_unnamed(self, held: Held, after: Job | None, put_away: list[str]) -> None:
        """Removes a result that the record, as it is after the finish, does not name: the finish was stale.

        `after` as `finishes.Settle` gets it: the job as it was held means that the finish may have been written all the same.
        """
        for reference in put_away:
            if after is not None and after is not held.job and after.result_ref != reference:
                self._bodies.discard(held.job.id, reference)

    def _delay(self, job: Job, failed: Failed, *, alone: bool) -> timedelta:
        if failed.retry_after is not None:
            return timedelta(seconds=failed.retry_after)
        failures_before = job.attempts - (1 if alone else 0)
        return stored_policy(job.retry).delay(failures_before, self._uniform)
