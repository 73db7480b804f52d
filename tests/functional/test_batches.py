"""A batch of messages: claimed together, run in order of priority, finished together, and each job for itself when one goes wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from jobline.context import Context
from jobline.job import Job, Status
from jobline.job_type import JobType, job
from jobline.wiring import utc_now
from tests.cloud import Cloud, cloud
from tests.factories import NOW, seconds
from tests.faults import Kind


def id_of(n: int) -> str:
    return f"0197a000-0000-7000-8000-{n:012d}"


def enqueue(aws: Cloud, *payloads: Any, **fields: Any) -> list[str]:
    return [aws.enqueue("work", payload, id=id_of(n), **fields) for n, payload in enumerate(payloads)]


def jobs(aws: Cloud, ids: list[str]) -> list[Job]:
    return [aws.job(job_id) for job_id in ids]


def handler(act: Callable[[Any, Context], Any]) -> JobType:
    @job("work")
    def work(payload: Any, ctx: Context) -> Any:
        return act(payload, ctx)

    return work


def test_all_jobs_of_a_batch_are_done_and_each_attempt_is_counted() -> None:
    with cloud(handler(lambda payload, ctx: payload * 2), batch_size=10) as aws:
        ids = enqueue(aws, *range(10))
        aws.run_relay()
        aws.run_worker()
        assert [(done.status, done.attempts, done.result) for done in jobs(aws, ids)] == [(Status.DONE, 1, str(n * 2)) for n in range(10)]
        assert aws.messages() == 0


def test_a_batch_shows_its_messages_again_with_one_call() -> None:
    with cloud(handler(lambda payload, ctx: payload), batch_size=10) as aws:
        enqueue(aws, *range(10))
        aws.run_relay()
        aws.faults.calls.clear()
        aws.run_worker()
        assert aws.faults.calls.count("change_message_visibility_batch") == 1
        assert "change_message_visibility" not in aws.faults.calls


def test_the_most_urgent_job_of_a_batch_runs_first() -> None:
    order: list[int] = []
    with cloud(handler(lambda payload, ctx: order.append(payload)), batch_size=10) as aws:
        for n, priority in enumerate((5, 1, 10, 3)):
            aws.enqueue("work", priority, id=id_of(n), priority=priority)
        aws.run_relay()
        aws.run_worker()
        assert order == [1, 3, 5, 10]


def test_a_failure_in_a_batch_is_one_jobs_failure() -> None:
    def act(payload: Any, ctx: Context) -> Any:
        if payload == 1:
            raise ValueError("no")
        return payload

    with cloud(handler(act), batch_size=10) as aws:
        ids = enqueue(aws, 0, 1, 2, max_attempts=1)
        aws.settle()
        assert [(one.status, one.attempts) for one in jobs(aws, ids)] == [(Status.DONE, 1), (Status.DEAD, 1), (Status.DONE, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, 10])
def test_a_killer_in_a_batch_ends_dead_by_its_own_count_and_its_neighbours_end_done_with_one_attempt(size: int) -> None:
    def act(payload: Any, ctx: Context) -> Any:
        if payload == "killer":
            aws.faults.dead = True
        return payload

    with cloud(handler(act), batch_size=10) as aws:
        payloads: list[Any] = list(range(size))
        payloads[size // 2] = "killer"
        ids = enqueue(aws, *payloads, timeout=10)
        aws.settle(limit=timedelta(minutes=40), pace=seconds(5))
        ended = jobs(aws, ids)
        killer = ended.pop(size // 2)
        assert (killer.status, killer.attempts) == (Status.DEAD, 3)
        assert [(one.status, one.attempts) for one in ended] == [(Status.DONE, 1)] * (size - 1)
        crashes = [entry for entry in map(json.loads, killer.history) if entry[0] == "crash"]
        assert len(crashes) >= 3
        assert all("ended without a word" in detail for _, _, _, detail, _ in crashes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["crash_before", "crash_after", "throttled", "reply_lost", "repeated"])
@pytest.mark.parametrize("at", [0, 2, 3, 4, 6], ids=["first claim", "last claim", "hiding", "first finish", "last finish"])
def test_one_fault_in_a_batch_strands_nothing_and_starts_nothing_twice_under_one_lease(kind: Kind, at: int) -> None:
    starts: list[tuple[str, int]] = []

    def act(payload: Any, ctx: Context) -> Any:
        starts.append((ctx.id, ctx.starts))
        return payload

    with cloud(handler(act), batch_size=10) as aws:
        ids = enqueue(aws, 0, 1, 2, timeout=10)
        aws.run_relay()
        aws.faults.calls.clear()
        aws.faults.at, aws.faults.kind = at, kind
        aws.settle(limit=timedelta(minutes=20), pace=seconds(10), ticks=True)
        assert {one.status for one in jobs(aws, ids)} == {Status.DONE}
        assert {one.attempts for one in jobs(aws, ids)} <= {1, 2}
        assert len(set(starts)) == len(starts)


def test_the_same_job_twice_in_a_batch_runs_once() -> None:
    starts: list[str] = []
    with cloud(handler(lambda payload, ctx: starts.append(ctx.id)), batch_size=10) as aws:
        (job_id,) = enqueue(aws, 1)
        aws.run_relay()
        body = json.dumps({"v": 1, "id": job_id, "queue": "emails", "dispatch": 1})
        aws.raw["sqs"].send_message(QueueUrl=aws.url(aws.lanes["normal"]), MessageBody=body)
        aws.settle(limit=timedelta(minutes=40), pace=seconds(30))
        assert starts == [job_id]
        assert aws.messages() == 0


def test_a_job_that_no_longer_fits_into_its_batch_is_handed_back_and_keeps_its_attempt() -> None:
    def act(payload: Any, ctx: Context) -> Any:
        aws.pass_time(seconds(200))
        return payload

    with cloud(handler(act), batch_size=10) as aws:
        ids = enqueue(aws, 0, 1, 2, timeout=150)
        aws.run_relay()
        aws.run_worker()
        assert sorted(str(one.status) for one in jobs(aws, ids)) == ["done", "pending", "pending"]
        assert {one.attempts for one in jobs(aws, ids) if one.status is Status.PENDING} == {0}
        aws.settle(limit=timedelta(minutes=30))
        assert [(one.status, one.attempts) for one in jobs(aws, ids)] == [(Status.DONE, 1)] * 3


def test_a_finish_waits_for_others_a_second_at_most() -> None:
    """The first job is quick, the second takes three seconds: the first is done long before."""
    seen: list[Status] = []

    def act(payload: Any, ctx: Context) -> Any:
        if payload == 1:
            slow = threading.Event()
            for _ in range(30):
                slow.wait(0.1)
                seen.append(aws.job(id_of(0)).status)
                if seen[-1] is Status.DONE:
                    break
        return payload

    with cloud(handler(act), batch_size=10) as aws:
        enqueue(aws, 0, 1)
        aws.run_relay()
        aws.run_worker()
        assert (seen[0], seen[-1]) == (Status.RUNNING, Status.DONE)
        assert aws.job(id_of(1)).status is Status.DONE


def test_threads_run_jobs_of_one_batch_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)

    with cloud(handler(lambda payload, ctx: together.wait()), batch_size=10, threads=3) as aws:
        ids = enqueue(aws, 0, 1, 2, max_attempts=1)
        aws.run_relay()
        aws.run_worker()
        assert {(one.status, one.attempts) for one in jobs(aws, ids)} == {(Status.DONE, 1)}


def test_a_timeout_in_one_thread_stops_its_own_job_only() -> None:
    def act(payload: Any, ctx: Context) -> Any:
        while payload == 0:
            pass
        return payload

    with cloud(handler(act), batch_size=10, threads=2) as aws:
        ids = enqueue(aws, 0, 1, max_attempts=1, timeout=1)
        aws.settle()
        slow, quick = jobs(aws, ids)
        assert (slow.status, slow.error) == (Status.DEAD, "AttemptTimedOut: took longer than 1 s")
        assert quick.status is Status.DONE


def test_a_timeout_that_no_invocation_of_the_worker_has_room_for_is_cut_and_not_handed_back_for_ever() -> None:
    """A redeploy gave the worker less time than jobs that were enqueued before ask for."""
    deadlines: list[datetime] = []

    def act(payload: Any, ctx: Context) -> Any:
        deadlines.append(ctx.deadline)
        return payload

    with cloud(handler(act)) as aws:
        aws.enqueue("work", 1, timeout=800)
        aws.run_relay()
        aws.run_worker(remaining=seconds(60))
        assert (aws.job().status, aws.job().attempts) == (Status.DONE, 1)
        assert seconds(40) < deadlines[0] - NOW < seconds(60)


def test_each_lost_attempt_is_in_the_history_with_its_reason() -> None:
    def act(payload: Any, ctx: Context) -> Any:
        match ctx.starts:
            case 1:
                aws.faults.dead = True
            case 2:
                raise SystemExit(3)
            case 3:
                while True:
                    pass
        return utc_now().isoformat()

    with cloud(handler(act)) as aws:
        aws.enqueue("work", timeout=1, max_attempts=4)
        aws.settle(limit=timedelta(minutes=2))
        assert aws.job().status is Status.DONE
        assert [json.loads(entry)[0] for entry in aws.job().history] == ["crash", "exit", "timeout"]
