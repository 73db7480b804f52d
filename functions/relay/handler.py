"""Lambda entry point of the relay: the table's stream in, SQS messages out."""

import os
from typing import Any

from jobline.queue import Queues
from jobline.relay import Relay
from jobline.settings import Settings
from jobline.wiring import Clients, LambdaContext, make_log, utc_now

settings = Settings.from_environment(os.environ)
relay = Relay(
    queues=Queues(Clients().sqs, settings.queue_url_base),
    lanes=settings.lanes,
    set_aside=settings.set_aside_queue,
    clock=utc_now,
    log=make_log(),
)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return relay.handle(event)
