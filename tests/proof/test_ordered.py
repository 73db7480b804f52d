"""Order inside an ordering key, whatever happens: random histories of the real engine, and the bugs that must not survive them.

`python -m tests.proof.ordered 20000` is the long run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from jobline import transitions
from jobline.direct import Direct
from jobline.errors import Unavailable
from jobline.job import Job, Status
from jobline.memory_queues import MemoryQueues, StoredMessage
from jobline.ordered import OrderedBatch
from jobline.transitions import Write
from tests.proof.ordered import LANE, OrderAlone, play, search
from tests.proof.planted_bugs import adding, method, swapped, writes

COUNT = int(os.environ.get("JOBLINE_PROOF_HISTORIES", "150"))
MOST = 300
"""Histories within which every planted bug must break order, strand a job or take its message away."""

Bug = Callable[[], AbstractContextManager[object]]
PLANTED: dict[str, Bug] = {}


def planted(bug: Callable[[], Iterator[None]]) -> Bug:
    made = contextmanager(bug)
    PLANTED[bug.__name__] = made
    return made


@pytest.mark.slow
def test_the_jobs_of_a_key_run_in_their_order_and_all_end_in_every_history() -> None:
    assert search(COUNT) is None


def test_the_same_seed_plays_the_same_history() -> None:
    first, again = play(7), play(7)
    assert len(first.trace) > 20 and first.trace == again.trace


# ---------------------------------------------------------------------------------------------------- the bugs of fifo.py


@planted
def relay_only() -> Iterator[None]:
    with method(Direct, "send", lambda _: lambda self, job, *, new: None):
        yield


@planted
def ack_before_send() -> Iterator[None]:
    def make(original: Any) -> Any:
        def send(self: Direct, job: Job, *, new: bool) -> None:
            try:
                original(self, job, new=new)
            except Unavailable:
                return

        return send

    with method(Direct, "send", make):
        yield


@planted
def replay_without_send() -> Iterator[None]:
    def make(original: Any) -> Any:
        def send(self: Direct, job: Job, *, new: bool) -> None:
            if new:
                original(self, job, new=new)

        return send

    with method(Direct, "send", make):
        yield


def _asks_for_a_message(write: Write) -> Write:
    return adding(write, dispatch=1) if write.set.get("status") in (Status.PENDING, Status.FAILED) else write


@planted
def failed_by_relay() -> Iterator[None]:
    with writes(transitions.fail, lambda write, _: _asks_for_a_message(write)):
        yield


@planted
def go_on_after_failure() -> Iterator[None]:
    def make(original: Any) -> Any:
        def is_over(self: OrderedBatch, record: Any) -> bool:
            original(self, record)
            return True

        return is_over

    with method(OrderedBatch, "_is_over", make):
        yield


class Nowhere(list[StoredMessage]):
    """Where messages go that nobody asks for again."""

    def append(self, message: StoredMessage) -> None: ...


@planted
def low_max_receives() -> Iterator[None]:
    """With a redrive policy a head that has failed a few times is taken away."""

    def make(original: Any) -> Any:
        def create(self: MemoryQueues, name: str, **options: Any) -> None:
            if name == LANE:
                original(self, "graveyard")
                self.queues["graveyard"].messages = Nowhere()
                options |= {"most_receives": 3, "dead_letters": "graveyard"}
            original(self, name, **options)

        return create

    with method(MemoryQueues, "create", make):
        yield


# ---------------------------------------------------------------------------------------------------- ours


@planted
def lost_by_relay() -> Iterator[None]:
    with writes(transitions.lose, lambda write, _: _asks_for_a_message(write)):
        yield


@planted
def snoozed_by_relay() -> Iterator[None]:
    with writes(transitions.snooze, lambda write, _: _asks_for_a_message(write)):
        yield


@planted
def continued_by_relay() -> Iterator[None]:
    with writes(transitions.go_on, lambda write, _: _asks_for_a_message(write)):
        yield


@planted
def promoted_by_ticker() -> Iterator[None]:
    """A failure whose backoff no message can wait for is left to the ticker, as on a standard queue."""
    waiting = transitions._waiting

    def as_standard(job: Job, *positional: Any, **named: Any) -> Any:
        return waiting(replace(job, ordering_key=None), *positional, **named)

    def by_ticker(job: Job) -> bool:
        return job.status is Status.SCHEDULED or (job.status is Status.FAILED and job.attention_at == min(job.scheduled_at, job.expires_at))

    with swapped(waiting, as_standard), method(Job, "delivered_by_ticker", lambda _: property(by_ticker)):
        yield


@planted
def head_deleted_when_it_failed() -> Iterator[None]:
    """The worker deletes the head's message after a failure, as on a standard queue; repair sends another, at the tail."""

    def make(original: Any) -> Any:
        def is_over(self: OrderedBatch, record: Any) -> bool:
            over: bool = original(self, record)
            if record["messageId"] in self.kept:
                self.kept.remove(record["messageId"])
            return over

        return is_over

    with method(OrderedBatch, "_is_over", make):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_caught(bug: str) -> None:
    with PLANTED[bug]():
        caught = search(MOST, promise=OrderAlone)
    assert caught is not None, f"{MOST} histories let {bug} pass"
    assert any(words in caught[1] for words in ("starts while", "stranded", "which its job needs")), caught[1]
