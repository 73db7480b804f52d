"""What is known of a queue as a whole: whether it is paused, how far the ticker has walked, and what it sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from jobline.aws import aws_errors
from jobline.store import Key
from jobline.times import from_milliseconds, to_milliseconds

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """One queue's state; a queue that was never written has the defaults."""

    paused: bool = False
    walked: Mapping[str, Key] = field(default_factory=dict)
    """`by_queue` partition → the last key that the repair walk has read."""
    heads: Mapping[str, Key] = field(default_factory=dict)
    """`by_queue` partition → the last key before the oldest job that is not over."""
    oldest_created_at: datetime | None = None
    """When the oldest job that waits and is due was created, as sampled."""
    active_workers: int = 0
    """Distinct holders of live leases, as sampled."""


class States(Protocol):
    """Where queue states are kept."""

    def get(self, queue: str) -> QueueState: ...
    def save_walk(self, queue: str, state: QueueState) -> None:
        """Stores everything but `paused`, which is not the ticker's to say."""


def item_key(queue: str) -> str:
    return f"queue#{queue}"


def decode_state(item: Any) -> QueueState:
    """The state that a table item holds; the defaults of an empty one."""
    oldest = item.get("oldest_created_at")
    return QueueState(
        paused=item.get("paused", {}).get("BOOL", False),
        walked=_decode_keys(item.get("walked")),
        heads=_decode_keys(item.get("heads")),
        oldest_created_at=from_milliseconds(int(oldest["N"])) if oldest else None,
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
        with aws_errors("storing a queue's state"):
            self._dynamodb.update_item(
                TableName=self._table, Key={"id": {"S": item_key(queue)}}, UpdateExpression=update, ExpressionAttributeValues=values
            )


def _encode_keys(keys: Mapping[str, Key]) -> dict[str, Any]:
    return {"M": {partition: {"S": f"{to_milliseconds(key.at)} {key.id}"} for partition, key in keys.items()}}


def _decode_keys(value: Any) -> dict[str, Key]:
    keys = {}
    for partition, text in (value or {}).get("M", {}).items():
        at, job_id = text["S"].split(" ", 1)
        keys[partition] = Key(job_id, from_milliseconds(int(at)))
    return keys
