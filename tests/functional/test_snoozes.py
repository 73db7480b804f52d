"""How often a type may put its jobs off: so often and no more, so that every job comes to an end (PROTOCOL.md R22)."""

from __future__ import annotations

from typing import Any

import pytest

from jobline import Context, Snooze, job
from jobline.job_type import MAX_SNOOZES_LIMIT, InvalidJobType
from jobline.testing import make_deployment
from jobline.transitions import MAX_SNOOZES


@job("sleepy", max_snoozes=2)
def sleepy(payload: Any, ctx: Context) -> None:
    """Is put off as long as it may be."""
    raise Snooze(10)


@job("sleepier", max_snoozes=MAX_SNOOZES + 20)
def sleepier(payload: Any, ctx: Context) -> None:
    """May be put off more often than others."""
    raise Snooze(10)


@job("usual")
def usual(payload: Any, ctx: Context) -> None:
    """Says nothing of it."""
    raise Snooze(10)


@pytest.mark.parametrize(("kind", "most"), [(sleepy, 2), (sleepier, MAX_SNOOZES + 20), (usual, MAX_SNOOZES)])
def test_a_job_is_dead_when_it_is_put_off_more_often_than_its_type_may(kind: Any, most: int) -> None:
    jobs = make_deployment(kind)
    made = jobs.enqueue(kind)
    jobs.advance(10 * most - 5)
    assert (made.status, made.record.snoozes) == ("pending", most)
    jobs.advance("1m")
    assert (made.status, made.error) == ("dead", f"SnoozedTooOften: snoozed {most} times without an end")


@pytest.mark.parametrize("most", [0, -1, MAX_SNOOZES_LIMIT + 1, True, 2.5, "3"])
def test_a_number_that_is_none_is_refused_where_the_type_is_declared(most: Any) -> None:
    with pytest.raises(InvalidJobType, match=rf"max_snoozes is a whole number from 1 to {MAX_SNOOZES_LIMIT}"):
        job("wrong", max_snoozes=most)(sleepy.handler)
