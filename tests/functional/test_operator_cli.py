"""The operators' commands against the real API behind a real HTTP server that checks signatures."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest

from jobline.job import Status
from tests.command_line import Cli
from tests.factories import NOW


def test_pause_and_resume_say_what_happens_and_when(cli: Cli) -> None:
    paused = cli("pause", "emails")
    assert (paused.code, paused.err) == (0, "")
    assert paused.out.startswith("paused emails. Jobs stop starting within about a minute")
    assert cli.client.paused == {"emails"}
    assert cli("resume", "emails").out.startswith("resumed emails.")
    assert cli.client.paused == set()
    assert cli("pause", "emails", "-o", "json").json["paused"] is True


@pytest.mark.parametrize(("line", "code"), [("pause operations", 5), ("pause email", 3), ("resume ../jobs", 3), ("pause emails images", 2)])
def test_what_cannot_be_paused_is_one_line_and_one_exit_code(cli: Cli, line: str, code: int) -> None:
    result = cli(*line.split())
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)


# ---------------------------------------------------------------------------------------------------- purge and redrive


def ends(cli: Cli, status: Status, **fields: Any) -> None:
    """Plays the operations worker: the next operation is over as soon as it is there."""

    def play() -> None:
        jobs = cli.client.store.jobs
        for _ in range(200):
            for id, job in list(jobs.items()):
                if job.queue == "operations" and not job.over:
                    jobs[id] = replace(job, status=status, completed_at=NOW, **fields)
                    return
            time.sleep(0.05)

    Thread(target=play, daemon=True).start()


def asked(cli: Cli) -> dict[str, Any]:
    [job] = [job for job in cli.client.store.jobs.values() if job.queue == "operations"]
    return dict(json.loads(job.payload)) | {"": job.type}


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)


def test_the_brief_s_own_purge_asks_at_a_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    at_a_terminal(monkeypatch, "n\n")
    refused = cli("purge", "emails", "--status", "failed")
    assert refused.code == 130 and "delete what is over in emails: status failed?" in refused.err
    assert cli.client.store.jobs == {}

    at_a_terminal(monkeypatch, "y\n")
    ends(cli, Status.DONE, result='{"dry_run":false,"cancelled":2,"deleted":120}')
    done = cli("purge", "emails", "--status", "failed")
    assert (done.code, done.out) == (0, "purge emails: 2 cancelled, 120 deleted\n")
    assert asked(cli) == {"": "purge", "queue": "emails", "status": "failed"}


def test_where_nobody_can_be_asked_a_purge_needs_its_yes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    refused = cli("purge", "emails", "--status", "failed")
    assert (refused.code, refused.out) == (2, "") and "--yes" in refused.err and refused.err.count("\n") == 1
    assert cli.client.store.jobs == {}
    assert cli("purge", "emails", "--status", "failed", "--yes", "--no-wait").code == 0
    assert asked(cli)["status"] == "failed"


def test_every_filter_is_sent(cli: Cli) -> None:
    line = "--status failed --type send_email --error TimeoutError: --before 2026-01-31T09:30:00Z --limit 7 --rate 0.5 --dry-run --no-wait"
    assert cli("purge", "emails", *line.split()).code == 0
    assert asked(cli) == {
        "": "purge",
        "queue": "emails",
        "status": "failed",
        "type": "send_email",
        "error": "TimeoutError:",
        "before": "2026-01-31T09:30:00Z",
        "limit": 7,
        "rate": 0.5,
        "dry_run": True,
    }


def test_redrive_takes_the_dead_unless_told_otherwise_and_shows_what_it_did(cli: Cli) -> None:
    ends(cli, Status.DONE, result='{"dry_run":false,"retried":3}')
    assert cli("redrive", "emails").out == "redrive emails: 3 retried\n"
    assert asked(cli) == {"": "redrive", "queue": "emails", "status": "dead"}
    cli.client.store.jobs.clear()
    ends(cli, Status.DONE, result='{"dry_run":true}')
    assert cli("redrive", "emails", "--dry-run").out == "redrive emails (dry run: nothing was changed): no job fits\n"


def test_an_operation_that_did_not_work_is_told_and_exits_otherwise(cli: Cli) -> None:
    ends(cli, Status.DEAD, error="Unavailable: throttled")
    result = cli("redrive", "emails")
    assert result.code == 6 and "dead Unavailable: throttled" in result.out
    cli.client.store.jobs.clear()
    ends(cli, Status.DONE, result='{"dry_run":false,"retried":3}')
    assert cli("redrive", "emails", "-o", "json").json["result"] == {"dry_run": False, "retried": 3}


@pytest.mark.parametrize(
    ("line", "code"),
    [("purge email --yes", 3), ("redrive emails --status done", 2), ("redrive emails --before soon", 2), ("purge .. --yes", 3)],
)
def test_a_wrong_operation_is_one_line_and_one_exit_code(cli: Cli, line: str, code: int) -> None:
    result = cli(*line.split())
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)
