"""One suite for every store: the table in DynamoDB (moto) and the table in memory answer alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

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
from tests.factories import KEEP, NOW, make_claimant, make_job, seconds


@pytest.fixture(params=["memory", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    with mock_aws():
        dynamodb = client("dynamodb")
        yield JobStore(dynamodb, create_table(dynamodb))


def fill(store: Store, count: int) -> list[str]:
    """`count` jobs, one a second, oldest first."""
    jobs = [make_job(id=f"0197a000-0000-7000-8000-{n:012d}", created_at=NOW + seconds(n)) for n in range(count)]
    for job in jobs:
        assert store.create(job, now=NOW).applied
    return [job.id for job in jobs]


def test_what_was_created_is_read_back_whole(store: Store) -> None:
    job = make_job(
        tags=("vip", "ünï"),
        group="tenant-1",
        request_hash="abc",
        traceparent="00-1-2-01",
        expires_at=NOW + seconds(5),
        expires_in=5,
        history=("[]",),
    )
    store.create(job, now=NOW)
    assert store.get(job.id) == job


def test_a_second_creation_is_refused_and_answers_the_first(store: Store) -> None:
    store.create(make_job(payload="1"), now=NOW)
    outcome = store.create(make_job(payload="2"), now=NOW)
    assert not outcome.applied
    assert outcome.job is not None and outcome.job.payload == "1"


def test_a_record_past_its_retention_is_replaced_and_goes_on_counting(store: Store) -> None:
    store.create(make_job(status=Status.DONE, ttl=int(NOW.timestamp()), token=4, dispatch=6, rev=9, result="1"), now=NOW)
    outcome = store.create(make_job(payload="2"), now=NOW)
    assert outcome.applied
    assert (found := store.get(make_job().id)) == outcome.job
    assert found is not None and (found.token, found.dispatch, found.rev, found.result, found.ttl) == (4, 7, 10, None, None)


def test_a_write_that_holds_answers_the_new_record(store: Store) -> None:
    store.create(make_job(), now=NOW)
    outcome = store.apply(make_job().id, t.claim(make_claimant(), now=NOW, alone=True))
    assert outcome.applied and outcome.job is not None
    assert (outcome.job.status, outcome.job.attempts, outcome.job.token, outcome.job.rev) == (Status.RUNNING, 1, 1, 2)
    assert outcome.job == store.get(make_job().id)


def test_a_write_that_does_not_hold_changes_nothing_and_answers_the_record(store: Store) -> None:
    job = make_job(dispatch=2)
    store.create(job, now=NOW)
    assert store.apply(job.id, t.claim(make_claimant(), now=NOW, alone=True)) == (False, job)


def test_a_write_to_nothing_is_refused_and_makes_nothing(store: Store) -> None:
    assert store.apply(make_job().id, t.claim(make_claimant(), now=NOW, alone=True)) == (False, None)
    assert store.get(make_job().id) is None


def test_a_whole_life_is_the_same_in_every_store(store: Store) -> None:
    reference = MemoryStore()
    job = make_job(max_attempts=2)
    for each in (store, reference):
        each.create(job, now=NOW)
        claimed = each.apply(job.id, t.claim(make_claimant(), now=NOW, alone=True)).job
        assert claimed is not None
        failed = each.apply(job.id, t.fail(claimed, now=NOW, error="E: é", delay=seconds(1), alone=True, keep=KEEP)).job
        assert failed is not None
        again = each.apply(job.id, t.claim(make_claimant(dispatch=2), now=NOW + seconds(1), alone=True)).job
        assert again is not None
        dead = each.apply(job.id, t.fail(again, now=NOW + seconds(2), error="E: é", delay=seconds(1), alone=True, keep=KEEP)).job
        assert dead is not None and dead.status is Status.DEAD
        assert each.apply(job.id, t.retry(dead, now=NOW + seconds(3), op="op-1")).applied
    assert store.get(job.id) == reference.get(job.id)


def test_many_are_read_at_once_and_absent_ones_left_out(store: Store) -> None:
    ids = fill(store, 120)
    assert set(store.get_many([*ids, "absent"])) == set(ids)


def test_a_queue_is_paged_newest_first_without_gaps_or_repeats(store: Store) -> None:
    ids = fill(store, 37)
    seen: list[str] = []
    position = None
    while True:
        page = store.page_by_queue("emails", limit=5, start=position)
        seen += [key.id for key in page.keys]
        position = page.next
        if position is None:
            break
    assert seen == ids[::-1]


def test_a_queue_is_listed_within_a_span_of_time(store: Store) -> None:
    ids = fill(store, 20)
    page = store.page_by_queue("emails", limit=50, since=NOW + seconds(5), until=NOW + seconds(8))
    assert [key.id for key in page.keys] == ids[8:4:-1]
    assert page.next is None


def test_another_queue_s_jobs_are_not_listed(store: Store) -> None:
    fill(store, 3)
    assert store.page_by_queue("images", limit=10).keys == ()


def test_attention_lists_what_must_be_looked_at_up_to_a_moment_soonest_first(store: Store) -> None:
    for number, delay in enumerate((3000, 1000, 2000)):
        job = make_job(id=f"0197a000-0000-7000-8000-{number:012d}", scheduled_at=NOW + seconds(delay))
        store.create(t.enqueued(job, now=NOW), now=NOW)
    page = store.page_by_attention("emails", "open", limit=10, until=NOW + seconds(2500))
    assert [key.at - NOW for key in page.keys] == [seconds(1000), seconds(2000)]


def test_a_job_leaves_the_attention_of_the_open_when_it_ends(store: Store) -> None:
    job = t.enqueued(make_job(scheduled_at=NOW + timedelta(days=1)), now=NOW)
    store.create(job, now=NOW)
    store.apply(job.id, t.cancel(job, now=NOW, op="op", keep=KEEP))
    assert store.page_by_attention("emails", "open", limit=10).keys == ()
    assert [key.id for key in store.page_by_attention("emails", "cancelled", limit=10).keys] == [job.id]


def test_the_walk_goes_on_after_the_key_it_stopped_at(store: Store) -> None:
    fill(store, 40)
    found = store.get_many([f"0197a000-0000-7000-8000-{n:012d}" for n in range(40)])
    partition = found["0197a000-0000-7000-8000-000000000000"].queue_shard
    expected = sorted((job.created_at, job.id) for job in found.values() if job.queue_shard == partition)
    walked: list[str] = []
    after = None
    while keys := store.walk(partition, after=after, until=NOW + seconds(35), limit=2):
        walked += [key.id for key in keys]
        after = keys[-1]
    assert walked == [job_id for at, job_id in expected if at <= NOW + seconds(35)]


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
        placed = bodies.put("job-1", "payload", text)
        assert (placed.inline is not None) == (size <= INLINE_LIMIT)
        assert bodies.load(placed.inline, placed.reference) == text

    @pytest.mark.parametrize("size", [INLINE_LIMIT + 1, ITEM_LIMIT + 1])
    def test_a_body_that_is_gone_or_changed_is_never_passed_off_as_the_one_that_was_put(self, bodies: Bodies, size: int) -> None:
        placed = bodies.put("job-1", "payload", "a" * size)
        assert placed.reference is not None
        other = bodies.put("job-1", "payload", "b" * size)
        assert other.reference is not None
        bodies.delete(placed.reference)
        bodies.delete(placed.reference)
        with pytest.raises(CorruptRecord, match="missing"):
            bodies.load(None, placed.reference)
        digest = placed.reference.split('"sha256":"')[1][:64]
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
