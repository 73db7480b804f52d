"""`jobs doctor` and the CLI's other looks behind the API, on the deployed stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jobline.local_aws import ACCOUNT, REGION, ROOT, SECRET
from jobline.local_stack import LocalStack
from tests.e2e.client import Client


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def jobs(*arguments: str, folder: Path = ROOT, **environment: str) -> Ran:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JOBS_", "AWS_"))}
    done = subprocess.run(
        [sys.executable, "-c", "from jobline.cli import main; main()", *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def wrong(client: Client, folder: Path = ROOT) -> dict[str, list[str]]:
    """What is wrong by the name of the check, as `what → mend`; the exit code must agree."""
    ran = jobs("doctor", "-o", "json", folder=folder, JOBS_API_URL=client.url)
    found: dict[str, list[str]] = {}
    for finding in json.loads(ran.out):
        if finding["verdict"] == "wrong":
            found.setdefault(finding["check"], []).append(f"{finding['what']} → {finding['mend']}")
    assert ran.code == (1 if found else 0), ran
    return found


def resource(stack: LocalStack, logical_id: str) -> str:
    """The physical id of the resource whose logical id is this and eight characters that the CDK adds."""
    listed = stack.client("cloudformation").describe_stack_resources(StackName=stack.deployment().stack)["StackResources"]
    [found] = [each["PhysicalResourceId"] for each in listed if each["LogicalResourceId"][:-8] == logical_id]
    return str(found)


def test_nothing_is_wrong_with_a_healthy_deployment(client: Client, stack: LocalStack) -> None:
    assert wrong(client) == {}
    told = jobs("doctor", JOBS_API_URL=client.url)
    assert "not checked  A local AWS keeps no metrics of its functions." in told.out
    assert "Nothing is wrong." in told.err


@contextmanager
def switched_off(stack: LocalStack, mapping: str) -> Iterator[None]:
    lambda_ = stack.client("lambda")
    lambda_.update_event_source_mapping(UUID=mapping, Enabled=False)
    try:
        yield
    finally:
        lambda_.update_event_source_mapping(UUID=mapping, Enabled=True)


def test_what_is_broken_in_the_account_is_found_with_what_mends_it(client: Client, stack: LocalStack) -> None:
    sqs = stack.client("sqs")
    lane, dead = resource(stack, "Queueswebhookslow"), resource(stack, "Queueswebhooksdead")
    of_lane = resource(stack, "Queuesimageslowmapping")
    of_dead = resource(stack, "Queueswebhooksdeadmapping")
    hidden = sqs.get_queue_attributes(QueueUrl=lane, AttributeNames=["All"])["Attributes"]
    with switched_off(stack, of_lane), switched_off(stack, of_dead):
        few = json.dumps(json.loads(hidden["RedrivePolicy"]) | {"maxReceiveCount": 2})
        sqs.set_queue_attributes(QueueUrl=lane, Attributes={"VisibilityTimeout": "30", "RedrivePolicy": few})
        sqs.send_message(QueueUrl=dead, MessageBody="{}")
        found = wrong(client)
        again = {"VisibilityTimeout": hidden["VisibilityTimeout"], "RedrivePolicy": hidden["RedrivePolicy"]}
        sqs.set_queue_attributes(QueueUrl=lane, Attributes=again)
    assert found.keys() == {"visibility", "receive counts", "mappings", "dead-letter queues"}
    [visibility] = found["visibility"]
    assert "webhooks (low) stay hidden for 30 s" in visibility
    assert f"set-queue-attributes --queue-url {lane} --attributes VisibilityTimeout={hidden['VisibilityTimeout']}" in visibility
    assert "after 2 receives" in found["receive counts"][0]
    assert any("images is disabled" in told and told.endswith("→ jobs resume images") for told in found["mappings"])
    assert any(f"--uuid {of_dead} --enabled" in told for told in found["mappings"])
    assert "of webhooks has 1 messages" in found["dead-letter queues"][0]

    until = time.monotonic() + 60
    while wrong(client):
        assert time.monotonic() < until, "what was mended is still found"
        time.sleep(1)


def test_a_schedule_that_is_off_and_a_function_that_is_held_back_are_found(client: Client, stack: LocalStack) -> None:
    scheduler, lambda_ = stack.client("scheduler"), stack.client("lambda")
    name, media = resource(stack, "MinuteSchedule"), resource(stack, "MediaFunction")
    told = scheduler.get_schedule(Name=name)
    kept = {key: told[key] for key in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")}
    scheduler.update_schedule(**kept, State="DISABLED")
    lambda_.put_function_concurrency(FunctionName=media, ReservedConcurrentExecutions=1)
    try:
        found = wrong(client)
    finally:
        scheduler.update_schedule(**kept, State="ENABLED")
        lambda_.delete_function_concurrency(FunctionName=media)
    assert found.keys() == {"ticker", "concurrency"}
    assert "schedule is disabled" in found["ticker"][0]
    assert (
        f"media has 1 invocations reserved, and its queues may ask for 12. → aws lambda delete-function-concurrency --function-name {media}"
        in found["concurrency"][0]
    )


def test_an_alarm_that_rings_is_found_with_the_command_to_begin_with(client: Client, stack: LocalStack) -> None:
    cloudwatch, alarm = stack.client("cloudwatch"), resource(stack, "MonitoringDead")
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="the test says so")
    try:
        found = wrong(client)
    finally:
        cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="the test says so")
    [rings] = found.pop("alarms")
    assert not found
    assert "rings: There are dead jobs. See: jobs queues, jobs list QUEUE --status dead." in rings
    assert rings.endswith("→ jobs open alarms")


def test_a_paused_queue_is_not_ill(client: Client) -> None:
    client.call("POST", "/queues/images/pause")
    try:
        assert wrong(client) == {}
    finally:
        client.call("POST", "/queues/images/resume")


def test_what_differs_from_the_checkout_is_found(client: Client, checkout: Path) -> None:
    queues = checkout / "queues.toml"
    changed = queues.read_text().replace('worker = "media"\n', 'worker = "media"\nconcurrency = 20\n', 1)
    queues.write_text(changed + '\n[queues.new]\nworker = "media"\n')
    echo = checkout / "functions" / "diagnostics" / "echo.py"
    echo.write_text(echo.read_text().replace('@job("echo"', '@job("parrot"'))
    found = wrong(client, checkout)
    assert found.keys() == {"queues.toml", "types"}
    told = " ".join(found["queues.toml"])
    assert "The queue new is in queues.toml and not deployed." in told
    assert "images is deployed otherwise: concurrency is 10 and here 20" in told
    assert {each.split(" → ")[0] for each in found["types"]} == {
        "The type parrot of diagnostics is not deployed.",
        "The type echo of diagnostics is deployed, and no handler here has that name.",
    }


def test_a_deployment_is_found_by_its_stack(stack: LocalStack, tmp_path: Path) -> None:
    account = {
        "AWS_ENDPOINT_URL": stack.aws.endpoint_url,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": REGION,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "JOBS_CONFIG_FILE": str(tmp_path / "config.toml"),
    }
    for how, source in ((["--stack", "local"], "--stack local"), ([], f"the only Jobline stack in {REGION}")):
        told: dict[str, Any] = json.loads(jobs(*how, "config", "-o", "json", folder=tmp_path, **account).out)
        assert (told["api_url"], told["source"], told["stack"]) == (stack.outputs()["ApiUrl"], source, "Jobline-local")


def test_the_lines_that_name_a_job_are_shown_and_followed(client: Client) -> None:
    id = client.enqueue("diagnostics", "fail", {"times": 1}, max_attempts=1)
    other = client.enqueue("diagnostics", "fail", {"times": 1}, max_attempts=1)
    assert client.end_of(id)["status"] == client.end_of(other)["status"] == "dead"
    until = time.monotonic() + 30
    while not (ran := jobs("logs", "--job", id[:23], JOBS_API_URL=client.url)).out:
        assert time.monotonic() < until, ran
    assert all(id in line and other not in line for line in ran.out.splitlines())
    assert "diagnostics WARNING attempt failed" in ran.out
    lines = jobs("logs", "diagnostics", "--level", "warning", "-o", "jsonl", JOBS_API_URL=client.url).out.splitlines()
    assert {json.loads(line)["line"]["level"] for line in lines} == {"WARNING"}
    assert jobs("logs", "nonesuch", JOBS_API_URL=client.url).code == 3


def test_a_handler_that_is_run_here_uses_the_local_deployment_s_aws(client: Client) -> None:
    ran = jobs("run", "send_email", "--payload", '{"to":"ada@example.com"}', JOBS_API_URL=client.url)
    assert (ran.code, list(json.loads(ran.out))) == (0, ["message_id"])
    missing = jobs("run", "image_resize", "--payload", '{"source":"no/such.jpeg","sizes":[{"width":10}]}', JOBS_API_URL=client.url)
    assert (missing.code, "no/such.jpeg" in missing.err) == (6, True)
