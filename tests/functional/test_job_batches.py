"""Batches: all of the jobs are made or none is, each once; what follows from their ends follows once, whoever fails to look."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from jobline.job import Status
from tests.api import Client
from tests.batches import REPORT, Scene, member
from tests.factories import NOW


def ends(scene: Scene, id: str) -> dict[str, int]:
    """How many members a batch has of each kind."""
    return {name: number for name, number in scene.show(id)["counts"].items() if number}


# ---------------------------------------------------------------------------------------------------- from the request to the end


def test_a_batch_makes_its_jobs_waits_for_them_and_makes_the_one_that_follows() -> None:
    scene = Scene()
    answer = scene.post([member(n) for n in range(3)], on_success=REPORT, name="three")
    assert (answer.status, answer.headers["Location"]) == (202, f"batches/{answer.body['id']}")
    id = answer.body["id"]
    assert (answer.body["status"], answer.body["name"], answer.body["total"]) == ("open", "three", 3)
    assert answer.body["counts"]["unmade"] == 3
    scene.run("1m")
    shown = scene.show(id)
    assert (shown["status"], ends(scene, id)) == ("complete", {"done": 3})
    assert [job.result for job in scene.members(id)] == ["0", "1", "2"]
    assert {job.batch_id for job in scene.members(id)} == {id}
    (followed,) = scene.made("report")
    assert (followed.id, followed.status, followed.batch_id) == (shown["on_success"], Status.DONE, None)
    assert json.loads(followed.result or "") == id
    assert (shown["on_complete"], shown["on_dead"]) == (None, None)
    assert scene.result(id) == {"counts": {"done": 3, "dead": 0, "cancelled": 0, "expired": 0, "gone": 0}} | {
        "on_success": followed.id,
        "on_complete": None,
        "on_dead": None,
    }


@pytest.mark.parametrize("ending", ["dead", "cancelled"])
def test_what_is_to_follow_success_does_not_follow_anything_else(ending: str) -> None:
    scene = Scene()
    id = scene.make([member(1), member(2, ends=ending)], on_success=REPORT, on_complete=REPORT | {"tags": ["complete"]})
    scene.run("1m")
    shown = scene.show(id)
    assert (shown["status"], ends(scene, id)) == ("complete", {"done": 1, ending: 1})
    (followed,) = scene.made("report")
    assert (shown["on_success"], shown["on_complete"], followed.tags) == (None, followed.id, ("complete",))


def test_an_expired_member_is_over_too() -> None:
    scene = Scene()
    scene.deployment.states.pause("emails", NOW)
    id = scene.make([member(1, expires_in=60), member(2, queue="images")], on_success=REPORT, on_complete=REPORT)
    scene.run("2m")
    scene.deployment.states.resume("emails", scene.deployment.now)
    scene.run("30m")
    assert ends(scene, id) == {"done": 1, "expired": 1}
    assert len(scene.made("report")) == 1


def test_all_that_is_to_follow_a_success_follows() -> None:
    scene = Scene()
    id = scene.make([member(1)], on_success=REPORT, on_complete=REPORT, on_dead=REPORT)
    scene.run("1m")
    shown = scene.show(id)
    assert {job.id for job in scene.made("report")} == {shown["on_success"], shown["on_complete"]}
    assert shown["on_dead"] is None


def test_a_dead_member_is_told_of_while_others_run_and_once() -> None:
    scene = Scene()
    id = scene.make([member(1, ends="dead"), member(2, ends="dead"), member(3, delay="3h")], on_dead=REPORT, on_success=REPORT)
    scene.run("3m")
    (told,) = scene.made("report")
    shown = scene.show(id)
    assert (shown["status"], shown["on_dead"], ends(scene, id)) == ("open", told.id, {"dead": 2, "scheduled": 1})
    scene.run("6h")
    assert scene.show(id)["status"] == "complete"
    assert scene.made("report") == [scene.job(told.id)]


def test_a_member_is_given_byte_for_byte_what_was_sent() -> None:
    scene = Scene()
    text = '{"jobs": [ {"type":"work","queue":"emails", "payload": {"n": 1,  "any": [1.0, 1e2, 0.10, 18446744073709551616, "\\u00e9"]}} ]}'
    answer = scene.api.call("POST", "/batches", text)
    scene.run("1m")
    (made,) = scene.members(answer.body["id"])
    assert made.payload == '{"n": 1,  "any": [1.0, 1e2, 0.10, 18446744073709551616, "\\u00e9"]}'


def test_delays_count_from_the_request_whenever_the_members_are_made() -> None:
    scene = Scene()
    id = scene.make([member(1, delay="20m"), member(2, delay="10m"), member(3)])
    scene.deployment.now += timedelta(minutes=12)
    scene.run()
    due = [job.scheduled_at - NOW for job in scene.members(id)]
    assert due == [timedelta(minutes=20), timedelta(minutes=12), timedelta(minutes=12)]


def test_members_may_go_to_any_queue_and_keep_their_order_in_an_ordered_one() -> None:
    scene = Scene()
    id = scene.make([member(n, queue="letters") for n in range(5)] + [member(9, queue="images")], on_success=REPORT)
    scene.run("1m")
    letters = scene.members(id)[:5]
    assert [job.status for job in letters] == [Status.DONE] * 5
    started = [job.started_at for job in letters]
    assert started == sorted(started, key=str)
    assert scene.show(id)["status"] == "complete"


def test_five_hundred_members_are_made_and_awaited() -> None:
    scene = Scene()
    id = scene.make([member(n) for n in range(500)], on_success=REPORT)
    scene.store.reads = scene.store.calls = 0
    scene.run("10m")
    assert ends_of(scene, id) == {"done": 500}
    assert len(scene.made("report")) == 1
    scene.store.calls = 0
    scene.show(id)
    assert scene.store.calls == 5


def ends_of(scene: Scene, id: str) -> dict[str, int]:
    return {name: number for name, number in scene.result(id)["counts"].items() if number}


# ---------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("jobs", "fields", "wrong"),
    [
        ([], {}, [("/jobs", "must be an array of 1 to 500 jobs")]),
        ([member()] * 501, {}, [("/jobs", "must be an array of 1 to 500 jobs")]),
        ("x", {}, [("/jobs", "must be an array of 1 to 500 jobs")]),
        ([member(), 5], {}, [("/jobs/1", "must be an object")]),
        ([member(), member(priority=11)], {}, [("/jobs/1/priority", "must be a whole number from 1 to 10")]),
        (
            [member(), {"queue": "emails", "type": "work", "payload": {"n": "x"}}],
            {},
            [("/jobs/1/payload/n", "must be an integer, not a string")],
        ),
        ([member(idempotency_key="k")], {}, [("/jobs/0/idempotency_key", "cannot be given in a batch: the batch itself may have one")]),
        (
            [member()],
            {"on_success": REPORT | {"queue": "images", "delay": -1}},
            [("/on_success/delay", "a duration is neither negative nor infinite")],
        ),
        ([member()], {"name": ""}, [("/name", "must be 1 to 128 printable characters")]),
        ([member()], {"nmae": "x"}, [("/nmae", "is not a known field (did you mean 'name'?)")]),
        (
            [member(delay=5, queue="letters")],
            {},
            [("/jobs/0/delay", "is refused by the ordered queue 'letters': its jobs run in the order in which they came")],
        ),
    ],
)
def test_one_job_that_is_wrong_is_named_and_nothing_is_made(jobs: Any, fields: dict[str, Any], wrong: list[tuple[str, str]]) -> None:
    scene = Scene()
    answer = scene.api.call("POST", "/batches", {"jobs": jobs, **fields})
    assert (answer.status, answer.problems) == (422, wrong)
    scene.run("1m")
    assert scene.store.jobs == {}


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        ({"queue": "nowhere", "type": "work"}, "/queue"),
        ({"queue": "emails", "type": "nothing"}, "/type"),
        ({"queue": "operations", "type": "batch"}, "/queue"),
        ({"queue": "emails", "type": "work", "unique": {"key": "k"}}, "/unique"),
        ({"queue": "emails", "type": "work", "payload_ref": "0197a000-0000-7000-8000-000000000001"}, "/payload_ref"),
    ],
)
@pytest.mark.parametrize("at", ["/jobs/1", "/on_dead"])
def test_a_job_that_no_batch_may_have_is_refused_wherever_it_stands(request_: dict[str, Any], place: str, at: str) -> None:
    scene = Scene()
    answer = scene.post([member(), request_] if at == "/jobs/1" else [member()], **({} if at == "/jobs/1" else {"on_dead": request_}))
    assert (answer.status, [pointer for pointer, _ in answer.problems]) == (422, [at + place])
    assert scene.store.jobs == {}


def test_twenty_things_that_are_wrong_are_told_and_no_more() -> None:
    answer = Scene().post([member(priority=0)] * 100)
    assert (answer.status, len(answer.problems)) == (422, 20)


def test_a_body_that_is_no_object_is_no_request() -> None:
    assert Scene().api.call("POST", "/batches", "[]").status == 400


def test_the_same_key_names_the_same_batch() -> None:
    scene = Scene()
    first = scene.post([member(1)], headers={"Idempotency-Key": "k"})
    scene.run("1m")
    again = scene.post([member(1)], headers={"Idempotency-Key": "k"})
    assert (first.status, again.status, again.headers["Idempotent-Replayed"]) == (202, 200, "true")
    assert (again.body["id"], again.body["status"]) == (first.body["id"], "complete")
    other = scene.post([member(2)], idempotency_key="k")
    assert (other.status, other.body["type"]) == (422, "urn:jobline:problem:idempotency-key-reused")
    assert len(scene.made("work")) == 1


def test_a_key_may_be_a_purge_s_and_a_batch_s() -> None:
    client = Client()
    job = {"queue": "emails", "type": "send_email", "payload": {"to": "ada@example.com"}}
    purge = client.call("POST", "/queues/emails/purge", {"idempotency_key": "k"})
    batch = client.call("POST", "/batches", {"jobs": [job], "idempotency_key": "k"})
    assert (purge.status, batch.status) == (202, 202)
    assert purge.body["id"] != batch.body["id"]


def test_a_key_that_is_used_again_when_its_batch_is_no_longer_kept_makes_other_jobs() -> None:
    scene = Scene()
    first = scene.make([member(1, ends="dead"), member(2)], on_complete=REPORT, idempotency_key="k")
    scene.run("8d")
    assert scene.job(first).gone(scene.deployment.now)
    assert [job.gone(scene.deployment.now) for job in scene.made("work")] == [False, True], "the dead one is kept longer"
    second = scene.make([member(1, ends="dead"), member(2)], on_complete=REPORT, idempotency_key="k")
    scene.run("1m")
    assert second == first
    assert ends(scene, second) == {"done": 1, "dead": 1}
    assert len(scene.made("work")) == 4 and len(scene.made("report")) == 2


@pytest.mark.parametrize("size", [20, 4000])
def test_a_batch_whose_request_is_kept_apart_is_as_any_other(size: int) -> None:
    scene = Scene()
    jobs = [member(n, ends="done") | {"payload": {"n": n, "any": "x" * size}} for n in range(500)]
    answer = scene.post(jobs, on_success=REPORT, headers={"Idempotency-Key": "k"})
    assert answer.status == 202
    assert scene.job(answer.body["id"]).payload_ref is not None
    scene.run("10m")
    assert ends(scene, answer.body["id"]) == {"done": 500}
    assert scene.post(jobs, on_success=REPORT, headers={"Idempotency-Key": "k"}).status == 200


def test_a_body_of_more_than_the_api_takes_is_refused() -> None:
    assert Scene().post([member(0) | {"payload": {"any": "x" * 2_500_000}}]).status == 413


def test_header_and_body_may_not_name_two_keys() -> None:
    answer = Scene().post([member(1)], idempotency_key="a", headers={"Idempotency-Key": "b"})
    assert (answer.status, answer.problems[0][0]) == (400, "/idempotency_key")


def test_only_a_batch_is_shown_as_one() -> None:
    scene = Scene()
    other = scene.deployment.enqueue("work", queue="emails")
    for id in (other.id, "0197a000-0000-7000-8000-00000000dead", "nonsense"):
        answer = scene.api.call("GET", f"/batches/{id}")
        assert (answer.status, answer.body["type"]) == (404, "urn:jobline:problem:batch-not-found")


def test_a_batch_is_found_by_the_beginning_of_its_id() -> None:
    scene = Scene()
    id = scene.make([member(1)])
    assert scene.show(id[:13])["id"] == id


def test_a_request_can_wait_for_the_end() -> None:
    scene = Scene()
    quick, slow = scene.make([member(1)]), scene.make([member(1, delay="1h")])
    answer = scene.api.call("GET", f"/batches/{quick}", query={"wait": "20"})
    assert (answer.status, answer.body["status"]) == (200, "complete")
    answer = scene.api.call("GET", f"/batches/{slow}", query={"wait": "20"})
    assert (answer.status, answer.body["status"]) == (202, "open")


def test_the_jobs_of_a_batch_say_so_wherever_they_are_listed() -> None:
    scene = Scene()
    id = scene.make([member(1)], on_complete=REPORT)
    other = scene.deployment.enqueue("work", queue="emails").id
    scene.run("1m")
    listed = scene.api.call("GET", "/jobs", query={"queue": "emails"}).body["jobs"]
    assert {each["id"]: each["batch_id"] for each in listed} == {scene.show(id)["jobs"][0]["id"]: id, other: None}


def test_who_is_granted_one_queue_reaches_no_batch_by_its_routes() -> None:
    scene = Scene()
    id = scene.make([member(1)])
    scene.run("1m")
    for method, path in [
        ("GET", f"/queues/emails/jobs/{id}"),
        ("DELETE", f"/queues/emails/jobs/{id}"),
        ("POST", f"/queues/emails/jobs/{id}/retry"),
        ("GET", f"/queues/emails/batches/{id}"),
        ("POST", "/queues/emails/batches"),
    ]:
        assert scene.api.call(method, path).status == 404, path
    own = scene.api.call("POST", "/queues/emails/jobs", {"type": "batch", "payload": {"jobs": [member(1)]}})
    assert (own.status, own.problems[0][0]) == (422, "/type")


def test_a_request_that_fails_by_our_fault_has_no_secret_of_any_of_its_jobs_logged() -> None:
    scene = Scene()
    secret = {"queue": "emails", "type": "work", "payload": {"token": "hunter22"}}
    body = {"jobs": [member(1)], "on_success": secret, "on_dead": secret | {"payload": {"token": "tiger333"}}}
    assert sorted(set(scene.api.service.secrets_of(body))) == ["hunter22", "tiger333"]


def test_secrets_of_the_members_are_not_shown_by_the_batch() -> None:
    scene = Scene()
    id = scene.make([{"queue": "emails", "type": "work", "payload": {"token": "hunter22"}}])
    for path in (f"/jobs/{id}", "/jobs", f"/batches/{id}"):
        answer = scene.api.call("GET", path, query={"queue": "operations"} if path == "/jobs" else None)
        assert answer.status == 200 and "hunter22" not in answer.text
