"""One fault at every AWS call of a job's life: nothing is stranded, nothing runs twice under one lease.

Each test first runs a life without a fault to count its calls, then once per call with that call spoiled.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import groupby
from typing import Any

import pytest

from jobline.context import Context
from jobline.job import Status
from jobline.job_type import JobType, job
from tests.cloud import VISIBILITY, Cloud, cloud
from tests.factories import seconds
from tests.faults import KINDS, Faults, Kind

Life = Callable[[Cloud], None]


class Witness:
    """Sees every start of the job's handler: the token it ran under."""

    def __init__(self, fails: int) -> None:
        self.tokens: list[int] = []
        self.fails = fails

    def job_type(self) -> JobType:
        @job("work")
        def work(payload: Any, ctx: Context) -> dict[str, Any]:
            self.tokens.append(ctx.starts)
            if len(self.tokens) <= self.fails:
                raise ValueError("not yet")
            return {"payload": payload}

        return work


def straight(aws: Cloud) -> None:
    """Enqueue, run, done; whatever a fault leaves behind heals within the repair's time."""
    aws.enqueue("work", {"n": 1})
    aws.settle(limit=seconds(60), pace=seconds(5))
    aws.settle(ticks=True, limit=timedelta(minutes=60), pace=timedelta(minutes=4))


def out_of_receives(aws: Cloud) -> None:
    """The same for a message that SQS has given up on before anything ran."""
    aws.enqueue("work", {"n": 1})
    aws.run_relay()
    for _ in range(3):
        aws.raw["sqs"].receive_message(QueueUrl=aws.url(aws.lanes["normal"]), MaxNumberOfMessages=10)
        aws.pass_time(VISIBILITY)
    aws.settle(limit=seconds(60), pace=seconds(5))
    aws.settle(ticks=True, limit=timedelta(minutes=60), pace=timedelta(minutes=4))


def overdue(aws: Cloud) -> None:
    """The same for a job that only the ticker can bring: its message is purged."""
    aws.enqueue("work", {"n": 1})
    aws.run_relay()
    aws.raw["sqs"].purge_queue(QueueUrl=aws.url(aws.lanes["normal"]))
    aws.settle(ticks=True, limit=timedelta(minutes=60), pace=timedelta(minutes=4))


LIVES: dict[str, tuple[Life, dict[str, Any]]] = {
    "a job that succeeds": (straight, {"fails": 0}),
    "a job that fails once": (straight, {"fails": 1}),
    "a message out of receives": (out_of_receives, {"fails": 0, "max_receives": 2}),
    "a message that is gone": (overdue, {"fails": 0}),
}


def live(name: str, faults: Faults) -> tuple[Cloud, Witness]:
    life, options = LIVES[name]
    witness = Witness(options["fails"])
    with cloud(witness.job_type(), faults=faults, max_receives=options.get("max_receives", 10)) as aws:
        life(aws)
        found = aws.job()
        where = f"{name}: {faults.kind} at call {faults.at} ({faults.spoiled})"
        assert found.status is Status.DONE, f"{where}: {found}"
        assert found.result == '{"payload":{"n":1}}', where
        assert len(set(witness.tokens)) == len(witness.tokens), f"{where}: started twice under one lease: {witness.tokens}"
        assert len(witness.tokens) <= options["fails"] + 2, f"{where}: started {len(witness.tokens)} times"
        assert found.attempts <= found.max_attempts, where
        assert aws.messages() == 0, f"{where}: messages left"
    return aws, witness


def calls_of(name: str) -> list[tuple[int, str]]:
    """The calls of a life, by number; of a run of the same call (a tick's reads of eight partitions) the first and the last."""
    faults = Faults()
    live(name, faults)
    runs = [list(run) for _, run in groupby(enumerate(faults.calls), key=lambda call: call[1])]
    return [call for run in runs[:16] for call in dict.fromkeys((run[0], run[-1]))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LIVES)
def test_one_fault_at_any_call_strands_nothing_and_starts_nothing_twice_under_one_lease(name: str, kind: Kind) -> None:
    calls = calls_of(name)
    assert calls
    for number, operation in calls:
        faults = Faults(at=number, kind=kind)
        live(name, faults)
        assert faults.spoiled == operation
