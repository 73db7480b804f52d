"""README, executed: its commands against the real stack. Its new job and queue test_commands deploys, in a checkout of their own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from jobline.local_aws import ACCOUNT, REGION, ROOT
from jobline.local_stack import LocalStack
from tests.e2e.client import Client

README = (ROOT / "README.md").read_text(encoding="utf-8")
AN_ID = "0197a000-0000"
"""README's job: each command gets one that is fit for it."""
NOT_RUN_HERE = {
    "make demo": "test_commands runs it",
    "make dev": "test_commands runs it",
    "make test": "is what runs this",
    "make deploy STAGE=dev": "needs an AWS account; test_spine deploys the same app with the same CDK",
    "make destroy STAGE=dev": "needs an AWS account",
    ".venv/bin/jobs pause emails": "other tests share the queue: test_operators pauses one, test_operator_cli has the command",
    ".venv/bin/jobs resume emails": "the same",
    ".venv/bin/jobs redrive emails --error TimeoutError: --rate 10": "changes jobs of a queue that other tests share",
    ".venv/bin/jobs purge emails --status failed": "the same, and asks at a terminal",
    ".venv/bin/jobs doctor": "test_doctor calls it; what other tests leave behind here may be a finding",
}
"""Lines of README that no test here runs, and why not."""

PYTHON_RUN_ELSEWHERE = {
    "Test your jobs": "tests/functional/test_docs_of_the_kit.py runs it",
    "Call it": "test_the_client_that_is_shown_prints_its_result runs it",
}
"""Sections whose Python is no file of a new job."""


class Block(NamedTuple):
    """A fenced block: its language, the section it stands in, the file that was last named before it, its text."""

    language: str
    section: str
    file: str | None
    text: str


def blocks() -> Iterator[Block]:
    for fence in re.finditer(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        before = README[: fence.start()]
        sections, files = re.findall(r"^## (.+)$", before, re.MULTILINE), re.findall(r"`([\w/]+\.py)`", before)
        yield Block(fence[1], sections[-1] if sections else "", files[-1] if files else None, fence[2])


def add_the_new_job(checkout: Path) -> None:
    """Does in a checkout what README's "Add a job" says: writes its Python files, and its table at the end of queues.toml, as it stands."""
    for block in blocks():
        if block.language == "python" and block.section not in PYTHON_RUN_ELSEWHERE:
            assert block.section == "Add a job" and block.file is not None, f"nobody here knows what to do with {block}"
            assert not (checkout / block.file).exists(), f"{block.file} is there already"
            (checkout / block.file).write_text(block.text, encoding="utf-8")
    (table,) = (block for block in blocks() if block.language == "toml")
    assert table.section == "Add a job", f"nobody here knows what to do with {table}"
    with (checkout / "queues.toml").open("a", encoding="utf-8") as queues:
        queues.write(f"\n{table.text}")


def words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def commands(*sections: str) -> list[str]:
    """The commands that a test here can run, in these sections, just as they are written."""
    lines = [line for block in blocks() if block.language == "sh" and block.section in sections for line in block.text.splitlines()]
    ours = [line for line in lines if words(line)[:1] in ([".venv/bin/jobs"], [".venv/bin/pytest"])]
    return [line for line in ours if " ".join(words(line)) not in NOT_RUN_HERE]


def curl_lines() -> list[str]:
    """The shell of the section "Call it": a function that signs, and lines that use it."""
    (block,) = (block for block in blocks() if block.language == "sh" and block.section == "Call it")
    return block.text.splitlines()


def test_every_command_is_run_or_listed_with_the_reason_why_not() -> None:
    there = {line for block in blocks() if block.language == "sh" for line in block.text.splitlines() if words(line)}
    run = {*commands("Try it", "Add a job", "Operate it"), *curl_lines()}
    assert {" ".join(words(line)) for line in there - run} == set(NOT_RUN_HERE)
    assert {block.language for block in blocks()} == {"", "sh", "python", "toml"}, "a block in a language that no test here knows"


def run_line(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """One of README's lines, without a shell in between: to a shell `jobs` may be a command of its own."""
    # Without JOBS_API_URL the CLI has to find the deployment by itself, as README says it does.
    given = {name: value for name, value in os.environ.items() if name not in ("JOBS_API_URL", "PYTHONPATH")}
    return subprocess.run(words(line), cwd=folder, env=given | environment, capture_output=True, text=True, timeout=120)


def test_the_commands_to_try_do_what_they_say(client: Client) -> None:
    done = client.enqueue("diagnostics", "echo", 1)
    dead = client.enqueue("diagnostics", "fail", {"times": 1}, max_attempts=1)
    later = [client.enqueue("diagnostics", "echo", 1, delay=3600) for _ in range(2)]
    assert (client.end_of(done)["status"], client.end_of(dead)["status"]) == ("done", "dead")
    of_done = dict.fromkeys(("status", "events", "why", "wait", "replay", "logs"), done)
    fit = of_done | {"retry": dead, "reschedule": later[0], "cancel": later[1]}

    for line in commands("Try it", "Operate it"):
        verb = words(line)[1]
        assert AN_ID not in line or verb in fit, f"say which job is fit for {line}"
        ran = run_line(line.replace(AN_ID, fit.get(verb, AN_ID)), ROOT, JOBS_API_URL=client.url)
        assert ran.returncode == 0, f"{line}: {ran.stdout}{ran.stderr}"
        assert ran.stdout + ran.stderr, f"{line} says nothing"

    assert client.end_of(dead)["status"] == "done"
    assert client.job(later[0])["status"] == "pending"
    assert client.job(later[1])["status"] == "cancelled"


def credentials(stack: LocalStack, session: bool) -> dict[str, str]:
    """Keys of a user with the ready policy JobsWrite, or of a session of a role that has it, as AWS's tools look for them."""
    iam, name, policy = stack.client("iam"), "curl-session" if session else "curl", stack.outputs()["JobsWrite"]
    here = {"AWS_REGION": REGION, "JOBS_API_URL": stack.deployment().api_url}
    if not session:
        iam.create_user(UserName=name)
        iam.attach_user_policy(UserName=name, PolicyArn=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return here | {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    iam.attach_role_policy(RoleName=name, PolicyArn=policy)
    taken = stack.client("sts").assume_role(RoleArn=role, RoleSessionName="curl")["Credentials"]
    keys = {"AWS_ACCESS_KEY_ID": taken["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": taken["SecretAccessKey"]}
    return here | keys | {"AWS_SESSION_TOKEN": taken["SessionToken"]}


@pytest.mark.parametrize("session", [False, True], ids=["user", "session"])
def test_the_curl_lines_work_as_written(stack: LocalStack, client: Client, session: bool) -> None:
    if not shutil.which("curl"):
        assert "CI" not in os.environ, "there is no curl here, so nobody knows whether README's lines work"
        pytest.skip("there is no curl here")
    sign, *lines = curl_lines()
    job_id = client.enqueue("emails", "send_email", {"to": "ada@example.com"}, delay=3600)
    answers, environment = {}, {"PATH": os.environ["PATH"], "no_proxy": "*"} | credentials(stack, session)
    for line in lines:
        script = f"{sign}\n{line.replace(AN_ID, job_id)}"
        ran = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, f"{line}: {ran.stdout}{ran.stderr}"
        answers[line] = json.loads(ran.stdout)
    enqueued, shown, listed, counted, cancelled = answers.values()
    assert client.end_of(enqueued["id"])["status"] == "done"
    assert (shown["id"], cancelled, client.job(job_id)["status"]) == (job_id, {"cancelled": True}, "cancelled")
    assert "jobs" in listed
    assert "pending" in counted


def test_the_client_that_is_shown_prints_its_result(client: Client) -> None:
    (program,) = (block.text for block in blocks() if block.section == "Call it" and block.language == "python")
    ran = run_line(shlex.join([sys.executable, "-c", program]), ROOT, JOBS_API_URL=client.url)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "message_id" in ran.stdout
