"""Lambda entry point of the API: one HTTP request in, one answer out."""

import os
from typing import Any

from functions.api.routes import Api
from jobline.definitions import Definitions
from jobline.payloads import Bodies
from jobline.service import Service
from jobline.settings import Settings
from jobline.stats import read_stats
from jobline.store import JobStore
from jobline.types import Types
from jobline.wiring import Clients, LambdaContext, make_log, utc_now

settings = Settings.from_environment(os.environ)
clients = Clients()
service = Service(
    store=JobStore(clients.dynamodb, settings.table),
    bodies=Bodies(clients.dynamodb, settings.table, lambda: clients.s3, settings.bucket),
    definitions=Definitions.baked(),
    types=Types.baked(),
    read_stats=lambda queue, now: read_stats(clients.dynamodb, settings.table, queue, now=now),
    now=utc_now,
    random=os.urandom,
)
api = Api(service, stage=settings.stage, log=make_log())


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return api.handle(event, context)
