"""HTTP through the deployed API: one job for one key, addresses that lead somewhere, paths that lead nowhere, entity tags."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin

import pytest

from tests.e2e.client import Answer, Client

LATER = {"queue": "diagnostics", "type": "echo", "payload": 1, "delay": 3600}
AT_ONCE = 50
COLD_SECONDS = 240
"""Each of so many at once starts a process of its own, all of them on the cores of this machine."""


def follow(client: Client, path: str, answer: Answer) -> Answer:
    """What is at the Location that this path answered, read as RFC 9110 (section 10.2.2) has it; it must be below the API's own URL."""
    there = urljoin(client.url + path, answer.headers["Location"])
    assert there.startswith(f"{client.url}/"), there
    return client.call("GET", there.removeprefix(client.url))


@pytest.mark.slow
def test_fifty_requests_at_once_with_one_key_make_one_job(client: Client) -> None:
    body = json.dumps(LATER).encode()
    headers = client.signed("POST", "/jobs", body, {"Idempotency-Key": uuid.uuid4().hex})
    with ThreadPoolExecutor(AT_ONCE) as threads:
        sent = [threads.submit(client.send, "POST", "/jobs", body, headers, timeout=COLD_SECONDS) for _ in range(AT_ONCE)]
    answers = [each.result() for each in sent]
    assert sorted(answer.status for answer in answers) == [200] * (AT_ONCE - 1) + [202]
    assert {answer.status: answer.headers.get("Idempotent-Replayed") for answer in answers} == {202: None, 200: "true"}
    assert len({answer.body["id"] for answer in answers}) == 1
    page = client.call("GET", "/jobs?queue=diagnostics&status=scheduled&limit=200").body
    assert [job["id"] for job in page["jobs"]].count(answers[0].body["id"]) == 1
    assert client.call("DELETE", f"/jobs/{answers[0].body['id']}").body == {"cancelled": True}


@pytest.mark.parametrize("prefix", ["", "/queues/diagnostics"])
def test_location_leads_to_the_job_that_was_made(client: Client, prefix: str) -> None:
    path = f"{prefix}/jobs"
    made = client.call("POST", path, LATER)
    assert (made.status, follow(client, path, made).body["id"]) == (202, made.body["id"])

    path = f"{prefix}/jobs?wait=0"
    waited = client.call("POST", path, LATER)
    assert (waited.status, follow(client, path, waited).body["id"]) == (202, waited.body["id"])

    path = f"{prefix}/jobs/{made.body['id']}/replay"
    replayed = client.call("POST", path)
    assert (replayed.status, follow(client, path, replayed).body["id"]) == (202, replayed.body["id"])
    assert replayed.body["id"] != made.body["id"]
    for each in (made, waited, replayed):
        client.call("DELETE", f"/jobs/{each.body['id']}")


@pytest.mark.parametrize("operation", ["purge", "redrive"])
def test_location_leads_to_the_job_that_does_the_operation(client: Client, operation: str) -> None:
    path = f"/queues/diagnostics/{operation}"
    started = client.call("POST", path, {"error": "an error that no job has", "dry_run": True})
    found = follow(client, path, started)
    assert (started.status, found.status) == (202, 200)
    assert (found.body["id"], found.body["queue"], found.body["type"]) == (started.body["id"], "operations", operation)


@pytest.mark.parametrize(
    "text", ["%2e%2e", "%2F", "a%2Fb", "%00", "%00" * 40, "x" * 4000, "%F0%9F%98%80" * 9, "%C3%28", "%E2%80%AE", "%25", "%0d%0aX:1"]
)
def test_a_path_with_anything_in_it_is_a_problem(client: Client, text: str) -> None:
    for method, path in (
        ("GET", f"/jobs/{text}"),
        ("DELETE", f"/jobs/{text}"),
        ("GET", f"/queues/{text}"),
        ("POST", f"/queues/{text}/resume"),
    ):
        answer = client.call(method, path)
        assert 400 <= answer.status < 500, (method, path, answer)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.body["status"] == answer.status


def test_a_job_that_is_not_as_it_was_read_is_not_moved(client: Client) -> None:
    job_id = client.enqueue("diagnostics", "echo", 1, delay=3600)
    read = client.call("GET", f"/jobs/{job_id}").headers["ETag"]
    assert client.call("GET", f"/jobs/{job_id}", headers={"If-None-Match": f"W/{read}"}).status == 304
    moved = client.call("PATCH", f"/jobs/{job_id}", {"priority": 1}, headers={"If-Match": read})
    assert moved.status == 200
    assert client.call("PATCH", f"/jobs/{job_id}", {"priority": 9}, headers={"If-Match": read}).status == 412
    assert client.call("GET", f"/jobs/{job_id}", headers={"If-None-Match": read}).body["priority"] == 1
    assert client.call("DELETE", f"/jobs/{job_id}").status == 200
