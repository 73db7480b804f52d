"""The examples of docs/jobs/scheduled.md, run on the real stack."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from jobline import ids
from jobline.job import Job, Status
from jobline.local_aws import ROOT
from jobline.local_stack import LocalStack
from jobline.store import JobStore
from jobline.times import parse_instant
from tests.e2e.client import Client


def examples(page: str) -> dict[str, Any]:
    """The requests of a page of docs/jobs, by type."""
    text = (ROOT / "docs" / "jobs" / page).read_text()
    requests = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    return {request["type"]: request for request in requests}


def test_the_example_of_data_cleanup_deletes_old_sessions(stack: LocalStack, client: Client) -> None:
    dynamodb = stack.client("dynamodb")
    dynamodb.create_table(
        TableName="sessions",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )
    for id, seen_at in (("old", "2020-01-01T00:00:00Z"), ("young", "2999-01-01T00:00:00Z")):
        dynamodb.put_item(TableName="sessions", Item={"id": {"S": id}, "seen_at": {"S": seen_at}})
    job = client.end_of(client.enqueue(**examples("scheduled.md")["data_cleanup"]))
    assert (job["status"], job["error"]) == ("done", None)
    assert (job["result"]["seen"], job["result"]["deleted"]) == (2, 1)
    assert [item["id"]["S"] for item in dynamodb.scan(TableName="sessions")["Items"]] == ["young"]


def test_a_cleanup_of_objects_may_list_and_delete_what_is_temporary(stack: LocalStack, client: Client) -> None:
    stack.client("s3").put_object(Bucket=stack.outputs()["BucketName"], Key="temporary/a", Body=b"x")
    payload = {"what": {"kind": "objects", "prefix": "temporary/"}, "older_than": 1, "dry_run": False}
    job = client.end_of(client.enqueue("scheduled", "data_cleanup", payload))
    assert (job["status"], job["result"]["seen"], job["result"]["deleted"]) == ("done", 1, 0)


def test_the_example_of_subscription_renewal_enqueues_one_payment(stack: LocalStack, client: Client) -> None:
    dynamodb = stack.client("dynamodb")
    dynamodb.create_table(
        TableName="subscriptions",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("id", "renewal", "due_on")],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_due",
                "KeySchema": [{"AttributeName": "renewal", "KeyType": "HASH"}, {"AttributeName": "due_on", "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    texts = {"id": "ada", "renewal": "due", "due_on": "2026-01-31", "every": "month", "currency": "eur", "payment_method": "pm_card_visa"}
    dynamodb.put_item(TableName="subscriptions", Item={name: {"S": text} for name, text in texts.items()} | {"amount": {"N": "990"}})
    job = client.end_of(client.enqueue(**examples("scheduled.md")["subscription_renewal"]))
    assert (job["status"], job["error"]) == ("done", None)
    assert (job["result"]["enqueued"], job["result"]["look_at"]) == (1, [])
    item = dynamodb.get_item(TableName="subscriptions", Key={"id": {"S": "ada"}})["Item"]
    assert item["due_on"] == {"S": "2026-02-28"}
    payment = client.job(item["renewed_by"]["S"])
    assert (payment["type"], payment["queue"], payment["payload"]["amount"]) == ("payment_process", "payments", 990)


def test_the_example_of_daily_report_is_stored_made_a_pdf_and_mailed(stack: LocalStack, client: Client) -> None:
    store = JobStore(stack.client("dynamodb"), stack.outputs()["TableName"])
    # In Berlin two of these are of the last day of January, its first second and its last, and one is a second older.
    for number, created_at in enumerate(("2026-01-30T23:00:00Z", "2026-01-31T22:59:59Z", "2026-01-30T22:59:59Z")):
        store.create(done_job(f"reported-{number}", parse_instant(created_at)), now=parse_instant(created_at))
    job = client.end_of(client.enqueue(**examples("scheduled.md")["daily_report"]))
    assert (job["status"], job["attempts"], job["error"], job["result"]["note"]) == ("done", 1, None, "")
    result, s3, bucket = job["result"], stack.client("s3"), stack.outputs()["BucketName"]
    assert (result["enqueued"], result["done"]) == (2, 2)
    bodies = {name: s3.get_object(Bucket=bucket, Key=result[name])["Body"].read() for name in ("html", "figures", "pdf")}
    assert (bodies["html"][:15], bodies["pdf"][:5]) == (b"<!DOCTYPE html>", b"%PDF-")
    videos = next(queue for queue in json.loads(bodies["figures"])["queues"] if queue["queue"] == "videos")
    assert [number for number, hour in enumerate(videos["hours"]) if hour["done"]] == [0, 23]
    assert client.end_of(result["mail_job"])["status"] == "done"
    (mail,) = (mail for mail in sent_mails(stack) if "ops@example.com" in mail)
    assert "Jobline on 2026-01-31" in mail


def done_job(key: str, created_at: datetime) -> Job:
    later = created_at + timedelta(seconds=2)
    return Job(
        id=ids.derived_id("videos", key),
        queue="videos",
        type="video_transcode",
        status=Status.DONE,
        created_at=created_at,
        scheduled_at=created_at,
        started_at=created_at + timedelta(seconds=1),
        completed_at=later,
        attempts=1,
        ttl=int(time.time()) + 86_400,
    )


def sent_mails(stack: LocalStack) -> list[str]:
    """What the local AWS was given to send, each as text."""
    with urllib.request.urlopen(f"{stack.aws.endpoint_url}/_ministack/ses/messages", timeout=10) as answer:  # noqa: S310  our own
        told = json.load(answer)
    return [json.dumps(mail) for mails in told["messages"].values() for mail in mails]


class Page(BaseHTTPRequestHandler):
    """A website with one page."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/" else 404)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def test_the_example_of_cache_warm_asks_for_its_pages(stack: LocalStack, client: Client) -> None:
    server = HTTPServer(("127.0.0.1", 8191), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        job = client.end_of(client.enqueue(**examples("scheduled.md")["cache_warm"]))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert (job["status"], job["error"]) == ("done", None)
    assert (job["result"]["ok"], job["result"]["failed"]) == (1, 1)
    lines = stack.client("s3").get_object(Bucket=stack.outputs()["BucketName"], Key=job["result"]["report"])["Body"].read().splitlines()
    assert [json.loads(line)["status"] for line in lines] == [200, 404]
