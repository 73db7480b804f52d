"""How a queue's jobs are spread over index partitions, so that no key takes a fifth of a write unit per job."""

from __future__ import annotations

import zlib

SHARDS = 8
"""Partitions per queue in each index: one write unit per job spread over eight keys is 0.125 per key."""


def shard_of(job_id: str) -> int:
    """The shard of this job, the same everywhere and for ever: 0 to `SHARDS - 1`."""
    return zlib.crc32(job_id.encode()) % SHARDS


def queue_partition(queue: str, job_id: str) -> str:
    """The job's partition in `by_queue`."""
    return f"{queue}#{shard_of(job_id)}"


def queue_partitions(queue: str) -> tuple[str, ...]:
    return tuple(f"{queue}#{shard}" for shard in range(SHARDS))


def attention_partition(queue: str, kind: str, job_id: str) -> str:
    """The job's partition in `by_attention`; `kind` is `open` for a job that may still run, else its terminal status."""
    return f"{queue}#{kind}#{shard_of(job_id)}"


def attention_partitions(queue: str, kind: str) -> tuple[str, ...]:
    return tuple(f"{queue}#{kind}#{shard}" for shard in range(SHARDS))
