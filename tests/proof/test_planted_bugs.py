"""Each planted bug is caught: by one of the first random histories, or in a scene made for it; what is not is named, with the reason.

A stored history catches its bug at once. When the engine changes, chance falls otherwise: then the first `SEARCHED` histories are
played, and `python -m tests.proof.test_planted_bugs` prints the table anew.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from jobline.job import Status
from jobline.memory_deployment import dead_letters_name
from tests.proof.history import Mode, play, search
from tests.proof.planted_bugs import PLANTED
from tests.proof.promise import SKEW, Broken, need
from tests.proof.scene import LANE, MINUTE, Scene, new_scene
from tests.proof.world import QUEUE

SEARCHED = 400
"""Histories of each mode within which a bug must be caught."""

CAUGHT: dict[str, tuple[int, Mode]] = {
    "acked_after_lost_finish": (47, "B"),
    "batch_claim_spends": (0, "B"),
    "cancel_running_says_cancelled": (4, "B"),
    "cancel_tells_nobody": (1, "B"),
    "claim_no_dispatch": (9, "B"),
    "claim_unconditional": (0, "B"),
    "creq_ignored": (12, "B"),
    "dlq_ignores_dispatch": (81, "B"),
    "done_tells_nobody": (2, "A"),
    "drop_on_live_lease": (15, "A"),
    "expire_only_drops": (0, "B"),
    "expire_tells_nobody": (4, "A"),
    "finish_unconditional": (30, "B"),
    "follow_up_of_any_incarnation": (4, "A"),
    "follow_up_of_no_life": (1, "B"),
    "lock_holds_nothing": (3, "B"),
    "lock_outlives_its_job": (2, "B"),
    "lose_tells_nobody": (41, "A"),
    "lost_ack_is_other": (105, "A"),
    "lost_back_to_pending": (28, "A"),
    "no_dedupe": (30, "A"),
    "no_dispatch_on_retry": (0, "B"),
    "no_expiry_in_claim": (4, "A"),
    "no_max_at_lost": (7, "A"),
    "no_snooze_cap": (0, "B"),
    "no_walk": (3, "A"),
    "notdue_dropped": (0, "B"),
    "observer_blind_add": (22, "A"),
    "observer_first_seq": (115, "A"),
    "patch_no_dispatch": (1, "B"),
    "pending_ignores_due": (0, "B"),
    "promote_unconditional": (24, "A"),
    "put_first_then_update": (55, "A"),
    "relay_by_own_clock": (3, "A"),
    "relay_no_clamp": (32, "B"),
    "relay_no_clamp+promote_by_status_only": (32, "B"),
    "replaced_tells_nobody": (26, "B"),
    "resend_bumps_dispatch": (2, "A"),
    "resend_every_minute": (2, "A"),
    "resend_while_paused": (11, "A"),
    "retry_keeps_expiry": (4, "A"),
    "retry_not_watched": (2, "A"),
    "retry_resets_token": (1, "B"),
    "retry_running": (15, "A"),
    "set_aside_transient": (0, "B"),
    "short_lease+start_without_check": (0, "B"),
    "snooze_spends": (0, "B"),
    "solo_flag_ignored": (15, "A"),
    "start_without_check": (1, "A"),
    "suspects_join_batch": (0, "B"),
    "take_over_tells_nobody": (57, "B"),
    "throttled_is_refused": (19, "B"),
    "ticker_owns_all_failed": (1, "A"),
    "ttl_kept": (0, "B"),
    "walk_cursor_first": (71, "A"),
    "walk_skips_running": (33, "A"),
}

SURVIVORS = {
    "no_stale_drop": "only dearer: a stale message is received until its receives run out, and then dropped",
    "carrier_back": "only dearer: a copy that meets a live lease comes back later instead of being dropped",
    "promote_by_status_only": "the relay's clamp and the claim's own look at `scheduled_at` absorb it; both are kept",
    "short_lease": "absorbed by the clock that is asked before each start, at the price of more jobs handed back",
}
"""Bugs that break no promise, as the simulation of the protocol found too (docs/protocol.md, "Survivors")."""


# ---------------------------------------------------------------------------------------------------- scenes


def two_clocks_and_a_lease_that_ends(scene: Scene) -> None:
    """A holder whose clock is late, and a claimer whose clock is early, about the end of one lease (R25)."""
    (id,) = scene.enqueue("slow")
    scene.relay()
    scene.world.now += MINUTE
    holder = scene.begin_work(id, skew=-SKEW)
    scene.world.now = (scene.job(id).lease_until or scene.world.now) - SKEW
    scene.redeliver()
    scene.finish(scene.begin_work(id, skew=SKEW))
    scene.finish(holder)


def a_zombie_finishes_while_another_runs(scene: Scene) -> None:
    (id,) = scene.enqueue("slow")
    scene.relay()
    zombie = scene.begin_work(id)
    scene.world.now = (scene.job(id).lease_until or scene.world.now) + MINUTE
    scene.redeliver()
    other = scene.begin_work(id)
    scene.finish(zombie)
    need(scene.job(id).status is Status.RUNNING, "the zombie's finish took effect")
    scene.finish(other)
    need(scene.job(id).status is Status.DONE and scene.job(id).token == 2, "the holder's finish did not take effect")


def receives_run_out_under_a_live_lease(scene: Scene) -> None:
    (id,) = scene.enqueue("slow")
    scene.relay()
    holder = scene.begin_work(id)
    scene.world.sqs.queues[LANE].most_receives = 1
    scene.redeliver()
    scene.work(1)
    assert len(scene.world.sqs.messages(dead_letters_name(QUEUE))) == 1
    scene.run("dead_letters", scene.world.settle_dead_letters)
    scene.relay()
    scene.work(1)
    scene.finish(holder)
    need(scene.job(id).status is Status.DONE, "the holder's finish did not take effect")


def receives_run_out_before_the_job_is_due(scene: Scene) -> None:
    (id,) = scene.enqueue("ok", delay=600)
    scene.relay()
    scene.world.sqs.queues[LANE].most_receives = 1
    for _ in range(2):
        scene.redeliver()
        scene.work(1)
    scene.run("dead_letters", scene.world.settle_dead_letters)
    need(scene.job(id).dispatch == 2, "its message is gone, and nothing asks for another")
    scene.relay()
    scene.work(1)
    for _ in range(15):
        scene.minute()
    need(scene.job(id).status is Status.DONE, "stranded")


def a_retried_job_loses_its_worker_and_its_message(scene: Scene) -> None:
    """The walk has passed it long ago: only the watch that the retry set can find it (R8)."""
    (id,) = scene.enqueue("fatal")
    for _ in range(20):
        scene.minute()
    scene.run("api", lambda op: scene.world.retry(op, id))
    scene.relay()
    scene.begin_work(id).kill()
    for message in scene.world.sqs.messages(LANE):
        scene.world.sqs.lose(LANE, message.id)
    for _ in range(60):
        scene.minute()
    need(scene.job(id).status is Status.DEAD, "stranded")


def a_job_that_is_not_to_run_is_handed_back(scene: Scene) -> None:
    """Claimed with another one, asked to stop before it was started, and no time is left to start it (R21)."""
    first, second = scene.enqueue("slow", "ok", timeout=60)
    scene.relay()
    worker = scene.begin("worker", lambda op: scene.world.work(op, "normal", 2), until=lambda: scene.world.promise.starts.get(first))
    scene.run("api", lambda op: scene.world.cancel(op, second))
    scene.world.now += timedelta(seconds=40)
    scene.finish(worker)
    for _ in range(5):
        scene.minute()
    need(scene.job(second).status is Status.CANCELLED, "it was asked to stop, and did not")


def a_job_whose_end_is_told_is_not_to_run_and_handed_back(scene: Scene) -> None:
    first, second = scene.enqueue("slow", "ok", timeout=60, callback_url=TOLD)
    scene.relay()
    worker = scene.begin("worker", lambda op: scene.world.work(op, "normal", 2), until=lambda: scene.world.promise.starts.get(first))
    scene.run("api", lambda op: scene.world.cancel(op, second))
    scene.world.now += timedelta(seconds=40)
    scene.finish(worker)
    assert scene.job(second).status is Status.CANCELLED


def a_cancel_comes_a_life_too_late(scene: Scene) -> None:
    """It has read the record; before it writes, the job is cancelled by another and retried. This is the second end, and has its own
    follow-up."""
    (id,) = scene.enqueue("ok", delay=600, callback_url=TOLD)
    late = scene.world.operation("api", lambda op: scene.world.cancel(op, id))
    late.advance()
    late.advance()
    scene.run("api", lambda op: scene.world.cancel(op, id))
    scene.run("api", lambda op: scene.world.retry(op, id))
    scene.finish(late)
    assert (scene.job(id).status, scene.job(id).dispatch) == (Status.CANCELLED, 2)


def an_enqueue_takes_long_and_its_stream_record_is_lost(scene: Scene) -> None:
    """The record appears after the walk has passed the time at which it says that it was created (R6)."""
    slow = scene.begin("api", lambda op: scene.world.enqueue(op, 0, "ok"), until=lambda: scene.world.requests)
    scene.world.now += 2 * SKEW
    scene.run("api", lambda op: scene.world.enqueue(op, 1, "ok"))
    scene.tick()
    scene.finish(slow)
    for reader in scene.world.relay_readers:
        reader.position += len(reader.batch(10))
    for _ in range(60):
        scene.minute()
    need(not scene.world.unfinished(), "stranded")


def a_message_lost_and_an_orphan(scene: Scene) -> None:
    """As many messages as jobs that wait, and yet one job has none (R6)."""
    lost, _ = scene.enqueue("ok", "ok")
    scene.relay()
    for message in scene.world.sqs.messages(LANE):
        if lost in message.body:
            scene.world.sqs.lose(LANE, message.id)
        else:
            copy = [{"Id": "0", "MessageBody": message.body, "DelaySeconds": 900}]
            scene.world.sqs.send_message_batch(QueueUrl=f"memory:///{LANE}", Entries=copy)
    scene.work(10)
    for _ in range(17):
        scene.world.now += MINUTE
        scene.tick()
        for message in scene.world.sqs.messages(LANE):  # nobody receives for a while
            message.visible_at = scene.world.now + MINUTE
    need(scene.job(lost).resend == 1, "no message was asked for")


def two_observers_at_once(scene: Scene) -> None:
    """Each has a batch of another shard, and both fold into the counters of one queue (R20)."""
    scene.enqueue(*["fatal"] * 8)
    scene.relay()
    scene.work(10)
    observe = scene.world.observe
    assert all(reader.batch(1) for reader in scene.world.observer_readers)
    first = scene.begin("observer", lambda op: observe(op, 0, 100), until=lambda: scene.world.delivered)
    first.advance()  # has read the counters
    scene.run("observer", lambda op: observe(op, 1, 100))
    scene.finish(first)
    scene.world.drain()


TOLD = "https://shop.example.com/told"
SCENES: dict[str, Callable[[Scene], None]] = {
    "no_margin": two_clocks_and_a_lease_that_ends,
    "finish_without_token": a_zombie_finishes_while_another_runs,
    "dlq_ignores_lease": receives_run_out_under_a_live_lease,
    "dlq_resets_due": receives_run_out_before_the_job_is_due,
    "claim_drops_attention": a_retried_job_loses_its_worker_and_its_message,
    "release_ignores_creq": a_job_that_is_not_to_run_is_handed_back,
    "walk_too_young": an_enqueue_takes_long_and_its_stream_record_is_lost,
    "walk_on_mismatch_only": a_message_lost_and_an_orphan,
    "observer_refused_is_done": two_observers_at_once,
    "hand_back_tells_nobody": a_job_whose_end_is_told_is_not_to_run_and_handed_back,
    "ended_as_it_was_not_read": a_cancel_comes_a_life_too_late,
}
"""Bugs that chance meets too rarely, with the scene that shows each."""


@pytest.mark.parametrize("bug", sorted(SCENES))
def test_a_scene_goes_well_and_shows_its_bug_when_that_is_planted(bug: str) -> None:
    with new_scene() as scene:
        SCENES[bug](scene)
    with PLANTED[bug](), new_scene() as scene, pytest.raises(Broken):
        SCENES[bug](scene)


@pytest.mark.slow
@pytest.mark.parametrize("bug", sorted(PLANTED.keys() - SCENES.keys() - SURVIVORS.keys()))
def test_a_planted_bug_is_caught(bug: str) -> None:
    with PLANTED[bug]():
        if not (bug in CAUGHT and _breaks(*CAUGHT[bug])):
            found = search(SEARCHED)
            assert found is not None and Broken.__name__ in found[1], f"{bug} is not caught within {SEARCHED} histories of each mode"


def test_every_planted_bug_is_caught_or_named_with_a_reason() -> None:
    assert CAUGHT.keys() | SCENES.keys() | SURVIVORS.keys() == PLANTED.keys()
    assert not (CAUGHT.keys() | SCENES.keys()) & SURVIVORS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("bug", sorted(SURVIVORS))
def test_a_survivor_breaks_no_promise(bug: str) -> None:
    with PLANTED[bug]():
        assert search(30) is None


def _breaks(seed: int, mode: Mode) -> bool:
    try:
        play(seed, mode)
    except Broken:
        return True
    return False


if __name__ == "__main__":
    for name in sorted(PLANTED.keys() - SCENES.keys() - SURVIVORS.keys()):
        with PLANTED[name]():
            found = search(SEARCHED)
        print(f'    "{name}": ({found[0]}, "{found[1].split(":")[0][-1]}"),' if found else f"    # {name}: not caught", flush=True)
