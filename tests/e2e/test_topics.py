"""Topics on the deployed stack: one event, and the jobs of the subscriptions that take it."""

from __future__ import annotations

from tests.e2e.client import Client

SUBSCRIPTION = {"queue": "diagnostics", "type": "echo", "filter": "kind == 'order.paid'", "transform": "{paid: amount}"}
AT = "/topics/orders/subscriptions/made"


def test_an_event_becomes_one_job_for_each_subscription_that_takes_it(client: Client) -> None:
    made = client.call("PUT", AT, SUBSCRIPTION)
    assert made.status in {200, 201}, made
    try:
        answer = client.call("POST", "/topics/orders/publish", {"event": {"kind": "order.paid", "amount": 20}})
        assert answer.status == 202, answer
        publication = client.end_of(answer.body["id"])
        assert publication["status"] == "done", publication
        jobs = publication["result"]["jobs"]
        assert sorted(jobs) == ["log", "made"], "of those that queues.toml declares, `large` takes larger ones"
        ends = {name: client.end_of(id) for name, id in jobs.items()}
    finally:
        assert client.call("DELETE", AT).body == {"deleted": True}
    assert {end["status"] for end in ends.values()} == {"done"}
    assert ends["log"]["payload"] == {"kind": "order.paid", "amount": 20}
    assert ends["made"]["payload"] == {"paid": 20}
    assert {end["parent_id"] for end in ends.values()} == {publication["id"]}
