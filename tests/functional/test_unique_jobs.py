"""`unique`: at most one job for a key at a time, whoever asks at once and whatever call goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobline import locks
from jobline import transitions as t
from jobline.creation import Creation
from jobline.job import FAR_FUTURE, Job, Status
from tests.api import SEND_EMAIL, Client
from tests.api_on_aws import OnAws, on_aws
from tests.factories import KEEP, make_claimant
from tests.faults import KINDS, Kind

K = {"key": "k"}


@pytest.fixture(params=["memory", "dynamodb"])
def api(request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "memory":
        yield Client()
        return
    with on_aws() as client:
        yield client


def ask(api: Client, unique: Any = K, **fields: Any) -> Any:
    return api.call("POST", "/jobs", SEND_EMAIL | {"unique": unique} | fields)


def first(api: Client, unique: Any = K, **fields: Any) -> Job:
    answer = ask(api, unique, **fields)
    assert answer.status == 202, answer
    return record(api, answer.body["id"])


def record(api: Client, job_id: str) -> Job:
    found = api.store.get(job_id)
    assert isinstance(found, Job)
    return found


def start(api: Client, job: Job, number: int = 1) -> Job:
    who = make_claimant(request_id=f"r{number}", dispatch=job.dispatch, lease_until=FAR_FUTURE)
    outcome = api.store.apply(job.id, t.claim(who, now=api.now, alone=True))
    assert outcome.applied
    return record(api, job.id)


def end(api: Client, job: Job, status: Status) -> Job:
    """The job, brought to a state in the way that leads there."""
    match status:
        case Status.DONE:
            write = t.done(start(api, job), now=api.now, result="1", result_ref=None, alone=True, keep=KEEP)
        case Status.DEAD:
            write = t.fail(start(api, job), now=api.now, error="E", delay=t.PROMOTE_AHEAD, alone=True, keep=KEEP, retryable=False)
        case Status.FAILED:
            write = t.fail(start(api, job), now=api.now, error="E", delay=t.PROMOTE_AHEAD, alone=True, keep=KEEP)
        case Status.CANCELLED:
            write = t.cancel(job, now=api.now, op="x", keep=KEEP)
        case _:
            raise AssertionError(status)
    assert api.store.apply(job.id, write).applied
    return record(api, job.id)


# ---------------------------------------------------------------------------------------------------- what makes a key


SAME: list[tuple[Any, dict[str, Any], Any, dict[str, Any]]] = [
    (K, {}, K, {"payload": {"to": "another@example.com"}}),
    ({}, {}, {}, {"priority": 1}),
    ({}, {"payload": {"to": "x", "subject": "s"}}, {}, {"payload": {"subject": "s", "to": "x"}}),
    ({"keys": ["to"]}, {}, {"keys": ["to"]}, {"payload": {"to": "user@example.com", "subject": "other"}}),
    ({"keys": ["to", "subject"]}, {}, {"keys": ["/subject", "/to", "to"]}, {}),
    ({"keys": ["/sizes/0"]}, {"payload": {"to": "x", "sizes": [1, 2]}}, {"keys": ["/sizes/0"]}, {"payload": {"to": "y", "sizes": [1]}}),
]
DIFFERENT: list[tuple[Any, dict[str, Any], Any, dict[str, Any]]] = [
    (K, {}, {"key": "j"}, {}),
    (K, {}, {}, {}),
    (K, {}, K, {"queue": "letters"}),
    (K, {}, K, {"type": "send_sms"}),
    ({}, {}, {}, {"payload": {"to": "another@example.com"}}),
    ({"keys": ["to"]}, {}, {"keys": ["to"]}, {"payload": {"to": "another@example.com"}}),
    ({"keys": ["to"]}, {}, {}, {}),
    # A field that is left out is not one that is empty.
    ({"keys": ["to", "subject"]}, {}, {"keys": ["to", "subject"]}, {"payload": {"to": "user@example.com", "subject": ""}}),
]


@pytest.mark.parametrize(("one", "fields", "other", "others"), SAME)
def test_the_same_key_is_the_same_job(one: Any, fields: dict[str, Any], other: Any, others: dict[str, Any]) -> None:
    api = Client()
    job = first(api, one, **fields)
    again = ask(api, other, **others)
    assert (again.status, again.body["id"], again.headers["Unique-Returned"]) == (200, job.id, "true")
    assert "Idempotent-Replayed" not in again.headers
    assert len(api.store.jobs) == 1


@pytest.mark.parametrize(("one", "fields", "other", "others"), DIFFERENT)
def test_another_key_is_another_job(one: Any, fields: dict[str, Any], other: Any, others: dict[str, Any]) -> None:
    api = Client()
    assert first(api, one, **fields).id != first(api, other, **others).id


@pytest.mark.parametrize(
    ("unique", "pointer", "detail"),
    [
        ([], "/unique", "must be an object"),
        ({"key": "a b"}, "/unique/key", "must be 1 to 128 visible ASCII characters"),
        ({"key": "k" * 129}, "/unique/key", "must be 1 to 128 visible ASCII characters"),
        ({"keys": []}, "/unique/keys", "must be an array of 1 to 10 names or pointers of payload fields"),
        ({"keys": ["to"] * 11}, "/unique/keys", "must be an array of 1 to 10 names or pointers of payload fields"),
        ({"keys": ["to", "k" * 129]}, "/unique/keys/1", "must be 1 to 128 characters"),
        ({"keys": ["to", 1]}, "/unique/keys/1", "must be 1 to 128 characters"),
        ({"keys": ["nothing"]}, "/unique/keys", "names no field that the payload has"),
        ({"key": "k", "keys": ["to"]}, "/unique/keys", "cannot be given together with key"),
        ({"for": 0}, "/unique/for", "must be a whole number of seconds, at least 1"),
        ({"for": "3651d"}, "/unique/for", "must be at most 3650 days"),
        ({"until": "end"}, "/unique/until", "must be start, success or ttl"),
        ({"until": "ttl"}, "/unique/for", "is needed when until is ttl"),
        ({"on_conflict": "ignore"}, "/unique/on_conflict", "must be return, replace or reject"),
        ({"ttl": 5}, "/unique/ttl", "is not a known field"),
    ],
)
def test_what_is_wrong_is_named(unique: Any, pointer: str, detail: str) -> None:
    api = Client()
    answer = ask(api, unique)
    assert (answer.status, answer.problems) == (422, [(pointer, detail)])
    assert (api.store.jobs, api.store.locks) == ({}, {})


def test_the_edges_of_its_limits_are_taken() -> None:
    api = Client()
    longest = {"keys": ["to", *(f"{number}" * 128 for number in range(9))]}
    for unique in ({"key": "~" * 128}, longest, K | {"until": "ttl", "for": "3650d"}, {"for": 1}):
        assert first(api, unique)


def test_the_job_says_what_was_asked() -> None:
    api = Client()
    assert ask(api, {"keys": ["to"], "for": "1h", "until": "start"}).body["unique"] == {"keys": ["to"], "for": 3600, "until": "start"}
    assert api.enqueue()["unique"] is None


# ---------------------------------------------------------------------------------------------------- until when


@pytest.mark.parametrize("ending", [Status.DONE, Status.DEAD, Status.CANCELLED])
def test_until_success_a_key_is_free_when_its_job_is_over_however_it_ended(api: Client, ending: Status) -> None:
    job = end(api, first(api), ending)
    assert first(api).id != job.id
    assert ask(api).status == 200


def test_until_success_a_key_is_held_while_its_job_runs_or_waits_for_another_attempt(api: Client) -> None:
    job = first(api)
    start(api, job)
    assert ask(api).body["id"] == job.id
    end(api, other := first(api, {"key": "other"}), Status.FAILED)
    assert ask(api, {"key": "other"}).body["id"] == other.id


def test_until_start_a_key_is_free_as_soon_as_its_job_is_claimed(api: Client) -> None:
    unique = K | {"until": "start"}
    job = first(api, unique)
    assert ask(api, unique).body["id"] == job.id
    start(api, job)
    other = first(api, unique)
    assert other.id != job.id
    assert ask(api, unique).body["id"] == other.id


def test_until_start_a_failed_attempt_does_not_take_the_key_back(api: Client) -> None:
    unique = K | {"until": "start"}
    job = end(api, first(api, unique), Status.FAILED)
    assert first(api, unique).id != job.id


def test_the_time_ends_every_hold(api: Client) -> None:
    for until in ("start", "success", "ttl"):
        unique = {"key": until, "until": until, "for": 60}
        job = first(api, unique)
        api.pass_time(59.999)
        assert ask(api, unique).body["id"] == job.id
        api.pass_time(0.001)
        assert first(api, unique).id != job.id


def test_until_ttl_a_key_is_held_whatever_becomes_of_its_job(api: Client) -> None:
    unique = K | {"until": "ttl", "for": 60}
    job = end(api, first(api, unique), Status.DONE)
    again = ask(api, unique)
    assert (again.status, again.body["id"], again.body["status"]) == (200, job.id, "done")


def test_until_ttl_a_key_is_held_longer_than_its_job_is_kept(api: Client) -> None:
    unique = K | {"until": "ttl", "for": "10d"}
    job = end(api, first(api, unique), Status.DONE)
    api.pass_time(KEEP.done)
    answer = ask(api, unique)
    assert (answer.status, answer.body["job_id"]) == (409, job.id)
    assert "which is no longer kept" in answer.body["detail"]


def test_a_lock_without_a_time_ends_a_year_after_its_job_is_due() -> None:
    api = Client()
    job = first(api, delay="365d")
    (lock,) = api.store.locks.values()
    assert lock.expires_at - job.scheduled_at == locks.LONGEST_LOCK_OF_ITSELF
    assert int(locks.encode(lock)["ttl"]["N"]) > lock.expires_at.timestamp()


def test_a_job_that_is_retried_by_hand_takes_no_key_from_another(api: Client) -> None:
    job = end(api, first(api), Status.DEAD)
    other = first(api)
    assert api.call("POST", f"/jobs/{job.id}/retry").status == 202
    assert ask(api).body["id"] == other.id


def test_a_job_that_is_retried_by_hand_holds_its_key_again_when_nobody_took_it(api: Client) -> None:
    job = end(api, first(api), Status.DEAD)
    assert api.call("POST", f"/jobs/{job.id}/retry").status == 202
    assert ask(api).body["id"] == job.id


def test_a_later_job_under_the_same_id_holds_nothing_that_the_earlier_one_held(api: Client) -> None:
    """The earlier job took the unique key, and is no longer kept; its idempotency key now names a job that asked for none."""
    job = end(api, first(api, idempotency_key="i"), Status.DONE)
    api.pass_time(KEEP.done)
    later = api.call("POST", "/jobs", SEND_EMAIL | {"idempotency_key": "i"})
    assert (later.status, later.body["id"]) == (202, job.id)
    assert first(api).id != job.id


# ---------------------------------------------------------------------------------------------------- conflicts


def test_reject_refuses_and_names_the_holder(api: Client) -> None:
    job = first(api)
    answer = ask(api, K | {"on_conflict": "reject"})
    assert (answer.status, answer.body["type"]) == (409, "urn:jobline:problem:unique-conflict")
    assert (answer.body["job_id"], answer.body["job_status"]) == (job.id, "pending")
    assert job.id in answer.body["detail"]


@pytest.mark.parametrize("state", [Status.PENDING, Status.SCHEDULED, Status.FAILED])
def test_replace_cancels_a_holder_that_waits_and_takes_its_place(api: Client, state: Status) -> None:
    job = first(api, delay="1h" if state is Status.SCHEDULED else 0)
    if state is Status.FAILED:
        end(api, job, Status.FAILED)
    newer = first(api, K | {"on_conflict": "replace"}, payload={"to": "newer@example.com"})
    old = record(api, job.id)
    assert (old.status, old.ttl is not None, newer.status) == (Status.CANCELLED, True, Status.PENDING)
    assert f"replaced by job {newer.id}" in old.history[-1]
    assert ask(api).body["id"] == newer.id


def test_replace_is_refused_by_a_holder_that_runs(api: Client) -> None:
    job = start(api, first(api))
    answer = ask(api, K | {"on_conflict": "replace"})
    assert (answer.status, answer.body["job_id"], answer.body["job_status"]) == (409, job.id, "running")
    assert record(api, job.id) == job


def test_replace_is_refused_by_a_holder_that_starts_at_that_very_moment(api: Client) -> None:
    job = first(api)
    create = api.store.create_unique

    def start_first(*arguments: Any, **more: Any) -> Creation:
        if more.get("replaced") is not None and record(api, job.id).status is Status.PENDING:
            start(api, job)
        return create(*arguments, **more)

    api.store.create_unique = start_first
    try:
        answer = ask(api, K | {"on_conflict": "replace"})
    finally:
        del api.store.create_unique
    assert (answer.status, answer.body["job_status"]) == (409, "running")
    assert record(api, job.id).status is Status.RUNNING
    assert ask(api).body["id"] == job.id


def test_an_idempotency_key_wins_over_a_unique_one(api: Client) -> None:
    job = end(api, first(api, idempotency_key="i"), Status.DONE)
    other = first(api)
    again = ask(api, idempotency_key="i")
    assert (again.status, again.body["id"], again.headers["Idempotent-Replayed"]) == (200, job.id, "true")
    assert ask(api, K | {"on_conflict": "reject"}, idempotency_key="i").status == 422
    assert ask(api).body["id"] == other.id


def test_a_request_that_is_returned_another_job_leaves_its_idempotency_key_free(api: Client) -> None:
    job = first(api)
    assert ask(api, idempotency_key="i").body["id"] == job.id
    end(api, job, Status.DONE)
    assert ask(api, idempotency_key="i").status == 202


def test_a_replay_is_as_unique_as_its_original(api: Client) -> None:
    job = first(api)
    again = api.call("POST", f"/jobs/{job.id}/replay")
    assert (again.status, again.body["id"], again.headers["Unique-Returned"]) == (200, job.id, "true")
    end(api, job, Status.DONE)
    replay = api.call("POST", f"/jobs/{job.id}/replay")
    assert (replay.status, replay.body["unique"], ask(api).body["id"]) == (202, K, replay.body["id"])


# ---------------------------------------------------------------------------------------------------- cost and faults


def test_a_unique_job_is_one_transaction_and_a_plain_one_is_dearer_by_nothing() -> None:
    with on_aws() as api:
        api.enqueue()
        assert api.faults.calls == ["put_item"]
        ask(api)
        assert api.faults.calls[1:] == ["transact_write_items"]
        ask(api)
        assert api.faults.calls[2:] == ["transact_write_items", "get_item"]


def test_a_large_payload_is_not_put_away_for_a_job_that_is_not_made() -> None:
    with on_aws() as api:
        payload = {"to": "x" * 200_000}
        first(api, payload=payload)
        calls = len(api.faults.calls)
        assert ask(api, payload=payload).status == 200
        assert not {"put_object", "put_item"} & set(api.faults.calls[calls:])


def jobs(api: OnAws) -> list[Job]:
    """Every job there is, read past all faults."""
    items = api.raw.scan(TableName="jobs")["Items"]
    return [record(api, item["id"]["S"]) for item in items if "dispatch" in item]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("on_conflict", ["return", "replace"])
@pytest.mark.parametrize("held", [False, True])
def test_after_one_fault_at_any_call_there_is_one_job_for_the_key(held: bool, on_conflict: str, kind: Kind) -> None:
    """The client repeats its request, which has no idempotency key, until it is answered."""

    def life(at: int | None) -> tuple[list[int | None], list[str], list[Job]]:
        with on_aws() as api:
            if held:
                first(api)
            api.faults.calls.clear()
            api.faults.at, api.faults.kind = at, kind
            answers = api.repeat(lambda: ask(api, K | {"on_conflict": on_conflict}).status)
            api.faults.at = None
            return answers, list(api.faults.calls), jobs(api)

    _, calls, _ = life(None)
    for number in range(len(calls)):
        answers, _, left = life(number)
        where = f"{kind} at {calls[number]} ({number}): {answers}"
        open_ones = [job for job in left if not job.over]
        assert len(open_ones) == 1, where
        assert set(answers[:-1]) <= ({503} if kind in {"throttled", "reply_lost"} else {None}), where
        if kind == "repeated":
            assert answers == ([200] if held and on_conflict == "return" else [202]), where
            assert len(left) == (2 if held and on_conflict == "replace" else 1), where
