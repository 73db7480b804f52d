"""One fault at every AWS call of a job's life, from the client's request to the end: nothing is stranded, nothing runs twice.

Each test first lives a life without a fault to count its calls, then once per call with that call spoiled.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

import pytest

from jobline.job import Status
from jobline.payloads import INLINE_LIMIT, ITEM_LIMIT
from jobline.steering import NonRetryable, RetryAfter
from jobline.ticker import WALK_BEHIND
from tests.cloud import VISIBILITY, cloud
from tests.factories import seconds
from tests.faults import KINDS, Faults, Killed, Kind
from tests.witness import Witness

CRASHES: set[Kind] = {"crash_before", "crash_after"}
SMALL = {"n": 1}
SPLIT = {"n": 1, "text": "s" * INLINE_LIMIT}
STORED = {"n": 1, "text": "o" * ITEM_LIMIT}


def heal(witness: Witness) -> None:
    """Lets time pass: a lease's time is all that most jobs need, the others as long as the repair may take."""
    witness.aws.settle(limit=seconds(90), pace=seconds(10))
    if not witness.aws.quiet():
        witness.aws.settle(ticks=True, limit=timedelta(minutes=90), pace=timedelta(minutes=6))


def with_a_key(witness: Witness) -> None:
    witness.enqueue(SMALL, key="k")
    heal(witness)


def without_a_key(witness: Witness) -> None:
    """A client whose POST got no answer sends it again: there may be two jobs then."""
    witness.enqueue(SMALL)
    heal(witness)


def split(witness: Witness) -> None:
    """Payload and result are items of their own."""
    witness.enqueue(SPLIT, key="k")
    heal(witness)


def stored(witness: Witness) -> None:
    """Payload and result are objects in S3."""
    witness.enqueue(STORED, key="k")
    heal(witness)


def out_of_receives(witness: Witness) -> None:
    """SQS gives up on the message before anything has run."""
    aws = witness.aws
    witness.enqueue(SMALL, key="k")
    aws.run_relay()
    for _ in range(3):
        aws.raw["sqs"].receive_message(QueueUrl=aws.url(aws.lanes["normal"]), MaxNumberOfMessages=10)
        aws.pass_time(VISIBILITY)
    heal(witness)


def overdue(witness: Witness) -> None:
    """Only the ticker can bring the job: its message is purged."""
    aws = witness.aws
    witness.enqueue(SMALL, key="k")
    aws.run_relay()
    aws.raw["sqs"].purge_queue(QueueUrl=aws.url(aws.lanes["normal"]))
    aws.pass_time(WALK_BEHIND + seconds(60))
    witness.since = len(aws.faults.calls)
    aws.settle(ticks=True, limit=timedelta(minutes=90), pace=timedelta(minutes=6))


def cancelled_while_it_waits(witness: Witness) -> None:
    job_id = witness.enqueue(SMALL, key="k")
    witness.aws.run_relay()
    witness.since = len(witness.aws.faults.calls)
    assert witness.cancel(job_id) == {"cancelled": True}
    heal(witness)


def cancelled_while_it_runs(witness: Witness) -> None:
    witness.broken, witness.meanwhile = ValueError("not yet"), witness.cancel
    witness.enqueue(SMALL, key="k")
    witness.aws.run_relay()
    witness.since = len(witness.aws.faults.calls)
    heal(witness)


def retried_when_dead(witness: Witness) -> None:
    witness.broken = NonRetryable("not like this")
    job_id = witness.enqueue(SMALL, key="k")
    heal(witness)
    assert witness.jobs()[job_id].status is Status.DEAD
    witness.broken, witness.since = None, len(witness.aws.faults.calls)
    witness.retry(job_id, key="again")
    heal(witness)


def retried_while_it_waits(witness: Witness) -> None:
    """Retried after a failure, before its next attempt is due: the message of that attempt is still to come."""
    witness.broken = RetryAfter(40)
    job_id = witness.enqueue(SMALL, key="k")
    for _ in range(2):
        witness.aws.run_relay()
        witness.aws.run_worker()
    assert witness.jobs()[job_id].status is Status.FAILED
    witness.broken, witness.since = None, len(witness.aws.faults.calls)
    witness.retry(job_id)
    heal(witness)


def expired_when_it_is_met(witness: Witness) -> None:
    witness.enqueue(SMALL, key="k", expires_in=5)
    witness.aws.run_relay()
    witness.aws.pass_time(seconds(6))
    witness.since = len(witness.aws.faults.calls)
    heal(witness)


def delivered(witness: Witness) -> None:
    """From when its message is there."""
    witness.enqueue(SMALL, key="k")
    witness.aws.run_relay()
    witness.since = len(witness.aws.faults.calls)
    heal(witness)


def worker_that_dies(witness: Witness, *, before_that: Callable[[], object] = lambda: None) -> None:
    """The only attempt ends with its process; whoever meets the lost lease ends the job."""

    def die(job_id: str) -> None:
        before_that()
        witness.aws.faults.dead = True
        raise Killed(job_id)

    witness.meanwhile = die
    witness.enqueue(SMALL, key="k", max_attempts=1)
    witness.aws.run_relay()
    witness.aws.run_worker()
    witness.since = len(witness.aws.faults.calls)
    heal(witness)


def worker_that_dies_and_no_message(witness: Witness) -> None:
    """The same, and its message is gone: only the ticker is left to end it."""
    aws = witness.aws
    worker_that_dies(witness, before_that=lambda: aws.raw["sqs"].purge_queue(QueueUrl=aws.url(aws.lanes["normal"])))


@dataclass(frozen=True)
class Life:
    live: Callable[[Witness], None]
    fails: int = 0
    max_receives: int = 10
    ends: Status = Status.DONE
    told: bool = False
    """Whether somebody is told of its end."""
    only: str = ""
    """The only call that goes wrong, in a life of so many that all of them would take minutes."""


LIVES: dict[str, Life] = {
    "a job that succeeds": Life(with_a_key),
    "a job that fails once": Life(without_a_key, fails=1),
    "a split payload": Life(split),
    "a payload in S3": Life(stored),
    "a message out of receives": Life(out_of_receives, max_receives=2),
    "a message that is gone": Life(overdue),
    "a job cancelled while it waits": Life(cancelled_while_it_waits, ends=Status.CANCELLED),
    "a job cancelled while it runs": Life(cancelled_while_it_runs, ends=Status.CANCELLED),
    "a dead job retried by hand": Life(retried_when_dead),
    "a failed job retried by hand": Life(retried_while_it_waits),
    "a told job that succeeds": Life(delivered, told=True),
    "a told job that expires": Life(expired_when_it_is_met, ends=Status.EXPIRED, told=True),
    "a told job cancelled while it waits": Life(cancelled_while_it_waits, ends=Status.CANCELLED, told=True),
    "a told job whose worker dies": Life(worker_that_dies, ends=Status.DEAD, told=True),
    "a told job whose worker dies and whose message is gone": Life(
        worker_that_dies_and_no_message, ends=Status.DEAD, told=True, only="transact_write_items"
    ),
}


def live(name: str, faults: Faults) -> Witness:
    """A life under one fault, or none; checks that it has kept the promise."""
    life = LIVES[name]
    witness = Witness(fails=life.fails)
    if life.told:
        witness.always = {"callback_url": "https://shop.example.com/told"}
    with cloud(witness.job_type(), faults=faults, max_receives=life.max_receives) as aws:
        witness.aws = aws
        where = f"{name}: {faults.kind} at call {faults.at}"
        life.live(witness)
        where += f" ({faults.spoiled})"
        witness.check_promise(where)
        jobs = witness.jobs()
        for found in jobs.values():
            assert found.status is life.ends, f"{where}: {found}"
            if life.ends is Status.DONE:
                assert json.loads(witness.result(found.id) or "") == {"payload": witness.payload}, where
            if faults.kind not in CRASHES:
                assert found.attempts <= life.fails + 1, f"{where}: no process died, but an attempt was spent: {found}"
    return witness


def calls_of(name: str) -> list[tuple[int, str]]:
    """The calls of a life, by number; of a run of the same call (a tick's reads of eight partitions) the first and the last."""
    faults = Faults()
    since = live(name, faults).since
    runs = [list(run) for _, run in groupby(enumerate(faults.calls[since:], since), key=lambda call: call[1])]
    only = LIVES[name].only
    spoiled = [run for run in runs if run[0][1] == only] if only else runs[:16]
    return [call for run in spoiled for call in dict.fromkeys((run[0], run[-1]))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LIVES)
def test_one_fault_at_any_call_breaks_nothing_of_the_promise(name: str, kind: Kind) -> None:
    calls = calls_of(name)
    assert calls
    for number, operation in calls:
        faults = Faults(at=number, kind=kind)
        live(name, faults)
        assert faults.spoiled == operation
