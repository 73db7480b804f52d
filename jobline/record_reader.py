"""The records of all queues, to be read and no more: for handlers that tell how a deployment fares.

A handler has it as `ctx.tools.records`. Every worker may read single records; for the walk its `worker.toml` has to permit
`dynamodb:Query` on `{table}/index/by_queue` and `dynamodb:BatchGetItem` on `{table}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobline.definitions import Definitions
from jobline.job import Job
from jobline.shards import queue_partitions
from jobline.store import Key, Store


class RecordReader:
    """Reads records; raises `Unavailable` when DynamoDB does not answer, `CorruptRecord` for a record that is none."""

    def __init__(self, store: Store, definitions: Definitions) -> None:
        self._store = store
        self._definitions = definitions

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of the deployment's queues, in order, without those that it has for itself."""
        return tuple(sorted(name for name, queue in self._definitions.queues.items() if not queue.internal))

    def kept(self, queue: str) -> int:
        """Seconds that the first records of a queue's ended jobs to go are kept."""
        return min(self._definitions.keep(queue))

    def parts(self, queue: str) -> tuple[str, ...]:
        """The partitions that hold a queue's jobs, to be walked one after the other."""
        return queue_partitions(queue)

    def walk(self, part: str, *, after: Key | None, since: datetime, until: datetime, limit: int) -> tuple[Key, ...]:
        """Keys of the jobs of a part that were created in [since, until], oldest first; fewer than `limit` at its end."""
        return self._store.walk(part, after=after, since=since, until=until, limit=limit)

    def get(self, job_id: str) -> Job | None:
        return self._store.get(job_id)

    def get_many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        """The records that exist, by id."""
        return self._store.get_many(job_ids)
