"""Polling a real server until a condition holds: when it is asked, what counts as an answer, and what happens at the deadline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from functions.integrations.api_polling import MOST_POLLS, ApiPolling, api_polling
from jobline import NonRetryable, Snooze
from jobline.errors import InvalidJob
from jobline.registry import Registry
from jobline.secret_fields import hide
from jobline.testing import RecordedLease, TrialDeployment, make_context
from tests.receiver import Receiver, Script, answer, receiver, say

REGISTRY = Registry([api_polling])
NOT_YET, READY = (answer(200, json.dumps({"status": status}).encode()) for status in ("running", "ready"))
UNTIL = "status == 'ready'"


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver(NOT_YET) as server:
        yield server


@pytest.fixture
def jobline_options(server: Receiver) -> dict[str, Any]:
    return {"settings": {"ALLOWED_LOOPBACK_PORTS": str(server.port)}}


def look(server: Receiver, until: str = UNTIL, **fields: Any) -> Any:
    """One look, outside a queue; what it raises says how the job would go on."""
    ctx = make_context("api_polling", settings={"ALLOWED_LOOPBACK_PORTS": str(server.port)})
    return api_polling(ApiPolling(url=server.url("/export/1"), until=until, **fields), ctx)


def seen_of(script: Script, **fields: Any) -> str:
    """What a look at a server that answers so says, when it is not the last."""
    with receiver(script) as server, pytest.raises(Snooze) as put_off:
        look(server, **fields)
    return put_off.value.reason


# When it looks


def test_it_looks_until_the_condition_holds_and_returns_the_answer(jobs: TrialDeployment, server: Receiver) -> None:
    server.answers = [NOT_YET, NOT_YET, READY]
    job = jobs.enqueue(ApiPolling(url=server.url("/export/1"), until=UNTIL, interval=30), queue="webhooks")
    jobs.drain()
    assert (job.status, len(server.received)) == ("pending", 1)
    jobs.advance("29s")
    assert len(server.received) == 1
    jobs.advance("1m")
    assert (job.status, len(server.received)) == ("done", 3)
    assert job.result == {"held": True, "value": True, "answer": {"status": "ready"}}
    assert job.attempts == 1
    assert {request.line for request in server.received} == {"GET /export/1 HTTP/1.1"}


def test_nothing_runs_between_two_looks(jobs: TrialDeployment, server: Receiver) -> None:
    job = jobs.enqueue(ApiPolling(url=server.url(), until=UNTIL, interval=600), queue="webhooks")
    jobs.drain()
    assert (job.status, job.attempts) == ("pending", 0)
    assert job.progress["note"] == 'the API answered 200: {"status": "running"}'


def test_at_the_deadline_it_looks_once_more_and_dies_with_what_it_saw(jobs: TrialDeployment, server: Receiver) -> None:
    job = jobs.enqueue(ApiPolling(url=server.url(), until=UNTIL, interval=60, deadline=100), queue="webhooks")
    jobs.advance("99s")
    assert (job.status, len(server.received)) == ("pending", 2)
    jobs.advance("1s")
    assert (job.status, job.attempts, len(server.received)) == ("dead", 1, 3)
    assert job.error == 'NonRetryable: `until` did not hold within 100 s; at last the API answered 200: {"status": "running"}'


def test_at_the_deadline_it_can_be_done_instead(jobs: TrialDeployment, server: Receiver) -> None:
    payload = ApiPolling(url=server.url(), until=UNTIL, interval=60, deadline=60, at_deadline="return")
    job = jobs.enqueue(payload, queue="webhooks")
    jobs.advance("1m")
    assert (job.status, job.result) == ("done", {"held": False, "value": False, "answer": {"status": "running"}})


def test_what_holds_at_the_last_look_holds(jobs: TrialDeployment, server: Receiver) -> None:
    server.answers = [NOT_YET, READY]
    job = jobs.enqueue(ApiPolling(url=server.url(), until=UNTIL, interval=600, deadline=60), queue="webhooks")
    jobs.advance("1m")
    assert job.status == "done"


def test_a_job_that_was_given_up_has_the_whole_time_again_when_it_is_retried(jobs: TrialDeployment, server: Receiver) -> None:
    job = jobs.enqueue(ApiPolling(url=server.url(), until=UNTIL, interval=60, deadline=120), queue="webhooks")
    jobs.advance("1h")
    assert (job.status, len(server.received)) == ("dead", 3)
    job.retry()
    jobs.advance("60s")
    assert (job.status, len(server.received)) == ("pending", 5)
    server.answers = [READY]
    jobs.advance("60s")
    assert job.status == "done"


def test_a_worker_that_dies_in_the_middle_does_not_move_the_deadline(jobs: TrialDeployment, server: Receiver) -> None:
    job = jobs.enqueue(ApiPolling(url=server.url(), until=UNTIL, interval=60, deadline=300), queue="webhooks")
    jobs.drain()
    jobs.crash_next(api_polling)
    jobs.advance("10m")
    assert job.status == "dead"
    assert "did not hold within 300 s" in str(job.error)


@pytest.mark.parametrize(("interval", "deadline", "within"), [(1, 90, "2m"), (1, 86_400, "25h"), (1, 2_592_000, "721h"), (7, 10_000, "3h")])
def test_no_wait_needs_more_looks_than_a_job_may_be_put_off(
    interval: int, deadline: int, within: str, jobs: TrialDeployment, server: Receiver
) -> None:
    job = jobs.enqueue(ApiPolling(url=server.url(), until=UNTIL, interval=interval, deadline=deadline), queue="webhooks")
    jobs.advance("5s")
    assert len(server.received) == 5 // interval + 1  # soon enough at first
    jobs.advance(within)
    assert f"did not hold within {deadline} s" in str(job.error)
    assert len(server.received) <= MOST_POLLS + 1


def test_an_answer_that_asks_for_more_time_gets_it() -> None:
    with receiver(answer(429, Retry_After="120")) as server, pytest.raises(Snooze) as put_off:
        look(server, interval=5)
    assert put_off.value.seconds == 120


def test_more_time_than_there_is_ends_at_the_deadline() -> None:
    with receiver(answer(503, Retry_After="9999")) as server, pytest.raises(Snooze) as put_off:
        look(server, interval=5, deadline=60)
    assert 59 < put_off.value.seconds <= 60


# The condition


@pytest.mark.parametrize(
    ("until", "complaint"),
    [
        ("status ==", "until is no JMESPath expression"),
        ("status = 'ready'", "until is no JMESPath expression"),
        ("a[", "until is no JMESPath expression"),
        ("(" * 1000, "until is no JMESPath expression"),
        ("lenght(items) == `3`", r"until is no JMESPath expression: there is no function lenght\(\)"),
        ("a && (b || nope(c))", r"until is no JMESPath expression: there is no function nope\(\)"),
        ("items[?nope(@)]", r"until is no JMESPath expression: there is no function nope\(\)"),
        ("length(a, b)", None),
    ],
)
def test_a_condition_that_can_never_be_asked_is_refused_before_anything_is_asked_for(until: str, complaint: str | None) -> None:
    with receiver(READY) as server, pytest.raises(NonRetryable if complaint else Snooze, match=complaint):
        look(server, until)
    assert len(server.received) == (0 if complaint else 1)


@pytest.mark.parametrize(
    ("until", "document"),
    [
        ("status == 'ready'", {"status": "ready"}),
        ("length(items[?done]) >= `2`", {"items": [{"done": True}, {"done": True}, {"done": False}]}),
        ("count", {"count": 0}),
        ("url", {"url": "https://files.example/1"}),
        ("@", [1]),
    ],
)
def test_a_condition_holds_as_jmespath_has_it(until: str, document: Any) -> None:
    with receiver(answer(200, json.dumps(document).encode())) as server:
        assert look(server, until)["answer"] == document


@pytest.mark.parametrize(
    ("until", "document"),
    [("status", {}), ("items", {"items": []}), ("text", {"text": ""}), ("flag", {"flag": False}), ("@", {}), ("length(items) > `0`", {})],
)
def test_a_condition_that_is_false_empty_or_cannot_be_asked_yet_does_not_hold(until: str, document: Any) -> None:
    assert "the API answered 200" in seen_of(answer(200, json.dumps(document).encode()), until=until)


# What counts as an answer


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_an_answer_of_the_moment_is_no_answer_yet(status: int) -> None:
    assert seen_of(answer(status, b"busy")) == f"the API answered {status}: busy"


def test_nobody_there_is_no_answer_yet() -> None:
    assert "gave no complete answer" in seen_of(say(b""))


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 410])
def test_an_answer_that_would_be_the_same_again_is_the_end(status: int) -> None:
    with (
        receiver(answer(status, b"no", Location="https://api.example/")) as server,
        pytest.raises(NonRetryable, match=f"answered {status}: no"),
    ):
        look(server)


def test_a_status_that_means_not_yet_is_waited_for() -> None:
    assert seen_of(answer(404, b"no such export"), pending_statuses=[404]) == "the API answered 404: no such export"


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        (answer(200, b"<html>"), "which is no JSON"),
        (answer(200, b""), "which is no JSON"),
        (answer(200, b"1" * 70_000), "more than 65536 bytes"),
    ],
)
def test_an_answer_that_is_no_json_document_is_the_end(script: Script, complaint: str) -> None:
    with receiver(script) as server, pytest.raises(NonRetryable, match=complaint):
        look(server)


# The request


def test_headers_of_the_client_are_sent_and_shown_to_nobody(server: Receiver) -> None:
    with pytest.raises(Snooze):
        look(server, headers={"Authorization": "Bearer abc"})
    assert server.received[0].headers["authorization"] == "Bearer abc"
    schema = REGISTRY.describe()["api_polling"]["schema"]
    assert "Bearer" not in hide('{"url":"https://a.example/","until":"@","headers":{"Authorization":"Bearer abc"}}', schema)
    with pytest.raises(NonRetryable, match="the header Host cannot be given"):
        look(server, headers={"Host": "b.example"})


def test_a_private_address_is_the_end() -> None:
    ctx = make_context("api_polling", stage="dev", settings={"ALLOWED_LOOPBACK_PORTS": "8181"})
    with pytest.raises(NonRetryable, match="is not a public address"):
        api_polling(ApiPolling(url="https://[::ffff:169.254.169.254]/latest/", until="@"), ctx)


def test_the_first_look_puts_down_when_it_will_be_given_up(server: Receiver) -> None:
    lease = RecordedLease()
    ctx = make_context("api_polling", lease=lease, settings={"ALLOWED_LOOPBACK_PORTS": str(server.port)})
    with pytest.raises(Snooze):
        api_polling(ApiPolling(url=server.url(), until=UNTIL), ctx)
    assert [set(cursor) for cursor in lease.checkpoints] == [{"ends"}]


@pytest.mark.parametrize(
    "fields",
    [
        {"until": ""},
        {"interval": 0},
        {"interval": 1.5},
        {"deadline": 0},
        {"deadline": 2_592_001},
        {"at_deadline": "wait"},
        {"pending_statuses": [200]},
        {"timeout": 31},
        {"method": "POST"},
    ],
)
def test_a_payload_that_does_not_fit_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob):
        REGISTRY.decode("api_polling", json.dumps({"url": "https://api.example/", "until": "@"} | fields))
