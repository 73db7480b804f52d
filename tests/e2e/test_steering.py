"""Seeing and steering one job on the real stack: each route is driven once, and the job does as it is told."""

from __future__ import annotations

import time
from datetime import datetime
from urllib.parse import urljoin

from tests.e2e.client import Client


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment)


def test_a_request_waits_for_its_job_s_end_as_long_as_it_says(client: Client) -> None:
    body = {"queue": "diagnostics", "type": "echo", "payload": "waited for"}
    answer = client.call("POST", "/jobs?wait=20", body)
    assert (answer.status, answer.body["status"], answer.body["result"]) == (200, "done", "waited for")

    slow = client.call("POST", "/jobs?wait=1", {"queue": "diagnostics", "type": "sleep", "payload": {"seconds": 4}})
    assert slow.status == 202
    began = time.monotonic()
    ended = client.call("GET", f"/jobs/{slow.body['id']}?wait=25")
    assert (ended.status, ended.body["status"]) == (200, "done")
    assert 1 < time.monotonic() - began < 20

    unchanged = client.call("GET", f"/jobs/{slow.body['id']}", headers={"If-None-Match": ended.headers["etag"]})
    assert (unchanged.status, unchanged.body) == (304, None)


def test_a_job_due_in_an_hour_is_moved_to_now_and_done_once(client: Client) -> None:
    job_id = client.enqueue("diagnostics", "echo", "sooner", delay=3600)
    read = client.call("GET", f"/jobs/{job_id}")
    moved = client.call("PATCH", f"/jobs/{job_id}", {"delay": 2, "priority": 1}, headers={"If-Match": read.headers["etag"]})
    assert (moved.status, moved.body["status"], moved.body["priority"]) == (200, "pending", 1)
    stale = client.call("PATCH", f"/jobs/{job_id}", {"delay": 7200}, headers={"If-Match": read.headers["etag"]})
    assert (stale.status, stale.body["type"]) == (412, "urn:jobline:problem:precondition-failed")

    done = client.end_of(job_id, seconds=20)
    assert (done["status"], done["attempts"], done["result"]) == ("done", 1, "sooner")
    assert at(done["started_at"]) >= at(done["scheduled_at"]) == at(moved.body["scheduled_at"])
    assert client.call("PATCH", f"/jobs/{job_id}", {"priority": 5}).status == 409


def test_a_job_whose_priority_changes_keeps_its_time_and_runs_once(client: Client) -> None:
    job_id = client.enqueue("diagnostics", "echo", "other lane", delay=3)
    for priority in (10, 1, 9):
        assert client.call("PATCH", f"/queues/diagnostics/jobs/{job_id}", {"priority": priority}).status == 200
    done = client.end_of(job_id, seconds=30)
    assert (done["status"], done["attempts"], done["priority"]) == ("done", 1, 9)
    assert (at(done["scheduled_at"]) - at(done["created_at"])).total_seconds() == 3
    starts = [event for event in client.call("GET", f"/jobs/{job_id}/events").body["events"] if event["event"] == "started"]
    assert len(starts) == 1


def test_a_replay_is_a_job_of_its_own(client: Client) -> None:
    large = {"text": "\u2603" * 3000}
    old = client.enqueue("diagnostics", "echo", large, tags=["replayed"])
    assert client.end_of(old)["status"] == "done"
    answers = [client.call("POST", f"/jobs/{old}/replay", headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 200]
    new = answers[0].body["id"]
    assert urljoin(f"{client.url}/jobs/{old}/replay", answers[0].headers["location"]) == f"{client.url}/jobs/{new}"
    done = client.end_of(new)
    assert (done["status"], done["result"], done["tags"], answers[1].body["id"]) == ("done", large, ["replayed"], new)


def test_a_job_s_events_tell_its_life_and_why_tells_its_state(client: Client) -> None:
    policy = {"backoff": "fixed", "base_delay": 500, "jitter": 0}
    job_id = client.enqueue("diagnostics", "fail", {"times": 9}, max_attempts=2, retry=policy)
    assert client.end_of(job_id)["status"] == "dead"
    events = client.call("GET", f"/jobs/{job_id}/events").body["events"]
    told = [event["event"] for event in events]
    assert [event for event in told if event != "due"] == ["enqueued", "started", "failed", "started", "failed", "dead"]
    assert [event["detail"] for event in events if event["event"] == "failed"] == [f"FailureOnDemand: failure {n} of 9" for n in (1, 2)]
    assert all(event["seconds"] >= 0 for event in events if event["event"] in {"started", "failed"})
    assert [at(event["at"]) for event in events] == sorted(at(event["at"]) for event in events)

    dead = client.call("GET", f"/jobs/{job_id}/why").body
    assert (dead["code"], dead["facts"]["error"]) == ("dead", "FailureOnDemand: failure 2 of 9")
    later = client.enqueue("diagnostics", "echo", None, delay=3600)
    assert client.call("GET", f"/queues/diagnostics/jobs/{later}/why").body["code"] == "scheduled"
    running = client.enqueue("diagnostics", "sleep", {"seconds": 10})
    client.wait(running, lambda job: job["status"] == "running")
    why = client.call("GET", f"/jobs/{running}/why").body
    assert (why["code"], bool(why["facts"]["held_by"])) == ("running", True)
    client.call("DELETE", f"/jobs/{running}")
