"""Work longer than one run: it puts down where it stands, stops in time, and goes on from there without using an attempt."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobline.context import LARGEST_CURSOR, Context
from jobline.job import Status
from jobline.job_type import JobType, job
from jobline.testing import make_context
from tests.cloud import Cloud, cloud
from tests.factories import NOW, seconds

PIECE = seconds(7)


class LongWork:
    """Forty pieces of seven seconds, in runs of a minute."""

    def __init__(self) -> None:
        self.pieces: list[int] = []
        self.runs: list[Any] = []
        self.aws: Cloud | None = None
        self.die_at: int | None = None
        self.fail_at: int | None = None

    def job_type(self) -> JobType:
        @job("work")
        def work(payload: Any, ctx: Context) -> str:
            assert self.aws is not None
            self.runs.append(ctx.cursor)
            for piece in range(ctx.cursor or 0, 40):
                if piece == self.fail_at:
                    self.fail_at = None
                    raise ValueError("once")
                self.pieces.append(piece)
                self.aws.pass_time(PIECE)
                if piece == self.die_at:
                    self.die_at, self.aws.faults.dead = None, True
                ctx.checkpoint(piece + 1)
            return "whole"

        return work


def run(work: LongWork, **fields: Any) -> Any:
    with cloud(work.job_type()) as aws:
        work.aws = aws
        aws.enqueue("work", **({"timeout": 60} | fields))
        aws.settle(limit=timedelta(hours=1))
        assert aws.messages() == 0
        return aws.job()


def test_work_longer_than_one_run_goes_on_where_it_stopped_and_uses_one_attempt() -> None:
    work = LongWork()
    done = run(work, max_attempts=1)
    assert (done.status, done.attempts, done.result) == (Status.DONE, 1, '"whole"')
    assert work.pieces == list(range(40))
    assert len(work.runs) == done.continued + 1 > 5
    assert done.completed_at - NOW < seconds(40 * 7 + 60)


def test_a_crash_costs_no_more_than_the_piece_that_it_broke() -> None:
    work = LongWork()
    work.die_at = 20
    done = run(work)
    assert (done.status, done.attempts) == (Status.DONE, 2)
    assert sorted(work.pieces) == sorted([*range(40), 20])


def test_a_failed_attempt_goes_on_from_the_checkpoint_too() -> None:
    work = LongWork()
    work.fail_at = 13
    done = run(work)
    assert (done.status, done.attempts, work.pieces) == (Status.DONE, 2, list(range(40)))
    assert 13 in work.runs


def test_a_job_in_a_batch_goes_on_like_any_other() -> None:
    work = LongWork()
    with cloud(work.job_type(), batch_size=10) as aws:
        work.aws = aws
        ids = [aws.enqueue("work", id=f"0197a000-0000-7000-8000-{n:012d}", timeout=60) for n in range(2)]
        aws.settle(limit=timedelta(hours=1))
        assert [(aws.job(job_id).status, aws.job(job_id).attempts) for job_id in ids] == [(Status.DONE, 1)] * 2
        assert sorted(work.pieces) == sorted([*range(40), *range(40)])


def test_a_job_to_be_cancelled_stops_at_its_next_checkpoint() -> None:
    reached: list[int] = []

    @job("work")
    def work(payload: Any, ctx: Context) -> None:
        for piece in range(100):
            reached.append(piece)
            if piece == 3:
                now = aws.now
                from jobline.transitions import request_cancel

                assert aws.store.apply(ctx.id, request_cancel(aws.job(), now=now, op="test")).applied
            ctx.checkpoint(piece)

    with cloud(work) as aws:
        aws.enqueue("work")
        aws.settle()
        assert (aws.job().status, reached) == (Status.CANCELLED, [0, 1, 2, 3])


def test_work_that_never_ends_is_dead_in_the_end_and_says_why() -> None:
    @job("work")
    def work(payload: Any, ctx: Context) -> None:
        while True:
            aws.pass_time(seconds(50))
            ctx.checkpoint("again")

    with cloud(work) as aws:
        aws.enqueue("work", timeout=60, continued=998)
        aws.settle(limit=timedelta(hours=1))
        assert (aws.job().status, aws.job().attempts) == (Status.DEAD, 1)
        assert (aws.job().error or "").startswith("ContinuedTooOften")


def test_a_cursor_has_a_limit_and_must_be_json() -> None:
    ctx = make_context()
    ctx.checkpoint("x" * (LARGEST_CURSOR - 2))
    with pytest.raises(ValueError, match="2,048 bytes"):
        ctx.checkpoint("x" * (LARGEST_CURSOR - 1))
    with pytest.raises(ValueError, match="JSON"):
        ctx.checkpoint(float("nan"))
    with pytest.raises(TypeError):
        ctx.checkpoint(object())
    assert ctx.cursor == "x" * (LARGEST_CURSOR - 2)


def test_a_handlers_own_test_can_start_in_the_middle() -> None:
    assert make_context(cursor={"line": 7}).cursor == {"line": 7}
    assert make_context().cursor is None
