"""Lambda entry point of the ticker: looks after every queue once a minute."""

import os
from typing import Any

from jobline.counter_items import CounterItems
from jobline.definitions import OPERATIONS, Definitions
from jobline.gauges import Gauges
from jobline.queue_states import QueueStates
from jobline.recounting import recount_job
from jobline.settings import Settings
from jobline.store import JobStore
from jobline.ticker import Ticker
from jobline.wiring import Clients, LambdaContext, make_log, utc_now

ENOUGH_LEFT = 5_000
"""Milliseconds kept back to end a tick in good order."""

settings = Settings.from_environment(os.environ)
definitions = Definitions.baked()
clients = Clients()
log = make_log()
ticker = Ticker(
    store=JobStore(clients.dynamodb, settings.table),
    states=QueueStates(clients.dynamodb, settings.table),
    queues=definitions.queues,
    keep=definitions.keep,
    clock=utc_now,
    log=log,
    counters=CounterItems(clients.dynamodb, settings.table).peek,
    recount_job=lambda queue, since, now: recount_job(queue, since, definitions.queues[OPERATIONS], now=now),
    gauges=Gauges(definitions, stack=settings.stack, clock=utc_now, log=log),
)


def handler(event: dict[str, Any], context: LambdaContext) -> None:
    ticker.tick(out_of_time=lambda: context.get_remaining_time_in_millis() < ENOUGH_LEFT)
