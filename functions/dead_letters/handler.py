"""Lambda entry point of dead_letters: settles what SQS gave up on."""

import os
from typing import Any

from jobline.dead_letters import DeadLetters
from jobline.definitions import Definitions
from jobline.quarantine import Quarantine
from jobline.queue import Queues
from jobline.settings import Settings
from jobline.store import JobStore
from jobline.wiring import Clients, LambdaContext, make_log, utc_now

settings = Settings.from_environment(os.environ)
clients = Clients()
dead_letters = DeadLetters(
    store=JobStore(clients.dynamodb, settings.table),
    queues=Queues(clients.sqs, settings.queue_url_base),
    quarantine=Quarantine(lambda: clients.s3, settings.bucket),
    keep=Definitions.baked().keep,
    clock=utc_now,
    log=make_log(),
)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return dead_letters.handle(event)
