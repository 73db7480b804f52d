"""Who asked is told: by a signed POST and in an SQS queue, of jobs that were done and of one that was cancelled."""

from __future__ import annotations

import json
import time
from typing import Any

from standardwebhooks import Webhook

from jobline.definitions import Definitions
from jobline.local_aws import ROOT
from jobline.local_stack import LocalStack
from tests.e2e.client import Client
from tests.e2e.scenarios import CALLBACK_PORT
from tests.receiver import Receiver, receiver


def called(server: Receiver, job_id: str, key: str) -> dict[str, Any]:
    """What the server was told of a job, once it was; the signature is verified."""
    deadline = time.monotonic() + 60
    while True:
        for request in list(server.received):
            event: dict[str, Any] = Webhook(key).verify(request.body, request.headers)
            if event["data"]["id"] == job_id:
                return event
        assert time.monotonic() < deadline, f"nobody told of {job_id}: {server.received}"
        time.sleep(0.05)


def replied(sqs: Any, url: str, job_id: str) -> dict[str, Any]:
    """What the reply queue has of a job, once it has it; other replies are left where they are."""
    deadline = time.monotonic() + 60
    while True:
        received = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        for message in received.get("Messages", ()):
            if message["MessageAttributes"]["job_id"]["StringValue"] == job_id:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                reply: dict[str, Any] = json.loads(message["Body"])
                return reply
        assert time.monotonic() < deadline, f"no reply about {job_id}"


def test_an_end_is_told_by_a_signed_post_and_in_the_reply_queue(stack: LocalStack, client: Client) -> None:
    secret = Definitions.load(ROOT, "local").callbacks.secret
    key = stack.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"]
    with receiver(port=CALLBACK_PORT) as server:
        asked = {"callback_url": server.url("/told?token=abc"), "reply_to": "answers"}
        done = client.enqueue("diagnostics", "echo", {"n": 1}, **asked)
        waiting = client.enqueue("diagnostics", "echo", {"n": 2}, delay=3600, **asked)
        assert client.call("DELETE", f"/jobs/{waiting}").body == {"cancelled": True}
        first, second = called(server, done, key), called(server, waiting, key)
        assert (first["type"], first["data"]["result"]) == ("job.done", {"n": 1})
        assert (second["type"], second["data"]["result"]) == ("job.cancelled", None)
        assert first["data"] == client.job(done)
        assert {request.line for request in server.received} == {"POST /told?token=abc HTTP/1.1"}
    url = stack.outputs()["ReplyQueueUrlAnswers"]
    for job_id, told in ((done, first), (waiting, second)):
        assert replied(stack.client("sqs"), url, job_id) == told
