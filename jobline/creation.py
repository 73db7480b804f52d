"""How new records come into the table: the conditions of a creation, and what a unique one writes together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from jobline import locks
from jobline.expressions import update_expression
from jobline.job import Job
from jobline.locks import Lock
from jobline.records import decode, encode
from jobline.shards import queue_partition
from jobline.transactions import Refusal
from jobline.transitions import Write


class Creation(NamedTuple):
    """What the creation of a unique job came to."""

    applied: bool
    job: Job | None
    """The new record; of a refusal, what stands under its id as far as that is known."""
    lock: Lock | None
    """The lock; of a refusal, what stands under its id as far as that is known."""


class Replaced(NamedTuple):
    """A job that makes room for another, and the write by which it does."""

    job: Job
    write: Write


def new_record(job: Job, over: Job | None) -> Job:
    """The record of a new job as it is written; one that takes the place of a record past its retention goes on counting (R19)."""
    job = replace(job, queue_shard=queue_partition(job.queue, job.id))
    return job if over is None else replace(job, token=over.token, dispatch=over.dispatch + 1, rev=over.rev + 1)


ABSENT: Final = {"ConditionExpression": "attribute_not_exists(id)"}


def as_read(job: Job) -> dict[str, Any]:
    """The condition that a record past its retention is still the one that was read."""
    return {
        "ConditionExpression": "#ttl = :ttl AND #rev = :rev",
        "ExpressionAttributeNames": {"#ttl": "ttl", "#rev": "rev"},
        "ExpressionAttributeValues": {":ttl": {"N": str(job.ttl)}, ":rev": {"N": str(job.rev)}},
    }


def _held_by(lock: Lock) -> dict[str, Any]:
    """The condition that a lock is still that of the job that was read."""
    held = locks.encode(lock)
    return {
        "ConditionExpression": "#job = :job AND #created_at = :created_at",
        "ExpressionAttributeNames": {"#job": "job", "#created_at": "created_at"},
        "ExpressionAttributeValues": {":job": held["job"], ":created_at": held["created_at"]},
    }


def unique_creation(
    table: str, job: Job, lock: Lock, over: Job | None, before: Lock | None, replaced: Replaced | None
) -> list[dict[str, Any]]:
    """The writes of one transaction (TransactWriteItems): the record, its lock, and the end of the job that makes room."""
    common = {"TableName": table, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    writes: list[dict[str, Any]] = [
        {"Put": {"Item": encode(job), **(ABSENT if over is None else as_read(over)), **common}},
        {"Put": {"Item": locks.encode(lock), **(ABSENT if before is None else _held_by(before)), **common}},
    ]
    if replaced is not None:
        writes.append({"Update": {"Key": {"id": {"S": replaced.job.id}}, **update_expression(replaced.write), **common}})
    return writes


def made_with(table: str, write: Write) -> list[dict[str, Any]]:
    """The jobs that a write makes, as writes of its transaction."""
    common = {"TableName": table, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    return [{"Put": {"Item": encode(new_record(made, None)), **ABSENT, **common}} for made in write.makes]


def created(job: Job, lock: Lock, over: Job | None, before: Lock | None, refusals: Sequence[Refusal | None] | None) -> Creation:
    """What that transaction came to, by what refused its writes."""
    if refusals is None:
        return Creation(True, job, lock)
    if (refused := refusals[0]) is not None:
        over = decode(refused.item) if refused.item else None
    if (refused := refusals[1]) is not None:
        before = locks.decode(refused.item) if refused.item else None
    return Creation(False, over, before)
