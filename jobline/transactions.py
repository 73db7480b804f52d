"""Several conditional writes of one table as one: all are made, or none is. Dearer than single ones, so only for what needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobline.aws import aws_errors
from jobline.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_CONDITION: Final = "ConditionalCheckFailed"
_PASSING: Final = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
"""Reasons that say nothing of the items (CancellationReason, Amazon DynamoDB API reference)."""


class Refusal(NamedTuple):
    """A write whose condition did not hold, and the item that stood there (`None`: nothing did)."""

    item: Mapping[str, Any] | None


def transact(dynamodb: DynamoDBClient, what: str, writes: Sequence[Any]) -> tuple[Refusal | None, ...] | None:
    """Makes all of these writes (`Put`, `Update` … of TransactWriteItems); `None` when they were made.

    Else nothing was: what refused each of them, `None` for those that did not; all `None` when another transaction was in the way.
    Each write asks for the old item with `ReturnValuesOnConditionCheckFailure`. Raises `Unavailable`.
    """
    try:
        with aws_errors(what):
            dynamodb.transact_write_items(TransactItems=list(writes))
    except dynamodb.exceptions.TransactionCanceledException as error:
        reasons: list[Any] = error.response["CancellationReasons"]
        codes = {reason.get("Code") or "None" for reason in reasons} - {"None"}
        if _CONDITION in codes or codes == {"TransactionConflict"}:
            return tuple(Refusal(reason.get("Item") or None) if reason.get("Code") == _CONDITION else None for reason in reasons)
        if codes and codes <= _PASSING:
            raise Unavailable(f"{what}: {error}") from error
        raise
    return None


def transact_making(dynamodb: DynamoDBClient, what: str, writes: Sequence[Any], makes: Sequence[Any]) -> tuple[Refusal | None, ...] | None:
    """The same for these writes together with the puts of what they make; the answer is about `writes` alone.

    A put that is refused was made before: by another answer of this very write that was lost, or from a backup. It stands in nobody's
    way: the rest is written without it.
    """
    refusals = transact(dynamodb, what, [*writes, *makes])
    if refusals is None:
        return None
    refused, present = refusals[: len(writes)], refusals[len(writes) :]
    if any(refused) or not any(present):
        return refused
    left = [put for put, there in zip(makes, present, strict=True) if there is None]
    return transact_making(dynamodb, what, writes, left)
