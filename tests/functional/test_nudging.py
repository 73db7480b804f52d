"""Nudges: a batch is woken as soon as its member is seen to end; and nothing that goes wrong there keeps a counter from being folded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobline.batch import read_standing
from jobline.counters import Change
from jobline.errors import Unavailable
from jobline.job import Job, Status
from jobline.memory import MemoryStore
from jobline.nudging import Nudging
from tests.api import Logged
from tests.batches import REPORT, Scene, member
from tests.factories import NOW, seconds


def old_batch(scene: Scene, *others: dict[str, Any], **fields: Any) -> str:
    """A batch of two hours that waits for a member which a paused queue holds: its next look is half an hour off."""
    scene.deployment.states.pause("images", NOW)
    id = scene.make([*others, member(1, queue="images")], **fields)
    scene.run("2h")
    assert scene.job(id).scheduled_at - scene.deployment.now > timedelta(minutes=5)
    return id


def let_run(scene: Scene) -> None:
    scene.deployment.states.resume("images", scene.deployment.now)
    scene.run()


def test_a_batch_is_woken_when_the_member_that_it_waits_for_ends() -> None:
    scene = Scene(nudged=True)
    id = old_batch(scene, member(2), on_complete={"queue": "emails", "type": "report"})
    let_run(scene)
    assert scene.show(id)["status"] == "complete"
    assert [job.status for job in scene.made("report")] == [Status.DONE]


def test_a_batch_is_not_woken_for_any_other_member() -> None:
    scene = Scene(nudged=True)
    id = old_batch(scene, member(2, delay="2h5m"))
    looks, writes = scene.looks(id), scene.job(id).rev
    scene.run("6m")
    assert (scene.looks(id), scene.job(id).rev) == (looks, writes)


def test_a_batch_is_woken_once_for_a_dead_member_that_it_does_not_wait_for() -> None:
    scene = Scene(nudged=True)
    dying = [member(n, ends="dead", delay=f"2h{n}m") for n in (1, 2, 3)]
    id = old_batch(scene, *dying, on_dead={"queue": "emails", "type": "report"})
    scene.store.reads = 0
    scene.run("1m30s")
    assert scene.show(id)["on_dead"] == scene.made("report")[0].id
    assert scene.awaited(id) == 3
    # One by the observer; then the awaited member and the one that the nudge names.
    assert scene.store.reads == 3 + len(scene.show(id)["jobs"])
    looks = scene.looks(id)
    scene.run("3m")
    assert scene.looks(id) == looks
    assert len(scene.made("report")) == 1


def test_a_dead_member_wakes_no_batch_that_has_nothing_to_do_about_it() -> None:
    scene = Scene(nudged=True)
    id = old_batch(scene, member(1, ends="dead", delay="2h1m"), on_complete=REPORT)
    looks = scene.looks(id)
    scene.run("2m")
    assert scene.looks(id) == looks


def test_a_long_batch_whose_every_nudge_comes_needs_no_more_looks_than_members_and_days() -> None:
    scene = Scene(nudged=True)
    id = scene.make([member(n, delay=f"{n + 1}d") for n in reversed(range(10))], on_success=REPORT)
    scene.run("11d")
    assert scene.show(id)["status"] == "complete"
    assert scene.looks(id) <= 10 + 11


# ---------------------------------------------------------------------------------------------------- what comes between


class Bench:
    """A batch that waits, and the nudging that somebody else's observer does meanwhile."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.id = old_batch(self.scene, member(0, ends="dead", delay="3h"), on_dead={"queue": "emails", "type": "report"})
        self.log = Logged()

    def ended(self, number: int = 1, status: Status = Status.DONE) -> Change:
        job = self.scene.members(self.id)[number]
        return Change(1, job, replace(job, status=status))

    def nudge(self, *changes: Change, store: Any = None) -> None:
        Nudging(store=store or self.scene.store, clock=self.scene.deployment.clock, log=self.log).nudge(changes)

    @property
    def batch(self) -> Job:
        return self.scene.job(self.id)


def test_a_nudge_moves_the_batch_to_now_and_says_why() -> None:
    bench = Bench()
    bench.nudge(bench.ended())
    assert (bench.batch.scheduled_at, bench.batch.last_op) == (bench.scene.deployment.now, "nudge")
    assert bench.log.lines == []


def test_a_second_nudge_changes_nothing() -> None:
    bench = Bench()
    bench.nudge(bench.ended())
    rev = bench.batch.rev
    bench.nudge(bench.ended())
    assert bench.batch.rev == rev


def test_of_a_dead_member_a_batch_is_told_though_it_is_due_already() -> None:
    bench = Bench()
    bench.nudge(bench.ended())
    bench.nudge(bench.ended(0, Status.DEAD))
    assert bench.batch.last_op == f"dead {bench.scene.show(bench.id)['jobs'][0]['id']}"
    rev = bench.batch.rev
    bench.nudge(bench.ended(0, Status.DEAD))
    assert bench.batch.rev == rev


def test_what_a_nudge_says_of_a_member_that_is_not_dead_is_not_believed() -> None:
    bench = Bench()
    bench.nudge(bench.ended(0, Status.DEAD))  # the record says that it still waits
    bench.scene.run()
    assert bench.scene.made("report") == []


@pytest.mark.parametrize("status", [Status.RUNNING, Status.FAILED, Status.DONE, Status.DEAD, Status.CANCELLED])
def test_a_batch_that_does_not_wait_is_let_be(status: Status) -> None:
    bench = Bench()
    bench.scene.store.jobs[bench.id] = before = replace(bench.batch, status=status)
    bench.nudge(bench.ended(), bench.ended(0, Status.DEAD))
    assert bench.batch == before


def test_a_batch_that_began_to_run_meanwhile_is_not_disturbed() -> None:
    bench = Bench()
    stale = bench.batch

    class Late(MemoryStore):
        """Shows the batch as it was a moment ago."""

        def get_many(self, job_ids: Any) -> dict[str, Job]:
            return {bench.id: stale}

        def apply(self, job_id: str, write: Any) -> Any:
            return bench.scene.store.apply(job_id, write)

    bench.scene.store.jobs[bench.id] = running = replace(stale, status=Status.RUNNING, rev=stale.rev + 1)
    bench.nudge(bench.ended(), store=Late())
    assert bench.batch == running
    assert bench.log.lines == []


def test_a_member_that_claims_to_be_of_a_job_that_is_no_batch_moves_nothing() -> None:
    bench = Bench()
    ended = bench.ended()
    bench.scene.store.jobs[bench.id] = before = replace(bench.batch, queue="emails")
    bench.nudge(ended)
    assert bench.batch == before


# ---------------------------------------------------------------------------------------------------- what goes wrong


class Broken(MemoryStore):
    """A table that does not answer, or whose records cannot be read."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def get_many(self, job_ids: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(("error", "level"), [(Unavailable("slow down"), "warning"), (ValueError("a fault of ours"), "error")])
def test_whatever_goes_wrong_is_logged_and_raised_to_nobody(error: Exception, level: str) -> None:
    bench = Bench()
    bench.nudge(bench.ended(), store=Broken(error))
    assert [line[0] for line in bench.log.lines] == [level]


def test_a_batch_whose_checkpoint_cannot_be_read_keeps_no_counter_from_being_folded() -> None:
    scene = Scene(nudged=True)
    id = old_batch(scene)
    scene.store.jobs[id] = replace(scene.job(id), checkpoint='{"made":"x"}')
    let_run(scene)
    stats = scene.deployment.stats("images", scene.deployment.now)
    assert (stats.done, stats.pending, stats.running) == (1, 0, 0)


@pytest.mark.parametrize("error", [Unavailable("slow down"), RuntimeError("a fault of ours")])
def test_a_nudge_that_fails_has_no_stream_batch_repeated_and_is_made_up_for_by_a_look(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(nudged=True)
    id = old_batch(scene, member(2))

    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Nudging, "_wake", broken)
    let_run(scene)
    assert scene.deployment.stats("images", scene.deployment.now).done == 1
    assert scene.show(id)["status"] == "open"
    assert scene.deployment.run_observer() == 0, "nothing is left to be seen again"
    scene.run("31m")
    assert scene.show(id)["status"] == "complete"


def test_the_nudges_of_one_stream_batch_take_no_longer_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    scene = bench.scene
    second = scene.make([member(5, queue="images")])
    scene.deployment.states.pause("images", scene.deployment.now)
    scene.run("2h")
    changes = [bench.ended(), Change(2, None, _over(scene.members(second)[0]))]
    clock = iter(
        [scene.deployment.now, scene.deployment.now, scene.deployment.now, scene.deployment.now, scene.deployment.now + seconds(11)]
    )
    Nudging(store=scene.store, clock=lambda: next(clock), log=bench.log).nudge(changes)
    assert [scene.job(id).last_op == "nudge" for id in (bench.id, second)] == [True, False]
    assert bench.log.lines[0][:2] == ("warning", "batches are not woken: it takes too long")


def _over(job: Job) -> Job:
    return replace(job, status=Status.DONE)


# ---------------------------------------------------------------------------------------------------- what it costs others


def test_a_stream_batch_without_members_costs_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    job = bench.scene.deployment.enqueue("work", queue="emails")
    bench.nudge(Change(1, None, job), Change(2, job, _over(job)), store=Broken(AssertionError("called")))
    assert bench.log.lines == []


def test_the_members_of_one_batch_cost_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    id = scene.make([member(n) for n in range(50)])
    scene.run("1s")
    read: list[Any] = []
    get_many = scene.store.get_many

    def recorded(ids: Any) -> dict[str, Job]:
        read.append(list(ids))
        return get_many(ids)

    monkeypatch.setattr(scene.store, "get_many", recorded)
    Nudging(store=scene.store, clock=scene.deployment.clock, log=Logged()).nudge(
        [Change(n, None, job) for n, job in enumerate(scene.store.jobs.values()) if job.batch_id]
    )
    assert read == [[id]]
    assert read_standing(scene.job(id)).made == 50
