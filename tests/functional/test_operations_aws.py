"""Purge, redrive, recount and pause on real tables: what the in-memory ones do is what DynamoDB does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobline.context import Context
from jobline.counter_items import CounterItems
from jobline.counters import Doubt
from jobline.job import Status
from jobline.job_type import job
from jobline.purging import Purging
from jobline.queue_states import LONGEST_REST, QueueStates
from jobline.recounting import AHEAD, BEHIND, Recounting
from jobline.redriving import Redriving
from jobline.selection import Purge, Redrive, Selection
from jobline.steering import Snooze
from jobline.sweep import Sweep
from jobline.testing import make_context
from jobline.times import to_milliseconds
from tests.cloud import Cloud, cloud
from tests.factories import seconds


@job("work")
def work(payload: dict[str, Any], ctx: Context) -> None:
    raise ValueError("broken")


@pytest.fixture
def aws() -> Iterator[Cloud]:
    with cloud(work, max_attempts=1) as aws:
        yield aws


def no_sleep(seconds: float) -> None:
    raise AssertionError("nothing is throttled here")


def sweep(aws: Cloud, selection: Selection, visit: Any) -> dict[str, Any]:
    ctx = make_context(selection.__class__.__name__.lower(), clock=lambda: aws.now)
    return Sweep(aws.store, ctx, selection, visit, no_sleep).run()


def dead_jobs(aws: Cloud, count: int) -> list[str]:
    ids = [aws.enqueue("work", {}, id=f"0197a000-0000-7000-8000-{number:012d}", max_attempts=1) for number in range(count)]
    aws.settle()
    assert {aws.job(id).status for id in ids} == {Status.DEAD}
    aws.pass_time(seconds(1))
    return ids


def test_dead_jobs_are_redriven_by_their_error_and_then_purged(aws: Cloud) -> None:
    ids = dead_jobs(aws, 3)
    redriving = Redriving(store=aws.store, op="redrive 1", began=aws.now, dry_run=False, clock=lambda: aws.now)
    assert sweep(aws, Redrive(queue="emails", error="ValueError: broken"), redriving) == {"dry_run": False, "retried": 3}
    assert sweep(aws, Redrive(queue="emails", error="other"), redriving) == {"dry_run": False}
    aws.settle()
    assert {aws.job(id).token for id in ids} == {2}
    aws.pass_time(seconds(1))
    waiting = aws.enqueue("work", {}, id="0197a000-0000-7000-8000-00000000000a", scheduled_at=aws.now + timedelta(hours=1))
    aws.pass_time(seconds(1))
    purging = Purging(store=aws.store, keep=aws.definitions.keep, op="purge 1", dry_run=False, clock=lambda: aws.now)
    assert sweep(aws, Purge(queue="emails", status="failed", limit=2), purging) == {"dry_run": False, "deleted": 2}
    assert sweep(aws, Purge(queue="emails"), purging) == {"dry_run": False, "cancelled": 1, "deleted": 1}
    assert [aws.store.get(id) for id in ids] == [None] * 3
    assert aws.job(waiting).status is Status.CANCELLED


def test_counters_in_doubt_are_made_anew_on_a_real_table(aws: Cloud) -> None:
    ids = dead_jobs(aws, 3)
    aws.enqueue("work", {}, id="0197a000-0000-7000-8000-00000000000a", scheduled_at=aws.now + timedelta(days=1))
    assert aws.run_observer()
    items = CounterItems(aws.raw["dynamodb"], aws.table)
    counters, at = items.read("emails"), to_milliseconds(aws.now)
    assert items.put("emails", replace(counters, counts={Status.PENDING: 7}, doubt=Doubt(at, at), rev=counters.rev + 1))
    assert not items.put("emails", counters)
    assert items.peek("emails") == replace(counters, counts={Status.PENDING: 7}, doubt=Doubt(at, at), rev=counters.rev + 1)

    ctx = make_context("recount", clock=lambda: aws.now)
    recounting = Recounting(store=aws.store, items=items, ctx=ctx, queue="emails", sleep=no_sleep)
    for wait in (timedelta(minutes=5), AHEAD + BEHIND):
        with pytest.raises(Snooze) as snoozed:
            recounting.run()
        assert snoozed.value.seconds == wait.total_seconds()
        aws.pass_time(wait)
    aws.store.delete(aws.job(ids[0]))
    assert recounting.run() == {"recounted": True, "found": 3}
    assert aws.run_observer()
    counters = items.read("emails")
    assert (counters.recount, counters.count(Status.DEAD), counters.count(Status.SCHEDULED), counters.count(Status.PENDING)) == (
        False,
        2,
        1,
        0,
    )


def test_a_pause_is_noted_beside_what_the_ticker_stores(aws: Cloud) -> None:
    states = QueueStates(aws.raw["dynamodb"], aws.table)
    states.resume("emails", aws.now)
    assert states.paused(["emails", "images"]) == frozenset()
    states.pause("emails", aws.now)
    began = aws.now
    aws.pass_time(timedelta(days=2))
    states.pause("emails", aws.now)
    states.save_walk("emails", states.get("emails"))
    assert states.get("emails").paused_at == began and states.get("emails").rests(aws.now)
    assert states.paused(["emails", "images"]) == {"emails"}
    states.resume("emails", aws.now)
    assert states.get("emails").rest_until == aws.now + LONGEST_REST
    assert not states.get("emails").paused and not states.get("emails").rests(aws.now + LONGEST_REST)
