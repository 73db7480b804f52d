"""A whole deployment in this process, on moto: the stream, the mappings' rules and the clock are ours, everything else is real.

Lambda's part is played by AWS's rules: a stream batch is repeated from its first failure; an SQS batch is deleted except for
what the function says must stay, and not at all when the function dies or answers nonsense.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import time_machine
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends

from jobline.context import Toolbox
from jobline.creation import ABSENT, new_record
from jobline.dead_letters import DeadLetters
from jobline.definitions import Definitions, Queue
from jobline.definitions import Worker as WorkerDefinition
from jobline.errors import Unavailable
from jobline.job import OPERATIONS, Job
from jobline.job_type import JobType
from jobline.log import Silence
from jobline.nudging import Nudging
from jobline.observer import Observer
from jobline.payloads import Bodies
from jobline.quarantine import Quarantine
from jobline.queue import Queues
from jobline.queue_states import QueueStates
from jobline.registry import Registry
from jobline.relay import Relay
from jobline.statements import sayable
from jobline.store import JobStore, Outcome
from jobline.ticker import Ticker
from jobline.transitions import Write, enqueued
from jobline.types import Types
from jobline.wiring import utc_now
from jobline.worker import Worker
from tests.api import Client
from tests.aws import REGION, client, create_table
from tests.factories import NOW, make_job
from tests.faults import Faults, FaultyClient, Killed

FUNCTION_TIMEOUT = timedelta(seconds=300)
VISIBILITY = 6 * FUNCTION_TIMEOUT

moto_client = cache(client)
"""Making a client takes longer than a job's whole life; moto answers one of yesterday as well as a new one."""


class MotoStore(JobStore):
    """The table on moto, which does not judge PartiQL as DynamoDB does: several writes are made one by one.

    tests/e2e has the statements, on a local AWS that does.
    """

    def create_many(self, jobs: Sequence[Job]) -> list[bool | None]:
        verdicts: list[bool | None] = []
        for job in jobs:
            try:
                verdicts.append(self._put(new_record(job, None), ABSENT) is None)
            except Unavailable:
                verdicts.append(None)
        return verdicts

    def apply_many(self, writes: Sequence[tuple[str, Write]]) -> list[Outcome | None]:
        outcomes: list[Outcome | None] = []
        for job_id, write in writes:
            try:
                outcomes.append(self.apply(job_id, write) if sayable(write) else None)
            except Unavailable:
                outcomes.append(None)
        return outcomes


class Cloud:
    """One deployment with one queue (`emails`, one lane unless told otherwise)."""

    def __init__(
        self, traveller: time_machine.Traveller, types: list[JobType], *, queue: Queue, max_receives: int, faults: Faults | None = None
    ) -> None:
        self.traveller = traveller
        self.faults = faults or Faults()
        self.raw = {service: moto_client(service) for service in ("dynamodb", "sqs", "s3")}
        faulty = {name: FaultyClient(raw, self.faults) for name, raw in self.raw.items()}
        dynamodb: Any = faulty["dynamodb"]
        sqs: Any = faulty["sqs"]
        s3: Any = faulty["s3"]
        self.queue = queue
        self.table = create_table(self.raw["dynamodb"])
        self.raw["s3"].create_bucket(Bucket="bodies", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        self.lanes = self._create_queues(max_receives)
        definitions = Definitions(
            stage="test", queues={queue.name: queue}, workers={queue.worker: WorkerDefinition(name=queue.worker, timeout=300)}
        )
        self.store = JobStore(self.raw["dynamodb"], self.table)
        store = MotoStore(dynamodb, self.table)
        queues = Queues(sqs, self.url(self.lanes["dlq"]).removesuffix(self.lanes["dlq"]))
        log = Silence()
        known = Types.from_json(json.dumps({"version": 1, "workers": {queue.worker: Registry(types).describe()}}))
        self.relay = Relay(
            queues=queues,
            lanes={queue.name: {lane: self.lanes[lane] for lane in queue.lane_names}},
            set_aside=self.lanes["set-aside"],
            clock=utc_now,
            log=log,
        )
        self.bodies = Bodies(dynamodb, self.table, lambda: s3, "bodies")
        self.worker = Worker(
            registry=Registry(types),
            types=known.of_worker(queue.worker),
            store=store,
            bodies=self.bodies,
            queues=queues,
            quarantine=Quarantine(lambda: s3, "bodies"),
            tools=Toolbox(client=client, stage="test", bucket="bodies", settings={}, secrets={}, clock=utc_now),
            keep=definitions.keep,
            clock=utc_now,
            uniform=lambda low, high: (low + high) / 2,
            log=log,
            handler_log=log,
            threads=definitions.threads,
            sleep=lambda seconds: self.pass_time(timedelta(seconds=seconds)),
        )
        self.ticker = Ticker(
            store=store, states=QueueStates(dynamodb, self.table), queues=[queue.name], keep=definitions.keep, clock=utc_now, log=log
        )
        self.dead_letters = DeadLetters(
            store=store, queues=queues, quarantine=Quarantine(lambda: s3, "bodies"), keep=definitions.keep, clock=utc_now, log=log
        )
        self.definitions = definitions
        self.api = Client(
            store,
            self.bodies,
            definitions=definitions,
            types=known,
            now=utc_now,
        )
        nudging = Nudging(store=store, clock=utc_now, log=log)
        self.observer = Observer(dynamodb=dynamodb, table=self.table, bodies=self.bodies, nudging=nudging, clock=utc_now, log=log)
        self._stream_read = 0
        self._stream_observed = 0
        self._requests = 0

    def _create_queues(self, max_receives: int) -> dict[str, str]:
        sqs = self.raw["sqs"]
        for name in ("emails-dlq", "set-aside"):
            sqs.create_queue(QueueName=name)
        arn = sqs.get_queue_attributes(QueueUrl=self.url("emails-dlq"), AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        for lane in self.queue.lane_names:
            attributes = {
                "VisibilityTimeout": str(int(VISIBILITY.total_seconds())),
                "RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": max_receives}),
            }
            sqs.create_queue(QueueName=f"emails-{lane}", Attributes=attributes)
        return {lane: f"emails-{lane}" for lane in self.queue.lane_names} | {"dlq": "emails-dlq", "set-aside": "set-aside"}

    def url(self, name: str) -> str:
        return str(self.raw["sqs"].get_queue_url(QueueName=name)["QueueUrl"])

    # ------------------------------------------------------------------------------------------------ time

    @property
    def now(self) -> datetime:
        return utc_now()

    def pass_time(self, by: timedelta) -> None:
        self.traveller.shift(by)

    # ------------------------------------------------------------------------------------------------ clients' side

    def enqueue(self, type: str, payload: Any = None, **fields: Any) -> str:
        """Creates a record as the api does; answers its id."""
        self.faults.new_process()
        now = self.now
        given: dict[str, Any] = {
            "created_at": now,
            "scheduled_at": now,
            "queue": self.queue.name,
            "type": type,
            "payload": json.dumps(payload),
        }
        given |= {"retry": '{"backoff":"fixed","base_delay":5000,"max_delay":100000000,"jitter":0}'} | fields
        job = enqueued(make_job(**given), now=now)
        self.store.create(job, now=now)
        return job.id

    def job(self, job_id: str | None = None) -> Job:
        found = self.store.get(job_id or make_job().id)
        assert found is not None
        return found

    # ------------------------------------------------------------------------------------------------ what AWS does

    def stream(self) -> list[dict[str, Any]]:
        """Every change of the table so far, as Lambda would pass it on.

        Read from moto itself: its DynamoDB Streams API does not speak the protocol of the current boto3.
        """
        shard = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables[self.table].stream_shard
        assert shard is not None
        return [as_delivered(record.to_json()) for record in shard.items]

    def run_relay(self) -> None:
        """One stream batch; a crash or a named failure leaves the rest for the next run."""
        records = self.stream()[self._stream_read :][:100]
        images = [r["dynamodb"].get("NewImage", {}) for r in records]
        asks = [image.get("status", {}).get("S") in ("pending", "failed") and is_client_s(image) for image in images]
        wanted = [record for record, asking in zip(records, asks, strict=True) if asking]
        answer = self._invoke(lambda: self.relay.handle({"Records": wanted})) if wanted else {"batchItemFailures": []}
        if answer is None:
            return
        failures = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        self._stream_read += min((numbers.index(failure) for failure in failures), default=len(records))

    def run_observer(self) -> bool:
        """The whole stream since the last time, as one batch; whether it was taken, else the same comes again, and more."""
        records = self.stream()[self._stream_observed :]
        images = [[r["dynamodb"].get(image, {}) for image in ("OldImage", "NewImage")] for r in records]
        wanted = [record for record, either in zip(records, images, strict=True) if any("dispatch" in image for image in either)]
        if wanted and self._invoke(lambda: self.observer.handle({"Records": wanted})) is None:
            return False
        self._stream_observed += len(records)
        return True

    def expire_records(self) -> None:
        """What DynamoDB does some time after a `ttl`."""
        for item in self.raw["dynamodb"].scan(TableName=self.table, ConsistentRead=True)["Items"]:
            if "ttl" in item and int(item["ttl"]["N"]) <= self.now.timestamp():
                self.raw["dynamodb"].delete_item(TableName=self.table, Key={"id": item["id"]})

    def run_worker(self, *, remaining: timedelta = FUNCTION_TIMEOUT) -> int:
        """One batch from each lane; answers how many messages were received."""
        handled = 0
        for lane in self.queue.lane_names:
            self._requests += 1
            request_id, milliseconds = f"request-{self._requests}", int(remaining.total_seconds() * 1000)
            handled += self._consume(
                self.lanes[lane],
                self.queue.batch_size,
                partial(self.worker.handle, request_id=request_id, remaining_milliseconds=milliseconds),
            )
        return handled

    def run_dead_letters(self) -> int:
        return self._consume(self.lanes["dlq"], 10, self.dead_letters.handle)

    def run_ticker(self) -> None:
        def tick() -> dict[str, Any]:
            self.ticker.tick()
            return {}

        self._invoke(tick)

    def _invoke(self, function: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """Runs a function in a fresh process; `None` when it died or raised."""
        self.faults.new_process()
        try:
            return function()
        except (Killed, Exception) as error:
            if isinstance(error, AssertionError):
                raise
            return None

    def _consume(self, name: str, size: int, function: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
        sqs, url = self.raw["sqs"], self.url(name)
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=size).get("Messages", [])
        if not messages:
            return 0
        event = {"Records": [sqs_record(message, name) for message in messages]}
        answer = self._invoke(lambda: function(event))
        if answer is None:
            return len(messages)
        kept = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        if kept - {message["MessageId"] for message in messages}:
            return len(messages)  # names a message that it was not given: Lambda fails the whole batch
        for message in messages:
            if message["MessageId"] not in kept:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return len(messages)

    # ------------------------------------------------------------------------------------------------ letting it run

    def settle(self, *, ticks: bool = False, limit: timedelta = timedelta(minutes=5), pace: timedelta = timedelta(seconds=1)) -> None:
        """Lets time pass until no job is open and no message is left, or `limit` is over."""
        end = self.now + limit
        minute = self.now
        while self.now < end:
            self.run_relay()
            self.run_worker()
            self.run_dead_letters()
            if ticks and self.now >= minute:
                self.run_ticker()
                minute += timedelta(minutes=1)
            if self.quiet():
                return
            self.pass_time(pace)

    def quiet(self) -> bool:
        items = self.raw["dynamodb"].scan(TableName=self.table, ConsistentRead=True)["Items"]
        over = all(item["status"]["S"] in ("done", "dead", "cancelled", "expired") for item in items if is_client_s(item))
        return over and self.messages() == 0 and self._stream_read == len(self.stream())

    def messages(self) -> int:
        """Messages anywhere in the queue's lanes and dead-letter queue: visible, hidden or delayed."""
        kinds = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
        names = [*(self.lanes[lane] for lane in self.queue.lane_names), self.lanes["dlq"]]
        found = [self.raw["sqs"].get_queue_attributes(QueueUrl=self.url(name), AttributeNames=kinds)["Attributes"] for name in names]
        return sum(int(value) for attributes in found for value in attributes.values())


def is_client_s(item: Mapping[str, Any]) -> bool:
    """Whether an item is a client's job: follow-ups are made here, and nobody runs them."""
    return "dispatch" in item and item.get("queue") != {"S": OPERATIONS}


def as_delivered(record: dict[str, Any]) -> dict[str, Any]:
    """A stream record of moto as Lambda passes it: the time of the write as a number of seconds."""
    written = record["dynamodb"]["ApproximateCreationDateTime"].replace(tzinfo=UTC)
    return record | {"dynamodb": record["dynamodb"] | {"ApproximateCreationDateTime": written.timestamp()}}


def sqs_record(message: dict[str, Any], queue_name: str) -> dict[str, Any]:
    """A received message as a record of Lambda's SQS event."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:eu-central-1:123456789012:{queue_name}",
        "awsRegion": "eu-central-1",
    }


@contextmanager
def cloud(*types: JobType, max_receives: int = 10, faults: Faults | None = None, start: datetime = NOW, **queue: Any) -> Iterator[Cloud]:
    """A fresh deployment whose clock stands still unless it is moved."""
    definition = Queue(name="emails", worker="notifications", **({"lanes": 1} | queue))
    with time_machine.travel(start, tick=False) as traveller, mock_aws():
        yield Cloud(traveller, list(types), queue=definition, max_receives=max_receives, faults=faults)


ROOT = Path(__file__).parent.parent
