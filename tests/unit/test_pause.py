"""Pausing a queue: in which order it happens, that half of it can be repeated, and that a paused backlog costs no messages."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobline.context import Context
from jobline.definitions import Definitions, Queue, Worker
from jobline.errors import Unavailable
from jobline.job import Status
from jobline.job_type import job
from jobline.memory_deployment import MemoryDeployment
from jobline.memory_items import MemoryStates
from jobline.pausing import Pausing, ask
from tests.api import Client
from tests.factories import NOW, seconds

MAPPINGS = {"emails": ["high", "normal", "low"], "images": ["images"]}


class InUse(ClientError):
    """The mapping is still being switched."""


class Conflict(ClientError):
    """The same by another name."""


class Lambda:
    """Lambda's event source mappings, as far as a pause goes; `busy` and `throttled` say how often a call is refused first."""

    class exceptions:
        ResourceInUseException = InUse
        ResourceConflictException = Conflict

    def __init__(self, log: list[str]) -> None:
        self.enabled = {mapping: True for mappings in MAPPINGS.values() for mapping in mappings}
        self.log = log
        self.busy: list[type[ClientError]] = []
        self.fails_at: str | None = None

    def update_event_source_mapping(self, *, UUID: str, Enabled: bool) -> dict[str, Any]:
        if self.busy:
            raise self.busy.pop()({"Error": {"Code": "ResourceInUseException"}}, "UpdateEventSourceMapping")
        if self.fails_at == UUID:
            raise ClientError({"Error": {"Code": "TooManyRequestsException"}}, "UpdateEventSourceMapping")
        self.enabled[UUID] = Enabled
        self.log.append(f"{UUID} {'on' if Enabled else 'off'}")
        return {}


class Notes(MemoryStates):
    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    def pause(self, queue: str, now: datetime) -> None:
        super().pause(queue, now)
        self.log.append("noted")


class Account:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.lambda_: Any = Lambda(self.log)
        self.notes = Notes(self.log)
        self.slept = 0.0
        self.now = NOW
        self.pausing = Pausing(client=lambda: self.lambda_, mappings=MAPPINGS, notes=self.notes, clock=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def pause(self, queue: str = "emails") -> dict[str, Any]:
        return self.pausing.handle({"pause": True, "queue": queue})

    def resume(self, queue: str = "emails") -> dict[str, Any]:
        return self.pausing.handle({"pause": False, "queue": queue})


@pytest.fixture
def account() -> Account:
    return Account()


def test_a_pause_switches_every_lane_of_the_queue_off_and_then_notes_it(account: Account) -> None:
    assert account.pause() == {"paused": True}
    assert account.log == ["high off", "normal off", "low off", "noted"]
    assert account.lambda_.enabled["images"]
    assert (account.notes.get("emails").paused, account.notes.get("images").paused) == (True, False)


def test_resuming_switches_the_lanes_on_again(account: Account) -> None:
    account.pause()
    assert account.resume() == {"paused": False}
    assert all(account.lambda_.enabled.values())
    assert not account.notes.get("emails").paused


def test_a_pause_that_was_left_half_way_is_completed_by_repeating_it(account: Account) -> None:
    account.lambda_.fails_at = "low"
    assert "unavailable" in account.pause()
    assert not account.notes.get("emails").paused
    account.lambda_.fails_at = None
    assert account.pause() == {"paused": True}
    assert not any(account.lambda_.enabled[lane] for lane in MAPPINGS["emails"])


def test_repeating_a_pause_does_not_make_it_younger(account: Account) -> None:
    account.pause()
    account.now += timedelta(hours=2)
    assert account.pause() == {"paused": True}
    assert account.notes.get("emails").paused_at == NOW


def test_a_mapping_that_is_still_being_switched_is_waited_for(account: Account) -> None:
    account.lambda_.busy = [InUse, Conflict]
    assert account.pause() == {"paused": True}
    assert account.slept == 2
    account.lambda_.busy = [InUse] * 100
    assert "still being switched" in account.resume()["unavailable"]


def test_the_api_hears_what_the_operations_function_said(account: Account) -> None:
    class Invoked:
        def invoke(self, *, FunctionName: str, Payload: str) -> dict[str, Any]:
            assert FunctionName == "operations"
            return {"Payload": io.BytesIO(json.dumps(account.pausing.handle(json.loads(Payload))).encode())}

    client: Any = Invoked()
    ask(client, "operations", "emails", paused=True)
    assert account.notes.get("emails").paused
    account.lambda_.fails_at = "normal"
    with pytest.raises(Unavailable):
        ask(client, "operations", "emails", paused=False)


def test_a_failed_operations_function_is_no_pause() -> None:
    class Broken:
        def invoke(self, **request: Any) -> dict[str, Any]:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "no such setting"}')}

    client: Any = Broken()
    with pytest.raises(RuntimeError, match="no such setting"):
        ask(client, "operations", "emails", paused=True)


def test_the_routes_pause_and_resume_and_lists_tell() -> None:
    api = Client()
    answer = api.call("POST", "/queues/emails/pause")
    assert (answer.status, answer.body["queue"], answer.body["paused"]) == (200, "emails", True)
    assert "within about a minute" in answer.body["detail"]
    assert {queue["name"] for queue in api.call("GET", "/queues").body["queues"] if queue["paused"]} == {"emails"}
    assert api.call("POST", "/queues/emails/pause", {}).status == 200
    assert api.call("POST", "/queues/emails/resume").body["paused"] is False
    assert not any(queue["paused"] for queue in api.call("GET", "/queues").body["queues"])


def test_what_cannot_be_paused_is_refused() -> None:
    api = Client()
    assert api.call("POST", "/queues/operations/pause").status == 409
    assert api.call("POST", "/queues/email/pause").status == 404
    assert api.call("POST", "/queues/emails/pause", {"for": 60}).status == 400
    assert api.call("POST", "/queues/emails/pause", query={"for": "60"}).status == 400
    assert api.paused == set()


# ---------------------------------------------------------------------------------------------------- a paused backlog


@job("note")
def note(payload: dict[str, Any], ctx: Context) -> None:
    """Does nothing."""


def backlog(size: int, **queue: Any) -> MemoryDeployment:
    queues = {"emails": Queue(name="emails", worker="notes", lanes=1, **queue)}
    deployment = MemoryDeployment(
        Definitions(stage="test", queues=queues, workers={"notes": Worker(name="notes")}), {"notes": [note]}, start=NOW
    )
    deployment.states.pause("emails", NOW)
    for _ in range(size):
        deployment.enqueue("note")
    while deployment.run_relay():
        pass
    return deployment


def tick(deployment: MemoryDeployment, minutes: int) -> None:
    for _ in range(minutes):
        deployment.now += timedelta(minutes=1)
        deployment.run_ticker()
        while deployment.run_relay():
            pass


@pytest.mark.slow
def test_a_backlog_of_5000_paused_for_30_minutes_sends_no_more_than_5050_messages_in_all() -> None:
    deployment = backlog(5000, batch_size=10)
    tick(deployment, 30)
    assert deployment.sqs.sent == 5000
    deployment.states.resume("emails", deployment.now)
    for second in range(1, 600):  # ten jobs a second: the backlog takes minutes to drain
        deployment.now += seconds(1)
        deployment.run_workers()
        if second % 60 == 0:
            deployment.run_ticker()
        deployment.run_relay()
    assert {job.status for job in deployment.store.jobs.values()} == {Status.DONE}
    assert deployment.sqs.sent <= 5050


def test_what_a_paused_queue_holds_is_looked_at_ever_more_rarely_and_keeps_no_other_waiting() -> None:
    deployment = backlog(50)
    tick(deployment, 20)
    written = len(deployment.store.changes)
    tick(deployment, 5)
    assert len(deployment.store.changes) == written
    tick(deployment, 115)
    assert len(deployment.store.changes) - written <= 50 * 4


def test_repair_goes_on_when_the_rest_after_a_pause_is_over() -> None:
    deployment = backlog(1)
    tick(deployment, 20)
    deployment.sqs.purge_queue(QueueUrl="memory:///emails-normal")
    deployment.states.resume("emails", deployment.now)
    tick(deployment, 90)
    deployment.run_until_idle()
    assert {job.status for job in deployment.store.jobs.values()} == {Status.DONE}


def test_a_job_expires_in_a_paused_queue_all_the_same() -> None:
    deployment = backlog(0)
    id = deployment.enqueue("note", expires_in="40m").id
    tick(deployment, 42)
    assert deployment.job(id).status is Status.EXPIRED
