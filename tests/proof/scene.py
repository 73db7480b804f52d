"""A scene: a world without faults in which one thing after the other is played on purpose."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from jobline.job import Job
from jobline.memory_deployment import lane_name
from tests.proof.conditions import conditions
from tests.proof.world import QUEUE, WORLD, Operation, World

MINUTE = timedelta(minutes=1)
LANE = lane_name(QUEUE, "normal")


class Scene:
    """A world without faults, whose functions run whole and in order."""

    def __init__(self, world: World) -> None:
        self.world = world

    def run(self, name: str, body: Callable[[Operation], object]) -> None:
        self.world.operation(name, body, threaded=False).advance()

    def enqueue(self, *kinds: str, **fields: object) -> list[str]:
        for number, kind in enumerate(kinds):
            self.run("api", lambda op, number=number, kind=kind: self.world.enqueue(op, number, kind, **fields))
        return [self.world.id_of(number) for number in range(len(kinds))]

    def relay(self) -> None:
        for shard in (0, 1):
            self.run("relay", lambda op, shard=shard: self.world.relay(op, shard, 1000))

    def work(self, size: int) -> None:
        self.run("worker", lambda op: self.world.work(op, "normal", size))

    def tick(self) -> None:
        self.run("ticker", self.world.tick)

    def minute(self, *, size: int = 10) -> None:
        """One minute of everything."""
        self.world.now += MINUTE
        self.tick()
        self.relay()
        self.work(size)
        self.run("dead_letters", self.world.settle_dead_letters)

    def job(self, job_id: str) -> Job:
        return self.world.store.jobs[job_id]

    def begin(
        self, name: str, body: Callable[[Operation], object], *, until: Callable[[], object], skew: timedelta = timedelta()
    ) -> Operation:
        """An operation that goes on until something holds, and stands still there."""
        op = self.world.operation(name, body, skew=skew)
        while not until():
            assert not op.done
            op.advance()
        return op

    def begin_work(self, job_id: str, *, skew: timedelta = timedelta()) -> Operation:
        """A worker that stands still in the first line of a job's handler."""
        starts = self.world.promise.starts
        before = starts.get(job_id, 0)
        return self.begin("worker", lambda op: self.world.work(op, "normal", 1), until=lambda: starts.get(job_id, 0) > before, skew=skew)

    def redeliver(self) -> None:
        """Every message of the lane shows now."""
        for message in self.world.sqs.messages(LANE):
            self.world.sqs.duplicate(LANE, message.id)

    def finish(self, op: Operation) -> None:
        while not op.done:
            op.advance()


@contextmanager
def new_scene(*, repair: bool = True) -> Iterator[Scene]:
    """A scene whose messages come in the order in which they were sent."""
    world = World(random.Random(1), repair=repair, faults=0)
    world.sqs._shuffle = lambda messages: None
    for queue in world.sqs.queues.values():
        queue.most_receives = 10 if queue.dead_letters else None
    WORLD.append(world)
    try:
        with conditions():
            yield Scene(world)
    finally:
        WORLD.pop()
