"""Thousands of short random histories of the real engine, each checked at every write and start, and at its end.

`JOBLINE_PROOF_HISTORIES=20000 pytest tests/proof/test_histories.py` is the long run; one that fails is played again, step by step,
with `python -m tests.proof.history SEED MODE show`.
"""

from __future__ import annotations

import os

import pytest

from tests.proof.history import Mode, play, search

COUNT = int(os.environ.get("JOBLINE_PROOF_HISTORIES", "300"))
FIRST = int(os.environ.get("JOBLINE_PROOF_FIRST", "0"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["A", "B"])
def test_every_job_keeps_the_promise_in_histories_with(mode: Mode) -> None:
    """A: every fault, losses too, repair on. B: nothing is lost, repair off."""
    assert search(COUNT, first=FIRST, modes=(mode,)) is None


def test_the_same_seed_plays_the_same_history() -> None:
    first, again = play(7, "A"), play(7, "A")
    assert len(first.trace) > 20 and first.trace == again.trace
    assert first.world.store.changes == again.world.store.changes
