"""A job's whole life through relay, worker, ticker and dead_letters, on moto with a clock that only we move."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from jobline.context import Context
from jobline.job import Status
from jobline.job_type import JobType, job
from jobline.steering import Cancel, NonRetryable, RetryAfter, Snooze
from jobline.transitions import retry
from jobline.wiring import utc_now
from tests.cloud import VISIBILITY, cloud
from tests.factories import NOW, make_job, seconds
from tests.faults import Killed, Kind


def handler(act: Callable[[Any, Context], Any], name: str = "work") -> JobType:
    """A job type whose handler does `act`."""

    @job(name)
    def work(payload: Any, ctx: Context) -> Any:
        return act(payload, ctx)

    return work


def failing(times: int, error: Callable[[], BaseException] = lambda: ValueError("no")) -> JobType:
    """Fails the first `times` starts, then returns how often it was started."""

    def act(payload: Any, ctx: Context) -> int:
        if ctx.starts <= times:
            raise error()
        return ctx.starts

    return handler(act)


def recording(starts: list[datetime]) -> JobType:
    return handler(lambda payload, ctx: starts.append(utc_now()))


def test_a_job_goes_from_pending_to_done_and_its_result_is_what_the_handler_returned() -> None:
    with cloud(handler(lambda payload, ctx: {"twice": payload["n"] * 2})) as aws:
        aws.enqueue("work", {"n": 21})
        assert aws.job().status is Status.PENDING
        aws.settle()
        done = aws.job()
        assert (done.status, done.result, done.attempts, done.error) == (Status.DONE, '{"twice":42}', 1, None)
        assert done.started_at == done.completed_at == NOW
        assert aws.messages() == 0


def test_a_failing_job_is_retried_with_its_backoff_and_then_done() -> None:
    starts: list[datetime] = []

    def act(payload: Any, ctx: Context) -> str:
        starts.append(utc_now())
        if ctx.attempt < 3:
            raise ValueError(f"attempt {ctx.attempt}")
        return "at last"

    with cloud(handler(act)) as aws:
        aws.enqueue("work", retry='{"backoff":"exponential","base_delay":1000,"max_delay":60000,"jitter":0}')
        aws.settle(pace=seconds(0.5))
        done = aws.job()
        assert (done.status, done.attempts, done.result) == (Status.DONE, 3, '"at last"')
        assert [json.loads(entry)[0] for entry in done.history] == ["failed", "failed"]
        waits = [later - earlier for earlier, later in pairwise(starts)]
        # The test looks every half second, and SQS delays in whole seconds.
        assert all(seconds(least) <= wait <= seconds(least + 1) for least, wait in zip((1, 2), waits, strict=True))


def test_the_idempotency_key_is_the_same_on_every_attempt() -> None:
    keys: list[str] = []

    def act(payload: Any, ctx: Context) -> None:
        keys.append(ctx.idempotency_key)
        if len(keys) < 4:
            raise ValueError("again")

    with cloud(handler(act)) as aws:
        aws.enqueue("work", max_attempts=3, retry='{"backoff":"immediate"}')
        aws.settle()
        assert aws.job().status is Status.DEAD
        assert aws.store.apply(aws.job().id, retry(aws.job(), now=aws.now, op="by hand")).applied
        aws.settle()
        assert (aws.job().status, len(keys), set(keys)) == (Status.DONE, 4, {aws.job().id})


def test_a_job_that_never_succeeds_is_dead_after_its_attempts_and_says_why() -> None:
    with cloud(failing(100)) as aws:
        aws.enqueue("work", max_attempts=2)
        aws.settle()
        dead = aws.job()
        assert (dead.status, dead.attempts, dead.error) == (Status.DEAD, 2, "ValueError: no")
        assert aws.messages() == 0


@pytest.mark.parametrize(
    "ending",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), RecursionError("deep"), MemoryError(), type("Odd", (BaseException,), {})("odd")],
)
def test_whatever_a_handler_raises_is_a_failed_attempt_of_its_own_job(ending: BaseException) -> None:
    with cloud(failing(100, lambda: ending)) as aws:
        aws.enqueue("work", max_attempts=1)
        aws.settle()
        assert (aws.job().status, aws.job().attempts) == (Status.DEAD, 1)
        assert (aws.job().error or "").startswith(type(ending).__name__)


@pytest.mark.parametrize("result", [float("nan"), {1, 2}, object(), "\ud800", {"deep": float("inf")}, "x" * 3_000_000])
def test_a_result_that_json_cannot_say_fails_its_job_and_is_never_stored_changed(result: Any) -> None:
    if isinstance(result, set):
        result = {"set": object()}
    with cloud(handler(lambda payload, ctx: result)) as aws:
        aws.enqueue("work", max_attempts=1)
        aws.settle()
        assert aws.job().status is Status.DEAD


@pytest.mark.parametrize("size", [100, 10_000, 300_000])
def test_a_result_of_any_size_is_kept_whole(size: int) -> None:
    with cloud(handler(lambda payload, ctx: "r" * size)) as aws:
        aws.enqueue("work")
        aws.settle()
        done = aws.job()
        assert aws.bodies.load(done.result, done.result_ref) == json.dumps("r" * size)


def test_a_payload_that_aws_does_not_give_for_a_while_spends_no_attempt() -> None:
    with cloud(handler(lambda payload, ctx: payload["text"])) as aws:
        placed = aws.bodies.put(make_job().id, "payload", json.dumps({"text": "t" * 500}), version="1")
        aws.enqueue("work", payload=None, payload_ref=placed.reference, max_attempts=1)
        aws.faults.outage = {"get_item"}
        aws.settle(limit=seconds(60))
        assert (aws.job().status, aws.job().attempts) == (Status.PENDING, 0)
        aws.faults.outage = set()
        aws.settle()
        assert (aws.job().status, aws.job().result_ref is None, aws.job().attempts) == (Status.DONE, False, 1)


def test_a_handler_that_takes_too_long_is_stopped_and_its_attempt_counts() -> None:
    def spin(payload: Any, ctx: Context) -> None:
        while True:
            pass

    with cloud(handler(spin)) as aws:
        aws.enqueue("work", timeout=1, max_attempts=1)
        aws.settle()
        assert (aws.job().status, aws.job().error) == (Status.DEAD, "AttemptTimedOut: took longer than 1 s")


class TestBackoff:
    """A type may say itself how long to wait."""

    def failing(self, backoff: Callable[[int, BaseException], Any]) -> JobType:
        @job("work", backoff=backoff)
        def work(payload: Any, ctx: Context) -> None:
            raise ValueError(f"attempt {ctx.attempt}")

        return work

    def test_the_types_own_backoff_is_told_the_attempt_and_the_error(self) -> None:
        told: list[tuple[int, str]] = []

        def backoff(attempt: int, error: BaseException) -> float:
            told.append((attempt, str(error)))
            return 40 * (attempt + 1)

        with cloud(self.failing(backoff)) as aws:
            aws.enqueue("work")
            aws.run_relay()
            aws.run_worker()
            assert aws.job().scheduled_at == NOW + seconds(40)
            aws.settle(limit=seconds(200))
            assert told == [(0, "attempt 1"), (1, "attempt 2"), (2, "attempt 3")]
            assert aws.job().status is Status.DEAD

    @pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "soon", None])
    def test_a_backoff_that_answers_nonsense_leaves_it_to_the_policy(self, wrong: Any) -> None:
        with cloud(self.failing(lambda attempt, error: wrong)) as aws:
            aws.enqueue("work")
            aws.run_relay()
            aws.run_worker()
            assert aws.job().scheduled_at == NOW + seconds(5)

    def test_a_backoff_that_raises_leaves_it_to_the_policy(self) -> None:
        with cloud(self.failing(lambda attempt, error: 1 / 0)) as aws:
            aws.enqueue("work")
            aws.run_relay()
            aws.run_worker()
            assert (aws.job().status, aws.job().scheduled_at) == (Status.FAILED, NOW + seconds(5))

    def test_twenty_five_attempts_are_counted_exactly(self) -> None:
        starts: list[int] = []

        @job("work", backoff=lambda attempt, error: 0)
        def work(payload: Any, ctx: Context) -> None:
            starts.append(ctx.attempt)
            raise ValueError("no")

        with cloud(work) as aws:
            aws.enqueue("work", max_attempts=25)
            aws.settle()
            assert (aws.job().status, aws.job().attempts, starts) == (Status.DEAD, 25, list(range(1, 26)))


class TestSteering:
    def test_retry_after_sets_the_time_of_the_next_attempt(self) -> None:
        with cloud(failing(1, lambda: RetryAfter(77))) as aws:
            aws.enqueue("work")
            aws.run_relay()
            aws.run_worker()
            assert (aws.job().status, aws.job().scheduled_at, aws.job().attempts) == (Status.FAILED, NOW + seconds(77), 1)

    def test_a_snooze_uses_no_attempt(self) -> None:
        with cloud(failing(5, lambda: Snooze(10))) as aws:
            aws.enqueue("work", max_attempts=1)
            aws.settle()
            assert (aws.job().status, aws.job().attempts, aws.job().snoozes, aws.job().result) == (Status.DONE, 1, 5, "6")

    def test_non_retryable_is_dead_at_once(self) -> None:
        with cloud(failing(1, lambda: NonRetryable("bad address"))) as aws:
            aws.enqueue("work", max_attempts=9)
            aws.settle()
            assert (aws.job().status, aws.job().attempts, aws.job().error) == (Status.DEAD, 1, "NonRetryable: bad address")

    def test_a_handler_can_cancel_its_own_job(self) -> None:
        with cloud(failing(1, lambda: Cancel("sold out"))) as aws:
            aws.enqueue("work")
            aws.settle()
            assert aws.job().status is Status.CANCELLED


class TestTime:
    @pytest.mark.parametrize("delay", [1, 30, 899, 900, 901, 3600, 13 * 3600])
    def test_a_job_starts_within_two_seconds_of_its_time_and_never_early(self, delay: int) -> None:
        starts: list[datetime] = []
        with cloud(recording(starts)) as aws:
            due = NOW + seconds(delay)
            aws.enqueue("work", scheduled_at=due)
            if delay > 1000:
                aws.settle(limit=seconds(120), ticks=True, pace=seconds(30))
                assert aws.job().status is Status.SCHEDULED
                aws.pass_time(due - aws.now - seconds(150))
            aws.settle(ticks=True, limit=seconds(delay if delay < 1000 else 200) + seconds(10))
            assert aws.job().status is Status.DONE
            assert timedelta() <= starts[0] - due <= seconds(2)

    def test_a_message_that_comes_early_is_hidden_and_not_lost(self) -> None:
        starts: list[datetime] = []
        with cloud(recording(starts)) as aws:
            job_id = aws.enqueue("work", scheduled_at=NOW + seconds(60))
            body = json.dumps({"v": 1, "id": job_id, "queue": "emails", "dispatch": 1})
            aws.raw["sqs"].send_message(QueueUrl=aws.url(aws.lanes["normal"]), MessageBody=body)
            aws.run_worker()
            assert starts == []
            assert aws.messages() == 1
            aws.settle(limit=seconds(70))
            assert len(starts) == 1
            assert starts[0] >= NOW + seconds(60)

    def test_a_job_that_expires_before_its_start_never_runs(self) -> None:
        starts: list[datetime] = []
        with cloud(recording(starts)) as aws:
            aws.enqueue("work", expires_at=NOW + seconds(10))
            aws.run_relay()
            aws.pass_time(seconds(10))
            aws.settle()
            assert (aws.job().status, starts) == (Status.EXPIRED, [])

    def test_a_retry_delay_beyond_twelve_hours_works(self) -> None:
        with cloud(failing(1)) as aws:
            aws.enqueue("work", retry='{"backoff":"fixed","base_delay":72000000,"max_delay":80000000,"jitter":0}')
            aws.settle(limit=seconds(5))
            assert aws.job().delivered_by_ticker
            aws.pass_time(timedelta(hours=20) - seconds(60))
            aws.settle(ticks=True)
            assert (aws.job().status, aws.job().attempts) == (Status.DONE, 2)


class TestCrash:
    def killer(self, times: int) -> JobType:
        """Kills its process on its first `times` starts."""

        def act(payload: Any, ctx: Context) -> str:
            if ctx.starts <= times:
                aws.faults.dead = True
            return "alive"

        aws: Any = None

        def bind(cloud_: Any) -> None:
            nonlocal aws
            aws = cloud_

        made = handler(act)
        self.bind = bind
        return made

    def test_a_job_whose_worker_died_runs_again_soon_after_its_timeout(self) -> None:
        with cloud(self.killer(1)) as aws:
            self.bind(aws)
            aws.enqueue("work", timeout=30)
            aws.settle(limit=seconds(60))
            done = aws.job()
            assert (done.status, done.attempts, done.solo) == (Status.DONE, 2, False)
            assert done.completed_at is not None and done.completed_at - NOW <= seconds(30 + 10)
            assert json.loads(done.history[0])[0] == "crash"

    def test_a_job_that_kills_every_worker_is_dead_by_its_own_count(self) -> None:
        with cloud(self.killer(100)) as aws:
            self.bind(aws)
            aws.enqueue("work", timeout=5)
            aws.settle(limit=seconds(120))
            assert (aws.job().status, aws.job().attempts) == (Status.DEAD, 3)
            assert aws.messages() == 0

    def test_the_ticker_settles_a_lost_lease_whose_message_is_gone(self) -> None:
        with cloud(self.killer(1)) as aws:
            self.bind(aws)
            aws.enqueue("work", timeout=30)
            aws.run_relay()
            aws.run_worker()
            assert aws.job().status is Status.RUNNING
            aws.raw["sqs"].purge_queue(QueueUrl=aws.url(aws.lanes["normal"]))
            aws.settle(ticks=True, limit=timedelta(minutes=30), pace=seconds(10))
            assert (aws.job().status, aws.job().attempts) == (Status.DONE, 2)

    def test_a_worker_that_lost_its_lease_overwrites_nothing(self) -> None:
        """The zombie sleeps past its lease; another worker finishes; then the zombie returns."""
        results = iter(["zombie", "second"])

        def act(payload: Any, ctx: Context) -> str:
            result = next(results)
            if result == "zombie":
                aws.pass_time(VISIBILITY + seconds(1))
                aws.run_worker()
            return result

        with cloud(handler(act)) as aws:
            aws.enqueue("work", timeout=30)
            aws.run_relay()
            aws.run_worker()
            assert (aws.job().status, aws.job().result, aws.job().token) == (Status.DONE, '"second"', 2)


class TestClaim:
    """A claim that AWS did not answer is repeated; one that took effect is recognised as our own (R16)."""

    @pytest.mark.parametrize("kind", ["throttled", "reply_lost", "repeated"])
    def test_a_claim_that_got_no_answer_runs_its_job_at_once_and_once(self, kind: Kind) -> None:
        starts: list[datetime] = []
        with cloud(recording(starts)) as aws:
            aws.enqueue("work")
            aws.run_relay()
            aws.faults.calls.clear()
            aws.faults.at, aws.faults.kind = 0, kind
            aws.run_worker()
            assert aws.faults.spoiled == "update_item"
            assert (aws.job().status, aws.job().attempts, len(starts)) == (Status.DONE, 1, 1)

    def test_a_claim_that_aws_never_answers_comes_back_when_its_lease_would_be_over(self) -> None:
        with cloud(handler(lambda payload, ctx: payload)) as aws:
            aws.enqueue("work", 7, timeout=30)
            aws.run_relay()
            aws.faults.outage = {"update_item"}
            aws.run_worker()
            aws.faults.outage = set()
            aws.settle(limit=seconds(45))
            assert (aws.job().status, aws.job().attempts, aws.job().result) == (Status.DONE, 1, "7")


class TestRepair:
    def test_jobs_whose_messages_were_purged_all_end(self) -> None:
        with cloud(handler(lambda payload, ctx: payload)) as aws:
            ids = [aws.enqueue("work", n, id=f"0197a000-0000-7000-8000-{n:012d}") for n in range(12)]
            aws.run_relay()
            aws.raw["sqs"].purge_queue(QueueUrl=aws.url(aws.lanes["normal"]))
            aws.settle(ticks=True, limit=timedelta(minutes=40), pace=seconds(20))
            assert {aws.job(job_id).status for job_id in ids} == {Status.DONE}

    def test_a_stream_record_that_was_lost_heals(self) -> None:
        with cloud(handler(lambda payload, ctx: payload)) as aws:
            aws.enqueue("work")
            aws._stream_read = len(aws.stream())
            aws.settle(ticks=True, limit=timedelta(minutes=40), pace=seconds(20))
            assert aws.job().status is Status.DONE

    def test_a_paused_queue_is_not_flooded_and_goes_on_when_resumed(self) -> None:
        with cloud(handler(lambda payload, ctx: payload)) as aws:
            key = {"id": {"S": "queue#emails"}}
            aws.raw["dynamodb"].put_item(TableName=aws.table, Item=key | {"paused": {"BOOL": True}})
            for n in range(5):
                aws.enqueue("work", n, id=f"0197a000-0000-7000-8000-{n:012d}")
            for _ in range(24):
                aws.run_relay()
                aws.run_ticker()
                aws.pass_time(timedelta(minutes=5))
            assert aws.messages() == 5
            aws.raw["dynamodb"].delete_item(TableName=aws.table, Key=key)
            aws.settle(ticks=True, limit=timedelta(minutes=40), pace=seconds(20))
            assert aws.messages() == 0

    def test_an_overdue_message_is_sent_again_with_growing_pauses(self) -> None:
        with cloud() as aws:
            aws.enqueue("work")
            for _ in range(6 * 12):
                aws.run_relay()
                aws.run_ticker()
                aws.pass_time(timedelta(minutes=5))
            # Six hours: first when the walk has passed it (15 minutes), then after 15, 60 and 240 more.
            assert aws.job().resend == 4
            assert aws.messages() == 1 + 4


class TestDeadLetters:
    def exhaust(self, aws: Any, receives: int) -> None:
        """Receives the message without running it, as a throttled function does, until SQS moves it away."""
        for _ in range(receives + 1):
            aws.raw["sqs"].receive_message(QueueUrl=aws.url(aws.lanes["normal"]), MaxNumberOfMessages=10)
            aws.pass_time(VISIBILITY)

    def test_receives_that_ran_out_without_a_run_do_not_kill_the_job(self) -> None:
        with cloud(handler(lambda payload, ctx: payload), max_receives=3) as aws:
            aws.enqueue("work", 7)
            aws.run_relay()
            self.exhaust(aws, 3)
            aws.settle(limit=seconds(30))
            assert (aws.job().status, aws.job().attempts, aws.job().result) == (Status.DONE, 1, "7")

    def test_a_message_that_nobody_can_read_is_kept_in_quarantine(self) -> None:
        with cloud(handler(lambda payload, ctx: payload), max_receives=1) as aws:
            aws.raw["sqs"].send_message(QueueUrl=aws.url(aws.lanes["normal"]), MessageBody="{not ours")
            aws.run_worker()
            assert aws.messages() == 1
            aws.pass_time(VISIBILITY)
            aws.settle(limit=seconds(10))
            assert aws.messages() == 0
            (kept,) = aws.raw["s3"].list_objects_v2(Bucket="bodies", Prefix="quarantine/emails-dlq/")["Contents"]
            body = json.loads(aws.raw["s3"].get_object(Bucket="bodies", Key=kept["Key"])["Body"].read())
            assert body["body"] == "{not ours"

    def test_a_message_whose_job_is_over_is_dropped(self) -> None:
        with cloud(handler(lambda payload, ctx: payload)) as aws:
            aws.enqueue("work")
            aws.settle()
            body = json.dumps({"v": 1, "id": make_job().id, "queue": "emails", "dispatch": 1})
            aws.raw["sqs"].send_message(QueueUrl=aws.url(aws.lanes["dlq"]), MessageBody=body)
            aws.run_dead_letters()
            assert aws.messages() == 0
            assert aws.job().status is Status.DONE


class TestRelay:
    def test_a_change_of_an_unknown_queue_is_set_aside_and_blocks_nobody(self) -> None:
        with cloud(handler(lambda payload, ctx: payload)) as aws:
            aws.enqueue("work", id="0197a000-0000-7000-8000-000000000bad", queue="gone")
            aws.enqueue("work")
            aws.run_relay()
            aws.run_worker()
            assert aws.job().status is Status.DONE
            (evidence,) = aws.raw["sqs"].receive_message(QueueUrl=aws.url("set-aside"))["Messages"]
            assert "gone" in json.loads(evidence["Body"])["reason"]

    def test_a_record_that_is_no_job_is_set_aside_and_blocks_nobody(self) -> None:
        with cloud(handler(lambda payload, ctx: payload)) as aws:
            poison = {"id": {"S": "poison"}, "dispatch": {"N": "1"}, "status": {"S": "pending"}}
            aws.raw["dynamodb"].put_item(TableName=aws.table, Item=poison)
            aws.enqueue("work")
            aws.run_relay()
            aws.run_worker()
            assert aws.job().status is Status.DONE

    def test_a_job_goes_to_the_lane_of_its_priority(self) -> None:
        with cloud(lanes=3, concurrency=10) as aws:
            for priority, lane in ((1, "high"), (3, "high"), (4, "normal"), (7, "normal"), (8, "low"), (10, "low")):
                job_id = aws.enqueue("work", id=f"0197a000-0000-7000-8000-{priority:012d}", priority=priority)
                aws.run_relay()
                (message,) = aws.raw["sqs"].receive_message(QueueUrl=aws.url(aws.lanes[lane]))["Messages"]
                assert json.loads(message["Body"])["id"] == job_id


def test_a_killed_process_does_nothing_more() -> None:
    """The tests' own crash is a crash: a call after it raises too."""
    with cloud() as aws:
        aws.faults.dead = True
        with pytest.raises(Killed):
            aws.bodies.load(None, '{"sha256":"","size":1,"item":"x"}')
