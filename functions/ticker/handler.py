"""Lambda entry point of the ticker: looks after every queue once a minute."""

import os
from typing import Any

from jobline.definitions import Definitions
from jobline.queue_states import QueueStates
from jobline.settings import Settings
from jobline.store import JobStore
from jobline.ticker import Ticker
from jobline.wiring import Clients, LambdaContext, make_log, utc_now

ENOUGH_LEFT = 5_000
"""Milliseconds kept back to end a tick in good order."""

settings = Settings.from_environment(os.environ)
definitions = Definitions.baked()
clients = Clients()
ticker = Ticker(
    store=JobStore(clients.dynamodb, settings.table),
    states=QueueStates(clients.dynamodb, settings.table),
    queues=definitions.queues,
    keep=definitions.keep,
    clock=utc_now,
    log=make_log(),
)


def handler(event: dict[str, Any], context: LambdaContext) -> None:
    ticker.tick(out_of_time=lambda: context.get_remaining_time_in_millis() < ENOUGH_LEFT)
