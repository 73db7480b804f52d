"""Nudges: a batch that waits for a member is woken as soon as that member is seen to end. For speed alone.

A batch looks for itself in any case (`coordination`), so a nudge may be lost, come late or come twice. It is one conditional write of the
batch's own job, which holds only while that waits; nothing that goes wrong here concerns whoever calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from jobline import transitions
from jobline.batch import dead_nudge, is_batch, read_standing, told_dead
from jobline.counters import Change
from jobline.errors import Unavailable
from jobline.job import Job, Status
from jobline.log import Log
from jobline.store import Store

LONGEST: Final = timedelta(seconds=10)
"""What the nudges of one stream batch may take; those that are left are lost."""
NUDGED: Final = "nudge"
"""The `last_op` of a write that wakes a batch because the awaited member is over."""


class Nudging:
    """Wakes the batches of one deployment."""

    def __init__(self, *, store: Store, clock: Callable[[], datetime], log: Log) -> None:
        self._store = store
        self._clock = clock
        self._log = log

    def nudge(self, changes: Iterable[Change]) -> None:
        """Wakes every batch that waits for one of the jobs which these changes ended. Never raises.

        One read per batch, a hundred to a call, and one write for each that is woken.
        """
        try:
            ended = _ended_members(changes)
            if ended:
                self._wake(ended)
        except Unavailable as error:
            self._log.warning("batches are not woken: AWS does not take a call", detail=error.detail)
        except Exception as error:
            # The counters are folded already; a batch that cannot be read must not have the stream repeated for ever.
            self._log.error("batches are not woken", error=repr(error)[:300])

    def _wake(self, ended: Mapping[str, Sequence[Job]]) -> None:
        give_up_at = self._clock() + LONGEST
        for batch in self._store.get_many(list(ended)).values():
            if self._clock() > give_up_at:
                self._log.warning("batches are not woken: it takes too long", batches=len(ended))
                return
            op = _reason(batch, ended[batch.id], self._clock())
            if op is not None:
                now = self._clock()
                write = transitions.reschedule(batch, now=now, op=op, scheduled_at=now, priority=batch.priority)
                self._store.apply(batch.id, write)  # refused: it runs, and looks for itself


def _ended_members(changes: Iterable[Change]) -> dict[str, list[Job]]:
    """The members of batches that have come to an end, by batch."""
    ended: dict[str, list[Job]] = {}
    for change in changes:
        job = change.new
        if job is not None and job.batch_id is not None and job.over and not (change.old is not None and change.old.over):
            ended.setdefault(job.batch_id, []).append(job)
    return ended


def _reason(batch: Job, ended: Sequence[Job], now: datetime) -> str | None:
    """Why to wake the batch, as its record's `last_op` will say it; `None`: let it be.

    One that failed waits for its next attempt, and none but a dead member is worth a word when it is due already.
    """
    if not is_batch(batch) or batch.status not in (Status.PENDING, Status.SCHEDULED):
        return None
    standing = read_standing(batch)
    dead = next((member for member in ended if member.status is Status.DEAD), None) if standing.wants_dead else None
    if dead is not None:
        return None if told_dead(batch.last_op) and batch.scheduled_at <= now else dead_nudge(dead.id)
    awaited = any(member.id == standing.awaits for member in ended)
    return NUDGED if awaited and batch.scheduled_at > now else None
