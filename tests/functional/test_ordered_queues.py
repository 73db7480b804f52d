"""An ordered queue: jobs of one ordering key run one after the other, in the order in which they were enqueued, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobline.context import Context
from jobline.definitions import Definitions, Queue, Worker
from jobline.job import Job, Status
from jobline.job_type import job
from jobline.memory_deployment import MemoryDeployment
from jobline.memory_items import MemoryBucket
from jobline.steering import NonRetryable, RetryAfter, Snooze
from jobline.transitions import take_over
from tests.factories import KEEP, NOW, make_claimant, seconds

LEDGER = "ledger-normal.fifo"
Act = Callable[[Context], Any]


class Ledger:
    """An ordered queue whose handler does what the job's name says, and remembers its starts."""

    def __init__(self, **queue: Any) -> None:
        self.starts: list[str] = []
        self.acts: dict[str, Act] = {}

        @job("book", retry={"backoff": "fixed", "base_delay": 60_000, "jitter": 0}, timeout=20)
        def book(payload: str, ctx: Context) -> str:
            self.starts.append(payload)
            act = self.acts.get(payload)
            return payload if act is None else str(act(ctx))

        queues = {"ledger": Queue(name="ledger", worker="books", ordered=True, **({"batch_size": 10, "max_attempts": 3} | queue))}
        definitions = Definitions(stage="test", queues=queues, workers={"books": Worker(name="books")})
        self.aws = MemoryDeployment(definitions, {"books": [book]}, start=NOW)
        self.jobs: dict[str, str] = {}

    def enqueue(self, *names: str, **fields: Any) -> None:
        """One job each, in this order; the first letter is its ordering key."""
        for name in names:
            self.jobs[name] = self.aws.enqueue("book", name, ordering_key=name[0], **fields).id

    def job(self, name: str) -> Job:
        return self.aws.job(self.jobs[name])

    def states(self) -> dict[str, str]:
        return {name: self.job(name).status.value for name in self.jobs}


def fail_first(times: int) -> Act:
    """A handler that fails its first so many attempts."""

    def act(ctx: Context) -> None:
        if ctx.starts <= times:
            raise ValueError(f"start {ctx.starts}")

    return act


def test_the_jobs_of_a_key_run_in_their_order_and_keys_do_not_wait_for_each_other() -> None:
    ledger = Ledger()
    ledger.acts["a1"] = fail_first(2)
    ledger.enqueue("a1", "b1", "a2", "b2", "a3")
    ledger.aws.run_until_idle()
    assert ledger.starts == ["a1", "b1", "b2"]
    assert ledger.states() == {"a1": "failed", "b1": "done", "a2": "pending", "b2": "done", "a3": "pending"}
    ledger.aws.advance("10m")
    assert ledger.starts == ["a1", "b1", "b2", "a1", "a1", "a2", "a3"]
    assert set(ledger.states().values()) == {"done"}
    assert ledger.aws.sqs.messages() == []
    assert (ledger.job("a1").attempts, ledger.job("a1").dispatch) == (3, 1)


def test_a_dead_job_makes_way_for_the_next() -> None:
    ledger = Ledger(max_attempts=1)
    ledger.acts["a1"] = fail_first(1)
    ledger.enqueue("a1", "a2")
    ledger.aws.run_until_idle()
    assert ledger.states() == {"a1": "dead", "a2": "done"}


def refuse(ctx: Context) -> None:
    raise NonRetryable("no")


def test_what_was_given_back_unclaimed_used_no_attempt_and_comes_at_once() -> None:
    ledger = Ledger()
    ledger.acts["a1"] = fail_first(1)
    ledger.enqueue("a1", "a2")
    ledger.aws.run_until_idle()
    assert (ledger.job("a2").token, ledger.job("a2").attempts) == (0, 0)
    ledger.aws.advance(seconds(61))
    assert ledger.states() == {"a1": "done", "a2": "done"}


@pytest.mark.parametrize("wait", [10, 901, 30 * 3600, 60 * 3600])
@pytest.mark.parametrize("steering", [RetryAfter, Snooze])
def test_a_head_keeps_its_place_however_long_it_waits(steering: type[RetryAfter | Snooze], wait: int) -> None:
    ledger = Ledger()

    def act(ctx: Context) -> None:
        if ctx.starts == 1:
            raise steering(wait)

    ledger.acts["a1"] = act
    ledger.enqueue("a1", "a2")
    ledger.aws.advance(seconds(wait - 1))
    assert ledger.starts == ["a1"]
    ledger.aws.advance("2m")
    assert ledger.starts == ["a1", "a1", "a2"]
    assert ledger.job("a1").dispatch == 1
    assert ledger.job("a1").attempts == (2 if steering is RetryAfter else 1)


def test_work_that_goes_on_from_a_checkpoint_keeps_its_place() -> None:
    ledger = Ledger()

    def act(ctx: Context) -> None:
        for step in range(ctx.cursor or 0, 5):
            ledger.aws.sleep(7)
            ctx.checkpoint(step + 1)

    ledger.acts["a1"] = act
    ledger.enqueue("a1", "a2")
    ledger.aws.advance("5m")
    assert ledger.starts == ["a1"] * (len(ledger.starts) - 1) + ["a2"]
    assert len(ledger.starts) > 2
    assert (ledger.job("a1").attempts, ledger.states()) == (1, {"a1": "done", "a2": "done"})


class Killed(BaseException):
    """The process ends here."""


def test_a_job_whose_worker_died_keeps_its_place() -> None:
    ledger = Ledger(max_attempts=2)

    def run_and_die() -> None:
        worker = ledger.aws.make_worker(ledger.aws.ports, "books")
        with pytest.raises(Killed):
            ledger.aws.consume(LEDGER, 10, lambda event: die_after_the_claim(worker, event))

    def die_after_the_claim(worker: Any, event: Any) -> Any:
        def die(job_id: str, write: Any) -> Any:
            outcome = apply(job_id, write)
            if write.event in {"claim", "take_over"}:
                raise Killed
            return outcome

        apply = ledger.aws.store.apply
        ledger.aws.store.apply = die  # type: ignore[method-assign]
        try:
            return worker.handle(event, request_id="dying", remaining_milliseconds=300_000)
        finally:
            ledger.aws.store.apply = apply  # type: ignore[method-assign]

    ledger.enqueue("a1", "a2")
    ledger.aws.run_relay()
    run_and_die()
    # Nobody was told, so the message stays hidden for the queue's own time; the ticker settles the lease meanwhile.
    ledger.aws.advance("20m")
    assert (ledger.job("a1").status, ledger.job("a1").dispatch, ledger.starts) == (Status.FAILED, 1, [])
    ledger.aws.advance("15m")
    assert ledger.starts == ["a1", "a2"]
    assert (ledger.job("a1").attempts, ledger.states()) == (2, {"a1": "done", "a2": "done"})


def test_a_message_that_nobody_can_read_is_kept_in_quarantine_and_blocks_nobody() -> None:
    ledger = Ledger()
    entry = {"Id": "0", "MessageBody": "?", "MessageGroupId": "a", "MessageDeduplicationId": "?"}
    ledger.aws.sqs.send_message_batch(QueueUrl=LEDGER, Entries=[entry])
    ledger.enqueue("a1")
    ledger.aws.run_until_idle()
    assert ledger.states() == {"a1": "done"}
    assert [key.split("/")[:2] for key in ledger.aws.bucket.objects] == [["quarantine", LEDGER]]


class FullBucket(MemoryBucket):
    """Takes nothing for a while."""

    refusals = 2

    def put_object(self, **arguments: Any) -> dict[str, Any]:
        if self.refusals:
            self.refusals -= 1
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "not now"}}, "PutObject")
        return super().put_object(**arguments)


def test_what_cannot_be_put_into_quarantine_now_is_tried_again_soon() -> None:
    ledger = Ledger()
    bucket = FullBucket()
    ledger.aws.ports = replace(ledger.aws.ports, bucket=bucket)
    entry = {"Id": "0", "MessageBody": "?", "MessageGroupId": "a", "MessageDeduplicationId": "?"}
    ledger.aws.sqs.send_message_batch(QueueUrl=LEDGER, Entries=[entry])
    ledger.enqueue("a1")
    ledger.aws.run_until_idle()
    assert ledger.starts == []
    ledger.aws.advance(seconds(20))
    assert (ledger.starts, len(bucket.objects)) == (["a1"], 1)


def test_a_cancelled_head_makes_way_and_a_retry_by_hand_comes_in_at_the_tail() -> None:
    ledger = Ledger()
    ledger.acts |= {"a1": fail_first(1), "a2": refuse}
    ledger.enqueue("a1", "a2", "a3")
    ledger.aws.run_until_idle()
    ledger.aws.service.cancel(ledger.job("a1"), op="cancel")
    ledger.aws.advance(seconds(61))
    assert ledger.states() == {"a1": "cancelled", "a2": "dead", "a3": "done"}
    ledger.acts.clear()
    ledger.aws.service.retry(ledger.job("a1"), op="retry")
    ledger.aws.run_until_idle()
    assert ledger.starts == ["a1", "a2", "a3", "a1"]


def test_after_a_purge_every_job_still_runs() -> None:
    ledger = Ledger()
    ledger.enqueue("a1", "a2", "b1")
    ledger.aws.run_relay()
    ledger.aws.sqs.purge_queue(QueueUrl=LEDGER)
    ledger.aws.advance("1h")
    assert sorted(ledger.starts) == ["a1", "a2", "b1"]
    assert set(ledger.states().values()) == {"done"}


def test_more_copies_of_messages_change_no_order_and_run_nothing_twice() -> None:
    ledger = Ledger()
    ledger.acts["a1"] = fail_first(2)
    ledger.enqueue("a1", "a2", "a3", retry={"backoff": "fixed", "base_delay": 7_200_000, "jitter": 0})
    ledger.aws.advance("5h")
    assert ledger.starts == ["a1", "a1", "a1", "a2", "a3"]
    assert ledger.aws.sqs.sent > 3  # what waited so long was sent again
    assert ledger.aws.sqs.messages() == []


def test_a_job_may_expire_at_the_head_and_does_not_keep_the_others_longer_than_that() -> None:
    ledger = Ledger()
    ledger.acts["a1"] = fail_first(9)
    ledger.enqueue("a1", expires_in=600, retry={"backoff": "fixed", "base_delay": 36_000_000, "jitter": 0})
    ledger.enqueue("a2")
    ledger.aws.advance("11m")
    assert ledger.states() == {"a1": "expired", "a2": "done"}


def test_an_invocation_that_has_no_time_left_gives_the_rest_back_in_order() -> None:
    ledger = Ledger()
    ledger.acts["a1"] = lambda ctx: ledger.aws.sleep(19)
    ledger.enqueue("a1", "a2", "b1")
    ledger.aws.run_relay()
    worker = ledger.aws.make_worker(ledger.aws.ports, "books")
    ledger.aws.consume(LEDGER, 10, lambda event: worker.handle(event, request_id="short", remaining_milliseconds=30_000))
    assert (ledger.starts, ledger.job("a2").token, ledger.job("b1").token) == (["a1"], 0, 0)
    ledger.aws.run_until_idle()
    assert ledger.starts == ["a1", "a2", "b1"]


def test_a_worker_that_lost_its_lease_begins_nothing_more() -> None:
    """The other key's job may be a suspect, and a suspect must not run in a process that may hold another lease (R13)."""
    ledger = Ledger()

    def lose_the_lease(ctx: Context) -> None:
        if ctx.starts == 1:
            ledger.aws.sleep(40)
            mine = ledger.job("a1")
            other = make_claimant(request_id="other", carrier=mine.carrier, lease_until=ledger.aws.now + seconds(27))
            assert ledger.aws.store.apply(mine.id, take_over(mine, other, now=ledger.aws.now, keep=KEEP)).applied

    ledger.acts["a1"] = lose_the_lease
    ledger.enqueue("a1", "b1")
    ledger.aws.run_relay()
    worker = ledger.aws.make_worker(ledger.aws.ports, "books")
    ledger.aws.consume(LEDGER, 10, lambda event: worker.handle(event, request_id="slow", remaining_milliseconds=300_000))
    assert (ledger.starts, ledger.job("a1").claimed_by, ledger.job("b1").token) == (["a1"], "other", 0)
    ledger.aws.advance("1h")
    assert sorted(ledger.starts) == ["a1", "a1", "b1"]
    assert ledger.states() == {"a1": "done", "b1": "done"}


def test_a_handler_s_children_take_their_places_in_the_order_in_which_it_made_them() -> None:
    ledger = Ledger()

    def act(ctx: Context) -> None:
        for name in ("c1", "c2", "c3"):
            ctx.enqueue("book", name, queue="ledger", ordering_key="c")

    ledger.acts["a1"] = act
    ledger.enqueue("a1")
    ledger.aws.run_workers()  # without the relay
    ledger.aws.run_workers()
    assert ledger.starts == ["a1", "c1", "c2", "c3"]


def test_a_low_latency_job_runs_before_the_relay_has_seen_it_and_once() -> None:
    starts: list[str] = []

    @job("ring")
    def ring(payload: str, ctx: Context) -> None:
        starts.append(payload)

    queues = {"bells": Queue(name="bells", worker="tower", low_latency=True)}
    aws = MemoryDeployment(Definitions(stage="test", queues=queues, workers={"tower": Worker(name="tower")}), {"tower": [ring]}, start=NOW)
    id = aws.enqueue("ring", "now", priority=1).id
    aws.run_workers()
    assert (aws.job(id).status, starts) == (Status.DONE, ["now"])
    aws.advance(timedelta(hours=1))
    assert (starts, aws.sqs.messages(), aws.job(id).attempts) == (["now"], [], 1)
