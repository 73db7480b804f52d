"""What is known of a queue as a whole: whether it is paused, how far the ticker has walked, and what it sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from jobline.aws import aws_errors
from jobline.errors import Unavailable
from jobline.store import Key
from jobline.times import from_milliseconds, to_milliseconds

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SHORTEST_REST: Final = timedelta(minutes=15)
LONGEST_REST: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """One queue's state; a queue that was never written has the defaults."""

    paused: bool = False
    """Whether the queue's jobs are kept from starting."""
    paused_at: datetime | None = None
    rest_until: datetime | None = None
    """Until when nothing is sent again after a pause: the messages of the backlog are where they were, and need time to be taken."""
    walked: Mapping[str, Key] = field(default_factory=dict)
    """`by_queue` partition → the last key that the repair walk has read."""
    heads: Mapping[str, Key] = field(default_factory=dict)
    """`by_queue` partition → the last key before the oldest job that is not over."""
    oldest_created_at: datetime | None = None
    """When the oldest job that waits and is due was created, as sampled."""
    active_workers: int = 0
    """Distinct holders of live leases, as sampled."""

    def rests(self, now: datetime) -> bool:
        """Whether overdue messages are left as they are: nobody took them because the queue is paused, or was until lately."""
        return self.paused or (self.rest_until is not None and now < self.rest_until)

    def pausing(self, now: datetime) -> QueueState:
        """Paused; since when, if it is already, stays."""
        return replace(self, paused=True, paused_at=self.paused_at or now)

    def resuming(self, now: datetime) -> QueueState:
        """Not paused any more: repair rests about as long as the pause was, 15 minutes to an hour. `self` when it was not paused."""
        if not self.paused:
            return self
        rest = min(max(now - (self.paused_at or now), SHORTEST_REST), LONGEST_REST)
        return replace(self, paused=False, paused_at=None, rest_until=now + rest)


class States(Protocol):
    """Where queue states are kept."""

    def get(self, queue: str) -> QueueState: ...
    def save_walk(self, queue: str, state: QueueState) -> None:
        """Stores everything but what a pause left, which is not the ticker's to say."""


def item_key(queue: str) -> str:
    return f"queue#{queue}"


def decode_state(item: Any) -> QueueState:
    """The state that a table item holds; the defaults of an empty one."""
    return QueueState(
        paused=item.get("paused", {}).get("BOOL", False),
        paused_at=_decode_time(item.get("paused_at")),
        rest_until=_decode_time(item.get("rest_until")),
        walked=_decode_keys(item.get("walked")),
        heads=_decode_keys(item.get("heads")),
        oldest_created_at=_decode_time(item.get("oldest_created_at")),
        active_workers=int(item.get("active_workers", {}).get("N", 0)),
    )


class QueueStates:
    """Queue states in the jobs table, one item each."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def get(self, queue: str) -> QueueState:
        with aws_errors("reading a queue's state"):
            answer = self._dynamodb.get_item(TableName=self._table, Key={"id": {"S": item_key(queue)}}, ConsistentRead=True)
        return decode_state(answer.get("Item", {}))

    def paused(self, queues: Sequence[str]) -> frozenset[str]:
        """Those of the queues that are paused, as of a moment ago."""
        keys = {item_key(queue): queue for queue in queues}
        found: set[str] = set()
        wanted = [{"id": {"S": key}} for key in keys]
        while wanted:
            request: Any = {self._table: {"Keys": wanted[:100], "ProjectionExpression": "id, paused"}}
            with aws_errors("reading queues' states"):
                answer = self._dynamodb.batch_get_item(RequestItems=request)
            found |= {keys[item["id"]["S"]] for item in answer["Responses"].get(self._table, ()) if decode_state(item).paused}
            unprocessed: Any = answer.get("UnprocessedKeys", {})
            left = unprocessed.get(self._table, {}).get("Keys", [])
            if len(left) == len(wanted[:100]):
                raise Unavailable("reading queues' states: DynamoDB processed none of the keys")
            wanted = [*left, *wanted[100:]]
        return frozenset(found)

    def pause(self, queue: str, now: datetime) -> None:
        """Notes that the queue is paused (`QueueState.pausing`)."""
        values = {":yes": {"BOOL": True}, ":now": {"N": str(to_milliseconds(now))}}
        self._update(queue, "SET paused = :yes, paused_at = if_not_exists(paused_at, :now)", values)

    def resume(self, queue: str, now: datetime) -> None:
        """Notes that the queue is not paused any more (`QueueState.resuming`)."""
        state = self.get(queue).resuming(now)
        if state.rest_until is not None:
            values = {":until": {"N": str(to_milliseconds(state.rest_until))}}
            self._update(queue, "SET rest_until = :until REMOVE paused, paused_at", values)

    def save_walk(self, queue: str, state: QueueState) -> None:
        values: dict[str, Any] = {
            ":walked": _encode_keys(state.walked),
            ":heads": _encode_keys(state.heads),
            ":workers": {"N": str(state.active_workers)},
        }
        update = "SET walked = :walked, heads = :heads, active_workers = :workers"
        if state.oldest_created_at is None:
            update += " REMOVE oldest_created_at"
        else:
            values[":oldest"] = {"N": str(to_milliseconds(state.oldest_created_at))}
            update = update.replace("SET ", "SET oldest_created_at = :oldest, ")
        self._update(queue, update, values)

    def _update(self, queue: str, update: str, values: Mapping[str, Any]) -> None:
        with aws_errors("storing a queue's state"):
            self._dynamodb.update_item(
                TableName=self._table, Key={"id": {"S": item_key(queue)}}, UpdateExpression=update, ExpressionAttributeValues=values
            )


def _decode_time(value: Any) -> datetime | None:
    return None if value is None else from_milliseconds(int(value["N"]))


def _encode_keys(keys: Mapping[str, Key]) -> dict[str, Any]:
    return {"M": {partition: {"S": f"{to_milliseconds(key.at)} {key.id}"} for partition, key in keys.items()}}


def _decode_keys(value: Any) -> dict[str, Key]:
    keys = {}
    for partition, text in (value or {}).get("M", {}).items():
        at, job_id = text["S"].split(" ", 1)
        keys[partition] = Key(job_id, from_milliseconds(int(at)))
    return keys
