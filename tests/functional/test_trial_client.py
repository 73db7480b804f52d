"""Code that uses the Python clients, tried against a trial deployment: the real routes answer, and waiting takes no time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from jobline.client import Client
from jobline.errors import InvalidJob, JobNotFound
from jobline.flows import JobFailed
from jobline.testing import TrialDeployment


def welcome(client: Client, address: str) -> str:
    """What an adopter's program may do."""
    return client.enqueue("send_email", {"to": address, "subject": "Welcome"}, delay="1h", tags=["welcome"]).id


def test_what_a_program_enqueues_is_seen_by_the_test(jobs: TrialDeployment) -> None:
    id = welcome(jobs.client(), "ada@example.com")
    (job,) = jobs.assert_enqueued("send_email", to="ada@example.com", delay="1h", tags=["welcome"], count=1)
    assert job.id == id


def test_a_job_that_is_waited_for_is_run_and_the_time_has_passed(jobs: TrialDeployment) -> None:
    start = jobs.now
    job = jobs.client().enqueue("echo", {"a": "ü?&"}, queue="diagnostics", delay="30s")
    assert job.result() == {"a": "ü?&"}
    assert timedelta(seconds=30) <= jobs.now - start <= timedelta(seconds=33)


def test_an_asyncio_program_has_the_same(jobs: TrialDeployment) -> None:
    async def program() -> object:
        async with jobs.async_client() as client:
            job = await client.enqueue("echo", [1], queue="diagnostics", delay="30s")
            return await job.result()

    assert asyncio.run(program()) == [1]


def test_errors_are_the_clients_own(jobs: TrialDeployment) -> None:
    client = jobs.client()
    with pytest.raises(InvalidJob, match="payload/to"):
        client.enqueue("send_email", {})
    with pytest.raises(JobNotFound):
        client.get("0197a000-0000-7000-8000-000000000001")
    jobs.fail_next("echo", ValueError("no"))
    with pytest.raises(JobFailed, match="ValueError: no"):
        client.enqueue("echo", 1, queue="diagnostics", max_attempts=1).result()


def test_queues_can_be_listed_looked_through_and_paused(jobs: TrialDeployment) -> None:
    client = jobs.client()
    made = [client.enqueue("echo", number, queue="bulk", tags=["a b"]).id for number in range(3)]
    jobs.drain()
    assert {job.id for job in client.jobs("bulk", tag="a b")} == set(made)
    jobs.deployment.states.pause("bulk", jobs.now)
    assert {queue["name"]: queue["paused"] for queue in client.queues()}["bulk"] is True
    client.enqueue("echo", 4, queue="bulk")
    assert jobs.drain() == []


def test_schedules_are_kept_and_run_by_hand(jobs: TrialDeployment) -> None:
    async def program() -> list[str]:
        async with jobs.async_client() as client:
            for name in ("morning", "evening"):
                await client.put_schedule(name, "echo", name, queue="diagnostics", cron="0 9 * * *", timezone="Europe/Berlin")
            assert (await client.pause_schedule("evening"))["next_runs"] == []
            assert len((await client.resume_schedule("evening"))["next_runs"]) == 5
            job = await client.run_schedule("morning")
            assert await job.result() == "morning"
            await client.delete_schedule("evening")
            assert (await client.schedule("morning"))["paused"] is False
            return [each["name"] async for each in client.schedules()]

    assert asyncio.run(program()) == ["morning"]
