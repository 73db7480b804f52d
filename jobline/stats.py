"""A queue's numbers: what `GET /queues/{queue}/stats` answers, and the item of the table that they are read from.

Two items hold them: `stats#<queue>`, the counters that the observer folds, and `queue#<queue>`, which the ticker (oldest job,
active workers) and pause and resume write. Both are read in one call, whatever the number of jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from jobline.aws import aws_errors
from jobline.counters import COUNTED, Counters, Doubt, Fresh, Minute, Span
from jobline.errors import CorruptRecord, Unavailable
from jobline.job import Status
from jobline.marks import Marks
from jobline.queue_states import QueueState, decode_state
from jobline.queue_states import item_key as state_key
from jobline.records import Item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of one queue, by the API's names."""

    pending: int
    running: int
    failed: int
    """What went wrong: `retrying` and `dead` together."""
    retrying: int
    """Jobs whose last attempt failed and that wait for another."""
    scheduled: int
    dead: int
    done: int
    """Jobs done in the last 24 hours."""
    avg_wait_time: float | None
    """Seconds from due (or created) to started, over the last 60 minutes; null when nothing started in them."""
    p95_wait_time: float | None
    avg_run_time: float | None
    """Seconds from started to ended, over the last 60 minutes; null when nothing ended in them."""
    oldest_job_age: float | None
    """Seconds since the oldest job that is due and waits was created, as the ticker last saw it; null when none waits."""
    enqueue_rate: float
    """Jobs per second over the last 5 minutes."""
    dequeue_rate: float
    """Starts per second over the last 5 minutes."""
    error_rate: float
    """The share of attempts ended in the last 5 minutes that failed: 0 to 1."""
    active_workers: int
    """Workers that held a lease when the ticker last looked."""
    paused: bool


def queue_stats(counters: Counters, state: QueueState, *, now: datetime) -> QueueStats:
    """The stats that follow from a queue's counters and its state."""
    timing, rates = counters.timing(now), counters.rates(now)
    retrying, dead = counters.count(Status.FAILED), counters.count(Status.DEAD)
    pending, scheduled, running = (counters.count(status) for status in (Status.PENDING, Status.SCHEDULED, Status.RUNNING))
    # The ticker looks once a minute: the job that it saw may not wait any more.
    oldest = state.oldest_created_at if pending + scheduled + retrying else None
    return QueueStats(
        pending=pending,
        running=running,
        failed=retrying + dead,
        retrying=retrying,
        scheduled=scheduled,
        dead=dead,
        done=counters.done(now),
        avg_wait_time=_rounded(timing.avg_wait),
        p95_wait_time=_rounded(timing.p95_wait),
        avg_run_time=_rounded(timing.avg_run),
        oldest_job_age=None if oldest is None else _rounded(max(0.0, (now - oldest).total_seconds())),
        enqueue_rate=round(rates.enqueue, 4),
        dequeue_rate=round(rates.dequeue, 4),
        error_rate=round(rates.error, 4),
        active_workers=state.active_workers,
        paused=state.paused,
    )


def read_stats(dynamodb: DynamoDBClient, table: str, queue: str, *, now: datetime) -> QueueStats:
    """A queue's stats as of the observer's last fold: one call, one read unit. A queue without jobs yet has zeros.

    Raises `Unavailable` when DynamoDB does not answer, `CorruptRecord` when the counters cannot be read.
    """
    keys = [{"id": {"S": key}} for key in (counters_key(queue), state_key(queue))]
    with aws_errors("reading stats"):
        answer = dynamodb.batch_get_item(RequestItems={table: {"Keys": keys}})
    if answer.get("UnprocessedKeys"):
        raise Unavailable("reading stats: DynamoDB is throttling")
    items: dict[str, Item] = {item["id"]["S"]: item for item in answer["Responses"].get(table, ())}
    counters = decode_counters(items.get(counters_key(queue), {}))
    return queue_stats(counters, decode_state(items.get(state_key(queue), {})), now=now)


# ---------------------------------------------------------------------------------------------------- the item


def counters_key(queue: str) -> str:
    """The id of the item that holds a queue's counters."""
    return f"stats#{queue}"


_FORMAT: Final = 1


class _Recent(msgspec.Struct, frozen=True, array_like=True):
    """Recent history in as few bytes as it takes: buckets by age, counted back from `minute`."""

    version: int
    minute: int
    hours: list[tuple[int, int]]
    minutes: list[tuple[int, int, int, int, int]]
    spans: list[tuple[int, int, int, int, int, list[int]]]


def encode_counters(queue: str, counters: Counters) -> dict[str, dict[str, Any]]:
    """The counters as an item: the counts as plain attributes for people, the rest packed."""
    minute = max((*counters.minutes, *(mark.minute for mark in counters.marks.marks.values())), default=0)
    recent = _Recent(
        version=_FORMAT,
        minute=minute,
        hours=[(minute // 60 - hour, done) for hour, done in counters.hours.items()],
        minutes=[(minute - number, *seen) for number, seen in counters.minutes.items()],
        spans=[
            (minute // 5 - number, span.waits, span.waited, span.runs, span.ran, [n for pair in span.histogram.items() for n in pair])
            for number, span in counters.spans.items()
        ],
    )
    item: dict[str, dict[str, Any]] = {
        "id": {"S": counters_key(queue)},
        "rev": {"N": str(counters.rev)},
        "recent": {"B": msgspec.msgpack.encode(recent)},
        "marks": {"B": counters.marks.pack(minute)},
    }
    item |= {status.value: {"N": str(counters.counts[status])} for status in COUNTED if status in counters.counts}
    if counters.since:
        item["since"] = {"N": str(counters.since)}
    if counters.doubt is not None:
        item["recount"] = {"L": [{"N": str(at)} for at in counters.doubt]}
    if counters.fresh is not None:
        counts = {status.value: {"N": str(count)} for status, count in counters.fresh.counts.items()}
        item["fresh"] = {"M": {"since": {"N": str(counters.fresh.since)}, **counts}}
    return item


def decode_counters(item: Item) -> Counters:
    """The counters of an item; fresh ones of an empty item. Raises `CorruptRecord` when they cannot be read."""
    if not item:
        return Counters()
    try:
        recent = msgspec.msgpack.decode(bytes(item["recent"]["B"]), type=_Recent)
        if recent.version != _FORMAT:
            raise ValueError(f"format {recent.version} is not {_FORMAT}")
        minute = recent.minute
        return Counters(
            counts={status: int(item[status.value]["N"]) for status in COUNTED if status.value in item},
            hours={minute // 60 - age: done for age, done in recent.hours},
            minutes={minute - age: Minute(*seen) for age, *seen in recent.minutes},
            spans={
                minute // 5 - age: Span(waits, waited, runs, ran, dict(zip(bins[::2], bins[1::2], strict=True)))
                for age, waits, waited, runs, ran, bins in recent.spans
            },
            marks=Marks.unpack(bytes(item["marks"]["B"]), minute),
            since=int(item.get("since", {}).get("N", 0)),
            doubt=_decode_doubt(item.get("recount")),
            fresh=_decode_fresh(item.get("fresh")),
            rev=int(item["rev"]["N"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, msgspec.MsgspecError) as error:
        raise CorruptRecord(f"the item {item.get('id')} does not hold counters: {error!r}") from error


def _decode_doubt(value: Mapping[str, Any] | None) -> Doubt | None:
    if value is None:
        return None
    # The first release only said that there is one.
    return Doubt(*(int(at["N"]) for at in value["L"])) if "L" in value else Doubt(0, 0)


def _decode_fresh(value: Mapping[str, Any] | None) -> Fresh | None:
    if value is None:
        return None
    counts = {Status(name): int(count["N"]) for name, count in value["M"].items() if name != "since"}
    return Fresh(int(value["M"]["since"]["N"]), counts)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
