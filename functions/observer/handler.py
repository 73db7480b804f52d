"""Lambda entry point of the observer: the table's stream in, the queues' counters out."""

import os
from typing import Any

from jobline.observer import Observer
from jobline.settings import Settings
from jobline.wiring import Clients, LambdaContext, make_log, utc_now

settings = Settings.from_environment(os.environ)
observer = Observer(dynamodb=Clients().dynamodb, table=settings.table, clock=utc_now, log=make_log())


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return observer.handle(event)
