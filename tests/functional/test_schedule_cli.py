"""`jobs schedules` and the Python client's verbs against the real API behind a real HTTP server, schedules on moto."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto import mock_aws

from jobline.client import Client
from jobline.errors import InvalidSchedule, ScheduleNotFound
from tests import aws
from tests.api import PLACE
from tests.command_line import Cli


@pytest.fixture(autouse=True)
def scheduler() -> Iterator[None]:
    with mock_aws():
        aws.client("scheduler").create_schedule_group(Name=PLACE.group)
        yield


CREATE = ("schedules", "create", "weekdays", "emails", "send_email", "--payload", '{"to":"ada@example.com"}', "--cron", "0 9 * * MON-FRI")


def test_a_schedule_is_made_shown_paused_run_and_deleted(cli: Cli) -> None:
    made = cli(*CREATE, "--timezone", "Europe/Berlin")
    assert (made.code, made.err) == (0, "")
    assert "0 9 ? * MON-FRI * Europe/Berlin" in made.out
    assert cli("schedules", "-o", "name").out.split() == ["weekdays"]
    assert "weekdays" in cli("schedules", "list").out
    assert cli("schedules", "pause", "weekdays", "-o", "json").json["paused"] is True
    assert "paused" in cli("schedules").out
    assert cli("schedules", "resume", "weekdays", "-o", "json").json["paused"] is False
    assert len(cli("schedules", "show", "weekdays", "-o", "json").json["next_runs"]) == 5
    assert cli("schedules", "run", "weekdays").out.startswith("enqueued")
    assert cli("schedules", "delete", "weekdays").out == "deleted weekdays\n"
    assert cli("schedules", "show", "weekdays").code == 3


def test_create_replaces_nothing_unless_it_is_asked_to(cli: Cli) -> None:
    assert cli(*CREATE).code == 0
    assert cli(*CREATE).code == 5
    assert cli(*CREATE[:-1], "0 10 * * *", "--replace", "-o", "json").json["cron"] == "0 10 * * ? *"


@pytest.mark.parametrize(
    "line", ["schedules create x emails send_email --cron nonsense", "schedules show ../jobs", "schedules create x emails"]
)
def test_a_mistake_is_one_line_or_usage(cli: Cli, line: str) -> None:
    result = cli(*line.split())
    assert result.code in {2, 3, 4}
    assert result.out == ""


def test_python_has_the_same_verbs(cli: Cli) -> None:
    with Client(cli.api.url) as client:
        made = client.put_schedule("nightly", "send_email", {"to": "ada@example.com"}, queue="emails", cron="@daily", tags=["night"])
        assert (made["cron"], len(made["next_runs"])) == ("0 0 * * ? *", 5)
        assert [each["name"] for each in client.schedules()] == ["nightly"]
        assert client.pause_schedule("nightly")["paused"] is True
        assert client.resume_schedule("nightly")["paused"] is False
        assert client.run_schedule("nightly").type == "send_email"
        assert client.schedule("nightly")["last_run"] is None
        client.delete_schedule("nightly")
        with pytest.raises(ScheduleNotFound):
            client.delete_schedule("nightly")
        with pytest.raises(InvalidSchedule):
            client.put_schedule("nightly", "send_email", {"to": "ada@example.com"}, queue="emails", cron="never")
