"""`POST /jobs/{id}/replay`: a new job with an old one's request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

import pytest

from jobline.ids import new_id
from jobline.job import Status
from jobline.types import TypeInfo, Types
from tests.api import SEND_EMAIL, TYPES, Client
from tests.factories import NOW, make_job, seconds

ID = new_id(NOW, bytes(10))
REQUEST: dict[str, Any] = {
    "payload": {"to": "ada@example.com", "sizes": [1, 2]},
    "priority": 2,
    "max_attempts": 9,
    "retry": {"backoff": "fixed", "base_delay": 77, "jitter": 0},
    "timeout": 20,
    "expires_in": 600,
    "tags": ["a", "b"],
    "group": "g",
}


@pytest.fixture
def api() -> Client:
    return Client()


def test_a_replay_is_a_new_job_with_the_same_request_due_now(api: Client) -> None:
    old = api.enqueue(**REQUEST, delay=300)
    api.pass_time(40)
    answer = api.call("POST", f"/jobs/{old['id']}/replay")
    assert (answer.status, answer.headers["ETag"]) == (202, '"1"')
    new = answer.body
    assert urljoin(f"https://api/stage/jobs/{old['id']}/replay", answer.headers["Location"]) == f"https://api/stage/jobs/{new['id']}"
    own = {"id", "created_at", "scheduled_at", "expires_at"}
    assert {name: value for name, value in new.items() if name not in own} == {n: v for n, v in old.items() if n not in own}
    assert new["id"] != old["id"]
    assert (new["created_at"], new["scheduled_at"], new["expires_at"]) == (
        "2026-03-01T12:00:40Z",
        "2026-03-01T12:00:40Z",
        "2026-03-01T12:10:40Z",
    )
    assert api.call("GET", f"/jobs/{old['id']}").body == old


def test_a_payload_is_replayed_as_it_was_written(api: Client) -> None:
    written = '{"b": 1.0, "a": [1e2, 0.1, 123456789012345678901234567890], "u": "\\u00e9é"}'
    old = api.call("POST", "/jobs", f'{{"queue": "emails", "type": "send_sms", "payload": {written}}}').body
    assert f'"payload":{written},' in api.call("POST", f"/jobs/{old['id']}/replay").text


@pytest.mark.parametrize("status", Status)
def test_a_job_in_any_state_can_be_replayed(api: Client, status: Status) -> None:
    fields: dict[str, Any] = {
        "status": status,
        "attempts": 3,
        "error": "E: x",
        "result": "1",
        "token": 4,
        "dispatch": 5,
        "history": ("[]",),
    }
    before = make_job(id=ID, lease_until=NOW + seconds(30), snoozes=2, cancel_requested=True, solo=True, started_at=NOW, **fields)
    api.store.create(before, now=NOW)
    answer = api.call("POST", f"/queues/emails/jobs/{ID}/replay")
    assert answer.status == 202
    new = api.store.get(answer.body["id"])
    assert (new.status, new.attempts, new.dispatch, new.token, new.snoozes, new.history) == (Status.PENDING, 0, 1, 0, 0, ())
    assert (new.error, new.result, new.started_at, new.lease_until, new.solo, new.cancel_requested) == (
        None,
        None,
        None,
        None,
        False,
        False,
    )
    assert api.store.get(ID) == before


def test_two_replays_are_two_jobs_unless_they_have_one_key(api: Client) -> None:
    old = api.enqueue()["id"]

    def replay(key: str | None = None, of: str = old) -> Any:
        return api.call("POST", f"/jobs/{of}/replay", headers={} if key is None else {"idempotency-key": key})

    assert len({replay().body["id"] for _ in range(3)}) == 3
    first, again = replay("k"), replay("k")
    assert (first.status, again.status, again.headers["Idempotent-Replayed"]) == (202, 200, "true")
    assert first.body["id"] == again.body["id"]
    assert replay("other").body["id"] != first.body["id"]
    other = replay("k", of=first.body["id"])
    assert (other.status, other.body["id"] != first.body["id"]) == (202, True)


def test_a_key_that_enqueued_a_job_may_replay_it_too(api: Client) -> None:
    old = api.enqueue(idempotency_key="k")["id"]
    answer = api.call("POST", f"/jobs/{old}/replay", headers={"idempotency-key": "k"})
    assert (answer.status, answer.body["id"] != old) == (202, True)
    assert api.call("POST", "/jobs", SEND_EMAIL, headers={"idempotency-key": "k"}).body["id"] == old


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 129, "a\tb"])
def test_a_key_that_is_none_is_refused(api: Client, key: str) -> None:
    old = api.enqueue()["id"]
    answer = api.call("POST", f"/jobs/{old}/replay", headers={"idempotency-key": key})
    assert (answer.status, [place for place, _ in answer.problems]) == (422, ["/idempotency_key"])
    assert len(api.store.jobs) == 1


def test_what_today_s_queue_and_type_would_not_take_is_refused(api: Client) -> None:
    api.store.create(make_job(id=ID, queue="bygone"), now=NOW)
    assert api.call("POST", f"/jobs/{ID}/replay").status == 409
    old = api.enqueue()["id"]
    needs_more = TypeInfo(schema={"type": "object", "required": ["sender"]})
    workers = {"notifications": {"send_email": needs_more}}
    stricter = Client(api.store, types=Types(version=1, workers=workers))
    assert [place for place, _ in stricter.call("POST", f"/jobs/{old}/replay").problems] == ["/payload/sender"]
    gone = Client(api.store, types=Types(version=1, workers=TYPES.workers | {"notifications": {}}))
    assert gone.call("POST", f"/jobs/{old}/replay").status == 422
    assert len(api.store.jobs) == 2


def test_jobline_s_own_jobs_are_not_replayed_past_the_routes_that_make_them(api: Client) -> None:
    api.store.create(make_job(id=ID, queue="operations", type="purge", status=Status.DONE), now=NOW)
    answer = api.call("POST", f"/jobs/{ID}/replay")
    assert (answer.status, [place for place, _ in answer.problems]) == (422, ["/queue"])
    assert list(api.store.jobs) == [ID]


@pytest.mark.parametrize(("body", "status"), [(None, 202), ("", 202), ("{}", 202), ('{"priority": 5}', 400), ("[", 400), ("null", 400)])
def test_a_replay_takes_no_body(api: Client, body: Any, status: int) -> None:
    old = api.enqueue()["id"]
    assert api.call("POST", f"/jobs/{old}/replay", body).status == status


def test_a_job_that_is_not_there_cannot_be_replayed(api: Client) -> None:
    old = api.enqueue()["id"]
    assert api.call("POST", f"/queues/images/jobs/{old}/replay").status == 404
    assert api.call("POST", "/jobs/nonsense/replay").status == 404
    api.store.jobs[old] = replace(api.store.jobs[old], ttl=int(NOW.timestamp()))
    assert api.call("POST", f"/jobs/{old}/replay").status == 404
