"""What a deployment costs while nothing happens, in US dollars per month, before any free tier.

Prices of us-east-1, from the services' pricing pages (SQS, DynamoDB, Lambda, EventBridge Scheduler). What depends on use or on
what is stored (requests, jobs, records, logs) is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from jobline.definitions import Definitions
from jobline.shards import SHARDS

MINUTES: Final = 30 * 24 * 60
SQS_REQUEST: Final = 0.40 / 1_000_000
POLLS_PER_MINUTE: Final = 5 * 3
"""A mapping keeps five long polls of 20 s going (Lambda developer guide, "Using Lambda with Amazon SQS")."""
READ_UNIT: Final = 0.125 / 1_000_000
TICK: Final = 1.00 / 1_000_000 + 0.20 / 1_000_000 + 0.5 * 0.2 * 0.0000133334
"""One run of the ticker: schedule, request, and 512 MB of arm64 for 0.2 s."""


class Item(NamedTuple):
    """One line of the bill."""

    what: str
    dollars: float


def idle_cost(definitions: Definitions) -> Sequence[Item]:
    """The lines of the bill; what is free at rest has none."""
    mappings = sum(len(queue.lane_names) + 1 for queue in definitions.queues.values())
    # An eventually consistent query of nothing is half a read unit: each minute one per queue and shard, for each of the
    # ticker's two duties, and a handful of items.
    reads = sum(2 * SHARDS * 0.5 + 4 for _ in definitions.queues)
    return (
        Item(f"{mappings} queues polled by Lambda", mappings * POLLS_PER_MINUTE * MINUTES * SQS_REQUEST),
        Item("the ticker, each minute", MINUTES * (TICK + reads * READ_UNIT)),
    )
