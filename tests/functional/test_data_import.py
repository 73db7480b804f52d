"""Files of rows out of S3 and into DynamoDB and S3 (moto's): what is imported, what is refused, and counts that add up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from io import BytesIO
from typing import Any

import pytest
from arro3.core import Array, DataType
from arro3.core import Table as ArrowTable
from arro3.io import write_parquet
from moto import mock_aws

from functions.imports import data_import as module
from functions.imports import destinations
from functions.imports.columns import Column
from functions.imports.data_import import DataImport, data_import
from functions.imports.destinations import Partitions, Table
from jobline import Context, NonRetryable, RetryAfter
from jobline.errors import InvalidJob
from jobline.registry import Registry
from jobline.steering import Continue
from jobline.testing import RecordedLease, TrialDeployment, make_context
from tests.aws import REGION, client

BUCKET = "data"
REGISTRY = Registry([data_import])
SOURCE = "imports/people.csv"
PEOPLE = [
    Column(name="id", required=True, max_length=20),
    Column(name="age", type="integer"),
    Column(name="balance", type="number"),
    Column(name="active", type="boolean"),
    Column(name="born", type="date"),
    Column(name="seen_at", type="timestamp"),
]
HEADER = "id,age,balance,active,born,seen_at,note\n"


@cache
def made_once(service: str) -> Any:
    """Making a client takes longer than a test."""
    return client(service)


class Data:
    """The data bucket, and the table `people` with the key `id`."""

    def __init__(self) -> None:
        self.s3, self.dynamodb = made_once("s3"), made_once("dynamodb")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.dynamodb.create_table(
            TableName="people",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )

    def options(self) -> dict[str, Any]:
        return {"client": made_once, "bucket": BUCKET, "settings": {"IMPORT_TABLES": "people, orders"}}

    def context(self, **options: Any) -> Context:
        return make_context("data_import", **self.options(), **options)

    def put(self, data: str | bytes, key: str = SOURCE) -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data.encode() if isinstance(data, str) else data)
        return key

    def read(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def lines(self, key: str) -> list[Any]:
        return [json.loads(line) for line in self.read(key).splitlines()]

    def keys(self, prefix: str) -> list[str]:
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]

    @property
    def items(self) -> dict[str, Any]:
        return {item["id"]["S"]: item for item in self.dynamodb.scan(TableName="people")["Items"]}

    def run(self, text: str | bytes, format: str = "csv", ctx: Context | None = None, **options: Any) -> Any:
        """Imports the text into the table, as people unless `columns` say otherwise."""
        fields: dict[str, Any] = {"columns": PEOPLE, "to": Table(table="people"), **options}
        return data_import(DataImport(source=self.put(text), format=format, **fields), ctx or self.context())  # type: ignore[arg-type]


@pytest.fixture
def data() -> Iterator[Data]:
    with mock_aws():
        yield Data()


@pytest.fixture
def jobline_options(data: Data) -> dict[str, Any]:
    return data.options()


# What rows become


def test_rows_of_a_csv_file_become_typed_items(data: Data) -> None:
    rows = 'ada,36,"12.50",true,1815-12-10,2026-01-02T03:04:05+01:00,"a, note"\nbob,,,,,,\n'
    assert data.run(HEADER + rows) == {"read": 2, "imported": 2, "rejected": 0, "rejects": None}
    assert data.items == {
        "ada": {
            "id": {"S": "ada"},
            "age": {"N": "36"},
            "balance": {"N": "12.50"},
            "active": {"BOOL": True},
            "born": {"S": "1815-12-10"},
            "seen_at": {"S": "2026-01-02T02:04:05Z"},
        },
        "bob": {"id": {"S": "bob"}},
    }


def test_rows_of_json_lines_become_the_same_items(data: Data) -> None:
    rows = '{"id": "ada", "age": 36, "balance": 12.5, "active": true, "born": "1815-12-10"}\n\n{"id": "bob"}'
    assert data.run(rows, "jsonl")["imported"] == 2
    assert data.items["ada"]["balance"] == {"N": "12.5"}
    assert data.items["bob"] == {"id": {"S": "bob"}}


DAYS = (date(1815, 12, 10) - date(1970, 1, 1)).days
MICROSECONDS = 1_000_000 * int(datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC).timestamp())


def parquet(rows: int = 3) -> bytes:
    ids = ["ada", "bob", "cyd"] if rows == 3 else [str(number) for number in range(rows)]
    table = ArrowTable.from_pydict(
        {
            "id": Array(ids, DataType.utf8()),
            "age": Array([36, None, *range(rows - 2)], DataType.int64()),
            "balance": Array([0.1] * rows, DataType.float64()),
            "born": Array([DAYS] * rows, DataType.int32()).cast(DataType.date32()),
            "seen_at": Array([MICROSECONDS] * rows, DataType.int64()).cast(DataType.timestamp("us", tz="UTC")),
            "active": Array([True] * rows, DataType.bool()),
        }
    )
    stream = BytesIO()
    write_parquet(table, stream)
    return stream.getvalue()


def test_rows_of_a_parquet_file_become_the_same_items(data: Data) -> None:
    assert data.run(parquet(), "parquet") == {"read": 3, "imported": 3, "rejected": 0, "rejects": None}
    assert data.items["ada"] == {
        "id": {"S": "ada"},
        "age": {"N": "36"},
        "balance": {"N": "0.1"},
        "active": {"BOOL": True},
        "born": {"S": "1815-12-10"},
        "seen_at": {"S": "2026-01-02T02:04:05Z"},
    }
    assert "age" not in data.items["bob"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"PAR1 not really PAR1", "cannot be read as a Parquet file"),
        (b"id\nada\n", "is no Parquet file"),
        (b"", "is no Parquet file"),
        (parquet()[:200] + bytes(100) + parquet()[300:], "cannot be read as a Parquet file"),
    ],
)
def test_what_is_no_parquet_file_is_dead_at_once(data: Data, text: bytes, reason: str) -> None:
    with pytest.raises(NonRetryable, match=reason):
        data.run(text, "parquet")


def test_a_partitions_files_hold_its_rows(data: Data) -> None:
    columns = [Column(name="country"), Column(name="amount", type="number")]
    text = "country,amount\nde,1.10\nfr,2\nde,3\n,4\na/b,5\n"
    result = data.run(text, columns=columns, to=Partitions(name="orders", by="country"))
    assert result["imported"] == 5
    job = data.context().idempotency_key
    assert data.keys("imported/") == [
        f"imported/orders/country={folder}/{job}-000000.jsonl" for folder in ("__HIVE_DEFAULT_PARTITION__", "a%2Fb", "de", "fr")
    ]
    assert data.read(f"imported/orders/country=de/{job}-000000.jsonl") == b'{"country":"de","amount":1.10}\n{"country":"de","amount":3}\n'


# What is refused


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",1,,,,,", "id: this is required"),
        ("a,x,,,,,", "age: 'x' is no integer"),
        ("a,1.0,,,,,", "age: '1.0' is no integer"),
        ("a,1_000,,,,,", "age: '1_000' is no integer"),
        ("a,,NaN,,,,", "balance: 'NaN' is no number"),
        ("a,,1e200,,,,", "balance: '1e200' is no number (too large or too small)"),
        (f"a,,{'1' * 39},,,,", f"balance: '{'1' * 39}' is no number (more than 38 digits)"),
        ("a,,,maybe,,,", "active: 'maybe' is no boolean"),
        ("a,,,,2026-02-30,,", "born: '2026-02-30' is no date"),
        ("a,,,,20260203,,", "born: '20260203' is no date"),
        ("a,,,,,2026-01-02T03:04:05,", "seen_at: '2026-01-02T03:04:05' is no timestamp (it has no time zone)"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaa,,,,,,", "id: 25 characters; at most 20 are taken"),
        ("a,1", "it has 2 cells, and the header 7"),
        ('a,"x"y,,,,,', "it is no CSV: ',' expected after '\"'"),
        ("a\udcff,1,,,,,", "it is not UTF-8"),
    ],
)
def test_a_bad_row_is_put_aside_with_its_line_and_its_reason(data: Data, row: str, reason: str) -> None:
    text = HEADER + 'first,1,,,,,"two\nlines"\n\n' + row + "\nlast,2,,,,,\n"
    result = data.run(text.encode("utf-8", "surrogateescape"))
    assert (result["read"], result["imported"], result["rejected"]) == (3, 2, 1)
    (refused,) = data.lines(result["rejects"])
    assert (refused["line"], refused["reason"]) == (5, reason)
    assert refused["row"] == row.replace("\udcff", "\ufffd")
    assert sorted(data.items) == ["first", "last"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("[1]", "it is no JSON object"),
        ("{", "it is no JSON object"),
        ('{"id": 5}', "id: '5' is no string"),
        ('{"id": "a", "age": true}', "age: 'True' is no integer"),
        ('{"id": "a", "age": 1.5}', "age: '1.5' is no integer"),
        ('{"id": "a", "active": 1}', "active: '1' is no boolean"),
        ('{"id": null}', "id: this is required"),
        ('{"id": "a", "balance": [1]}', "balance: '[1]' is no number"),
        ('{"id": ""}', "id: this is a key of people, and is required"),
    ],
)
def test_a_bad_line_of_json_is_put_aside(data: Data, row: str, reason: str) -> None:
    result = data.run('{"id": "ok"}\n' + row, "jsonl")
    (refused,) = data.lines(result["rejects"])
    assert refused["line"] == 2 and refused["reason"].startswith(reason)
    assert list(data.items) == ["ok"]


def test_a_line_that_is_too_long_is_passed_over_and_costs_no_memory(data: Data) -> None:
    text = '{"id": "first"}\n{"id": "' + "x" * 3_000_000 + '"}\n{"id": "last"}\n'
    result = data.run(text, "jsonl")
    assert data.lines(result["rejects"]) == [{"line": 2, "reason": "the line has 3,000,011 bytes; at most 1,048,576 are read", "row": ""}]
    assert sorted(data.items) == ["first", "last"]


def test_a_quote_that_is_never_closed_does_not_take_the_rows_before_it_along(data: Data) -> None:
    result = data.run(HEADER + 'a,,,,,,\nb,"' + ",,,,,\nc" * 10)
    assert (result["imported"], result["rejected"]) == (1, 1)


def test_too_many_bad_rows_end_the_import_and_the_file_shows_them(data: Data) -> None:
    with pytest.raises(NonRetryable, match=r"more than 2 rows were refused.*results/.*/rejected.jsonl; line 2: id: this is required"):
        data.run("id\n" + '""\n' * 50, columns=PEOPLE[:1], most_rejected=2)
    assert len(data.lines(f"results/{data.context().idempotency_key}/rejected.jsonl")) == 3


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_values(data: Data) -> None:
    assert data.run("\ufeffid;age\r\nada;36\r\n", columns=PEOPLE[:2], delimiter=";")["imported"] == 1
    assert data.items["ada"]["age"] == {"N": "36"}


# What cannot be imported at all


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("name\nada\n", {}, "columns: the file has no column 'id'; it has name"),
        ("id,id\n", {}, "a name comes twice"),
        ("", {}, "it is empty"),
        ("id\n", {"columns": [Column(name="id"), Column(name="id")]}, "columns: 'id' comes twice"),
        ("id\n", {"columns": [Column(name="id", type="number")]}, "has the key 'id' of type S"),
        ("id\n", {"to": Table(table="jobs")}, "'jobs' is not among the tables that IMPORT_TABLES allows .orders, people."),
        ("id\n", {"to": Table(table="orders")}, "orders is not there"),
        ("id\n", {"to": Partitions(name="x", by="country")}, "to.by: 'country' is none of the columns"),
    ],
)
def test_what_cannot_be_imported_is_dead_at_once_and_says_why(data: Data, text: str, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(NonRetryable, match=reason):
        data.run(text, **{"columns": PEOPLE[:1], **options})


@pytest.mark.parametrize("source", ["missing", "s3://nowhere-at-all/key", "s3://data", "s3://no_bucket!/key"])
def test_a_file_that_is_not_there_is_dead_at_once(data: Data, source: str) -> None:
    with pytest.raises(NonRetryable):
        data_import(DataImport(source=source, format="csv", columns=PEOPLE, to=Table(table="people")), data.context())


@pytest.mark.parametrize(
    "change",
    [
        {"format": "xml"},
        {"columns": []},
        {"to": {"kind": "table", "table": "x"}},
        {"to": {"kind": "disk"}},
        {"to": {"kind": "partitions", "name": "../x", "by": "id"}},
        {"delimiter": "::"},
        {"most_rejected": -1},
    ],
)
def test_a_payload_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    good = {"source": "a", "format": "csv", "columns": [{"name": "id"}], "to": {"kind": "table", "table": "people"}}
    assert REGISTRY.decode("data_import", json.dumps(good)).most_rejected == 1000
    with pytest.raises(InvalidJob):
        REGISTRY.decode("data_import", json.dumps(good | change))


# What happens when it does not go through in one go


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_an_import_that_stops_after_each_piece_goes_on_where_it_was_and_counts_every_row_once(
    data: Data, monkeypatch: pytest.MonkeyPatch, jobs: TrialDeployment, format: str
) -> None:
    monkeypatch.setattr(destinations.TableDestination, "rows_at_once", 7)
    rows = [f"p{number}" if number % 10 else "" for number in range(40)]
    texts: dict[str, str | bytes] = {
        "csv": "id,age\n" + "".join(f'{id},"{number}"\n' for number, id in enumerate(rows)),
        "jsonl": "".join(json.dumps({"id": id, "age": number}) + "\n" for number, id in enumerate(rows)),
        "parquet": parquet(40),
    }
    data.put(texts[format])
    refused = 0 if format == "parquet" else 4
    payload = DataImport(source=SOURCE, format=format, columns=PEOPLE[:2], to=Table(table="people"))  # type: ignore[arg-type]
    for _ in range(3):
        jobs.crash_next("data_import")  # after the work, before its end is known
    job = jobs.enqueue(payload)
    jobs.advance("2h")
    assert (job.status, job.attempts) == ("done", 4)
    result = job.result
    assert (result["read"], result["imported"], result["rejected"]) == (40, 40 - refused, refused)
    assert len(data.items) == 40 - refused
    if refused:
        assert [one["line"] for one in data.lines(result["rejects"])] == [1 + number + (format == "csv") for number in (0, 10, 20, 30)]


class Died(BaseException):
    """The process is gone."""


class DiesAtCheckpoint(RecordedLease):
    """A worker that dies when a piece is written, and before it is put down that it is."""

    def checkpoint(self, text: str) -> bool | None:
        raise Died


@pytest.mark.parametrize("to", [Table(table="people"), Partitions(name="people", by="age")], ids=["table", "partitions"])
def test_a_piece_that_is_written_twice_is_written_once(data: Data, monkeypatch: pytest.MonkeyPatch, to: Table | Partitions) -> None:
    monkeypatch.setattr(destinations.TableDestination, "rows_at_once", 3)
    monkeypatch.setattr(destinations.PartitionsDestination, "rows_at_once", 3)
    data.put("id,age\n" + "".join(f"p{number},{'x' if number == 4 else number % 2}\n" for number in range(8)))
    payload = DataImport(source=SOURCE, format="csv", columns=PEOPLE[:2], to=to)
    cursor = None
    for _ in range(3):
        with pytest.raises(Died):
            data_import(payload, data.context(lease=DiesAtCheckpoint(), cursor=cursor))
        lease = RecordedLease(cancel_requested=True)  # this one puts the piece down, and stops
        with pytest.raises(Continue):
            data_import(payload, data.context(lease=lease, cursor=cursor))
        (cursor,) = lease.checkpoints
    result = data_import(payload, data.context(cursor=cursor))
    assert (result["read"], result["imported"], result["rejected"]) == (8, 7, 1)
    assert [one["line"] for one in data.lines(result["rejects"])] == [6]
    if isinstance(to, Table):
        assert len(data.items) == 7
    else:
        assert sorted(one["id"] for key in data.keys("imported/") for one in data.lines(key)) == ["p0", "p1", "p2", "p3", "p5", "p6", "p7"]


def test_a_file_that_was_changed_meanwhile_is_not_gone_on_with(data: Data) -> None:
    data.put("id\na\n")
    with pytest.raises(NonRetryable, match="is not what it was"):
        data.run("id\nb\n", columns=PEOPLE[:1], ctx=data.context(cursor={"etag": '"another"', "at": 3, "line": 1}))


def test_of_two_rows_with_one_key_the_later_one_stays(data: Data) -> None:
    assert data.run("id,age\na,1\na,2\n", columns=PEOPLE[:2])["imported"] == 2
    assert data.items["a"]["age"] == {"N": "2"}


def test_what_dynamodb_leaves_unwritten_is_asked_for_again_and_in_the_end_later(data: Data) -> None:
    asked: list[int] = []

    def leave_all_but_one(parsed: dict[str, Any], **_: Any) -> None:
        parsed["UnprocessedItems"] = {"people": [{"PutRequest": {"Item": {"id": {"S": f"again {len(asked)}"}}}}]}
        asked.append(1)

    events = data.dynamodb.meta.events
    events.register("after-call.dynamodb.BatchWriteItem", leave_all_but_one)
    try:
        to = destinations.destination(Table(table="people"), PEOPLE, data.context(), sleep=lambda seconds: None)
        with pytest.raises(RetryAfter, match="takes no more at the moment"):
            to.write([{"id": "a"}], 0)
    finally:
        events.unregister("after-call.dynamodb.BatchWriteItem", leave_all_but_one)
    assert len(asked) == destinations.MOST_ASKED
    assert "again 6" in data.items


def test_pieces_end_by_the_size_of_their_rows_too(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 10)
    lease = RecordedLease()
    assert data.run("id\n" + "123456\n" * 4, columns=PEOPLE[:1], ctx=data.context(lease=lease))["imported"] == 4
    assert [checkpoint["imported"] for checkpoint in lease.checkpoints] == [2, 4]


def test_a_numbers_digits_are_kept() -> None:
    from functions.imports.columns import checked

    column = [Column(name="n", type="number")]
    for text in ("0.1", "-1.50", "1e3", "12345678901234567890123456789012345678", "0.00"):
        assert checked({"n": text}, column) == {"n": Decimal(text)}
