"""Random histories: who moves, who dies, what is lost and how much time passes, all from one seed.

Mode "A": every fault, messages and stream records lost too, repair on. Mode "B": nothing is lost, repair off: routine must do.
Run by hand: `python -m tests.proof.history 2000 [first seed]`, or `… SEED MODE` with the word `show` for one history's steps.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Literal

from jobline.claims import LEASE_MARGIN
from jobline.job import RETRYABLE, WAITING, Status
from jobline.memory_deployment import dead_letters_name, lane_name
from tests.proof.conditions import conditions
from tests.proof.promise import SKEW, Broken, need
from tests.proof.world import FUNCTION_TIMEOUT, KINDS, LANES, NEVER, QUEUE, WORLD, Operation, World

Mode = Literal["A", "B"]

ACTIONS = {
    "enqueue": 9.0,
    "again": 0.7,
    "cancel": 4,
    "retry": 4,
    "redrive": 0.5,
    "redrive_by_filter": 0.5,
    "sweep": 1,
    "reschedule": 2.5,
    "relay": 12,
    "observe": 2,
    "work": 16,
    "tick": 3,
    "dead_letters": 5,
    "ttl": 1,
    "pause": 1,
    "kill": 5,
    "time": 9,
    "redeliver": 3,
    "copy": 1,
    "lose": 1,
    "purge": 0.5,
    "day": 0.7,
    "skip": 0.5,
    "step": 40,
}
"""How often each happens; every history has its own temper."""
LASTS = {
    "api": timedelta(seconds=29),
    "relay": timedelta(seconds=60),
    "observer": timedelta(seconds=60),
    "ticker": timedelta(seconds=55),
    "dead_letters": timedelta(seconds=60),
    "worker": FUNCTION_TIMEOUT,
    "operations": timedelta(hours=1),
    "ttl": NEVER,
}
"""How long Lambda lets each function run, as deployed."""
MAY_BE_ZOMBIES = ("relay", "ticker", "dead_letters", "worker")
"""Functions that a history may let live on past their time. Not the observer: its marks are kept for 15 minutes only (`marks`)."""
ZOMBIES_LAST = timedelta(minutes=15)
"""No process lives longer (Lambda quotas); a job that is made anew under its key once nobody can still be at the old one begins anew."""
LOSSES = ("lose", "purge", "day", "skip")
DELAYS = (0, 0, 0, 5, 200, 899, 901, 2000)
JUMPS = ((1, 2, 5), (0.3, 1, 5, 20, 60), (1, 5, 30, 100, 600, 1800), (20, 61, 95, 300))


class History:
    """One history as it is played."""

    def __init__(self, seed: int, mode: Mode) -> None:
        self.rng = random.Random(f"{seed}{mode}")
        rng = self.rng
        self.mode = mode
        told = random.Random(f"{seed}{mode} told").random() < 0.3
        self.world = World(rng, repair=mode == "A", faults=rng.choice((0, 0.03, 0.1)), low_latency=rng.random() < 0.2, told=told)
        self.unique = rng.random() < 0.15
        """Whether all jobs have one unique key."""
        self.running: list[Operation] = []
        self.jobs = rng.choice((1, 2, 4, 6))
        self.enqueued = 0
        self.zombies = rng.choice((0, 0.15, 0.7))
        self.jumps = rng.choice(JUMPS)
        self.hurry = rng.choice(((0, 3), (0, 1, 2, 5, 60), (2, 6, 60)))
        weights = {name: weight * rng.choice((0.3, 1, 1, 3)) for name, weight in ACTIONS.items() if mode == "A" or name not in LOSSES}
        self.actions = list(weights)
        self.weights = list((weights | {"enqueue": 9.0, "step": 40.0}).values())
        self.trace: list[str] = []

    def play(self, steps: int = 90) -> None:
        """Plays the faulty part, then lets it all come to rest. Raises `Broken`."""
        WORLD.append(self.world)
        try:
            for _ in range(steps):
                self.act()
            self.bury()
            self.world.drain()
            if self.unique:
                self.take_the_key()
        finally:
            self.bury()
            WORLD.pop()

    def take_the_key(self) -> None:
        """Nobody holds a unique key whose jobs are over."""
        number, fields = self.jobs, {"unique": {"key": "one", "on_conflict": "reject"}}
        self.world.operation("api", lambda op: self.world.enqueue(op, number, "ok", **fields), threaded=False).advance()
        need(self.world.id_of(number) in self.world.store.jobs, "a unique key is held, though its jobs are over")

    def act(self) -> None:
        """Does one thing; of those that there is something for."""
        for _ in range(20):
            action = self.rng.choices(self.actions, self.weights)[0]
            if getattr(self, f"do_{action}")() is not False:
                return

    def bury(self) -> None:
        """Ends whatever still runs."""
        for op in self.running:
            if not op.done:
                try:
                    op.kill()
                except BaseException as error:
                    self.trace.append(f"buried with {error!r}")
        self.running.clear()

    def begin(self, name: str, body: Any) -> bool:
        skew = self.rng.choice((-SKEW, timedelta(), SKEW))
        zombie = name in MAY_BE_ZOMBIES and self.rng.random() < self.zombies
        op = self.world.operation(name, body, skew=skew, lasts=ZOMBIES_LAST if zombie else LASTS[name])
        self.trace.append(f"{self.world.now:%d %H:%M:%S} {op.name} skew {skew.total_seconds():g}")
        self.running.append(op)
        self.advance(op, 1 + self.rng.choice(self.hurry))
        return True

    def advance(self, op: Operation, steps: int) -> None:
        for _ in range(steps):
            if op.done:
                self.running.remove(op)
                return
            op.advance()
        if op.done:
            self.running.remove(op)

    def some_job(self, *, rather: Status | None = None) -> str:
        """A job's id; half of the time one in this state, if there is one."""
        wanted = [job.id for job in self.world.store.jobs.values() if job.status is rather]
        if wanted and self.rng.random() < 0.5:
            return self.rng.choice(wanted)
        return self.world.id_of(self.rng.randrange(self.jobs))

    def likely(self, job_id: str, statuses: Collection[Status]) -> bool:
        """Whether to ask for a change of a job: mostly when it is in one of the states that can be changed so."""
        found = self.world.store.jobs.get(job_id)
        return found is not None and (found.status in statuses or self.rng.random() < 0.1)

    def some_messages(self) -> list[tuple[str, str, datetime]]:
        names = [*(lane_name(QUEUE, lane) for lane in LANES), dead_letters_name(QUEUE)]
        return [(name, message.id, message.visible_at) for name in names for message in self.world.sqs.messages(name)]

    # ------------------------------------------------------------------------------------------------ clients

    def do_enqueue(self) -> bool:
        rng = self.rng
        if self.enqueued == self.jobs:
            return False
        number, kind = self.enqueued, rng.choice(KINDS)
        fields: dict[str, Any] = {"priority": rng.choice((1, 5, 5, 10))}
        if delay := rng.choice(DELAYS):
            fields["delay"] = delay
        if rng.random() < 0.25:
            fields["expires_in"] = delay + rng.choice((1, 30, 400))
        if rng.random() < 0.1:
            fields["payload"] = {"kind": kind, "text": "x" * 500}
        if self.unique:
            fields["unique"] = {"key": "one", "on_conflict": rng.choice(("return", "replace", "reject"))}
        self.enqueued += 1
        return self.begin("api", lambda op: self.world.enqueue(op, number, kind, **fields))

    def do_again(self) -> bool:
        if not self.enqueued:
            return False
        number = self.rng.randrange(self.enqueued)
        return self.begin("api", lambda op: self.world.enqueue(op, number, "ok"))

    def do_cancel(self) -> bool:
        job_id = self.some_job(rather=Status.RUNNING)
        return self.likely(job_id, {*WAITING, Status.RUNNING}) and self.begin("api", lambda op: self.world.cancel(op, job_id))

    def do_retry(self) -> bool:
        job_id = self.some_job(rather=Status.DEAD)
        return self.likely(job_id, RETRYABLE) and self.begin("api", lambda op: self.world.retry(op, job_id))

    def do_redrive(self) -> bool:
        return self.begin("operations", self.world.redrive)

    def do_redrive_by_filter(self) -> bool:
        return self.begin("operations", self.world.redrive_by_filter)

    def do_sweep(self) -> bool:
        """Somebody purges the queue, or what is in one state."""
        status = self.rng.choice((None, "done", "dead", "cancelled", "pending"))
        return self.begin("operations", lambda op: self.world.purge(op, status))

    def do_reschedule(self) -> bool:
        job_id, delay, priority = self.some_job(), timedelta(seconds=self.rng.choice(DELAYS)), self.rng.choice((1, 5, 10))
        return self.likely(job_id, WAITING) and self.begin("api", lambda op: self.world.reschedule(op, job_id, delay, priority))

    # ------------------------------------------------------------------------------------------------ functions

    def do_relay(self) -> bool:
        shard, size = self.rng.randrange(2), self.rng.randint(1, 6)
        unread = self.world.relay_readers[shard].batch(1)
        return bool(unread) and self.begin("relay", lambda op: self.world.relay(op, shard, size))

    def do_observe(self) -> bool:
        shard, size = self.rng.randrange(2), self.rng.randint(1, 8)
        unread = self.world.observer_readers[shard].batch(1)
        return bool(unread) and self.begin("observer", lambda op: self.world.observe(op, shard, size))

    def do_work(self) -> bool:
        lanes = [lane for lane in LANES if self.shows(lane_name(QUEUE, lane))]
        if not lanes:
            return False
        lane, size = self.rng.choice(lanes), self.rng.choice((1, 2, 3, 10))
        return self.begin("worker", lambda op: self.world.work(op, lane, size))

    def do_tick(self) -> bool:
        return bool(self.world.unfinished()) and self.begin("ticker", self.world.tick)

    def do_dead_letters(self) -> bool:
        return self.shows(dead_letters_name(QUEUE)) and self.begin("dead_letters", self.world.settle_dead_letters)

    def do_ttl(self) -> bool:
        return any(job.gone(self.world.now) for job in self.world.store.jobs.values()) and self.begin("ttl", self.world.expire_records)

    def do_step(self) -> bool:
        if not self.running:
            return False
        self.advance(self.rng.choice(self.running), self.rng.randint(1, 9))
        return True

    def do_kill(self) -> bool:
        if not self.running:
            return False
        op = self.running.pop(self.rng.randrange(len(self.running)))
        self.trace.append(f"{self.world.now:%d %H:%M:%S} {op.name} dies")
        op.kill()
        return True

    def shows(self, name: str) -> bool:
        return any(message.visible_at <= self.world.now for message in self.world.sqs.messages(name))

    # ------------------------------------------------------------------------------------------------ the world

    def do_pause(self) -> None:
        states, now = self.world.deployment.states, self.world.now
        (states.resume if states.get(QUEUE).paused else states.pause)(QUEUE, now)

    def do_time(self) -> None:
        if self.rng.random() < 0.6:
            self.world.now += timedelta(seconds=self.rng.choice(self.jumps))
        else:
            self.do_moment()

    def do_moment(self) -> None:
        """Just before, at or just after a time that matters: a message shows, a job falls due or expires, a lease ends."""
        now, moments = self.world.now, [visible_at for _, _, visible_at in self.some_messages()]
        for job in self.world.unfinished():
            moments += [job.scheduled_at, job.expires_at]
            if job.lease_until is not None:
                moments += [job.lease_until, job.lease_until - LEASE_MARGIN]
        soon = sorted(moment for moment in moments if now + timedelta(seconds=2) < moment < now + timedelta(hours=3))
        if soon:
            self.world.now = self.rng.choice(soon[:3]) + timedelta(seconds=self.rng.choice((-1.5, -0.5, 0, 1, 2)))

    def do_redeliver(self) -> bool:
        hidden = [(name, id) for name, id, visible_at in self.some_messages() if visible_at > self.world.now]
        if not hidden:
            return False
        running = {job.carrier for job in self.world.unfinished() if job.status is Status.RUNNING}
        carriers = [(name, id) for name, id in hidden if id in running]
        self.world.sqs.duplicate(*self.rng.choice(carriers if carriers and self.rng.random() < 0.5 else hidden))
        return True

    def do_copy(self) -> None:
        """The relay sends once more what it has sent: its batch was repeated."""
        if messages := self.some_messages():
            name, message_id, _ = self.rng.choice(messages)
            body = next(message.body for message in self.world.sqs.messages(name) if message.id == message_id)
            self.world.sqs.send_message_batch(QueueUrl=f"memory:///{name}", Entries=[{"Id": "0", "MessageBody": body}])

    def do_lose(self) -> None:
        if messages := self.some_messages():
            self.world.sqs.lose(*self.rng.choice(messages)[:2])

    def do_purge(self) -> None:
        for name in self.world.sqs.queues:
            self.world.sqs.purge_queue(QueueUrl=f"memory:///{name}")

    def do_day(self) -> None:
        """The stream's readers stand still for more than a day: what they had not read is gone."""
        self.world.now += timedelta(hours=25)

    def do_skip(self) -> None:
        reader = self.rng.choice(self.world.relay_readers)
        reader.position = min(reader.position + 1, len(self.world.stream.entries(self.world.relay_readers.index(reader))))


def play(seed: int, mode: Mode) -> History:
    """Plays one history under `conditions`; raises `Broken` (or what the engine raises by mistake)."""
    history = History(seed, mode)
    with conditions():
        history.play()
    return history


def search(count: int, *, first: int = 0, modes: tuple[Mode, ...] = ("A", "B"), seconds: float | None = None) -> tuple[int, str] | None:
    """The first history, as its number and what broke, in which something breaks; `None` when all are well."""
    begun = time.monotonic()
    for seed in range(first, first + count):
        for mode in modes:
            try:
                play(seed, mode)
            except Exception as error:
                return seed, f"{seed}{mode}: {type(error).__name__} {error}"
        if seconds is not None and time.monotonic() - begun > seconds:
            break
    return None


def main(arguments: list[str]) -> None:
    if arguments[-1] == "show":
        history = History(int(arguments[0]), arguments[1])  # type: ignore[arg-type]
        try:
            with conditions():
                history.play()
        except (Broken, Exception) as error:
            print(*history.trace, f"{type(error).__name__} {error}", sep="\n")
            raise
        print(*history.trace, sep="\n")
        return
    count, first = int(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 0
    begun = time.monotonic()
    print(search(count, first=first) or f"{count} histories in each mode are well", f"({time.monotonic() - begun:.1f} s)")


if __name__ == "__main__":
    main(sys.argv[1:])
