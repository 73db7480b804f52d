"""Bodies kept apart go when their record stops naming them, and no sooner: what ends, what comes again, and what came to nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any, get_args

import msgspec
import pytest

from jobline.context import Context
from jobline.definitions import KeptSeconds
from jobline.fields import LONGEST_DELAY
from jobline.ids import derived_id
from jobline.job import Job, Status
from jobline.job_type import JobType, job
from jobline.payloads import LONGEST_LIFE
from jobline.stats import read_stats
from jobline.store import JobStore
from jobline.transitions import retry
from jobline.wiring import utc_now
from tests.api import Answer, Client
from tests.cloud import VISIBILITY, Cloud, cloud
from tests.factories import seconds
from tests.faults import KINDS, Faults, FaultyClient, Killed, Kind

SIZES = pytest.mark.parametrize("size", [2_000, 200_000], ids=["item", "object"])
RETENTION = timedelta(days=31)


def returning(act: Callable[[Any, Context], Any] = lambda payload, ctx: payload) -> JobType:
    """A job type that returns what `act` does; its payload, if nothing else is said."""

    @job("send_sms")
    def work(payload: Any, ctx: Context) -> Any:
        return act(payload, ctx)

    return work


def api(aws: Cloud) -> Client:
    """The API in front of this cloud, whose calls its faults spoil."""
    dynamodb: Any = FaultyClient(aws.raw["dynamodb"], aws.faults)
    return Client(JobStore(dynamodb, aws.table), aws.bodies, definitions=aws.definitions, now=utc_now, random=os.urandom)


def post(api: Client, size: int, *, text: str = "x", key: str | None = "k", **fields: Any) -> Answer:
    """One request with a payload of so many bytes or so."""
    given = {"queue": "emails", "type": "send_sms", "payload": text * size} | fields
    return api.call("POST", "/jobs", given | ({"idempotency_key": key} if key else {}))


def bodies(aws: Cloud) -> int:
    """How many bodies are kept, in the table and in the bucket."""
    items = aws.raw["dynamodb"].scan(TableName=aws.table, ConsistentRead=True)["Items"]
    objects = aws.raw["s3"].list_objects_v2(Bucket="bodies").get("Contents", [])
    return sum("body" in item for item in items) + len(objects)


def readable(aws: Cloud, id: str) -> tuple[str | None, str | None]:
    """Payload and result of the job, from where they are kept."""
    found: Job = aws.job(id)
    return aws.bodies.load(found.payload, found.payload_ref), aws.bodies.load(found.result, found.result_ref)


# ---------------------------------------------------------------------------------------------------- what ends


@SIZES
def test_payload_and_result_of_a_record_that_its_ttl_removes_go_with_it_and_not_before(size: int) -> None:
    with cloud(returning()) as aws:
        post(api(aws), size)
        aws.settle()
        assert aws.run_observer()
        assert bodies(aws) == 2
        aws.pass_time(RETENTION)
        aws.expire_records()
        assert aws.run_observer()
        assert bodies(aws) == 0
        assert read_stats(aws.raw["dynamodb"], aws.table, "emails", now=aws.now).done == 0


@SIZES
def test_a_job_that_is_retried_keeps_its_payload_through_every_attempt(size: int) -> None:
    def act(payload: Any, ctx: Context) -> int:
        if ctx.starts <= 2:
            raise ValueError("no")
        return len(payload)

    with cloud(returning(act)) as aws:
        client = api(aws)
        id = post(client, size, max_attempts=2, retry={"backoff": "immediate"}).body["id"]
        aws.settle()
        assert aws.job(id).status is Status.DEAD
        assert client.call("POST", f"/jobs/{id}/retry").status == 202
        assert aws.run_observer()
        aws.settle()
        assert readable(aws, id)[1] == str(size)
        assert aws.run_observer()
        assert bodies(aws) == 1


@SIZES
def test_a_result_that_a_retry_takes_off_the_record_goes_and_the_payload_stays(size: int) -> None:
    with cloud(returning()) as aws:
        id = post(api(aws), size).body["id"]
        aws.settle()
        # No transition retries a job that is done; whatever one day does must not leave its result behind.
        aws.raw["dynamodb"].update_item(
            TableName=aws.table,
            Key={"id": {"S": id}},
            UpdateExpression="SET #status = :dead",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":dead": {"S": "dead"}},
        )
        assert aws.store.apply(id, retry(aws.job(id), now=aws.now, op="o")).applied
        assert aws.run_observer()
        assert bodies(aws) == 1
        assert readable(aws, id) == (json.dumps("x" * size), None)


# ---------------------------------------------------------------------------------------------------- what comes again


@SIZES
def test_a_record_renewed_over_an_expired_one_drops_the_bodies_of_its_former_life_alone(size: int) -> None:
    with cloud(returning()) as aws:
        client = api(aws)
        id = post(client, size).body["id"]
        aws.settle()
        aws.pass_time(RETENTION)
        assert post(client, size).status == 202
        aws.settle()
        assert aws.run_observer()
        assert readable(aws, id) == (json.dumps("x" * size), json.dumps("x" * size))
        assert bodies(aws) == 2


@SIZES
@pytest.mark.parametrize("second_life", ["enqueued", "done"])
def test_the_removal_of_a_record_that_is_heard_of_late_spares_the_same_bodies_of_the_same_id(size: int, second_life: str) -> None:
    """The id follows from the key, the digest from the content, and tokens start over with a new record."""
    with cloud(returning()) as aws:
        client = api(aws)
        id = post(client, size).body["id"]
        aws.settle()
        aws.pass_time(RETENTION)
        aws.expire_records()
        assert post(client, size).status == 202
        if second_life == "done":
            aws.settle()
            assert aws.job(id).token == 1
        assert aws.run_observer()
        expected = json.dumps("x" * size)
        assert readable(aws, id) == (expected, expected if second_life == "done" else None)
        aws.settle()
        assert readable(aws, id) == (expected, expected)
        assert bodies(aws) == 2


# ---------------------------------------------------------------------------------------------------- what came to nothing


@SIZES
def test_a_replay_and_a_misuse_of_a_key_leave_no_body_behind(size: int) -> None:
    with cloud(returning()) as aws:
        client = api(aws)
        id = post(client, size).body["id"]
        assert post(client, size).status == 200
        assert post(client, size, text="y").status == 422
        assert bodies(aws) == 1
        assert readable(aws, id)[0] == json.dumps("x" * size)


@SIZES
def test_a_replay_is_answered_even_if_what_it_put_cannot_be_removed(size: int) -> None:
    with cloud(returning()) as aws:
        client = api(aws)
        post(client, size)
        aws.faults.outage = {"delete_item", "delete_object"}
        assert post(client, size).status == 200
        assert bodies(aws) == 2


@SIZES
@pytest.mark.parametrize("kind", KINDS)
def test_one_fault_at_any_call_of_enqueue_loses_no_payload_that_a_record_names(size: int, kind: Kind) -> None:
    """A client that is not answered 2xx asks again; whatever was put for nothing ends by its own time."""
    for at in count():
        with cloud(returning(), faults=Faults(at=at, kind=kind)) as aws:
            for _ in range(3):
                aws.faults.new_process()
                try:
                    if post(api(aws), size).status < 300:
                        break
                except Killed:
                    continue
            aws.faults.new_process()
            aws.faults.at = None
            assert aws.run_observer()
            assert readable(aws, derived_id("emails", "k"))[0] == json.dumps("x" * size), aws.faults.spoiled
            if aws.faults.spoiled is None:
                assert at == 2
                return


@SIZES
def test_a_worker_that_lost_its_lease_takes_its_result_along(size: int) -> None:
    def act(payload: Any, ctx: Context) -> str:
        if ctx.starts == 1:
            aws.pass_time(VISIBILITY + seconds(1))
            aws.run_worker()
            assert bodies(aws) == 2
        return "r" * size

    with cloud(returning(act)) as aws:
        id = post(api(aws), size).body["id"]
        aws.run_relay()
        aws.run_worker()
        assert (aws.job(id).status, aws.job(id).token) == (Status.DONE, 2)
        assert readable(aws, id)[1] == json.dumps("r" * size)
        assert bodies(aws) == 2


@SIZES
def test_a_result_whose_job_was_taken_for_lost_meanwhile_is_not_left_behind(size: int) -> None:
    def act(payload: Any, ctx: Context) -> str:
        if ctx.starts == 1:
            aws.pass_time(seconds(3600))
            for _ in range(3):
                aws.run_ticker()
                aws.pass_time(seconds(3600))
            assert aws.job(id).status is Status.FAILED
        return "r" * size

    with cloud(returning(act)) as aws:
        id = post(api(aws), size).body["id"]
        aws.run_relay()
        aws.run_worker()
        assert (aws.job(id).status, aws.job(id).token) == (Status.FAILED, 1)
        assert bodies(aws) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_one_fault_at_any_call_of_a_worker_loses_no_result_that_a_record_names(kind: Kind) -> None:
    for at in count():
        with cloud(returning(), faults=Faults()) as aws:
            id = post(api(aws), 2_000).body["id"]
            aws.run_relay()
            aws.faults.calls.clear()
            aws.faults.at, aws.faults.kind = at, kind
            aws.run_worker()
            aws.faults.at = None
            aws.settle(ticks=True, limit=timedelta(hours=2), pace=seconds(300))
            assert aws.run_observer()
            assert readable(aws, id) == (json.dumps("x" * 2_000),) * 2, aws.faults.spoiled
            if aws.faults.spoiled is None:
                assert at > 3
                return


def test_what_a_crash_leaves_behind_ends_by_itself_but_never_before_its_job() -> None:
    with cloud(returning()) as aws:
        post(api(aws), 2_000)
        [item] = [item for item in aws.raw["dynamodb"].scan(TableName=aws.table)["Items"] if "body" in item]
        assert int(item["ttl"]["N"]) == aws.now.timestamp() + LONGEST_LIFE.total_seconds()
    [longest_kept] = [meta.le for meta in get_args(KeptSeconds) if isinstance(meta, msgspec.Meta)]
    assert LONGEST_DELAY + timedelta(seconds=longest_kept or 0) < LONGEST_LIFE


# ---------------------------------------------------------------------------------------------------- the observer fails


@SIZES
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_whose_removals_fail_comes_again_and_counts_once(size: int, kind: Kind) -> None:
    """Every call of the observer in turn, removals and counters alike."""
    for at in count():
        with cloud(returning()) as aws:
            client = api(aws)
            post(client, size)
            aws.settle()
            aws.pass_time(RETENTION)
            aws.expire_records()
            post(client, size, key="another")
            aws.faults.calls.clear()
            aws.faults.at, aws.faults.kind = at, kind
            taken = aws.run_observer()
            assert taken == (aws.faults.spoiled is None or kind == "repeated"), aws.faults.calls
            if not taken:
                assert aws.run_observer()
            stats = read_stats(aws.raw["dynamodb"], aws.table, "emails", now=aws.now)
            assert (stats.pending, stats.running, stats.failed) == (1, 0, 0)
            assert bodies(aws) == 1
            if aws.faults.spoiled is None:
                assert aws.faults.calls == [*["delete_item" if size < 100_000 else "delete_object"] * 2, "get_item", "put_item"]
                return


@SIZES
def test_nothing_is_counted_before_what_was_left_is_gone(size: int) -> None:
    with cloud(returning()) as aws:
        post(api(aws), size)
        aws.settle()
        aws.pass_time(RETENTION)
        aws.expire_records()
        aws.faults.outage = {"delete_item", "delete_object"}
        for _ in range(2):
            aws.faults.calls.clear()
            assert not aws.run_observer()
            assert len(aws.faults.calls) == 1
        aws.faults.outage = set()
        assert aws.run_observer()
        assert bodies(aws) == 0


def test_jobs_without_bodies_of_their_own_cost_no_call_more() -> None:
    with cloud(returning()) as aws:
        post(api(aws), 50)
        aws.settle()
        aws.pass_time(RETENTION)
        aws.expire_records()
        aws.faults.calls.clear()
        assert aws.run_observer()
        assert aws.faults.calls == ["get_item", "put_item"]


def set_reference(aws: Cloud, id: str, value: dict[str, str]) -> None:
    aws.raw["dynamodb"].update_item(
        TableName=aws.table,
        Key={"id": {"S": id}},
        UpdateExpression="SET payload_ref = :ref",
        ExpressionAttributeValues={":ref": value},
    )


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "{}",
        "[]",
        '{"sha256":"","size":1}',
        '{"sha256":"","size":1,"item":""}',
        '{"sha256":"","size":1,"item":"OTHER"}',
        '{"sha256":"","size":1,"item":"stats#emails"}',
        '{"sha256":"","size":1,"item":"OTHER#payload#1"}',
        '{"sha256":"","size":1,"item":"OWN"}',
        '{"sha256":"","size":1,"item":"OWN#payload#1","object":"bodies/OWN/payload-1.json"}',
        '{"sha256":"","size":1,"item":"OWN#payload#LONG"}',
        '{"sha256":"","size":1,"object":"bodies/OTHER/payload-1.json"}',
        '{"sha256":"","size":1,"object":"quarantine/OWN"}',
        '{"sha256":"","size":1,"object":"bodies/OWN/LONG"}',
    ],
)
def test_a_reference_to_what_is_no_body_of_its_own_job_removes_nothing_and_blocks_nobody(reference: str) -> None:
    with cloud(returning()) as aws:
        client = api(aws)
        own, other = (post(client, 2_000, key=key).body["id"] for key in "ab")
        aws.settle()
        assert aws.run_observer()
        set_reference(aws, own, {"S": reference.replace("OWN", own).replace("OTHER", other).replace("LONG", "x" * 1100)})
        assert aws.run_observer()
        before = bodies(aws)
        aws.raw["dynamodb"].delete_item(TableName=aws.table, Key={"id": {"S": own}})
        aws.faults.calls.clear()
        assert aws.run_observer()
        assert aws.faults.calls == ["delete_item", "put_item"], "its result alone"
        assert bodies(aws) == before - 1
        assert readable(aws, other)[0] == json.dumps("x" * 2_000)
