"""Lambda entry point of the observer: the table's stream in, the queues' counters out, left bodies gone, and batches awake."""

import os
from typing import Any

from jobline.nudging import Nudging
from jobline.observer import Observer
from jobline.payloads import Bodies
from jobline.settings import Settings
from jobline.store import JobStore
from jobline.wiring import Clients, LambdaContext, make_log, utc_now

settings = Settings.from_environment(os.environ)
clients = Clients()
bodies = Bodies(clients.dynamodb, settings.table, lambda: clients.s3, settings.bucket)
log = make_log()
nudging = Nudging(store=JobStore(clients.dynamodb, settings.table), clock=utc_now, log=log)
observer = Observer(dynamodb=clients.dynamodb, table=settings.table, bodies=bodies, nudging=nudging, clock=utc_now, log=log)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return observer.handle(event)
