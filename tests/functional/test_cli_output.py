"""What `jobs` prints for other programs, and what it reads from them."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import sys
from typing import Any

import pytest

from jobline.job import Status
from tests.command_line import Cli
from tests.factories import NOW, seconds
from tests.http_api import Received


def stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_names_of_failed_jobs_are_piped_into_a_retry(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = [cli.has(letter=letter, status=Status.DEAD, completed_at=NOW, attention_at=NOW) for letter in "12"]
    names = cli("list", "emails", "--status", "failed", "-o", "name")
    assert sorted(names.out.split()) == dead
    stdin(monkeypatch, names.out)
    retried = cli("retry", "-", "-o", "name")
    assert (retried.code, sorted(retried.out.split())) == (0, dead)
    assert {cli.client.store.jobs[id].status for id in dead} == {Status.PENDING}


def test_ids_of_a_pipe_may_stand_in_front_of_other_words_and_twice(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = cli.has(letter="1"), cli.has(letter="2")
    stdin(monkeypatch, f"\n{first}  send_email\n{first}\n")
    done = cli("cancel", second, "-")
    assert done.out.splitlines() == [f"cancelled {second}", f"cancelled {first}"]


def test_several_jobs_are_shown_together(cli: Cli) -> None:
    first, second = cli.has(letter="1"), cli.has(letter="2", status=Status.DONE)
    assert [line.split()[0] for line in cli("status", first, second).out.splitlines()] == ["ID", first, second]
    assert [job["id"] for job in cli("status", first, second, "-o", "json").json] == [first, second]
    missing = cli("status", first, "0197a000-0000-7000-8000-000000000009")
    assert (missing.code, first in missing.out) == (3, True)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("queues", ["emails", "images", "letters", "operations"]),
        ("types", ["image_resize", "send_email"]),
        ("types send_email", ["send_email"]),
        ("stats emails", ["emails"]),
        ("pause emails", ["emails"]),
    ],
)
def test_everything_that_lists_or_shows_prints_names_lines_and_json(cli: Cli, line: str, names: list[str]) -> None:
    named = cli(*line.split(), "-o", "name")
    assert (named.code, named.err) == (0, "")
    assert set(names) <= set(named.out.split())
    lines = cli(*line.split(), "-o", "jsonl").out.splitlines()
    assert len(lines) == len(named.out.split())
    assert all(isinstance(json.loads(each), dict) for each in lines)
    assert cli(*line.split(), "-o", "json").code == 0


def test_lines_of_json_are_what_the_api_answered(cli: Cli) -> None:
    job_id = cli.has(payload='{"to":1.0,"n":12345678901234567890123}')
    [line] = cli("status", job_id, "-o", "jsonl").out.splitlines()
    assert '"payload":{"to":1.0,"n":12345678901234567890123}' in line.replace(": ", ":").replace(", ", ",")


def test_control_characters_that_json_leaves_alone_are_escaped(cli: Cli) -> None:
    job_id = cli.has(payload='{"to":"\u009b31m\u202e\u007f"}')
    shown = cli("status", job_id, "-o", "json").out
    assert "\\u009b31m\\u202e\\u007f" in shown
    assert json.loads(shown)["payload"]["to"] == "\u009b31m\u202e\u007f"
    assert not {"\u009b", "\u202e", "\u007f"} & set(cli("status", job_id).out)


def test_types_shows_the_schema_of_one(cli: Cli) -> None:
    shown = cli("types", "send_email").json
    assert (shown["name"], "to" in json.dumps(shown["schema"])) == ("send_email", True)
    missing = cli("types", "send_emial")
    assert (missing.code, "send_email" in missing.err) == (3, True)


def test_queues_says_who_serves_them_and_whether_they_are_paused(cli: Cli) -> None:
    cli("pause", "emails")
    [emails] = [line.split() for line in cli("queues").out.splitlines() if line.startswith("emails")]
    assert emails[:3] == ["emails", "yes", "notifications"]


# ---------------------------------------------------------------------------------------------------- watch


def answers(cli: Cli, job_id: str, *statuses: str | int) -> None:
    """One answer after the other: the job in a state, or an error's status."""
    left = list(statuses)

    def answer(request: Received) -> tuple[int, str]:
        status = left.pop(0)
        if isinstance(status, int):
            return status, '{"message":"Service Unavailable"}'
        return 200, json.dumps(cli.client.call("GET", f"/jobs/{job_id}").body | {"status": status})

    cli.api.answer = answer


def test_watching_a_job_prints_each_change_and_ends_with_it(cli: Cli) -> None:
    job_id = cli.has(status=Status.RUNNING, token=1, lease_until=NOW + seconds(30))
    answers(cli, job_id, "pending", "pending", 503, "running", "done")
    done = cli("status", job_id, "--watch", "--every", "0.2", "-o", "jsonl")
    assert [json.loads(line)["status"] for line in done.out.splitlines()] == ["pending", "running", "done"]
    assert (done.code, done.err.count("\n")) == (0, 1)


def test_what_cannot_be_seen_at_all_is_not_watched(cli: Cli) -> None:
    answers(cli, cli.has(), 503)
    assert cli("stats", "emails", "--watch").code == 1
    cli.api.answer = None
    assert cli("stats", "emial", "--watch").code == 3


@pytest.mark.parametrize("line", ["stats emails", "list emails"])
def test_ctrl_c_ends_a_watch(cli: Cli, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    cli.client.enqueue()
    looks: list[float] = []

    def sleep(duration: float) -> None:
        looks.append(duration)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("jobline.cli.watch.time.sleep", sleep)
    done = cli(*line.split(), "--watch", "--every", "0.5", "-o", "jsonl")
    assert (done.code, done.err, looks) == (130, "", [0.5] * 3)
    assert len(done.out.splitlines()) == 1  # nothing changed


def at_a_terminal(arguments: list[str], environment: dict[str, str], folder: Any) -> str:
    """What a command writes to a terminal of 40 columns."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover  another process
        os.chdir(folder)
        os.execve(sys.executable, [sys.executable, "-c", "from jobline.cli import main; main()", *arguments], environment)  # noqa: S606  it is this very program
    written = b""
    try:
        while piece := os.read(terminal, 4096):
            written += piece
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    os.waitpid(pid, 0)
    return written.decode()


@pytest.mark.parametrize("no_colour", [False, True])
def test_at_a_terminal_tables_fit_and_have_colours_unless_nobody_wants_them(cli: Cli, no_colour: bool) -> None:
    job_id = cli.has(status=Status.DONE, token=1, payload='{"to":"\\u001b[2Jx"}')
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color", "COLUMNS": "40"}
    if no_colour:
        environment["NO_COLOR"] = "1"
    written = at_a_terminal(["status", job_id, "--watch"], environment, cli.folder)
    assert "done" in written
    assert "\x1b[2J" not in written
    assert ("\x1b[32m" in written) is not no_colour
    assert all(len(line) <= 40 for line in re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", written).splitlines()), written


def test_long_work_has_a_bar_at_a_terminal_and_nowhere_else(cli: Cli) -> None:
    (cli.folder / "mails.jsonl").write_text('{"to":"x"}\n' * 3)
    line = ["enqueue", "emails", "send_email", "--payloads", "@mails.jsonl"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "COLUMNS": "80"}
    written = at_a_terminal(line, environment, cli.folder)
    assert "enqueue emails" in written
    assert "\u2501" in written
    assert "send_email on emails: 3 enqueued" in written
    assert cli(*line).err == ""
