"""A whole deployment in memory: the real functions, a clock that only we move, the same history every time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from jobline.context import Context
from jobline.definitions import Definitions, Queue, Worker
from jobline.errors import InvalidJob, UnknownType
from jobline.job import Status
from jobline.job_type import JobType, job
from jobline.memory_deployment import MemoryDeployment, dead_letters_name
from jobline.steering import Snooze
from tests.factories import NOW, seconds


class Order(msgspec.Struct, forbid_unknown_fields=True):
    number: int


def deployment(*types: JobType, **queue: Any) -> MemoryDeployment:
    queues = {"orders": Queue(name="orders", worker="shop", **queue)}
    return MemoryDeployment(Definitions(stage="test", queues=queues, workers={"shop": Worker(name="shop")}), {"shop": types}, start=NOW)


@job("ship")
def ship(payload: Order, ctx: Context) -> dict[str, int]:
    return {"shipped": payload.number}


@job("moody", retry={"backoff": "fixed", "base_delay": 60_000, "jitter": 0})
def moody(payload: dict[str, Any], ctx: Context) -> str:
    if ctx.attempt < 3:
        raise ValueError(f"attempt {ctx.attempt}")
    return "at last"


def test_an_enqueued_job_is_run_by_the_real_worker_and_its_result_kept() -> None:
    shop = deployment(ship)
    done = shop.job(shop.enqueue("ship", {"number": 7}).id)
    assert done.status is Status.PENDING
    shop.run_until_idle()
    assert (shop.job(done.id).status, shop.result(done.id)) == (Status.DONE, {"shipped": 7})
    assert shop.sqs.messages() == []
    assert shop.stats("orders", shop.now).done == 1


def test_enqueue_checks_what_the_api_checks() -> None:
    shop = deployment(ship)
    with pytest.raises(InvalidJob, match="payload/number"):
        shop.enqueue("ship", {"number": "seven"})
    with pytest.raises(UnknownType):
        shop.enqueue("shop")
    with pytest.raises(InvalidJob, match="delay"):
        shop.enqueue("ship", {"number": 7}, delay="400d")
    first, again = (shop.enqueue("ship", {"number": 7}, idempotency_key="seven") for _ in range(2))
    assert first.id == again.id and len(shop.store.jobs) == 1


@pytest.mark.parametrize("delay", [timedelta(seconds=1), timedelta(minutes=15), timedelta(minutes=16), timedelta(days=30)])
def test_a_delayed_job_starts_when_it_is_due_and_not_before(delay: timedelta) -> None:
    shop = deployment(ship)
    id = shop.enqueue("ship", {"number": 1}, delay=delay).id
    shop.advance(delay - seconds(0.001))
    assert not shop.job(id).over
    shop.advance(seconds(2))
    started = shop.job(id).started_at
    assert started is not None and delay <= started - NOW <= delay + seconds(2)


def test_a_failing_job_is_tried_again_as_its_policy_says() -> None:
    shop = deployment(moody)
    id = shop.enqueue("moody").id
    shop.advance("59s")
    assert (shop.job(id).status, shop.job(id).attempts) == (Status.FAILED, 1)
    shop.advance("2m")
    assert (shop.job(id).status, shop.job(id).attempts) == (Status.DONE, 3)


def test_a_job_whose_messages_are_purged_by_hand_still_ends() -> None:
    shop = deployment(ship)
    id = shop.enqueue("ship", {"number": 1}).id
    shop.run_relay()
    for name in list(shop.sqs.queues):
        shop.sqs.purge_queue(QueueUrl=name)
    shop.advance("14m")
    assert shop.job(id).status is Status.PENDING
    shop.advance("5m")
    assert shop.job(id).status is Status.DONE


def test_a_worker_that_cannot_answer_loses_no_job() -> None:
    shop = deployment(ship)
    id = shop.enqueue("ship", {"number": 1}).id
    shop.run_relay()
    lane = shop.sqs.messages()
    for _ in range(10):
        shop.consume("orders-normal", 1, lambda event: {"batchItemFailures": [{"itemIdentifier": "of another batch"}]})
        shop.now += timedelta(hours=1)
    assert lane == shop.sqs.messages()
    shop.consume("orders-normal", 1, lambda event: {"batchItemFailures": []})
    assert [message.id for message in shop.sqs.messages(dead_letters_name("orders"))] == [lane[0].id]
    shop.advance("1m")
    assert (shop.job(id).status, shop.job(id).attempts) == (Status.DONE, 1)


def test_a_paused_queue_starts_nothing_and_goes_on_when_resumed() -> None:
    shop = deployment(ship)
    id = shop.enqueue("ship", {"number": 1}).id
    shop.states.pause("orders", shop.now)
    shop.advance("2h")
    assert (shop.job(id).status, shop.sqs.sent) == (Status.PENDING, 1)
    shop.states.resume("orders", shop.now)
    shop.run_until_idle()
    assert shop.job(id).status is Status.DONE


def test_the_same_seed_gives_the_same_history() -> None:
    @job("jittery", retry={"backoff": "exponential", "jitter": 1.0})
    def jittery(payload: dict[str, Any], ctx: Context) -> None:
        raise ValueError

    def history() -> list[tuple[str, Status, datetime]]:
        shop = deployment(jittery)
        for _ in range(3):
            shop.enqueue("jittery")
        shop.advance("1h")
        return [(change.after.id, change.after.status, change.after.scheduled_at) for change in shop.store.changes if change.after]

    first = history()
    assert len(first) > 20 and history() == first


def test_what_never_ends_without_time_passing_is_reported() -> None:
    @job("sleepless")
    def sleepless(payload: dict[str, Any], ctx: Context) -> None:
        shop.enqueue("sleepless")
        raise Snooze(60)

    shop = deployment(sleepless, lanes=1)
    shop.enqueue("sleepless")
    with pytest.raises(RuntimeError, match="no time has passed"):
        shop.run_until_idle(most_rounds=100)
