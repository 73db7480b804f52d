"""The examples of docs/jobs/notifications.md on the real stack: each is done, with the permissions of worker.toml alone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from jobline.local_aws import ROOT
from jobline.local_stack import LocalStack
from tests.e2e.client import Client

EXAMPLES = {
    example["type"]: example
    for example in map(json.loads, re.findall(r"```json\n(.*?)```", (ROOT / "docs/jobs/notifications.md").read_text(), re.DOTALL))
}


@pytest.fixture(scope="module")
def bucket(stack: LocalStack) -> str:
    return stack.outputs()["BucketName"]


@pytest.fixture(scope="module")
def device(stack: LocalStack) -> str:
    sns = stack.client("sns")
    app = sns.create_platform_application(Name="app", Platform="GCM", Attributes={"PlatformCredential": "key"})
    made = sns.create_platform_endpoint(PlatformApplicationArn=app["PlatformApplicationArn"], Token="token")
    return str(made["EndpointArn"])


def done(client: Client, example: dict[str, Any]) -> Any:
    answer = client.call("POST", "/jobs", example)
    assert answer.status == 202, answer.body
    job = client.end_of(answer.body["id"])
    assert (job["status"], job["attempts"]) == ("done", 1), job["error"]
    return job["result"]


def test_a_mail_made_of_a_template_goes_out_with_a_file(client: Client, stack: LocalStack, bucket: str) -> None:
    stack.client("s3").put_object(Bucket=bucket, Key="attachments/terms.txt", Body=b"Be kind.")
    example = EXAMPLES["send_email"]
    example["payload"]["attachments"] = [{"source": "attachments/terms.txt"}]
    assert done(client, example)["message_id"]


def test_what_the_worker_may_not_read_cannot_be_attached(client: Client, stack: LocalStack, bucket: str) -> None:
    stack.client("s3").put_object(Bucket=bucket, Key="private/salaries.csv", Body=b"a secret")
    payload = {"to": "ada@example.com", "attachments": [{"source": "private/salaries.csv"}]}
    job = client.end_of(client.enqueue("emails", "send_email", payload))
    assert job["status"] == "dead"
    assert "this worker may not read it" in job["error"]


def test_a_text_message_and_a_push_message_go_out(client: Client, device: str) -> None:
    assert done(client, EXAMPLES["send_sms"])["message_id"]
    push = EXAMPLES["push_notification"]
    push["payload"]["endpoint"] = device
    assert done(client, push)["message_id"]


def test_a_newsletter_mails_each_of_its_recipients(client: Client, stack: LocalStack, bucket: str) -> None:
    rows = "".join(f"reader{number}@example.com,Reader,C-{number}\n" for number in range(30))
    stack.client("s3").put_object(Bucket=bucket, Key="recipients/spring.csv", Body=f"email,name,code\n{rows}nobody,,\n".encode())
    result = done(client, EXAMPLES["batch_newsletter"])
    assert (result["rows"], result["enqueued"], result["rejected"]) == (31, 30, 1)
    rejects = stack.client("s3").get_object(Bucket=bucket, Key=result["rejects"]["key"])["Body"].read()
    assert json.loads(rejects) == {"line": 32, "reason": "the address has no @", "row": "nobody,,"}
    children = client.call("GET", f"/jobs?queue=emails&type=send_email&tag={result['tag']}&limit=100").body["jobs"]
    assert len({child["payload"]["to"] for child in children}) == len(children) == 30
    assert {client.end_of(child["id"])["status"] for child in children} == {"done"}
