"""Lambda entry point of the API: one HTTP request in, one answer out."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functions.api.routes import Api
from jobline.api_routes import OPENAPI_FILE
from jobline.definitions import Definitions
from jobline.direct import Direct
from jobline.operations import Operations
from jobline.payloads import Bodies
from jobline.queue import Queues
from jobline.redaction import Redactor
from jobline.service import Service
from jobline.settings import Settings
from jobline.store import JobStore
from jobline.types import Types
from jobline.wiring import Clients, LambdaContext, make_log, utc_now

if TYPE_CHECKING:
    from jobline.publishing import Publishing
    from jobline.scheduling import Scheduling

settings = Settings.from_environment(os.environ)
clients = Clients()


def read_stats(queue: str, now: datetime) -> Any:
    from jobline.stats import read_stats  # a cold start that enqueues a job need not pay for it

    return read_stats(clients.dynamodb, settings.table, queue, now=now)


def read_paused(queues: Sequence[str]) -> Collection[str]:
    from jobline.queue_states import QueueStates  # neither need it pay for this, nor for what pauses

    return QueueStates(clients.dynamodb, settings.table).paused(queues)


def switch(queue: str, paused: bool) -> None:
    from jobline.pausing import ask

    ask(clients.lambda_, settings.operations_function, queue, paused=paused)


@cache
def scheduling() -> Scheduling:
    from jobline.schedule_notes import ScheduleNotes
    from jobline.schedules import Place, Schedules
    from jobline.scheduling import Scheduling

    return Scheduling(
        schedules=Schedules(lambda: clients.scheduler, Place(**settings.schedules)),
        enqueueing=service.enqueueing,
        declared=service.definitions.schedules,
        read_note=ScheduleNotes(clients.dynamodb, settings.table).read,
    )


@cache
def publishing() -> Publishing:
    from jobline.publishing import Publishing
    from jobline.topic_items import TopicItems
    from jobline.topics import Topics

    topics = Topics(definitions=service.definitions, store=TopicItems(clients.dynamodb, settings.table))
    return Publishing(topics=topics, enqueueing=service.enqueueing)


def read_contract() -> str:
    return (Path(os.environ["LAMBDA_TASK_ROOT"]) / OPENAPI_FILE).read_text(encoding="utf-8")


def queues() -> Queues:
    """SQS, whose client only an ordered or low-latency queue needs."""
    return Queues(clients.sqs, settings.queue_url_base)


redactor = Redactor()
log = make_log(redactor)
service = Service(
    store=JobStore(clients.dynamodb, settings.table),
    bodies=Bodies(clients.dynamodb, settings.table, lambda: clients.s3, settings.bucket),
    definitions=Definitions.baked(),
    types=Types.baked(),
    read_stats=read_stats,
    now=utc_now,
    random=os.urandom,
    direct=Direct(queues=queues, lanes=settings.lanes, clock=utc_now, log=log),
)
operations = Operations(enqueueing=service.enqueueing, switch=switch, read_paused=read_paused)
api = Api(service, operations, scheduling, publishing, stage=settings.stage, log=log, redactor=redactor, read_contract=read_contract)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return api.handle(event, context)
