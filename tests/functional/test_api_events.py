"""`GET /jobs/{id}/events`: what happened to a job (the telling itself: tests/unit/test_timeline.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobline import transitions as t
from tests.api import Client
from tests.factories import KEEP, make_claimant, seconds


@pytest.fixture
def api() -> Client:
    return Client()


def test_a_job_s_whole_life_is_told_oldest_first(api: Client) -> None:
    id = api.enqueue(max_attempts=1, delay=2)["id"]
    api.pass_time(3)
    claimed = api.store.apply(id, t.claim(make_claimant(), now=api.now, alone=True)).job
    api.pass_time(0.5)
    api.store.apply(id, t.fail(claimed, now=api.now, error="E: no \u2603", delay=seconds(1), alone=True, keep=KEEP))
    api.pass_time(60)
    api.call("POST", f"/jobs/{id}/retry")
    api.call("PATCH", f"/jobs/{id}", {"delay": 60})
    api.call("DELETE", f"/jobs/{id}")
    answer = api.call("GET", f"/jobs/{id[:13]}/events")
    assert (answer.status, answer.headers["ETag"]) == (200, '"6"')
    assert [(event["event"], event["attempt"], event["detail"], event.get("seconds")) for event in answer.body["events"]] == [
        ("enqueued", 0, "", None),
        ("started", 1, "", 3),
        ("failed", 1, "E: no \u2603", 0.5),
        ("retried", 1, "was dead", None),
        ("rescheduled", 0, "due 2026-03-01T12:02:03.500Z, priority 5", None),
        ("cancelled", 0, "on request", None),
    ]
    assert answer.body["events"][0]["at"] == "2026-03-01T12:00:00Z"


def test_events_are_told_under_the_queue_s_own_path_and_only_there(api: Client) -> None:
    id = api.enqueue()["id"]
    assert [event["event"] for event in api.call("GET", f"/queues/emails/jobs/{id}/events").body["events"]] == ["enqueued"]
    assert api.call("GET", f"/queues/images/jobs/{id}/events").status == 404
    assert api.call("GET", "/jobs/nonsense/events").status == 404
    assert api.call("GET", f"/jobs/{id}/events", query={"since": "x"}).status == 400


def test_a_history_that_cannot_be_read_is_our_fault_and_is_logged(api: Client) -> None:
    id = api.enqueue()["id"]
    api.store.jobs[id] = replace(api.store.jobs[id], history=("nonsense",))
    assert api.call("GET", f"/jobs/{id}/events").status == 500
    assert [level for level, _, _ in api.log.lines] == ["error"]
