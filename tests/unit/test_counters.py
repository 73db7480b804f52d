"""What the counters say of a queue, compared with a naive count of what really happened to its jobs."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobline import transitions
from jobline.counters import COUNTED, Change, Counters, bin_of, percentile
from jobline.job import Job, Status
from jobline.marks import Batch
from jobline.memory import MemoryStore
from jobline.stats import decode_counters, encode_counters
from jobline.transitions import Claimant, Write
from tests.factories import KEEP, NOW, make_claimant, make_job, seconds


class History:
    """Jobs of one queue, moved about by chance through the real transitions; keeps a naive account of what happened."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = NOW
        self.store = MemoryStore()
        self.happened: Counter[str] = Counter()
        self.waits: list[float] = []
        self.runs: list[float] = []

    def live(self, steps: int) -> None:
        for _ in range(steps):
            self.now += seconds(self.chance.randrange(3000) / 1000)
            if self.chance.random() < 0.25:
                self._enqueue()
            elif self.store.jobs:
                self._move(self.chance.choice(list(self.store.jobs.values())))

    def _enqueue(self) -> None:
        job_id = f"job-{self.chance.randrange(12)}"
        due = self.now + seconds(self.chance.choice((0, 0, 5, 5000)))
        job = make_job(id=job_id, created_at=self.now, scheduled_at=due, status=Status.PENDING)
        if self.store.create(transitions.enqueued(job, now=self.now), now=self.now).applied:
            self.happened["enqueued"] += 1

    def _move(self, job: Job) -> None:
        who = make_claimant(dispatch=job.dispatch, lease_until=self.now + seconds(4))
        move = self.chance.choice((self._claim, self._finish, self._finish, self._by_hand, self._tend))
        move(job, who)

    def _claim(self, job: Job, who: Claimant) -> None:
        if job.status is Status.RUNNING:
            if self._applied(job, transitions.take_over(job, who, now=self.now, keep=KEEP)):
                ended = self.store.jobs[job.id].status
                self.happened["started"] += ended is Status.RUNNING
                self.happened["ended"] += ended in (Status.RUNNING, Status.DEAD)
                self.happened["failed"] += ended in (Status.RUNNING, Status.DEAD)
        elif self._applied(job, transitions.claim(who, now=self.now, alone=True)):
            self.happened["started"] += 1
            self.waits.append((self.now - max(job.scheduled_at, job.created_at)).total_seconds())

    def _finish(self, job: Job, who: Claimant) -> None:
        if job.status is not Status.RUNNING:
            return
        outcome = self.chance.choice(("done", "done", "fail", "fail", "snooze", "hand_back", "abandon", "progress"))
        if outcome == "done":
            write = transitions.done(job, now=self.now, result="1", result_ref=None, alone=True, keep=KEEP)
        elif outcome == "fail":
            delay = seconds(self.chance.choice((0, 1, 2000)))
            write = transitions.fail(job, now=self.now, error="Boom: boom", delay=delay, alone=True, keep=KEEP)
        elif outcome == "snooze":
            write = transitions.snooze(job, now=self.now, delay=seconds(1), alone=True, keep=KEEP)
        elif outcome == "hand_back":
            write = transitions.hand_back(job, now=self.now, alone=True, keep=KEEP)
        elif outcome == "abandon":
            write = transitions.abandon(job, now=self.now, reason="enough", alone=True, keep=KEEP)
        else:
            write = transitions.progress(job, '{"percent":1}')
        assert self._applied(job, write)
        ended = self.store.jobs[job.id].status
        if ended in (Status.DONE, Status.FAILED, Status.DEAD):
            self.happened["ended"] += 1
            self.happened["done"] += ended is Status.DONE
            self.happened["failed"] += ended is not Status.DONE
            assert job.started_at is not None
            self.runs.append((self.now - job.started_at).total_seconds())

    def _by_hand(self, job: Job, who: Claimant) -> None:
        write = self.chance.choice(
            (
                transitions.cancel(job, now=self.now, op="op", keep=KEEP),
                transitions.request_cancel(job, now=self.now, op="op"),
                transitions.retry(job, now=self.now, op="op"),
                transitions.reschedule(job, now=self.now, op="op", scheduled_at=self.now, priority=1),
            )
        )
        self._applied(job, write)

    def _tend(self, job: Job, who: Claimant) -> None:
        if job.status is Status.RUNNING and self._applied(job, transitions.lose(job, now=self.now, keep=KEEP, over_since=self.now)):
            lost = self.store.jobs[job.id].status in (Status.FAILED, Status.DEAD)
            self.happened["ended"] += lost
            self.happened["failed"] += lost
        elif job.over and self.chance.random() < 0.3:
            self.store.remove(job.id)

    def _applied(self, job: Job, write: Write) -> bool:
        return self.store.apply(job.id, write).applied

    @property
    def changes(self) -> list[Change]:
        return [Change(number, *change) for number, change in enumerate(self.store.changes, 1)]


def folded(changes: list[Change], *, now: datetime, before: Counters | None = None, size: int = 1000) -> Counters:
    """Counters that folded these changes, in batches."""
    counters = before or Counters()
    for at in range(0, len(changes), size):
        batch = changes[at : at + size]
        counters = counters.fold(Batch.of([change.number for change in batch]), batch, now=now)
    return counters


def change(number: int, old: Job | None, new: Job | None) -> Change:
    return Change(number, old, new)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 30))
def test_counters_say_what_really_happened(seed: int, size: int) -> None:
    history = History(random.Random(seed))
    history.live(80)
    assert history.now - NOW < timedelta(minutes=4)
    counters = decode_counters(encode_counters("emails", folded(history.changes, now=history.now, size=size)))
    statuses = Counter(job.status for job in history.store.jobs.values())
    assert {status: counters.count(status) for status in COUNTED} == {status: statuses[status] for status in COUNTED}
    assert counters.done(history.now) == history.happened["done"]
    minutes = counters.minutes.values()
    for name in ("enqueued", "started", "ended", "failed"):
        assert sum(getattr(minute, name) for minute in minutes) == history.happened[name], name
    timing = counters.timing(history.now)
    assert timing.avg_wait == (pytest.approx(sum(history.waits) / len(history.waits)) if history.waits else None)
    assert timing.avg_run == (pytest.approx(sum(history.runs) / len(history.runs)) if history.runs else None)
    assert not counters.recount


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_a_batch_folded_again_changes_nothing(seed: int, data: st.DataObject) -> None:
    history = History(random.Random(seed))
    history.live(40)
    changes = history.changes
    if not changes:
        return
    batch = Batch.of([change.number for change in changes])
    once = Counters().fold(batch, changes, now=history.now)
    assert once.fold(batch, changes, now=history.now) is once
    cut = data.draw(st.integers(1, len(changes)))
    first = Counters().fold(Batch.of([change.number for change in changes[:cut]]), changes[:cut], now=history.now)
    longer = first.fold(batch, changes, now=history.now)
    assert (longer.counts, longer.minutes, longer.spans, longer.hours) == (once.counts, once.minutes, once.spans, once.hours)


def test_rates_are_of_the_last_five_minutes() -> None:
    now = NOW + seconds(30)
    old = [change(n, None, make_job(id=str(n), created_at=NOW - timedelta(minutes=6))) for n in range(50)]
    new = [change(n, None, make_job(id=str(n), created_at=NOW)) for n in range(50, 77)]
    rates = folded(old + new, now=now).rates(now)
    assert rates.enqueue == pytest.approx(27 / 270)
    assert (rates.dequeue, rates.error) == (0, 0)


def test_the_error_rate_is_the_share_of_ended_attempts_that_failed() -> None:
    running = make_job(status=Status.RUNNING, token=1, started_at=NOW, attempts=1)
    store = MemoryStore()
    store.jobs[running.id] = running
    store.apply(running.id, transitions.fail(running, now=NOW + seconds(2), error="x", delay=seconds(1), alone=True, keep=KEEP))
    for _ in range(3):
        store.jobs[running.id] = running
        store.apply(running.id, transitions.done(running, now=NOW + seconds(4), result=None, result_ref=None, alone=True, keep=KEEP))
    counters = folded([Change(n, *pair) for n, pair in enumerate(store.changes)], now=NOW + seconds(4))
    assert counters.rates(NOW + seconds(4)).error == 0.25
    assert counters.timing(NOW + seconds(4)).avg_run == pytest.approx((2 + 3 * 4) / 4)


def test_what_is_older_than_its_window_is_forgotten() -> None:
    waiting, running = make_job(), make_job(status=Status.RUNNING, token=1, started_at=NOW + seconds(7))
    ended = replace(running, status=Status.DONE, completed_at=NOW + seconds(9))
    counters = folded([change(1, None, waiting), change(2, waiting, running), change(3, running, ended)], now=NOW + seconds(9))
    for later, wait, done in ((timedelta(minutes=54), 7.0, 1), (timedelta(minutes=61), None, 1), (timedelta(hours=25), None, 0)):
        assert counters.timing(NOW + later).avg_wait == wait
        assert counters.done(NOW + later) == done
    touched = folded([change(9, None, waiting)], before=counters, now=NOW + timedelta(days=2))
    assert (touched.hours, touched.spans, touched.minutes) == ({}, {}, {})


def test_a_wait_begins_when_the_job_is_due() -> None:
    waiting = make_job(scheduled_at=NOW + seconds(60))
    running = replace(waiting, status=Status.RUNNING, token=1, started_at=NOW + seconds(62))
    assert folded([change(1, waiting, running)], now=NOW + seconds(62)).timing(NOW + seconds(62)).avg_wait == 2


def test_a_job_that_takes_the_place_of_an_outlived_one_is_a_new_job() -> None:
    dead = make_job(status=Status.DEAD)
    again = make_job(created_at=NOW + seconds(1), dispatch=2)
    counters = folded([change(1, None, dead), change(2, dead, again)], now=NOW + seconds(1))
    assert (counters.count(Status.DEAD), counters.count(Status.PENDING)) == (0, 1)
    assert sum(minute.enqueued for minute in counters.minutes.values()) == 2


def test_a_clock_that_is_ahead_does_not_move_jobs_into_the_future() -> None:
    counters = folded([change(1, None, make_job(created_at=NOW + timedelta(minutes=3)))], now=NOW)
    assert counters.rates(NOW).enqueue > 0
    assert max(counters.minutes) == int(NOW.timestamp()) // 60


def test_a_failed_attempt_whose_history_cannot_be_read_still_counts() -> None:
    running = make_job(status=Status.RUNNING, token=1, started_at=NOW)
    for history in ((), ("not json",), ('["failed"]',), ('["failed","soon",1,""]',), ("7",), ('["failed",1e300,1,""]',)):
        counters = folded([change(1, running, replace(running, status=Status.FAILED, history=history))], now=NOW)
        assert counters.rates(NOW).error == 1
        assert counters.timing(NOW).avg_run is None


def test_counters_ask_for_a_recount_when_stream_records_may_be_lost() -> None:
    batch, changes = Batch.of([1]), [change(1, None, make_job())]
    assert not Counters().fold(batch, changes, now=NOW, oldest=NOW - timedelta(hours=22)).recount
    late = Counters().fold(batch, changes, now=NOW, oldest=NOW - timedelta(hours=23))
    assert late.recount
    assert decode_counters(encode_counters("emails", late)).recount
    assert late.fold(Batch.of([2]), [change(2, None, make_job())], now=NOW).recount, "only a recount ends it"


def test_a_count_below_zero_shows_as_zero_and_asks_for_a_recount() -> None:
    counters = folded([change(1, make_job(status=Status.DEAD), None)], now=NOW)
    assert (counters.count(Status.DEAD), counters.recount) == (0, True)


@given(st.lists(st.integers(0, 10**8), min_size=1, max_size=200))
def test_the_95th_percentile_is_right_to_half_an_octave(waits: list[int]) -> None:
    exact = sorted(waits)[math.ceil(0.95 * len(waits)) - 1]
    said = percentile(Counter(bin_of(wait) for wait in waits), 0.95)
    assert said <= max(1, exact) * math.sqrt(2) * 1.000001
    assert exact <= max(1, said) * math.sqrt(2) * 1.000001


def test_the_counters_of_a_busy_queue_take_one_write_unit() -> None:
    """An hour of ten jobs a second whose waits spread over three octaves, in a deployment of four stream shards."""
    chance = random.Random(1)
    counters, number, now = Counters(), 10**27, NOW
    for _ in range(720):
        now += seconds(5)
        for _shard in range(4):
            changes = []
            for _job in range(12):
                number += chance.randrange(1, 10**6)
                created = now - seconds(chance.choice((0.05, 0.1, 0.2, 0.4)))
                waiting = make_job(created_at=created, scheduled_at=created)
                running = replace(waiting, status=Status.RUNNING, token=1, started_at=now)
                done = replace(running, status=Status.DONE, completed_at=now + seconds(0.2))
                for pair in ((None, waiting), (waiting, running), (running, done)):
                    number += 1
                    changes.append(Change(number, *pair))
            counters = counters.fold(Batch.of([change.number for change in changes]), changes, now=now + seconds(1))
    item = encode_counters("transactional-emails", counters)
    size = sum(
        len(name) + len(next(iter(value.values()))) if not isinstance(next(iter(value.values())), bool) else 1
        for name, value in item.items()
    )
    assert counters.done(now) > 30_000
    assert size <= 1024, size


def test_rates_fall_to_nothing_when_nothing_happens() -> None:
    counters = folded([change(1, None, make_job())], now=NOW)
    assert counters.rates(NOW).enqueue > 0
    assert counters.rates(NOW + timedelta(minutes=6)).enqueue == 0


def test_folding_changes_nothing_of_what_it_folds_onto() -> None:
    waiting, running = make_job(), make_job(status=Status.RUNNING, token=1, started_at=NOW + seconds(7))
    before = folded([change(1, waiting, running)], now=NOW + seconds(7))
    told = before.timing(NOW + seconds(7)), before.rates(NOW + seconds(7)), dict(before.counts)
    folded([change(2, waiting, running)], before=before, now=NOW + seconds(7))
    assert (before.timing(NOW + seconds(7)), before.rates(NOW + seconds(7)), dict(before.counts)) == told
