"""`PATCH /jobs/{id}`: a job that has not started is moved to another time or priority, and nothing else happens to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobline import transitions as t
from jobline.ids import new_id
from jobline.job import Job, Status
from jobline.memory import MemoryStore
from jobline.store import Outcome
from jobline.transitions import Write
from tests.api import Answer, Client
from tests.factories import NOW, make_claimant, make_job, seconds

ID = new_id(NOW, bytes(10))


@pytest.fixture
def api() -> Client:
    return Client()


def put(api: Client, **fields: Any) -> Job:
    job = make_job(**({"id": ID} | fields))
    assert api.store.create(job, now=NOW).applied
    return job


def patch(api: Client, body: Any, *, match: str | None = None) -> Answer:
    return api.call("PATCH", f"/jobs/{ID}", body, headers={} if match is None else {"if-match": match})


# ---------------------------------------------------------------------------------------------------- what is moved


@pytest.mark.parametrize(
    ("body", "due", "status"),
    [
        ({"delay": 60}, "2026-03-01T12:01:10Z", "pending"),
        ({"delay": "PT15M"}, "2026-03-01T12:15:10Z", "pending"),
        ({"delay": 900.001}, "2026-03-01T12:15:10.001Z", "scheduled"),
        ({"scheduled_at": "2027-03-01T12:00:10Z"}, "2027-03-01T12:00:10Z", "scheduled"),
        ({"delay": None, "scheduled_at": "2026-03-01T14:00:00+01:00"}, "2026-03-01T13:00:00Z", "scheduled"),
    ],
)
def test_a_job_is_moved_to_another_time_and_gets_a_new_message(api: Client, body: Any, due: str, status: str) -> None:
    put(api)
    api.pass_time(10)
    answer = patch(api, body)
    assert (answer.status, answer.headers["ETag"]) == (200, '"2"')
    assert (answer.body["scheduled_at"], answer.body["status"], answer.body["priority"]) == (due, status, 5)
    job = api.store.get(ID)
    assert (job.dispatch, job.last_op, job.attempts) == (2, "request-1", 0)
    assert f"due {due}, priority 5" in job.history[0]


@pytest.mark.parametrize("status", [Status.SCHEDULED, Status.FAILED])
@pytest.mark.parametrize("body", [{"delay": 0}, {"scheduled_at": "2020-01-01T00:00:00Z"}, {"scheduled_at": "2026-03-01T12:00:10Z"}])
def test_a_job_that_waits_long_is_moved_to_now_and_can_start(api: Client, status: Status, body: Any) -> None:
    put(api, status=status, scheduled_at=NOW + timedelta(days=3), attempts=1)
    api.pass_time(10)
    answer = patch(api, body)
    assert (answer.status, answer.body["scheduled_at"]) == (200, "2026-03-01T12:00:10Z")
    assert answer.body["status"] == ("failed" if status is Status.FAILED else "pending")
    job = api.store.get(ID)
    assert not job.delivered_by_ticker
    assert not api.store.apply(ID, t.claim(make_claimant(dispatch=1), now=api.now, alone=True)).applied
    assert api.store.apply(ID, t.claim(make_claimant(dispatch=2), now=api.now, alone=True)).applied


def test_a_job_that_is_moved_away_does_not_start_at_its_old_time(api: Client) -> None:
    put(api, scheduled_at=NOW + seconds(5))
    patch(api, {"delay": 3600})
    for dispatch in (1, 2):
        assert not api.store.apply(ID, t.claim(make_claimant(dispatch=dispatch), now=NOW + seconds(10), alone=True)).applied


@pytest.mark.parametrize(
    ("status", "due"),
    [
        (Status.PENDING, NOW),
        (Status.PENDING, NOW + seconds(700)),
        (Status.SCHEDULED, NOW + timedelta(days=40)),
        (Status.FAILED, NOW + seconds(30)),
        (Status.FAILED, NOW + timedelta(hours=20)),
    ],
)
def test_a_priority_alone_keeps_the_time_and_the_state(api: Client, status: Status, due: Any) -> None:
    before = put(api, status=status, scheduled_at=due)
    api.pass_time(1)
    answer = patch(api, {"priority": 1})
    assert (answer.status, answer.body["priority"], answer.body["status"]) == (200, 1, status.value)
    job = api.store.get(ID)
    assert (job.scheduled_at, job.dispatch) == (before.scheduled_at, 2)
    assert job.delivered_by_ticker is (due - NOW > timedelta(minutes=15))


def test_a_late_job_with_another_priority_is_not_sent_once_more_right_away(api: Client) -> None:
    put(api)
    api.pass_time(3600)
    patch(api, {"priority": 1})
    job = api.store.get(ID)
    assert job.scheduled_at == NOW
    assert job.attention_at == api.now + timedelta(minutes=5)


@pytest.mark.parametrize(
    "body", [{}, {"priority": None}, {"priority": 5}, {"scheduled_at": "2026-03-01T12:00:30Z", "priority": 5}, {"scheduled_at": None}]
)
def test_a_change_that_changes_nothing_keeps_the_message(api: Client, body: Any) -> None:
    before = put(api, scheduled_at=NOW + seconds(30))
    answer = patch(api, body)
    assert (answer.status, answer.headers["ETag"]) == (200, '"1"')
    assert api.store.get(ID) == before


@pytest.mark.parametrize("body", [{"delay": 0}, {"scheduled_at": "2026-03-01T12:00:02Z"}])
def test_a_job_that_is_due_already_keeps_its_place_when_it_is_moved_to_now(api: Client, body: Any) -> None:
    before = put(api)
    api.pass_time(5)
    assert patch(api, body).status == 200
    assert api.store.get(ID) == before


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("status", [Status.RUNNING, Status.DONE, Status.DEAD, Status.CANCELLED, Status.EXPIRED])
@pytest.mark.parametrize("body", [{"delay": 60}, {"priority": 1}, {}])
def test_a_job_that_has_started_or_is_over_cannot_be_moved(api: Client, status: Status, body: Any) -> None:
    before = put(api, status=status)
    answer = patch(api, body)
    assert (answer.status, answer.body["job_status"]) == (409, status.value)
    assert api.store.get(ID) == before


def test_a_job_of_an_ordered_queue_keeps_its_place(api: Client) -> None:
    put(api, queue="letters")
    assert patch(api, {"delay": 60}).status == 409
    assert patch(api, {"priority": 1}).status == 409


def test_a_job_whose_queue_is_no_longer_defined_cannot_be_moved(api: Client) -> None:
    put(api, queue="bygone")
    assert patch(api, {"delay": 60}).status == 409


def test_a_time_at_which_the_job_has_expired_is_refused(api: Client) -> None:
    before = put(api, expires_at=NOW + seconds(60))
    for body in ({"delay": 60}, {"delay": 61}, {"scheduled_at": "2026-03-01T12:01:00Z"}):
        answer = patch(api, body)
        assert (answer.status, answer.problems) == (
            422,
            [(f"/{next(iter(body))}", "must be before the job expires, at 2026-03-01T12:01:00Z")],
        )
    assert api.store.get(ID) == before
    assert patch(api, {"delay": 59.999}).status == 200


def test_a_job_that_has_expired_cannot_be_moved(api: Client) -> None:
    put(api, expires_at=NOW + seconds(60))
    api.pass_time(60)
    for body in ({"priority": 1}, {"delay": 0}):
        assert patch(api, body).status == 409


@pytest.mark.parametrize(
    ("body", "place", "word"),
    [
        ({"delay": 60, "scheduled_at": "2026-03-01T13:00:00Z"}, "/scheduled_at", "together with delay"),
        ({"delay": -1}, "/delay", "negative"),
        ({"delay": True}, "/delay", "number of seconds"),
        ({"delay": "soon"}, "/delay", "not a duration"),
        ({"delay": 31_536_000.001}, "/delay", "1 year"),
        ({"scheduled_at": "2027-03-01T12:00:00.001Z"}, "/scheduled_at", "1 year"),
        ({"scheduled_at": "2026-03-01T12:00:00"}, "/scheduled_at", "offset"),
        ({"scheduled_at": 1_700_000_000}, "/scheduled_at", "RFC 3339"),
        ({"priority": 0}, "/priority", "1 to 10"),
        ({"priority": 11}, "/priority", "1 to 10"),
        ({"priority": 1.0}, "/priority", "whole number"),
        ({"priority": "1"}, "/priority", "whole number"),
        ({"priority": True}, "/priority", "whole number"),
        ({"payload": {}}, "/payload", "not a known field"),
        ({"prioritty": 1}, "/prioritty", "did you mean 'priority'"),
        ({"a/b~c": 1}, "/a~1b~0c", "not a known field"),
    ],
)
def test_a_field_that_is_wrong_is_named_and_nothing_is_changed(api: Client, body: Any, place: str, word: str) -> None:
    before = put(api)
    answer = patch(api, body)
    assert answer.status == 422
    [(pointer, detail)] = answer.problems
    assert (pointer, word in detail) == (place, True), detail
    assert api.store.get(ID) == before


@pytest.mark.parametrize(
    "body", [None, "", "[]", "null", "1", '"x"', "{", '{"priority": NaN}', '{"priority": 1, "priority": 2}', b"\xff", "[" * 100_000]
)
def test_a_body_that_is_no_strict_json_object_is_a_400(api: Client, body: Any) -> None:
    before = put(api)
    assert patch(api, body).status == 400
    assert api.store.get(ID) == before


def test_every_field_that_is_wrong_is_told_at_once(api: Client) -> None:
    put(api)
    assert [place for place, _ in patch(api, {"delay": -1, "priority": 0, "x": 1}).problems] == ["/delay", "/priority", "/x"]


def test_another_queues_job_and_one_that_is_not_there_are_404s(api: Client) -> None:
    put(api)
    assert api.call("PATCH", f"/queues/images/jobs/{ID}", {"priority": 1}).status == 404
    assert api.call("PATCH", f"/jobs/{new_id(NOW, b'x' * 10)}", {"priority": 1}).status == 404
    assert api.call("PATCH", "/jobs/nonsense", {"priority": 1}).status == 404
    assert api.call("PATCH", f"/jobs/{ID}", {"priority": 1}, query={"force": "1"}).status == 400
    assert api.store.get(ID).rev == 1
    assert api.call("PATCH", f"/queues/emails/jobs/{ID[:13]}", {"priority": 1}).status == 200


# ---------------------------------------------------------------------------------------------------- If-Match


@pytest.mark.parametrize("match", ['"3"', ' "3" ', '"1", "3"', '"a,b" ,"3"', "*", None])
def test_a_job_that_is_as_it_was_read_is_moved(api: Client, match: str | None) -> None:
    put(api, rev=3)
    assert patch(api, {"priority": 1}, match=match).status == 200


@pytest.mark.parametrize("match", ['"2"', '"4"', '"03"', '""', '"1", "2"', 'W/"3"', '"abc"'])
@pytest.mark.parametrize("body", [{"priority": 1}, {}])
def test_a_job_that_has_changed_since_it_was_read_is_a_412(api: Client, match: str, body: Any) -> None:
    before = put(api, rev=3)
    answer = patch(api, body, match=match)
    assert (answer.status, answer.body["type"]) == (412, "urn:jobline:problem:precondition-failed")
    assert '"3"' in answer.body["detail"]
    assert api.store.get(ID) == before


@pytest.mark.parametrize("match", ["3", "", '"3', '3"', "'3'", '"3" "4"', '"3",', "*,", 'w/"3"', '"\x00"', '"\u2603"', '"' * 50_001])
def test_an_if_match_that_is_no_entity_tag_is_a_400(api: Client, match: str) -> None:
    before = put(api, rev=3)
    assert patch(api, {"priority": 1}, match=match).status == 400
    assert api.store.get(ID) == before


def test_a_job_that_has_started_is_a_409_whatever_was_read(api: Client) -> None:
    put(api, status=Status.RUNNING, rev=3)
    assert patch(api, {"priority": 1}, match='"2"').status == 409


class Between(MemoryStore):
    """A store in which somebody else writes just before the first write that is asked of it."""

    def __init__(self, other: Write) -> None:
        super().__init__()
        self.other: Write | None = other

    def apply(self, job_id: str, write: Write) -> Outcome:
        other, self.other = self.other, None
        if other is not None:
            assert super().apply(job_id, other).applied
        return super().apply(job_id, write)


def test_a_job_that_starts_just_before_it_is_moved_runs_and_is_not_moved() -> None:
    api = Client(Between(t.claim(make_claimant(), now=NOW, alone=True)))
    put(api)
    assert patch(api, {"delay": 3600}).status == 409
    job = api.store.get(ID)
    assert (job.status, job.scheduled_at, job.dispatch) == (Status.RUNNING, NOW, 1)


def test_a_job_that_changes_just_before_it_is_moved_is_moved_all_the_same_unless_it_was_to_be_as_read() -> None:
    for match, status in ((None, 200), ('"1"', 412)):
        api = Client(Between(t.watch(make_job(id=ID), now=NOW)))
        put(api)
        assert patch(api, {"delay": 3600}, match=match).status == status
        assert api.store.get(ID).dispatch == (2 if status == 200 else 1)


def test_a_move_keeps_what_another_one_set_in_between() -> None:
    other = t.reschedule(make_job(id=ID), now=NOW, op="other", scheduled_at=NOW + seconds(50), priority=5)
    api = Client(Between(other))
    put(api)
    answer = patch(api, {"priority": 1})
    assert (answer.body["scheduled_at"], answer.body["priority"]) == ("2026-03-01T12:00:50Z", 1)
