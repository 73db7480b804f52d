"""A batch of an ordered queue: in each of its groups one job at a time, in the order of the messages.

SQS delivers nothing more of a group while one of its messages is hidden. So a job that has failed blocks those behind it until its next
attempt, as long as its message stays, hidden until then, and what came with it goes back unclaimed (PROTOCOL.md, R28). Other groups
do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from jobline.claims import Claims, Delivery, Held, Suspect, Unknown, Verdict
from jobline.errors import InvalidMessage, Unavailable
from jobline.log import Log
from jobline.quarantine import QUARANTINED, Quarantine
from jobline.queue import FIFO, Hiding, Queues

SOON: Final = timedelta(seconds=5)
"""When to try again what could not be done now. Until then the group waits, and it would wait for the queue's whole visibility timeout."""
Record = Mapping[str, Any]
"""One record of Lambda's SQS event."""


def is_ordered(event: Mapping[str, Any]) -> bool:
    """Whether a batch comes from an ordered queue; Lambda makes each batch of one queue."""
    return any(record["eventSourceARN"].endswith(FIFO) for record in event["Records"])


def groups(records: Sequence[Record]) -> list[list[Record]]:
    """The records by message group, each group in the order in which its messages were sent."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["attributes"]["MessageGroupId"], []).append(record)
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedBatch:
    """What one batch of an ordered queue needs of its invocation."""

    claims: Claims
    queues: Queues
    quarantine: Quarantine
    clock: Callable[[], datetime]
    log: Log
    kept: list[str]
    """The ids of the messages that must stay in the queue."""
    fits: Callable[[timedelta], bool]
    """Whether an attempt of this length would still fit into the invocation."""
    unwritten: Callable[[], bool]
    """Whether a lease of this invocation may still live because its finish was not written: then nothing more is begun (R13)."""
    take: Callable[[Delivery], Verdict | None]
    """Claims a job alone: spends its attempt, and takes one that must run alone too."""
    settle: Callable[[Delivery, Verdict | None], None]
    """Does with a message what a claim that took nothing means for it."""
    run: Callable[[Held], None]
    """Runs a job and writes how that ended; the message stays, hidden, unless the job is over."""

    def handle(self, records: Sequence[Record]) -> None:
        """Runs the groups one after the other, each up to the first job that is not over afterwards."""
        for group in groups(records):
            for place, record in enumerate(group):
                if not self._is_over(record):
                    self._give_back(group[place + 1 :])
                    break

    def _is_over(self, record: Record) -> bool:
        """Handles one message; whether the next of its group may be: the message is of no more use."""
        try:
            delivery = Delivery.of(record)
        except InvalidMessage as error:
            return self._put_away(record, str(error))
        timeout = timedelta(seconds=delivery.message.timeout)
        if self.unwritten() or (timeout and not self.fits(timeout)):
            self._give_back([record])
            return False
        verdict = self.take(delivery)
        if isinstance(verdict, Suspect):
            verdict = self.claims.take_suspect(verdict)
        if isinstance(verdict, Held):
            self.run(verdict)
        elif isinstance(verdict, (Suspect, Unknown)):
            self._give_back([record], SOON)  # somebody else wrote in between
        else:
            self.settle(delivery, verdict)
        return delivery.message_id not in self.kept

    def _give_back(self, records: Sequence[Record], after: timedelta = timedelta()) -> None:
        """Shows messages again that nothing was done with; those hidden in front of them keep them back all the same."""
        if not records:
            return
        now = self.clock()
        self.kept.extend(record["messageId"] for record in records)
        name = records[0]["eventSourceARN"].rsplit(":", 1)[-1]
        self.queues.hide_many(name, [Hiding(record["receiptHandle"], now + after) for record in records], now)

    def _put_away(self, record: Record, reason: str) -> bool:
        """Keeps a message that nobody can read in quarantine; no dead-letter queue would, and it must not block its group for ever."""
        try:
            key = self.quarantine.keep(record, reason)
        except Unavailable as error:
            self.log.warning("message not in quarantine yet", message_id=record["messageId"], error=str(error))
            self._give_back([record], SOON)
            return False
        self.log.error(QUARANTINED, message_id=record["messageId"], key=key, reason=reason)
        return True
