"""The command line against the real API behind a real HTTP server that checks signatures."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobline.cli.app import SECTIONS, Later
from jobline.job import Status
from tests.command_line import Cli
from tests.factories import NOW

# ---------------------------------------------------------------------------------------------------- the brief's own lines


def test_the_brief_s_own_lines_work(cli: Cli) -> None:
    done = cli("enqueue", "emails", "send_email", "--payload", '{"to":"..."}')
    assert (done.code, done.err) == (0, "")
    [job] = cli.client.store.jobs.values()
    assert done.out == f"enqueued {job.id} send_email on emails: pending\n"
    assert job.payload == '{"to":"..."}'

    failed = cli.has(status=Status.FAILED, error="ConnectionError: Connection refused", attempts=1, attention_at=NOW)
    assert "ConnectionError: Connection refused" in cli("status", failed).out
    assert [line.split()[0] for line in cli("list", "emails", "--status", "failed").out.splitlines()] == ["ID", failed]
    assert cli("retry", failed).out == f"retried {failed} send_email on emails: pending\n"


# ---------------------------------------------------------------------------------------------------- enqueue


def test_enqueue_sends_what_the_options_say(cli: Cli) -> None:
    more = "--delay 10m --priority 2 --max-attempts 7 --timeout 20s --idempotency-key order-1 --tag a --tag b --group g --expires-in 1h"
    more += ' --retry {"backoff":"fixed"} --unique k --unique-for 1d --unique-until start --on-conflict reject'
    assert cli("enqueue", "emails", "send_email", "--payload", '{"to":"x"}', *more.split()).code == 0
    assert cli.api.last_body == {
        "queue": "emails",
        "type": "send_email",
        "payload": {"to": "x"},
        "delay": "10m",
        "priority": 2,
        "max_attempts": 7,
        "timeout": "20s",
        "idempotency_key": "order-1",
        "tags": ["a", "b"],
        "group": "g",
        "expires_in": "1h",
        "retry": {"backoff": "fixed"},
        "unique": {"key": "k", "for": "1d", "until": "start", "on_conflict": "reject"},
    }


def test_enqueue_says_in_which_order_a_job_stands(cli: Cli) -> None:
    assert cli("enqueue", "letters", "send_email", "--payload", '{"to":"x"}', "--ordering-key", "ada").code == 0
    assert cli.api.last_body["ordering_key"] == "ada"


def test_enqueue_leaves_to_the_api_what_no_option_says(cli: Cli) -> None:
    cli("enqueue", "images", "image_resize")
    assert cli.api.last_body == {"queue": "images", "type": "image_resize", "payload": {}}


def test_a_start_time_is_sent_and_shown(cli: Cli) -> None:
    done = cli("enqueue", "emails", "send_email", "--payload", '{"to":"x"}', "--at", "2026-03-01T12:10:00Z")
    assert done.out.endswith("pending, due 2026-03-01T12:10:00Z\n")


def test_a_payload_arrives_as_it_was_written(cli: Cli) -> None:
    text = '{"a":1.0,"b":1e2,"c":123456789012345678901234567890,"d":"\\u00e9é"}'
    cli("enqueue", "images", "image_resize", "--payload", text)
    assert text.encode() in cli.api.last.body


def test_a_payload_comes_from_a_file_or_from_standard_input(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (cli.folder / "mail.json").write_text('{"to": "file"}\n')
    assert cli("enqueue", "emails", "send_email", "--payload", "@mail.json").code == 0
    assert cli.api.last_body["payload"] == {"to": "file"}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"to": "pipe"}')))
    assert cli("enqueue", "emails", "send_email", "--payload", "-").code == 0
    assert cli.api.last_body["payload"] == {"to": "pipe"}


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        ("{", "byte 1"),
        ('{"a": NaN}', "NaN"),
        ('{"a":1,"a":2}', "a"),
        ("", "empty"),
        ("@missing.json", "cannot be read"),
        ("@.", "cannot be read"),
    ],
)
def test_a_payload_that_cannot_be_sent_is_a_usage_error_in_one_line(cli: Cli, payload: str, word: str) -> None:
    done = cli("enqueue", "emails", "send_email", "--payload", payload)
    assert (done.code, done.out) == (2, "")
    assert word in done.err
    assert done.err.count("\n") == 1
    assert cli.api.received == []


def test_the_same_idempotency_key_says_that_the_job_was_there(cli: Cli) -> None:
    line = ("enqueue", "emails", "send_email", "--payload", '{"to":"x"}', "--idempotency-key", "k")
    assert cli(*line).out.startswith("enqueued ")
    assert cli(*line).out.startswith("already enqueued ")
    other = cli("enqueue", "emails", "send_email", "--payload", '{"to":"y"}', "--idempotency-key", "k")
    assert other.code == 5


def test_a_unique_job_says_that_it_was_there_or_who_is_in_the_way(cli: Cli) -> None:
    line = ("enqueue", "emails", "send_email", "--payload", '{"to":"x"}', "--unique-by", "to")
    assert cli(*line).out.startswith("enqueued ")
    assert cli.api.last_body["unique"] == {"keys": ["to"]}
    assert cli(*line).out.startswith("already enqueued ")
    [job] = cli.client.store.jobs.values()
    other = cli(*line, "--on-conflict", "reject")
    assert (other.code, job.id in other.err) == (5, True)


def test_a_retry_policy_that_is_no_json_is_a_usage_error(cli: Cli) -> None:
    done = cli("enqueue", "emails", "send_email", "--payload", '{"to":"x"}', "--retry", "fixed")
    assert (done.code, "--retry" in done.err, cli.api.received) == (2, True, [])


def test_every_field_that_is_wrong_is_named(cli: Cli) -> None:
    done = cli("enqueue", "emails", "send_email", "--payload", '{"sizes":1}', "--delay", "soon")
    assert done.code == 2
    done = cli("enqueue", "emails", "send_email", "--payload", '{"sizes":1}')
    assert done.code == 2
    assert "to" in done.err
    assert "/payload/sizes" in done.err


# ---------------------------------------------------------------------------------------------------- status, list


def test_status_shows_what_is_known_of_a_job(cli: Cli) -> None:
    job_id = cli.has(
        status=Status.DONE,
        attempts=2,
        started_at=NOW,
        completed_at=NOW,
        result='{"message_id":"m-1"}',
        tags=("vip",),
        progress='{"percent":50,"note":"half"}',
    )
    out = cli("status", job_id).out
    for word in (
        job_id,
        "send_email",
        "done",
        "2 of 3",
        '{"message_id":"m-1"}',
        '{"to":"ada@example.com"}',
        "vip",
        "50 % half",
        "2026-03-01T12:00:00Z",
    ):
        assert word in out
    assert "error" not in out


def test_status_takes_the_beginning_of_an_id(cli: Cli) -> None:
    job_id = cli.client.enqueue()["id"]
    assert job_id in cli("status", job_id[:13]).out


def test_a_job_cannot_steer_the_terminal(cli: Cli) -> None:
    job_id = cli.has(status=Status.DEAD, error="\x1b[2J\x1b]0;title\x07 [bold]boo[/bold] :smile: \r\nok")
    out = cli("status", job_id).out
    assert "\x1b" not in out
    assert "\r" not in out
    assert "[bold]boo[/bold] :smile:" in out


def test_a_long_error_is_cut_nowhere_when_nobody_sits_at_a_terminal(cli: Cli) -> None:
    job_id = cli.has(status=Status.DEAD, error="x" * 2000, completed_at=NOW, attention_at=NOW)
    assert "x" * 2000 in cli("status", job_id).out
    out = cli("list", "emails", "--status", "dead").out
    assert "x" * 2000 in out
    assert [line for line in out.splitlines() if line != line.rstrip()] == []


def test_list_goes_from_page_to_page_until_it_has_enough(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobline.cli.list_command.LONGEST_PAGE", 10)
    ids = [cli.client.enqueue()["id"] for _ in range(25)]
    listed = cli("list", "emails", "--limit", "23", "-o", "json")
    assert len(listed.json) == 23
    assert {job["id"] for job in listed.json} < set(ids)
    assert [request.method for request in cli.api.received] == ["GET"] * 3
    every = cli("list", "emails", "--limit", "100")
    assert all(job_id in every.out for job_id in ids)
    assert every.err == ""
    assert cli("list", "emails", "--limit", "3").err == "There are more; --limit shows them.\n"


def test_list_sends_its_filters(cli: Cli) -> None:
    assert cli("list", "emails", "--status", "retrying", "--type", "send_email").code == 0
    assert "queue=emails&status=retrying&type=send_email&limit=20" in cli.api.last.target
    wrong = cli("list", "emails", "--status", "sleeping")
    assert (wrong.code, "retrying" in wrong.err) == (2, True)


# ---------------------------------------------------------------------------------------------------- retry, cancel, stats


def test_one_job_s_trouble_keeps_no_other_waiting(cli: Cli) -> None:
    first, second, running = (
        cli.has(letter="1", status=Status.DEAD),
        cli.has(letter="2", status=Status.DEAD),
        cli.has(letter="3", status=Status.RUNNING),
    )
    done = cli("retry", first, running, second)
    assert done.code == 5
    assert [line.split()[1] for line in done.out.splitlines()] == [first, second]
    assert "running" in done.err
    assert done.err.count("\n") == 1


def test_cancel_says_whether_the_job_is_cancelled_or_was_asked_to_stop(cli: Cli) -> None:
    waiting, running = cli.has(letter="1"), cli.has(letter="2", status=Status.RUNNING, token=1)
    done = cli("cancel", waiting, running)
    assert done.out.splitlines() == [f"cancelled {waiting}", f"cancel requested; it is running and may still end done: {running}"]
    assert cli("cancel", waiting, running, "-o", "json").json == [
        {"id": waiting, "cancelled": True},
        {"id": running, "cancel_requested": True},
    ]
    over = cli.has(letter="3", status=Status.DONE)
    assert cli("cancel", over).code == 5


def test_stats_shows_a_queue_s_numbers_with_their_units(cli: Cli) -> None:
    out = cli("stats", "emails").out
    for words in (
        "emails  (paused)",
        "1523",
        "5  (3 retrying, 2 dead)",
        "2.3 s average, 2 h 95th percentile",
        "- average",
        "61 s",
        "0.0667/s in",
        "3.1% of attempts",
    ):
        assert words in out


def test_json_is_what_the_api_answered(cli: Cli) -> None:
    job_id = cli.has(payload='{"to":1.0,"n":12345678901234567890123}', result="1e2", status=Status.DEAD)
    shown = cli("status", job_id, "-o", "json").out
    assert "1.0" in shown
    assert "12345678901234567890123" in shown
    assert "1e2" in shown
    assert cli("retry", job_id, "-o", "json").json[0]["status"] == "pending"
    assert cli("stats", "emails", "--output", "json").json["pending"] == 1523
    assert cli("enqueue", "emails", "send_email", "--payload", '{"to":"x"}', "-o", "json").json["status"] == "pending"


# ---------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("line", "code", "word"),
    [
        ("status 0197a000-0000-7000-8000-000000000009", 3, "no job"),
        ("status ../queues", 3, "no job id"),
        ("retry %2e%2e", 3, "no job id"),
        ("status abc", 3, "no job id"),
        ("stats emial", 3, "no queue"),
        ("stats a/b", 3, "no queue"),
        ("list emial", 3, "did you mean 'emails'"),
        ("enqueue emial send_email", 3, "did you mean 'emails'"),
        ("enqueue emails send_emial", 3, "did you mean 'send_email'"),
        ("enqueue emails send_email", 2, "to"),
        ("enqueue emails send_email --priority 11", 2, "--priority"),
        ("enqueue emails send_email --nonsense", 2, "--nonsense"),
        ("enqueue emails", 2, "TYPE"),
        ("enqeue emails send_email", 2, "enqueue"),
        ("list emails -o yaml", 2, "yaml"),
    ],
)
def test_each_thing_that_goes_wrong_is_one_line_and_one_exit_code(cli: Cli, line: str, code: int, word: str) -> None:
    done = cli(*line.split())
    assert (done.code, done.out) == (code, "")
    assert word in done.err
    assert done.err.startswith("jobs: ")
    assert done.err.count("\n") == 1


def test_an_id_that_several_jobs_begin_with_names_them(cli: Cli) -> None:
    ids = [cli.client.enqueue()["id"] for _ in range(2)]
    done = cli("status", ids[0][:13])
    assert done.code == 5
    assert [line.strip() for line in done.err.splitlines()[1:]] == ids


@pytest.mark.parametrize(
    ("status", "text", "code", "word"),
    [
        (403, '{"message":"Forbidden"}', 4, "execute-api:Invoke"),
        (404, '{"message":"Not Found"}', 1, "Is the URL right"),
        (200, "<html>", 1, "Is it the URL of a Jobline API"),
        (200, "{}", 1, "Is the URL right"),
        (200, "[]", 1, "Is the URL right"),
        (500, "oops", 1, "status 500"),
        (503, '{"message":"Service Unavailable"}', 1, "503"),
        (429, '{"message":"Too Many Requests"}', 1, "Try again"),
        (404, json.dumps({"type": "x", "detail": "bad \x1b[31m\nnews"}), 3, "bad  [31m news"),
    ],
)
def test_what_others_answer_in_the_api_s_place_is_one_line_too(cli: Cli, status: int, text: str, code: int, word: str) -> None:
    cli.api.answer = lambda request: (status, text)
    for line in ("stats emails", "list emails", "status 0197a000", "enqueue emails send_email"):
        done = cli(*line.split())
        assert (done.code, done.out) == (code, ""), done
        assert word in done.err
        assert done.err.count("\n") == 1


def test_a_wrong_signature_is_not_allowed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobline.local_aws.SECRET", "wrong")
    assert cli("stats", "emails").code == 4


def test_names_with_odd_characters_are_signed_as_they_are_sent(cli: Cli) -> None:
    done = cli("list", "emails", "--tag", "a b&c=d/é+%41")
    assert (done.code, done.err) == (0, "No jobs.\n")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://127.0.0.1:9", "Connection refused. Is `make dev` running?"),
        ("http://no-such-host.invalid", "Cannot reach"),
        ("nonsense", "not the URL of an API"),
    ],
)
def test_a_wrong_url_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch, url: str, word: str) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-west-1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    done = cli("--api-url", url, "stats", "emails")
    assert (done.code, done.out) == (1, "")
    assert word in done.err
    assert done.err.count("\n") == 1
    monkeypatch.setenv("JOBS_API_URL", url)
    assert cli("stats", "emails") == done


def test_a_server_that_hangs_up_is_one_line(cli: Cli) -> None:
    def hang_up(request: Any) -> tuple[int, str]:
        raise ConnectionAbortedError

    cli.api.answer = hang_up
    done = cli("stats", "emails")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "Cannot reach" in done.err


def test_a_defect_of_ours_is_one_line_unless_it_is_asked_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobline.cli.screen.show_stats", lambda *_: 1 / 0)
    done = cli("stats", "emails")
    assert (done.code, done.err) == (1, "jobs: This is a defect of jobs: ZeroDivisionError: division by zero (JOBS_DEBUG=1 shows where)\n")
    monkeypatch.setenv("JOBS_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli("stats", "emails")


def test_ctrl_c_ends_with_130_and_without_a_word(cli: Cli) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobline.connection.Connection.request", interrupted)
        assert cli("stats", "emails") == (130, "", "")


# ---------------------------------------------------------------------------------------------------- as a process


def jobs(cli: Cli, *arguments: str) -> list[str]:
    return [sys.executable, "-c", "from jobline.cli import main; main()", *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONWARNINGS": "error"}


def test_a_reader_who_has_seen_enough_ends_it_quietly(cli: Cli) -> None:
    for _ in range(30):
        cli.client.enqueue(tags=["x" * 60] * 3)
    command = subprocess.Popen(
        jobs(cli, "list", "emails", "-o", "json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cli.folder, env=environment()
    )
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.close()
    assert command.stderr.read() == b""
    command.stderr.close()
    assert command.wait() == 0


def imported(cli: Cli, *arguments: str) -> set[str]:
    """The modules that a command needs, by the interpreter's own account."""
    code = f"import sys; from jobline.cli import run; run({list(arguments)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cli.folder, env=environment(), check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_nothing_heavy_is_imported_before_it_is_needed(cli: Cli) -> None:
    for line in ("--help", "stats --help", "enqueue emails send_email --payload {", "config --help"):
        assert not {"boto3", "botocore", "httpx2", "rich", "pydantic", "jobline.connection"} & imported(cli, *line.split()), line
    for line in ("stats emails", "list emails --limit 3", "enqueue emails send_email --priority 2 --tag a --retry {}"):
        needed = imported(cli, *line.split())
        assert not {"boto3", "botocore.session", "pydantic"} & needed, line


def test_commands_start_within_a_budget_of_modules(cli: Cli) -> None:
    """Modules, not seconds: they can be counted. The CPU time that goes with them is in CHANGELOG."""
    assert len(imported(cli, "--help")) <= 240
    assert len(imported(cli, "enqueue", "--help")) <= 300
    assert len(imported(cli, "stats", "emails", "-o", "name")) <= 520
    assert len(imported(cli, "list", "emails")) <= 560


def test_help_is_there_for_every_command(cli: Cli) -> None:
    for line in ([], *([command] for commands in SECTIONS.values() for command in commands)):
        done = cli(*line, "--help")
        assert (done.code, done.err) == (0, "")
        assert "Usage: jobs" in done.out


def test_the_list_of_commands_says_what_the_commands_say_themselves() -> None:
    for commands in SECTIONS.values():
        for name, (module, summary) in commands.items():
            assert (Later(name, module, summary).load().help or "").partition("\n")[0] == summary


def test_exit_codes_are_in_the_help(cli: Cli) -> None:
    told = cli("--help").out
    assert all(re.search(rf"^  {code} +\S", told, re.MULTILINE) for code in (0, 1, 2, 3, 4, 5, 6, 7, 130))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_a_letter_is_shown_its_number(cli: Cli, encoding: str) -> None:
    job_id = cli.has(status=Status.DEAD, error="Ошибка: é", completed_at=NOW, attention_at=NOW)
    for arguments in (("status", job_id), ("list", "emails", "--status", "dead"), ("status", job_id, "-o", "json")):
        done = subprocess.run(
            jobs(cli, *arguments), capture_output=True, cwd=cli.folder, env=environment() | {"PYTHONIOENCODING": encoding}
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert ("Ошибка" if encoding == "utf-8" else "\\u041e") in done.stdout.decode(encoding)


def test_a_closed_stderr_does_not_turn_a_failure_into_another(cli: Cli) -> None:
    command = subprocess.Popen(jobs(cli, "stats", "emial"), stderr=subprocess.PIPE, cwd=cli.folder, env=environment())
    assert command.stderr is not None
    command.stderr.close()
    assert command.wait() == 3


def test_a_server_without_the_tls_that_was_asked_for_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    done = cli("--api-url", cli.api.url.replace("http:", "https:"), "stats", "emails")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "Cannot reach" in done.err


def test_credentials_that_are_not_there_or_broken_are_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (cli.folder / "broken").write_text("[default\n")
    url = "https://abc123.execute-api.eu-west-1.amazonaws.com"
    for name in ("missing", "broken"):
        for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(variable, str(cli.folder / name))
        done = cli("--api-url", url, "stats", "emails")
        assert (done.code, done.out, done.err.count("\n"), "credentials" in done.err) == (1, "", 1, True), done
