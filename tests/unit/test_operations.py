"""Purging and redriving as operators see them: what is touched, what is left alone, and that nothing is done twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from functions.operations.purge import purge
from functions.operations.redrive import redrive
from jobline import strict_json
from jobline.context import Context
from jobline.definitions import Definitions, Queue, Worker
from jobline.errors import IdempotencyKeyReused, InvalidJob, InvalidRequest, Unavailable
from jobline.job import Job, Status
from jobline.job_type import job
from jobline.memory import MemoryStore
from jobline.memory_deployment import MemoryDeployment
from jobline.operations import Operations
from jobline.purging import LONGEST_INVOCATION
from jobline.store import Outcome
from jobline.transitions import Write, history_entry
from tests.api import Client
from tests.factories import NOW, seconds


@job("work")
def work(payload: dict[str, Any], ctx: Context) -> str:
    """Does what its payload says."""
    if payload.get("fails"):
        raise TimeoutError("no answer") if payload["fails"] == "slow" else ValueError("broken")
    return "done"


@job("other")
def other(payload: dict[str, Any], ctx: Context) -> str:
    raise ValueError("broken")


QUEUES = {
    "emails": Queue(name="emails", worker="notes", lanes=1, max_attempts=1),
    "images": Queue(name="images", worker="notes", lanes=1, max_attempts=1),
    "operations": Queue(name="operations", worker="operations", lanes=1, max_attempts=3, timeout=870),
}
WORKERS = {"notes": Worker(name="notes"), "operations": Worker(name="operations", timeout=900)}


class Operator:
    """A deployment and somebody who looks after it."""

    def __init__(self, **settings: Any) -> None:
        definitions = Definitions(stage="test", queues=QUEUES, workers=WORKERS)
        types = {"notes": [work, other], "operations": [purge, redrive]}
        self.deployment = MemoryDeployment(definitions, types, start=NOW, **settings)
        self.requests = count()
        self.operations = Operations(
            enqueueing=self.deployment.service.enqueueing, switch=lambda queue, paused: None, read_paused=lambda queues: set()
        )

    def has(self, type: str = "work", payload: Any = None, *, queue: str = "emails", **fields: Any) -> str:
        return self.deployment.enqueue(type, payload, queue=queue, **fields).id

    def run(self) -> None:
        self.deployment.now += seconds(0.001)
        self.deployment.run_until_idle()
        self.deployment.now += seconds(0.001)

    def start(self, kind: Any, *, key: str | None = None, queue: str = "emails", **body: Any) -> Job:
        asked = strict_json.parse(json.dumps(body).encode())
        return self.operations.start(kind, QUEUES[queue], asked, key=key, op=f"request {next(self.requests)}").job

    def do(self, kind: Any, **body: Any) -> dict[str, Any]:
        """The operation's result, once it has run."""
        started = self.start(kind, **body)
        self.run()
        return self.result(started)

    def result(self, operation: Job) -> dict[str, Any]:
        ended = self.deployment.job(operation.id)
        assert ended.status is Status.DONE, ended
        result: dict[str, Any] = self.deployment.result(operation.id)
        return result

    def status(self, id: str) -> Status | None:
        found = self.deployment.store.get(id)
        return None if found is None else found.status

    def changed(self, id: str, **fields: Any) -> None:
        self.deployment.store.jobs[id] = replace(self.deployment.job(id), **fields)


@pytest.fixture
def operator() -> Operator:
    return Operator()


# ---------------------------------------------------------------------------------------------------- purge


def test_a_purge_cancels_what_waits_deletes_what_is_over_and_leaves_alone_what_runs(operator: Operator) -> None:
    done, dead = operator.has(), operator.has(payload={"fails": True})
    operator.run()
    operator.deployment.states.pause("emails", operator.deployment.now)
    waiting, later, running = operator.has(), operator.has(delay="2h"), operator.has()
    elsewhere = operator.has(queue="images")
    operator.changed(running, status=Status.RUNNING, token=1, lease_until=NOW + timedelta(hours=1), claimed_by="somebody")
    operator.deployment.now += seconds(1)
    assert operator.do("purge") == {"dry_run": False, "cancelled": 2, "deleted": 2, "running": 1}
    found = [operator.status(id) for id in (done, dead, waiting, later, running, elsewhere)]
    assert found == [None, None, Status.CANCELLED, Status.CANCELLED, Status.RUNNING, Status.DONE]


def test_a_dry_run_counts_and_changes_nothing(operator: Operator) -> None:
    done, later = operator.has(), operator.has(delay="2h")
    operator.run()
    before = dict(operator.deployment.store.jobs)
    assert operator.do("purge", dry_run=True) == {"dry_run": True, "cancelled": 1, "deleted": 1}
    assert operator.do("redrive", status="cancelled", dry_run=True) == {"dry_run": True}
    assert {id: operator.deployment.store.jobs[id] for id in (done, later)} == before


@pytest.mark.parametrize(
    ("filter", "gone"),
    [
        ({"status": "failed"}, {"slow", "broken", "other"}),
        ({"status": "dead", "type": "other"}, {"other"}),
        ({"error": "TimeoutError:"}, {"slow"}),
        ({"error": "broken"}, {"broken", "other"}),
        ({"status": "done"}, {"done"}),
        ({"status": "failed", "before": "2026-03-01T12:00:00Z"}, set()),
        ({"status": "failed", "before": "2999-01-01T00:00:00Z"}, {"slow", "broken", "other"}),
        ({"status": "retrying"}, set()),
    ],
)
def test_filters_mean_what_they_mean_in_lists(operator: Operator, filter: dict[str, Any], gone: set[str]) -> None:
    ids = {
        "done": operator.has(),
        "slow": operator.has(payload={"fails": "slow"}),
        "broken": operator.has(payload={"fails": True}),
        "other": operator.has("other"),
    }
    operator.run()
    assert operator.do("purge", **filter).get("deleted", 0) == len(gone)
    assert {name for name, id in ids.items() if operator.status(id) is None} == gone


def test_a_job_that_is_tried_again_later_is_failed_and_retrying_to_an_operator_too() -> None:
    for status in ("failed", "retrying"):
        operator = Operator()
        id = operator.has(payload={"fails": True}, max_attempts=5, retry={"backoff": "fixed", "base_delay": 600_000, "jitter": 0})
        operator.run()
        assert operator.status(id) is Status.FAILED
        assert operator.do("purge", status=status)["cancelled"] == 1
        assert operator.status(id) is Status.CANCELLED


def test_at_most_limit_jobs_are_changed(operator: Operator) -> None:
    ids = [operator.has() for _ in range(5)]
    operator.run()
    assert operator.do("purge", limit=3) == {"dry_run": False, "deleted": 3}
    assert sum(operator.status(id) is None for id in ids) == 3


def test_a_purge_does_not_touch_jobs_that_came_after_it(operator: Operator) -> None:
    operation = operator.start("purge")
    operator.deployment.now += seconds(1)
    id = operator.has(delay="2h")
    operator.run()
    assert operator.result(operation) == {"dry_run": False}
    assert operator.status(id) is Status.SCHEDULED


def test_what_a_purge_has_cancelled_it_does_not_delete_when_it_is_repeated(operator: Operator) -> None:
    id = operator.has(delay="2h")
    operator.deployment.now += seconds(1)
    first, second = operator.start("purge"), operator.start("purge")
    operator.run()
    assert operator.status(id) is Status.CANCELLED
    assert [operator.result(operation).get("cancelled", 0) for operation in (first, second)] == [1, 0]


def test_a_job_that_is_enqueued_again_by_its_key_after_a_purge_is_a_new_job(operator: Operator) -> None:
    id = operator.has(idempotency_key="order-1")
    operator.run()
    operator.do("purge")
    assert operator.has(idempotency_key="order-1") == id
    operator.run()
    assert operator.status(id) is Status.DONE


@pytest.mark.parametrize("lost", ["crash", "lost"])
def test_a_record_whose_lost_worker_may_still_run_is_hidden_and_its_token_goes_on(operator: Operator, lost: str) -> None:
    id = operator.has(idempotency_key="order-1")
    operator.run()
    operator.changed(id, history=(history_entry(lost, operator.deployment.now, 1),), token=7)
    assert operator.do("purge") == {"dry_run": False, "deleted": 1}
    hidden = operator.deployment.job(id)
    assert hidden.gone(operator.deployment.now)
    operator.has(idempotency_key="order-1")
    assert operator.deployment.job(id).token == 7
    operator.run()
    assert operator.deployment.job(id).token == 8
    operator.deployment.now += LONGEST_INVOCATION
    operator.do("purge")
    assert operator.status(id) is None


# ---------------------------------------------------------------------------------------------------- redrive


def test_a_redrive_runs_the_dead_again_unless_it_is_told_otherwise(operator: Operator) -> None:
    dead, done = operator.has(payload={"fails": True}), operator.has()
    cancelled = operator.has(delay="2h")
    operator.deployment.service.cancel(operator.deployment.job(cancelled), op="me")
    operator.run()
    assert operator.do("redrive") == {"dry_run": False, "retried": 1}
    again = operator.deployment.job(dead)
    assert (again.status, again.attempts, again.token) == (Status.DEAD, 1, 2)
    assert operator.do("redrive", status="cancelled") == {"dry_run": False, "retried": 1}
    assert operator.status(cancelled) is Status.DONE
    assert operator.deployment.job(done).token == 1


def test_a_redrive_that_is_repeated_does_not_run_what_died_again(operator: Operator) -> None:
    ids = [operator.has(payload={"fails": True}) for _ in range(3)]
    operator.run()
    operation = operator.start("redrive")
    operator.run()
    assert {operator.deployment.job(id).token for id in ids} == {2}
    operator.changed(operation.id, status=Status.DEAD)  # the reply to its finish was lost, and somebody runs it again
    operator.deployment.service.retry(operator.deployment.job(operation.id), op="again")
    operator.run()
    assert operator.deployment.job(operation.id).token == 2
    assert {operator.deployment.job(id).token for id in ids} == {2}


def test_a_job_that_fails_and_fails_again_is_redriven_once(operator: Operator) -> None:
    retry = {"backoff": "fixed", "base_delay": 60_000, "jitter": 0}
    ids = [operator.has(payload={"fails": True}, max_attempts=50, retry=retry) for _ in range(3)]
    operator.run()
    assert operator.do("redrive", status="failed") == {"dry_run": False, "retried": 3}
    assert {(operator.status(id), operator.deployment.job(id).token) for id in ids} == {(Status.FAILED, 2)}


def test_two_redrives_at_once_run_every_job_once(operator: Operator) -> None:
    ids = [operator.has(payload={"fails": True}) for _ in range(5)]
    operator.run()
    first, second = operator.start("redrive"), operator.start("redrive")
    operator.run()
    assert sum(operator.result(operation).get("retried", 0) for operation in (first, second)) == 5
    assert {operator.deployment.job(id).token for id in ids} == {2}


# ---------------------------------------------------------------------------------------------------- long, slow, interrupted


def test_a_rate_spreads_the_changes_over_time(operator: Operator) -> None:
    for _ in range(11):
        operator.has()
    operator.run()
    operation = operator.start("purge", rate=2)
    operator.run()
    assert operator.result(operation)["deleted"] == 11
    took = (operator.deployment.job(operation.id).completed_at or NOW) - (operator.deployment.job(operation.id).started_at or NOW)
    assert timedelta(seconds=4.9) <= took <= timedelta(seconds=6)


def test_work_longer_than_one_run_goes_on_in_the_next_and_uses_no_attempt(operator: Operator) -> None:
    for _ in range(150):
        operator.has()
    operator.run()
    operation = operator.start("purge", rate=0.1)
    operator.run()
    ended = operator.deployment.job(operation.id)
    assert operator.result(operation)["deleted"] == 150
    assert ended.attempts == 1 and ended.token > 1


class Killed(Exception):
    """The process is gone; what it had not written stays undone."""


class Spoiled(MemoryStore):
    """A table whose call number `at` on other jobs than operations goes wrong in one way."""

    def __init__(self, of: MemoryStore, at: int, way: str) -> None:
        super().__init__()
        self.jobs, self.changes, self.locks = of.jobs, of.changes, of.locks
        self.calls, self.at, self.way = 0, at, way

    def spoil(self, job_id: str, call: Callable[[], Any]) -> Any:
        if self.jobs[job_id].queue == "operations":
            return call()
        self.calls += 1
        if self.calls - 1 != self.at:
            return call()
        if self.way in {"reply lost", "dies after"}:
            call()
        raise Unavailable("no answer") if self.way in {"refused", "reply lost"} else Killed

    def apply(self, job_id: str, write: Write) -> Outcome:
        outcome: Outcome = self.spoil(job_id, lambda: MemoryStore.apply(self, job_id, write))
        return outcome

    def delete(self, job: Job) -> bool:
        gone: bool = self.spoil(job.id, lambda: MemoryStore.delete(self, job))
        return gone


@pytest.mark.parametrize("way", ["refused", "reply lost", "dies before", "dies after"])
@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("kind", ["purge", "redrive"])
def test_one_fault_at_any_write_leaves_nothing_undone_and_does_nothing_twice(kind: str, at: int, way: str) -> None:
    operator = Operator()
    deployment = operator.deployment
    over = [operator.has(payload={"fails": True}) for _ in range(3)]
    operator.run()
    waiting = [operator.has(delay="3h") for _ in range(3)] if kind == "purge" else []
    operator.run()
    store = Spoiled(deployment.store, at, way)
    deployment.ports = deployment.make_ports(store=store, sqs=deployment.sqs, clock=deployment.clock)
    operation = operator.start(kind)
    deployment.run_relay()
    deployment.consume(
        "operations-normal",
        1,
        lambda event: deployment.make_worker(deployment.ports, "operations").handle(event, request_id="r", remaining_milliseconds=900_000),
    )
    deployment.ports = deployment.make_ports(store=deployment.store, sqs=deployment.sqs, clock=deployment.clock)
    deployment.advance("10m")
    assert store.calls > at or at >= 3
    assert operator.status(operation.id) is Status.DONE
    if kind == "purge":
        assert all(operator.status(id) is None for id in over)
        assert all(operator.status(id) is Status.CANCELLED for id in waiting)
    else:
        assert {deployment.job(id).token for id in over} == {2}


def test_an_operation_that_is_cancelled_stops_where_it_is(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [operator.has() for _ in range(30)]
    operator.run()
    operation = operator.start("purge", rate=1)
    sleep = operator.deployment.sleep

    def sleep_and_see(seconds: float) -> None:
        sleep(seconds)
        if operator.deployment.now > NOW + timedelta(seconds=10) and operator.status(operation.id) is Status.RUNNING:
            found = operator.deployment.job(operation.id)
            assert found.cancel_requested or operator.deployment.service.cancel(found, op="me") == {"cancel_requested": True}

    monkeypatch.setattr(operator.deployment, "sleep", sleep_and_see)
    operator.deployment.ports = operator.deployment.make_ports(
        store=operator.deployment.store, sqs=operator.deployment.sqs, clock=operator.deployment.clock
    )
    operator.run()
    assert operator.status(operation.id) is Status.CANCELLED
    left = [id for id in ids if operator.status(id) is not None]
    assert 10 < len(left) < 25


def test_progress_tells_how_far_it_is(operator: Operator) -> None:
    for _ in range(20):
        operator.has()
    operator.run()
    operation = operator.start("purge", rate=1)
    operator.run()
    told = json.loads(operator.deployment.job(operation.id).progress or "{}")
    assert 0 < told["percent"] <= 100 and "deleted" in told["note"]


# ---------------------------------------------------------------------------------------------------- the request


@pytest.mark.parametrize(
    ("kind", "body", "pointer"),
    [
        ("purge", {"status": "running"}, "/status"),
        ("purge", {"status": ["dead"]}, "/status"),
        ("redrive", {"status": "done"}, "/status"),
        ("redrive", {"rate": 0}, "/rate"),
        ("redrive", {"rate": True}, "/rate"),
        ("purge", {"limit": 0}, "/limit"),
        ("purge", {"limit": 1.5}, "/limit"),
        ("purge", {"before": "yesterday"}, "/before"),
        ("purge", {"dry_run": "yes"}, "/dry_run"),
        ("purge", {"error": ""}, "/error"),
        ("purge", {"stat": "dead"}, "/stat"),
        ("purge", {"idempotency_key": ""}, "/idempotency_key"),
    ],
)
def test_a_filter_that_means_nothing_is_refused_by_its_place(operator: Operator, kind: str, body: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        operator.start(kind, **body)
    assert [problem["pointer"] for problem in caught.value.problems] == [pointer]
    assert not operator.deployment.store.jobs


def test_an_idempotency_key_names_one_operation(operator: Operator) -> None:
    first, again = operator.start("purge", key="k", status="dead"), operator.start("purge", key="k", status="dead")
    assert first.id == again.id
    with pytest.raises(IdempotencyKeyReused):
        operator.start("purge", key="k", status="done")
    with pytest.raises(IdempotencyKeyReused):
        operator.start("redrive", key="k", status="dead")
    with pytest.raises(InvalidRequest):
        operator.start("purge", key="k", idempotency_key="other")


def test_the_routes_answer_202_with_the_operation_s_job(make_client: Callable[[], Client]) -> None:
    api = make_client()
    for verb in ("purge", "redrive"):
        answer = api.call("POST", f"/queues/emails/{verb}", {"status": "failed", "before": "2026-01-31T10:30:00+01:00"})
        assert (answer.status, answer.body["queue"], answer.body["type"]) == (202, "operations", verb)
        assert answer.body["payload"] == {"queue": "emails", "status": "failed", "before": "2026-01-31T09:30:00Z"}
        assert answer.headers["Location"] == f"../../jobs/{answer.body['id']}"
        assert api.call("GET", f"/jobs/{answer.body['id']}").body["status"] == "pending"
    assert api.call("POST", "/queues/emails/purge").status == 202
    assert api.call("POST", "/queues/email/purge").status == 404
    assert api.call("POST", "/queues/emails/purge", []).status == 400
    assert api.call("POST", "/queues/emails/purge", {"status": "running"}).problems[0][0] == "/status"
    again = [api.call("POST", "/queues/emails/purge", headers={"idempotency-key": "k"}) for _ in range(2)]
    assert [answer.status for answer in again] == [202, 200]
    assert again[1].headers["Idempotent-Replayed"] == "true"


def test_nobody_makes_an_operation_by_enqueueing_or_replaying(make_client: Callable[[], Client]) -> None:
    api = make_client()
    assert api.call("POST", "/jobs", {"queue": "operations", "type": "purge", "payload": {"queue": "emails"}}).status == 422
    made = api.call("POST", "/queues/emails/purge").body["id"]
    assert api.call("POST", f"/jobs/{made}/replay").status == 422


@pytest.fixture
def make_client() -> Callable[[], Client]:
    return Client
