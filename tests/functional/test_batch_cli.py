"""`jobs batch` against the real API behind a real HTTP server."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from jobline.job import Status
from tests.command_line import Cli

REQUEST = '{"queue":"emails","type":"send_email","payload":{"to":"ops@example.com"}}'


def lines(cli: Cli, *texts: str) -> str:
    path = cli.folder / "members.jsonl"
    path.write_text("\n".join(texts) + "\n")
    return f"@{path}"


def end(cli: Cli, batch_id: str, status: Status, **counts: int) -> None:
    """Lets the batch's own job be over, as its worker does."""
    jobs = cli.client.store.jobs
    checkpoint = json.dumps({"made": 2, "counts": counts})
    jobs[batch_id] = replace(
        jobs[batch_id], status=status, completed_at=jobs[batch_id].created_at, checkpoint=checkpoint, error="Broken: no"
    )


def test_payloads_in_a_file_become_members(cli: Cli) -> None:
    source = lines(cli, '{"to":"ada@example.com"}', "", '{"to":"bob@example.com", "sizes": [1]}')
    made = cli("batch", "create", source, "--queue", "emails", "--type", "send_email", "--on-success", REQUEST, "--name", "two")
    assert (made.code, made.err) == (0, "")
    assert "two" in made.out and "2 unmade" in made.out and made.out.count("send_email") == 2
    (stored,) = cli.client.store.jobs.values()
    assert stored.type == "batch" and '{"to":"bob@example.com", "sizes": [1]}' in stored.payload


def test_requests_in_a_file_become_members_and_the_queue_is_that_of_those_that_name_none(cli: Cli) -> None:
    source = lines(cli, '{"type":"send_sms"}', '{"queue":"images","type":"image_resize","payload":{"w":1.0}}')
    made = cli("batch", "create", source, "--queue", "emails", "-o", "json")
    assert made.code == 0
    assert [(each["queue"], each["type"]) for each in made.json["jobs"]] == [("emails", "send_sms"), ("images", "image_resize")]
    (stored,) = cli.client.store.jobs.values()
    assert '{"w":1.0}' in stored.payload


def test_the_same_key_makes_no_second_batch(cli: Cli) -> None:
    source = lines(cli, REQUEST)
    first = cli("batch", "create", source, "--idempotency-key", "k", "-o", "name")
    again = cli("batch", "create", source, "--idempotency-key", "k", "-o", "name")
    assert (first.code, first.out) == (again.code, again.out)
    assert len(cli.client.store.jobs) == 1


def test_one_line_that_is_wrong_is_named_and_nothing_is_made(cli: Cli) -> None:
    made = cli("batch", "create", lines(cli, REQUEST, '{"to":5}'), "--queue", "emails")
    assert (made.code, made.out) == (2, "")
    assert "jobs/1" in made.err
    assert cli.client.store.jobs == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("batch", "create", "members.jsonl"), "@file"),
        (("batch", "create", "@nowhere.jsonl"), "cannot be read"),
        (("batch", "create", "@nowhere.jsonl", "--type", "send_email"), "--queue"),
        (("batch", "show", "0197a000-0000", "--timeout", "1m"), "--wait"),
        (("batch", "show", "0197a000-0000", "--wait", "--timeout", "soon"), "--timeout"),
    ],
)
def test_a_mistake_is_usage(cli: Cli, arguments: tuple[str, ...], says: str) -> None:
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert says in result.err


@pytest.mark.parametrize("id", ["0197a000-0000", "../jobs", "0197a000-0000-7000-8000-00000000000a"])
def test_what_is_no_batch_is_not_found(cli: Cli, id: str) -> None:
    cli.has()
    assert cli("batch", "show", id).code == 3


def test_a_batch_is_shown_by_the_beginning_of_its_id_and_its_jobs_by_name_for_the_next_command(cli: Cli) -> None:
    id = cli("batch", "create", lines(cli, REQUEST, REQUEST), "-o", "name").out.strip()
    shown = cli("batch", "show", id[:13], "-o", "json").json
    assert (shown["id"], shown["status"]) == (id, "open")
    assert cli("batch", "show", id, "-o", "name").out.split() == [each["id"] for each in shown["jobs"]]


@pytest.mark.parametrize(
    ("status", "counts", "code"),
    [(Status.DONE, {"done": 2}, 0), (Status.DONE, {"done": 1, "dead": 1}, 6), (Status.DEAD, {}, 6), (Status.CANCELLED, {}, 6)],
)
def test_who_waits_learns_by_the_exit_code_how_it_ended(cli: Cli, status: Status, counts: dict[str, int], code: int) -> None:
    id = cli("batch", "create", lines(cli, REQUEST, REQUEST), "-o", "name").out.strip()
    end(cli, id, status, **counts)
    assert cli("batch", "show", id, "--wait").code == code
    assert cli("batch", "show", id).code == 0


def test_who_waits_in_vain_is_told(cli: Cli) -> None:
    id = cli("batch", "create", lines(cli, REQUEST), "-o", "name").out.strip()
    result = cli("batch", "show", id, "--wait", "--timeout", "0")
    assert (result.code, "open" in result.out) == (7, True)
    assert "The time was over" in result.err
