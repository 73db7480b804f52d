"""What operators do with a whole queue, on the deployed stack."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from jobline.counter_items import CounterItems
from jobline.counters import Doubt, Fresh
from jobline.job import Status
from jobline.local_stack import LocalStack
from tests.e2e.client import Client


def statuses(client: Client, ids: list[str]) -> set[str]:
    return {client.call("GET", f"/jobs/{id}").body["status"] for id in ids}


def test_a_paused_queue_starts_nothing_until_it_is_resumed_and_then_runs_everything(client: Client) -> None:
    answer = client.call("POST", "/queues/diagnostics/pause")
    assert (answer.status, answer.body["paused"]) == (200, True)
    try:
        time.sleep(2)  # a poll that was under way may still bring a batch
        ids = [client.enqueue("diagnostics", "echo", number) for number in range(5)]
        time.sleep(5)
        assert statuses(client, ids) == {"pending"}
        assert client.call("GET", "/queues/diagnostics/stats").body["paused"] is True
        assert client.call("POST", "/queues/diagnostics/pause").body["paused"] is True
        other = client.enqueue("webhooks", "webhook_delivery", {"url": "http://127.0.0.1:8181/nobody", "body": {}}, max_attempts=1)
        assert client.end_of(other)["status"] == "dead"
    finally:
        assert client.call("POST", "/queues/diagnostics/resume").body["paused"] is False
    assert {client.end_of(id)["status"] for id in ids} == {"done"}
    assert {queue["name"]: queue["paused"] for queue in client.call("GET", "/queues").body["queues"]}["diagnostics"] is False


def test_the_operations_queue_itself_cannot_be_paused(client: Client) -> None:
    assert client.call("POST", "/queues/operations/pause").status == 409


def test_a_deploy_leaves_a_paused_queue_paused(client: Client, stack: LocalStack) -> None:
    assert client.call("POST", "/queues/images/pause").status == 200
    try:
        stack.deploy()
        assert client.call("GET", "/queues/images/stats").body["paused"] is True
        id = client.enqueue("images", "image_resize", {"source": "no/such.jpeg", "sizes": [{"width": 10}]}, max_attempts=1)
        time.sleep(4)
        assert statuses(client, [id]) == {"pending"}
    finally:
        assert client.call("POST", "/queues/images/resume").status == 200
    assert client.end_of(id)["status"] == "dead"


def end_of_operation(client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    started = client.call("POST", path, body)
    assert (started.status, started.body["queue"]) == (202, "operations"), started
    ended = client.end_of(started.body["id"])
    assert ended["status"] == "done", ended
    return dict(ended["result"])


def test_dead_jobs_are_redriven_and_then_purged(client: Client) -> None:
    dead = [client.enqueue("diagnostics", "fail", {"times": 2}, max_attempts=1, tags=["operators"]) for _ in range(3)]
    assert {client.end_of(id)["status"] for id in dead} == {"dead"}
    wanted = {"type": "fail", "error": "FailureOnDemand: failure 1 of 2"}

    assert end_of_operation(client, "/queues/diagnostics/redrive", wanted | {"dry_run": True}) == {"dry_run": True, "retried": 3}
    assert end_of_operation(client, "/queues/diagnostics/redrive", wanted) == {"dry_run": False, "retried": 3}
    for id in dead:
        again = client.wait(id, lambda job: job["error"] == "FailureOnDemand: failure 2 of 2", 30)
        assert (again["status"], again["attempts"]) == ("dead", 1)

    wanted = {"status": "failed", "type": "fail", "error": "failure 2 of 2"}
    assert end_of_operation(client, "/queues/diagnostics/purge", wanted | {"limit": 2}) == {"dry_run": False, "deleted": 2}
    assert end_of_operation(client, "/queues/diagnostics/purge", wanted) == {"dry_run": False, "deleted": 1}
    assert {client.call("GET", f"/jobs/{id}").status for id in dead} == {404}


def test_a_purge_cancels_what_waits(client: Client) -> None:
    waiting = [client.enqueue("diagnostics", "echo", None, delay=3600, tags=["waits"]) for _ in range(2)]
    assert end_of_operation(client, "/queues/diagnostics/purge", {"status": "scheduled"}) == {"dry_run": False, "cancelled": 2}
    assert statuses(client, waiting) == {"cancelled"}


def test_counters_in_doubt_are_mended_by_a_job_that_the_ticker_asks_for(client: Client, stack: LocalStack) -> None:
    items = CounterItems(stack.client("dynamodb"), stack.outputs()["TableName"])
    id = client.enqueue("images", "image_resize", {"source": "no/such.jpeg", "sizes": [{"width": 10}]}, max_attempts=1)
    assert client.end_of(id)["status"] == "dead"
    time.sleep(3)  # the observer's window
    true = items.read("images")
    # A recount that began a day ago and has only to be carried out: nobody waits 17 minutes for a test.
    yesterday = int(time.time() * 1000) - 24 * 3600 * 1000
    spoiled = replace(true, counts={Status.PENDING: 77}, doubt=Doubt(1, 1), fresh=Fresh(yesterday, true.counts), rev=true.rev + 1)
    assert items.put("images", spoiled)
    assert client.call("GET", "/queues/images/stats").body["pending"] == 77

    until = time.monotonic() + 120
    while items.read("images").recount:
        assert time.monotonic() < until
        time.sleep(1)
    assert items.read("images").counts == true.counts
    [operation] = client.call("GET", "/jobs?queue=operations&type=recount").body["jobs"]
    assert client.end_of(operation["id"])["result"] == {"recounted": True, "found": 0}
