"""A schedule's run becomes one job, however often it is delivered; never early; and what cannot become one is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from moto import mock_aws

from jobline.cron import parse_cron
from jobline.errors import Unavailable
from jobline.firing import DELIVERY, Firing, failed_delivery
from jobline.queue import Queues
from jobline.schedule import Schedule
from jobline.schedule_notes import RunNote, ScheduleNotes
from jobline.testing import make_context
from jobline.times import format_instant
from jobline.timetable import Timetable
from tests import aws
from tests.api import SEND_EMAIL, Client
from tests.factories import NOW

DUE = NOW.replace(second=0, microsecond=0)


class World:
    """The operations function's part in schedules, over the API's own store."""

    def __init__(self) -> None:
        self.client = Client()
        self.notes: dict[str, RunNote] = {}
        self.client.sqs.create("operations")
        self.slept: list[float] = []

    @property
    def firing(self) -> Firing:
        return Firing(
            enqueueing=self.client.service.enqueueing,
            note=self.notes.__setitem__,
            queues=lambda: Queues(self.client.sqs, "memory:///"),  # type: ignore[arg-type]
            clock=lambda: self.client.now,
            log=self.client.log,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.client.pass_time(seconds)

    @property
    def jobs(self) -> list[Any]:
        return list(self.client.store.jobs.values())


@pytest.fixture
def world() -> World:
    return World()


def delivery(execution: str = "e1", at: Any = DUE, **job: Any) -> dict[str, Any]:
    """What Scheduler calls the function with: the schedule's own input, filled in."""
    schedule = Schedule(name="nightly", timetable=Timetable(cron=parse_cron("@daily")), job=json.dumps(SEND_EMAIL | job))
    filled = schedule.input.replace("<aws.scheduler.scheduled-time>", format_instant(at)).replace("<aws.scheduler.execution-id>", execution)
    return dict(json.loads(filled))


def test_a_run_is_one_job_whatever_is_delivered_twice(world: World) -> None:
    first = world.firing.handle(delivery())
    world.client.pass_time(30)
    assert world.firing.handle(delivery()) == world.firing.handle(delivery("e2")) == first
    [job] = world.jobs
    assert (job.id, job.queue, job.type) == (first["job_id"], "emails", "send_email")
    assert job.occurrence == f"nightly {format_instant(DUE)}"
    assert world.notes["nightly"].job_id == job.id


def test_each_run_is_a_job_of_its_own(world: World) -> None:
    ids = {world.firing.handle(delivery(at=DUE + timedelta(minutes=-minute)))["job_id"] for minute in range(5)}
    assert len(ids) == len(world.jobs) == 5


def test_a_schedule_that_was_changed_between_two_deliveries_of_a_run_has_one_job(world: World) -> None:
    first = world.firing.handle(delivery())
    assert world.firing.handle(delivery("e2", priority=1)) == first
    assert [job.priority for job in world.jobs] == [5]


def test_a_run_is_never_early_whatever_our_clock_says(world: World) -> None:
    due = NOW + timedelta(seconds=7)
    world.firing.handle(delivery(at=due))
    assert world.slept == [7.0]
    assert world.jobs[0].scheduled_at >= due
    with pytest.raises(Unavailable, match="clocks do not agree"):
        world.firing.handle(delivery(at=world.client.now + timedelta(minutes=5)))
    assert len(world.jobs) == 1


def test_a_late_run_is_a_job_all_the_same(world: World) -> None:
    world.firing.handle(delivery(at=DUE - timedelta(hours=20)))
    [job] = world.jobs
    assert (job.scheduled_at, job.occurrence) == (NOW, f"nightly {format_instant(DUE - timedelta(hours=20))}")


def test_no_client_can_take_the_place_of_a_run(world: World) -> None:
    taken = world.client.call("POST", "/jobs", SEND_EMAIL | {"idempotency_key": f"nightly {format_instant(DUE)}"})
    assert taken.status == 422


@pytest.mark.parametrize(
    ("job", "problem"),
    [({"queue": "gone"}, "no queue 'gone'"), ({"type": "gone"}, "no type 'gone'"), ({"payload": {}}, "payload")],
)
def test_a_run_that_can_never_be_a_job_is_logged_and_noted_and_not_repeated(world: World, job: dict[str, Any], problem: str) -> None:
    answer = world.firing.handle(delivery(**job))
    assert problem in answer["problem"]
    assert world.notes["nightly"] == RunNote(due_at=DUE, delivered_at=NOW, problem=answer["problem"])
    [(level, message, fields)] = world.client.log.lines
    assert (level, message, fields["schedule"]) == ("error", "a run of a schedule made no job", "nightly")
    assert world.jobs == []


def test_a_unique_job_of_the_last_run_that_is_not_over_keeps_the_next_from_being_made(world: World) -> None:
    first = world.firing.handle(delivery(unique={}))
    assert world.firing.handle(delivery("e2", at=DUE + timedelta(days=-1), unique={})) == first
    rejected = world.firing.handle(delivery("e3", at=DUE + timedelta(days=-2), unique={"on_conflict": "reject"}))
    assert "holds this unique key" in rejected["problem"]
    assert len(world.jobs) == 1


def failed(event: dict[str, Any], receives: int = 1) -> dict[str, Any]:
    """What Lambda puts into the queue about a call that failed (event format 1.0)."""
    body = {
        "version": "1.0",
        "timestamp": "2026-01-31T09:30:00.000Z",
        "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "Unavailable"},
    }
    return {
        "Records": [
            {
                "messageId": "m1",
                "receiptHandle": "r1",
                "body": json.dumps(body),
                "attributes": {"ApproximateReceiveCount": str(receives)},
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:operations",
            }
        ]
    }


def test_a_delivery_that_failed_comes_again_from_the_queue_and_becomes_its_one_job(world: World) -> None:
    event = failed(delivery())
    assert failed_delivery(event) is not None
    assert world.firing.repeat(event) == {"batchItemFailures": []}
    assert world.firing.repeat(event) == {"batchItemFailures": []}
    assert len(world.jobs) == 1


@pytest.mark.parametrize(("receives", "minutes"), [(1, 1), (3, 4), (9, 15)])
def test_a_delivery_that_fails_again_stays_in_the_queue_for_a_growing_while(world: World, receives: int, minutes: int) -> None:
    event = failed(delivery(), receives)
    sqs, url = world.client.sqs, "memory:///operations"
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "0", "MessageBody": event["Records"][0]["body"]}])
    [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    event["Records"][0]["receiptHandle"] = message["ReceiptHandle"]

    def down(*_: Any, **__: Any) -> Any:
        raise Unavailable("DynamoDB is down")

    world.client.store.create = down
    assert world.firing.repeat(event) == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    world.client.pass_time(minutes * 60 - 1)
    assert not sqs.receive_message(QueueUrl=url).get("Messages")
    world.client.pass_time(3)
    assert sqs.receive_message(QueueUrl=url)["Messages"]
    with pytest.raises(Unavailable):
        world.firing.handle(delivery())
    assert world.notes == {}


@pytest.mark.parametrize("body", ['{"v":1,"id":"x"}', "no json", "[]", '{"requestPayload":{"pause":true}}', '{"requestPayload":null}'])
def test_other_messages_of_the_queue_are_no_deliveries(body: str) -> None:
    assert failed_delivery({"Records": [{"body": body}]}) is None
    assert failed_delivery({"pause": True}) is None
    assert DELIVERY in delivery()


def test_an_ordered_queue_takes_runs_in_their_order(world: World) -> None:
    for minute in (3, 2, 1):
        world.firing.handle(delivery(f"e{minute}", at=DUE - timedelta(minutes=minute), queue="letters", ordering_key="k"))
    assert [job.ordering_key for job in world.jobs] == ["k"] * 3
    assert len(world.client.sqs.receive_message(QueueUrl="memory:///letters.fifo", MaxNumberOfMessages=10)["Messages"]) >= 1


@pytest.fixture
def notes() -> Iterator[ScheduleNotes]:
    with mock_aws():
        dynamodb = aws.client("dynamodb")
        aws.create_table(dynamodb)
        yield ScheduleNotes(dynamodb, "jobs")


def test_the_note_of_the_latest_run_stands(notes: ScheduleNotes) -> None:
    assert notes.read("nightly") is None
    note = RunNote(due_at=DUE, delivered_at=NOW, job_id="x")
    notes.write("nightly", note)
    notes.write("nightly", replace(note, due_at=DUE - timedelta(days=1), job_id="late"))
    assert notes.read("nightly") == note
    broken = replace(note, due_at=DUE + timedelta(days=1), job_id=None, problem="There is no queue.")
    notes.write("nightly", broken)
    assert notes.read("nightly") == broken


def test_an_occurrence_is_told_to_the_handler_on_every_attempt() -> None:
    assert make_context("report").occurrence is None
    context = make_context("report")
    context.job = replace(context.job, occurrence=f"nightly {format_instant(DUE)}")
    assert context.occurrence == DUE
