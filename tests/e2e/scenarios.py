"""What is done with a deployment to see whether all of it works: small jobs of every shape, each to its end or to `Wrong`."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from PIL import Image

from jobline.local_stack import LocalStack
from tests.e2e.client import Client
from tests.receiver import receiver

SMALL, LARGE, HUGE = "x", "x" * 10_000, "x" * 150_000
"""Payloads that are kept in the record, in an item of their own, and in the bucket."""


CALLBACK_PORT = 8184
"""One of the ports of this machine that `queues.toml` lets callbacks reach."""
PATIENCE = 20.0
"""Seconds that a failure may take to show; all but a few show within one."""


class Wrong(AssertionError):
    """A scenario came to another end than it does with all grants."""


@dataclass
class World:
    """What scenarios are made with."""

    client: Client
    stack: LocalStack
    patience: float = PATIENCE
    """Seconds that a scenario waits for an end."""
    noticed: Callable[[], bool] = lambda: False
    """Whether something has failed already, so that waiting is of no more use."""
    made: list[str] = field(default_factory=list)
    """The jobs that were asked for by themselves."""

    def call(self, method: str, path: str, body: Any = None, *expected: int) -> Any:
        answer = self.client.call(method, path, body)
        if answer.status not in (expected or (200, 201, 202)):
            raise Wrong(f"{method} {path}: {answer}")
        return answer.body

    def enqueue(self, queue: str, type: str, payload: Any, **more: Any) -> str:
        asked = {"queue": queue, "type": type, "payload": payload, "max_attempts": 1} | more
        self.made.append(str(self.call("POST", "/jobs", asked)["id"]))
        return self.made[-1]

    def tidy_up(self) -> None:
        """Cancels what a missing grant kept from its end: other tests purge these queues, and count."""
        for job_id in self.made:
            self.client.call("DELETE", f"/jobs/{job_id}")

    def end(self, job_id: str, status: str = "done") -> dict[str, Any]:
        deadline = time.monotonic() + self.patience
        while (job := self.call("GET", f"/jobs/{job_id}"))["status"] != status:
            over = job["status"] in ("done", "dead", "cancelled", "expired")
            if over or time.monotonic() > deadline or self.noticed():
                raise Wrong(f"not {status}: {job}")
            time.sleep(0.05)
        return dict(job)

    def follow_up(self, job_id: str) -> str:
        """The job by which the end of this one is told."""
        jobs = self.call("GET", "/jobs?queue=operations&limit=50")["jobs"]
        found = [job["id"] for job in jobs if job["parent_id"] == job_id]
        if len(found) != 1:
            raise Wrong(f"{job_id} is told of by {found}")
        self.made.append(str(found[0]))
        return self.made[-1]

    def key(self) -> str:
        return f"grants-{time.time_ns()}"

    def bodies(self, job_id: str) -> list[str]:
        """The split bodies of a job that are there: keys of items and of objects."""
        outputs, wanted = self.stack.outputs(), {":job": {"S": f"{job_id}#"}}
        scanned = (
            self.stack.client("dynamodb")
            .get_paginator("scan")
            .paginate(TableName=outputs["TableName"], FilterExpression="begins_with(id, :job)", ExpressionAttributeValues=wanted)
        )
        objects = self.stack.client("s3").get_paginator("list_objects_v2").paginate(Bucket=outputs["BucketName"], Prefix="bodies/")
        keys = [one["Key"] for page in objects for one in page.get("Contents", ())]
        return [item["id"]["S"] for page in scanned for item in page["Items"]] + [key for key in keys if job_id in key]

    def until(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > deadline or self.noticed():
                raise Wrong(otherwise)
            time.sleep(0.1)

    def function(self, name: str) -> str:
        """The deployed name of the function of a folder."""
        functions = self.stack.client("lambda").list_functions()["Functions"]
        [found] = [one["FunctionName"] for one in functions if one["Handler"].split(".")[1] == name]
        return str(found)

    def queue_url(self, name: str) -> str:
        return next(str(url) for url in self.stack.client("sqs").list_queues()["QueueUrls"] if f"Queues{name}" in url)

    def invoke(self, function: str) -> None:
        """Runs the function of this folder once, as its schedule does."""
        if "FunctionError" in self.stack.client("lambda").invoke(FunctionName=self.function(function), Payload=b"{}"):
            raise Wrong(f"{function} failed")


def small(world: World) -> None:
    world.end(world.enqueue("diagnostics", "echo", SMALL))


def listed_by_attention(world: World) -> None:
    world.call("GET", "/jobs?queue=diagnostics&status=failed")


def large(world: World) -> None:
    assert world.end(world.enqueue("diagnostics", "echo", LARGE))["result"] == LARGE


def huge(world: World) -> None:
    assert world.end(world.enqueue("diagnostics", "echo", HUGE))["result"] == HUGE


def keyed(world: World) -> None:
    keyed_with(world, LARGE)


def keyed_huge(world: World) -> None:
    keyed_with(world, HUGE)


def keyed_with(world: World, payload: str) -> None:
    """A request that comes again: what it stored for nothing is taken away."""
    key = world.key()
    first = world.enqueue("diagnostics", "echo", payload, idempotency_key=key, delay=3600)
    if world.enqueue("diagnostics", "echo", payload, idempotency_key=key, delay=3600) != first or len(world.bodies(first)) != 1:
        raise Wrong(f"left behind: {world.bodies(first)}")
    world.call("DELETE", f"/jobs/{first}")


def many(world: World) -> None:
    jobs = [{"queue": "bulk", "type": "echo", "payload": number} for number in range(3)]
    items = world.call("POST", "/jobs/batch", {"jobs": jobs})["items"]
    if any(item["status"] != 202 for item in items):
        raise Wrong(str(items))
    for item in items:
        world.end(item["job"]["id"])


def batched(world: World) -> None:
    """A batch that is woken by the end of its only member, and what follows."""
    echo = {"queue": "diagnostics", "type": "echo", "payload": SMALL}
    batch_id = world.call("POST", "/batches", {"jobs": [echo | {"delay": 2}], "on_complete": echo})["id"]
    world.end(batch_id)
    world.end(world.call("GET", f"/batches/{batch_id}")["on_complete"])


def uploaded(world: World) -> None:
    content = json.dumps(HUGE).encode()
    link = world.call("POST", "/uploads", {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    put = httpx2.request(link["method"], link["url"], content=content, headers=link["headers"], timeout=30, trust_env=False)
    if put.status_code != 200:
        raise Wrong(f"the upload was not taken: {put.status_code}")
    world.end(str(world.call("POST", "/jobs", {"queue": "diagnostics", "type": "echo", "payload_ref": link["upload"]})["id"]))


def retried(world: World) -> None:
    job_id = world.enqueue("diagnostics", "fail", {"times": 1}, max_attempts=1)
    world.end(job_id, "dead")
    world.call("POST", f"/jobs/{job_id}/retry")
    world.end(job_id)


def cancelled(world: World) -> None:
    world.call("DELETE", f"/jobs/{world.enqueue('diagnostics', 'echo', SMALL, delay=3600)}")


def ordered(world: World) -> None:
    job = world.end(world.enqueue("ledger", "chain", {"links": 1}, ordering_key=world.key()))
    world.end(job["result"]["next"])


def counted(world: World) -> None:
    world.call("GET", "/queues/diagnostics/stats")
    world.call("GET", "/queues")


def paused(world: World) -> None:
    world.call("POST", "/queues/images/pause")
    world.call("POST", "/queues/images/resume")


def purged(world: World) -> None:
    old = world.enqueue("bulk", "echo", HUGE)
    world.end(old)
    job = world.call("POST", "/queues/bulk/purge", {"status": "done"})
    ended = world.end(job["id"])
    if not ended["result"]["deleted"]:
        raise Wrong(str(ended))


def redriven(world: World) -> None:
    world.end(world.enqueue("bulk", "fail", {"times": 1}, max_attempts=1), "dead")
    if not world.end(world.call("POST", "/queues/bulk/redrive", {})["id"])["result"]["retried"]:
        raise Wrong("nothing was redriven")


def ticked(world: World) -> None:
    world.enqueue("diagnostics", "echo", SMALL, delay=1000)
    world.invoke("ticker")


def mailed(world: World) -> None:
    world.end(world.enqueue("emails", "send_email", {"to": "ada@example.com"}))


def resized(world: World) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (40, 30)).save(picture, "JPEG")
    bucket = world.stack.outputs()["BucketName"]
    world.stack.client("s3").put_object(Bucket=bucket, Key="photos/grants.jpeg", Body=picture.getvalue())
    world.end(world.enqueue("images", "image_resize", {"source": "photos/grants.jpeg", "sizes": [{"width": 10}]}))


def typeset(world: World) -> None:
    bucket = world.stack.outputs()["BucketName"]
    world.stack.client("s3").put_object(Bucket=bucket, Key="templates/grants.typ", Body=b"Granted")
    world.end(world.enqueue("documents", "pdf_generate", {"template": "templates/grants.typ"}))


def scheduled(world: World) -> None:
    path = f"/schedules/{world.key()}"
    world.call("PUT", path, {"queue": "diagnostics", "type": "echo", "payload": SMALL, "cron": "0 3 * * *"})
    try:
        world.call("GET", "/schedules")
        world.call("POST", f"{path}/pause")
    finally:
        world.call("DELETE", path)


def unreadable(world: World) -> None:
    """A message that nobody can read, in a dead-letter queue."""
    world.stack.client("sqs").send_message(QueueUrl=world.queue_url("diagnosticsdead"), MessageBody="nobody can read this")


def unreadable_in_order(world: World) -> None:
    """The same in an ordered queue, which has no dead-letter queue."""
    key, url = world.key(), world.queue_url("ledgerordered")
    world.stack.client("sqs").send_message(QueueUrl=url, MessageBody="nor this", MessageGroupId=key, MessageDeduplicationId=key)


def observed_anew(world: World) -> None:
    """The observer in a new process, which has not read the counters yet."""
    functions, name = world.stack.client("lambda"), world.function("observer")
    functions.update_function_configuration(FunctionName=name, Timeout=300)
    small(world)


def given_up(world: World) -> None:
    """A job whose message SQS gave up on."""
    job_id = world.enqueue("diagnostics", "echo", SMALL, delay=600)
    message = {"id": job_id, "queue": "diagnostics", "dispatch": 1, "timeout": 60, "v": 1}
    world.stack.client("sqs").send_message(QueueUrl=world.queue_url("diagnosticsdead"), MessageBody=json.dumps(message))


def expired(world: World) -> None:
    expired_with(world, LARGE)


def expired_huge(world: World) -> None:
    expired_with(world, HUGE)


def expired_with(world: World, payload: str) -> None:
    """A record that DynamoDB removes by its TTL: what belongs to it goes, too."""
    job_id = world.enqueue("diagnostics", "echo", payload)
    world.end(job_id)
    world.stack.client("dynamodb").delete_item(TableName=world.stack.outputs()["TableName"], Key={"id": {"S": job_id}})
    world.until(lambda: not world.bodies(job_id), "its bodies are still there")


def replied(world: World) -> None:
    """A cancelled job's end in the reply queue."""
    job_id = world.enqueue("diagnostics", "echo", SMALL, delay=3600, reply_to="answers")
    world.call("DELETE", f"/jobs/{job_id}")
    world.end(world.follow_up(job_id))


def called_back(world: World) -> None:
    """A cancelled job's end at its URL, told by a new process, which has not read the secret yet."""
    world.stack.client("lambda").update_function_configuration(FunctionName=world.function("operations"), Timeout=900)
    with receiver(port=CALLBACK_PORT) as server:
        job_id = world.enqueue("diagnostics", "echo", SMALL, delay=3600, callback_url=server.url())
        world.call("DELETE", f"/jobs/{job_id}")
        world.end(world.follow_up(job_id))
    if "webhook-signature" not in server.received[0].headers:
        raise Wrong("not signed")


def given_up_and_told(world: World) -> None:
    """A job that had expired when SQS gave up on its message, and whose end is told."""
    job_id = world.enqueue("diagnostics", "echo", SMALL, delay=600, expires_in=601, reply_to="answers")
    table = world.stack.outputs()["TableName"]
    world.stack.client("dynamodb").update_item(
        TableName=table,
        Key={"id": {"S": job_id}},
        UpdateExpression="SET expires_at = scheduled_at - :gone",
        ExpressionAttributeValues={":gone": {"N": "700000"}},
    )
    message = {"id": job_id, "queue": "diagnostics", "dispatch": 1, "timeout": 60, "v": 1}
    world.stack.client("sqs").send_message(QueueUrl=world.queue_url("diagnosticsdead"), MessageBody=json.dumps(message))
    world.end(job_id, "expired")
