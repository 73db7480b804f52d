"""Many jobs from a file: in chunks, each safe to repeat."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from tests.command_line import Cli
from tests.http_api import Received

LINE = ("enqueue", "emails", "send_email", "--payloads", "@mails.jsonl")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobline.cli.many.time.sleep", lambda seconds: None)


def mails(folder: Path, count: int, *, end: str = "") -> None:
    (folder / "mails.jsonl").write_text("".join(f'{{"to": "{number}"}}\n' for number in range(count)) + end)


def recipients(cli: Cli) -> list[int]:
    return sorted(int(json.loads(job.payload or "")["to"]) for job in cli.client.store.jobs.values())


def test_each_line_becomes_a_job(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobline.cli.many.LARGEST_CHUNK", 10)
    mails(cli.folder, 25, end="\n")
    done = cli(*LINE, "--priority", "2", "--tag", "newsletter")
    assert (done.code, done.out, done.err) == (0, "send_email on emails: 25 enqueued\n", "")
    assert [len(json.loads(request.body)["jobs"]) for request in cli.api.received] == [10, 10, 5]
    assert recipients(cli) == list(range(25))
    assert {(job.priority, job.tags) for job in cli.client.store.jobs.values()} == {(2, ("newsletter",))}


def test_the_same_key_again_makes_only_what_is_not_there(cli: Cli) -> None:
    mails(cli.folder, 3)
    cli(*LINE, "--idempotency-key", "news")
    mails(cli.folder, 5)
    again = cli(*LINE, "--idempotency-key", "news")
    assert again.out == "send_email on emails: 2 enqueued, 3 already there\n"
    assert recipients(cli) == [0, 1, 2, 3, 4]
    other = cli(*LINE)
    assert (other.out, len(cli.client.store.jobs)) == ("send_email on emails: 5 enqueued\n", 10)


def test_a_chunk_whose_answer_is_lost_is_sent_again_and_makes_each_job_once(cli: Cli) -> None:
    mails(cli.folder, 3)

    def answer(request: Received) -> tuple[int, str]:
        told = cli.client.call("POST", "/jobs/batch", request.body)
        if len(cli.api.received) == 1:
            raise ConnectionAbortedError
        return told.status, told.text

    cli.api.answer = answer
    assert cli(*LINE).out == "send_email on emails: 0 enqueued, 3 already there\n"
    assert recipients(cli) == [0, 1, 2]


def test_a_job_that_is_refused_is_named_by_its_line_and_keeps_no_other_out(cli: Cli) -> None:
    (cli.folder / "mails.jsonl").write_text('{"to": "0"}\n{"nonsense": 1}\n\n{"to": "3"}\n')
    done = cli(*LINE)
    assert (done.code, done.out) == (2, "send_email on emails: 2 enqueued, 1 refused\n")
    assert done.err.startswith("jobs: line 2: ")
    assert recipients(cli) == [0, 3]


def test_a_line_that_is_no_json_ends_it_and_says_how_to_go_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobline.cli.many.LARGEST_CHUNK", 2)
    mails(cli.folder, 3, end="{\n")
    done = cli(*LINE, "--idempotency-key", "news")
    assert done.code == 2
    assert "2 jobs are enqueued. --idempotency-key news enqueues the rest" in done.err
    assert "line 4" in done.err
    mails(cli.folder, 4)
    assert cli(*LINE, "--idempotency-key", "news").out == "send_email on emails: 2 enqueued, 2 already there\n"


def test_payloads_come_from_standard_input_and_ids_go_to_the_next_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"to": "1"}\n{"to": "2"}')))
    done = cli("enqueue", "emails", "send_email", "--payloads", "-", "-o", "name")
    assert sorted(done.out.split()) == sorted(cli.client.store.jobs)


@pytest.mark.parametrize(
    ("option", "word"),
    [("@missing.jsonl", "cannot be read"), ("@.", "cannot be read"), ("mails.jsonl", "@file"), ("@mails.jsonl --payload 1", "one or")],
)
def test_payloads_that_cannot_be_read_are_one_line(cli: Cli, option: str, word: str) -> None:
    mails(cli.folder, 1)
    done = cli("enqueue", "emails", "send_email", "--payloads", *option.split())
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert word in done.err
