"""Hypothesis at the controls of the real engine: it chooses who moves, what fails and how much time passes, and shrinks what breaks.

`JOBLINE_PROOF_EXAMPLES=3000 pytest tests/proof/test_machine.py` is the long run.
"""

from __future__ import annotations

import os
import random
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from jobline.memory_deployment import dead_letters_name, lane_name
from tests.proof.conditions import conditions
from tests.proof.history import LASTS
from tests.proof.promise import SKEW
from tests.proof.world import FAULTS, KEYS, KINDS, LANES, QUEUE, WORLD, Operation, World

NUMBERS = st.integers(0, 3)
DELAYS = st.sampled_from((0, 5, 899, 900, 901, 2000))
SKEWS = st.sampled_from((timedelta(), SKEW, -SKEW))
STEPS = st.sampled_from((60, 60, 0, 1, 2, 5))
EXAMPLES = int(os.environ.get("JOBLINE_PROOF_EXAMPLES", "200"))


class Engine(RuleBasedStateMachine):
    """The engine, its clients and its faults; every promise is checked inside (`promise`), the rest at the end."""

    @initialize(seed=st.integers(0, 2**16), repair=st.booleans())
    def begin(self, seed: int, repair: bool) -> None:
        self.conditions = conditions()
        self.conditions.__enter__()
        self.world = World(random.Random(seed), repair=repair, faults=0)
        self.running: list[Operation] = []
        WORLD.append(self.world)

    def shows(self, name: str) -> bool:
        return any(message.visible_at <= self.world.now for message in self.world.sqs.messages(name))

    def lanes(self) -> list[str]:
        """Lanes with a message that can be received."""
        return [lane for lane in LANES if self.shows(lane_name(QUEUE, lane))]

    def start(self, name: str, body: Any, skew: timedelta, steps: int) -> None:
        op = self.world.operation(name, body, skew=skew, lasts=LASTS[name])
        self.running.append(op)
        self.go_on(op, steps + 1)

    def go_on(self, op: Operation, steps: int) -> None:
        for _ in range(steps):
            if not op.done:
                op.advance()
        if op.done:
            self.running.remove(op)

    # ------------------------------------------------------------------------------------------------ clients

    @rule(
        number=NUMBERS, kind=st.sampled_from(KINDS), delay=DELAYS, priority=st.sampled_from((1, 5, 10)), steps=STEPS, skew=SKEWS,
        expires_after=st.none() | st.sampled_from((1, 30, 400)),
    )  # fmt: skip
    def enqueue(self, number: int, kind: str, delay: int, priority: int, steps: int, skew: timedelta, expires_after: int | None) -> None:
        fields: dict[str, Any] = {"delay": delay, "priority": priority}
        if expires_after is not None:
            fields["expires_in"] = delay + expires_after
        self.start("api", lambda op: self.world.enqueue(op, number, kind, **fields), skew, steps)

    @precondition(lambda self: self.world.store.jobs)
    @rule(
        what=st.sampled_from(("cancel", "retry", "redrive", "reschedule")), number=NUMBERS, delay=DELAYS, steps=STEPS, skew=SKEWS,
        priority=st.sampled_from((1, 5, 10)),
    )  # fmt: skip
    def change(self, what: str, number: int, delay: int, priority: int, steps: int, skew: timedelta) -> None:
        world, id = self.world, self.world.id_of(number)
        bodies: dict[str, Any] = {
            "cancel": lambda op: world.cancel(op, id),
            "retry": lambda op: world.retry(op, id),
            "redrive": world.redrive,
            "reschedule": lambda op: world.reschedule(op, id, timedelta(seconds=delay), priority),
        }
        self.start("operations" if what == "redrive" else "api", bodies[what], skew, steps)

    # ------------------------------------------------------------------------------------------------ functions

    @precondition(lambda self: any(reader.batch(1) for reader in self.world.relay_readers))
    @rule(size=st.sampled_from((1, 3, 100)), steps=STEPS, skew=SKEWS)
    def relay(self, size: int, steps: int, skew: timedelta) -> None:
        for shard, reader in enumerate(self.world.relay_readers):
            if reader.batch(1):
                self.start("relay", lambda op, shard=shard: self.world.relay(op, shard, size), skew, steps)

    @precondition(lambda self: self.lanes())
    @rule(data=st.data(), size=st.sampled_from((1, 2, 10)), steps=STEPS, skew=SKEWS)
    def deliver(self, data: st.DataObject, size: int, steps: int, skew: timedelta) -> None:
        lane = data.draw(st.sampled_from(self.lanes()))
        self.start("worker", lambda op: self.world.work(op, lane, size), skew, steps)

    @precondition(lambda self: self.world.unfinished())
    @rule(steps=STEPS, skew=SKEWS)
    def sweep(self, steps: int, skew: timedelta) -> None:
        self.start("ticker", self.world.tick, skew, steps)

    @rule(size=st.integers(1, 6), steps=STEPS, skew=SKEWS)
    def behind_the_scenes(self, size: int, steps: int, skew: timedelta) -> None:
        """The functions that only sometimes have something to do."""
        if self.shows(dead_letters_name(QUEUE)):
            self.start("dead_letters", self.world.settle_dead_letters, skew, steps)
        for shard, reader in enumerate(self.world.observer_readers):
            if reader.batch(1):
                self.start("observer", lambda op, shard=shard: self.world.observe(op, shard, size), timedelta(), steps)
        if any(job.gone(self.world.now) for job in self.world.store.jobs.values()):
            self.start("ttl", self.world.expire_records, timedelta(), steps)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), steps=st.integers(1, 9))
    def step(self, data: st.DataObject, steps: int) -> None:
        self.go_on(data.draw(st.sampled_from(self.running)), steps)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        op = data.draw(st.sampled_from(self.running))
        self.running.remove(op)
        op.kill()

    # ------------------------------------------------------------------------------------------------ the world

    @rule(fault=st.sampled_from(FAULTS))
    def spoil_the_next_call(self, fault: Any) -> None:
        self.world.planned = fault

    @rule(seconds=st.sampled_from((0.5, 1, 5, 30, 95, 300, 900, 2000)))
    def wait(self, seconds: float) -> None:
        self.world.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.world.sqs.messages())
    @rule(data=st.data())
    def duplicate(self, data: st.DataObject) -> None:
        """A message comes early, or once more; or the relay had sent it twice."""
        messages = self._messages()
        if not messages:
            return  # all of them in the set-aside queue
        name, message_id, body = data.draw(st.sampled_from(messages))
        if data.draw(st.booleans()):
            self.world.sqs.duplicate(name, message_id)
        else:
            self.world.sqs.send_message_batch(QueueUrl=f"memory:///{name}", Entries=[{"Id": "0", "MessageBody": body}])

    @rule(what=st.sampled_from(("pause", "lose", "purge", "day")), data=st.data())
    def misfortune(self, what: str, data: st.DataObject) -> None:
        """Somebody pauses or resumes the queue; or, with repair on, something is lost."""
        world = self.world
        if what == "pause":
            states = world.deployment.states
            (states.resume if states.get(QUEUE).paused else states.pause)(QUEUE, world.now)
        elif world.repair and what == "lose" and (messages := self._messages()):
            world.sqs.lose(*data.draw(st.sampled_from(messages))[:2])
        elif world.repair and what == "purge":
            for name in world.sqs.queues:
                world.sqs.purge_queue(QueueUrl=f"memory:///{name}")
        elif world.repair and what == "day":  # longer than the stream keeps what nobody reads
            world.now += timedelta(hours=25)

    def _messages(self) -> list[tuple[str, str, str]]:
        names = [*(lane_name(QUEUE, lane) for lane in LANES), dead_letters_name(QUEUE)]
        return [(name, message.id, message.body) for name in names for message in self.world.sqs.messages(name)]

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            for op in self.running:
                op.kill()
            self.world.planned = None
            if self.world.broken is None:
                self.world.drain()
        finally:
            for op in self.running:
                if not op.done:
                    op.dead = True
            WORLD.pop()
            self.conditions.__exit__(None, None, None)


assert len(KEYS) >= 4
TestEngine = Engine.TestCase
TestEngine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=EXAMPLES <= 200,
    report_multiple_bugs=False,
)
