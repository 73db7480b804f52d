"""The imports and scheduled jobs of `make demo`: a file of people, old sessions, a due subscription, a website, the report of a day."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from jobline import ids
from jobline.demo_jobs import Act, Json, expect
from jobline.job import Job, Status
from jobline.local_server import serving
from jobline.local_stack import LocalStack
from jobline.local_stripe import LocalStripe
from jobline.store import JobStore
from jobline.times import parse_instant

PEOPLE: Final = 500
PEOPLE_KEY: Final = "imports/demo-people.csv"
COLUMNS: Final = [{"name": "id", "required": True}, {"name": "age", "type": "integer"}]


PAGES: Final = 12
DAY: Final = "2026-01-31"
"""The day that is reported on, and on which the subscription is due: long over, whenever the demo runs."""
SECONDS_FOR_A_CHILD: Final = 60
SECONDS_BETWEEN_LOOKS: Final = 0.1


class Website(ThreadingHTTPServer):
    """A website with a sitemap of `PAGES` pages; it notes what it is asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Visit)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.pages = {f"/pages/{number}" for number in range(PAGES)}
        self.asked: list[str] = []
        """The path of each request for a page."""


class _Visit(BaseHTTPRequestHandler):
    server: Website

    def do_GET(self) -> None:
        if self.path == "/sitemap.xml":
            listed = "".join(f"<url><loc>{self.server.url}{page}</loc></url>" for page in sorted(self.server.pages))
            body = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{listed}</urlset>'.encode()
        else:
            self.server.asked.append(self.path)
            body = b"<!DOCTYPE html><title>A page</title>"
        self.send_response(200 if self.path == "/sitemap.xml" or self.path in self.server.pages else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the demo's screen is its own."""


@contextmanager
def website(stack: LocalStack) -> Iterator[Website]:
    """Starts it on a free port, and lets the scheduled worker reach that port."""
    with serving(Website()) as site:
        stack.configure("scheduled", ALLOWED_LOOPBACK_PORTS=str(site.server_port))
        yield site


def scheduled_acts(client: Callable[[str], Any], bucket: str, records: str, site: Website, stripe: LocalStripe) -> list[Act]:
    """The acts; the tables, the file and the day's jobs that they need are made here.

    `client` gives a boto3 client of a service, `records` is the name of the table of jobs; payments reach `stripe`.
    """
    dynamodb, s3 = client("dynamodb"), client("s3")
    store = JobStore(dynamodb, records)
    for table in ("people", "sessions"):
        _create(dynamodb, table, "id")
    _create(dynamodb, "subscriptions", "id", by_due=("renewal", "due_on"))
    rows = "".join(f"p{number},{number % 90}\n" for number in range(PEOPLE))
    s3.put_object(Bucket=bucket, Key=PEOPLE_KEY, Body=f"id,age\n{rows}somebody,old\n".encode())
    for id, seen_at in (("old", "2020-01-01T00:00:00Z"), ("young", "2999-01-01T00:00:00Z")):
        dynamodb.put_item(TableName="sessions", Item={"id": {"S": id}, "seen_at": {"S": seen_at}})
    texts = {"id": "ada", "renewal": "due", "due_on": DAY, "every": "month", "currency": "eur", "payment_method": "pm_card_visa"}
    dynamodb.put_item(TableName="subscriptions", Item={name: {"S": text} for name, text in texts.items()} | {"amount": {"N": "990"}})
    for number, hour in enumerate((9, 17)):
        job = _done(f"demo-{number}", parse_instant(f"{DAY}T{hour:02}:00:00Z"))
        store.create(job, now=job.created_at)
    people = {"source": PEOPLE_KEY, "format": "csv", "columns": COLUMNS, "to": {"kind": "table", "table": "people"}}
    old = {"what": {"kind": "items", "table": "sessions", "attribute": "seen_at"}, "older_than": 30, "dry_run": False}
    return [
        _act("imports", "data_import", people, lambda job: _people_are_there(job, s3, bucket)),
        _act("scheduled", "data_cleanup", old, _old_sessions_are_gone),
        _act("scheduled", "subscription_renewal", {"until": DAY}, lambda job: _one_was_renewed(job, dynamodb, store, stripe)),
        _act("scheduled", "cache_warm", {"sitemap": f"{site.url}/sitemap.xml"}, lambda job: _every_page_was_asked_for(job, site)),
        _act("scheduled", "daily_report", {"day": DAY, "to": ["ops@example.com"]}, lambda job: _report_is_out(job, s3, bucket, store)),
    ]


def _done(key: str, created_at: datetime) -> Job:
    """A job of that day, as its record stands when it is done."""
    return Job(
        id=ids.derived_id("videos", key),
        queue="videos",
        type="video_transcode",
        status=Status.DONE,
        created_at=created_at,
        scheduled_at=created_at,
        started_at=created_at + timedelta(seconds=1),
        completed_at=created_at + timedelta(seconds=2),
        attempts=1,
        ttl=int(time.time()) + 86_400,
    )


def _create(dynamodb: Any, table: str, key: str, by_due: tuple[str, ...] = ()) -> None:
    index = {
        "IndexName": "by_due",
        "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in zip(by_due, ("HASH", "RANGE"), strict=False)],
        "Projection": {"ProjectionType": "ALL"},
    }
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in (key, *by_due)],
        **({"GlobalSecondaryIndexes": [index]} if by_due else {}),
    )


def _act(queue: str, type: str, payload: Json, result: Callable[[Json], str]) -> Act:
    return Act(request={"queue": queue, "type": type, "payload": payload}, attempts=1, result=result)


def _people_are_there(job: Json, s3: Any, bucket: str) -> str:
    result = job["result"]
    counts = [result[name] for name in ("read", "imported", "rejected")]
    expect(counts == [PEOPLE + 1, PEOPLE, 1], f"the import counted {result}")
    refused = json.loads(s3.get_object(Bucket=bucket, Key=result["rejects"])["Body"].read())
    expect(refused["line"] == PEOPLE + 2, f"the bad row is told as line {refused['line']}")
    return f"{PEOPLE} rows imported, line {refused['line']} refused: {refused['reason']}"


def _old_sessions_are_gone(job: Json) -> str:
    result = job["result"]
    expect((result["seen"], result["deleted"]) == (2, 1), f"the cleanup counted {result}")
    return "1 of 2 sessions was old, and is gone"


def _one_was_renewed(job: Json, dynamodb: Any, store: JobStore, stripe: LocalStripe) -> str:
    result = job["result"]
    expect((result["seen"], result["enqueued"], result["look_at"]) == (1, 1, []), f"the renewal counted {result}")
    item = dynamodb.get_item(TableName="subscriptions", Key={"id": {"S": "ada"}})["Item"]
    _child_is_done(item["renewed_by"]["S"], store)
    charged = stripe.account.charged("subscription", "ada")
    expect([charge["amount"] for charge in charged] == [990], f"the subscription should have been charged 9.90 EUR once: {charged}")
    expect(item["due_on"]["S"] == "2026-02-28", f"the subscription's next period is due on {item['due_on']['S']}")
    return "1 subscription charged 9.90 EUR, once; due again 2026-02-28"


def _every_page_was_asked_for(job: Json, site: Website) -> str:
    result = job["result"]
    expect((result["pages"], result["ok"], result["failed"]) == (PAGES, PAGES, 0), f"cache_warm counted {result}")
    expect(sorted(site.asked) == sorted(site.pages), f"cache_warm asked the website for {site.asked}")
    return f"{PAGES} pages of a sitemap, each asked for once"


def _report_is_out(job: Json, s3: Any, bucket: str, store: JobStore) -> str:
    result = job["result"]
    counts = (result["day"], result["enqueued"], result["done"], result["note"])
    expect(counts == (DAY, 2, 2, ""), f"the report says {result}")
    for name, begin in (("html", b"<!DOCTYPE html>"), ("pdf", b"%PDF-")):
        body = s3.get_object(Bucket=bucket, Key=result[name])["Body"].read()
        expect(body.startswith(begin), f"the report's {name} begins with {body[:15]!r}")
    _child_is_done(result["mail_job"], store)
    return f"{DAY}: 2 jobs, both done; a page, a PDF, mailed"


def _child_is_done(id: str, store: JobStore) -> None:
    """Waits until the job `id`, which another one enqueued, is over. Raises NotAsExpected unless it is done in time."""
    until = time.monotonic() + SECONDS_FOR_A_CHILD
    while (child := store.get(id)) is None or not child.over:
        expect(time.monotonic() < until, f"not over after {SECONDS_FOR_A_CHILD} s: job {id}, which is {child and child.status.value}")
        time.sleep(SECONDS_BETWEEN_LOOKS)
    expect(child.status is Status.DONE, f"{child.type} ended {child.status.value}: {child.error}")
