"""Priorities under contention: a saturated queue starts urgent jobs sooner, and starves nobody.

The deployment in memory runs, each second, as many invocations of each lane as its mapping's `MaximumConcurrency` lets AWS run; every
job takes that second. Relay, lanes and worker are the real ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from statistics import mean
from typing import Any

import pytest

from jobline.context import Context
from jobline.definitions import Definitions, Queue, Worker
from jobline.job_type import job
from jobline.memory_deployment import MemoryDeployment, lane_name
from tests.factories import NOW

A_SECOND = timedelta(seconds=1)


@job("work")
def work(payload: Any, ctx: Context) -> None:
    """Takes as long as its deployment says."""


def mean_waits(counts: Mapping[int, int], **queue: Any) -> dict[int, float]:
    """Seconds from creation to start, by priority, of so many jobs enqueued at once."""
    definition = Queue(name="emails", worker="notifications", **queue)
    definitions = Definitions(stage="test", queues={"emails": definition}, workers={"notifications": Worker(name="notifications")})
    deployment = MemoryDeployment(definitions, {"notifications": [work]}, start=NOW)
    order = [priority for priority, count in counts.items() for _ in range(count)]
    deployment.random.shuffle(order)
    for priority in order:
        deployment.enqueue("work", priority=priority)
    invocations = 0
    while not all(each.over for each in deployment.store.jobs.values()):
        deployment.run_relay()
        for lane, at_a_time in definition.lane_concurrency.items():
            for _ in range(at_a_time):
                invocations += 1
                handle = partial(
                    deployment.make_worker(deployment.ports, "notifications").handle,
                    request_id=f"invocation-{invocations}",
                    remaining_milliseconds=300_000,
                )
                deployment.consume(lane_name("emails", lane), definition.batch_size, handle)
        deployment.now += A_SECOND
    waits: dict[int, list[float]] = {}
    for each in deployment.store.jobs.values():
        assert each.started_at is not None
        waits.setdefault(each.priority, []).append((each.started_at - each.created_at).total_seconds())
    return {priority: mean(values) for priority, values in waits.items()}


@pytest.mark.parametrize("concurrency", [10, 40])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_in_a_saturated_queue_urgent_jobs_wait_least_and_the_others_by_their_priority(concurrency: int, batch_size: int) -> None:
    """Of the jobs that come at once, a tenth is urgent and a third can wait: what priorities are for."""
    waits = mean_waits({1: 30, 5: 170, 10: 100}, concurrency=concurrency, batch_size=batch_size)
    assert waits[1] < waits[5] < waits[10]


def test_a_flood_of_urgent_jobs_does_not_starve_the_others() -> None:
    waits = mean_waits({1: 300, 5: 20, 10: 4}, concurrency=10)
    assert waits[5] < waits[1]
    assert waits[10] <= 2
