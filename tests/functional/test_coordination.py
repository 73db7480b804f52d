"""How a batch waits: what its looks cost, when they come, what becomes of it when it is cancelled, retried, or killed between two calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jobline import coordination, transitions
from jobline.batch import read_standing
from jobline.coordination import LONGEST_BLIND, LONGEST_PAUSE, MAX_SNOOZES
from jobline.definitions import Queue
from jobline.errors import Unavailable
from jobline.job import Job, Status
from tests.batches import QUEUES, REPORT, WAYS, Scene, Spoiled, member
from tests.factories import NOW, seconds


def counts(scene: Scene, id: str) -> dict[str, int]:
    return {name: number for name, number in scene.result(id)["counts"].items() if number}


# ---------------------------------------------------------------------------------------------------- what looking costs


def test_while_the_awaited_member_is_open_a_look_is_one_read() -> None:
    scene = Scene()
    id = scene.make([member(n) for n in range(99)] + [member(99, delay="2h")])
    scene.run("1m")
    looks, scene.store.reads = scene.looks(id), 0
    scene.api.call("PATCH", f"/jobs/{id}", {"delay": 0})
    scene.run("1m")
    assert (scene.looks(id) - looks, scene.store.reads) == (1, 1)


def test_a_batch_whose_last_member_ends_last_costs_a_read_of_each_and_one_for_every_look() -> None:
    scene = Scene()
    id = scene.make([member(n) for n in range(499)] + [member(499, delay="10m")])
    scene.store.reads = scene.store.calls = 0
    scene.run("20m")
    assert counts(scene, id) == {"done": 500}
    looks = scene.looks(id) + 1
    assert scene.store.reads == 500 + looks - 1
    # Of one member, one more, two, four, and so on; then a hundred at a time.
    assert scene.store.calls == looks + 11


def test_a_batch_whose_members_end_from_the_last_to_the_first_costs_two_reads_of_each_and_one_for_every_look() -> None:
    scene = Scene(nudged=True)
    id = scene.make([member(n, delay=120 * (10 - n)) for n in range(10)])
    scene.store.reads = 0
    scene.run("1h")
    assert counts(scene, id) == {"done": 10}
    # The rest of the reads are the observer's: one for each member that ended.
    assert scene.store.reads <= 2 * 10 + 2 * scene.looks(id) + 1 + 10


def test_a_look_is_put_off_by_a_quarter_of_the_batch_s_age() -> None:
    scene = Scene()
    scene.deployment.states.pause("emails", NOW)
    id = scene.make([member(1)])
    scene.run()
    for looks in range(41):  # then it is nearly a day old, and everybody is looked at
        assert scene.looks(id) == looks + 1
        job = scene.job(id)
        assert job.started_at is not None
        pause, age = job.scheduled_at - job.started_at, job.started_at - NOW
        assert pause == max(seconds(5), min(age / 4, seconds(5) * 1.25**looks, LONGEST_PAUSE))
        scene.run(job.scheduled_at - scene.deployment.now + seconds(1))
    assert age > timedelta(hours=17)


def test_no_look_comes_before_the_awaited_member_is_due() -> None:
    scene = Scene()
    id = scene.make([member(1, delay="5h")], on_success=REPORT)
    scene.run("4h")
    assert scene.looks(id) == 1
    scene.run("1h10m")
    assert counts(scene, id) == {"done": 1}
    assert scene.job(id).completed_at == NOW + timedelta(hours=5, seconds=5)


def test_the_longest_batch_is_put_off_less_often_than_it_may_be() -> None:
    scene = Scene()
    scene.deployment.states.pause("emails", NOW)
    id = scene.make([member(1)])
    scene.run("10d")
    looks = scene.looks(id)
    scene.run("10d")
    a_day = (scene.looks(id) - looks) / 10
    assert a_day <= 4
    assert looks + 5 * 365 * a_day < MAX_SNOOZES


def test_a_nudge_that_is_lost_costs_a_quarter_of_the_batch_s_age() -> None:
    scene = Scene()
    scene.deployment.states.pause("emails", NOW)
    id = scene.make([member(1)])
    scene.run("2h")
    scene.deployment.states.resume("emails", scene.deployment.now)
    scene.run("30m")
    assert counts(scene, id) == {"done": 1}


# ---------------------------------------------------------------------------------------------------- members of all kinds


def test_a_member_that_is_run_again_before_the_batch_is_complete_is_open_again() -> None:
    scene = Scene()
    id = scene.make([member(1, delay="1h"), member(2, ends="dead")], on_complete=REPORT)
    scene.run("10m")
    assert scene.awaited(id) == 0, "the second is over"
    scene.deployment.states.pause("emails", scene.deployment.now)
    assert scene.retry(scene.show(id)["jobs"][1]["id"]).status == 202
    scene.deployment.states.resume("emails", scene.deployment.now)
    scene.deployment.states.pause("emails", scene.deployment.now)
    first = scene.members(id)[0]
    scene.store.apply(
        first.id, transitions.cancel(first, now=scene.deployment.now, op="by hand", keep=scene.deployment.definitions.keep("emails"))
    )
    scene.run("3h")
    assert scene.show(id)["status"] == "open"
    assert scene.awaited(id) == 1
    scene.deployment.states.resume("emails", scene.deployment.now)
    scene.run("3h")
    assert counts(scene, id) == {"cancelled": 1, "dead": 1}
    assert len(scene.made("report")) == 1


def test_after_the_end_nothing_changes() -> None:
    scene = Scene()
    id = scene.make([member(1, ends="dead")], on_success=REPORT, on_complete=REPORT)
    scene.run("1m")
    before = scene.show(id)
    scene.retry(before["jobs"][0]["id"])
    scene.run("1h")
    assert scene.show(id) == before
    assert scene.retry(id).status == 409


def test_a_member_that_was_purged_is_gone_and_does_not_count_as_a_success() -> None:
    scene = Scene()
    id = scene.make([member(1), member(2, delay="1h")], on_success=REPORT, on_complete=REPORT)
    scene.run("1m")
    scene.store.delete(scene.members(id)[0])
    assert [each["status"] for each in scene.show(id)["jobs"]] == ["gone", "scheduled"]
    scene.run("2h")
    assert counts(scene, id) == {"done": 1, "gone": 1}
    assert [job.id for job in scene.made("report")] == [scene.show(id)["on_complete"]]


def test_a_batch_that_outlives_the_records_of_its_members_still_knows_how_they_ended() -> None:
    scene = Scene()
    id = scene.make([member(1), member(2, ends="dead"), member(3, delay="41d")], on_complete=REPORT)
    for _ in range(8):
        scene.run("5d")
        for job in list(scene.store.jobs.values()):
            if job.gone(scene.deployment.now):
                scene.store.remove(job.id)
    assert [each["status"] for each in scene.show(id)["jobs"]] == ["done", "dead", "scheduled"]
    scene.run("2d")
    assert counts(scene, id) == {"done": 2, "dead": 1}
    assert [each["status"] for each in scene.show(id)["jobs"]] == ["done", "dead", "done"]


def test_every_member_is_seen_before_the_shortest_retention_is_over() -> None:
    kept = 1000
    queues = QUEUES | {"emails": Queue(name="emails", worker="notes", lanes=1, retention_done_seconds=kept)}
    scene = Scene(queues=queues)
    id = scene.make([member(1), member(2, queue="images", delay="2d")], on_success=REPORT)
    scene.run("3d")
    assert counts(scene, id) == {"done": 2}
    assert scene.show(id)["on_success"] is not None


# ---------------------------------------------------------------------------------------------------- the batch itself


def test_a_batch_that_is_cancelled_makes_and_watches_nothing_more_and_its_members_go_on() -> None:
    scene = Scene()
    id = scene.make([member(1), member(2, delay="1h")], on_complete=REPORT)
    scene.run("1m")
    assert scene.cancel(id).body == {"cancelled": True}
    scene.run("3h")
    assert scene.show(id)["status"] == "cancelled"
    assert [each["status"] for each in scene.show(id)["jobs"]] == ["done", "done"]
    assert scene.made("report") == []


def test_a_batch_that_is_cancelled_before_it_has_begun_makes_nothing() -> None:
    scene = Scene()
    id = scene.make([member(1)], on_complete=REPORT)
    scene.cancel(id)
    scene.run("1h")
    assert (scene.show(id)["status"], list(scene.store.jobs)) == ("cancelled", [id])
    assert scene.show(id)["counts"]["unmade"] == 1


def test_a_cancelled_batch_that_is_retried_goes_on_where_it_was() -> None:
    scene = Scene()
    id = scene.make([member(1), member(2, delay="1h")], on_success=REPORT)
    scene.run("1m")
    scene.cancel(id)
    scene.run("3h")
    assert scene.retry(id).status == 202
    scene.run("1m")
    assert counts(scene, id) == {"done": 2}
    assert len(scene.made("report")) == 1 and len(scene.made("work")) == 2


def test_a_batch_asked_to_stop_while_it_makes_its_members_leaves_the_rest_unmade(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    id = scene.make([member(n) for n in range(250)], on_complete=REPORT)
    once = iter([True])
    create_many = scene.store.create_many

    def cancelled_meanwhile(jobs: Any) -> Any:
        if next(once, False):
            assert scene.cancel(id).body == {"cancel_requested": True}
        return create_many(jobs)

    monkeypatch.setattr(scene.store, "create_many", cancelled_meanwhile)
    scene.run("1h")
    shown = scene.show(id)
    assert (shown["status"], shown["counts"]["unmade"], shown["counts"]["done"]) == ("cancelled", 150, 100)


def redeployed(scene: Scene, name: str) -> Callable[[], None]:
    """Takes a queue away; the answer brings it back."""
    queues: Any = scene.deployment.definitions.queues
    taken = queues.pop(name)
    return lambda: queues.update({name: taken})


def test_a_batch_whose_queue_is_taken_away_is_dead_and_says_why_and_a_retry_makes_the_rest() -> None:
    scene = Scene(queues=dict(QUEUES))
    id = scene.make([member(1), member(2, queue="images"), member(3)], on_success=REPORT)
    bring_back = redeployed(scene, "images")
    scene.run("2h")
    shown = scene.show(id)
    assert (shown["status"], shown["error"]) == ("dead", "CannotBeMade: jobs/1: There is no queue 'images'; there are emails, letters.")
    assert [each["status"] for each in shown["jobs"]] == ["done", "unmade", "done"]
    bring_back()
    assert scene.retry(id).status == 202
    scene.run("1m")
    assert counts(scene, id) == {"done": 3}
    assert len(scene.made("work")) == 3


def test_a_callback_whose_queue_is_taken_away_can_be_made_later() -> None:
    scene = Scene(queues=dict(QUEUES))
    id = scene.make([member(1)], on_success=REPORT)
    bring_back = redeployed(scene, "images")
    scene.run("2h")
    assert scene.show(id)["error"].startswith("CannotBeMade: on_success: ")
    bring_back()
    scene.retry(id)
    scene.run("1m")
    assert len(scene.made("report")) == 1 and scene.show(id)["status"] == "complete"


def test_while_aws_takes_no_calls_a_batch_waits_and_loses_no_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    id = scene.make([member(1)])
    get_many = scene.store.get_many

    def refused(ids: Any) -> dict[str, Job]:
        if scene.store.active:
            raise Unavailable("slow down")
        return get_many(ids)

    with monkeypatch.context() as outage:
        outage.setattr(scene.store, "get_many", refused)
        scene.run("1h")
    assert (scene.job(id).attempts, scene.job(id).status) == (0, Status.PENDING)
    scene.run("30m")
    assert counts(scene, id) == {"done": 1}


# ---------------------------------------------------------------------------------------------------- killed between any two calls


def live(at: int, way: str) -> Spoiled:
    """A batch from its request to its end, with members that end in every way, under one fault."""
    scene, store = Scene(), Spoiled()
    scene.use(store)
    store.at, store.way = at, way
    jobs = [member(n, delay=40 * (n % 3)) for n in range(12)] + [member(12, ends="dead"), member(13, queue="letters")]
    id = scene.make(jobs, on_success=REPORT | {"tags": ["success"]}, on_complete=REPORT | {"tags": ["complete"]}, on_dead=REPORT)
    store.fragile = True
    scene.run("3h")
    store.fragile = False
    where = f"{way} at call {at} ({store.spoiled})"
    assert counts(scene, id) == {"done": 13, "dead": 1}, where
    assert len(scene.made("work")) == 14, where
    assert sorted(job.tags for job in scene.made("report")) == [(), ("complete",)], where
    assert all(job.status is Status.DONE and job.attempts == 1 for job in scene.made("report")), where
    assert {job.id for job in scene.members(id)} == {job.id for job in scene.made("work")}, where
    return store


@pytest.mark.parametrize("way", WAYS)
def test_one_fault_at_any_call_makes_nothing_twice_and_leaves_nothing_undone(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordination, "CHUNK", 5)
    calls = live(-1, "").number
    assert calls > 20
    for at in range(calls):
        store = live(at, way)
        assert store.spoiled, at


# ---------------------------------------------------------------------------------------------------- the cursor


def test_the_cursor_of_the_largest_batch_fits_into_a_checkpoint() -> None:
    scene = Scene()
    id = scene.make([member(n) for n in range(499)] + [member(499, delay="20d")], on_dead=REPORT)
    scene.run("10d")
    text = scene.job(id).checkpoint or ""
    assert len(read_standing(scene.job(id)).seen) == 500
    assert len(text) < 1000


def test_a_batch_is_looked_at_as_a_whole_each_day_however_long_it_waits() -> None:
    scene = Scene()
    id = scene.make([member(1, delay="10d"), member(2, delay="20d")])
    scene.run("5d")
    looked = scene.looks(id)
    scene.run("4d")
    assert scene.looks(id) - looked == timedelta(days=4) / LONGEST_BLIND
