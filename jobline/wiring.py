"""The composition root on Lambda: AWS clients, clock and log, made once per process and handed to the parts as arguments."""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO

from aws_lambda_powertools import Logger
from botocore.config import Config
from botocore.session import Session

from jobline.log_lines import LineFormatter, Printed, RedactedFormatter
from jobline.redaction import Redactor

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_sqs import SQSClient

    from jobline.enqueueing import Enqueueing
    from jobline.settings import Settings

OWN_CALLS = Config(connect_timeout=2, read_timeout=8, retries={"mode": "standard", "total_max_attempts": 3}, tcp_keepalive=True)
"""For our own short calls: what takes longer is lost, and repeating it is safe."""
HANDLER_CALLS = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})
"""For what handlers do."""


class LambdaContext(Protocol):
    """What we use of the context object that Lambda passes to a handler (AWS Lambda developer guide, "context object in Python")."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


def utc_now() -> datetime:
    """The time now, aware UTC, exact to the millisecond as records are."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Clients:
    """Low-level clients, each made when it is first asked for.

    They are the very clients that boto3 hands out, made by botocore itself: that saves a cold start 60 modules and 10 ms of CPU.
    """

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        client: DynamoDBClient = self._make("dynamodb", OWN_CALLS)
        return client

    @cached_property
    def sqs(self) -> SQSClient:
        client: SQSClient = self._make("sqs", OWN_CALLS)
        return client

    @cached_property
    def lambda_(self) -> LambdaClient:
        client: LambdaClient = self._make("lambda", OWN_CALLS)
        return client

    @cached_property
    def scheduler(self) -> EventBridgeSchedulerClient:
        client: EventBridgeSchedulerClient = self._make("scheduler", OWN_CALLS)
        return client

    @cached_property
    def s3(self) -> S3Client:
        # Links that we sign must name the bucket's own region (virtual style does) and be of version 4; a local AWS has no such names.
        style: Literal["path", "virtual"] = "path" if "AWS_ENDPOINT_URL" in os.environ else "virtual"
        client: S3Client = self._make("s3", OWN_CALLS.merge(Config(signature_version="s3v4", s3={"addressing_style": style})))
        return client

    def _make(self, service: str, config: Config) -> Any:
        return self._session.create_client(service, config=config)

    @cached_property
    def _session(self) -> Session:
        return Session()


def make_log(redactor: Redactor | None = None, stream: TextIO | None = None) -> Any:
    """Powertools' logger: one JSON line per call, without what `redactor` knows; service and level come from its environment variables.

    In a Lambda function everything else that writes becomes such lines too: what is printed, warnings, other loggers, threads that die.
    """
    redactor = redactor or Redactor()
    log = Logger(logger_formatter=LineFormatter(redactor), stream=stream)
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        _take_over(redactor, log)
    return log


def _take_over(redactor: Redactor, log: Any) -> None:
    logging.captureWarnings(True)
    for handler in logging.getLogger().handlers:  # Lambda's own writes JSON already (`logging_format`)
        handler.setFormatter(RedactedFormatter(handler.formatter or logging.Formatter(), redactor))
    threading.excepthook = lambda died: log.error("a thread died", exc_info=died.exc_value)
    sys.stdout, sys.stderr = Printed(sys.stdout, redactor), Printed(sys.stderr, redactor)


def make_enqueueing(settings: Settings, clients: Clients, log: Any) -> Enqueueing:
    """What makes jobs in a function that is no API."""
    from jobline.definitions import Definitions
    from jobline.direct import Direct
    from jobline.enqueueing import Enqueueing
    from jobline.payloads import Bodies
    from jobline.queue import Queues
    from jobline.store import JobStore
    from jobline.types import Types

    def queues() -> Queues:
        return Queues(clients.sqs, settings.queue_url_base)

    return Enqueueing(
        store=JobStore(clients.dynamodb, settings.table),
        bodies=Bodies(clients.dynamodb, settings.table, lambda: clients.s3, settings.bucket),
        definitions=Definitions.baked(),
        types=Types.baked(),
        now=utc_now,
        random=os.urandom,
        direct=Direct(queues=queues, lanes=settings.lanes, clock=utc_now, log=log),
    )


def worker_handler(package: str, make_tools: Callable[..., Any] | None = None) -> Callable[[dict[str, Any], LambdaContext], dict[str, Any]]:
    """The Lambda handler of a worker folder: `handler = worker_handler(__package__)` is all that its `handler.py` says.

    `make_tools` makes something richer than a `Toolbox` of a toolbox's arguments.
    """
    import boto3  # for handlers, whose clients are those that people know

    from jobline.children import Children
    from jobline.context import Toolbox
    from jobline.definitions import Definitions
    from jobline.payloads import Bodies
    from jobline.quarantine import Quarantine
    from jobline.queue import Queues
    from jobline.record_reader import RecordReader
    from jobline.registry import Registry
    from jobline.settings import Settings
    from jobline.store import JobStore
    from jobline.types import Types
    from jobline.worker import Worker

    settings = Settings.from_environment(os.environ)
    definitions = Definitions.baked()
    clients, redactor, types = Clients(), Redactor(), Types.baked()
    log = make_log(redactor)
    declared = definitions.workers[settings.worker]
    store = JobStore(clients.dynamodb, settings.table)
    bodies = Bodies(clients.dynamodb, settings.table, lambda: clients.s3, settings.bucket)
    queues = Queues(clients.sqs, settings.queue_url_base)
    tools: Toolbox = (make_tools or Toolbox)(
        client=lambda service: boto3.client(service, config=HANDLER_CALLS),  # type: ignore[call-overload]
        stage=settings.stage,
        bucket=settings.bucket,
        # As the function has them now: one that an operator changed there counts until the next deployment.
        settings={name: os.environ.get(name, value) for name, value in declared.environment.items()},
        secrets=declared.secrets,
        clock=utc_now,
        children=Children(make_enqueueing(settings, clients, log)),
        redactor=redactor,
        records=RecordReader(store, definitions),
    )
    worker = Worker(
        registry=Registry.discover(package),
        types=types.of_worker(settings.worker),
        store=store,
        bodies=bodies,
        queues=queues,
        quarantine=Quarantine(lambda: clients.s3, settings.bucket),
        tools=tools,
        keep=definitions.keep,
        clock=utc_now,
        uniform=random.uniform,
        log=log,
        handler_log=log,
        threads=definitions.threads,
    )

    def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        return worker.handle(event, request_id=context.aws_request_id, remaining_milliseconds=context.get_remaining_time_in_millis())

    return handler


def operations_handler(package: str) -> Callable[[dict[str, Any], LambdaContext], dict[str, Any]]:
    """The Lambda handler of the operations worker: batches of its queue as any worker, requests to pause or resume a queue, and the
    runs of schedules, from EventBridge Scheduler or, when an earlier call of it failed, from its queue.
    """
    from jobline.counter_items import CounterItems
    from jobline.definitions import Definitions
    from jobline.firing import DELIVERY, Firing, failed_delivery
    from jobline.operator_tools import OperatorTools
    from jobline.pausing import REQUEST, Pausing
    from jobline.payloads import Bodies
    from jobline.queue import Queues
    from jobline.queue_states import QueueStates
    from jobline.replies import Replies
    from jobline.schedule_notes import ScheduleNotes
    from jobline.settings import Settings
    from jobline.store import JobStore
    from jobline.telling import Telling, type_finder
    from jobline.topic_items import TopicItems
    from jobline.topics import Topics
    from jobline.types import Types

    settings = Settings.from_environment(os.environ)
    clients = Clients()
    notes = QueueStates(clients.dynamodb, settings.table)
    pausing = Pausing(client=lambda: clients.lambda_, mappings=settings.mappings, notes=notes, clock=utc_now)
    store = JobStore(clients.dynamodb, settings.table)
    definitions = Definitions.baked()
    telling = Telling(
        store=store,
        bodies=Bodies(clients.dynamodb, settings.table, lambda: clients.s3, settings.bucket),
        type_of=type_finder(definitions, Types.baked()),
    )
    tools = partial(
        OperatorTools,
        store=store,
        counters=CounterItems(clients.dynamodb, settings.table),
        keep=definitions.keep,
        telling=telling,
        replies=Replies(lambda: clients.sqs, settings.replies),
        topics=Topics(definitions=definitions, store=TopicItems(clients.dynamodb, settings.table)),
    )
    work = worker_handler(package, tools)

    log = make_log()
    firing = Firing(
        enqueueing=make_enqueueing(settings, clients, log),
        note=ScheduleNotes(clients.dynamodb, settings.table).write,
        queues=lambda: Queues(clients.sqs, settings.queue_url_base),
        clock=utc_now,
        log=log,
    )

    def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        if REQUEST in event:
            return pausing.handle(event)
        if DELIVERY in event:
            return firing.handle(event)
        return firing.repeat(event) if failed_delivery(event) else work(event, context)

    return handler
