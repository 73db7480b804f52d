"""Scenarios that chance finds rarely, played on purpose; every fact of `promise` is checked in them too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

import pytest

from jobline.job import Job, Status
from tests.proof.planted_bugs import PLANTED
from tests.proof.promise import Broken, Promise
from tests.proof.scene import LANE, MINUTE, Scene, new_scene
from tests.proof.world import QUEUE, Operation


class Careless(Promise):
    """Checks no write."""

    def wrote(self, op: Operation, event: str, before: Job | None, after: Job) -> None:
        with suppress(Broken):
            super().wrote(op, event, before, after)

    def sent(self, job_id: str, dispatch: int, delay: int) -> None: ...
    def started(self, op: Operation, job: Job) -> None: ...


@pytest.fixture
def scene() -> Iterator[Scene]:
    with new_scene() as made:
        yield made


@pytest.mark.parametrize("others", [1, 4])
def test_neighbours_of_a_killer_end_done_with_one_attempt_and_the_killer_dead_by_its_own_count(scene: Scene, others: int) -> None:
    kinds = ["ok"] * others + ["killer"] + ["ok"] * others
    ids = scene.enqueue(*kinds)
    scene.relay()
    scene.work(10)
    for _ in range(60):
        scene.minute()
    ends = [(scene.job(id).status, scene.job(id).attempts) for id in ids]
    assert ends == [(Status.DONE, 1)] * others + [(Status.DEAD, 3)] + [(Status.DONE, 1)] * others
    # Cut off once in the batch without its being counted, and started three times alone.
    assert scene.world.promise.starts[ids[others]] == 4
    assert scene.world.sqs.messages() == []


BACKLOG = 60


class Outcome(NamedTuple):
    """What became of a backlog, for which the time is just enough."""

    done: int
    sent: int


def _backlog(scene: Scene) -> Outcome:
    """A backlog of an hour's work is met by one message per minute, oldest first."""
    scene.enqueue(*["ok"] * BACKLOG)
    scene.relay()
    for _ in range(BACKLOG + 5):
        scene.minute(size=1)
    return Outcome(sum(job.status is Status.DONE for job in scene.world.store.jobs.values()), scene.world.sqs.sent)


def test_a_backlog_is_worked_off_as_fast_as_it_can_be_and_repair_neither_floods_nor_delays_it(scene: Scene) -> None:
    done, sent = _backlog(scene)
    assert (done, sent <= 3 * BACKLOG) == (BACKLOG, True), (done, sent)


@pytest.mark.parametrize("bug", ["resend_bumps_dispatch", "resend_every_minute"])
def test_a_backlog_starves_or_floods_when_repair_is_careless(scene: Scene, bug: str) -> None:
    """What the facts about repair are for: without them, this is what happens."""
    scene.world.promise = Careless()
    with PLANTED[bug]():
        done, sent = _backlog(scene)
    assert done < BACKLOG // 2 or sent > 10 * BACKLOG, (done, sent)


def test_a_paused_queue_sends_each_job_once_and_starts_none(scene: Scene) -> None:
    scene.world.deployment.states.pause(QUEUE, scene.world.now)
    ids = scene.enqueue(*["ok"] * 20)
    for _ in range(6 * 60):
        scene.minute()
    assert scene.world.sqs.sent == 20
    assert {scene.job(id).status for id in ids} == {Status.PENDING}
    scene.world.deployment.states.resume(QUEUE, scene.world.now)
    for _ in range(5):
        scene.minute()
    assert {scene.job(id).status for id in ids} == {Status.DONE}
    assert scene.world.sqs.sent == 20


def test_a_job_of_a_paused_queue_expires_all_the_same(scene: Scene) -> None:
    scene.world.deployment.states.pause(QUEUE, scene.world.now)
    (id,) = scene.enqueue("ok", expires_in=60)
    for _ in range(30):
        scene.minute()
    assert scene.job(id).status is Status.EXPIRED


def test_a_delayed_job_that_is_moved_to_now_starts_at_once(scene: Scene) -> None:
    (id,) = scene.enqueue("ok", delay=900)
    scene.relay()
    scene.run("api", lambda op: scene.world.reschedule(op, id, timedelta(), 5))
    scene.relay()
    scene.work(10)
    assert scene.job(id).status is Status.DONE
    assert scene.job(id).started_at == scene.world.now


def test_receives_that_run_out_without_a_start_spend_no_attempt(scene: Scene) -> None:
    (id,) = scene.enqueue("ok")
    scene.relay()
    for _ in range(11):  # the function was throttled each time: received, never run
        scene.world.sqs.receive_message(QueueUrl=f"memory:///{LANE}")
        scene.world.now += 20 * MINUTE
    assert [message.receives for message in scene.world.sqs.messages()] == [10]
    for _ in range(5):
        scene.minute()
    assert (scene.job(id).status, scene.job(id).attempts) == (Status.DONE, 1)


def test_what_was_lost_in_every_way_at_once_heals(scene: Scene) -> None:
    """A job without a message, one that runs without a worker, and one whose stream record nobody read."""
    ids = scene.enqueue("ok", "killer", "flaky")
    scene.relay()
    scene.work(2)
    for name in scene.world.sqs.queues:
        scene.world.sqs.purge_queue(QueueUrl=f"memory:///{name}")
    late = scene.enqueue(*["ok"] * 4)[-1]
    for reader in scene.world.relay_readers:
        reader.position = 10**6
    for _ in range(3 * 24 * 60 // 10):
        scene.world.now += 9 * MINUTE
        scene.minute()
        for reader in scene.world.relay_readers:
            reader.position = min(reader.position, len(scene.world.stream.entries(scene.world.relay_readers.index(reader))))
        if not scene.world.unfinished():
            break
    assert {scene.job(id).status for id in (ids[0], ids[2], late)} == {Status.DONE}
    assert scene.job(ids[1]).status is Status.DEAD


def test_a_purged_job_made_anew_under_its_key_is_safe_from_the_worker_that_lost_it(scene: Scene) -> None:
    (id,) = scene.enqueue("slow")
    scene.relay()
    zombie = scene.begin_work(id)
    scene.world.now = (scene.job(id).lease_until or scene.world.now) + MINUTE
    scene.redeliver()
    scene.work(1)
    assert (scene.job(id).status, scene.job(id).token) == (Status.DONE, 2)
    scene.world.now += MINUTE
    scene.run("operations", scene.world.purge)
    scene.enqueue("slow")
    scene.relay()
    worker = scene.begin_work(id)
    scene.finish(zombie)
    assert (scene.job(id).status, scene.job(id).token) == (Status.RUNNING, 3)
    scene.finish(worker)
    assert scene.job(id).status is Status.DONE
