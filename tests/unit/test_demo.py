"""Which jobs `make demo` runs."""

from __future__ import annotations

import pytest

from jobline.demo import chosen
from jobline.demo_jobs import Act, NotAsExpected

ACTS = [Act(request={"type": name}, attempts=1, result=str) for name in ("echo", "fail", "echo")]


def test_all_of_them_when_nothing_is_said() -> None:
    assert chosen(ACTS, []) == ACTS


def test_those_of_the_types_that_are_named() -> None:
    assert chosen(ACTS, ["echo"]) == [ACTS[0], ACTS[2]]


def test_a_type_that_it_has_no_job_of_is_named_with_those_that_it_has() -> None:
    with pytest.raises(NotAsExpected, match=r"no job of type ehco; it has echo, fail\."):
        chosen(ACTS, ["echo", "ehco"])
