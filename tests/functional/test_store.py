"""One suite for every store: the table in DynamoDB (moto) and the table in memory answer alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from moto import mock_aws

from jobline import transitions as t
from jobline.errors import CorruptRecord, Unavailable
from jobline.job import Status
from jobline.memory import MemoryStore
from jobline.payloads import INLINE_LIMIT, ITEM_LIMIT, Bodies
from jobline.records import decode, encode
from jobline.store import JobStore, Store
from tests.aws import client, create_table
from tests.cloud import MotoStore
from tests.factories import NOW, make_claimant, make_job
from tests.store_conformance import StoreConformance


@pytest.fixture(params=["memory", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    with mock_aws():
        dynamodb = client("dynamodb")
        yield MotoStore(dynamodb, create_table(dynamodb))


class TestStore(StoreConformance):
    """The table in memory, and the one in DynamoDB on moto."""


class TestRecords:
    def test_a_happy_record_fits_one_write_unit_to_the_end(self) -> None:
        text = "x" * 175
        job = make_job(
            payload=text,
            result=text,
            retry='{"backoff":"exponential","base_delay":1000,"max_delay":3600000,"jitter":0.25}',
            request_hash="h" * 43,
            token=1,
            attempts=1,
            rev=3,
            started_at=NOW,
            completed_at=NOW,
            ttl=1_800_000_000,
            status=Status.DONE,
            lease_until=NOW,
            claimed_by="c" * 36,
            carrier="m" * 36,
        )
        size = sum(len(name) + len(next(iter(value.values()))) for name, value in encode(job).items())
        assert size <= 1024

    def test_an_attribute_of_a_newer_release_is_passed_over(self) -> None:
        job = make_job()
        assert decode(encode(job) | {"new_thing": {"S": "?"}}) == job

    @pytest.mark.parametrize(
        "spoiled", [{"status": {"S": "odd"}}, {"created_at": {"S": "x"}}, {"attempts": {"N": "x"}}, {"queue": {"N": "1"}}]
    )
    def test_an_item_that_is_no_job_is_corrupt_and_named(self, spoiled: dict[str, dict[str, str]]) -> None:
        with pytest.raises(CorruptRecord, match=make_job().id):
            decode(encode(make_job()) | spoiled)

    def test_absent_facts_take_no_attribute(self) -> None:
        assert (
            set(encode(make_job())) & {"solo", "cancel_requested", "history", "tags", "resend", "snoozes", "lease_until", "error"} == set()
        )


@pytest.fixture
def bodies() -> Iterator[Bodies]:
    with mock_aws():
        dynamodb, s3 = client("dynamodb"), client("s3")
        s3.create_bucket(Bucket="bodies", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield Bodies(dynamodb, create_table(dynamodb), lambda: s3, "bodies")


class TestBodies:
    @pytest.mark.parametrize("size", [2, INLINE_LIMIT, INLINE_LIMIT + 1, ITEM_LIMIT, ITEM_LIMIT + 1, 2_000_000])
    def test_a_body_of_any_size_comes_back_as_it_was_put(self, bodies: Bodies, size: int) -> None:
        text = '"' + "é" * ((size - 2) // 2) + "x" * ((size - 2) % 2) + '"'
        assert len(text.encode()) == size
        placed = bodies.put("job-1", "payload", text, version="1")
        assert (placed.inline is not None) == (size <= INLINE_LIMIT)
        assert bodies.load(placed.inline, placed.reference) == text

    @pytest.mark.parametrize("size", [INLINE_LIMIT + 1, ITEM_LIMIT + 1])
    def test_a_body_that_is_gone_or_changed_is_never_passed_off_as_the_one_that_was_put(self, bodies: Bodies, size: int) -> None:
        placed = bodies.put("job-1", "payload", "a" * size, version="1")
        assert placed.reference is not None
        other = bodies.put("job-1", "payload", "b" * size, version="1")
        assert other.reference is not None
        bodies.delete("job-1", placed.reference)
        bodies.delete("job-1", placed.reference)
        digest = placed.reference.split('"sha256":"')[1][:64]
        with pytest.raises(CorruptRecord, match="missing") as told:
            bodies.load(None, placed.reference)
        assert digest[:16] not in str(told.value), "by its digest a short secret could be guessed"
        wrong = other.reference.replace(other.reference.split('"sha256":"')[1][:64], digest)
        with pytest.raises(CorruptRecord, match="not what was stored"):
            bodies.load(None, wrong)


def test_an_outage_is_told_as_unavailable() -> None:
    unreachable = client("dynamodb", endpoint_url="http://127.0.0.1:9")
    with pytest.raises(Unavailable):
        JobStore(unreachable, "jobs").get("x")


def test_a_table_that_does_not_exist_is_our_mistake_and_not_an_outage() -> None:
    with mock_aws():
        dynamodb = client("dynamodb")
        with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
            JobStore(dynamodb, "none").get("x")


def test_changes_in_memory_are_fed_like_the_stream() -> None:
    store = MemoryStore()
    store.create(make_job(), now=NOW)
    store.apply(make_job().id, t.claim(make_claimant(), now=NOW, alone=True))
    (_, created), (before, claimed) = store.changes
    assert created == before == replace(make_job())
    assert claimed is not None and claimed.status is Status.RUNNING
