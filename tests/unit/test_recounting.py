"""Counters made anew while jobs go on: whatever happens meanwhile, and however far the stream is behind, they come out exact."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

import jobline.recounting
from functions.operations.purge import purge
from functions.operations.recount import recount
from jobline.context import Context
from jobline.counter_items import CounterItems
from jobline.counters import COUNTED, Counters, Doubt
from jobline.definitions import Definitions, Queue, Worker
from jobline.errors import Conflict
from jobline.job import RETRYABLE, WAITING, Job, Status
from jobline.job_type import job
from jobline.memory import MemoryStore
from jobline.memory_deployment import MemoryDeployment
from jobline.recounting import BEHIND, recount_job
from jobline.times import to_milliseconds
from tests.factories import NOW

QUEUES = {
    "emails": Queue(name="emails", worker="notes", lanes=1, max_attempts=1),
    "operations": Queue(name="operations", worker="operations", lanes=1, max_attempts=3, timeout=870),
}


@job("work")
def work(payload: dict[str, Any], ctx: Context) -> None:
    if payload.get("fails"):
        raise ValueError("broken")


class Shop(MemoryDeployment):
    """A deployment whose observer runs only when it is told to, and whose counters may be spoiled."""

    def __init__(self, *, stream_shards: int = 1) -> None:
        workers = {"notes": Worker(name="notes"), "operations": Worker(name="operations", timeout=900)}
        definitions = Definitions(stage="test", queues=QUEUES, workers=workers)
        super().__init__(definitions, {"notes": [work], "operations": [purge, recount]}, start=NOW, stream_shards=stream_shards)
        self.observing = True
        self.counters = CounterItems(cast(Any, self.items), "memory")

    def run_observer(self) -> int:
        return super().run_observer() if self.observing else 0

    def catch_up(self) -> None:
        while super().run_observer():
            pass

    def spoil(self) -> None:
        """Counters as they are after a day of lost stream records."""
        self.catch_up()
        at = to_milliseconds(self.now)
        counters = self.counters.read("emails")
        wrong = {Status.PENDING: 99, Status.DEAD: -3, Status.RUNNING: 1}
        assert self.counters.put("emails", replace(counters, counts=wrong, doubt=Doubt(at, at), rev=counters.rev + 1))

    def told(self) -> dict[Status, int]:
        return {status: count for status, count in self.counters.read("emails").counts.items() if count}

    def true(self) -> dict[Status, int]:
        return dict(Counter(job.status for job in self.store.jobs.values() if job.queue == "emails" and job.status in COUNTED))

    def recounts(self) -> list[Job]:
        return [job for job in self.store.jobs.values() if job.type == "recount"]

    def has(self, **fields: Any) -> str:
        return self.enqueue("work", {"fails": fields.pop("fails", False)}, **fields).id

    def tick_on(self, minutes: int) -> None:
        for _ in range(minutes):
            self.now += timedelta(minutes=1)
            self.run_ticker()
            self.run_until_idle()


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_counters_in_doubt_are_made_anew_from_the_records(shop: Shop) -> None:
    for number in range(250):
        shop.has(fails=number % 3 == 0, **({"delay": "30d"} if number % 5 == 0 else {}))
    shop.run_until_idle()
    shop.spoil()
    shop.tick_on(25)
    [operation] = shop.recounts()
    assert operation.status is Status.DONE
    assert shop.told() == shop.true()
    assert not shop.counters.read("emails").recount
    marked = sum(job.recounted_at is not None for job in shop.store.jobs.values())
    assert shop.result(operation.id) == {"recounted": True, "found": marked}


def test_a_recount_changes_no_job_and_sends_no_message(shop: Shop) -> None:
    waiting, dead, done = shop.has(delay="30d"), shop.has(fails=True), shop.has()
    shop.run_until_idle()
    shop.spoil()
    before, sent = {id: shop.job(id) for id in (waiting, dead, done)}, shop.sqs.sent
    shop.tick_on(25)
    for id, then in before.items():
        assert replace(shop.job(id), recounted_at=None, rev=0) == replace(then, rev=0)
    assert shop.sqs.sent - sent == shop.recounts()[0].token, "one message for each start of the recount itself"


def test_the_ticker_asks_for_one_recount_however_often_it_looks(shop: Shop) -> None:
    shop.has(delay="30d")
    shop.run_until_idle()
    shop.spoil()
    for _ in range(5):
        shop.run_ticker()
    assert len(shop.recounts()) == 1
    shop.tick_on(25)
    assert len(shop.recounts()) == 1
    shop.spoil()
    shop.tick_on(25)
    assert len(shop.recounts()) == 2
    assert shop.told() == shop.true()


def test_a_recount_that_ended_without_success_is_asked_for_again_the_next_day(shop: Shop) -> None:
    definition = QUEUES["operations"]
    today = recount_job("emails", 7, definition, now=NOW)
    assert today.id == recount_job("emails", 7, definition, now=NOW + timedelta(hours=2)).id
    others = [
        recount_job("emails", 7, definition, now=NOW + timedelta(days=1)),
        recount_job("emails", 8, definition, now=NOW),
        recount_job("images", 7, definition, now=NOW),
    ]
    assert len({today.id, *(other.id for other in others)}) == 4


def test_counters_that_are_not_in_doubt_are_left_alone(shop: Shop) -> None:
    shop.has(delay="30d")
    shop.run_until_idle()
    before = shop.counters.read("emails")
    shop.store.create(recount_job("emails", 1, QUEUES["operations"], now=shop.now), now=shop.now)
    shop.tick_on(2)
    assert shop.result(shop.recounts()[0].id) == {"recounted": False, "found": 0}
    assert shop.counters.read("emails") == before


def test_records_lost_during_a_recount_begin_it_again(shop: Shop) -> None:
    shop.has(delay="30d")
    shop.run_until_idle()
    shop.spoil()
    shop.tick_on(10)
    counters = shop.counters.read("emails")
    assert counters.fresh is not None and counters.doubt is not None
    later = Doubt(counters.doubt.first, to_milliseconds(shop.now))
    assert shop.counters.put(
        "emails", replace(counters, fresh=counters.fresh._replace(counts={Status.DEAD: 5}), doubt=later, rev=counters.rev + 1)
    )
    shop.tick_on(20)
    assert shop.counters.read("emails").recount
    shop.tick_on(30)
    assert not shop.counters.read("emails").recount
    assert shop.told() == shop.true()
    assert len(shop.recounts()) == 1


def test_while_the_observer_is_a_day_behind_a_recount_waits_for_it(shop: Shop) -> None:
    shop.has(delay="30d")
    shop.run_until_idle()
    shop.spoil()
    for _ in range(10):
        counters = shop.counters.read("emails")
        assert counters.doubt is not None and counters.fresh is None
        again = replace(counters, doubt=counters.doubt._replace(last=to_milliseconds(shop.now)), rev=counters.rev + 1)
        assert shop.counters.put("emails", again)
        shop.tick_on(1)
    shop.tick_on(30)
    assert shop.told() == shop.true()


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_during_a_recount_and_however_late_the_stream_is_the_counters_come_out_exact(
    seed: int, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(jobline.recounting, "PAGE", 5)
    shop = Shop(stream_shards=shards)
    ids = [shop.has(fails=chance.random() < 0.5, **({"delay": "30d"} if chance.random() < 0.4 else {})) for _ in range(60)]
    shop.run_until_idle()
    shop.spoil()
    shop.observing = False

    def walk(*place: Any, **bounds: Any) -> Any:
        for _ in range(chance.randrange(3)):  # in the middle of the recount's own walk, before a page and after it
            happen(shop, ids, chance, idle=False)
        keys = MemoryStore.walk(shop.store, *place, **bounds)
        for _ in range(chance.randrange(3)):
            happen(shop, ids, chance, idle=False)
        return keys

    monkeypatch.setattr(shop.store, "walk", walk)
    for _ in range(int(BEHIND.total_seconds()) // 60 + 10):
        shop.tick_on(1)
        for _ in range(chance.randrange(6)):
            happen(shop, ids, chance)
        if chance.random() < 0.2:
            shop.catch_up() if chance.random() < 0.5 else MemoryDeployment.run_observer(shop)
    assert shop.recounts()[0].status is Status.DONE
    shop.run_until_idle()
    shop.catch_up()
    assert not shop.counters.read("emails").recount
    assert shop.told() == shop.true()


def happen(shop: Shop, ids: list[str], chance: random.Random, *, idle: bool = True) -> None:
    """One thing that clients, workers, operators or time do to a job."""
    id = chance.choice(ids)
    found = shop.store.get(id)
    what = chance.choice(["enqueue", "cancel", "retry", "remove", "time", "by key"])
    try:
        if what == "enqueue":
            ids.append(shop.has(fails=chance.random() < 0.5, **({"delay": "2m"} if chance.random() < 0.5 else {})))
        elif what == "by key":
            ids.append(shop.has(fails=True, idempotency_key=f"key {chance.randrange(3)}".replace(" ", "-")))
        elif what == "time":
            shop.now += timedelta(seconds=chance.randrange(20))
        elif found is None:
            return
        elif what == "cancel" and found.status in WAITING:
            shop.service.cancel(found, op=f"c{chance.random()}")
        elif what == "retry" and found.status in RETRYABLE:
            shop.service.retry(found, op=f"r{chance.random()}")
        elif what == "remove" and found.over:
            shop.store.delete(found)
    except Conflict:
        return
    if idle and chance.random() < 0.7:
        shop.run_until_idle()


def test_a_fresh_count_survives_its_item(shop: Shop) -> None:
    begun = Counters(doubt=Doubt(1, 2), rev=3).begin_anew(NOW)
    assert not shop.counters.put("emails", begun)
    begun = replace(begun, rev=1, since=4, fresh=begun.fresh and begun.fresh._replace(counts={Status.DEAD: 2}))
    assert shop.counters.put("emails", begun)
    assert shop.counters.read("emails") == begun
    assert shop.counters.peek("emails") == begun
