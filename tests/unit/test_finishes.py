"""Finishes: kept for a second at most, written together, and none is ever lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from jobline import transitions
from jobline.errors import Unavailable
from jobline.finishes import Finishes
from jobline.job import Job, Status
from jobline.log import Silence
from jobline.memory import MemoryStore
from jobline.store import Outcome
from jobline.transitions import Write
from tests.factories import KEEP, NOW, make_job


class PutOff:
    """A timer that rings when the test says so."""

    def __init__(self) -> None:
        self.call: Callable[[], None] | None = None
        self.seconds = 0.0

    def __call__(self, seconds: float, call: Callable[[], None]) -> PutOff:
        self.seconds, self.call = seconds, call
        return self

    def cancel(self) -> None:
        self.call = None


class CountingStore(MemoryStore):
    """Counts calls, and gives no verdict while it is `silent`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []
        self.silent = False
        self.down = False
        self.refuses: Exception | None = None

    def apply(self, job_id: str, write: Write) -> Outcome:
        if self.down:
            raise Unavailable("down")
        return super().apply(job_id, write)

    def apply_many(self, writes: Sequence[tuple[str, Write]]) -> list[Outcome | None]:
        self.calls.append(len(writes))
        if self.refuses is not None:
            raise self.refuses
        return [None] * len(writes) if self.silent else super().apply_many(writes)


class Ended:
    """What `settle` was told of each job."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job | None] = {}

    def of(self, job: Job) -> Callable[[Job | None], None]:
        return lambda after: self.jobs.update({job.id: after})


def setup(count: int) -> tuple[CountingStore, PutOff, Finishes, list[Job], list[str]]:
    store, timer, stale = CountingStore(), PutOff(), list[str]()
    jobs = [make_job(id=f"job-{n}", status=Status.RUNNING, token=1, lease_until=NOW) for n in range(count)]
    for job in jobs:
        store.create(job, now=NOW)
    finishes = Finishes(
        store=store,
        ends_at=NOW + timedelta(seconds=1),
        clock=lambda: NOW,
        sleep=lambda seconds: None,
        log=Silence(),
        stale=lambda: stale.append("stale"),
        later=timer,
    )
    return store, timer, finishes, list(store.jobs.values()), stale


def done(job: Job) -> Write:
    return transitions.done(job, now=NOW, result="1", result_ref=None, alone=False, keep=KEEP)


def failed(job: Job) -> Write:
    return transitions.fail(job, now=NOW, error="E: no", delay=timedelta(), alone=False, keep=KEEP)


def test_ten_quick_jobs_are_finished_in_one_call() -> None:
    store, _, finishes, jobs, _ = setup(10)
    ended = Ended()
    for job in jobs:
        finishes.keep(job, done, ended.of(job))
    assert (store.calls, ended.jobs) == ([], {})
    finishes.flush()
    assert store.calls == [10]
    assert {after.status for after in ended.jobs.values() if after} == {Status.DONE}


def test_what_was_kept_is_written_after_a_second_even_when_nothing_follows() -> None:
    store, timer, finishes, jobs, _ = setup(1)
    ended = Ended()
    finishes.keep(jobs[0], done, ended.of(jobs[0]))
    assert timer.seconds == 1.0 and timer.call is not None
    timer.call()
    assert store.jobs["job-0"].status is Status.DONE
    assert set(ended.jobs) == {"job-0"}
    finishes.flush()
    assert store.calls == [1]


def test_a_failure_is_written_at_once_since_its_history_cannot_wait_in_a_statement() -> None:
    store, _, finishes, jobs, _ = setup(1)
    finishes.keep(jobs[0], failed, Ended().of(jobs[0]))
    assert (store.calls, store.jobs["job-0"].status) == ([], Status.FAILED)


def test_a_finish_without_a_verdict_is_written_singly() -> None:
    store, timer, finishes, jobs, _ = setup(2)
    ended = Ended()
    store.silent = True
    for job in jobs:
        finishes.keep(job, done, ended.of(job))
    assert timer.call is not None
    timer.call()  # leaves them for the invocation's own thread
    assert ended.jobs == {}
    finishes.flush()
    assert {job.status for job in store.jobs.values()} == {Status.DONE}
    assert set(ended.jobs) == {"job-0", "job-1"}


def test_a_finish_that_took_effect_without_a_verdict_is_recognised() -> None:
    store, _, finishes, jobs, stale = setup(1)
    ended = Ended()
    finishes.keep(jobs[0], done, ended.of(jobs[0]))
    store.apply("job-0", done(jobs[0]))
    finishes.flush()
    after = ended.jobs["job-0"]
    assert after is not None and (after.status, after.rev, stale) == (Status.DONE, jobs[0].rev + 1, [])


def test_a_stale_finish_overwrites_nothing_and_is_counted() -> None:
    store, _, finishes, jobs, stale = setup(1)
    ended = Ended()
    store.jobs["job-0"] = make_job(id="job-0", status=Status.RUNNING, token=2, lease_until=NOW)
    finishes.keep(jobs[0], done, ended.of(jobs[0]))
    finishes.flush()
    assert (store.jobs["job-0"].status, store.jobs["job-0"].token, stale) == (Status.RUNNING, 2, ["stale"])


def test_out_of_time_the_job_is_told_as_it_was_held() -> None:
    store, _, finishes, jobs, _ = setup(1)
    ended = Ended()
    store.silent = store.down = True
    clock = iter([NOW, NOW + timedelta(seconds=5)])
    finishes._clock = lambda: next(clock)
    finishes.keep(jobs[0], done, ended.of(jobs[0]))
    finishes.flush()
    assert ended.jobs["job-0"] is jobs[0]


def test_what_the_timer_cannot_write_is_not_lost() -> None:
    """A message whose job has no written finish must stay: the invocation's own flush meets the same error, and the whole batch stays."""
    store, timer, finishes, jobs, _ = setup(2)
    ended = Ended()
    for job in jobs:
        finishes.keep(job, done, ended.of(job))
    assert timer.call is not None
    store.refuses = RuntimeError("not authorized")
    timer.call()
    with pytest.raises(RuntimeError, match="not authorized"):
        finishes.flush()
    assert ended.jobs == {}
    store.refuses = None
    finishes.flush()
    assert {job.status for job in store.jobs.values()} == {Status.DONE}
    assert set(ended.jobs) == {"job-0", "job-1"}


def test_a_message_that_cannot_be_settled_costs_no_other_jobs_finish() -> None:
    store, timer, finishes, jobs, _ = setup(2)
    ended = Ended()

    def broken(after: Job | None) -> None:
        raise RuntimeError("no such queue")

    finishes.keep(jobs[0], done, broken)
    finishes.keep(jobs[1], done, ended.of(jobs[1]))
    store.apply("job-1", done(jobs[1]))  # so that it has to be looked at again
    assert timer.call is not None
    timer.call()
    finishes.flush()
    assert set(ended.jobs) == {"job-1"}
