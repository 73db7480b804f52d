"""Batches on the deployed stack: members of several queues, and what follows from their ends."""

from __future__ import annotations

from tests.e2e.client import Client

ECHO = {"queue": "diagnostics", "type": "echo", "payload": "follows"}
FAILS = {"queue": "diagnostics", "type": "fail", "payload": {"times": 1}, "max_attempts": 1}


def test_what_follows_a_success_and_what_follows_a_dead_member_are_made_once(client: Client) -> None:
    members = [{"queue": "bulk", "type": "echo", "payload": n} for n in range(2)] + [ECHO]
    good = client.call("POST", "/batches", {"jobs": members, "on_success": ECHO, "on_dead": ECHO})
    bad = client.call("POST", "/batches", {"jobs": [FAILS, ECHO], "on_success": ECHO, "on_dead": ECHO, "on_complete": ECHO})
    assert (good.status, bad.status) == (202, 202)
    for started in (good, bad):
        assert client.end_of(started.body["id"])["status"] == "done"
    shown = client.call("GET", f"/batches/{good.body['id']}").body
    assert (shown["status"], shown["counts"]["done"]) == ("complete", 3)
    assert {client.job(each["id"])["batch_id"] for each in shown["jobs"]} == {shown["id"]}
    assert client.end_of(shown["on_success"])["parent_id"] == shown["id"]
    assert (shown["on_complete"], shown["on_dead"]) == (None, None)
    shown = client.call("GET", f"/batches/{bad.body['id']}").body
    assert (shown["counts"]["done"], shown["counts"]["dead"], shown["on_success"]) == (1, 1, None)
    assert {client.end_of(shown[name])["status"] for name in ("on_complete", "on_dead")} == {"done"}
