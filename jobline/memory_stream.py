"""The table's stream in memory: every change of a `MemoryStore` as Lambda passes it on, in DynamoDB's JSON.

A shard keeps the order of each item's changes; a record older than 24 hours is gone (Amazon DynamoDB Developer Guide, "DynamoDB
Streams"). Each reader has its own place, and a batch comes again from the first record that the function says has failed.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from jobline import records
from jobline.job import Job
from jobline.memory import Change, MemoryStore

RETENTION: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class _Entry:
    sequence: int
    at: datetime
    change: Change


class MemoryStream:
    """The change feed of one store, cut into shards by job."""

    def __init__(self, store: MemoryStore, clock: Callable[[], datetime], *, shards: int = 1, retention: timedelta = RETENTION) -> None:
        self.retention = retention
        self._store = store
        self._clock = clock
        self._taken = 0
        self._shards: list[list[_Entry]] = [[] for _ in range(shards)]

    def entries(self, shard: int) -> list[_Entry]:
        """All records of a shard so far; those that nobody had looked at before are taken to have been written now."""
        now = self._clock()
        for change in self._store.changes[self._taken :]:
            self._taken += 1
            job = change.after or change.before
            assert job is not None
            self._shards[zlib.adler32(job.id.encode()) % len(self._shards)].append(_Entry(self._taken, now, change))
        return self._shards[shard]

    def readers(self) -> list[StreamReader]:
        """A new reader of each shard, at its beginning."""
        return [StreamReader(self, shard, self._clock) for shard in range(len(self._shards))]


class StreamReader:
    """One function's place in one shard."""

    def __init__(self, stream: MemoryStream, shard: int, clock: Callable[[], datetime]) -> None:
        self._stream = stream
        self._shard = shard
        self._clock = clock
        self.position = 0
        self.lost = False
        """Whether records were gone before they were read."""

    def batch(self, limit: int = 100) -> list[dict[str, Any]]:
        """The next records, at most `limit`; they come again until `settle` moves on."""
        entries = self._stream.entries(self._shard)
        oldest = self._clock() - self._stream.retention
        while self.position < len(entries) and entries[self.position].at <= oldest:
            self.position += 1
            self.lost = True
        return [stream_record(entry.sequence, entry.at, entry.change) for entry in entries[self.position : self.position + limit]]

    def settle(self, batch: list[dict[str, Any]], answer: Mapping[str, Any]) -> None:
        """Moves past a batch, up to the first record that the function's answer calls failed."""
        order = [record["dynamodb"]["SequenceNumber"] for record in batch]
        failed = [order.index(failure["itemIdentifier"]) for failure in answer.get("batchItemFailures", ())]
        reached = min(failed, default=len(batch))
        if order:
            start = bisect_left(self._stream.entries(self._shard), int(order[0]), key=lambda entry: entry.sequence)
            self.position = max(self.position, start + reached)


def stream_record(sequence: int, at: datetime, change: Change) -> dict[str, Any]:
    """One record of a table's stream (Amazon DynamoDB Streams API Reference, "Record")."""
    job = change.after or change.before
    assert job is not None
    images = {name: records.encode(image) for name, image in (("OldImage", change.before), ("NewImage", change.after)) if image is not None}
    return {
        "eventID": f"event-{sequence}",
        "eventName": _event_name(change.before, change.after),
        "eventSource": "aws:dynamodb",
        "dynamodb": {
            "ApproximateCreationDateTime": int(at.timestamp()),
            "Keys": {"id": {"S": job.id}},
            "SequenceNumber": str(sequence),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            **images,
        },
    }


def _event_name(before: Job | None, after: Job | None) -> str:
    if after is None:
        return "REMOVE"
    return "INSERT" if before is None else "MODIFY"
