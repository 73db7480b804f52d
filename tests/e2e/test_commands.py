"""`make demo` and `make dev`, beside the deployment that the other tests use: each with a port of its own."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from jobline.local_aws import ROOT, free_port
from tests.e2e.checkout import copy_checkout, make, press_ctrl_c, wait_for_note
from tests.e2e.client import Client
from tests.e2e.test_local_aws import listens
from tests.e2e.test_readme import add_the_new_job, commands, run_line

SHOWN = (
    *("send_email", "send_sms", "push_notification", "batch_newsletter", "image_resize", "video_transcode", "pdf_generate", "data_import"),
    *("sync_to_crm", "webhook_delivery", "api_polling", "payment_process"),
    *("daily_report", "cache_warm", "data_cleanup", "subscription_renewal"),
)


def test_the_demo_runs_to_its_end_and_stops_everything(checkout: Path) -> None:
    port = free_port()
    with make("demo", checkout, port) as demo:
        output, _ = demo.communicate(timeout=240)
    assert demo.returncode == 0, output
    ended = dict(re.findall(r"^│ (\w+) +│ ([\w →]+?) +│ +\d+ │ +\d+\.\d\d │", output, re.MULTILINE))
    assert ended == dict.fromkeys(SHOWN, "done") | {"echo": "done", "fail": "dead → done"}, output
    for said in ("dead → retried by hand → pending", "Everything is stopped"):
        assert said in output, output
    assert not listens(port)


class Second(NamedTuple):
    """A second checkout, with README's new job and queue in it, and `make dev` running there."""

    checkout: Path
    client: Client


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Second]:
    """One deployment for all tests of it; afterwards Ctrl-C must have stopped everything."""
    checkout = copy_checkout(tmp_path_factory.mktemp("second") / "copy")
    add_the_new_job(checkout)
    port, note = free_port(), checkout / ".jobline" / "local.json"
    with make("dev", checkout, port) as dev:
        try:
            yield Second(checkout, Client(wait_for_note(note)["api_url"]))
        finally:
            press_ctrl_c(dev, within=120)  # removing what ministack unpacked takes a busy disk its time
    assert not note.exists()
    assert not listens(port)


def test_a_seventeenth_job_and_its_queue_are_added_as_readme_says(second: Second) -> None:
    """With one handler and one table: what README shows is all that was written."""
    before, after = (tomllib.loads((root / "queues.toml").read_text())["queues"] for root in (ROOT, second.checkout))
    (queue,) = after.keys() - before.keys()
    for line in commands("Add a job"):
        ran = run_line(line, second.checkout, PYTHONPATH=str(second.checkout))
        assert ran.returncode == 0, f"{line}: {ran.stdout}{ran.stderr}"
    (job,) = second.client.call("GET", f"/jobs?queue={queue}").body["jobs"]
    ended = second.client.end_of(job["id"])
    assert (ended["type"], ended["status"], ended["result"]) == ("greet", "done", {"greeting": "Hello, Ada!"})
    refused = second.client.call("POST", "/jobs", {"queue": queue, "type": "greet", "payload": {"nom": "Ada"}})
    assert refused.status == 422, refused


def test_two_checkouts_run_side_by_side(client: Client, second: Second) -> None:
    theirs = second.client
    job_id = theirs.enqueue("diagnostics", "echo", "mine")
    assert theirs.end_of(job_id)["result"] == "mine"
    assert client.call("GET", f"/jobs/{job_id}").status == 404
    assert client.end_of(client.enqueue("diagnostics", "echo", "yours"))["status"] == "done"


def test_a_change_is_deployed(second: Second) -> None:
    echo, theirs = second.checkout / "functions" / "diagnostics" / "echo.py", second.client
    echo.write_text(echo.read_text().replace("return payload", 'return ["changed", payload]'))
    deadline = time.monotonic() + 60
    while theirs.end_of(theirs.enqueue("diagnostics", "echo", 1))["result"] != ["changed", 1]:
        assert time.monotonic() < deadline, "the change was not deployed"
        time.sleep(0.5)
