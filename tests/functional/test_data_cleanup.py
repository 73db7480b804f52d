"""Old objects and old items (moto's): what goes, what stays, and that nothing goes by mistake."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from moto import mock_aws

from functions.scheduled import data_cleanup as module
from functions.scheduled.data_cleanup import DataCleanup, Items, Objects, data_cleanup
from jobline import Context, NonRetryable
from jobline.registry import Registry
from jobline.testing import RecordedLease, TrialDeployment, make_context
from tests.aws import REGION, client

BUCKET = "data"
NOW = datetime.now(UTC)
IN_TEN_DAYS = NOW + timedelta(days=10)
"""moto writes objects at the real time, so that cleaning happens later."""


@cache
def made_once(service: str) -> Any:
    """Making a client takes longer than a test."""
    return client(service)


class Data:
    """The data bucket, and the table `sessions`."""

    def __init__(self) -> None:
        self.s3, self.dynamodb = made_once("s3"), made_once("dynamodb")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.dynamodb.create_table(
            TableName="sessions",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )

    def options(self) -> dict[str, Any]:
        settings = {"CLEANUP_PREFIXES": "temporary/, logs/", "CLEANUP_TABLES": "sessions"}
        return {"client": made_once, "bucket": BUCKET, "settings": settings}

    def context(self, now: datetime = IN_TEN_DAYS, **options: Any) -> Context:
        return make_context("data_cleanup", clock=lambda: now, **self.options(), **options)

    def put(self, *keys: str) -> None:
        for key in keys:
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=b"12345")

    def item(self, id: str, **attributes: Any) -> None:
        self.dynamodb.put_item(TableName="sessions", Item={"id": {"S": id}, **attributes})

    @property
    def keys(self) -> list[str]:
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    @property
    def items(self) -> list[str]:
        return sorted(item["id"]["S"] for item in self.dynamodb.scan(TableName="sessions")["Items"])


@pytest.fixture
def data() -> Iterator[Data]:
    with mock_aws():
        yield Data()


@pytest.fixture
def jobline_options(data: Data) -> dict[str, Any]:
    return {**data.options(), "start": IN_TEN_DAYS}


OLD_OBJECTS = DataCleanup(what=Objects(prefix="temporary/"), older_than=7, dry_run=False)


def test_a_payload_that_does_not_say_so_deletes_nothing(data: Data) -> None:
    data.put("temporary/a", "temporary/b")
    text = '{"what": {"kind": "objects", "prefix": "temporary/"}, "older_than": 7}'
    result = data_cleanup(Registry([data_cleanup]).decode("data_cleanup", text), data.context())
    assert result == {"seen": 2, "matched": 2, "deleted": 0, "bytes": 10, "dry_run": True, "more": False}
    assert data.keys == ["temporary/a", "temporary/b"]


def test_old_objects_under_the_prefix_go_and_nothing_else(data: Data) -> None:
    data.put("temporary/a", "temporary/b", "temporaryish", "other/c")
    result = data_cleanup(OLD_OBJECTS, data.context())
    assert (result["matched"], result["deleted"], result["bytes"]) == (2, 2, 10)
    assert data.keys == ["other/c", "temporaryish"]


def test_objects_that_are_younger_stay(data: Data) -> None:
    data.put("temporary/a")
    assert data_cleanup(OLD_OBJECTS, data.context(NOW + timedelta(days=6)))["matched"] == 0
    assert data.keys == ["temporary/a"]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (Objects(prefix="bodies/"), "what.prefix: 'bodies/' is under no prefix that CLEANUP_PREFIXES allows"),
        (Objects(prefix="temporary"), "what.prefix"),
        (Items(table="jobs", attribute="created_at"), "what.table: 'jobs' is not among the tables"),
    ],
)
def test_nothing_outside_the_allowed_list_is_touched(data: Data, what: Objects | Items, reason: str) -> None:
    with pytest.raises(NonRetryable, match=reason):
        data_cleanup(DataCleanup(what=what, older_than=1, dry_run=False), data.context())


def test_old_items_go_and_those_whose_time_nobody_understands_stay(data: Data) -> None:
    old = NOW - timedelta(days=1)
    data.item("old", seen={"S": old.isoformat()})
    data.item("old, in another zone", seen={"S": "2020-01-01T00:00:00+14:00"})
    data.item("old day", seen={"S": "2020-01-01"})
    data.item("young", seen={"S": (IN_TEN_DAYS - timedelta(days=6)).isoformat()})
    for number, value in enumerate([{"S": ""}, {"S": "2020 or so"}, {"S": "2020-13-01"}, {"N": "1"}, {"NULL": True}]):
        data.item(f"unread {number}", seen=value)
    data.item("without")
    result = data_cleanup(DataCleanup(what=Items(table="sessions", attribute="seen"), older_than=7, dry_run=False), data.context())
    assert (result["seen"], result["matched"], result["deleted"]) == (10, 3, 3)
    assert data.items == ["unread 0", "unread 1", "unread 2", "unread 3", "unread 4", "without", "young"]


@pytest.mark.parametrize(("format", "factor"), [("seconds", 1), ("milliseconds", 1000)])
def test_times_may_be_numbers(data: Data, format: Any, factor: int) -> None:
    data.item("old", at={"N": str(int(NOW.timestamp()) * factor)})
    data.item("young", at={"N": str(int(IN_TEN_DAYS.timestamp()) * factor)})
    data.item("zero", at={"N": "0"})
    what = Items(table="sessions", attribute="at", format=format)
    assert data_cleanup(DataCleanup(what=what, older_than=7, dry_run=False), data.context())["deleted"] == 1
    assert data.items == ["young", "zero"]


def test_an_item_that_was_touched_after_it_was_looked_at_stays(data: Data) -> None:
    data.item("a", seen={"S": "2020-01-01"})
    cleaning = module._Items(Items(table="sessions", attribute="seen"), data.context())
    ((page, _),) = cleaning.pages(None, NOW)
    data.item("a", seen={"S": NOW.isoformat()})
    assert cleaning.delete(page) == 0
    assert data.items == ["a"]


@pytest.mark.parametrize("kind", ["objects", "items"])
def test_it_stops_at_its_limit_and_says_that_there_is_more(data: Data, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(module, "LOOKED_AT_ONCE", 2)
    for number in range(5):
        data.put(f"temporary/{number}")
        data.item(str(number), seen={"S": "2020-01-01"})
    what = Objects(prefix="temporary/") if kind == "objects" else Items(table="sessions", attribute="seen")
    lease = RecordedLease()
    result = data_cleanup(DataCleanup(what=what, older_than=7, dry_run=False, limit=3), data.context(lease=lease))
    assert (result["matched"], result["deleted"], result["more"]) == (3, 3, True)
    assert len(lease.checkpoints) == 1
    assert len(data.keys if kind == "objects" else data.items) == 2


def test_a_cleanup_that_dies_is_gone_on_with_and_ends_clean(data: Data, jobs: TrialDeployment) -> None:
    data.put(*(f"temporary/{number}" for number in range(5)))
    jobs.crash_next(data_cleanup)
    job = jobs.enqueue(OLD_OBJECTS)
    jobs.advance("30m")
    assert (job.status, job.attempts) == ("done", 2)
    assert data.keys == []
