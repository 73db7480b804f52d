"""A publication's work: one job for each subscription that takes the event, however often it is killed, and nothing lost of the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobline.job import Job, Status
from tests.batches import WAYS, Scene, Spoiled

AT = "/topics/orders/subscriptions/"
EVENT = {"kind": "paid", "n": 7, "customer": {"name": "Ada"}}


class Shop(Scene):
    """A deployment with the topic `orders`, to which `log` is declared to subscribe."""

    def subscribe(self, name: str, type: str = "work", queue: str = "emails", **fields: Any) -> None:
        answer = self.api.call("PUT", AT + name, {"queue": queue, "type": type, **fields})
        assert answer.status in (200, 201), answer.text

    def publish(self, event: Any = EVENT, *, raw: str | None = None, **fields: Any) -> str:
        body: Any = {"event": event, **fields} if raw is None else f'{{"event": {raw}}}'
        answer = self.api.call("POST", "/topics/orders/publish", body)
        assert answer.status == 202, answer.text
        return str(answer.body["id"])

    def result(self, id: str) -> Any:
        job = self.job(id)
        assert job.status is Status.DONE, job
        return json.loads(self.deployment.ports.bodies.load(job.result, job.result_ref) or "")

    def children(self, id: str) -> list[Job]:
        return [job for job in self.store.jobs.values() if job.parent_id == id]


def test_each_subscription_that_takes_the_event_gets_one_job() -> None:
    shop = Shop()
    shop.subscribe("paid", filter="kind == 'paid'", transform="{n: n}")
    shop.subscribe("refunded", filter="kind == 'refunded'")
    shop.subscribe("named", filter="customer.name", transform="{n: `1`, any: customer}", priority=2, tags=["vip"])
    id = shop.publish()
    shop.run()
    result = shop.result(id)
    assert (result["topic"], result["matched"], sorted(result["jobs"])) == ("orders", 3, ["log", "named", "paid"])
    made = {job.id: job for job in shop.children(id)}
    assert set(made) == set(result["jobs"].values())
    named = made[result["jobs"]["named"]]
    assert (named.priority, named.tags, json.loads(named.payload or "")) == (2, ("vip",), {"n": 1, "any": {"name": "Ada"}})
    assert all(job.status is Status.DONE for job in made.values())


def test_without_a_transform_a_job_gets_the_event_byte_for_byte() -> None:
    shop = Shop()
    raw = '{"big":9223372036854775808, "small":1.0,"tenth":0.1}'
    id = shop.publish(raw=raw)
    shop.run()
    [child] = shop.children(id)
    assert child.payload == raw


def test_a_topic_without_subscriptions_that_match_is_published_to_in_peace() -> None:
    shop = Shop()
    shop.deployment.definitions.topics["orders"].subscriptions.pop("log", None)
    try:
        id = shop.publish()
        shop.run()
        assert shop.result(id) == {"topic": "orders", "matched": 0, "jobs": {}}
    finally:
        shop.deployment.definitions.topics["orders"].subscriptions["log"] = '{"queue":"images","type":"report"}'


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"filter": "length(n) > `1`"}, "broken: the filter cannot be asked of this event"),
        ({"transform": "{n: customer.name}"}, "broken: /payload/n"),
        ({"transform": "abs(kind)"}, "broken: transform makes no payload of this event"),
        ({"transform": "nothing"}, "broken: /payload"),
        ({"transform": "|".join(["[@,@]"] * 40)}, "broken: transform makes no payload of this event: it makes more than"),
        ({"filter": "|".join(["to_string([@,@])"] * 40)}, "broken: the filter cannot be asked of this event: it makes more than"),
    ],
)
def test_a_subscription_that_cannot_be_served_keeps_no_other_from_its_job_and_a_retry_serves_it_alone(
    broken: dict[str, str], told: str
) -> None:
    shop = Shop()
    shop.subscribe("broken", **broken)
    shop.subscribe("fine", transform="{n: n}")
    id = shop.publish()
    shop.run()
    job = shop.job(id)
    assert (job.status, job.attempts) == (Status.DEAD, 1)
    assert "1 of 3 subscriptions could not be served" in (job.error or "")
    assert told in (job.error or "")
    before = {child.id for child in shop.children(id)}
    assert len(before) == 2

    # The records of those that were served are long gone when it is mended.
    for child in before:
        del shop.store.jobs[child]
    shop.subscribe("broken", transform="{n: n}")
    assert shop.retry(id).status == 202
    shop.run()
    assert [child.type for child in shop.children(id)] == ["work"]
    assert (shop.result(id)["matched"], list(shop.result(id)["jobs"])) == (3, ["broken"])


def test_a_topic_that_a_deployment_took_away_ends_what_was_published_to_it() -> None:
    shop = Shop()
    id = shop.publish()
    taken = shop.deployment.definitions.topics.pop("orders")
    try:
        shop.run()
    finally:
        shop.deployment.definitions.topics["orders"] = taken
    assert (shop.job(id).status, "no topic 'orders'" in (shop.job(id).error or "")) == (Status.DEAD, True)


def test_a_subscription_that_is_changed_between_two_attempts_has_one_job_all_the_same() -> None:
    shop, store = Shop(), Spoiled()
    shop.use(store)
    shop.subscribe("paid", transform="{n: n}")
    store.at, store.way, store.fragile = 3, "dies after", True
    id = shop.publish()
    shop.run()
    shop.subscribe("paid", transform="{n: `99`}")
    shop.run("1h")
    assert shop.result(id)["matched"] == 2
    assert len(shop.children(id)) == 2


def test_children_say_whose_they_are_and_cancel_with_nobody() -> None:
    shop = Shop()
    shop.subscribe("later", delay="1h", transform="{n: n}")
    id = shop.publish()
    shop.run()
    [later] = [job for job in shop.children(id) if job.type == "work"]
    assert (later.status, later.depth) == (Status.SCHEDULED, 1)
    shop.run("2h")
    assert shop.job(later.id).status is Status.DONE


def test_what_any_type_hides_is_known_for_a_secret_in_an_event_too() -> None:
    assert "hush-hush" in Shop().api.service.secrets_of({"event": {"token": "hush-hush", "n": 1}})


def live(at: int, way: str) -> Spoiled:
    """A publication from its request to its end under one fault."""
    shop, store = Shop(), Spoiled()
    shop.use(store)
    store.at, store.way = at, way
    for number in range(30):
        shop.subscribe(f"s{number}", transform="{n: n}")
    shop.subscribe("in-order", queue="letters", transform="{n: n}")
    shop.subscribe("not", filter="kind == 'lost'")
    id = shop.publish()
    store.fragile = True
    shop.run("3h")
    store.fragile = False
    where = f"{way} at call {at} ({store.spoiled})"
    assert shop.result(id)["matched"] == 32, where
    assert len(shop.children(id)) == 32, where
    assert all(job.status is Status.DONE for job in shop.children(id)), where
    return store


@pytest.mark.parametrize("way", WAYS)
def test_one_fault_at_any_call_makes_no_job_twice_and_leaves_none_unmade(way: str) -> None:
    calls = live(-1, "").number
    assert calls >= 4
    for at in range(calls):
        store = live(at, way)
        assert store.spoiled, at
