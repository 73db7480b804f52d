"""Lambda entry point of the observer: the table's stream in, the queues' counters out, and left bodies gone."""

import os
from typing import Any

from jobline.observer import Observer
from jobline.payloads import Bodies
from jobline.settings import Settings
from jobline.wiring import Clients, LambdaContext, make_log, utc_now

settings = Settings.from_environment(os.environ)
clients = Clients()
bodies = Bodies(clients.dynamodb, settings.table, lambda: clients.s3, settings.bucket)
observer = Observer(dynamodb=clients.dynamodb, table=settings.table, bodies=bodies, clock=utc_now, log=make_log())


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return observer.handle(event)
