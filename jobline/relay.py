"""The relay: reads the table's stream and sends the messages; the only sender, but for ordered and low-latency queues.

A write that needs a message adds one to the record's `dispatch` (or `resend`); the relay sees it grow and sends. A transient
failure goes back to the stream, which repeats from there; only a change that can never be sent is set aside, and it blocks nobody.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from jobline import records
from jobline.addressing import addressed
from jobline.errors import CorruptRecord, Unavailable
from jobline.job import LONGEST_MESSAGE_DELAY, Job, Status
from jobline.log import Log
from jobline.queue import BATCH, Queues, Sending


class Unsendable(Exception):
    """No repetition can turn this change into a message."""


class _Pending(NamedTuple):
    sequence: str
    sending: Sending


def needs_message(before: Job | None, after: Job | None) -> bool:
    """Whether a change of a record asks for a message that the relay owns (R2)."""
    if after is None or after.status not in (Status.PENDING, Status.FAILED) or after.delivered_by_ticker:
        return False
    return before is None or before.dispatch != after.dispatch or before.resend != after.resend


def delay_seconds(job: Job, now: datetime) -> int:
    """`DelaySeconds` for a job's message: until it is due, within what SQS takes (R4)."""
    wait = min(max(job.scheduled_at - now, timedelta()), LONGEST_MESSAGE_DELAY)
    return math.ceil(wait / timedelta(seconds=1))


class Relay:
    """Turns one batch of stream records into messages.

    `lanes` names the SQS queue of each queue's lanes; `set_aside` is the queue for changes that can never be sent.
    """

    def __init__(
        self, *, queues: Queues, lanes: Mapping[str, Mapping[str, str]], set_aside: str, clock: Callable[[], datetime], log: Log
    ) -> None:
        self._queues = queues
        self._lanes = lanes
        self._set_aside = set_aside
        self._clock = clock
        self._log = log

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Sends what a stream batch asks for; answers the first record that must be repeated, if any."""
        waiting: dict[str, list[_Pending]] = {}
        failed: list[str] = []
        order = [record["dynamodb"]["SequenceNumber"] for record in event["Records"]]
        for record in event["Records"]:
            sequence = record["dynamodb"]["SequenceNumber"]
            try:
                addressed = self._address(record["dynamodb"])
            except (Unsendable, CorruptRecord) as error:
                if not self._put_aside(record, str(error)):
                    failed.append(sequence)
                continue
            if addressed is None:
                continue
            name, sending = addressed
            lane = waiting.setdefault(name, [])
            lane.append(_Pending(sequence, sending))
            if len(lane) == BATCH:
                failed += self._flush(name, waiting.pop(name))
        for name, lane in waiting.items():
            failed += self._flush(name, lane)
        if not failed:
            return {"batchItemFailures": []}
        first = min(failed, key=order.index)
        self._log.warning("sending failed; the stream repeats", failed=len(failed), records=len(order))
        return {"batchItemFailures": [{"itemIdentifier": first}]}

    def _address(self, change: Mapping[str, Any]) -> tuple[str, Sending] | None:
        """The SQS queue and message for one change; `None` when it needs none."""
        images = [change.get("OldImage"), change.get("NewImage")]
        before, after = (records.decode(image) if image and records.is_job(image) else None for image in images)
        if after is None or not needs_message(before, after):
            return None
        lanes = self._lanes.get(after.queue)
        if not lanes:
            raise Unsendable(f"job {after.id} is of queue {after.queue!r}, which this deployment does not have")
        return addressed(after, lanes, delay_seconds(after, self._clock()))

    def _flush(self, name: str, lane: list[_Pending]) -> list[str]:
        """Sends up to ten messages; the sequence numbers of those that SQS did not take."""
        try:
            sent = self._queues.send(name, [pending.sending for pending in lane])
        except Unavailable as error:
            self._log.warning("SQS did not answer", queue=name, error=str(error))
            return [pending.sequence for pending in lane]
        return [pending.sequence for pending, taken in zip(lane, sent, strict=True) if not taken]

    def _put_aside(self, record: Mapping[str, Any], reason: str) -> bool:
        """Keeps the evidence of a change that can never be sent; whether that succeeded."""
        evidence = json.dumps({"reason": reason, "keys": record["dynamodb"].get("Keys"), "sequence": record["dynamodb"]["SequenceNumber"]})
        self._log.error("change set aside", reason=reason)
        try:
            return self._queues.send(self._set_aside, [Sending(evidence)])[0]
        except Unavailable:
            return False
