"""One job over HTTP: shown, found by the beginning of its id, cancelled and retried."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobline import transitions as t
from jobline.ids import derived_id, new_id
from jobline.job import Job, Status
from jobline.memory import MemoryStore
from jobline.store import Outcome
from jobline.transitions import Write
from tests.api import SEND_EMAIL, Client
from tests.factories import KEEP, NOW, make_claimant, make_job, seconds

ID = new_id(NOW, bytes(10))


@pytest.fixture
def api() -> Client:
    return Client()


def put(api: Client, **fields: Any) -> Job:
    """A job in the store, as given; under watch when its status says so."""
    job = make_job(**({"id": ID} | fields))
    assert api.store.create(job, now=NOW).applied
    return job


def over(api: Client, status: Status, **fields: Any) -> Job:
    return put(api, status=status, completed_at=NOW, ttl=int(NOW.timestamp()) + 3600, **fields)


# ---------------------------------------------------------------------------------------------------- show


def test_a_job_is_shown_with_everything_that_is_known_of_it(api: Client) -> None:
    put(
        api,
        status=Status.DONE,
        attempts=2,
        started_at=NOW + seconds(1),
        completed_at=NOW + seconds(1.5),
        error=None,
        result='{"id": 1.0}',
        progress='{"percent":100,"note":"done","at":"x"}',
        tags=("vip",),
        expires_at=NOW + seconds(60),
        retry='{"backoff":"fixed"}',
    )
    answer = api.call("GET", f"/jobs/{ID}")
    assert answer.status == 200
    shown = answer.body
    assert (shown["status"], shown["attempts"], shown["started_at"], shown["completed_at"]) == (
        "done",
        2,
        "2026-03-01T12:00:01Z",
        "2026-03-01T12:00:01.500Z",
    )
    assert '"result":{"id": 1.0}' in answer.text
    assert (shown["progress"]["percent"], shown["tags"], shown["expires_at"]) == (100, ["vip"], "2026-03-01T12:01:00Z")
    assert shown["retry"] == {"backoff": "fixed"}


def test_nothing_of_the_protocol_is_shown(api: Client) -> None:
    put(api, lease_until=NOW, claimed_by="request-9", token=3, request_hash="abc", last_op="op")
    text = api.call("GET", f"/jobs/{ID}").text
    assert not any(word in text for word in ("token", "lease", "claimed_by", "request-9", "dispatch", "queue_shard", "hash", "last_op"))


@pytest.mark.parametrize("tag", ['"3"', 'W/"3"', '"1", "3"'])
def test_a_job_that_has_not_changed_is_not_sent_again(api: Client, tag: str) -> None:
    put(api, rev=3)
    answer = api.call("GET", f"/jobs/{ID}", headers={"if-none-match": tag})
    assert (answer.status, answer.text, answer.headers["ETag"]) == (304, "", '"3"')
    assert api.call("GET", f"/jobs/{ID}", headers={"if-none-match": '"2"'}).status == 200


@pytest.mark.parametrize("path", ["/jobs/", "/queues/emails/jobs/"])
@pytest.mark.parametrize("id", [ID, ID.upper(), ID[:8], ID[:13], ID[:20].upper(), ID[:-1]])
def test_a_job_is_found_by_the_beginning_of_its_id(api: Client, path: str, id: str) -> None:
    put(api)
    assert api.call("GET", path + id).body["id"] == ID


@pytest.mark.parametrize(
    "id",
    ["123e4567-e89b", "0197a000-0000-7000-8000-00000000000f", "ffffffff", ID[:7], "nonsense", "123e4567-e89b-12d3", ID + "0", "x" * 500],
)
def test_an_id_that_no_job_has_is_a_404_of_one_short_line(api: Client, id: str) -> None:
    put(api)
    answer = api.call("GET", f"/jobs/{id}")
    assert (answer.status, answer.body["type"]) == (404, "urn:jobline:problem:job-not-found")
    assert len(answer.body["detail"]) < 150


def test_a_beginning_that_several_jobs_have_is_a_409_with_the_candidates(api: Client) -> None:
    near = [put(api, id=new_id(NOW + seconds(n), bytes(10)), created_at=NOW + seconds(n)).id for n in range(3)]
    near.append(put(api, id=new_id(NOW, b"0123456789"), queue="images").id)
    answer = api.call("DELETE", f"/jobs/{ID[:8]}")
    assert answer.status == 409
    assert answer.body["candidates"] == sorted(near)
    assert {api.store.get(id).status for id in near} == {"pending"}


def test_a_beginning_is_ambiguous_when_more_jobs_are_as_old_than_are_looked_through(api: Client) -> None:
    put(api)
    for n in range(150):
        put(api, id=derived_id("emails", str(n)))
    answer = api.call("GET", f"/jobs/{ID[:8]}")
    assert answer.status == 409
    assert api.call("GET", f"/jobs/{ID}").status == 200


def test_a_record_that_is_no_longer_kept_does_not_make_a_beginning_ambiguous(api: Client) -> None:
    put(api)
    put(api, id=ID[:-1] + "1", status=Status.DONE, ttl=int(NOW.timestamp()))
    assert api.call("GET", f"/jobs/{ID[:8]}").body["id"] == ID


def test_an_id_from_an_idempotency_key_is_found_only_whole(api: Client) -> None:
    id = api.enqueue(idempotency_key="k")["id"]
    assert api.call("GET", f"/jobs/{id}").status == 200
    answer = api.call("GET", f"/jobs/{id[:20]}")
    assert answer.status == 404
    assert "only found whole" in answer.body["detail"]


def test_a_record_past_its_ttl_counts_as_absent(api: Client) -> None:
    over(api, Status.DEAD)
    api.pass_time(3599)
    assert api.call("GET", f"/jobs/{ID}").status == 200
    api.pass_time(1)
    assert api.call("GET", f"/jobs/{ID}").status == 404
    assert api.call("POST", f"/jobs/{ID}/retry").status == 404
    assert api.call("DELETE", f"/jobs/{ID}").status == 404


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/retry")])
def test_another_queues_job_is_absent_under_a_queues_own_path(api: Client, method: str, path: str) -> None:
    over(api, Status.DEAD)
    assert api.call(method, f"/queues/images/jobs/{ID}{path}").status == 404
    assert api.call(method, f"/queues/nope/jobs/{ID}{path}").status == 404
    assert api.store.get(ID).status == "dead"


# ---------------------------------------------------------------------------------------------------- cancel


@pytest.mark.parametrize("status", [Status.PENDING, Status.SCHEDULED, Status.FAILED])
def test_a_job_that_waits_is_cancelled_and_never_starts(api: Client, status: Status) -> None:
    put(api, status=status)
    answer = api.call("DELETE", f"/jobs/{ID}")
    assert (answer.status, answer.body) == (200, {"cancelled": True})
    job = api.store.get(ID)
    assert (job.status, job.completed_at, job.last_op) == ("cancelled", NOW, "request-1")
    assert job.ttl == int(NOW.timestamp()) + 30 * 24 * 3600
    claim = t.claim(make_claimant(), now=NOW + timedelta(days=1), alone=True)
    assert not api.store.apply(ID, claim).applied


def test_cancelling_a_running_job_is_a_request_and_the_answer_says_so(api: Client) -> None:
    put(api, status=Status.RUNNING, token=1, lease_until=NOW)
    for _ in range(2):
        answer = api.call("DELETE", f"/jobs/{ID}")
        assert (answer.status, answer.body) == (200, {"cancel_requested": True})
    job = api.store.get(ID)
    assert (job.status, job.cancel_requested, job.rev) == ("running", True, 2)
    assert api.call("GET", f"/jobs/{ID}").body["cancel_requested"] is True


def test_cancelling_a_cancelled_job_is_a_success_that_changes_nothing(api: Client) -> None:
    over(api, Status.CANCELLED)
    assert api.call("DELETE", f"/jobs/{ID}").body == {"cancelled": True}
    assert api.store.get(ID).rev == 1


@pytest.mark.parametrize("status", [Status.DONE, Status.DEAD, Status.EXPIRED])
def test_a_job_that_is_over_cannot_be_cancelled(api: Client, status: Status) -> None:
    over(api, status)
    answer = api.call("DELETE", f"/jobs/{ID}")
    assert (answer.status, answer.body["job_status"]) == (409, status.value)


class Between(MemoryStore):
    """A store in which somebody else writes just before each of the first writes that are asked of it."""

    def __init__(self, *others: Write) -> None:
        super().__init__()
        self.others = list(others)

    def apply(self, job_id: str, write: Write) -> Outcome:
        if self.others:
            super().apply(job_id, self.others.pop(0))
        return super().apply(job_id, write)


def test_a_job_that_starts_just_before_its_cancellation_is_asked_to_stop() -> None:
    api = Client(Between(t.claim(make_claimant(), now=NOW, alone=True)))
    put(api)
    assert api.call("DELETE", f"/jobs/{ID}").body == {"cancel_requested": True}
    assert api.store.get(ID).cancel_requested


class Repeating(MemoryStore):
    """A store whose first write took effect without an answer; before it is repeated, somebody else writes."""

    def __init__(self, *others: Write) -> None:
        super().__init__()
        self.others = list(others)
        self.lost = True

    def apply(self, job_id: str, write: Write) -> Outcome:
        if self.lost:
            self.lost = False
            for each in (write, *self.others):
                assert super().apply(job_id, each).applied
        return super().apply(job_id, write)


def test_a_cancel_request_whose_answer_got_lost_is_a_success_though_the_job_has_ended_since() -> None:
    job = make_job(id=ID, status=Status.RUNNING, token=1, lease_until=NOW)
    api = Client(Repeating(t.done(job, now=NOW, result=None, result_ref=None, alone=True, keep=KEEP)))
    api.store.create(job, now=NOW)
    answer = api.call("DELETE", f"/jobs/{ID}")
    assert (answer.status, answer.body) == (200, {"cancel_requested": True})


def test_a_move_whose_answer_got_lost_is_a_success_though_the_job_has_started_since() -> None:
    job = make_job(id=ID)
    api = Client(Repeating(t.claim(make_claimant(dispatch=2), now=NOW, alone=True)))
    api.store.create(job, now=NOW)
    answer = api.call("PATCH", f"/jobs/{ID}", {"priority": 1})
    assert (answer.status, answer.body["priority"], answer.body["status"]) == (200, 1, "running")


def test_a_job_that_fails_just_before_its_cancellation_is_cancelled() -> None:
    job = make_job(id=ID, status=Status.RUNNING, token=1, attempts=1, lease_until=NOW)
    api = Client(Between(t.fail(job, now=NOW, error="x", delay=seconds(1), alone=True, keep=KEEP)))
    api.store.create(job, now=NOW)
    assert api.call("DELETE", f"/jobs/{ID}").body == {"cancelled": True}


# ---------------------------------------------------------------------------------------------------- retry


@pytest.mark.parametrize("status", [Status.DEAD, Status.CANCELLED, Status.EXPIRED, Status.FAILED])
def test_a_job_that_went_wrong_runs_again_now_with_its_attempts_over(api: Client, status: Status) -> None:
    fields: dict[str, Any] = {"attempts": 3, "error": "ValueError: no", "token": 5, "expires_in": 60, "expires_at": NOW, "dispatch": 4}
    if status is Status.FAILED:
        put(api, status=status, **fields)
    else:
        over(api, status, **fields)
    api.pass_time(10)
    answer = api.call("POST", f"/jobs/{ID}/retry")
    assert answer.status == 202
    assert (answer.body["status"], answer.body["attempts"], answer.body["error"]) == ("pending", 0, None)
    assert (answer.body["scheduled_at"], answer.body["expires_at"]) == ("2026-03-01T12:00:10Z", "2026-03-01T12:01:10Z")
    job = api.store.get(ID)
    assert (job.dispatch, job.token, job.ttl, job.rev) == (5, 5, None, 2)
    assert answer.headers["ETag"] == '"2"'
    assert len(job.history) == 1


@pytest.mark.parametrize("status", [Status.PENDING, Status.SCHEDULED, Status.RUNNING, Status.DONE])
def test_a_job_in_any_other_state_cannot_be_retried(api: Client, status: Status) -> None:
    put(api, status=status)
    answer = api.call("POST", f"/jobs/{ID}/retry")
    assert (answer.status, answer.body["job_status"]) == (409, status.value)
    assert api.store.get(ID).rev == 1


def test_a_job_whose_queue_is_no_longer_defined_cannot_be_retried(api: Client) -> None:
    over(api, Status.DEAD, queue="bygone")
    assert api.call("GET", f"/jobs/{ID}").status == 200
    answer = api.call("POST", f"/jobs/{ID}/retry")
    assert (answer.status, "no longer defined" in answer.body["detail"]) == (409, True)


def test_a_retry_with_the_same_key_twice_is_one_retry(api: Client) -> None:
    over(api, Status.DEAD)
    answers = [api.call("POST", f"/jobs/{ID}/retry", headers={"idempotency-key": "again"}) for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 202]
    assert api.store.get(ID).dispatch == 2


def test_a_retry_that_meets_a_change_reads_again_and_decides_anew() -> None:
    failed = make_job(id=ID, status=Status.FAILED)
    api = Client(Between(t.watch(failed, now=NOW)))
    api.store.create(failed, now=NOW)
    assert api.call("POST", f"/jobs/{ID}/retry").status == 202
    api = Client(Between(t.claim(make_claimant(), now=NOW, alone=True)))
    api.store.create(failed, now=NOW)
    assert api.call("POST", f"/jobs/{ID}/retry").status == 409


def test_a_job_that_changes_all_the_time_is_left_for_later() -> None:
    failed = make_job(id=ID, status=Status.FAILED)
    writes = [replace(t.watch(failed, now=NOW), when=()) for _ in range(9)]
    api = Client(Between(*writes))
    api.store.create(failed, now=NOW)
    answer = api.call("POST", f"/jobs/{ID}/retry")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize(("body", "status"), [(None, 202), ("", 202), ("{}", 202), ('{"delay": 5}', 400), ("[", 400)])
def test_a_retry_takes_no_body(api: Client, body: Any, status: int) -> None:
    over(api, Status.DEAD)
    assert api.call("POST", f"/jobs/{ID}/retry", body).status == status


def test_the_whole_way_of_a_job_under_its_queues_own_path(api: Client) -> None:
    enqueued = api.call("POST", "/queues/emails/jobs", {name: value for name, value in SEND_EMAIL.items() if name != "queue"})
    assert enqueued.status == 202
    assert enqueued.headers["Location"] == f"jobs/{enqueued.body['id']}"
    path = f"/queues/emails/jobs/{enqueued.body['id']}"
    assert api.call("DELETE", path).body == {"cancelled": True}
    assert api.call("POST", f"{path}/retry").status == 202
    assert api.call("GET", path).body["status"] == "pending"
    assert [job["id"] for job in api.call("GET", "/queues/emails/jobs").body["jobs"]] == [enqueued.body["id"]]


def test_a_body_that_names_another_queue_than_the_path_is_refused(api: Client) -> None:
    answer = api.call("POST", "/queues/images/jobs", SEND_EMAIL)
    assert (answer.status, answer.problems) == (400, [("/queue", "is not that of the route")])
    assert api.call("POST", "/queues/emails/jobs", SEND_EMAIL).status == 202
    assert api.call("POST", "/queues/nope/jobs", SEND_EMAIL).status == 404
