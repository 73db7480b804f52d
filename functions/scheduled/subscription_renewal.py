"""Renewals: a payment for each subscription whose next period is due, once."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jobline import Context, NonRetryable, job
from jobline.errors import InvalidRequest

INDEX: Final = "by_due"
DUE: Final = "due"
"""What an active subscription has in `renewal`, the index's hash key; one without it is renewed no more."""
PAGE: Final = 25
LONGEST_CLAIM: Final = timedelta(days=1)
"""A period that was claimed longer ago is not gone on with: its payment's record may be gone by now, and with it what keeps it single."""
MOST_NAMED: Final = 20
"""Subscriptions that the result names."""


class SubscriptionRenewal(msgspec.Struct, forbid_unknown_fields=True):
    until: Annotated[
        Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}(?![\s\S])")] | UnsetType,
        Meta(description="The last due date that is renewed, YYYY-MM-DD; without it the day, in UTC, on which the job first runs."),
    ] = UNSET
    dry_run: Annotated[bool, Meta(description="Whether subscriptions are only counted.")] = False
    limit: Annotated[int, Meta(ge=1, le=1_000_000, description="Payments at most; the next job goes on.")] = 100_000


class Subscription(msgspec.Struct):
    """A subscription as the table has it."""

    id: Annotated[str, Meta(max_length=80, pattern=r"^[!-~]+$")]
    due_on: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    every: Literal["week", "month", "year"]
    amount: Annotated[int, Meta(ge=1)]
    currency: str
    payment_method: str
    customer: str | UnsetType = UNSET
    day: Annotated[int, Meta(ge=1, le=31)] | UnsetType = UNSET


class Standing(msgspec.Struct):
    """How far a renewal has come: what its checkpoints keep."""

    until: str
    after: Any = None
    seen: int = 0
    enqueued: int = 0
    skipped: int = 0
    """Renewed, moved or stopped by somebody else meanwhile."""
    held: list[str] = []
    invalid: list[str] = []
    held_count: int = 0
    invalid_count: int = 0


@job("subscription_renewal", timeout=570, max_attempts=10, retry={"backoff": "exponential", "base_delay": 2000, "max_delay": 300_000})
def subscription_renewal(payload: SubscriptionRenewal, ctx: Context) -> dict[str, Any]:
    """Enqueues one `payment_process` for each due subscription and period, and moves the subscription to its next period.

    First the period is claimed in the subscription's item for this job, then the payment is enqueued as this job's child with the key
    "subscription:period", then the item is moved on. Whatever crashes in between, this job does the same again, and finds what it did; no
    other job touches a claimed period. Returns counts, and names subscriptions that need somebody's eye.
    """
    table = ctx.setting("SUBSCRIPTIONS_TABLE", "")
    if not table:
        raise NonRetryable("[environment] of worker.toml names no SUBSCRIPTIONS_TABLE")
    until = ctx.clock().date().isoformat() if payload.until is UNSET else payload.until
    standing = msgspec.convert(ctx.cursor, Standing) if ctx.cursor else Standing(until=until)
    more = False
    while True:
        options = {"ExclusiveStartKey": standing.after} if standing.after else {}
        answer = ctx.aws("dynamodb").query(
            TableName=table,
            IndexName=INDEX,
            Limit=PAGE,
            KeyConditionExpression="renewal = :due AND due_on <= :until",
            ExpressionAttributeValues={":due": {"S": DUE}, ":until": {"S": standing.until}},
            **options,
        )
        items = answer["Items"]
        more = len(items) > payload.limit - standing.enqueued
        for item in items[: payload.limit - standing.enqueued]:
            standing.seen += 1
            _renew(item, table, standing, payload.dry_run, ctx)
        standing.after = answer.get("LastEvaluatedKey")
        if more or standing.after is None:
            break
        ctx.checkpoint(msgspec.to_builtins(standing))
    return {
        **{name: getattr(standing, name) for name in ("until", "seen", "enqueued", "skipped")},
        "held": standing.held_count,
        "invalid": standing.invalid_count,
        "look_at": standing.held + standing.invalid,
        "dry_run": payload.dry_run,
        "more": more,
    }


def _renew(found: dict[str, Any], table: str, standing: Standing, dry_run: bool, ctx: Context) -> None:
    """Renews one subscription for the period that the index says is due."""
    id, period = found["id"]["S"], found["due_on"]["S"]
    if dry_run:
        standing.enqueued += _read(found, standing) is not None
        return
    item = _claimed(id, period, table, standing, ctx)
    if item is None:
        return
    subscription = _read(item, standing)
    if subscription is None:
        _let_go(id, table, ctx)
        return
    given = {"amount": subscription.amount, "currency": subscription.currency, "payment_method": subscription.payment_method}
    if subscription.customer is not UNSET:
        given["customer"] = subscription.customer
    payment = {**given, "metadata": {"subscription": id, "period": period}}
    try:
        child = ctx.enqueue("payment_process", payment, queue=ctx.setting("PAYMENTS_QUEUE"), key=f"{id}:{period}")
    except InvalidRequest as error:
        _note_invalid(id, error, standing)
        _let_go(id, table, ctx)
        return
    _move_on(subscription, child, table, ctx)
    standing.enqueued += 1


def _claimed(id: str, period: str, table: str, standing: Standing, ctx: Context) -> dict[str, Any] | None:
    """The item as it is, its period claimed for this job, now or by an earlier attempt; `None` when it is not to be renewed here."""
    dynamodb, now = ctx.aws("dynamodb"), ctx.clock()
    try:
        answer = dynamodb.update_item(
            TableName=table,
            Key={"id": {"S": id}},
            UpdateExpression="SET claimed_by = :me, claimed_at = if_not_exists(claimed_at, :now)",
            ConditionExpression=(
                "renewal = :due AND due_on = :period AND (attribute_not_exists(claimed_by) OR (claimed_by = :me AND claimed_at > :oldest))"
            ),
            ExpressionAttributeValues={
                ":me": {"S": ctx.idempotency_key},
                ":now": {"S": _text(now)},
                ":oldest": {"S": _text(now - LONGEST_CLAIM)},
                ":due": {"S": DUE},
                ":period": {"S": period},
            },
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except dynamodb.exceptions.ConditionalCheckFailedException as error:
        there = error.response.get("Item", {})
        if there.get("due_on", {}).get("S") == period and "claimed_by" in there and "renewal" in there:
            standing.held_count += 1
            if len(standing.held) < MOST_NAMED // 2:
                standing.held.append(f"{id}: claimed by job {there['claimed_by']['S']}"[:80])
        else:
            standing.skipped += 1
        return None
    item: dict[str, Any] = answer["Attributes"]
    return item


def _text(at: datetime) -> str:
    """Times that compare as text."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(item: dict[str, Any], standing: Standing) -> Subscription | None:
    """The subscription of an item; `None`, and noted, when something is wrong with it."""
    plain = {name: int(value["N"]) if value.get("N", "").isdigit() else next(iter(value.values())) for name, value in item.items()}
    try:
        subscription = msgspec.convert(plain, Subscription)
        date.fromisoformat(subscription.due_on)
    except (msgspec.ValidationError, ValueError) as error:
        _note_invalid(str(plain.get("id")), error, standing)
        return None
    return subscription


def _note_invalid(id: str, error: Exception, standing: Standing) -> None:
    standing.invalid_count += 1
    if len(standing.invalid) < MOST_NAMED // 2:
        standing.invalid.append(f"{id}: {error}"[:80])


def _let_go(id: str, table: str, ctx: Context) -> None:
    """Takes the claim back, nothing having been enqueued."""
    ctx.aws("dynamodb").update_item(
        TableName=table,
        Key={"id": {"S": id}},
        UpdateExpression="REMOVE claimed_by, claimed_at",
        ConditionExpression="claimed_by = :me",
        ExpressionAttributeValues={":me": {"S": ctx.idempotency_key}},
    )


def _move_on(subscription: Subscription, child: str, table: str, ctx: Context) -> None:
    """Makes the next period the subscription's due one, and gives the claim up."""
    due = date.fromisoformat(subscription.due_on)
    day = due.day if subscription.day is UNSET else subscription.day
    ctx.aws("dynamodb").update_item(
        TableName=table,
        Key={"id": {"S": subscription.id}},
        UpdateExpression="SET due_on = :next, #day = :day, renewed_period = :period, renewed_by = :child REMOVE claimed_by, claimed_at",
        ConditionExpression="due_on = :period AND claimed_by = :me",
        ExpressionAttributeNames={"#day": "day"},
        ExpressionAttributeValues={
            ":next": {"S": next_due(due, subscription.every, day).isoformat()},
            ":day": {"N": str(day)},
            ":period": {"S": subscription.due_on},
            ":child": {"S": child},
            ":me": {"S": ctx.idempotency_key},
        },
    )


def next_due(due: date, every: Literal["week", "month", "year"], day: int) -> date:
    """The due date of the period after `due`; `day` is the day of the month that is meant, also where a month does not have it."""
    if every == "week":
        return due + timedelta(days=7)
    months = due.year * 12 + due.month - 1 + (1 if every == "month" else 12)
    year, month = divmod(months, 12)
    return date(year, month + 1, min(day, calendar.monthrange(year, month + 1)[1]))
