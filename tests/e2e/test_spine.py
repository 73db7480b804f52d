"""From POST to its end: what the promise says, on the real stack."""

from __future__ import annotations

import time
from datetime import datetime
from statistics import median
from urllib.parse import urljoin

import pytest

from tests.e2e.client import Client

FIELDS_OF_THE_BRIEF = {
    *("id", "queue", "type", "payload", "priority", "status", "attempts", "max_attempts"),
    *("scheduled_at", "started_at", "completed_at", "error", "result", "created_at"),
}


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment)


@pytest.fixture(scope="module")
def crashing(client: Client) -> str:
    """A job that takes its process down once; asked for early, because its lease has to run out."""
    return client.enqueue("diagnostics", "crash", {"times": 1}, timeout=2)


def test_a_job_goes_from_post_to_done(client: Client, crashing: str) -> None:
    payload = {"text": "naïve ☃", "exact": [0.1, 1.0, 1, 2**63], "nothing": None}
    answer = client.call("POST", "/jobs", {"queue": "diagnostics", "type": "echo", "payload": payload, "priority": 2})

    assert answer.status == 202
    assert urljoin(f"{client.url}/jobs", answer.headers["location"]) == f"{client.url}/jobs/{answer.body['id']}"
    assert set(answer.body) >= FIELDS_OF_THE_BRIEF
    assert (answer.body["status"], answer.body["attempts"], answer.body["result"]) == ("pending", 0, None)

    job = client.end_of(answer.body["id"])
    assert (job["status"], job["attempts"], job["error"]) == ("done", 1, None)
    assert job["result"] == job["payload"] == payload
    assert at(job["created_at"]) <= at(job["started_at"]) <= at(job["completed_at"])


def test_a_failing_job_is_retried_with_backoff_dies_and_is_done_when_retried_by_hand(client: Client) -> None:
    policy = {"backoff": "exponential", "base_delay": 400, "jitter": 0}
    job_id = client.enqueue("diagnostics", "fail", {"times": 3}, max_attempts=3, retry=policy)
    states, dead = client.history(job_id)

    assert states[-1] == "dead"
    assert "failed" in states
    assert dead["attempts"] == 3
    assert dead["error"] == "FailureOnDemand: failure 3 of 3"
    # Three starts with 0.4 s and 0.8 s between them, never sooner.
    assert (at(dead["completed_at"]) - at(dead["created_at"])).total_seconds() >= 1.2

    client.retry(job_id)
    done = client.end_of(job_id)
    assert (done["status"], done["attempts"], done["error"], done["result"]) == ("done", 1, None, {"starts": 4})


def test_a_job_whose_worker_crashed_is_started_again(client: Client, crashing: str) -> None:
    done = client.end_of(crashing, seconds=90)
    # The start that crashed came to an end of its own, alone, so it counts (PROTOCOL.md, R12).
    assert (done["status"], done["attempts"], done["result"]) == ("done", 2, {"starts": 2})


def test_a_delayed_job_never_starts_early(client: Client) -> None:
    job_id = client.enqueue("diagnostics", "echo", "later", delay=3)
    time.sleep(1)
    assert client.job(job_id)["status"] == "pending"

    job = client.end_of(job_id)
    assert job["status"] == "done"
    assert at(job["started_at"]) >= at(job["scheduled_at"])
    assert (at(job["scheduled_at"]) - at(job["created_at"])).total_seconds() == pytest.approx(3, abs=0.01)


def test_jobs_start_within_two_seconds_of_their_time(client: Client) -> None:
    """The median: a single start may wait for this machine, and says nothing of Jobline then."""
    client.end_of(client.enqueue("diagnostics", "echo", "so that every function is up"))
    jobs = [client.enqueue("diagnostics", "echo", delay, delay=delay) for delay in (1, 2.5, 4, 5.5, 7)]
    ended = [client.end_of(job) for job in jobs]
    late = sorted((at(job["started_at"]) - at(job["scheduled_at"])).total_seconds() for job in ended)
    assert late[0] >= 0
    assert median(late) <= 2, late


def test_a_job_due_in_an_hour_is_scheduled(client: Client) -> None:
    assert client.job(client.enqueue("diagnostics", "echo", None, delay=3600))["status"] == "scheduled"


def test_a_cancelled_job_never_starts(client: Client) -> None:
    job_id = client.enqueue("diagnostics", "echo", "never", delay=2)
    answer = client.call("DELETE", f"/jobs/{job_id}")
    assert (answer.status, answer.body["cancelled"]) == (200, True)

    time.sleep(3)
    job = client.job(job_id)
    assert (job["status"], job["attempts"], job["started_at"], job["result"]) == ("cancelled", 0, None, None)


def test_a_running_job_is_asked_to_stop_and_does(client: Client) -> None:
    job_id = client.enqueue("diagnostics", "sleep", {"seconds": 60})
    client.wait(job_id, lambda job: job["status"] == "running")
    answer = client.call("DELETE", f"/jobs/{job_id}")
    assert (answer.status, answer.body["cancel_requested"]) == (200, True)
    assert client.end_of(job_id, seconds=20)["status"] == "cancelled"


def test_an_idempotency_key_names_one_job(client: Client) -> None:
    body = {"queue": "diagnostics", "type": "echo", "payload": 1, "idempotency_key": "only-once"}
    first, again = client.call("POST", "/jobs", body), client.call("POST", "/jobs", body)
    assert (first.status, again.status, again.headers["idempotent-replayed"]) == (202, 200, "true")
    assert first.body["id"] == again.body["id"]
    assert client.call("POST", "/jobs", body | {"payload": 2}).status == 422


def test_every_job_of_a_batch_that_can_be_made_is_done_and_each_bad_one_is_told(client: Client) -> None:
    jobs = [{"queue": "diagnostics", "type": "echo", "payload": number} for number in range(30)]
    jobs[7] |= {"idempotency_key": "seven"}
    jobs[8] |= {"unique": {"key": "eight"}}
    jobs[9] |= {"payload": "x" * 2000}
    jobs[10] |= {"type": "no_such_type"}
    for codes in ([202] * 10 + [422] + [202] * 19, [202] * 7 + [200] + [202] * 2 + [422] + [202] * 19):
        answer = client.call("POST", "/jobs/batch", {"jobs": jobs})
        assert (answer.status, [item["status"] for item in answer.body["items"]]) == (200, codes)
        for item in answer.body["items"]:
            if "job" in item:
                done = client.end_of(item["job"]["id"])
                assert (done["status"], done["attempts"], done["result"]) == ("done", 1, done["payload"])


def test_lists_tell_what_went_wrong_from_what_is_done(client: Client) -> None:
    dead = client.enqueue("diagnostics", "fail", {"times": 1}, max_attempts=1)
    done = client.enqueue("diagnostics", "echo", None)
    client.end_of(dead), client.end_of(done)

    listed = client.call("GET", "/jobs?queue=diagnostics&status=failed")
    assert listed.status == 200
    ids = [job["id"] for job in listed.body["jobs"]]
    assert dead in ids
    assert done not in ids
    newest = client.call("GET", "/jobs?queue=diagnostics&limit=2").body
    assert [job["id"] for job in newest["jobs"]] == [done, dead]
    assert newest["next"]


def test_stats_count_what_happened(client: Client) -> None:
    def settled() -> dict[str, float]:
        return dict(client.call("GET", "/queues/images/stats").body)

    before = settled()
    lost = [client.enqueue("images", "image_resize", {"source": "no/such.jpeg", "sizes": [{"width": 10}]}) for _ in range(3)]
    for job_id in lost:
        assert client.end_of(job_id)["status"] == "dead"

    deadline = time.monotonic() + 30
    while (now := settled())["dead"] < before["dead"] + 3:
        assert time.monotonic() < deadline, now
        time.sleep(0.3)
    assert (now["pending"], now["running"]) == (0, 0)
    assert now["failed"] == before["failed"] + 3
    assert now["avg_wait_time"] >= 0
