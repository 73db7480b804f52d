"""Schedules on the deployed stack: what is made at run time fires, and a run is one job."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

from jobline.local_aws import ACCOUNT, REGION, SECRET
from jobline.local_stack import LocalStack
from tests.e2e.client import Client


def aws(stack: LocalStack, service: str) -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service, endpoint_url=stack.aws.endpoint_url, region_name=REGION, aws_access_key_id=ACCOUNT, aws_secret_access_key=SECRET
    )


def test_a_single_time_fires_and_its_run_is_one_job_however_often_it_is_delivered(client: Client, stack: LocalStack) -> None:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    body = {"queue": "diagnostics", "type": "echo", "payload": {"n": 1.0}, "at": f"{due:%Y-%m-%dT%H:%M:%SZ}"}
    answer = client.call("PUT", "/schedules/once", body)
    assert (answer.status, answer.body["next_runs"]) == (201, [body["at"]])
    try:
        deadline = time.monotonic() + 40
        while (last := client.call("GET", "/schedules/once").body["last_run"]) is None:
            assert time.monotonic() < deadline, "it did not fire"
            time.sleep(0.5)
        job = client.end_of(last["job_id"])
        assert (job["status"], job["payload"]) == ("done", {"n": 1.0})
        assert job["occurrence"] == {"schedule": "once", "at": body["at"]}
        assert job["started_at"] >= body["at"]

        [group] = [one["Name"] for one in aws(stack, "scheduler").list_schedule_groups()["ScheduleGroups"] if one["Name"] != "default"]
        target = aws(stack, "scheduler").get_schedule(GroupName=group, Name="once")["Target"]
        again = target["Input"].replace("<aws.scheduler.scheduled-time>", body["at"]).replace("<aws.scheduler.execution-id>", "again")
        told = json.loads(aws(stack, "lambda").invoke(FunctionName=target["Arn"], Payload=again)["Payload"].read())
        assert told == {"job_id": job["id"]}
    finally:
        assert client.call("DELETE", "/schedules/once").status == 200


def test_schedules_are_listed_paused_and_run_out_of_turn(client: Client) -> None:
    body = {"queue": "diagnostics", "type": "echo", "payload": "now", "cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin"}
    assert client.call("PUT", "/schedules/weekdays", body).status == 201
    try:
        assert "weekdays" in [each["name"] for each in client.call("GET", "/schedules").body["schedules"]]
        assert client.call("POST", "/schedules/weekdays/pause").body["next_runs"] == []
        assert client.end_of(client.call("POST", "/schedules/weekdays/run").body["id"])["result"] == "now"
        assert len(client.call("POST", "/schedules/weekdays/resume").body["next_runs"]) == 5
    finally:
        assert client.call("DELETE", "/schedules/weekdays").status == 200
