"""A whole deployment in this process: the real api, relay, workers, ticker, dead_letters and observer over tables and queues in memory.

No AWS, no threads, no waiting: time stands still until it is moved, chance comes from a seed, and the same calls always give the
same history. Lambda's part is played by AWS's rules: a stream batch comes again from its first failure; of an SQS batch everything
is deleted but what the function says must stay, and nothing at all when it raises.

deployment = MemoryDeployment(definitions, {"notifications": [send_email]}, start=datetime(2026, 3, 1, tzinfo=UTC))
job = deployment.enqueue("send_email", {"to": "ada@example.com"}, delay="1h")
deployment.advance("1h")
assert deployment.job(job.id).status is Status.DONE
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Final, cast

import msgspec

from jobline.children import Children
from jobline.context import Toolbox
from jobline.counter_items import CounterItems
from jobline.dead_letters import DeadLetters
from jobline.definitions import OPERATIONS, Definitions, Queue
from jobline.direct import Direct
from jobline.enqueueing import Enqueueing
from jobline.errors import UnknownType
from jobline.gauges import Gauges
from jobline.job import Job
from jobline.job_type import JobType
from jobline.log import Log, Silence
from jobline.memory import MemoryStore
from jobline.memory_items import MemoryBucket, MemoryItems, MemoryStates
from jobline.memory_queues import MemoryQueues
from jobline.memory_stream import MemoryStream, StreamReader
from jobline.nudging import Nudging
from jobline.observer import Observer
from jobline.operator_tools import OperatorTools
from jobline.payloads import Bodies
from jobline.quarantine import Quarantine
from jobline.queue import FIFO, Queues
from jobline.queue_states import States
from jobline.record_reader import RecordReader
from jobline.recounting import recount_job
from jobline.redaction import Redactor
from jobline.registry import Registry
from jobline.relay import Relay
from jobline.replies import Replies
from jobline.request import parse_request
from jobline.service import Service
from jobline.stats import counters_key, decode_counters, queue_stats
from jobline.store import Store
from jobline.strict_json import parse
from jobline.telling import Telling, type_finder
from jobline.ticker import WALK_BEHIND, Ticker
from jobline.times import format_instant, parse_duration
from jobline.topic_items import TopicItems
from jobline.topics import Topics
from jobline.transitions import PROMOTE_AHEAD
from jobline.types import TypeInfo, Types
from jobline.worker import Worker

MOST_RECEIVES: Final = 10
"""Receives before a message goes to the dead-letter queue, as deployed."""
VISIBILITY: Final = 6
"""Times the worker's timeout, as deployed ("Configuring an SQS queue", AWS Lambda Developer Guide)."""
RELAY_BATCH: Final = 100
OBSERVER_BATCH: Final = 1000
DEAD_LETTERS_BATCH: Final = 10
SET_ASIDE: Final = "set-aside"
TICK: Final = timedelta(minutes=1)
MOST_ROUNDS: Final = 10_000
"""Rounds (a batch from every lane each) in which something happens without any time passing; so many mean that it never ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What a function reaches the world through; a test may put its own between a function and the deployment."""

    store: Store
    bodies: Bodies
    queues: Queues
    sqs: Any
    """An SQS client."""
    states: States
    items: Any
    """The table's other items, as a DynamoDB client."""
    bucket: Any
    """The data bucket, as an S3 client."""
    clock: Callable[[], datetime]
    sleep: Callable[[float], None]


def lane_name(queue: str, lane: str, *, ordered: bool = False) -> str:
    """The SQS queue of a lane."""
    return f"{queue}-{lane}{FIFO if ordered else ''}"


def dead_letters_name(queue: str) -> str:
    """The SQS dead-letter queue of a queue."""
    return f"{queue}-dead-letters"


def reply_queue_name(reply: str) -> str:
    """The SQS queue of a reply queue."""
    return f"reply-{reply}"


class MemoryDeployment:
    """One stage. `types` has the handlers of each worker that the definitions name."""

    operator_tools: ClassVar[type[OperatorTools]] = OperatorTools
    """What the handlers of the operations worker have at hand."""

    def __init__(
        self,
        definitions: Definitions,
        types: Mapping[str, Iterable[JobType]],
        *,
        start: datetime,
        seed: int = 0,
        most_receives: int = MOST_RECEIVES,
        stream_shards: int = 1,
        client: Callable[[str], Any] | None = None,
        settings: Mapping[str, str] | None = None,
        log: Log | None = None,
        handler_log: Any = None,
        redactor: Redactor | None = None,
    ) -> None:
        """`client` makes what `ctx.aws(service)` gives handlers; `settings` go before what their `worker.toml` says under `[environment]`.

        `handler_log` is `ctx.logger`; `log` is, when that is left out. `redactor` is told what those must not say.
        """
        self.definitions = definitions
        self.registries = {name: Registry(types.get(name, ())) for name in definitions.workers}
        described = {name: registry.describe() for name, registry in self.registries.items()}
        self.types = Types(version=1, workers=msgspec.convert(described, dict[str, dict[str, TypeInfo]]))
        self.now = start
        self.random = random.Random(seed)  # noqa: S311  a test's luck, to be repeated
        self.log = log or Silence()
        self.redactor = redactor or Redactor()
        self.handler_log = self.log if handler_log is None else handler_log
        self.store = MemoryStore()
        self.sqs = MemoryQueues(self.clock)
        self.items = MemoryItems()
        self.bucket = MemoryBucket()
        self.states = MemoryStates()
        self.stream = MemoryStream(self.store, self.clock, shards=stream_shards)
        self.relay_readers = self.stream.readers()
        self.observer_readers = self.stream.readers()
        self.ports = self.make_ports(store=self.store, sqs=self.sqs, clock=self.clock)
        self._client = client or _no_client
        self._settings = settings or {}
        self._create_queues(most_receives)
        self._observer = self.make_observer(self.ports)
        self._requests = 0
        self._next_tick = start + TICK

    def clock(self) -> datetime:
        return self.now

    def _create_queues(self, most_receives: int) -> None:
        self.sqs.create(SET_ASIDE)
        for reply in self.definitions.replies:
            self.sqs.create(reply_queue_name(reply))
        for queue in self.definitions.queues.values():
            visibility = VISIBILITY * timedelta(seconds=self.definitions.workers[queue.worker].timeout)
            if queue.ordered:
                self.sqs.create(self.lanes(queue)["normal"], visibility=visibility)
                continue
            dead_letters = dead_letters_name(queue.name)
            self.sqs.create(dead_letters, visibility=timedelta(seconds=180))
            for name in self.lanes(queue).values():
                self.sqs.create(name, visibility=visibility, most_receives=most_receives, dead_letters=dead_letters)

    @staticmethod
    def lanes(queue: Queue) -> dict[str, str]:
        """The SQS queue of each of a queue's lanes."""
        return {lane: lane_name(queue.name, lane, ordered=queue.ordered) for lane in queue.lane_names}

    @property
    def _dead_letters(self) -> list[str]:
        """The SQS dead-letter queues; an ordered queue has none."""
        return [dead_letters_name(queue.name) for queue in self.definitions.queues.values() if not queue.ordered]

    # ------------------------------------------------------------------------------------------------ the functions

    def make_ports(self, *, store: Store, sqs: Any, clock: Callable[[], datetime], items: Any = None) -> Ports:
        """Ports onto this deployment, through another store, SQS client, clock or table client."""
        items = items or self.items
        return Ports(
            store=store,
            bodies=Bodies(items, "memory", lambda: cast(Any, self.bucket), "memory", lambda: clock().timestamp()),
            queues=Queues(sqs, "memory:///"),
            sqs=sqs,
            states=self.states,
            items=items,
            bucket=self.bucket,
            clock=clock,
            sleep=self.sleep,
        )

    def make_service(self, ports: Ports) -> Service:
        return Service(
            store=ports.store,
            bodies=ports.bodies,
            definitions=self.definitions,
            types=self.types,
            read_stats=self.stats,
            now=ports.clock,
            random=self.random.randbytes,
            direct=self.make_direct(ports),
        )

    def make_direct(self, ports: Ports) -> Direct:
        lanes = {queue.name: self.lanes(queue) for queue in self.definitions.queues.values() if queue.direct}
        return Direct(queues=lambda: ports.queues, lanes=lanes, clock=ports.clock, log=self.log)

    def make_children(self, ports: Ports) -> Children:
        return Children(
            Enqueueing(
                store=ports.store,
                bodies=ports.bodies,
                definitions=self.definitions,
                types=self.types,
                now=ports.clock,
                random=self.random.randbytes,
                direct=self.make_direct(ports),
            )
        )

    def make_tools(self, ports: Ports, worker: str) -> Toolbox:
        counters = CounterItems(ports.items, "memory")
        richer = partial(
            self.operator_tools,
            store=ports.store,
            counters=counters,
            keep=self.definitions.keep,
            telling=Telling(store=ports.store, bodies=ports.bodies, type_of=type_finder(self.definitions, self.types)),
            replies=Replies(lambda: ports.sqs, {name: f"memory:///{reply_queue_name(name)}" for name in self.definitions.replies}),
            topics=self.make_topics(ports),
            sleep=ports.sleep,
        )
        make = richer if worker == OPERATIONS else Toolbox
        return make(
            client=self._client,
            stage=self.definitions.stage,
            bucket="memory",
            settings=self.settings(worker),
            secrets=self.secrets(worker),
            clock=ports.clock,
            children=self.make_children(ports),
            redactor=self.redactor,
            records=RecordReader(ports.store, self.definitions),
        )

    def secrets(self, worker: str) -> Mapping[str, str]:
        """What the worker's toolbox finds secrets by: the ARN of each name."""
        return self.definitions.workers[worker].secrets

    def make_topics(self, ports: Ports) -> Topics:
        return Topics(definitions=self.definitions, store=TopicItems(ports.items, "memory"))

    def settings(self, worker: str) -> Mapping[str, str]:
        """What a worker's handlers read with `ctx.setting(name)`."""
        return {**self.definitions.workers[worker].environment, **self._settings}

    def make_relay(self, ports: Ports) -> Relay:
        lanes = {queue.name: self.lanes(queue) for queue in self.definitions.queues.values()}
        return Relay(queues=ports.queues, lanes=lanes, set_aside=SET_ASIDE, clock=ports.clock, log=self.log)

    def make_worker(self, ports: Ports, name: str) -> Worker:
        return Worker(
            registry=self.registries[name],
            types=self.types.of_worker(name),
            store=ports.store,
            bodies=ports.bodies,
            queues=ports.queues,
            quarantine=self.make_quarantine(ports),
            tools=self.make_tools(ports, name),
            keep=self.definitions.keep,
            clock=ports.clock,
            uniform=self.random.uniform,
            log=self.log,
            handler_log=self.handler_log,
            sleep=ports.sleep,
        )

    def make_ticker(self, ports: Ports) -> Ticker:
        return Ticker(
            store=ports.store,
            states=ports.states,
            queues=self.definitions.queues,
            keep=self.definitions.keep,
            clock=ports.clock,
            log=self.log,
            counters=CounterItems(ports.items, "memory").peek,
            recount_job=self._recount_job if OPERATIONS in self.definitions.queues else None,
            gauges=Gauges(self.definitions, stack="memory", clock=ports.clock, log=self.log),
        )

    def _recount_job(self, queue: str, since: int, now: datetime) -> Job:
        return recount_job(queue, since, self.definitions.queues[OPERATIONS], now=now)

    def make_dead_letters(self, ports: Ports) -> DeadLetters:
        return DeadLetters(
            store=ports.store,
            queues=ports.queues,
            quarantine=self.make_quarantine(ports),
            keep=self.definitions.keep,
            clock=ports.clock,
            log=self.log,
        )

    @staticmethod
    def make_quarantine(ports: Ports) -> Quarantine:
        return Quarantine(lambda: ports.bucket, "memory")

    def make_observer(self, ports: Ports) -> Observer:
        nudging = Nudging(store=ports.store, clock=ports.clock, log=self.log)
        return Observer(dynamodb=ports.items, table="memory", bodies=ports.bodies, nudging=nudging, clock=ports.clock, log=self.log)

    # ------------------------------------------------------------------------------------------------ clients' side

    @property
    def service(self) -> Service:
        """The API without HTTP."""
        return self.make_service(self.ports)

    def enqueue(self, type: str, payload: Any = None, *, queue: str | None = None, **fields: Any) -> Job:
        """The record that `POST /jobs` makes of these fields, with all its checks (or the one that its idempotency key made).

        Without `queue`, the only one that takes this type. `payload=None` sends an empty object; times may be `datetime`,
        durations `timedelta`. Raises what the API would answer as an error.
        """
        body = {"queue": queue or self.queue_of(type), "type": type} | {name: _plain(value) for name, value in fields.items()}
        if payload is not None:
            body["payload"] = msgspec.to_builtins(payload)
        self._requests += 1
        request = parse_request(parse(json.dumps(body).encode()))
        return self.service.enqueue(request, op=f"request-{self._requests}").job

    def queue_of(self, type: str) -> str:
        """The only queue whose worker has this type; raises UnknownType when there is none, or a choice."""
        names = [queue.name for queue in self.definitions.queues.values() if type in self.registries[queue.worker].types]
        if len(names) != 1:
            raise UnknownType(f"{type!r} can go to {', '.join(sorted(names)) or 'no queue'}: say queue=")
        return names[0]

    def job(self, job_id: str) -> Job:
        """The record now; KeyError when there is none."""
        return self.store.jobs[job_id]

    def result(self, job_id: str) -> Any:
        """What the handler returned, as JSON gives it back; `None` while there is no result."""
        job = self.job(job_id)
        text = self.ports.bodies.load(job.result, job.result_ref)
        return None if text is None else json.loads(text)

    def stats(self, queue: str, now: datetime) -> Any:
        """A queue's numbers as of the observer's last run (`stats.QueueStats`)."""
        counters = decode_counters(cast(Any, self.items.items.get(counters_key(queue), {})))
        return queue_stats(counters, self.states.get(queue), now=now)

    # ------------------------------------------------------------------------------------------------ what AWS does

    def run_relay(self) -> int:
        """Passes each shard's next records to the relay; how many they were."""
        return sum(self.feed(reader, self.make_relay(self.ports).handle, RELAY_BATCH) for reader in self.relay_readers)

    def run_observer(self) -> int:
        return sum(self.feed(reader, self._observer.handle, OBSERVER_BATCH) for reader in self.observer_readers)

    @staticmethod
    def feed(reader: StreamReader, function: Callable[[dict[str, Any]], Mapping[str, Any]], size: int) -> int:
        """One stream batch: the function sees it again, from its first failure, until it says that all is well."""
        batch = reader.batch(size)
        if batch:
            reader.settle(batch, function({"Records": batch}))
        return len(batch)

    def run_workers(self) -> int:
        """One batch from every lane whose queue is not paused; how many messages were received."""
        received = 0
        for queue in self.definitions.queues.values():
            worker = self.make_worker(self.ports, queue.worker)
            milliseconds = self.definitions.workers[queue.worker].timeout * 1000
            for name in self.lanes(queue).values():
                if self.states.get(queue.name).paused:
                    continue
                self._requests += 1
                function = partial(worker.handle, request_id=f"request-{self._requests}", remaining_milliseconds=milliseconds)
                received += self.consume(name, queue.batch_size, function)
        return received

    def run_dead_letters(self) -> int:
        function = self.make_dead_letters(self.ports).handle
        return sum(self.consume(name, DEAD_LETTERS_BATCH, function) for name in self._dead_letters)

    def run_ticker(self) -> None:
        self.make_ticker(self.ports).tick()

    def consume(self, name: str, size: int, function: Callable[[dict[str, Any]], Mapping[str, Any]]) -> int:
        """One batch of an SQS queue, as Lambda's event source mapping passes it on; how many messages it had."""
        url = f"memory:///{name}"
        messages = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=size).get("Messages", [])
        if not messages:
            return 0
        answer = function({"Records": [sqs_record(message, name) for message in messages]})
        kept = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        if kept <= {message["MessageId"] for message in messages}:  # else the answer is malformed, and the whole batch stays
            for message in messages:
                if message["MessageId"] not in kept:
                    self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return len(messages)

    # ------------------------------------------------------------------------------------------------ letting it run

    def run_until_idle(self, most_rounds: int = MOST_ROUNDS) -> None:
        """Runs everything that can run at this moment. Raises RuntimeError when that has not ended after so many rounds."""
        for _ in range(most_rounds):
            if not self.run_relay() + self.run_workers() + self.run_dead_letters() and not self.run_observer():
                return
        raise RuntimeError(f"after {most_rounds} rounds there is still something to run, and no time has passed")

    def advance(self, duration: timedelta | float | str) -> None:
        """Lets so much time pass, running all that falls due at its moment: messages, ticks, retries, expiry."""
        end = self.now + (duration if isinstance(duration, timedelta) else parse_duration(duration))
        self.run_until_idle()
        while (moment := self._next_moment()) <= end:
            self.now = max(self.now, moment)
            if self.now >= self._next_tick:
                self.run_ticker()
                self._next_tick += TICK * ((self.now - self._next_tick) // TICK + 1)
            self.run_until_idle()
        self.now = max(self.now, end)
        self._next_tick += TICK * max(0, (self.now - self._next_tick) // TICK + 1)

    def _next_moment(self) -> datetime:
        """When something can happen next: a message shows, or the ticker has a job to look after."""
        lanes = [
            name
            for queue in self.definitions.queues.values()
            for name in self.lanes(queue).values()
            if not self.states.get(queue.name).paused
        ]
        names = [*lanes, *self._dead_letters]
        moments = [moment for name in names if (moment := self.sqs.next_visible_at(name)) is not None]
        looks = [
            job.created_at + WALK_BEHIND if job.attention_at is None else job.attention_at - PROMOTE_AHEAD
            for job in self.store.jobs.values()
            if not job.over
        ]
        if looks:  # a tick that would find nothing to do is left out
            early = max(min(looks) - self._next_tick, timedelta())
            moments.append(self._next_tick + TICK * -(-early // TICK))
        return min(moments, default=datetime.max.replace(tzinfo=self.now.tzinfo))

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def sqs_record(message: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A received message as a record of Lambda's SQS event ("Using Lambda with Amazon SQS", AWS Lambda Developer Guide)."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:eu-central-1:123456789012:{name}",
        "awsRegion": "eu-central-1",
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_instant(value)
    return value.total_seconds() if isinstance(value, timedelta) else msgspec.to_builtins(value)


def _no_client(service: str) -> Any:
    raise AssertionError(f"the handler uses {service}: give MemoryDeployment a client= factory")
