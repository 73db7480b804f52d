"""Consumes the dead-letter queues: messages that SQS gave up on.

A message there never by itself means that its job failed: receives run out through throttling and crashes as well. The record
decides what becomes of the job; a message that nobody can read is kept in quarantine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from jobline import transitions
from jobline.errors import InvalidMessage, Unavailable
from jobline.job import Job, Status
from jobline.log import Log
from jobline.message import Message
from jobline.quarantine import QUARANTINED, Quarantine
from jobline.queue import Queues
from jobline.store import Store
from jobline.transitions import Keep, Write

CLOCK_SKEW = timedelta(seconds=1)
_TRIES = 3
"""Reads of one record: each refusal means that somebody else moved the job on."""


def settlement(job: Job | None, message: Message, message_id: str, now: datetime, keep: Keep) -> Write | datetime | None:
    """What a message from the dead-letter queue asks for: a write, hiding until a moment, or `None`: just drop it (R23)."""
    if job is None or job.over or job.dispatch != message.dispatch:
        return None
    if job.status is Status.RUNNING:
        lease_until = job.lease_until or now
        if lease_until + CLOCK_SKEW > now:
            return lease_until + timedelta(seconds=1) if job.carrier == message_id else None
        return transitions.lose(job, now=now, keep=keep(job.queue), over_since=now - CLOCK_SKEW, dispatch=message.dispatch)
    if job.expires_at <= now:
        return transitions.expire(job, now=now, keep=keep(job.queue), dispatch=message.dispatch)
    if job.status is Status.SCHEDULED:
        return job.scheduled_at
    return transitions.put_back(job, now=now, dispatch=message.dispatch)


class DeadLetters:
    """Settles one batch of a dead-letter queue."""

    def __init__(
        self, *, store: Store, queues: Queues, quarantine: Quarantine, keep: Keep, clock: Callable[[], datetime], log: Log
    ) -> None:
        self._store = store
        self._queues = queues
        self._quarantine = quarantine
        self._keep = keep
        self._clock = clock
        self._log = log

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Settles every message; answers those that must stay in the queue."""
        failures = []
        for record in event["Records"]:
            try:
                settled = self._settle(record)
            except Unavailable as error:
                self._log.warning("dead letter not settled yet", message_id=record["messageId"], error=str(error))
                settled = False
            if not settled:
                failures.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failures}

    def _settle(self, record: Mapping[str, Any]) -> bool:
        """Whether the message may go."""
        try:
            message = Message.decode(record["body"])
        except InvalidMessage as error:
            key = self._quarantine.keep(record, str(error))
            self._log.error(QUARANTINED, message_id=record["messageId"], key=key, reason=str(error))
            return True
        for _ in range(_TRIES):
            now = self._clock()
            wanted = settlement(self._store.get(message.id), message, record["messageId"], now, self._keep)
            if wanted is None:
                return True
            if isinstance(wanted, datetime):
                self._queues.hide(record["eventSourceARN"].rsplit(":", 1)[-1], record["receiptHandle"], wanted, now)
                return False
            outcome = self._store.apply(message.id, wanted)
            if outcome.applied:
                self._log.warning(
                    "dead letter settled", job=message.id, event=wanted.event, status=str(outcome.job.status if outcome.job else "")
                )
                return True
        return False
