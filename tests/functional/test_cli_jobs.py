"""The commands about one job, against the real API behind a real HTTP server that checks signatures."""

from __future__ import annotations

import json

import pytest

from jobline.job import Status
from jobline.transitions import history_entry
from tests.command_line import Cli
from tests.factories import NOW, seconds
from tests.http_api import Received

# ---------------------------------------------------------------------------------------------------- reschedule


def test_a_job_is_moved_as_the_options_say(cli: Cli) -> None:
    job_id = cli.has()
    done = cli("reschedule", job_id, "--delay", "1h30m", "--priority", "2")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"moved {job_id} send_email on emails: scheduled, due 2026-03-01T13:30:00Z, priority 2\n"
    assert cli.api.last_body == {"delay": "1h30m", "priority": 2}
    assert cli("reschedule", job_id, "--at", "2026-03-01T12:00:30Z", "-o", "json").json["scheduled_at"] == "2026-03-01T12:00:30Z"
    assert cli.api.last_body == {"scheduled_at": "2026-03-01T12:00:30Z"}


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        ("", 2, "say what is to change"),
        ("--priority 11", 2, "--priority"),
        ("--delay soon", 2, "not a duration"),
        ("--delay 1 --at 2026-03-01T13:00:00Z", 2, "together with delay"),
    ],
)
def test_a_move_that_says_nothing_right_is_refused_in_one_line(cli: Cli, options: str, code: int, word: str) -> None:
    done = cli("reschedule", cli.has(), *options.split())
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert word in done.err


def test_a_job_that_runs_cannot_be_moved(cli: Cli) -> None:
    done = cli("reschedule", cli.has(status=Status.RUNNING, token=1, lease_until=NOW + seconds(30)), "--delay", "5")
    assert (done.code, done.out) == (5, "")
    assert "running" in done.err


# ---------------------------------------------------------------------------------------------------- replay


def test_a_replay_is_shown_as_the_new_job_that_it_is(cli: Cli) -> None:
    old = cli.has(status=Status.DEAD)
    done = cli("replay", old)
    [new] = cli.client.store.jobs.keys() - {old}
    assert (done.code, done.out) == (0, f"enqueued {new} send_email on emails: pending\n")
    assert cli("replay", old, "--idempotency-key", "k").out.startswith("enqueued ")
    again = cli("replay", old, "--idempotency-key", "k")
    assert (again.code, again.out.startswith("already enqueued ")) == (0, True)
    assert cli("replay", old, "-o", "json").json["status"] == "pending"
    assert cli("replay", "0197a000-0000-7000-8000-000000000009").code == 3


# ---------------------------------------------------------------------------------------------------- wait


@pytest.mark.parametrize(
    ("status", "code"), [(Status.DONE, 0), (Status.DEAD, 6), (Status.CANCELLED, 6), (Status.EXPIRED, 6), (Status.RUNNING, 7)]
)
def test_waiting_for_a_job_tells_by_its_exit_code_how_it_ended(cli: Cli, status: Status, code: int) -> None:
    job_id = cli.has(status=status, result='"sent"', lease_until=NOW + seconds(30))
    done = cli("wait", job_id, "--timeout", "0")
    assert (done.code, status.value in done.out) == (code, True)
    assert done.err == ("jobs: The time was over before the job was: it is running.\n" if code == 7 else "")
    assert cli("wait", job_id, "--timeout", "0", "-o", "json").json["status"] == status.value


def test_a_job_that_takes_longer_than_one_request_is_asked_for_again(cli: Cli) -> None:
    job_id = cli.has(status=Status.RUNNING, token=1, lease_until=NOW + seconds(600))
    answers = [(503, '{"message":"Service Unavailable"}'), (202, None), (202, None), (200, None)]

    def answer(request: Received) -> tuple[int, str]:
        status, text = answers.pop(0)
        shown = cli.client.call("GET", f"/jobs/{job_id}").body | {"status": "done" if status == 200 else "running"}
        return status, text or json.dumps(shown)

    cli.api.answer = answer
    done = cli("wait", job_id)
    assert (done.code, done.err, answers) == (0, "", [])
    assert [request.target.rpartition("?")[2] for request in cli.api.received] == ["wait=25.000"] * 4


def test_a_timeout_that_is_no_duration_is_a_usage_error(cli: Cli) -> None:
    done = cli("wait", cli.has(), "--timeout", "soon")
    assert (done.code, "--timeout" in done.err, cli.api.received) == (2, True, [])
    assert cli("wait", "0197a000-0000-7000-8000-000000000009").code == 3


# ---------------------------------------------------------------------------------------------------- events


def test_events_are_one_a_line(cli: Cli) -> None:
    history = (history_entry("failed", NOW + seconds(3), 1, "E: \x1b[31m [bold]no", since=NOW + seconds(1)),)
    job_id = cli.has(status=Status.FAILED, attempts=1, history=history, started_at=NOW + seconds(1))
    done = cli("events", job_id)
    assert (done.code, done.err) == (0, "")
    assert [line.split()[:4] for line in done.out.splitlines()] == [
        ["AT", "EVENT", "ATTEMPT", "TOOK"],
        ["2026-03-01T12:00:00Z", "enqueued"],
        ["2026-03-01T12:00:01Z", "started", "1", "1"],
        ["2026-03-01T12:00:03Z", "failed", "1", "2"],
    ]
    assert done.out.splitlines()[-1].endswith("E: \N{REPLACEMENT CHARACTER}[31m [bold]no")
    assert [event["event"] for event in cli("events", job_id, "-o", "json").json["events"]] == ["enqueued", "started", "failed"]


def test_events_that_are_no_longer_kept_are_missed_aloud(cli: Cli) -> None:
    job_id = cli.has(history=(history_entry("snoozed", NOW, 0, "1 s"),) * 40)
    assert cli("events", job_id).err == "There was more; a record keeps its newest entries.\n"
    assert cli("events", "0197a000-0000-7000-8000-000000000009").code == 3


# ---------------------------------------------------------------------------------------------------- why


def test_why_is_one_line(cli: Cli) -> None:
    paused = cli("why", cli.has(letter="1"))
    assert (paused.code, paused.err) == (0, "")
    assert paused.out == "pending: Its queue 'emails' is paused: it starts after the queue is resumed.\n"
    dead = cli.has(letter="2", status=Status.DEAD, attempts=3, completed_at=NOW, error="E: \x1b[31mno")
    assert cli("why", dead).out == (
        "dead: It is dead since 2026-03-01T12:00:00Z, after 3 attempts: E: \N{REPLACEMENT CHARACTER}[31mno. A retry runs it again.\n"
    )
    assert cli("why", dead, "-o", "json").json["code"] == "dead"
    assert cli("why", "0197a000-0000-7000-8000-000000000009").code == 3
