"""What a deployment costs while nothing happens, in US dollars per month, before any free tier.

Prices of us-east-1, from the services' pricing pages (SQS, DynamoDB, Lambda, EventBridge Scheduler, CloudWatch). What depends on use or on
what is stored (requests, jobs, records, logs) is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from jobline.definitions import NEW_KEY, OPERATIONS, Definitions, QueueAlarms
from jobline.shards import SHARDS

MINUTES: Final = 30 * 24 * 60
SQS_REQUEST: Final = 0.40 / 1_000_000
FIFO_REQUEST: Final = 0.50 / 1_000_000
POLLS_PER_MINUTE: Final = 5 * 3
"""A mapping keeps five long polls of 20 s going (Lambda developer guide, "Using Lambda with Amazon SQS")."""
READ_UNIT: Final = 0.125 / 1_000_000
LOOKS: Final = 3
"""The ticker looks at each queue's partitions three times a minute: what waits, what may be lost, and a sample for the stats."""
QUERY_OF_NOTHING: Final = 0.5
"""Read units of an eventually consistent query that finds nothing (Amazon DynamoDB pricing)."""
SECONDS_PER_LOOK: Final = 0.04
"""Eight queries of 5 ms."""
GIGABYTE_SECOND: Final = 0.0000133334
"""Lambda on arm64; the ticker has half a gigabyte."""
INVOCATION: Final = (1.00 + 0.20) / 1_000_000
"""EventBridge Scheduler and Lambda."""


ALARM: Final = 0.10
DASHBOARD: Final = 3.00
"""A month each (Amazon CloudWatch pricing, standard resolution). A metric of ours has no values at rest, and then costs nothing."""
ALARMS_OF_PARTS: Final = 10
"""Of relay, observer, ticker, dead_letters and operations, of what they could not do, and of dead jobs; doors and workers have one each."""
KMS_KEY: Final = 1.00
"""A month; each of the first two yearly rotations adds as much."""
KMS_REQUEST: Final = 0.03 / 10_000
TABLE_KEY_REQUESTS_PER_HOUR: Final = 12
"""DynamoDB keeps a table's key for five minutes per caller; at rest the ticker is the only one."""


class Item(NamedTuple):
    """One line of the bill."""

    what: str
    dollars: float


def idle_cost(definitions: Definitions) -> Sequence[Item]:
    """The lines of the bill; what is free at rest has none."""
    alarms = alarms_of(definitions)
    mappings = sum(len(queue.lane_names) + 1 for queue in definitions.queues.values() if not queue.ordered)
    ordered = sum(1 for queue in definitions.queues.values() if queue.ordered)  # one lane each, and no dead-letter queue
    looks = LOOKS * len(definitions.queues)
    # One unit and a half more for each queue's own item, which is read consistently, and its counters.
    reads = looks * SHARDS * QUERY_OF_NOTHING + 1.5 * len(definitions.queues)
    tick = INVOCATION + reads * READ_UNIT + looks * SECONDS_PER_LOOK * 0.5 * GIGABYTE_SECOND
    polls = POLLS_PER_MINUTE * MINUTES
    return (
        Item(f"{mappings} SQS queues polled by Lambda", mappings * polls * SQS_REQUEST),
        *([Item(f"{ordered} FIFO queue{'s' if ordered > 1 else ''}", ordered * polls * FIFO_REQUEST)] if ordered else ()),
        Item("the ticker, each minute", MINUTES * tick),
        *([Item(f"{alarms} alarms", alarms * ALARM)] if alarms else ()),
        *([Item("the dashboard", DASHBOARD)] if definitions.monitoring.dashboard else ()),
        *_key(definitions.encryption.kms_key),
    )


def alarms_of(definitions: Definitions) -> int:
    """How many alarms the stack has."""
    asked = sum(getattr(queue.alarms, key) is not None for queue in definitions.queues.values() for key in QueueAlarms.__struct_fields__)
    if not definitions.monitoring.alarms:
        return asked
    doors = 2 if definitions.access.jwt else 1
    return asked + doors + ALARMS_OF_PARTS + len(definitions.workers.keys() - {OPERATIONS})


def _key(kms_key: str | None) -> Sequence[Item]:
    """A key of the customer's, whose own dollar is counted only if the stack makes it."""
    if kms_key is None:
        return ()
    requests = TABLE_KEY_REQUESTS_PER_HOUR * MINUTES / 60 * KMS_REQUEST
    return (Item("the KMS key", requests + (KMS_KEY if kms_key == NEW_KEY else 0)),)
