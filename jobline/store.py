"""The table of jobs: the only place that reads and writes job records in DynamoDB.

Every change is one conditional write (`transitions.Write`). The client is an argument; its errors become ours here:
throttling, server and network errors are `Unavailable`, and the caller may repeat the call.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from jobline import locks, records
from jobline.aws import aws_errors
from jobline.creation import ABSENT, Creation, Replaced, as_read, created, made_with, new_record, unique_creation
from jobline.errors import CorruptRecord, Unavailable
from jobline.expressions import update_expression
from jobline.inserts import insert_statement, was_inserted
from jobline.job import Job
from jobline.locks import Lock
from jobline.records import decode, encode
from jobline.shards import attention_partitions, queue_partitions
from jobline.statements import MOST_STATEMENTS, sayable, update_statement
from jobline.times import from_milliseconds, to_milliseconds
from jobline.transactions import transact_making
from jobline.transitions import Write, applied

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_dynamodb import DynamoDBClient


CONFLICT_TRIES: Final = 3
"""How often a transaction that met another write of the same item is made at once; then it is the caller's turn to wait."""


class Outcome(NamedTuple):
    """What a conditional write came to: applied and the new record, or refused and the record that refused it (`None`: absent)."""

    applied: bool
    job: Job | None


class Key(NamedTuple):
    """A place in an index: a job's id and its range key."""

    id: str
    at: datetime


Position = Mapping[str, Key | None]
"""Where a listing goes on: partition → last key read, or `None` when that partition is exhausted; an absent one is unread."""


class Page(NamedTuple):
    keys: tuple[Key, ...]
    next: Position | None
    """`None` when there is nothing more."""


class Store(Protocol):
    """What the rest of Jobline asks of the table; `JobStore` and `memory.MemoryStore` give the same answers."""

    def get(self, job_id: str) -> Job | None:
        """The record now (strongly consistent), or `None`."""

    def get_many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        """The records that exist, by id (strongly consistent)."""

    def create(self, job: Job, *, now: datetime) -> Outcome:
        """Writes a new record, or replaces one whose retention is over; refused by any other record of that id."""

    def create_many(self, jobs: Sequence[Job]) -> list[bool | None]:
        """Writes new records of different ids, in as few calls as it can; whether each was written.

        `False`: there is an item of that id. `None` is no verdict: it may have been written or not. Never raises `Unavailable`.
        """

    def create_unique(
        self, job: Job, lock: Lock, *, over: Job | None = None, before: Lock | None = None, replaced: Replaced | None = None
    ) -> Creation:
        """Writes a new record with its lock and, if a job is replaced, the end of that one and what it makes: all or nothing.

        Refused unless id and lock are as the caller found them: `over`, a record whose retention is over, and `before`, a lock that
        holds no longer or whose holder is replaced; `None` where there was nothing.
        """

    def get_lock(self, lock_id: str) -> Lock | None:
        """The lock now (strongly consistent), or `None`."""

    def apply(self, job_id: str, write: Write) -> Outcome:
        """Applies one conditional write, and makes the jobs that it makes: all or nothing."""

    def delete(self, job: Job) -> bool:
        """Removes a record that is over and still as it was read; true when it is gone, whoever removed it.

        Raises ValueError for a job that is not over.
        """

    def apply_many(self, writes: Sequence[tuple[str, Write]]) -> list[Outcome | None]:
        """Applies writes of different records, in as few calls as it can; each has its own outcome.

        `None` is no verdict: it may have been applied or not, or this store cannot say it so; `apply` it then. Never raises
        `Unavailable`.
        """

    def page_by_queue(
        self, queue: str, *, limit: int, start: Position | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Page:
        """The queue's jobs, newest first, created in [since, until]."""

    def page_by_attention(
        self, queue: str, kind: str, *, limit: int, start: Position | None = None, until: datetime | None = None, newest_first: bool = False
    ) -> Page:
        """Jobs off the straight path, in the order in which somebody must look, up to `until`."""

    def walk(self, partition: str, *, after: Key | None, until: datetime, limit: int, since: datetime | None = None) -> tuple[Key, ...]:
        """Keys of one `by_queue` partition, oldest first, created after `after` and in [since, until]."""


def refuse_to_delete_what_is_open(job: Job) -> None:
    if not job.over:
        raise ValueError(f"job {job.id} is not over: it is {job.status}")


class JobStore:
    """The table in DynamoDB."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self.dynamodb = dynamodb
        self.table = table

    def get(self, job_id: str) -> Job | None:
        with aws_errors("reading a job"):
            answer = self.dynamodb.get_item(TableName=self.table, Key={"id": {"S": job_id}}, ConsistentRead=True)
        item = answer.get("Item")
        return decode(item) if item is not None and records.is_job(item) else None

    def get_many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        jobs: dict[str, Job] = {}
        keys = [{"id": {"S": job_id}} for job_id in dict.fromkeys(job_ids)]
        while keys:
            chunk, keys = keys[:100], keys[100:]
            with aws_errors("reading jobs"):
                answer = self.dynamodb.batch_get_item(RequestItems={self.table: {"Keys": chunk, "ConsistentRead": True}})
            read = [decode(item) for item in answer["Responses"].get(self.table, ()) if records.is_job(item)]
            jobs |= {job.id: job for job in read}
            left: Any = answer.get("UnprocessedKeys", {})
            unread = left.get(self.table, {}).get("Keys", [])
            if unread and len(unread) == len(chunk):
                raise Unavailable("reading jobs: DynamoDB processed none of the keys")
            keys = [*unread, *keys]
        return jobs

    def create(self, job: Job, *, now: datetime) -> Outcome:
        job = new_record(job, None)
        refused = self._put(job, ABSENT)
        if refused is None:
            return Outcome(True, job)
        if not refused.gone(now):
            return Outcome(False, refused)
        renewed = new_record(job, refused)
        beaten = self._put(renewed, as_read(refused))
        return Outcome(True, renewed) if beaten is None else Outcome(False, beaten)

    def create_many(self, jobs: Sequence[Job]) -> list[bool | None]:
        statements = [insert_statement(self.table, new_record(job, None)) for job in jobs]
        return [was_inserted(answer) for answer in self._execute("creating jobs", statements)]

    def create_unique(
        self, job: Job, lock: Lock, *, over: Job | None = None, before: Lock | None = None, replaced: Replaced | None = None
    ) -> Creation:
        job = new_record(job, over)
        writes = unique_creation(self.table, job, lock, over, before, replaced)
        makes = made_with(self.table, replaced.write) if replaced is not None else []
        return created(job, lock, over, before, transact_making(self.dynamodb, "creating a unique job", writes, makes))

    def get_lock(self, lock_id: str) -> Lock | None:
        with aws_errors("reading a lock"):
            answer = self.dynamodb.get_item(TableName=self.table, Key={"id": {"S": lock_id}}, ConsistentRead=True)
        return locks.decode(answer["Item"]) if "Item" in answer else None

    def _put(self, job: Job, condition: dict[str, Any]) -> Job | None:
        """Puts the record; the record that refused it, if one did."""
        try:
            with aws_errors("creating a job"):
                self.dynamodb.put_item(TableName=self.table, Item=encode(job), ReturnValuesOnConditionCheckFailure="ALL_OLD", **condition)
        except self.dynamodb.exceptions.ConditionalCheckFailedException as error:
            return self._refused_by(job.id, error)
        return None

    def _refused_by(self, job_id: str, error: ClientError) -> Job:
        item: Any = error.response.get("Item")
        existing = decode(item) if item else self.get(job_id)
        if existing is None:
            raise Unavailable("creating a job: its id was taken and is free again") from error
        return existing

    def apply(self, job_id: str, write: Write) -> Outcome:
        if write.makes:
            return self._apply_together(job_id, write)
        try:
            with aws_errors(write.event):
                answer = self.dynamodb.update_item(
                    TableName=self.table,
                    Key={"id": {"S": job_id}},
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    **update_expression(write),
                )
        except self.dynamodb.exceptions.ConditionalCheckFailedException as error:
            item: Any = error.response.get("Item")
            return Outcome(False, decode(item) if item and records.is_job(item) else None)
        return Outcome(True, decode(answer["Attributes"]))

    def _apply_together(self, job_id: str, write: Write) -> Outcome:
        """A write that makes jobs, as one transaction. It answers no new record; `read` says what that is, since nothing else held."""
        update = {
            "TableName": self.table,
            "Key": {"id": {"S": job_id}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **update_expression(write),
        }
        for _ in range(CONFLICT_TRIES):
            refusals = transact_making(self.dynamodb, write.event, [{"Update": update}], made_with(self.table, write))
            if refusals is None:
                assert write.read is not None
                return Outcome(True, applied(write.read, write))
            if (refusal := refusals[0]) is not None:
                item = refusal.item
                return Outcome(False, decode(item) if item and records.is_job(item) else None)
        raise Unavailable(f"{write.event}: other writes of the same record are in the way")

    def delete(self, job: Job) -> bool:
        refuse_to_delete_what_is_open(job)
        try:
            with aws_errors("deleting a job"):
                self.dynamodb.delete_item(
                    TableName=self.table,
                    Key={"id": {"S": job.id}},
                    ConditionExpression="attribute_not_exists(id) OR #rev = :rev",
                    ExpressionAttributeNames={"#rev": "rev"},
                    ExpressionAttributeValues={":rev": {"N": str(job.rev)}},
                )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def apply_many(self, writes: Sequence[tuple[str, Write]]) -> list[Outcome | None]:
        outcomes: list[Outcome | None] = [None] * len(writes)
        places = [place for place, (_, write) in enumerate(writes) if sayable(write)]
        answers = self._execute("writing several jobs", [update_statement(self.table, *writes[place]) for place in places])
        for place, answer in zip(places, answers, strict=True):
            outcomes[place] = None if answer is None else _verdict(answer)
        return outcomes

    def _execute(self, what: str, statements: Sequence[Any]) -> list[Any]:
        """The answers to PartiQL statements, as many to a call as there may be; `None` for those whose call was not answered."""
        answers: list[Any] = []
        for start in range(0, len(statements), MOST_STATEMENTS):
            some = statements[start : start + MOST_STATEMENTS]
            try:
                with aws_errors(what):
                    answers += self.dynamodb.batch_execute_statement(Statements=some)["Responses"]
            except Unavailable:
                answers += [None] * len(some)
        return answers

    def page_by_queue(
        self, queue: str, *, limit: int, start: Position | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Page:
        return self._page("by_queue", queue_partitions(queue), limit, start, newest_first=True, since=since, until=until)

    def page_by_attention(
        self, queue: str, kind: str, *, limit: int, start: Position | None = None, until: datetime | None = None, newest_first: bool = False
    ) -> Page:
        return self._page(
            "by_attention", attention_partitions(queue, kind), limit, start, newest_first=newest_first, since=None, until=until
        )

    def walk(self, partition: str, *, after: Key | None, until: datetime, limit: int, since: datetime | None = None) -> tuple[Key, ...]:
        keys, _ = self._query("by_queue", partition, limit, after, newest_first=False, since=since, until=until)
        return keys

    def _page(
        self,
        index: str,
        partitions: tuple[str, ...],
        limit: int,
        start: Position | None,
        *,
        newest_first: bool,
        since: datetime | None,
        until: datetime | None,
    ) -> Page:
        position: dict[str, Key | None] = dict(start or {})
        found: dict[str, tuple[Key, ...]] = {}
        more: set[str] = set()
        for partition in partitions:
            if partition in position and position[partition] is None:
                continue
            keys, unfinished = self._query(
                index, partition, limit, position.get(partition), newest_first=newest_first, since=since, until=until
            )
            found[partition] = keys
            if unfinished:
                more.add(partition)
        return merge(found, more, position, limit, newest_first=newest_first)

    def _query(
        self,
        index: str,
        partition: str,
        limit: int,
        after: Key | None,
        *,
        newest_first: bool,
        since: datetime | None,
        until: datetime | None,
    ) -> tuple[tuple[Key, ...], bool]:
        """At most `limit` keys of one partition, and whether there may be more."""
        hash_name, range_name = INDEX_KEYS[index]
        names = {"#hash": hash_name}
        values: dict[str, Any] = {":hash": {"S": partition}}
        condition = "#hash = :hash"
        if since is not None or until is not None:
            names["#range"] = range_name
            low = 0 if since is None else to_milliseconds(since)
            high = 253_402_300_799_999 if until is None else to_milliseconds(until)
            values |= {":low": {"N": str(low)}, ":high": {"N": str(high)}}
            condition += " AND #range BETWEEN :low AND :high"
        request: dict[str, Any] = {}
        if after is not None:
            request["ExclusiveStartKey"] = {
                "id": {"S": after.id},
                hash_name: {"S": partition},
                range_name: {"N": str(to_milliseconds(after.at))},
            }
        with aws_errors(f"listing {index}"):
            answer = self.dynamodb.query(
                TableName=self.table,
                IndexName=index,
                KeyConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
                ScanIndexForward=not newest_first,
                Limit=limit,
                **request,
            )
        keys = tuple(Key(item["id"]["S"], from_milliseconds(int(item[range_name]["N"]))) for item in answer["Items"])
        return keys, "LastEvaluatedKey" in answer


def _verdict(answer: Any) -> Outcome | None:
    """What the answer to one statement says. Only a failed condition that shows its record is a refusal (R16)."""
    error = answer.get("Error")
    item = answer.get("Item") if error is None else error.get("Item")
    refused = error is not None and error.get("Code") == "ConditionalCheckFailed"
    if not item or not records.is_job(item) or (error is not None and not refused):
        return None
    try:
        return Outcome(not refused, decode(item))
    except CorruptRecord:
        return None


INDEX_KEYS = {"by_queue": ("queue_shard", "created_at"), "by_attention": ("attention", "attention_at")}
"""Index → (hash key, range key); both project keys only."""


def merge(
    found: Mapping[str, tuple[Key, ...]], more: set[str], position: Mapping[str, Key | None], limit: int, *, newest_first: bool
) -> Page:
    """One page out of several partitions' keys, in order, and where each of them goes on."""
    after = dict(position)
    order = heapq.merge(
        *([(key, partition) for key in keys] for partition, keys in found.items()),
        key=lambda pair: (pair[0].at, pair[0].id),
        reverse=newest_first,
    )
    page: list[Key] = []
    taken = dict.fromkeys(found, 0)
    for key, partition in order:
        if len(page) == limit:
            break
        page.append(key)
        taken[partition] += 1
        after[partition] = key
    for partition, keys in found.items():
        if taken[partition] == len(keys) and partition not in more:
            after[partition] = None
    unfinished = any(taken[partition] < len(keys) or partition in more for partition, keys in found.items())
    return Page(tuple(page), after if unfinished else None)
