"""The API of schedules over EventBridge Scheduler (moto): what it takes, keeps, tells and refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from moto import mock_aws

from jobline.cron import parse_cron
from jobline.definitions import Definitions, Queue
from jobline.schedule import LARGEST_INPUT, Schedule
from jobline.schedule_notes import RunNote
from jobline.times import format_instant
from jobline.timetable import Timetable
from tests import aws
from tests.api import DEFINITIONS, PLACE, SEND_EMAIL, Client
from tests.factories import NOW

NINE = SEND_EMAIL | {"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin"}


@pytest.fixture
def client() -> Iterator[Client]:
    with mock_aws():
        aws.client("scheduler").create_schedule_group(Name=PLACE.group)
        yield Client()


def put(client: Client, name: str = "nightly", **fields: Any) -> Any:
    answer = client.call("PUT", f"/schedules/{name}", NINE | fields)
    assert answer.status in {200, 201}, answer
    return answer.body


def kept(name: str = "nightly") -> Any:
    """The schedule as EventBridge Scheduler has it."""
    return aws.client("scheduler").get_schedule(GroupName=PLACE.group, Name=name)


def test_a_schedule_is_created_and_echoes_its_next_five_runs(client: Client) -> None:
    answer = client.call("PUT", "/schedules/nightly", NINE)
    assert (answer.status, answer.body["cron"], answer.body["timezone"]) == (201, "0 9 ? * MON-FRI *", "Europe/Berlin")
    assert (answer.body["queue"], answer.body["payload"], answer.body["paused"]) == ("emails", {"to": "user@example.com"}, False)
    runs = Timetable(cron=parse_cron("0 9 * * MON-FRI"), timezone="Europe/Berlin").runs(NOW)
    assert answer.body["next_runs"] == [format_instant(next(runs)) for _ in range(5)]
    shown = client.call("GET", "/schedules/nightly")
    assert shown.body == {**answer.body, "last_run": None, "created_at": shown.body["created_at"], "changed_at": shown.body["changed_at"]}
    assert shown.headers["ETag"] == answer.headers["ETag"]
    assert client.call("GET", "/schedules/nightly", headers={"if-none-match": answer.headers["ETag"]}).status == 304


def test_scheduler_is_told_everything_and_calls_the_operations_function(client: Client) -> None:
    put(client, flexible_window="10m", end="2126-01-01T00:00:00Z")
    found = kept()
    assert (found["ScheduleExpression"], found["ScheduleExpressionTimezone"]) == ("cron(0 9 ? * MON-FRI *)", "Europe/Berlin")
    assert found["FlexibleTimeWindow"] == {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 10}
    assert found["State"] == "ENABLED"
    assert (found["Target"]["Arn"], found["Target"]["RoleArn"]) == (PLACE.function, PLACE.role)
    assert found["Target"]["DeadLetterConfig"] == {"Arn": PLACE.set_aside}
    assert found["Target"]["RetryPolicy"] == {"MaximumRetryAttempts": 185, "MaximumEventAgeInSeconds": 86400}
    given = json.loads(found["Target"]["Input"])
    assert (given["schedule"], given["scheduled_at"]) == ("nightly", "<aws.scheduler.scheduled-time>")


def test_a_payload_is_kept_as_it_was_written_and_scheduler_fills_nothing_in(client: Client) -> None:
    payload = '{"a": 1.0, "b":9007199254740993, "c":"<aws.scheduler.execution-id> é"}'
    body = f'{{"queue":"images","type":"image_resize","cron":"@daily","payload":{payload}}}'
    assert client.call("PUT", "/schedules/exact", body.encode()).status == 201
    assert kept("exact")["Target"]["Input"].count("<aws.scheduler.execution-id>") == 1
    shown = client.call("GET", "/schedules/exact")
    assert f'"payload":{payload}' in shown.text


def test_put_replaces_a_schedule_and_leaves_it_paused(client: Client) -> None:
    put(client)
    assert client.call("POST", "/schedules/nightly/pause").body["paused"] is True
    assert kept()["State"] == "DISABLED"
    replaced = client.call("PUT", "/schedules/nightly", NINE | {"cron": "0 10 * * *"})
    assert (replaced.status, replaced.body["cron"], replaced.body["paused"], replaced.body["next_runs"]) == (200, "0 10 * * ? *", True, [])
    assert client.call("PUT", "/schedules/nightly", NINE | {"paused": False}).body["paused"] is False
    resumed = client.call("POST", "/schedules/nightly/resume")
    assert (resumed.status, len(resumed.body["next_runs"])) == (200, 5)


def test_conditions_keep_two_people_from_undoing_each_others_work(client: Client) -> None:
    first = client.call("PUT", "/schedules/nightly", NINE, headers={"if-none-match": "*"})
    assert first.status == 201
    assert client.call("PUT", "/schedules/nightly", NINE, headers={"if-none-match": "*"}).status == 412
    assert client.call("PUT", "/schedules/nightly", NINE | {"cron": "@daily"}, headers={"if-match": first.headers["ETag"]}).status == 200
    assert client.call("PUT", "/schedules/nightly", NINE, headers={"if-match": first.headers["ETag"]}).status == 412
    assert client.call("DELETE", "/schedules/nightly", headers={"if-match": first.headers["ETag"]}).status == 412
    assert client.call("PUT", "/schedules/other", NINE, headers={"if-match": "*"}).status == 412
    assert client.call("PUT", "/schedules/nightly", NINE, headers={"if-none-match": '"x"'}).status == 400
    assert client.call("DELETE", "/schedules/nightly", headers={"if-match": "*"}).status == 200


def test_a_deleted_schedule_is_gone(client: Client) -> None:
    put(client)
    assert client.call("DELETE", "/schedules/nightly").body == {"deleted": True}
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/run")):
        answer = client.call(method, f"/schedules/nightly{path}")
        assert (answer.status, answer.body["type"]) == (404, "urn:jobline:problem:schedule-not-found")


def test_schedules_are_listed_page_by_page(client: Client) -> None:
    for number in range(5):
        put(client, f"s{number}")
    found, cursor = [], None
    while True:
        page = client.call("GET", "/schedules", query={"limit": "2"} | ({} if cursor is None else {"cursor": cursor})).body
        assert len(page["schedules"]) <= 2
        found += [each["name"] for each in page["schedules"]]
        if (cursor := page["next"]) is None:
            break
    assert sorted(found) == [f"s{number}" for number in range(5)]
    assert client.call("GET", "/schedules", query={"cursor": "none-such"}).status == 400
    assert client.call("GET", "/schedules", query={"limit": "0"}).status == 400


def test_a_rate_begins_with_the_next_minute_and_keeps_its_beat(client: Client) -> None:
    rate = SEND_EMAIL | {"rate": "1 hour"}
    client.now = NOW.replace(second=20)
    first = client.call("PUT", "/schedules/beat", rate).body
    begin = NOW.replace(second=0) + timedelta(minutes=1)
    assert first["rate"] == "1 hour"
    assert first["next_runs"][:2] == [format_instant(begin), format_instant(begin + timedelta(hours=1))]
    client.pass_time(90 * 60)
    assert client.call("PUT", "/schedules/beat", rate).body["next_runs"][0] == format_instant(begin + timedelta(hours=2))
    client.pass_time(5 * 3600)
    client.call("POST", "/schedules/beat/pause")
    client.pass_time(5 * 3600)
    assert client.call("POST", "/schedules/beat/resume").body["next_runs"][0] == format_instant(begin + timedelta(hours=12))


def test_a_single_time_runs_once(client: Client) -> None:
    answer = client.call("PUT", "/schedules/once", SEND_EMAIL | {"at": "2126-07-01T09:00:00", "timezone": "Europe/Berlin"})
    assert (answer.body["at"], answer.body["next_runs"]) == ("2126-07-01T09:00:00", ["2126-07-01T07:00:00Z"])
    exact = client.call("PUT", "/schedules/once", SEND_EMAIL | {"at": "2126-07-01T09:00:00+02:00"})
    assert (exact.body["at"], exact.body["timezone"]) == ("2126-07-01T07:00:00", "UTC")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"cron": "0 9 1 * MON"}, "/cron"),
        ({"cron": "0 9 30 2 *"}, "/cron"),
        ({"cron": "0 9 1 1 ? 2020"}, "/cron"),
        ({"cron": None}, "/cron"),
        ({"rate": "5 minutes"}, "/rate"),
        ({"cron": None, "timezone": None, "rate": "30s"}, "/rate"),
        ({"cron": None, "rate": "5 minutes"}, "/timezone"),
        ({"cron": None, "at": "2020-01-01T09:00:00"}, "/at"),
        ({"cron": None, "at": "2126-02-30T09:00:00"}, "/at"),
        ({"cron": None, "at": "2026-03-29T02:30:00"}, "/at"),  # skipped by the clocks of Berlin
        ({"cron": None, "at": "2126-02-03T09:00:00Z"}, "/timezone"),
        ({"cron": None, "at": "2126-02-03T09:00:00", "end": "2127-01-01T00:00:00Z"}, "/end"),
        ({"timezone": "Europe/Atlantis"}, "/timezone"),
        ({"end": "2020-01-01T00:00:00Z"}, "/end"),
        ({"start": "2126-02-01T00:00:00Z", "end": "2126-01-01T00:00:00Z"}, "/end"),
        ({"flexible_window": "2d"}, "/flexible_window"),
        ({"paused": "yes"}, "/paused"),
        ({"delay": "10m"}, "/delay"),
        ({"idempotency_key": "k"}, "/idempotency_key"),
        ({"crom": "0 9 * * *"}, "/crom"),
    ],
)
def test_what_is_wrong_with_the_times_is_a_400_that_names_the_field(client: Client, fields: dict[str, Any], pointer: str) -> None:
    answer = client.call("PUT", "/schedules/nightly", NINE | fields)
    assert (answer.status, answer.body["type"]) == (400, "urn:jobline:problem:invalid-schedule")
    assert pointer in [place for place, _ in answer.problems]
    assert client.call("GET", "/schedules/nightly").status == 404


@pytest.mark.parametrize(
    ("fields", "slug"),
    [
        ({"queue": "email"}, "unknown-queue"),
        ({"type": "send_letter"}, "unknown-type"),
        ({"payload": {}}, "invalid-job"),
        ({"priority": 11}, "invalid-job"),
        ({"queue": "operations", "type": "purge"}, "invalid-job"),
        ({"timeout": "10m"}, "invalid-job"),
    ],
)
def test_a_schedule_is_refused_whose_jobs_would_be(client: Client, fields: dict[str, Any], slug: str) -> None:
    answer = client.call("PUT", "/schedules/nightly", NINE | fields)
    assert (answer.status, answer.body["type"]) == (422, f"urn:jobline:problem:{slug}")


def test_names_and_sizes_have_limits(client: Client) -> None:
    assert client.call("PUT", "/schedules/Nightly", NINE).status == 400
    large = {"queue": "images", "type": "image_resize", "cron": "@daily", "payload": {"x": "y" * LARGEST_INPUT}}
    answer = client.call("PUT", "/schedules/large", large)
    assert (answer.status, answer.body["limit"]) == (413, LARGEST_INPUT)
    assert client.call("PUT", "/schedules/large", []).status == 400


def test_a_declared_schedule_is_paused_resumed_and_run_but_not_changed(client: Client) -> None:
    declared = Schedule(name="declared", timetable=Timetable(cron=parse_cron("@daily")), job=json.dumps(SEND_EMAIL))
    assert client.scheduling.schedules.create(declared)
    assert client.call("GET", "/schedules/declared").body["declared"] is True
    for answer in (client.call("PUT", "/schedules/declared", NINE), client.call("DELETE", "/schedules/declared")):
        assert (answer.status, answer.body["type"]) == (409, "urn:jobline:problem:schedule-conflict")
    assert client.call("POST", "/schedules/declared/pause").body["paused"] is True
    assert client.call("POST", "/schedules/declared/resume").body["paused"] is False
    assert client.call("POST", "/schedules/declared/run").status == 202


def test_run_makes_one_job_now_and_the_same_key_again_finds_it(client: Client) -> None:
    put(client, tags=["night"])
    answer = client.call("POST", "/schedules/nightly/run", headers={"idempotency-key": "k"})
    assert (answer.status, answer.body["status"], answer.body["tags"]) == (202, "pending", ["night"])
    assert answer.body["occurrence"] == {"schedule": "nightly", "at": format_instant(NOW)}
    client.pass_time(5)
    again = client.call("POST", "/schedules/nightly/run", headers={"idempotency-key": "k"})
    assert (again.status, again.body["id"], again.headers["Idempotent-Replayed"]) == (200, answer.body["id"], "true")
    assert client.call("POST", "/schedules/nightly/run").body["id"] != answer.body["id"]
    assert client.call("POST", "/schedules/nightly/run", headers={"idempotency-key": "ü" * 200}).status == 400
    assert client.call("POST", "/schedules/nightly/run", {"x": 1}).status == 400


def test_a_schedule_whose_queue_is_gone_says_so_when_it_is_run(client: Client) -> None:
    put(client)
    fewer = Definitions(stage="test", queues={"images": Queue(name="images", worker="media")}, workers=DEFINITIONS.workers)
    now = Client(definitions=fewer)
    assert now.call("POST", "/schedules/nightly/run").status == 422
    assert now.call("GET", "/schedules/nightly").body["payload"] == "***"


def test_the_last_run_is_shown_but_not_that_of_an_older_schedule_of_this_name(client: Client) -> None:
    put(client)
    created = client.scheduling.find("nightly").created_at
    assert created is not None
    client.notes["nightly"] = RunNote(due_at=created, delivered_at=created + timedelta(seconds=3), problem="There is no queue 'x'.")
    shown = client.call("GET", "/schedules/nightly").body["last_run"]
    assert (shown["job_id"], shown["problem"]) == (None, "There is no queue 'x'.")
    client.notes["nightly"] = RunNote(
        due_at=created, delivered_at=created - timedelta(days=3), job_id="0197a000-0000-7000-8000-000000000000"
    )
    assert client.call("GET", "/schedules/nightly").body["last_run"] is None
