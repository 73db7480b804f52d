"""Ordered queues on the real engine: inside a key no job starts before those that were enqueued before it are over.

One client enqueues the jobs of one key, each again until it is answered; workers, the relay and requests die and stand still as in
`history`. Nothing is lost and repair is off: a message that is lost, and one that repair asks for, enters at the tail by design (R28).
`JOBLINE_PROOF_HISTORIES=20000` is the long run here too.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from jobline import direct, ordered, transitions
from jobline.errors import Unavailable
from jobline.job import Job
from jobline.transitions import Write
from tests.proof.conditions import conditions
from tests.proof.history import LASTS
from tests.proof.planted_bugs import adding, method, writes
from tests.proof.promise import SKEW, Broken, Promise, need
from tests.proof.world import WORLD, Operation, World

COUNT = int(os.environ.get("JOBLINE_PROOF_HISTORIES", "300"))
KINDS = ("ok", "ok", "ok", "fail", "flaky", "killer", "slow", "snooze", "fatal", "large")
JUMPS = (1, 3, 8, 31, 100, 600)


class Order(Promise):
    """Also knows which jobs were answered, in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.answered_in_order: list[str] = []

    def started(self, op: Operation, job: Job) -> None:
        super().started(op, job)
        for id in self.answered_in_order:
            if id == job.id:
                return
            earlier = op.world.store.jobs.get(id)
            need(earlier is None or earlier.over, f"{job.id[:8]} starts while {id[:8]} before it is {earlier and earlier.status}")


class OrderedHistory:
    """One key, up to four jobs, one client."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"{seed} ordered")
        self.world = World(self.rng, repair=False, faults=self.rng.choice((0, 0.03, 0.1)), ordered=True)
        self.promise = self.world.promise = Order()
        self.kinds = [self.rng.choice(KINDS) for _ in range(self.rng.choice((2, 3, 4)))]
        self.running: list[Operation] = []
        self.request: Operation | None = None

    def play(self, steps: int = 70) -> None:
        """Plays it, and lets it come to rest. Raises `Broken`."""
        WORLD.append(self.world)
        try:
            for _ in range(steps):
                self.act()
            self.bury()
            self.world.faults = 0
            for _ in range(len(self.kinds)):
                self.ask()
                if self.request is not None:
                    self.advance(self.request, 1000)
            self.world.drain()
            need(len(self.promise.answered_in_order) == len(self.kinds), "a request is never answered")
        finally:
            self.bury()
            WORLD.pop()

    def act(self) -> None:
        what = self.rng.random()
        if what < 0.15:
            self.ask()
        elif what < 0.27:
            shard, size = self.rng.randrange(2), self.rng.randint(1, 4)
            self.begin("relay", lambda op: self.world.relay(op, shard, size))
        elif what < 0.45:
            size = self.rng.choice((1, 2, 3, 10))
            self.begin("worker", lambda op: self.world.work(op, "normal", size))
        elif what < 0.5 and self.running:
            op = self.running.pop(self.rng.randrange(len(self.running)))
            op.kill()
        elif what < 0.6:
            self.world.now += timedelta(seconds=self.rng.choice(JUMPS))
        elif self.running:
            self.advance(self.rng.choice(self.running), self.rng.randint(1, 9))

    def ask(self) -> None:
        """The client sends its next request, or the same again when that was not answered."""
        if self.request is not None and not self.request.done:
            return
        number = len(self.promise.answered_in_order)
        if number == len(self.kinds):
            return

        def enqueue(op: Operation) -> None:
            self.world.enqueue(op, number, self.kinds[number], ordering_key="key")
            self.promise.answered_in_order.append(self.world.id_of(number))

        self.begin("api", enqueue)
        self.request = self.running[-1] if self.running and self.running[-1].name.startswith("api") else None

    def begin(self, name: str, body: Callable[[Operation], object]) -> None:
        op = self.world.operation(name, body, skew=self.rng.choice((-SKEW, timedelta(), SKEW)), lasts=LASTS[name])
        self.running.append(op)
        self.advance(op, 1 + self.rng.choice((0, 1, 3, 60)))

    def advance(self, op: Operation, steps: int) -> None:
        for _ in range(steps):
            if not op.done:
                op.advance()
        if op.done and op in self.running:
            self.running.remove(op)

    def bury(self) -> None:
        for op in self.running:
            op.kill()
        self.running.clear()


def first_broken(count: int) -> str | None:
    """The first history in which something breaks, and what; `None` when all are well."""
    for seed in range(count):
        try:
            with conditions():
                OrderedHistory(seed).play()
        except Broken as broken:
            return f"{seed}: {broken}"
    return None


@pytest.mark.slow
def test_jobs_of_a_key_start_in_the_order_in_which_they_were_answered() -> None:
    assert first_broken(COUNT) is None


# ---------------------------------------------------------------------------------------------------- planted bugs


@contextmanager
def relay_only() -> Iterator[None]:
    """The api sends nothing: the relay's shards have an order each, and none between them."""
    with method(direct.Direct, "send", lambda _: lambda self, job, *, new: None):
        yield


@contextmanager
def ack_before_send() -> Iterator[None]:
    """A send that fails does not fail the request."""

    def make(original: Any) -> Any:
        def send(self: Any, job: Job, *, new: bool) -> None:
            with suppress(Unavailable):
                original(self, job, new=new)

        return send

    with method(direct.Direct, "send", make):
        yield


@contextmanager
def replay_without_send() -> Iterator[None]:
    """A request that finds its job made sends nothing."""

    def make(original: Any) -> Any:
        return lambda self, job, *, new: original(self, job, new=new) if new else None

    with method(direct.Direct, "send", make):
        yield


@contextmanager
def failed_by_relay() -> Iterator[None]:
    """A failed job's next message is a new one, at the tail."""

    def change(write: Write, _: Any) -> Write:
        return adding(write, dispatch=1)

    with writes(transitions.fail, change):
        yield


@contextmanager
def go_on_after_failure() -> Iterator[None]:
    """What came with a failed job is run all the same."""
    with method(ordered.OrderedBatch, "_is_over", lambda original: lambda self, record: original(self, record) or True):
        yield


BUGS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    bug.__name__: bug for bug in (relay_only, ack_before_send, replay_without_send, failed_by_relay, go_on_after_failure)
}
"""`fifo.py`'s, but `low_max_receives`: an ordered queue is made without a redrive policy (tests/infra)."""


@pytest.mark.slow
@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_bug_in_the_order_is_caught(bug: str) -> None:
    with BUGS[bug]():
        assert first_broken(300) is not None
