"""Lambda entry point of the API: one HTTP request in, one answer out."""

import os
from datetime import datetime
from typing import Any

from functions.api.routes import Api
from jobline.definitions import Definitions
from jobline.payloads import Bodies
from jobline.service import Service
from jobline.settings import Settings
from jobline.store import JobStore
from jobline.types import Types
from jobline.wiring import Clients, LambdaContext, make_log, utc_now

settings = Settings.from_environment(os.environ)
clients = Clients()


def read_stats(queue: str, now: datetime) -> Any:
    from jobline.stats import read_stats  # a cold start that enqueues a job need not pay for it

    return read_stats(clients.dynamodb, settings.table, queue, now=now)


service = Service(
    store=JobStore(clients.dynamodb, settings.table),
    bodies=Bodies(clients.dynamodb, settings.table, lambda: clients.s3, settings.bucket),
    definitions=Definitions.baked(),
    types=Types.baked(),
    read_stats=read_stats,
    now=utc_now,
    random=os.urandom,
)
api = Api(service, stage=settings.stage, log=make_log())


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return api.handle(event, context)
