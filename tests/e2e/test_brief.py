"""The brief's own lines, as they are written there."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from typing import Any

import pytest

from jobline.local_aws import ROOT
from tests.e2e.client import Client


class CommandLine:
    """The program `jobs`, told where the deployment under test is.

    Without a shell in between: to bash, zsh and dash alike `jobs` is a command of their own.
    """

    def __init__(self, api_url: str) -> None:
        self.api_url = api_url

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = shlex.split(line)
        environment = os.environ | {"JOBS_API_URL": self.api_url, "COLUMNS": "200"}
        command = [f"{ROOT}/.venv/bin/{program}", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)

    def __call__(self, line: str) -> str:
        """What the line prints; it has to succeed."""
        done = self.run(line)
        assert done.returncode == 0, done
        return done.stdout

    def json(self, line: str) -> Any:
        return json.loads(self(f"{line} -o json"))


@pytest.fixture(scope="module")
def jobs(client: Client) -> CommandLine:
    return CommandLine(client.url)


def test_enqueue_with_a_delay_get_cancel_and_retry(client: Client) -> None:
    body = {"queue": "emails", "type": "send_email", "payload": {"to": "user@example.com"}, "delay": 3600}
    job_id = client.call("POST", "/jobs", body).body["id"]
    assert client.call("GET", f"/jobs/{job_id}").body["status"] == "scheduled"
    assert client.call("DELETE", f"/jobs/{job_id}").body["cancelled"] is True

    retried = client.call("POST", f"/jobs/{job_id}/retry")
    assert retried.status == 202
    job = client.end_of(job_id)
    assert job["status"] == "done"
    assert job["result"]["message_id"]


def test_queue_stats_have_the_brief_s_fields(client: Client) -> None:
    stats = client.call("GET", "/queues/emails/stats").body
    assert {"pending", "running", "failed", "avg_wait_time"} <= set(stats)


def test_the_command_line_does_what_the_brief_types(jobs: CommandLine, client: Client) -> None:
    job = jobs.json("""jobs enqueue emails send_email --payload '{"to":"user@example.com"}'""")
    assert client.end_of(job["id"])["status"] == "done"
    assert jobs.json(f"jobs status {job['id']}")["result"]["message_id"]
    # The brief's ids are cut short; whatever is no other job's beginning will do.
    assert jobs.json(f"jobs status {job['id'][:-1]}")["id"] == job["id"]
    assert job["id"] in [listed["id"] for listed in jobs.json("jobs list emails")]
    assert "pending" in jobs.json("jobs stats emails")


def test_a_dead_job_is_listed_and_retried_from_the_command_line(jobs: CommandLine, client: Client) -> None:
    dead = client.enqueue("diagnostics", "fail", {"times": 1}, max_attempts=1)
    assert client.end_of(dead)["status"] == "dead"
    assert dead in [listed["id"] for listed in jobs.json("jobs list diagnostics --status failed")]

    jobs(f"jobs retry {dead}")
    assert client.end_of(dead)["status"] == "done"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("jobs enqueue nowhere echo", "nowhere"),
        ("jobs enqueue diagnostics no_such_type", "no_such_type"),
        ("""jobs enqueue diagnostics sleep --payload '{"seconds": "long"}'""", "seconds"),
        ("jobs --api-url http://127.0.0.1:9/nothing list emails", "Cannot reach"),
    ],
)
def test_what_goes_wrong_is_one_clear_line(jobs: CommandLine, line: str, says: str) -> None:
    done = jobs.run(line)
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
