"""The commands about one job, against the real API behind a real HTTP server that checks signatures."""

from __future__ import annotations

import pytest

from jobline.job import Status
from tests.command_line import Cli
from tests.factories import NOW, seconds

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
