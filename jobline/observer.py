"""The observer: the reader of the table's stream that folds what happens to jobs into their queues' counters, removes the bodies
that no record refers to any more, and wakes the batches whose members have ended.

One conditional write per queue and batch holds the deltas and the mark of what was folded, so a repeated batch changes nothing
(PROTOCOL.md R20). The event source mapping must neither bisect batches nor take partial failures. Bodies go first: removing one
twice is harmless, so a failure there repeats the batch before anything of it is counted. Batches of jobs come last, and whatever goes
wrong with them repeats nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobline.counter_items import CounterItems, UnreadableCounters
from jobline.counters import Change, Counters
from jobline.errors import CorruptRecord, Unavailable
from jobline.job import Job
from jobline.log import Log
from jobline.marks import Batch
from jobline.nudging import Nudging
from jobline.payloads import Bodies
from jobline.records import Item, decode, is_job

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TRIES: Final = 5
"""Folds per queue and invocation when another observer keeps writing first; then the stream repeats the batch."""

_DIGITS: Final = re.compile(r"[0-9]{1,40}")


class Delivery(NamedTuple):
    """What one event of the stream says."""

    numbers: Sequence[int]
    shard: str | None
    """The stream shard's id, where the mapping has a tumbling window."""
    changes: Mapping[str, Sequence[Change]]
    """Queue → what happened to its jobs, in the stream's order."""
    oldest: datetime | None
    """When the first of the records was written."""
    unreadable: Sequence[str]
    """Why each record that could not be read was left out."""


class Observer:
    """Folds stream batches into the counters of one deployment's table, and removes the bodies that their records have left."""

    def __init__(
        self, *, dynamodb: DynamoDBClient, table: str, bodies: Bodies, nudging: Nudging, clock: Callable[[], datetime], log: Log
    ) -> None:
        self._items = CounterItems(dynamodb, table)
        self._bodies = bodies
        self._nudging = nudging
        self._clock = clock
        self._log = log
        self._written: dict[str, Counters] = {}
        """What this process wrote last, so that a warm function need not read before it writes."""

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Folds one event of the table's stream; returns only when every queue's counters hold it and its left bodies are gone.

        The answer is the empty state that Lambda asks for where the mapping has a tumbling window, and ignores elsewhere.
        A record that cannot be read is logged and left out. Raises `Unavailable` when AWS did not take a write: the stream then
        repeats the batch, and nothing is counted twice.
        """
        delivery = read_delivery(event)
        for reason in delivery.unreadable:
            self._log.error("stream record left out of the counters", reason=reason, records=len(event["Records"]))
        for changes in delivery.changes.values():
            for change in changes:
                self._remove_left_bodies(change)
        if delivery.changes:
            batch = Batch.of(delivery.numbers, delivery.shard)
            for queue, changes in delivery.changes.items():
                self._fold(queue, batch, changes, delivery.oldest)
            self._nudging.nudge(change for changes in delivery.changes.values() for change in changes)
        return {"state": {}}

    def _remove_left_bodies(self, change: Change) -> None:
        for job_id, reference in left_bodies(change):
            try:
                self._bodies.delete(job_id, reference)
            except CorruptRecord as error:
                self._log.error("body left where it is", job=job_id, reason=str(error))

    def _fold(self, queue: str, batch: Batch, changes: Sequence[Change], oldest: datetime | None) -> None:
        counters = self._written.get(queue) or self._read(queue)
        for _ in range(TRIES):
            folded = counters.fold(batch, changes, now=self._clock(), oldest=oldest)
            if folded is counters:
                return
            if self._items.put(queue, folded):
                self._written[queue] = folded
                if folded.recount and not counters.recount:
                    self._log.error("stream records may have been missed: the counters need a recount", queue=queue)
                return
            # Another observer wrote first; it may have folded these very records.
            counters = self._read(queue)
        raise Unavailable(f"folding the counters of {queue}: another observer kept writing first")

    def _read(self, queue: str) -> Counters:
        try:
            return self._items.read(queue)
        except UnreadableCounters as error:
            self._log.error("counters that cannot be read begin anew", queue=queue, error=error.detail)
            return error.anew(self._clock())


def read_delivery(event: Mapping[str, Any]) -> Delivery:
    """The changes of jobs in a stream event, by queue."""
    numbers: list[int] = []
    changes: dict[str, list[Change]] = {}
    oldest: datetime | None = None
    unreadable: list[str] = []
    for record in event["Records"]:
        try:
            change, at = read_change(record)
        except CorruptRecord as error:
            unreadable.append(str(error))
            continue
        numbers.append(change.number)
        oldest = at if oldest is None else min(oldest, at)
        job = change.new or change.old
        if job is not None:
            changes.setdefault(job.queue, []).append(change)
    return Delivery(numbers, event.get("shardId"), changes, oldest, unreadable)


def read_change(record: Mapping[str, Any]) -> tuple[Change, datetime]:
    """What one stream record says happened, and when it was written (to the second).

    A record of an item that is no job has neither old nor new. Raises `CorruptRecord`.
    """
    try:
        facts = record["dynamodb"]
        sequence = facts["SequenceNumber"]
        if not _DIGITS.fullmatch(sequence):
            raise ValueError(f"{sequence!r} is not a sequence number")
        at = datetime.fromtimestamp(float(facts["ApproximateCreationDateTime"]), UTC)
        old, new = (facts.get(image) for image in ("OldImage", "NewImage"))
        change = Change(int(sequence), _job(old), _job(new))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        raise CorruptRecord(f"the stream record {record.get('eventID')} has not the shape of one: {error!r}") from error
    return change, at


def left_bodies(change: Change) -> Iterator[tuple[str, str]]:
    """The bodies that the record named before the change and not after it: job id and reference."""
    if change.old is None:
        return
    kept = () if change.new is None else (change.new.payload_ref, change.new.result_ref)
    for reference in (change.old.payload_ref, change.old.result_ref):
        if reference is not None and reference not in kept:
            yield change.old.id, reference


def _job(image: Item | None) -> Job | None:
    return decode(image) if image and is_job(image) else None
