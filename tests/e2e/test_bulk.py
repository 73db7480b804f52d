"""Many jobs in one request, on a DynamoDB that judges PartiQL: 25 to a call, and each exactly once whatever call goes wrong.

The api runs in this process, so that each of its calls can be spoiled; the table is real.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from jobline.job import Job
from jobline.local_stack import LocalStack
from jobline.store import JobStore
from tests.api import SEND_EMAIL, Client
from tests.aws import create_table
from tests.faults import KINDS, Faults, FaultyClient, Killed, Kind

MANY = 30
"""Two calls."""
BATCHED = ["batch_execute_statement"]
ALONE = ["put_item"]


class Bench(Client):
    """An API in this process over a real table."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self.faults = Faults()
        self.raw, self.table = dynamodb, table
        faulty: Any = FaultyClient(dynamodb, self.faults)
        super().__init__(JobStore(faulty, table))

    def send_many(self, keys: bool) -> list[int] | None:
        """The jobs' statuses; `None` when there was no answer."""
        self.faults.new_process()
        jobs = [SEND_EMAIL | {"payload": {"to": str(n)}} | ({"idempotency_key": str(n)} if keys else {}) for n in range(MANY)]
        try:
            return [item["status"] for item in self.call("POST", "/jobs/batch", {"jobs": jobs}).body["items"]]
        except Killed:
            return None

    def jobs(self) -> list[Job]:
        items = self.raw.scan(TableName=self.table, ConsistentRead=True)["Items"]
        found = JobStore(self.raw, self.table).get_many([item["id"]["S"] for item in items])
        return sorted(found.values(), key=lambda job: int((job.payload or "").partition('"to": "')[2].rstrip('"}')))

    def each_once(self) -> bool:
        return [(job.payload, job.rev) for job in self.jobs()] == [(f'{{"to": "{n}"}}', 1) for n in range(MANY)]


@pytest.fixture
def bench(stack: LocalStack) -> Iterator[Bench]:
    name = f"bulk-{uuid4().hex[:12]}"
    dynamodb = stack.client("dynamodb")
    yield Bench(dynamodb, create_table(dynamodb, name))
    dynamodb.delete_table(TableName=name)


def test_25_jobs_are_one_call(bench: Bench) -> None:
    assert bench.send_many(keys=False) == [202] * MANY
    assert bench.faults.calls == BATCHED * 2
    assert bench.each_once()


def test_what_was_there_is_settled_singly_and_answered_as_the_same_jobs(bench: Bench) -> None:
    assert bench.send_many(keys=True) == [202] * MANY
    bench.faults.calls.clear()
    assert bench.send_many(keys=True) == [200] * MANY
    assert bench.faults.calls == BATCHED * 2 + ALONE * MANY
    assert bench.each_once()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [0, 1])
def test_after_one_fault_at_a_call_the_client_repeats_and_has_each_job_once(bench: Bench, at: int, kind: Kind) -> None:
    bench.faults.at, bench.faults.kind = at, kind
    answers = [bench.send_many(keys=True)]
    assert bench.faults.spoiled is not None
    while answers[-1] is None or max(answers[-1]) > 202:
        answers.append(bench.send_many(keys=True))
        assert len(answers) < 4, answers
    assert bench.each_once()


@pytest.mark.parametrize("kind", ["throttled", "reply_lost", "repeated"])
@pytest.mark.parametrize("at", [0, 1])
def test_jobs_without_keys_are_made_once_too_when_a_call_gets_no_answer(bench: Bench, at: int, kind: Kind) -> None:
    bench.faults.at, bench.faults.kind = at, kind
    assert bench.send_many(keys=False) == [202] * MANY
    assert bench.each_once()


@pytest.mark.parametrize("took_effect", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_a_statement_that_has_no_verdict_is_tried_again_and_then_singly(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, times: int, took_effect: bool
) -> None:
    """DynamoDB may refuse single statements of a call, or not know how one ended (BatchStatementError, DynamoDB API reference)."""
    execute, left = bench.raw.batch_execute_statement, [times]
    unknown = {"Error": {"Code": "InternalServerError" if took_effect else "ThrottlingError", "Message": "?"}}

    def first_is_unknown(**request: Any) -> Any:
        if not left[0]:
            return execute(**request)
        left[0] -= 1
        others = request["Statements"][0 if took_effect else 1 :]
        answers = execute(**(request | {"Statements": others}))["Responses"] if others else []
        return {"Responses": [unknown, *(answers[1:] if took_effect else answers)]}

    monkeypatch.setattr(bench.raw, "batch_execute_statement", first_is_unknown)
    assert bench.send_many(keys=False) == [202] * MANY
    assert bench.each_once()
