"""The real engine in a world that goes wrong: operations that pause before each call to AWS, may die there, and meet each other.

Every operation (an API request, one invocation of relay, worker, ticker, dead_letters or observer) runs the real code in a thread
of its own; only one thread runs at any time, and it hands over before each call to the table, the queues or the other items. So any
interleaving of calls can be played, and the same seed plays the same one. Each has its own clock, at most a second wrong.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, TypeVar

import msgspec
from botocore.exceptions import ClientError, ConnectionClosedError

from jobline import ids, job_type, rescheduling
from jobline.context import Context
from jobline.creation import Creation, Replaced
from jobline.deadline import AttemptTimedOut
from jobline.definitions import Definitions, Queue, Worker
from jobline.errors import JoblineError, Unavailable
from jobline.job import OPERATIONS, Job, Status
from jobline.locks import Lock
from jobline.memory_deployment import MemoryDeployment, Ports, dead_letters_name, lane_name, sqs_record
from jobline.memory_stream import MemoryStream
from jobline.message import Message
from jobline.purging import Purging
from jobline.queue_states import QueueState
from jobline.redriving import Redriving
from jobline.request import parse_request
from jobline.selection import Purge, Redrive, Selection
from jobline.shards import shard_of
from jobline.steering import Cancel, Continue, NonRetryable, RetryAfter, Snooze
from jobline.store import Outcome
from jobline.strict_json import parse
from jobline.sweep import patiently
from jobline.transitions import Write
from tests.factories import NOW
from tests.proof.promise import SKEW, Broken, Promise, need

T = TypeVar("T")
Fault = Literal["throttled", "crash_before", "crash_after", "reply_lost", "repeated"]
FAULTS: Final[tuple[Fault, ...]] = ("throttled", "throttled", "crash_before", "crash_after", "reply_lost", "repeated")

QUEUE, WORKER = "work", "shop"
FUNCTION_TIMEOUT = timedelta(seconds=90)
JOB_TIMEOUTS = (5, 20, 60)
KEPT_SECONDS = 1800
REPAIR: Final = frozenset({"resend", "watch", "lose"})
"""What the ticker writes to heal losses; without repair it only promotes and expires."""
NEVER: Final = timedelta(days=100_000)

Kind = str
KINDS: Final[tuple[Kind, ...]] = (
    *("ok", "ok", "ok", "fail", "flaky", "killer", "snooze", "snooze_long", "fail_long", "slow", "reporting"),
    *("retry_after", "cancel", "fatal", "timeout", "large", "piecewise", "parent"),
)


class Killed(BaseException):
    """The process ended here: nothing of it runs any more."""


@dataclass(slots=True)
class Timer:
    """A call that was put off, in the time of the operation that put it off."""

    due: datetime
    call: Callable[[], None]

    def cancel(self) -> None:
        self.call = lambda: None


class Operation:
    """One run of one function: a thread that waits for its turn before each call."""

    def __init__(
        self,
        world: World,
        name: str,
        body: Callable[[Operation], object],
        *,
        skew: timedelta = timedelta(),
        lasts: timedelta = NEVER,
        threaded: bool = True,
    ) -> None:
        self.world = world
        self.name = name
        self.skew = skew
        self.ends_at = world.now + lasts
        self.dated = not world.deployment.states.get(QUEUE).paused
        """Whether it may not know that the queue is paused: it was not when this began."""
        self.dead = False
        self.done = False
        self.error: BaseException | None = None
        self.timers: list[Timer] = []
        self.drops: dict[str, str] = {}
        """Message id → job id of the batch that this operation was given."""
        self.justified: set[str] = set()
        """Messages of that batch which at some moment of this operation nobody needed."""
        self._body = body
        self._threaded = threaded
        self._mine, self._worlds = threading.Lock(), threading.Lock()
        self._thread: threading.Thread | None = None
        if threaded:
            self._mine.acquire()
            self._worlds.acquire()

    def clock(self) -> datetime:
        return self.world.now + self.skew

    def advance(self) -> None:
        """Runs it until its next call, or to its end."""
        self.world.current = self
        if not self._threaded:
            self._run()
        else:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            self._mine.release()
            self._worlds.acquire()
        self.world.current = None
        if self.error is not None:
            raise self.error

    def kill(self) -> None:
        """Ends the process where it stands."""
        self.dead = True
        if not self.done:
            self.advance()

    def pause(self) -> None:
        """Before a call: others may come first, and the process may never get there."""
        if self._threaded:
            self._worlds.release()
            self._mine.acquire()
            self.world.current = self
        if self.dead or self.world.now > self.ends_at:
            self.die()

    def die(self) -> None:
        self.dead = True
        raise Killed(self.name)

    def judge(self, fact: Callable[[], None]) -> None:
        """Checks a fact; one that does not hold ends the operation, whatever the engine catches."""
        try:
            fact()
        except Broken as broken:
            self.error = self.world.broken = broken
            self.die()

    def look(self, job_id: str) -> None:
        """The operation learns of a record: which of its messages does that make superfluous?"""
        for message_id, about in self.drops.items():
            if about == job_id and self.world.superfluous(message_id):
                self.justified.add(message_id)

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """A call that is due in so many seconds; it is made when a handler takes a step after that."""
        timer = Timer(self.clock() + timedelta(seconds=seconds), call)
        self.timers.append(timer)
        return timer

    def ring(self) -> None:
        """Makes the calls that are due."""
        for timer in [timer for timer in self.timers if timer.due <= self.clock()]:
            self.timers.remove(timer)
            timer.call()

    def _run(self) -> None:
        if self._threaded:
            self._mine.acquire()
            self.world.current = self
        try:
            if not self.dead:
                self._body(self)
        except (Killed, JoblineError):
            pass
        except BaseException as error:
            self.error = error
        self.done = True
        if self._threaded:
            self._worlds.release()


class Calls:
    """What an operation's calls go through: a pause, and now and then a fault."""

    def __init__(self, op: Operation) -> None:
        self.op = op
        self.world = op.world

    def call(self, what: str, effect: Callable[[], T], failure: Callable[[str], Exception] = Unavailable) -> T:
        self.op.pause()
        fault = self.world.draw_fault()
        if fault == "throttled":
            raise failure(what)
        if fault == "crash_before":
            self.op.die()
        result = effect()
        if fault == "crash_after":
            self.op.die()
        if fault == "reply_lost":
            raise failure(what)
        return effect() if fault == "repeated" else result


class WorldStore(Calls):
    """The table as one operation reaches it."""

    def get(self, job_id: str) -> Job | None:
        return self.call("get", lambda: self._seen(self.world.store.get(job_id), job_id))

    def get_many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        def read() -> dict[str, Job]:
            for job_id in job_ids:
                self.op.look(job_id)
            return self.world.store.get_many(job_ids)

        return self.call("get_many", read)

    def create(self, job: Job, *, now: datetime) -> Outcome:
        def write() -> Outcome:
            before = self.world.store.jobs.get(job.id)
            outcome = self.world.store.create(job, now=now)
            if outcome.applied and outcome.job is not None:
                self.world.wrote(self.op, "enqueue", before, outcome.job)
            return outcome

        return self.call("create", write)

    def create_unique(self, job: Job, lock: Lock, *, replaced: Replaced | None = None, **found: Any) -> Creation:
        def write() -> Creation:
            jobs = self.world.store.jobs
            before, waiting = jobs.get(job.id), jobs.get(replaced.job.id) if replaced is not None else None
            creation = self.world.store.create_unique(job, lock, replaced=replaced, **found)
            if creation.applied and creation.job is not None:
                if waiting is not None:
                    self.world.wrote(self.op, "cancel", waiting, jobs[waiting.id])
                self.world.wrote(self.op, "enqueue", before, creation.job)
                self.op.judge(lambda: self.world.promise.alone_with_its_key(creation.job, jobs.values()))
            return creation

        return self.call("create_unique", write)

    def apply(self, job_id: str, write: Write) -> Outcome:
        return self.call(write.event, lambda: self._apply(job_id, write))

    def apply_many(self, writes: Sequence[tuple[str, Write]]) -> list[Outcome | None]:
        """Each statement has its own fate; one whose fate is not known has no outcome."""
        outcomes: list[Outcome | None] = []
        for job_id, write in writes:
            try:
                outcomes.append(self.call(write.event, lambda job_id=job_id, write=write: self._apply(job_id, write)))
            except Unavailable:
                outcomes.append(None)
        return outcomes

    def _apply(self, job_id: str, write: Write) -> Outcome:
        before = self.world.store.jobs.get(job_id)
        if write.event in REPAIR and self.op.name.startswith("ticker") and not self.world.repair:
            return Outcome(False, before)
        outcome = self.world.store.apply(job_id, write)
        if outcome.applied and outcome.job is not None:
            self.world.wrote(self.op, write.event, before, outcome.job)
        self.op.look(job_id)
        return outcome

    def delete(self, job: Job) -> bool:
        def effect() -> bool:
            before = self.world.store.jobs.get(job.id)
            deleted = self.world.store.delete(job)
            if before is not None and job.id not in self.world.store.jobs:
                self.op.judge(lambda: self.world.promise.removed(before))
                self.world.stream.entries(0)
            return deleted

        return self.call("delete", effect)

    def _seen(self, job: Job | None, job_id: str) -> Job | None:
        self.op.look(job_id)
        return job

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.world.store, name)
        return lambda *positional, **named: self.call(name, lambda: method(*positional, **named))

    def page_by_queue(self, queue: str, **arguments: Any) -> Any:
        return self.call("page_by_queue", lambda: self.world.store.page_by_queue(queue, **arguments))

    def page_by_attention(self, queue: str, kind: str, **arguments: Any) -> Any:
        return self.call("page_by_attention", lambda: self.world.store.page_by_attention(queue, kind, **arguments))

    def walk(self, partition: str, **arguments: Any) -> Any:
        if all(job.queue_shard != partition for job in self.world.store.jobs.values()):
            return ()  # most partitions are empty: a pause before each would only make others rare
        return self.call("walk", lambda: self.world.store.walk(partition, **arguments))


class WorldStates(Calls):
    def get(self, queue: str) -> QueueState:
        return self.call("get_state", lambda: self.world.deployment.states.get(queue))

    def save_walk(self, queue: str, state: QueueState) -> None:
        self.call("save_walk", lambda: self.world.deployment.states.save_walk(queue, state))


class WorldClient(Calls):
    """SQS, or the table's other items, as one operation reaches them."""

    def __init__(self, op: Operation, client: Any) -> None:
        super().__init__(op)
        self.client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if name == "exceptions":
            return method
        return lambda **arguments: self.call(name, lambda: method(**arguments), _aws_failure(self.world.rng))

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        def send() -> dict[str, Any]:
            for entry in Entries:
                message = Message.decode(entry["MessageBody"])
                about = (message.id, message.dispatch, entry.get("DelaySeconds", 0))
                self.op.judge(lambda about=about: self.world.promise.sent(*about))
            taken, refused = Entries, []
            if self.world.unlucky(0.05):
                taken, refused = Entries[:-1], Entries[-1:]
            answer = self.client.send_message_batch(QueueUrl=QueueUrl, Entries=taken) if taken else {"Successful": [], "Failed": []}
            failed = [{"Id": entry["Id"], "Code": "InternalError", "Message": "", "SenderFault": False} for entry in refused]
            return {"Successful": answer["Successful"], "Failed": [*answer["Failed"], *failed]}

        return self.call("send", send, _aws_failure(self.world.rng))


def _aws_failure(rng: random.Random) -> Callable[[str], Exception]:
    if rng.random() < 0.5:
        return lambda what: ConnectionClosedError(endpoint_url="https://aws")
    return lambda what: ClientError({"Error": {"Code": "ThrottlingException", "Message": what}}, what)


class World:
    """One deployment, its jobs and its history. `repair`: whether the ticker heals what was lost."""

    def __init__(
        self,
        rng: random.Random,
        *,
        repair: bool,
        faults: float = 0.04,
        ordered: bool = False,
        low_latency: bool = False,
        told: bool = False,
    ) -> None:
        """`told`: whether somebody wants to be told of every job's end."""
        self.rng = rng
        self.ordered = ordered
        self.lanes = LANES[1:2] if ordered else LANES
        self.repair = repair
        self.faults = faults
        self.planned: Fault | None = None
        """What happens to the next call, whatever chance says."""
        self.promise = Promise()
        self.broken: Broken | None = None
        self.current: Operation | None = None
        self.requests: dict[int, dict[str, Any]] = {}
        self.told = told
        receives = rng.choice((1, 2, 4, 10, 10))
        queue = msgspec.structs.replace(DEFINED, ordered=ordered, low_latency=low_latency)
        definitions = Definitions(stage="test", queues={QUEUE: queue}, workers=WORKERS)
        self.deployment = MemoryDeployment(definitions, {WORKER: [_run]}, start=NOW, seed=rng.randrange(2**32), most_receives=receives)
        self.store, self.sqs = self.deployment.store, self.deployment.sqs
        self.sqs._shuffle = rng.shuffle
        retention = timedelta(hours=24) if repair else NEVER
        if not repair:
            self.sqs.retention = NEVER
        self.stream = MemoryStream(self.store, lambda: self.now, shards=2, retention=retention)
        self.relay_readers, self.observer_readers = self.stream.readers(), self.stream.readers()
        self.operations = 0
        self.delivered: dict[str, datetime] = {}
        """When an observer was first given each stream record."""
        self.late = False
        """Whether one was given again too late for its mark."""

    # ------------------------------------------------------------------------------------------------ time and chance

    @property
    def now(self) -> datetime:
        return self.deployment.now

    @now.setter
    def now(self, now: datetime) -> None:
        self.deployment.now = now

    def unlucky(self, chance: float) -> bool:
        return bool(self.faults) and self.rng.random() < chance

    def draw_fault(self) -> Fault | None:
        if self.planned is not None:
            fault, self.planned = self.planned, None
            return fault
        return self.rng.choice(FAULTS) if self.unlucky(self.faults) else None

    # ------------------------------------------------------------------------------------------------ what operations do

    def wrote(self, op: Operation, event: str, before: Job | None, after: Job) -> None:
        self.stream.entries(0)  # stamped with the moment of the write
        op.judge(lambda: self.promise.wrote(op, event, before, after))

    def operation(self, name: str, body: Callable[[Operation], object], **options: Any) -> Operation:
        self.operations += 1
        return Operation(self, f"{name}-{self.operations}", body, **options)

    def ports(self, op: Operation) -> Ports:
        deployment = self.deployment
        items = WorldClient(op, deployment.items)
        ports = deployment.make_ports(store=WorldStore(op), sqs=WorldClient(op, self.sqs), clock=op.clock, items=items)
        return Ports(
            store=ports.store,
            bodies=ports.bodies,
            queues=ports.queues,
            sqs=ports.sqs,
            states=WorldStates(op),
            items=items,
            bucket=deployment.bucket,
            clock=op.clock,
            sleep=deployment.sleep,
        )

    def enqueue(self, op: Operation, number: int, kind: Kind, **fields: Any) -> None:
        """`POST /jobs` with an idempotency key of its own; the same number again is the same request."""
        policy = {"backoff": "fixed", "base_delay": 2_000_000 if kind == "fail_long" else self.rng.choice((0, 4000)), "jitter": 0}
        body = self.requests.setdefault(
            number,
            {
                "queue": QUEUE,
                "type": "run",
                "payload": {"kind": kind},
                "idempotency_key": KEYS[number],
                "timeout": self.rng.choice(JOB_TIMEOUTS),
            }
            | {"max_attempts": 3, "retry": policy}
            | ({"callback_url": "https://shop.example.com/told"} if self.told else {})
            | fields,
        )
        self.deployment.make_service(self.ports(op)).enqueue(parse_request(parse(json.dumps(body).encode())), op=op.name)

    def id_of(self, number: int) -> str:
        return ids.derived_id(QUEUE, KEYS[number])

    def cancel(self, op: Operation, job_id: str) -> None:
        service = self.deployment.make_service(self.ports(op))
        found = service.find(job_id)
        life = self.promise.life_of(job_id)
        answer = service.cancel(found, op=op.name)
        op.judge(lambda: self.promise.answered(job_id, life, answer, self.store.jobs.get(job_id)))

    def retry(self, op: Operation, job_id: str) -> None:
        service = self.deployment.make_service(self.ports(op))
        service.retry(service.find(job_id), op=op.name)

    def redrive(self, op: Operation) -> None:
        """Every dead job runs again."""
        service = self.deployment.make_service(self.ports(op))
        for job_id in [job.id for job in self.jobs if job.status is Status.DEAD]:
            with suppress(JoblineError):
                service.retry(service.find(job_id), op=op.name)

    def purge(self, op: Operation, status: Any = None) -> None:
        """`POST /queues/{q}/purge`: every job that waits is cancelled, every one that is over is removed."""
        store, selection = WorldStore(op), Purge(queue=QUEUE, status=status)
        visit = Purging(store=store, keep=self.deployment.definitions.keep, op=op.name, dry_run=False, clock=op.clock)
        self._sweep(store, selection, visit, began=op.clock())

    def redrive_by_filter(self, op: Operation) -> None:
        """`POST /queues/{q}/redrive` of what failed, dead or about to be tried again."""
        store, selection, began = WorldStore(op), Redrive(queue=QUEUE, status="failed"), op.clock()
        self._sweep(store, selection, Redriving(store=store, op=op.name, began=began, dry_run=False, clock=op.clock), began=began)

    def _sweep(self, store: WorldStore, selection: Selection, visit: Callable[[Job], str], *, began: datetime) -> None:
        for found in store.get_many([job.id for job in self.jobs]).values():
            if not found.gone(began) and selection.wants(found, began=began):
                patiently(partial(visit, found), self.deployment.sleep)

    def reschedule(self, op: Operation, job_id: str, delay: timedelta, priority: int) -> None:
        """`PATCH /jobs/{id}`."""
        service = self.deployment.make_service(self.ports(op))
        rescheduling.reschedule(service, service.find(job_id), rescheduling.Changes(delay=delay, priority=priority), op=op.name)

    def relay(self, op: Operation, shard: int, size: int) -> None:
        reader = self.relay_readers[shard]
        batch = reader.batch(size)
        if batch:
            records = [record for record in batch if record["dynamodb"].get("NewImage", {}).get("queue") != {"S": OPERATIONS}]
            reader.settle(batch, self.deployment.make_relay(self.ports(op)).handle({"Records": records}))

    def observe(self, op: Operation, shard: int, size: int) -> None:
        reader = self.observer_readers[shard]
        batch = reader.batch(size)
        if batch:
            # Lambda repeats a batch at once; the marks that tell a repetition are kept for 15 minutes (`marks`).
            first = min(self.delivered.setdefault(record["eventID"], self.now) for record in batch)
            self.late = self.late or self.now - first > timedelta(minutes=14)
            event = {"Records": batch, "shardId": f"shard-{shard}"}
            reader.settle(batch, self.deployment.make_observer(self.ports(op)).handle(event))

    def tick(self, op: Operation) -> None:
        self.deployment.make_ticker(self.ports(op)).tick()

    def work(self, op: Operation, lane: str, size: int) -> None:
        if self.deployment.states.get(QUEUE).paused:
            return
        worker = self.deployment.make_worker(self.ports(op), WORKER)
        milliseconds = int(FUNCTION_TIMEOUT.total_seconds() * 1000)
        self._consume(
            op,
            lane_name(QUEUE, lane, ordered=self.ordered),
            size,
            lambda event: worker.handle(event, request_id=op.name, remaining_milliseconds=milliseconds),
        )

    def settle_dead_letters(self, op: Operation) -> None:
        self._consume(op, dead_letters_name(QUEUE), self.rng.choice((1, 10)), self.deployment.make_dead_letters(self.ports(op)).handle)

    def _consume(self, op: Operation, name: str, size: int, function: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        url = f"memory:///{name}"
        messages = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=size).get("Messages", [])
        if not messages:
            return
        if len(messages) < size and self.unlucky(0.05):
            messages.append(messages[0])  # the same message twice in one batch
        op.drops = {message["MessageId"]: Message.decode(message["Body"]).id for message in messages}
        answer = function({"Records": [sqs_record(message, name) for message in messages]})
        kept = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        need(kept <= set(op.drops), f"{op.name} answers about messages that it was not given: Lambda fails the whole batch")
        for message in messages:
            if message["MessageId"] not in kept:
                op.pause()
                right = message["MessageId"] in op.justified or self.superfluous(message["MessageId"])
                need(right, f"{op.name} deletes {message}, which its job needs: {self.store.jobs.get(op.drops[message['MessageId']])}")
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def superfluous(self, message_id: str) -> bool:
        """Whether nobody needs a message at this moment (R1, R9)."""
        found = next((message for message in self.sqs.messages() if message.id == message_id), None)
        if found is None:
            return True
        message = Message.decode(found.body)
        job = self.store.jobs.get(message.id)
        if job is None or job.over or job.dispatch != message.dispatch:
            return True
        if job.status is not Status.RUNNING or job.carrier == message_id:
            return False
        # A worker whose claim is answered late sees a live lease that has ended meanwhile: then the carrier settles it.
        live = job.lease_until is not None and job.lease_until + 2 * SKEW > self.now
        return live or any(other.id == job.carrier for other in self.sqs.messages())

    def expire_records(self, op: Operation) -> None:
        """DynamoDB's TTL, some time after it is due."""
        for job_id in [job.id for job in self.store.jobs.values() if job.gone(self.now)]:
            op.pause()
            found = self.store.jobs.get(job_id)
            if found is not None and found.ttl is not None and found.ttl <= self.now.timestamp():
                self.promise.removed(found)
                self.store.remove(job_id)
                self.stream.entries(0)

    # ------------------------------------------------------------------------------------------------ the end

    def unfinished(self) -> list[Job]:
        return [job for job in self.jobs if not job.over]

    @property
    def jobs(self) -> list[Job]:
        """The records of the clients' jobs. Their follow-ups are jobs like others; that each is there is what is checked of them."""
        return [job for job in self.store.jobs.values() if job.queue == QUEUE]

    def drain(self, *, rounds: int = 400) -> None:
        """No more faults, and quiet time: everything must end, and no message may be left. Raises `Broken`."""
        self.faults = 0
        self.deployment.states.resume(QUEUE, self.now)
        for number in range(rounds):
            self._once(number)
            if not self.unfinished() and not self.sqs.messages():
                break
            self.now = max(self.now + timedelta(seconds=self.rng.choice((1, 2))), self._next_moment())
        stranded = [(job.payload, job) for job in self.unfinished()]
        need(not stranded, f"stranded: {stranded} with {self.sqs.messages()}")
        need(not self.sqs.messages(), f"messages circulate for ever: {self.sqs.messages()}")
        for job_id in self.promise.accepted:
            self.promise.no_more_told(self.store.jobs.values(), job_id, f"{job_id[:8]} in the end")
        for job in self.store.jobs.values():
            for inline, reference in ((job.payload, job.payload_ref), (job.result, job.result_ref)):
                self.deployment.ports.bodies.load(inline, reference)  # raises CorruptRecord
        for job_id in self.promise.accepted:
            need(job_id in self.store.jobs or job_id in self.promise.gone, f"{job_id} vanished")
        self._compare_counters()

    def _once(self, number: int) -> None:
        def run(name: str, body: Callable[[Operation], object]) -> None:
            self.operation(name, body, threaded=False).advance()

        for shard in (0, 1):
            run("relay", lambda op, shard=shard: self.relay(op, shard, 100))
            run("observer", lambda op, shard=shard: self.observe(op, shard, 100))
        run("ticker", self.tick)
        for lane in self.lanes:
            run("worker", lambda op, lane=lane: self.work(op, lane, (1, 10)[number % 2]))
        if not self.ordered:
            run("dead_letters", self.settle_dead_letters)

    def _next_moment(self) -> datetime:
        """When something can happen next: a message shows, or a tick that has something to look at."""
        tick = self.now + timedelta(minutes=1)
        moments = [moment for name in self.sqs.queues if (moment := self.sqs.next_visible_at(name)) is not None]
        moments += [max(job.attention_at or job.created_at + timedelta(minutes=15), tick) for job in self.unfinished()]
        return min(max(min(moments, default=self.now), self.now), self.now + timedelta(hours=6))

    def _compare_counters(self) -> None:
        for shard in (0, 1):
            self.operation("observer", lambda op, shard=shard: self.observe(op, shard, 1000), threaded=False).advance()
        if self.late or any(reader.lost for reader in self.observer_readers):
            return
        stats = self.deployment.stats(QUEUE, self.now)
        truth = {status: sum(job.status is status for job in self.jobs) for status in Status}
        told = (stats.pending, stats.running, stats.retrying, stats.scheduled, stats.dead)
        true = tuple(truth[s] for s in (Status.PENDING, Status.RUNNING, Status.FAILED, Status.SCHEDULED, Status.DEAD))
        need(told == true, f"counters say {told}, but it is {true}")


LANES = ("high", "normal", "low")
WORKERS = {WORKER: Worker(name=WORKER, timeout=int(FUNCTION_TIMEOUT.total_seconds()))}
DEFINED = Queue(name=QUEUE, worker=WORKER, batch_size=10, retention_done_seconds=KEPT_SECONDS, retention_seconds=KEPT_SECONDS)

KEYS = [key for number in range(1000) if shard_of(ids.derived_id(QUEUE, key := f"key-{number}")) == 0]
"""Idempotency keys of jobs that share a partition: the repair walk has one cursor for all of them."""

WORLD: list[World] = []
"""The world whose handlers run now; a handler cannot be given it otherwise."""


FEW = 4
"""Snoozes, and continuations, that a job of the proof may have: what is rare is to be common here."""


@job_type.job("run", max_snoozes=FEW)
def _run(payload: dict[str, Any], ctx: Context) -> Any:
    """A handler that does what its job's kind says, a step at a time."""
    world = WORLD[-1]
    op = world.current
    assert op is not None

    def step() -> None:
        op.pause()
        op.ring()
        if op.clock() >= ctx.deadline:
            raise AttemptTimedOut("the alarm of the attempt's deadline rings")

    if op.clock() >= ctx.deadline:
        raise AttemptTimedOut("the alarm rang while the payload was read")
    op.judge(lambda: world.promise.started(op, ctx.job))
    kind = payload["kind"]
    step()
    if kind == "slow":
        step()
        step()
    if kind == "piecewise":
        for piece in range(ctx.cursor or 0, 4):
            step()
            ctx.checkpoint(piece + 1)
            if piece % 2:
                raise Continue  # as if the time that is left were too short
    if kind == "parent":
        child = ctx.enqueue("run", {"kind": "ok"}, key="child", timeout=JOB_TIMEOUTS[1])
        op.judge(lambda: need(child in world.promise.accepted | world.promise.gone, f"{child} was never made"))
        step()
    if kind == "reporting":
        ctx.progress(50, "half of it")
        if ctx.cancelled:
            raise Cancel("asked to stop")
    return _end(kind, op, ctx)


def _end(kind: Kind, op: Operation, ctx: Context) -> Any:
    match kind:
        case "killer":
            op.die()
        case "fail" | "fail_long":
            raise ValueError("no")
        case "flaky" if ctx.starts % 2:
            raise ValueError("this time not")
        case "snooze":
            raise Snooze(3)
        case "snooze_long":
            raise Snooze(2000)
        case "retry_after":
            raise RetryAfter(1000)
        case "cancel":
            raise Cancel("no longer wanted")
        case "fatal":
            raise NonRetryable("never")
        case "timeout":
            raise AttemptTimedOut("the alarm of the attempt's deadline rings")
        case "large":
            return "x" * 1000
    return kind
