"""Ordered queues on the real stack: FIFO queues, their mapping, and permissions to send into them."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

from tests.e2e.client import Client

POLICY = {"backoff": "fixed", "base_delay": 1500, "jitter": 0}


def at(moment: str) -> datetime:
    """A whole second has no fraction, so as texts two instants do not compare."""
    return datetime.fromisoformat(moment)


def ends(client: Client, ids: list[str]) -> list[dict[str, Any]]:
    return [client.end_of(id, seconds=90) for id in ids]


def assert_one_after_the_other(jobs: list[dict[str, Any]]) -> None:
    assert [job["status"] for job in jobs] == ["done"] * len(jobs)
    for before, after in pairwise(jobs):
        assert at(before["completed_at"]) <= at(after["started_at"]), (before, after)


def test_jobs_of_a_key_run_in_their_order_over_failures_and_keys_do_not_wait_for_each_other(client: Client) -> None:
    ids: dict[str, list[str]] = {"ada": [], "bob": []}
    for number in range(10):
        for key, some in ids.items():
            fails = 2 if (key, number) == ("ada", 1) else 0
            some.append(client.enqueue("ledger", "fail", {"times": fails}, ordering_key=key, retry=POLICY))
    ada, bob = ends(client, ids["ada"]), ends(client, ids["bob"])
    assert_one_after_the_other(ada)
    assert_one_after_the_other(bob)
    assert [job["attempts"] for job in ada] == [1, 3, *[1] * 8]
    assert [job["ordering_key"] for job in ada] == ["ada"] * 10
    # While ada's second job waited twice for its next attempt, all of bob's were done.
    assert at(bob[-1]["completed_at"]) < at(ada[1]["completed_at"])


def test_a_batch_takes_its_places_in_the_order_of_the_request(client: Client) -> None:
    jobs = [{"queue": "ledger", "type": "echo", "payload": number, "ordering_key": "batch"} for number in range(15)]
    answer = client.call("POST", "/jobs/batch", {"jobs": jobs})
    assert_one_after_the_other(ends(client, [item["job"]["id"] for item in answer.body["items"]]))


def test_a_handler_sends_its_own_children_into_an_ordered_queue(client: Client) -> None:
    job, links = client.enqueue("ledger", "chain", {"links": 3}), 0
    while job:
        links += 1
        job = client.end_of(job)["result"]["next"]
    assert links == 4


def test_what_an_ordered_queue_cannot_keep_is_refused(client: Client) -> None:
    body = {"queue": "ledger", "type": "echo"}
    for fields in ({"delay": 5}, {"priority": 1}, {"group": "a"}):
        assert client.call("POST", "/jobs", body | fields).status == 422
    id = client.enqueue("ledger", "fail", {"times": 1}, ordering_key="moved", retry=POLICY)
    assert client.call("PATCH", f"/jobs/{id}", {"delay": 60}).status == 409
    assert client.end_of(id)["attempts"] == 2
