"""The observer and the stats on a real table: batches repeated, raced and broken off, and what reading costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from moto import mock_aws

from jobline import records
from jobline.counters import Counters
from jobline.errors import Unavailable
from jobline.job import Job, Status
from jobline.log import Silence
from jobline.nudging import Nudging
from jobline.observer import Observer
from jobline.payloads import Bodies
from jobline.stats import QueueStats, read_stats
from jobline.store import JobStore
from tests.aws import client, create_table
from tests.factories import NOW, make_job, seconds
from tests.faults import KINDS, Faults, FaultyClient, Killed, Kind

EVENTS = Path(__file__).parent.parent / "events"
LATER = NOW + seconds(10)


def event(name: str) -> dict[str, Any]:
    """A stream event as Lambda delivers it."""
    read: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return read


class Recorder(Silence):
    """A log that can be read."""

    def __init__(self) -> None:
        self.errors: list[tuple[object, dict[str, Any]]] = []

    def error(self, message: object, /, **fields: Any) -> None:
        self.errors.append((message, fields))


class Table:
    """A table, its observers and its stream, whose records a test makes."""

    def __init__(self) -> None:
        self.dynamodb: Any = client("dynamodb")
        self.name = create_table(self.dynamodb)
        self.s3: Any = None
        """Only made where a test has bodies in it: nothing else may ask for it."""
        self._numbers = count(10**27)

    def observer(self, dynamodb: Any = None, *, log: Any = None) -> Observer:
        dynamodb = dynamodb or self.dynamodb
        bodies = Bodies(dynamodb, self.name, lambda: self.s3, "bodies")
        log = log or Silence()
        nudging = Nudging(store=JobStore(dynamodb, self.name), clock=lambda: LATER, log=log)
        return Observer(dynamodb=dynamodb, table=self.name, bodies=bodies, nudging=nudging, clock=lambda: LATER, log=log)

    def stats(self, queue: str = "emails") -> QueueStats:
        return read_stats(self.dynamodb, self.name, queue, now=LATER)

    def change(self, old: Job | None, new: Job | None) -> dict[str, Any]:
        """One record of the stream."""
        images = {name: records.encode(job) for name, job in (("OldImage", old), ("NewImage", new)) if job}
        facts = {"SequenceNumber": str(next(self._numbers)), "ApproximateCreationDateTime": NOW.timestamp(), **images}
        return {"eventID": "e", "eventName": "MODIFY", "eventSource": "aws:dynamodb", "dynamodb": facts}

    def enqueued(self, jobs: int, queue: str = "emails") -> list[dict[str, Any]]:
        return [self.change(None, make_job(id=f"{queue}-{number}", queue=queue)) for number in range(jobs)]


@pytest.fixture
def table() -> Iterator[Table]:
    with mock_aws():
        yield Table()


def test_a_job_is_followed_from_enqueue_to_done(table: Table) -> None:
    observer = table.observer()
    assert observer.handle(event("stream_of_a_job")) == {"state": {}}
    observer.handle(event("stream_of_a_deletion_by_ttl"))
    assert msgspec.to_builtins(table.stats()) == {
        "pending": 0,
        "running": 0,
        "failed": 0,
        "retrying": 0,
        "scheduled": 0,
        "dead": 0,
        "done": 1,
        "avg_wait_time": 2.3,
        "p95_wait_time": pytest.approx(2.3, rel=0.42),
        "avg_run_time": 0.8,
        "oldest_job_age": None,
        "enqueue_rate": pytest.approx(1 / 250, abs=1e-4),
        "dequeue_rate": pytest.approx(1 / 250, abs=1e-4),
        "error_rate": 0.0,
        "active_workers": 0,
        "paused": False,
    }


def test_a_queue_without_jobs_has_zeros(table: Table) -> None:
    stats = table.stats()
    assert (stats.pending, stats.avg_wait_time, stats.oldest_job_age, stats.paused) == (0, None, None, False)


def test_what_the_ticker_and_a_pause_stored_is_told_too(table: Table) -> None:
    table.observer().handle({"Records": table.enqueued(2)})
    table.dynamodb.put_item(
        TableName=table.name,
        Item={
            "id": {"S": "queue#emails"},
            "paused": {"BOOL": True},
            "active_workers": {"N": "7"},
            "oldest_created_at": {"N": str(int(NOW.timestamp() * 1000) - 60_000)},
        },
    )
    stats = table.stats()
    assert (stats.paused, stats.active_workers, stats.oldest_job_age) == (True, 7, 70.0)


def test_the_oldest_job_is_forgotten_as_soon_as_nothing_waits(table: Table) -> None:
    """The ticker looks once a minute; the counters know sooner."""
    item = {"id": {"S": "queue#emails"}, "oldest_created_at": {"N": str(int(NOW.timestamp() * 1000))}}
    table.dynamodb.put_item(TableName=table.name, Item=item)
    assert table.stats().oldest_job_age is None


def test_queues_are_counted_apart(table: Table) -> None:
    table.observer().handle({"Records": [*table.enqueued(2), *table.enqueued(3, "images")]})
    assert (table.stats().pending, table.stats("images").pending) == (2, 3)


def test_failed_counts_what_went_wrong_retrying_and_dead(table: Table) -> None:
    jobs = [make_job(id=str(n), status=status) for n, status in enumerate((Status.FAILED, Status.DEAD, Status.DEAD, Status.SCHEDULED))]
    table.observer().handle({"Records": [table.change(None, job) for job in jobs]})
    stats = table.stats()
    assert (stats.failed, stats.retrying, stats.dead, stats.scheduled) == (3, 1, 2, 1)


def test_records_of_what_is_no_job_change_nothing(table: Table) -> None:
    record = table.enqueued(1)[0]
    record["dynamodb"]["NewImage"] = {"id": {"S": "stats#emails"}, "rev": {"N": "1"}}
    table.observer().handle({"Records": [record]})
    assert table.dynamodb.scan(TableName=table.name)["Items"] == []


@pytest.mark.parametrize("jobs", [10, 2000])
def test_reading_stats_is_one_call_and_one_read_unit_at_any_number_of_jobs(table: Table, jobs: int) -> None:
    faults = Faults()
    table.observer().handle({"Records": table.enqueued(jobs)})
    assert read_stats(FaultyClient(table.dynamodb, faults), table.name, "emails", now=LATER).pending == jobs  # type: ignore[arg-type]
    assert faults.calls == ["batch_get_item"]
    item = table.dynamodb.get_item(TableName=table.name, Key={"id": {"S": "stats#emails"}})["Item"]
    assert len(str(item)) < 4096, "half a read unit, eventually consistent"


def test_a_throttled_read_of_stats_is_unavailable(table: Table) -> None:
    with pytest.raises(Unavailable):
        read_stats(FaultyClient(table.dynamodb, Faults(at=0)), table.name, "emails", now=LATER)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- repeated batches


def test_a_repeated_batch_changes_nothing_and_writes_nothing(table: Table) -> None:
    batch = {"Records": table.enqueued(3)}
    table.observer().handle(batch)
    faults = Faults()
    table.observer(FaultyClient(table.dynamodb, faults)).handle(batch)
    assert table.stats().pending == 3
    assert faults.calls == ["get_item"]


def test_a_batch_that_comes_back_longer_is_folded_from_where_it_ended(table: Table) -> None:
    batch = table.enqueued(9)
    table.observer().handle({"Records": batch[:4]})
    table.observer().handle({"Records": batch})
    assert table.stats().pending == 9


def test_with_the_shard_told_batches_may_be_cut_anyhow(table: Table) -> None:
    batch = table.enqueued(9)
    for start, end in ((0, 6), (0, 3), (3, 7), (0, 9), (7, 9)):
        table.observer().handle({"Records": batch[start:end], "shardId": "shardId-00000001414562045508-2bac9cd2"})
    assert table.stats().pending == 9


def test_the_last_invocation_of_a_tumbling_window_has_no_records(table: Table) -> None:
    assert table.observer().handle({"Records": [], "shardId": "s", "isFinalInvokeForWindow": True, "state": {}}) == {"state": {}}


def test_a_warm_observer_folds_a_batch_in_one_call_per_queue(table: Table) -> None:
    faults = Faults()
    observer = table.observer(FaultyClient(table.dynamodb, faults))
    observer.handle({"Records": table.enqueued(2)})
    faults.calls.clear()
    observer.handle({"Records": table.enqueued(2)})
    assert faults.calls == ["put_item"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_any_call_neither_loses_nor_doubles_a_count(table: Table, kind: Kind) -> None:
    """Two queues, two batches; after the fault the stream repeats the batch, to the same process or to a new one."""
    for at in count():
        faults = Faults(at=at, kind=kind)
        queues = [f"{kind}-{at}-{queue}".replace("_", "-") for queue in ("a", "b")]
        observer = table.observer(FaultyClient(table.dynamodb, faults))
        for batch in ([*table.enqueued(2, queues[0]), *table.enqueued(3, queues[1])] for _ in range(2)):
            for _ in range(3):
                faults.new_process()
                try:
                    observer.handle({"Records": batch})
                    break
                except Unavailable:
                    continue
                except Killed:
                    observer = table.observer(FaultyClient(table.dynamodb, faults))
        assert [table.stats(queue).pending for queue in queues] == [4, 6], faults.spoiled
        if faults.spoiled is None:
            assert at == 6
            return


# ---------------------------------------------------------------------------------------------------- two observers


class Rival:
    """A client that lets somebody else go first, once, before the write of an observer."""

    def __init__(self, client: Any, go_first: Any) -> None:
        self._client = client
        self._go_first = go_first

    def put_item(self, **arguments: Any) -> Any:
        rivals, self._go_first = self._go_first, lambda: None
        rivals()
        return self._client.put_item(**arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_two_observers_of_the_same_batch_fold_it_once(table: Table) -> None:
    batch = {"Records": table.enqueued(4)}
    rival = table.observer()
    table.observer(Rival(table.dynamodb, lambda: rival.handle(batch))).handle(batch)
    assert table.stats().pending == 4


def test_two_observers_of_different_batches_lose_neither(table: Table) -> None:
    mine, yours = ({"Records": table.enqueued(4)} for _ in range(2))
    table.observer().handle({"Records": table.enqueued(1)})
    rival = table.observer()
    observer = table.observer(Rival(table.dynamodb, lambda: rival.handle(yours)))
    observer.handle(mine)
    observer.handle({"Records": table.enqueued(1)})
    assert table.stats().pending == 10


def test_an_observer_that_never_gets_its_turn_lets_the_stream_repeat(table: Table) -> None:
    rival = table.observer()

    class Unlucky(Rival):
        def put_item(self, **arguments: Any) -> Any:
            rival.handle({"Records": table.enqueued(1)})
            return self._client.put_item(**arguments)

    with pytest.raises(Unavailable):
        table.observer(Unlucky(table.dynamodb, None)).handle({"Records": table.enqueued(1)})


# ---------------------------------------------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    "spoil",
    [
        lambda facts: facts["NewImage"].pop("queue"),
        lambda facts: facts["NewImage"].update(status={"S": "sleeping"}),
        lambda facts: facts["NewImage"].update(created_at={"N": "1e400"}),
        lambda facts: facts.update(SequenceNumber="1_0"),
        lambda facts: facts.pop("SequenceNumber"),
        lambda facts: facts.update(ApproximateCreationDateTime="yesterday"),
        lambda facts: facts.update(NewImage=[]) or facts.update(NewImage=["dispatch"]),
    ],
)
def test_a_record_that_cannot_be_read_is_logged_once_and_blocks_nobody(table: Table, spoil: Any) -> None:
    batch = table.enqueued(3)
    spoil(batch[1]["dynamodb"])
    log = Recorder()
    table.observer(log=log).handle({"Records": batch})
    assert table.stats().pending == 2
    assert [message for message, _fields in log.errors] == ["stream record left out of the counters"]


def test_counters_that_cannot_be_read_begin_anew_and_ask_for_a_recount(table: Table) -> None:
    table.observer().handle({"Records": table.enqueued(3)})
    table.dynamodb.update_item(
        TableName=table.name,
        Key={"id": {"S": "stats#emails"}},
        UpdateExpression="SET recent = :x",
        ExpressionAttributeValues={":x": {"B": b"\x00"}},
    )
    log = Recorder()
    table.observer(log=log).handle({"Records": table.enqueued(2)})
    item = table.dynamodb.get_item(TableName=table.name, Key={"id": {"S": "stats#emails"}})["Item"]
    assert item["recount"]["L"]
    assert table.stats().pending == 2
    assert log.errors[0][0] == "counters that cannot be read begin anew"


def test_a_batch_that_waited_almost_a_day_asks_for_a_recount(table: Table) -> None:
    batch = table.enqueued(1)
    batch[0]["dynamodb"]["ApproximateCreationDateTime"] = (LATER - timedelta(hours=23, minutes=30)).timestamp()
    log = Recorder()
    table.observer(log=log).handle({"Records": batch})
    item = table.dynamodb.get_item(TableName=table.name, Key={"id": {"S": "stats#emails"}})["Item"]
    assert item["recount"]["L"]
    assert log.errors == [("stream records may have been missed: the counters need a recount", {"queue": "emails"})]


def test_fresh_counters_are_those_of_no_item(table: Table) -> None:
    assert Counters().rev == 0
    table.observer().handle({"Records": table.enqueued(1)})
    assert table.dynamodb.get_item(TableName=table.name, Key={"id": {"S": "stats#emails"}})["Item"]["rev"] == {"N": "1"}
