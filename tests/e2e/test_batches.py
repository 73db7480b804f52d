"""Batched claims and finishes on a DynamoDB that judges PartiQL: the same answers as single writes, and no fault strands a job.

The worker runs in this process, so that each of its calls can be spoiled; the table is real, SQS is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from jobline.context import Context, Toolbox
from jobline.job import Job, Status
from jobline.job_type import job
from jobline.local_stack import LocalStack
from jobline.log import Silence
from jobline.memory_deployment import sqs_record
from jobline.memory_items import MemoryItems
from jobline.memory_queues import MemoryQueues
from jobline.message import Message
from jobline.payloads import Bodies
from jobline.quarantine import Quarantine
from jobline.queue import Queues, Sending
from jobline.registry import Registry
from jobline.store import JobStore, Store
from jobline.worker import Worker
from tests.aws import create_table
from tests.factories import KEEP, NOW, make_job, seconds
from tests.faults import KINDS, Faults, FaultyClient, Killed, Kind
from tests.store_conformance import StoreConformance

LANE = "emails-normal"
INVOCATION = seconds(120)
VISIBILITY = 6 * INVOCATION


@pytest.fixture
def table(stack: LocalStack) -> Iterator[str]:
    name = f"conformance-{uuid4().hex[:12]}"
    yield create_table(stack.client("dynamodb"), name)
    stack.client("dynamodb").delete_table(TableName=name)


class TestStore(StoreConformance):
    """The suite that the stores in memory and on moto pass."""

    @pytest.fixture
    def store(self, stack: LocalStack, table: str) -> Store:
        return JobStore(stack.client("dynamodb"), table)


@dataclass
class Bench:
    """One worker in this process over a real table."""

    dynamodb: Any
    table: str
    faults: Faults = field(default_factory=Faults)
    now: datetime = NOW
    starts: list[tuple[str, int]] = field(default_factory=list)
    invocations: int = 0

    def __post_init__(self) -> None:
        @job("work")
        def work(payload: Any, ctx: Context) -> Any:
            self.starts.append((ctx.id, ctx.starts))
            return payload

        self.store = JobStore(self.dynamodb, self.table)
        self.sqs = MemoryQueues(lambda: self.now)
        self.sqs.create(LANE, visibility=VISIBILITY)
        client: Any = FaultyClient(self.dynamodb, self.faults)
        items: Any = MemoryItems()
        self.worker = Worker(
            registry=Registry([work]),
            types={},
            store=JobStore(client, self.table),
            bodies=Bodies(items, "bodies", lambda: items, "bodies"),
            queues=Queues(FaultyClient(self.sqs, self.faults), "memory:///"),  # type: ignore[arg-type]
            quarantine=Quarantine(lambda: items, "bodies"),
            tools=Toolbox(client=lambda name: None, stage="test", bucket="", settings={}, secrets={}, clock=lambda: self.now),
            keep=lambda queue: KEEP,
            clock=lambda: self.now,
            uniform=lambda low, high: low,
            log=Silence(),
            handler_log=Silence(),
            sleep=self.pass_seconds,
        )

    def pass_seconds(self, amount: float) -> None:
        self.now += seconds(amount)

    def enqueue(self, count: int) -> list[str]:
        jobs = [make_job(id=f"0197a000-0000-7000-8000-{n:012d}", type="work", payload=str(n), timeout=10) for n in range(count)]
        for each in jobs:
            self.store.create(each, now=self.now)
        bodies = [Message(id=each.id, queue="emails", dispatch=1, timeout=10).encode() for each in jobs]
        Queues(self.sqs, "memory:///").send(LANE, [Sending(body) for body in bodies])  # type: ignore[arg-type]
        return [each.id for each in jobs]

    def invoke(self) -> None:
        """One batch, by Lambda's rules: a process that dies deletes nothing."""
        messages = self.sqs.receive_message(QueueUrl=LANE, MaxNumberOfMessages=10).get("Messages", [])
        if not messages:
            return
        self.invocations += 1
        self.faults.new_process()
        event = {"Records": [sqs_record(message, LANE) for message in messages]}
        try:
            answer = self.worker.handle(
                event, request_id=f"request-{self.invocations}", remaining_milliseconds=INVOCATION // timedelta(milliseconds=1)
            )
        except Killed:
            return
        kept = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for message in messages:
            if message["MessageId"] not in kept:
                self.sqs.delete_message(QueueUrl=LANE, ReceiptHandle=message["ReceiptHandle"])

    def settle(self) -> None:
        """Invocations every half minute until no message is left."""
        for _ in range(2 * 60):
            self.invoke()
            if not self.sqs.messages():
                return
            self.pass_seconds(30)

    def jobs(self, ids: list[str]) -> list[Job]:
        found = self.store.get_many(ids)
        return [found[job_id] for job_id in ids]


@pytest.fixture
def bench(stack: LocalStack, table: str) -> Bench:
    return Bench(stack.client("dynamodb"), table)


def test_a_batch_of_ten_is_claimed_and_finished_in_one_call_each(bench: Bench) -> None:
    ids = bench.enqueue(10)
    bench.invoke()
    assert [(each.status, each.attempts, each.result) for each in bench.jobs(ids)] == [(Status.DONE, 1, str(n)) for n in range(10)]
    assert bench.sqs.messages() == []
    assert bench.faults.calls == ["batch_execute_statement", "change_message_visibility_batch", "batch_execute_statement"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", range(3), ids=["claim", "hiding", "finish"])
def test_one_fault_at_each_call_of_a_batch_strands_nothing_and_starts_nothing_twice_under_one_lease(
    bench: Bench, at: int, kind: Kind
) -> None:
    ids = bench.enqueue(3)
    bench.faults.at, bench.faults.kind = at, kind
    bench.settle()
    assert bench.faults.spoiled is not None
    assert {each.status for each in bench.jobs(ids)} == {Status.DONE}
    assert len(set(bench.starts)) == len(bench.starts)
    assert [each.result for each in bench.jobs(ids)] == ["0", "1", "2"]
    if kind in ("throttled", "reply_lost", "repeated"):
        assert {each.attempts for each in bench.jobs(ids)} == {1}
        assert len(bench.starts) == 3


def test_a_statement_that_is_throttled_alone_is_no_refusal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB may refuse single statements of a call for their pace (BatchStatementError, DynamoDB API reference)."""
    ids = bench.enqueue(3)
    execute = bench.dynamodb.batch_execute_statement
    throttled = {"Error": {"Code": "ThrottlingError", "Message": "slow down"}}

    def first_is_throttled(**request: Any) -> Any:
        answer = execute(**(request | {"Statements": request["Statements"][1:]}))
        return answer | {"Responses": [throttled, *answer["Responses"]]}

    monkeypatch.setattr(bench.dynamodb, "batch_execute_statement", first_is_throttled)
    bench.invoke()
    assert [(each.status, each.attempts) for each in bench.jobs(ids)] == [(Status.DONE, 1)] * 3
    assert len(bench.starts) == 3
