"""Batches from Python, with both clients, in a test's trial deployment: what follows is run there too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from jobline import AsyncClient, Client, NewJob, WaitTimedOut
from jobline.errors import BatchNotFound, InvalidJob, Unavailable
from jobline.testing import TrialDeployment


def echo(value: Any = None, **fields: Any) -> NewJob:
    return NewJob("echo", value, "diagnostics", fields)


FAILS = NewJob("fail", {"times": 9}, "diagnostics", {"max_attempts": 1})


def test_a_batch_is_waited_for_and_what_follows_has_run(jobs: TrialDeployment) -> None:
    batch = jobs.client().batch([echo(n) for n in range(3)], on_success=echo("all done"), name="three")
    assert (batch.status, batch.name, batch.over, batch.succeeded) == ("open", "three", False, False)
    batch.wait()
    assert (batch.status, batch.succeeded, batch.counts["done"], batch.error) == ("complete", True, 3, None)
    assert batch.on_success is not None and (batch.on_complete, batch.on_dead) == (None, None)
    jobs.drain()
    assert jobs.job(batch.on_success).result == "all done"
    assert [jobs.job(each["id"]).result for each in batch.jobs] == [0, 1, 2]
    assert {jobs.job(each["id"]).parent_id for each in batch.jobs} == {batch.id}


def test_a_test_sees_what_follows_a_dead_member(jobs: TrialDeployment) -> None:
    batch = jobs.client().batch([echo(), FAILS, echo(delay="1h")], on_dead=echo("dead"), on_complete=echo("over"))
    jobs.drain()
    jobs.assert_enqueued("echo", payload="dead", status="done", count=1)
    jobs.refute_enqueued("echo", payload="over")
    assert batch.refresh().status == "open"
    jobs.advance("2h")
    jobs.assert_enqueued("echo", payload="over", status="done", count=1)
    assert not batch.refresh().succeeded


def test_an_asyncio_program_has_the_same(jobs: TrialDeployment) -> None:
    async def program() -> tuple[str, int, str]:
        async with jobs.async_client() as client:
            batch = await client.batch([echo(1), echo(2)], on_complete=echo())
            await batch.wait()
            return batch.status, batch.counts["done"], (await (await client.get_batch(batch.id)).refresh()).status

    assert asyncio.run(program()) == ("complete", 2, "complete")


def test_a_batch_that_is_not_over_in_time_is_told_of(jobs: TrialDeployment) -> None:
    batch = jobs.client().batch([echo(delay="1h")])
    with pytest.raises(WaitTimedOut, match=rf"Batch {batch.id} is open after 0 s\."):
        batch.wait(timeout=0)


def test_a_job_that_is_wrong_is_named_by_its_place_and_none_is_made(jobs: TrialDeployment) -> None:
    with pytest.raises(InvalidJob) as caught:
        jobs.client().batch([echo(), NewJob("send_email", {"to": 5}), echo(priority=11)])
    assert [each["pointer"] for each in caught.value.problems] == ["/jobs/1/payload/to", "/jobs/2/priority"]
    assert jobs.all() == []


def test_a_batch_that_is_not_there_is_not_found(jobs: TrialDeployment) -> None:
    with pytest.raises(BatchNotFound):
        jobs.client().get_batch("0197a000-0000-7000-8000-000000000001")


@pytest.mark.parametrize("make", [TrialDeployment.client, TrialDeployment.async_client])
def test_a_batch_whose_answer_was_lost_is_made_once(jobs: TrialDeployment, make: Callable[[Any], Client | AsyncClient]) -> None:
    client = make(jobs)
    connection: Any = client._connection
    request, lost = connection.request, iter([True])

    def losing(method: str, path: str, **given: Any) -> Any:
        answer = request(method, path, **given)
        if path == "/batches" and next(lost, False):
            raise Unavailable("the answer got lost")
        return answer

    connection.request = losing
    made: Any = client.batch([echo()])
    batch = asyncio.run(made) if asyncio.iscoroutine(made) else made
    jobs.drain()
    assert [job.id for job in jobs.all("batch")] == [batch.id]
    assert len(jobs.all("echo")) == 1


def test_the_same_key_names_the_same_batch(jobs: TrialDeployment) -> None:
    client = jobs.client()
    assert client.batch([echo()], idempotency_key="k").id == client.batch([echo()], idempotency_key="k").id
