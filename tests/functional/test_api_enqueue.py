"""POST /jobs: what is taken, what becomes of it, and what is refused in one clear line."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from jobline.job import Job
from jobline.transitions import cancel
from tests.api import SEND_EMAIL, Client, event
from tests.factories import KEEP, NOW

THE_FOURTEEN = ["id", "queue", "type", "payload", "priority", "status", "attempts", "max_attempts", "scheduled_at", "started_at"]
THE_FOURTEEN += ["completed_at", "error", "result", "created_at"]


@pytest.fixture
def api() -> Client:
    return Client()


def record(api: Client, job_id: str) -> Job:
    job = api.store.get(job_id)
    assert isinstance(job, Job)
    return job


# ---------------------------------------------------------------------------------------------------- what is taken


def test_the_briefs_own_request_is_accepted_and_answers_the_bare_job(api: Client) -> None:
    answer = api.send(event("post_jobs"))
    assert answer.status == 202
    job = answer.body
    assert list(job)[:14] == THE_FOURTEEN
    assert job["payload"] == {"to": "user@example.com"}
    assert (job["status"], job["scheduled_at"], job["created_at"]) == ("scheduled", "2026-03-01T13:00:00Z", "2026-03-01T12:00:00Z")
    assert (job["priority"], job["attempts"], job["max_attempts"]) == (5, 0, 4)
    assert all(job[name] is None for name in ("started_at", "completed_at", "error", "result", "expires_at", "group", "progress"))
    assert answer.headers["Location"] == f"jobs/{job['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert api.call("GET", f"/jobs/{job['id']}").body == job


def test_a_body_that_arrives_in_base64_is_the_same_body(api: Client) -> None:
    assert api.send(event("post_jobs_base64")).body["payload"] == {"to": "zoë@example.com"}


def test_a_stage_in_the_path_and_headers_in_another_case_change_nothing(api: Client) -> None:
    assert api.send(event("post_jobs_in_a_stage")).status == 202
    again = event("post_jobs_in_a_stage")
    again["requestContext"]["requestId"] = "another"
    assert api.send(again).headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("delay", [60, 60.0, "60", "60s", "1m", "PT1M"])
def test_a_short_delay_waits_as_pending(api: Client, delay: Any) -> None:
    job = api.enqueue(delay=delay)
    assert (job["status"], job["scheduled_at"]) == ("pending", "2026-03-01T12:01:00Z")
    assert record(api, job["id"]).attention is None


def test_a_wait_over_900_seconds_is_scheduled_and_watched(api: Client) -> None:
    assert api.enqueue(delay=900)["status"] == "pending"
    job = api.enqueue(delay="900.001")
    assert (job["status"], job["scheduled_at"]) == ("scheduled", "2026-03-01T12:15:00.001Z")
    assert record(api, job["id"]).attention_at == NOW + timedelta(seconds=900.001)


def test_a_scheduled_time_may_have_any_offset_and_one_that_has_passed_means_now(api: Client) -> None:
    assert api.enqueue(scheduled_at="2026-03-01T13:05:00+01:00")["scheduled_at"] == "2026-03-01T12:05:00Z"
    assert api.enqueue(scheduled_at="2020-01-01T00:00:00Z")["scheduled_at"] == "2026-03-01T12:00:00Z"


def test_every_field_reaches_the_record(api: Client) -> None:
    job = record(
        api,
        api.enqueue(
            priority=1,
            delay=5,
            max_attempts=9,
            timeout="45s",
            expires_in="1h",
            tags=["vip", "ünï x"],
            group="tenant-1",
            idempotency_key="k",
        )["id"],
    )
    assert (job.priority, job.max_attempts, job.timeout, job.tags, job.group) == (1, 9, 45, ("vip", "ünï x"), "tenant-1")
    assert (job.expires_in, job.expires_at) == (3600, NOW + timedelta(hours=1))
    assert (job.dispatch, job.token, job.rev, job.queue_shard[:7]) == (1, 0, 1, "emails#")
    assert job.request_hash is not None


def test_null_is_the_same_as_leaving_a_field_out(api: Client) -> None:
    job = api.enqueue(delay=None, scheduled_at=None, retry=None, tags=None, group=None, max_attempts=None, priority=None)
    assert (job["priority"], job["max_attempts"], job["tags"]) == (5, 4, [])


def test_a_job_without_a_payload_has_an_empty_one(api: Client) -> None:
    answer = api.call("POST", "/jobs", {"queue": "images", "type": "image_resize"})
    assert answer.body["payload"] == {}


# ---------------------------------------------------------------------------------------------------- who decides


def retry_of(job: dict[str, Any]) -> dict[str, Any]:
    return dict(job["retry"])


def test_retry_is_merged_field_by_field_job_over_type_over_queue_over_default(api: Client) -> None:
    job = api.enqueue(type="send_sms", payload={}, retry={"base_delay": 5, "jitter": None})
    assert retry_of(job) == {"max_attempts": 7, "backoff": "fixed", "base_delay": 5, "max_delay": 3_600_000, "jitter": 0.0}
    assert job["max_attempts"] == 7
    assert retry_of(api.enqueue())["base_delay"] == 2000


@pytest.mark.parametrize("fields", [{"max_attempts": 2}, {"retry": {"max_attempts": 2}}, {"max_attempts": 2, "retry": {"max_attempts": 2}}])
def test_max_attempts_may_stand_in_either_place(api: Client, fields: dict[str, Any]) -> None:
    job = api.enqueue(type="send_sms", payload={}, **fields)
    assert job["max_attempts"] == retry_of(job)["max_attempts"] == 2


def test_max_attempts_that_disagree_are_refused(api: Client) -> None:
    answer = api.call("POST", "/jobs", SEND_EMAIL | {"max_attempts": 2, "retry": {"max_attempts": 3}})
    assert answer.status == 422
    assert answer.problems == [("/retry/max_attempts", "is 3, but max_attempts is 2")]


def test_the_timeout_is_the_jobs_or_the_types_or_the_queues(api: Client) -> None:
    assert api.enqueue(timeout=7)["timeout"] == 7
    assert api.enqueue()["timeout"] == 30
    assert api.call("POST", "/jobs", {"queue": "images", "type": "image_resize"}).body["timeout"] == 100


def test_a_timeout_must_leave_the_workers_function_30_seconds(api: Client) -> None:
    assert api.enqueue(timeout=60)["timeout"] == 60
    answer = api.call("POST", "/jobs", SEND_EMAIL | {"timeout": 61})
    assert answer.status == 422
    assert answer.problems == [("/timeout", "is 61 s, but a job of worker 'notifications' may take at most 60 s")]


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fields", "pointer", "detail"),
    [
        ({"queue": "Emails"}, "/queue", "must be a name"),
        ({"queue": "a" * 65}, "/queue", "must be a name"),
        ({"queue": 5}, "/queue", "must be a name"),
        ({"queue": None}, "/queue", "is missing"),
        ({"type": "send email"}, "/type", "must be a name"),
        ({"priority": 0}, "/priority", "must be a whole number from 1 to 10"),
        ({"priority": 11}, "/priority", "must be a whole number from 1 to 10"),
        ({"priority": 5.0}, "/priority", "must be a whole number from 1 to 10"),
        ({"priority": True}, "/priority", "must be a whole number from 1 to 10"),
        ({"priority": "5"}, "/priority", "must be a whole number from 1 to 10"),
        ({"delay": -1}, "/delay", "a duration is neither negative"),
        ({"delay": "1y"}, "/delay", "'1y' is not a duration"),
        ({"delay": "P1Y"}, "/delay", "'P1Y' has years or months"),
        ({"delay": "365d1ms"}, "/delay", "must be at most 1 year"),
        ({"delay": []}, "/delay", "a duration is a number"),
        ({"scheduled_at": "2027-03-01T12:00:00.001Z"}, "/scheduled_at", "must be at most 1 year from now"),
        ({"scheduled_at": "2026-03-01T12:00:00"}, "/scheduled_at", "a time is RFC 3339 text with an offset"),
        ({"scheduled_at": 1772366400}, "/scheduled_at", "a time is RFC 3339 text with an offset"),
        ({"delay": 1, "scheduled_at": "2026-03-01T12:00:01Z"}, "/scheduled_at", "cannot be given together with delay"),
        ({"max_attempts": 0}, "/max_attempts", "must be a whole number from 1 to 100"),
        ({"max_attempts": 101}, "/max_attempts", "must be a whole number from 1 to 100"),
        ({"retry": []}, "/retry", "must be an object"),
        ({"retry": {"backoff": "linear"}}, "/retry/backoff", "must be immediate, fixed or exponential"),
        ({"retry": {"backoff": []}}, "/retry/backoff", "must be immediate, fixed or exponential"),
        ({"retry": {"base_delay": -1}}, "/retry/base_delay", "must be a whole number from 0 to 31536000000"),
        ({"retry": {"base_delay": 0.5}}, "/retry/base_delay", "must be a whole number from 0 to 31536000000"),
        ({"retry": {"max_delay": 31_536_000_001}}, "/retry/max_delay", "must be a whole number from 0 to 31536000000"),
        ({"retry": {"jitter": 1.5}}, "/retry/jitter", "must be a number from 0 to 1"),
        ({"retry": {"maxdelay": 5}}, "/retry/maxdelay", "is not a known field (did you mean 'max_delay'?)"),
        ({"timeout": 0}, "/timeout", "must be a whole number of seconds, at least 1"),
        ({"timeout": 1.5}, "/timeout", "must be a whole number of seconds, at least 1"),
        ({"timeout": 871}, "/timeout", "must be at most 14 minutes 30 seconds (870)"),
        ({"expires_in": 0}, "/expires_in", "must be a whole number of seconds, at least 1"),
        ({"expires_in": "99999d"}, "/expires_in", "must be at most 3650 days"),
        ({"expires_in": 60, "delay": 60}, "/expires_in", "ends before the job is due"),
        ({"idempotency_key": ""}, "/idempotency_key", "must be 1 to 128 visible ASCII characters"),
        ({"idempotency_key": "a b"}, "/idempotency_key", "must be 1 to 128 visible ASCII characters"),
        ({"idempotency_key": "a" * 129}, "/idempotency_key", "must be 1 to 128 visible ASCII characters"),
        ({"group": "ü"}, "/group", "must be 1 to 128 visible ASCII characters"),
        ({"tags": ["x"] * 11}, "/tags", "must be an array of at most 10 tags"),
        ({"tags": "vip"}, "/tags", "must be an array of at most 10 tags"),
        ({"tags": ["ok", "x" * 65]}, "/tags/1", "must be 1 to 64 printable characters"),
        ({"tags": ["a\nb"]}, "/tags/0", "must be 1 to 64 printable characters"),
        ({"tags": [5]}, "/tags/0", "must be 1 to 64 printable characters"),
        ({"unique": "x"}, "/unique", "must be an object"),
        ({"callback": "https://example.com"}, "/callback", "is not a known field (did you mean 'callback_url'?)"),
        ({"callback_url": "http://example.com"}, "/callback_url", "only https URLs are allowed"),
        ({"callback_url": "https://example.com:22/"}, "/callback_url", "port 22 is not allowed; use 443 or 8443"),
        ({"callback_url": ""}, "/callback_url", "must be a URL of at most 2048 characters"),
        ({"reply_to": "answers"}, "/reply_to", "there is no reply queue 'answers'; queues.toml declares none"),
        ({"reply_to": "Answers"}, "/reply_to", "must be a name: a lower-case letter and at most 63 of a-z 0-9 _ -"),
        ({"ordering_key": "x"}, "/ordering_key", "is for ordered queues; queue 'emails' is none"),
        ({"ordering_key": ""}, "/ordering_key", "must be 1 to 128 visible ASCII characters"),
        ({"ordering_key": "a" * 129}, "/ordering_key", "must be 1 to 128 visible ASCII characters"),
        ({"prioritty": 1}, "/prioritty", "is not a known field (did you mean 'priority'?)"),
        ({"a/b": 1}, "/a~1b", "is not a known field"),
        ({"payload": {"subject": "x"}}, "/payload/to", "is missing"),
        ({"payload": {"to": 5}}, "/payload/to", "must be a string, not an integer"),
        ({"payload": {"to": "x", "sizes": [1, 1.5]}}, "/payload/sizes/1", "must be an integer, not a number"),
        ({"payload": None}, "/payload", "must be an object, not null"),
        ({"queue": "letters", "delay": 5}, "/delay", "is refused by the ordered queue 'letters'"),
        ({"queue": "letters", "scheduled_at": "2026-03-01T12:00:01Z"}, "/scheduled_at", "is refused by the ordered queue 'letters'"),
        ({"queue": "letters", "priority": 1}, "/priority", "is refused by the ordered queue 'letters'"),
        ({"queue": "letters", "group": "a"}, "/group", "is refused by the ordered queue 'letters'"),
    ],
)
def test_a_wrong_field_is_refused_in_one_line_that_names_it(api: Client, fields: dict[str, Any], pointer: str, detail: str) -> None:
    answer = api.call("POST", "/jobs", SEND_EMAIL | fields)
    assert answer.status == 422
    ((found_pointer, found_detail),) = answer.problems
    assert found_pointer == pointer
    assert found_detail.startswith(detail)
    assert found_detail in answer.body["detail"]
    assert api.store.changes == []


def test_an_unknown_queue_is_named_with_the_ones_there_are(api: Client) -> None:
    answer = api.call("POST", "/jobs", SEND_EMAIL | {"queue": "email"})
    assert (answer.status, answer.body["detail"]) == (422, "There is no queue 'email' (did you mean 'emails'?).")
    assert answer.body["type"].endswith(":unknown-queue")
    answer = api.call("POST", "/jobs", SEND_EMAIL | {"queue": "operations"})
    assert answer.status == 422 and answer.body["detail"].startswith("queue is Jobline's own")
    answer = api.call("POST", "/jobs", SEND_EMAIL | {"queue": "zzz"})
    assert answer.body["detail"] == "There is no queue 'zzz'; there are emails, images, letters."


def test_a_type_that_the_queues_worker_does_not_register_is_refused(api: Client) -> None:
    answer = api.call("POST", "/jobs", SEND_EMAIL | {"type": "image_resize"})
    assert (answer.status, answer.body["type"]) == (422, "urn:jobline:problem:unknown-type")
    assert answer.problems == [("/type", "queue 'emails' has no type 'image_resize'; there are send_email, send_sms")]


def test_everything_that_is_wrong_is_told_at_once(api: Client) -> None:
    answer = api.call("POST", "/jobs", {"priority": 0, "tags": ["", 5], "retry": {"jitter": 2, "backoff": 1}})
    assert [pointer for pointer, _ in answer.problems] == [
        "/priority",
        "/tags/0",
        "/tags/1",
        "/retry/jitter",
        "/retry/backoff",
        "/queue",
        "/type",
    ]
    assert answer.body["detail"] == "priority must be a whole number from 1 to 10 (and 6 more)"


def test_a_flood_of_wrong_fields_gets_a_short_answer(api: Client) -> None:
    answer = api.call("POST", "/jobs", {"x" * 1000 + str(number): number for number in range(2000)})
    assert answer.status == 422
    assert len(answer.text) < 10_000


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (None, 400),
        ("", 400),
        ("[]", 400),
        ('"x"', 400),
        ("{", 400),
        ('{"queue": "emails", "queue": "emails"}', 400),
        ('{"payload": NaN}', 400),
        ('{"payload": 1e400}', 400),
        (b'{"payload": "\xff"}', 400),
        ("[" * 2_000_000, 400),
        (" " * 2_500_001, 413),
        ("{}", 422),
    ],
    ids=lambda part: repr(part)[:20],
)
def test_a_body_that_is_no_strict_json_object_is_never_worse_than_refused(api: Client, body: Any, status: int) -> None:
    assert api.call("POST", "/jobs", body).status == status


def test_a_body_over_the_limit_is_refused_with_the_limits_value(api: Client) -> None:
    answer = api.call("POST", "/jobs", "x" * 2_500_001)
    assert answer.body["detail"] == "The body has 2500001 bytes; the limit is 2500000."
    assert answer.body["limit"] == 2_500_000


def test_a_body_that_claims_to_be_base64_and_is_not_is_refused(api: Client) -> None:
    sent = event("post_jobs_base64") | {"body": "{}"}
    assert api.send(sent).status == 400


@pytest.mark.parametrize(
    "written",
    [
        "0.1",
        "1.0",
        "1",
        "-0",
        "1e2",
        "9223372036854775808",
        "-9223372036854775809",
        '{"b" : 1,  "a":[ ] }',
        '"\\u00e9\\ud83d\\ude00"',
        '"\U0001f600"',
        "[-0.0, 1E-7]",
        "null",
    ],
)
def test_a_payload_comes_out_byte_for_byte_as_it_went_in(api: Client, written: str) -> None:
    answer = api.call("POST", "/jobs", f'{{"queue":"emails","type":"send_sms","payload": {written} }}')
    assert answer.status == 202
    assert f'"payload":{written},' in answer.text
    assert f'"payload":{written},' in api.call("GET", f"/jobs/{answer.body['id']}").text
    assert record(api, answer.body["id"]).payload == written


# ---------------------------------------------------------------------------------------------------- idempotency


def test_the_same_key_and_request_answers_the_same_job_once_more(api: Client) -> None:
    first = api.call("POST", "/jobs", SEND_EMAIL | {"idempotency_key": "k"})
    api.pass_time(30)
    again = api.call("POST", "/jobs", json.dumps({"idempotency_key": "k", **SEND_EMAIL}, indent=2))
    assert (first.status, again.status) == (202, 200)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Location"] == first.headers["Location"]
    assert again.body == first.body
    assert len(api.store.jobs) == 1


def test_the_key_may_come_in_the_header_or_in_the_body(api: Client) -> None:
    first = api.call("POST", "/jobs", SEND_EMAIL, headers={"idempotency-key": "k"})
    for body, headers in ((SEND_EMAIL | {"idempotency_key": "k"}, {}), (SEND_EMAIL | {"idempotency_key": "k"}, {"Idempotency-Key": "k"})):
        again = api.call("POST", "/jobs", body, headers=headers)
        assert (again.status, again.body["id"]) == (200, first.body["id"])
    other = api.call("POST", "/jobs", SEND_EMAIL | {"idempotency_key": "k"}, headers={"idempotency-key": "j"})
    assert (other.status, other.problems) == (400, [("/idempotency_key", "is not that of the Idempotency-Key header")])


@pytest.mark.parametrize("change", [{"priority": 1}, {"payload": {"to": "other@example.com"}}, {"delay": 1}, {"type": "send_sms"}])
def test_the_same_key_with_another_request_is_refused_and_names_the_job(api: Client, change: dict[str, Any]) -> None:
    first = api.call("POST", "/jobs", SEND_EMAIL | {"idempotency_key": "k"})
    other = api.call("POST", "/jobs", SEND_EMAIL | {"idempotency_key": "k"} | change)
    assert (other.status, other.body["type"]) == (422, "urn:jobline:problem:idempotency-key-reused")
    assert other.body["job_id"] == first.body["id"]
    assert len(api.store.jobs) == 1


def test_the_same_key_on_another_queue_is_another_job(api: Client) -> None:
    one = api.call("POST", "/jobs", SEND_EMAIL, headers={"idempotency-key": "k"})
    other = api.call("POST", "/jobs", SEND_EMAIL | {"queue": "letters"}, headers={"idempotency-key": "k"})
    assert other.status == 202
    assert one.body["id"] != other.body["id"]


def test_a_replay_shows_the_job_as_it_is_by_now(api: Client) -> None:
    first = api.call("POST", "/jobs", SEND_EMAIL, headers={"idempotency-key": "k"})
    api.call("DELETE", f"/jobs/{first.body['id']}")
    assert api.call("POST", "/jobs", SEND_EMAIL, headers={"idempotency-key": "k"}).body["status"] == "cancelled"


def test_a_key_is_free_again_when_its_job_is_no_longer_kept(api: Client) -> None:
    first = record(api, api.enqueue(idempotency_key="k")["id"])
    api.store.apply(first.id, cancel(first, now=NOW, op="x", keep=KEEP))
    api.pass_time(KEEP.others)
    again = api.call("POST", "/jobs", SEND_EMAIL | {"idempotency_key": "k", "priority": 1})
    assert (again.status, again.body["id"], again.body["status"]) == (202, first.id, "pending")
    assert record(api, first.id).dispatch == 2


def test_jobs_without_a_key_are_always_new(api: Client) -> None:
    assert api.enqueue()["id"] != api.enqueue()["id"]
