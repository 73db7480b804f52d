"""Every limit of `POST /jobs`, at its edge and one step beyond; what is refused names the field, and the limit with its value."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobline.times import format_instant
from jobline.transitions import ERROR_LIMIT, clip_error
from tests.api import SEND_EMAIL, Client
from tests.cloud import cloud
from tests.factories import NOW

A_YEAR = timedelta(days=365)
LONGEST_NAME = "a" * 64
DEEP = 64 - 2
"""Arrays that still fit into a payload: the request's object and the payload's own are around them."""


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


EDGES: list[tuple[str, dict[str, Any], dict[str, Any], str, str]] = [
    ("priority", {"priority": 1}, {"priority": 0}, "/priority", "from 1 to 10"),
    ("priority", {"priority": 10}, {"priority": 11}, "/priority", "from 1 to 10"),
    ("delay", {"delay": 0}, {"delay": -0.001}, "/delay", "neither negative"),
    ("delay", {"delay": 31_536_000}, {"delay": 31_536_000.001}, "/delay", "at most 1 year"),
    ("delay", {"delay": "365d"}, {"delay": "365d1ms"}, "/delay", "at most 1 year"),
    (
        "scheduled_at",
        {"scheduled_at": format_instant(NOW + A_YEAR)},
        {"scheduled_at": format_instant(NOW + A_YEAR + timedelta(milliseconds=1))},
        "/scheduled_at",
        "at most 1 year from now",
    ),
    ("max_attempts", {"max_attempts": 1}, {"max_attempts": 0}, "/max_attempts", "from 1 to 100"),
    ("max_attempts", {"max_attempts": 100}, {"max_attempts": 101}, "/max_attempts", "from 1 to 100"),
    ("retry", {"retry": {"max_attempts": 100}}, {"retry": {"max_attempts": 101}}, "/retry/max_attempts", "from 1 to 100"),
    ("retry", {"retry": {"base_delay": 31_536_000_000}}, {"retry": {"base_delay": 31_536_000_001}}, "/retry/base_delay", "31536000000"),
    ("retry", {"retry": {"max_delay": 31_536_000_000}}, {"retry": {"max_delay": 31_536_000_001}}, "/retry/max_delay", "31536000000"),
    ("retry", {"retry": {"jitter": 1}}, {"retry": {"jitter": 1.0000001}}, "/retry/jitter", "from 0 to 1"),
    ("timeout", {"timeout": 1}, {"timeout": 0.999}, "/timeout", "at least 1"),
    ("timeout", {"timeout": 870}, {"timeout": 871}, "/timeout", "14 minutes 30 seconds (870)"),
    ("expires_in", {"expires_in": 1}, {"expires_in": 0}, "/expires_in", "at least 1"),
    ("expires_in", {"expires_in": "3650d"}, {"expires_in": 3650 * 86_400 + 1}, "/expires_in", "at most 3650 days"),
    ("expires_in", {"expires_in": 61, "delay": 60}, {"expires_in": 60, "delay": 60}, "/expires_in", "before the job is due"),
    ("idempotency_key", {"idempotency_key": "!"}, {"idempotency_key": ""}, "/idempotency_key", "1 to 128 visible"),
    ("idempotency_key", {"idempotency_key": "~" * 128}, {"idempotency_key": "~" * 129}, "/idempotency_key", "1 to 128 visible"),
    ("group", {"group": "!" * 128}, {"group": "!" * 129}, "/group", "1 to 128 visible"),
    ("group", {"group": "tenant-1"}, {"group": "tenant 1"}, "/group", "1 to 128 visible"),
    ("tags", {"tags": ["t"] * 10}, {"tags": ["t"] * 11}, "/tags", "at most 10 tags"),
    ("tags", {"tags": ["ü" * 64]}, {"tags": ["ü" * 65]}, "/tags/0", "1 to 64 printable"),
    ("tags", {"tags": ["x"]}, {"tags": [""]}, "/tags/0", "1 to 64 printable"),
]


@pytest.mark.parametrize(("field", "taken", "refused", "pointer", "limit"), EDGES, ids=lambda part: part if isinstance(part, str) else "")
def test_a_limit_is_exact(field: str, taken: dict[str, Any], refused: dict[str, Any], pointer: str, limit: str) -> None:
    api = Client()
    request = {"queue": "images", "type": "image_resize", "payload": {}}
    answer = api.call("POST", "/jobs", request | taken)
    assert answer.status == 202, answer
    answer = api.call("POST", "/jobs", request | refused)
    assert answer.status == 422
    ((found, detail),) = answer.problems
    assert (found, limit in detail) == (pointer, True), detail
    assert field in pointer


def test_a_key_in_the_header_has_the_same_limit() -> None:
    api = Client()
    assert api.call("POST", "/jobs", SEND_EMAIL, headers={"idempotency-key": "k" * 128}).status == 202
    answer = api.call("POST", "/jobs", SEND_EMAIL, headers={"idempotency-key": "k" * 129})
    assert (answer.status, answer.problems) == (422, [("/idempotency_key", "must be 1 to 128 visible ASCII characters")])


def test_names_of_queues_and_types_have_64_characters_at_most() -> None:
    """As long a name as there may be is looked for; a longer one is no name."""
    api = Client()
    for field in ("queue", "type"):
        answer = api.call("POST", "/jobs", SEND_EMAIL | {field: LONGEST_NAME})
        assert answer.body["type"].endswith(f":unknown-{field}")
        answer = api.call("POST", "/jobs", SEND_EMAIL | {field: LONGEST_NAME + "a"})
        assert answer.problems == [(f"/{field}", "must be a name: a lower-case letter and at most 63 of a-z 0-9 _ -")]


@pytest.mark.parametrize(
    ("taken", "refused", "limit"),
    [
        (f"[{nested(DEEP)}]", f"[{nested(DEEP + 1)}]", "nesting is deeper than 64"),
        ("9" * 38, "9" * 39, "more than 38 digits"),
        ("1.7976931348623157e308", "1.8e308", "too large"),
    ],
)
def test_json_has_limits_that_are_named_too(taken: str, refused: str, limit: str) -> None:
    api = Client()
    body = '{"queue":"emails","type":"send_sms","payload":%s}'
    answer = api.call("POST", "/jobs", body % taken)
    assert answer.status == 202
    assert f'"payload":{taken},' in answer.text
    answer = api.call("POST", "/jobs", body % refused)
    assert answer.status == 400
    assert limit in answer.body["detail"]


def test_a_body_may_have_two_and_a_half_million_bytes() -> None:
    api = Client()
    body = '{"queue":"emails","type":"send_email","payload":{"to":"x"}}'
    assert api.call("POST", "/jobs", body + " " * (2_500_000 - len(body))).status == 202
    answer = api.call("POST", "/jobs", body + " " * (2_500_001 - len(body)))
    assert (answer.status, answer.body["limit"]) == (413, 2_500_000)
    assert "the limit is 2500000" in answer.body["detail"]


def test_a_page_has_200_jobs_at_most() -> None:
    api = Client()
    assert api.call("GET", "/jobs", query={"queue": "emails", "limit": "200"}).status == 200
    answer = api.call("GET", "/jobs", query={"queue": "emails", "limit": "201"})
    assert (answer.status, "from 1 to 200" in answer.body["detail"]) == (400, True)


def test_an_error_text_keeps_2048_bytes() -> None:
    assert ERROR_LIMIT == 2048
    assert clip_error("x" * 2048) == "x" * 2048
    assert clip_error("x" * 2049) == "x" * 2048


def test_a_time_that_has_passed_means_now_however_long_ago() -> None:
    api = Client()
    for past in (format_instant(NOW - timedelta(milliseconds=1)), "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"):
        job = api.enqueue(scheduled_at=past)
        assert (job["status"], job["scheduled_at"]) == ("pending", format_instant(NOW))


@pytest.mark.parametrize("group", [None, "!" * 128])
def test_a_group_travels_as_the_messages_group(group: str | None) -> None:
    with cloud() as aws:
        aws.enqueue("work", group=group)
        aws.run_relay()
        asked = {"QueueUrl": aws.url(aws.lanes["normal"]), "MessageSystemAttributeNames": ["MessageGroupId"]}
        (message,) = aws.raw["sqs"].receive_message(**asked)["Messages"]
        assert message.get("Attributes", {}).get("MessageGroupId") == group
