"""Random histories of an ordered queue: the checks of the simulation `fifo.py`, on the real engine in the world that goes wrong.

Two clients, one for each ordering key, enqueue one job after the other and repeat each request until it is answered. Everything that
`history` lets happen happens here too, but for what is known to break order: retries by hand, and messages lost by purge or age.
"""

from __future__ import annotations

import random
import sys
import time
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final

from jobline.job import Job
from jobline.memory_deployment import lane_name
from tests.proof.conditions import conditions
from tests.proof.history import History
from tests.proof.promise import Broken, Promise, need
from tests.proof.world import NEVER, QUEUE, Kind, Operation, World

LANE: Final = lane_name(QUEUE, "normal", ordered=True)
KINDS: Final[tuple[Kind, ...]] = (
    *("ok", "ok", "ok", "ok", "fail", "flaky", "flaky", "killer", "snooze", "snooze_long", "fail_long", "slow"),
    *("piecewise", "retry_after", "cancel", "fatal", "timeout"),
)
ACTIONS: Final = {
    "enqueue": 14.0,
    "cancel": 1,
    "relay": 8,
    "work": 16,
    "tick": 2,
    "pause": 0.5,
    "kill": 5,
    "time": 9,
    "redeliver": 2,
    "copy": 1,
    "skip": 0.5,
    "step": 40,
}
EACH: Final = 3
"""Jobs of one ordering key."""
ORDERING_KEYS: Final = ("ada", "bob")


def key_of(number: int) -> str:
    """The ordering key of a job; each key's jobs have numbers that follow each other."""
    return ORDERING_KEYS[number // EACH]


class Order(Promise):
    """The promise, and that a job starts only when every job before it in its order is over."""

    def started(self, op: Operation, job: Job) -> None:
        super().started(op, job)
        in_order(op, job)


class OrderAlone(Promise):
    """Order and nothing else, so that a planted bug is not caught by what it does besides."""

    def wrote(self, op: Operation, event: str, before: Job | None, after: Job) -> None:
        with suppress(Broken):
            super().wrote(op, event, before, after)

    def sent(self, job_id: str, dispatch: int, delay: int) -> None: ...

    def started(self, op: Operation, job: Job) -> None:
        in_order(op, job)


def in_order(op: Operation, job: Job) -> None:
    world = op.world
    assert isinstance(world, OrderedWorld)
    number = world.numbers[job.id]
    for earlier in range(number - number % EACH, number):
        found = world.store.jobs.get(world.id_of(earlier))
        need(found is None or found.over, f"job {number} starts while job {earlier} is not over: {found}")


class OrderedWorld(World):
    """One deployment with one ordered queue."""

    def __init__(self, rng: random.Random, *, promise: Promise, faults: float) -> None:
        super().__init__(rng, repair=True, faults=faults, ordered=True)
        self.promise = promise
        self.sqs.retention = NEVER
        self.stream.retention = NEVER
        self.kinds = [rng.choice(KINDS) for _ in range(EACH * len(ORDERING_KEYS))]
        self.numbers = {self.id_of(number): number for number in range(len(self.kinds))}
        self.answered: set[int] = set()
        """The jobs whose creation was answered 2xx."""

    def post(self, op: Operation, number: int) -> None:
        """A client's request; it is repeated until it comes to its end."""
        self.enqueue(op, number, self.kinds[number], ordering_key=key_of(number))
        self.answered.add(number)

    def drain(self, *, rounds: int = 400) -> None:
        """The clients go on until everything was answered; then everything must end. Raises `Broken`."""
        self.faults = 0
        for number in range(len(self.kinds)):
            if number not in self.answered:
                self.operation("api", partial(self.post, number=number), threaded=False).advance()
        super().drain(rounds=rounds)

    def _compare_counters(self) -> None:
        """Nobody observes here: how an ordered job is counted is nothing of its own, and `history` proves that."""


class OrderedHistory(History):
    """One history as it is played."""

    world: OrderedWorld

    def __init__(self, seed: int, promise: type[Promise] = Order) -> None:
        super().__init__(seed, "A")
        self.world = OrderedWorld(self.rng, promise=promise(), faults=self.rng.choice((0, 0.03, 0.1)))
        self.jobs = len(self.world.kinds)
        weights = {name: weight * self.rng.choice((0.3, 1, 1, 3)) for name, weight in ACTIONS.items()}
        self.actions, self.weights = list(weights), list((weights | {"enqueue": 14.0, "step": 40.0}).values())
        self.requests: dict[int, Operation] = {}
        """The last request of each client."""

    def do_enqueue(self) -> bool:
        """A client begins a request: the next one when the last was answered, else the same again."""
        key = self.rng.randrange(len(ORDERING_KEYS))
        number = next((number for number in range(key * EACH, key * EACH + EACH) if number not in self.world.answered), None)
        if number is None:
            return False
        before = self.requests.get(key)
        if before in self.running and self.rng.random() < 0.9:
            return False  # seldom a client gives a request up that goes on

        def post(op: Operation) -> None:
            self.requests[key] = op
            self.world.post(op, number)

        return self.begin("api", post)

    def do_work(self) -> bool:
        size = self.rng.choice((1, 2, 3, 10))
        return self.shows(LANE) and self.begin("worker", lambda op: self.world.work(op, "normal", size))

    def do_copy(self) -> None:
        """The relay sends again what SQS has forgotten that it took: a second copy, at the tail."""
        if messages := self.world.sqs.messages(LANE):
            message = self.rng.choice(messages)
            entry = {
                "Id": "0",
                "MessageBody": message.body,
                "MessageGroupId": message.group,
                "MessageDeduplicationId": str(self.rng.random()),
            }
            self.world.sqs.send_message_batch(QueueUrl=f"memory:///{LANE}", Entries=[entry])

    def some_messages(self) -> list[tuple[str, str, datetime]]:
        return [(LANE, message.id, message.visible_at) for message in self.world.sqs.messages(LANE)]


def play(seed: int, promise: type[Promise] = Order) -> OrderedHistory:
    """Plays one history under `conditions`; raises `Broken` (or what the engine raises by mistake)."""
    history = OrderedHistory(seed, promise)
    with conditions():
        history.play(steps=120)
    return history


def search(count: int, *, first: int = 0, promise: type[Promise] = Order) -> tuple[int, str] | None:
    """The first history, as its number and what broke, in which something breaks; `None` when all are well."""
    for seed in range(first, first + count):
        try:
            play(seed, promise)
        except Exception as error:
            return seed, f"{type(error).__name__} {error}"
    return None


def main(arguments: list[str]) -> None:
    count, first = int(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 0
    begun = time.monotonic()
    print(search(count, first=first) or f"{count} histories are well", f"({time.monotonic() - begun:.1f} s)")


if __name__ == "__main__":
    main(sys.argv[1:])
