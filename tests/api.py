"""The API as a client sees it, in this process: requests become API Gateway's events, answers are read back.

The events are real ones (tests/events), changed only in what a test is about.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import msgspec

from functions.api.routes import Api
from jobline.api_examples import EXAMPLES
from jobline.batch import Batch
from jobline.definitions import DeclaredTopic, Definitions, Queue, Worker
from jobline.direct import Direct
from jobline.log import Log
from jobline.memory import MemoryStore
from jobline.memory_items import MemoryItems
from jobline.memory_queues import MemoryQueues
from jobline.openapi import compact
from jobline.operations import Operations
from jobline.payloads import Bodies
from jobline.publishing import Publishing
from jobline.queue import Queues
from jobline.redaction import Redactor
from jobline.retry import RetryPolicy
from jobline.schedule_notes import RunNote
from jobline.schedules import Place, Schedules
from jobline.scheduling import Scheduling
from jobline.selection import Purge, Redrive
from jobline.service import Service
from jobline.stats import QueueStats
from jobline.store import Store
from jobline.topic_items import TopicItems
from jobline.topics import Publication, Topics
from jobline.types import TypeInfo, Types
from tests import aws
from tests.contract import expect_as_documented
from tests.factories import NOW

EVENTS = Path(__file__).parent / "events"
SEND_EMAIL = {"queue": "emails", "type": "send_email", "payload": {"to": "user@example.com"}}


class SendEmail(msgspec.Struct, forbid_unknown_fields=True):
    to: str
    subject: str = "(no subject)"
    sizes: list[int] = []


DEFINITIONS = Definitions(
    stage="test",
    queues={
        "emails": Queue(name="emails", worker="notifications", retry=RetryPolicy(base_delay=2000), max_attempts=4),
        "letters": Queue(name="letters", worker="notifications", ordered=True),
        "images": Queue(name="images", worker="media", timeout=100),
        "operations": Queue(name="operations", worker="operations", timeout=870),
    },
    workers={
        "operations": Worker(name="operations", timeout=900),
        "notifications": Worker(name="notifications", timeout=90),
        "media": Worker(name="media", timeout=900),
    },
    topics={
        "orders": DeclaredTopic(
            description="What becomes of orders.",
            subscriptions={"declared": '{"queue":"emails","type":"send_sms","filter":"kind == \'order.lost\'"}'},
        ),
        "quiet": DeclaredTopic(),
    },
)
TYPES = Types(
    version=1,
    workers={
        "notifications": {
            "send_email": TypeInfo(schema=msgspec.json.schema(SendEmail), summary="Send one message.", timeout=30),
            "send_sms": TypeInfo(schema={}, max_attempts=7, retry=RetryPolicy(backoff="fixed", jitter=0.0)),
        },
        "media": {"image_resize": TypeInfo(schema={"type": "object"})},
        "idle": {"nothing": TypeInfo(schema={})},
        "operations": {
            "purge": TypeInfo(schema=msgspec.json.schema(Purge)),
            "redrive": TypeInfo(schema=msgspec.json.schema(Redrive)),
            "publish": TypeInfo(schema=msgspec.json.schema(Publication), timeout=120, max_attempts=10),
            "batch": TypeInfo(schema=msgspec.json.schema(Batch), timeout=300, max_attempts=10),
        },
    },
)

STATS: dict[str, Any] = EXAMPLES["Stats"]["numbers"]
"""Numbers of a queue; `pending` tells by the length of its name of which."""

PLACE = Place(
    group="schedules",
    function="arn:aws:lambda:eu-west-1:123456789012:function:operations",
    role="arn:aws:iam::123456789012:role/schedules",
    set_aside="arn:aws:sqs:eu-west-1:123456789012:set-aside",
)
"""Where schedules are: a test that has any runs on moto, with this group."""

LANES = {"letters": {"normal": "letters.fifo"}}


def event(name: str) -> dict[str, Any]:
    """A real event of API Gateway."""
    return dict(json.loads((EVENTS / f"{name}.json").read_text()))


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def problems(self) -> list[tuple[str, str]]:
        """The places that a problem document names, with what is wrong there."""
        return [(each["pointer"], each["detail"]) for each in self.body.get("errors", [])]


@dataclass
class Logged:
    """A log that remembers."""

    lines: list[tuple[str, object, dict[str, Any]]] = field(default_factory=list)

    def info(self, message: object, /, **fields: Any) -> None:
        self.lines.append(("info", message, fields))

    def warning(self, message: object, /, **fields: Any) -> None:
        self.lines.append(("warning", message, fields))

    def error(self, message: object, /, **fields: Any) -> None:
        self.lines.append(("error", message, fields))


class NoBodies(Bodies):
    """Bodies for tests whose bodies all fit into their records: any other would need AWS."""

    def __init__(self) -> None:
        nothing: Any = None
        super().__init__(nothing, "", lambda: nothing, "")


class Client:
    """One client of an API over `store`, at a clock that only the test moves."""

    def __init__(
        self,
        store: Store | None = None,
        bodies: Bodies | None = None,
        lanes: Mapping[str, Mapping[str, str]] = LANES,
        log: Log | None = None,
        redactor: Redactor | None = None,
        **service: Any,
    ) -> None:
        self.store: Any = MemoryStore() if store is None else store
        self.now = NOW
        self.log: Any = Logged() if log is None else log
        self.redactor = redactor or Redactor()
        self._ids = 0
        self._requests = 0
        given: dict[str, Any] = {"definitions": DEFINITIONS, "types": TYPES, "read_stats": self._stats}
        given |= {"store": self.store, "bodies": bodies or NoBodies(), "now": lambda: self.now, "random": self._random}
        self.sqs = MemoryQueues(lambda: self.now)
        self.sqs.create("letters.fifo")
        given |= {"sleep": self.pass_time, "direct": self._direct(lanes)} | service
        self.service = Service(**given)
        self.paused: set[str] = set()
        operations = Operations(enqueueing=self.service.enqueueing, switch=self._switch, read_paused=lambda queues: self.paused)
        self.notes: dict[str, RunNote] = {}
        self.scheduling = Scheduling(
            schedules=Schedules(cache(partial(aws.client, "scheduler")), PLACE),
            enqueueing=self.service.enqueueing,
            declared={"declared"},
            read_note=self.notes.get,
        )
        self.items = MemoryItems()
        topics = Topics(definitions=self.service.definitions, store=TopicItems(cast(Any, self.items), "jobs"))
        self.publishing = Publishing(topics=topics, enqueueing=self.service.enqueueing)
        self.api = Api(
            self.service,
            operations,
            lambda: self.scheduling,
            lambda: self.publishing,
            stage="test",
            log=self.log,
            redactor=self.redactor,
            read_contract=compact,
        )

    def _direct(self, lanes: Mapping[str, Mapping[str, str]]) -> Direct:
        """Sends into `self.sqs`, whose queues `lanes` names."""
        return Direct(queues=lambda: Queues(cast(Any, self.sqs), "memory:///"), lanes=lanes, clock=lambda: self.now, log=self.log)

    def _switch(self, queue: str, paused: bool) -> None:
        (self.paused.add if paused else self.paused.discard)(queue)

    def _random(self, length: int) -> bytes:
        self._ids += 1
        return self._ids.to_bytes(length)

    def _stats(self, queue: str, now: datetime) -> QueueStats:
        return QueueStats(**STATS | {"pending": len(queue)})

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def send(self, event: dict[str, Any]) -> Answer:
        """The answer to an event; checks what must be true of every answer."""
        answer = self.api.handle(event, None)
        headers = answer["headers"]
        read = Answer(answer["statusCode"], answer["body"], headers)
        assert not answer["isBase64Encoded"]
        assert isinstance(read.text, str), read
        if read.status >= 400:
            assert headers["Content-Type"] == "application/problem+json", read
            assert {"type", "title", "status", "detail", "request_id"} <= read.body.keys()
            assert read.body["status"] == read.status
            assert "\n" not in read.body["detail"]
        elif read.status != 304:
            assert headers["Content-Type"] == "application/json"
        expect_as_documented(event, read.status, headers, read.text)
        return read

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        raw_query: str | None = None,
    ) -> Answer:
        """One request; `body` is JSON text, bytes of UTF-8, or a value to be written as JSON."""
        sent = copy.deepcopy(event("post_jobs"))
        self._requests += 1
        context = sent["requestContext"]
        context["http"] |= {"method": method, "path": path}
        context["requestId"] = f"request-{self._requests}"
        sent |= {"rawPath": path, "body": body.decode("utf-8", "surrogateescape") if isinstance(body, bytes) else body}
        if body is None:
            del sent["body"]
        elif not isinstance(body, (str, bytes)):
            sent["body"] = json.dumps(body)
        if query is not None:
            sent |= {"queryStringParameters": dict(query), "rawQueryString": urlencode(query) if raw_query is None else raw_query}
        sent["headers"] |= headers or {}
        return self.send(sent)

    def enqueue(self, **fields: Any) -> dict[str, Any]:
        """The new job."""
        answer = self.call("POST", "/jobs", SEND_EMAIL | fields)
        assert answer.status == 202, answer
        return dict(answer.body)
