"""The API over DynamoDB and S3 (moto): how many calls it makes, where bodies go, and what one fault at any call does to a client."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobline.job import Job, Status
from jobline.payloads import INLINE_LIMIT, ITEM_LIMIT, Bodies
from jobline.store import JobStore
from jobline.wiring import Clients
from tests.api import SEND_EMAIL
from tests.api_on_aws import OnAws, on_aws
from tests.aws import REGION
from tests.factories import NOW, make_job
from tests.faults import KINDS, Faults, Kind

# ---------------------------------------------------------------------------------------------------- calls


@pytest.mark.parametrize("fields", [{}, {"delay": 7200}, {"idempotency_key": "k", "priority": 1, "tags": ["a"]}])
def test_enqueueing_is_exactly_one_conditional_write(fields: dict[str, Any]) -> None:
    with on_aws() as api:
        api.enqueue(**fields)
        assert api.faults.calls == ["put_item"]


def test_a_replay_and_a_misuse_of_a_key_are_one_call_too() -> None:
    with on_aws() as api:
        api.enqueue(idempotency_key="k")
        assert api.call("POST", "/jobs", SEND_EMAIL | {"idempotency_key": "k"}).status == 200
        assert api.call("POST", "/jobs", SEND_EMAIL | {"idempotency_key": "k", "priority": 1}).status == 422
        assert api.faults.calls == ["put_item"] * 3


def test_what_is_refused_costs_no_call() -> None:
    with on_aws() as api:
        api.call("POST", "/jobs", SEND_EMAIL | {"payload": {}})
        api.call("POST", "/jobs", "{")
        api.call("GET", "/jobs/nonsense")
        api.call("GET", "/nope")
        assert api.faults.calls == []


def test_showing_cancelling_and_retrying_are_one_read_and_at_most_one_write() -> None:
    with on_aws() as api:
        id = api.enqueue()["id"]
        for method, path in (("GET", ""), ("DELETE", ""), ("DELETE", ""), ("POST", "/retry")):
            assert api.call(method, f"/jobs/{id}{path}").status in {200, 202}
        assert api.faults.calls == ["put_item", "get_item", "get_item", "update_item", "get_item", "get_item", "update_item"]


def test_moving_is_one_read_and_one_write_and_changing_nothing_is_one_read() -> None:
    with on_aws() as api:
        id = api.enqueue()["id"]
        for _ in range(2):
            assert api.call("PATCH", f"/jobs/{id}", {"scheduled_at": "2026-03-02T00:00:00Z"}).status == 200
        assert api.faults.calls == ["put_item", "get_item", "update_item", "get_item"]


def test_the_write_is_conditional_and_the_record_is_a_happy_jobs_size() -> None:
    with on_aws() as api:
        id = api.enqueue(idempotency_key="k" * 36, tags=["vip"])["id"]
        item = api.raw.get_item(TableName="jobs", Key={"id": {"S": id}})["Item"]
        size = sum(len(name) + len(str(next(iter(value.values())))) for name, value in item.items())
        assert size < 700
        with pytest.raises(ClientError, match="ConditionalCheckFailed"):
            api.raw.put_item(TableName="jobs", Item=item, ConditionExpression="attribute_not_exists(id)")


# ---------------------------------------------------------------------------------------------------- bodies


def sized(length: int) -> str:
    """A payload for `send_sms` of so many bytes, with something that careless code would change."""
    head = '{"n": 1.0, "u": "\u00fc", "x": "'
    return head + "x" * (length - len(head.encode()) - 2) + '"}'


@pytest.mark.parametrize(
    ("length", "calls"),
    [
        (INLINE_LIMIT, []),
        (INLINE_LIMIT + 1, ["put_item"]),
        (ITEM_LIMIT, ["put_item"]),
        (ITEM_LIMIT + 1, ["put_object"]),
        (1_000_000, ["put_object"]),
    ],
)
def test_a_payload_of_any_size_comes_out_byte_for_byte_and_is_put_away_before_the_record(length: int, calls: list[str]) -> None:
    with on_aws() as api:
        written = sized(length)
        answer = api.call("POST", "/jobs", f'{{"queue": "emails", "type": "send_sms", "payload": {written}}}')
        assert (answer.status, api.faults.calls) == (202, [*calls, "put_item"])
        assert f'"payload":{written},' in api.call("GET", f"/jobs/{answer.body['id']}").text
        assert (api.job().payload is None) == bool(calls)


def test_a_payload_over_one_megabyte_is_answered_as_a_link_that_works() -> None:
    with on_aws() as api:
        written = sized(1_000_001)
        job = api.call("POST", "/jobs", f'{{"queue": "emails", "type": "send_sms", "payload": {written}}}').body
        shown = api.call("GET", f"/jobs/{job['id']}").body
        assert shown["payload"] is None
        assert "result_url" not in shown
        assert "Expires=" in shown["payload_url"]
        listed = api.call("GET", "/jobs", query={"queue": "emails"}).body["jobs"][0]
        assert (listed["payload"], listed["omitted"]) == (None, ["payload"])


@pytest.mark.parametrize(
    ("endpoint", "begin"),
    [(None, f"https://bodies.s3.{REGION}.amazonaws.com/bodies/j/"), ("http://localhost:4566", "http://localhost:4566/bodies/bodies/j/")],
)
def test_a_link_is_signed_for_the_buckets_own_region(monkeypatch: pytest.MonkeyPatch, endpoint: str | None, begin: str) -> None:
    environment = {"AWS_DEFAULT_REGION": REGION, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_ENDPOINT_URL": endpoint or ""}
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    nothing: Any = None
    bodies = Bodies(nothing, "", lambda: Clients().s3, "bodies")
    link = bodies.link('{"sha256": "x", "size": 5, "object": "bodies/j/payload-x.json"}', seconds=900)
    assert link.startswith(begin)
    assert "X-Amz-Expires=900" in link


def test_the_largest_body_that_is_taken_is_taken() -> None:
    with on_aws() as api:
        head = '{"queue": "emails", "type": "send_sms", "payload": "'
        body = head + "x" * (2_500_000 - len(head) - 2) + '"}'
        assert api.call("POST", "/jobs", body).status == 202


@pytest.mark.parametrize("length", [100, INLINE_LIMIT + 1, ITEM_LIMIT + 1])
def test_a_replay_has_a_copy_of_its_own_of_a_payload_of_any_size(length: int) -> None:
    with on_aws() as api:
        written = sized(length)
        body = f'{{"queue": "emails", "type": "send_sms", "payload": {written}}}'
        first = api.call("POST", "/jobs", body).body["id"]
        second = api.call("POST", f"/jobs/{first}/replay")
        assert (second.status, f'"payload":{written},' in second.text) == (202, True)
        kept = JobStore(api.raw, "jobs")
        old, new = kept.get(first), kept.get(second.body["id"])
        assert old is not None and new is not None
        assert (old.payload, old.payload_ref is None) == (new.payload, new.payload_ref is None)
        if old.payload_ref is not None:
            api.service.bodies.delete(old.id, old.payload_ref)
        assert f'"payload":{written},' in api.call("GET", f"/jobs/{new.id}").text


# ---------------------------------------------------------------------------------------------------- faults


LARGE = json.loads(sized(2000))


def enqueue_small(api: OnAws) -> int:
    return api.call("POST", "/jobs", SEND_EMAIL, headers={"idempotency-key": "k"}).status


def enqueue_large(api: OnAws) -> int:
    body = {"queue": "emails", "type": "send_sms", "payload": LARGE}
    return api.call("POST", "/jobs", body, headers={"idempotency-key": "k"}).status


def cancel(api: OnAws) -> int:
    return api.call("DELETE", f"/jobs/{make_job().id}").status


def retry(api: OnAws) -> int:
    return api.call("POST", f"/jobs/{make_job().id}/retry", headers={"idempotency-key": "again"}).status


def reschedule(api: OnAws) -> int:
    return api.call("PATCH", f"/jobs/{make_job().id}", {"scheduled_at": "2026-03-01T13:00:00Z", "priority": 2}).status


def replay(api: OnAws) -> int:
    old = JobStore(api.raw, "jobs").get(make_job().id)
    assert old is not None
    status = api.call("POST", f"/jobs/{old.id}/replay", headers={"idempotency-key": "again"}).status
    api.ignored = {old.id}
    return status


def is_enqueued(job: Job) -> bool:
    return (job.status, job.dispatch, job.rev) == (Status.PENDING, 1, 1)


def is_cancelled(job: Job) -> bool:
    return (job.status, job.rev) == (Status.CANCELLED, 2)


def cancel_is_requested_once_or_twice(job: Job) -> bool:
    return job.status is Status.RUNNING and job.cancel_requested and job.rev in {2, 3}


def is_retried_once(job: Job) -> bool:
    return (job.status, job.dispatch, job.attempts, job.rev) == (Status.PENDING, 2, 0, 2)


def is_moved_once(job: Job) -> bool:
    return (job.status, job.priority, job.scheduled_at, job.dispatch, job.rev) == (Status.SCHEDULED, 2, NOW + timedelta(hours=1), 2, 2)


REQUESTS: dict[str, tuple[Job | None, Callable[[OnAws], int], Callable[[Job], bool]]] = {
    "enqueue": (None, enqueue_small, is_enqueued),
    "enqueue with a large payload": (None, enqueue_large, is_enqueued),
    "cancel a waiting job": (make_job(), cancel, is_cancelled),
    "cancel a running job": (make_job(status=Status.RUNNING, token=1, lease_until=NOW), cancel, cancel_is_requested_once_or_twice),
    "move a waiting job": (make_job(), reschedule, is_moved_once),
    "replay a job": (make_job(type="send_sms", status=Status.RUNNING), replay, is_enqueued),
    "replay a job with a large payload": (make_job(type="send_sms", payload=sized(2000)), replay, is_enqueued),
    "retry a dead job": (make_job(status=Status.DEAD, attempts=3, ttl=int(NOW.timestamp()) + 60), retry, is_retried_once),
}


def life(name: str, **faults: Any) -> tuple[list[int | None], Faults, Job]:
    """A client that repeats its request until it is answered 2xx: the answers (`None`: no answer at all), and the job."""
    before, request, _ = REQUESTS[name]
    with on_aws(**faults) as api:
        if before is not None:
            JobStore(api.raw, "jobs").create(before, now=NOW)
        return api.repeat(lambda: request(api)), api.faults, api.job()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REQUESTS)
def test_after_one_fault_at_any_call_a_client_repeats_and_has_exactly_one_job(name: str, kind: Kind) -> None:
    _, _, as_it_should_be = REQUESTS[name]
    _, healthy, _ = life(name)
    assert healthy.calls
    for number in range(len(healthy.calls)):
        answers, faults, job = life(name, at=number, kind=kind)
        where = f"{kind} at {faults.spoiled} ({number}): {answers}"
        assert faults.spoiled == healthy.calls[number]
        assert as_it_should_be(job), f"{where}: {job}"
        # What was lost was never answered as something else: nothing at all, or 503 that asks to come back.
        assert set(answers[:-1]) <= ({503} if kind in {"throttled", "reply_lost"} else {None}), where
        if kind == "repeated":
            assert len(answers) == 1, f"{where}: a request knows its own success"


@pytest.mark.parametrize("kind", ["throttled", "repeated"])
def test_a_request_without_a_key_is_one_job_too_when_the_sdk_repeats_it(kind: Kind) -> None:
    with on_aws(at=0, kind=kind) as api:
        answers = [api.call("POST", "/jobs", SEND_EMAIL).status]
        if kind == "throttled":
            answers.append(api.call("POST", "/jobs", SEND_EMAIL).status)
        assert answers == ([503, 202] if kind == "throttled" else [202])
        assert is_enqueued(api.job())
