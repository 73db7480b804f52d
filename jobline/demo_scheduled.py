"""The imports and scheduled jobs of `make demo`: a file of people, old sessions, a due subscription."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from jobline.demo_jobs import Act, Json, expect
from jobline.local_stack import LocalStack

PEOPLE: Final = 500
PEOPLE_KEY: Final = "imports/demo-people.csv"
COLUMNS: Final = [{"name": "id", "required": True}, {"name": "age", "type": "integer"}]


def scheduled_acts(stack: LocalStack, bucket: str) -> list[Act]:
    """The acts; the tables and the file that they need are made here."""
    dynamodb, s3 = stack.client("dynamodb"), stack.client("s3")
    for table in ("people", "sessions"):
        _create(dynamodb, table, "id")
    _create(dynamodb, "subscriptions", "id", by_due=("renewal", "due_on"))
    rows = "".join(f"p{number},{number % 90}\n" for number in range(PEOPLE))
    s3.put_object(Bucket=bucket, Key=PEOPLE_KEY, Body=f"id,age\n{rows}somebody,old\n".encode())
    for id, seen_at in (("old", "2020-01-01T00:00:00Z"), ("young", "2999-01-01T00:00:00Z")):
        dynamodb.put_item(TableName="sessions", Item={"id": {"S": id}, "seen_at": {"S": seen_at}})
    texts = {"id": "ada", "renewal": "due", "due_on": "2026-01-31", "every": "month", "currency": "eur", "payment_method": "pm_card_visa"}
    dynamodb.put_item(TableName="subscriptions", Item={name: {"S": text} for name, text in texts.items()} | {"amount": {"N": "990"}})
    people = {"source": PEOPLE_KEY, "format": "csv", "columns": COLUMNS, "to": {"kind": "table", "table": "people"}}
    old = {"what": {"kind": "items", "table": "sessions", "attribute": "seen_at"}, "older_than": 30, "dry_run": False}
    return [
        _act("imports", "data_import", people, lambda job: _people_are_there(job, s3, bucket)),
        _act("scheduled", "data_cleanup", old, _old_sessions_are_gone),
        # Only counted: a payment of this demo's would find no Stripe.
        _act("scheduled", "subscription_renewal", {"until": "2026-01-31", "dry_run": True}, _one_is_due),
    ]


def _create(dynamodb: Any, table: str, key: str, by_due: tuple[str, ...] = ()) -> None:
    index = {
        "IndexName": "by_due",
        "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in zip(by_due, ("HASH", "RANGE"), strict=False)],
        "Projection": {"ProjectionType": "ALL"},
    }
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in (key, *by_due)],
        **({"GlobalSecondaryIndexes": [index]} if by_due else {}),
    )


def _act(queue: str, type: str, payload: Json, result: Callable[[Json], str]) -> Act:
    return Act(request={"queue": queue, "type": type, "payload": payload}, attempts=1, result=result)


def _people_are_there(job: Json, s3: Any, bucket: str) -> str:
    result = job["result"]
    counts = [result[name] for name in ("read", "imported", "rejected")]
    expect(counts == [PEOPLE + 1, PEOPLE, 1], f"the import counted {result}")
    refused = json.loads(s3.get_object(Bucket=bucket, Key=result["rejects"])["Body"].read())
    expect(refused["line"] == PEOPLE + 2, f"the bad row is told as line {refused['line']}")
    return f"{PEOPLE} rows imported, line {refused['line']} refused: {refused['reason']}"


def _old_sessions_are_gone(job: Json) -> str:
    result = job["result"]
    expect((result["seen"], result["deleted"]) == (2, 1), f"the cleanup counted {result}")
    return "1 of 2 sessions was old, and is gone"


def _one_is_due(job: Json) -> str:
    result = job["result"]
    expect((result["seen"], result["enqueued"]) == (1, 1), f"the renewal counted {result}")
    return "1 subscription is due (dry run)"
