"""The SQS queues of one Jobline queue: its lanes, and the dead-letter queue under them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.acknowledgements import acknowledge
from infra.constructs.job_function import NO_KEY, JobFunction
from infra.cost_tags import QUEUE, tag
from infra.settings import StageSettings
from jobline.definitions import Lane, Queue

MAX_RECEIVE_COUNT: Final = 10
"""Receives before a message goes to the dead-letter queue. Throttling, polling and hiding spend receives too, and the job's own
attempts are counted in its record; so this is high, and the dead-letter queue is normally empty."""
VISIBILITY_FACTOR: Final = 6
"""A message stays hidden for this many function timeouts, as AWS advises (Using Lambda with Amazon SQS); the worker shortens it."""
LONGEST_RETENTION: Final = Duration.days(14)
DATA_KEY_REUSE: Final = Duration.hours(1)
"""For how long SQS asks KMS for no new data key: a busy queue costs 2,000 KMS requests a month, not 26,000 as by default."""
DEAD_LETTERS_AT_A_TIME: Final = 2
"""Invocations per dead-letter queue: the least that a mapping takes."""


class JobQueue(Construct):
    """One standard queue per lane, all redriven to one dead-letter queue; or one FIFO queue without any, if the queue is ordered.

    A dead-letter queue would take the head of a group away and let those behind it pass (PROTOCOL.md, R28).
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        queue: Queue,
        settings: StageSettings,
        worker: JobFunction,
        dead_letters: JobFunction,
        key: kms.IKey | None,
    ) -> None:
        """`worker` runs the jobs, `dead_letters` settles what SQS gave up on: their timeouts decide how long messages stay hidden.

        `key` encrypts the messages; without one SQS's own key does.
        """
        super().__init__(scope, construct_id)
        self._settings = settings
        self._queue = queue
        self._key = key
        tag(self, QUEUE, queue.name)
        self.dead_letters = None if queue.ordered else self._sqs_queue("dead", hidden_for=dead_letters.timeout)
        if self.dead_letters:
            acknowledge(
                self.dead_letters, {"Serverless-SQSRedrivePolicy": "It is the dead-letter queue; its messages are consumed, and settled."}
            )
        self.lanes: Mapping[Lane, sqs.Queue] = {
            lane: self._lane(lane, worker.timeout, self.dead_letters) if self.dead_letters else self._ordered_lane(worker.timeout)
            for lane in queue.lane_names
        }
        self.mappings: Mapping[Lane, lambda_.EventSourceMapping] = {
            lane: self._feed(worker, lane_queue, batch_size=queue.batch_size, at_a_time=queue.lane_concurrency[lane])
            for lane, lane_queue in self.lanes.items()
        }
        """What delivers each lane to the worker; a pause switches them off."""
        if self.dead_letters:
            self._feed(dead_letters, self.dead_letters, batch_size=10, at_a_time=DEAD_LETTERS_AT_A_TIME)

    def _ordered_lane(self, worker_timeout: Duration) -> sqs.Queue:
        """Its name is another lane's than a standard queue's: what turns a queue into the other kind makes a new resource of it."""
        queue = self._sqs_queue(
            "ordered",
            hidden_for=worker_timeout,
            redrive_allow_policy=sqs.RedriveAllowPolicy(redrive_permission=sqs.RedrivePermission.DENY_ALL),
            fifo=True,
        )
        no_redrive = "A dead-letter queue would take the head of a group away and let those behind it pass (PROTOCOL.md, R28)."
        acknowledge(queue, {"AwsSolutions-SQS3": no_redrive, "Serverless-SQSRedrivePolicy": no_redrive})
        return queue

    def _lane(self, lane: Lane, worker_timeout: Duration, dead_letters: sqs.Queue) -> sqs.Queue:
        return self._sqs_queue(
            lane,
            hidden_for=worker_timeout,
            dead_letter_queue=sqs.DeadLetterQueue(max_receive_count=MAX_RECEIVE_COUNT, queue=dead_letters),
            redrive_allow_policy=sqs.RedriveAllowPolicy(redrive_permission=sqs.RedrivePermission.DENY_ALL),
        )

    def _sqs_queue(
        self,
        name: str,
        *,
        hidden_for: Duration,
        dead_letter_queue: sqs.DeadLetterQueue | None = None,
        redrive_allow_policy: sqs.RedriveAllowPolicy | None = None,
        fifo: bool = False,
    ) -> sqs.Queue:
        # High throughput, so that a group has the 300 requests a second, not the queue (Amazon SQS Developer Guide, "FIFO throughput").
        by_group = {
            "fifo": True,
            "deduplication_scope": sqs.DeduplicationScope.MESSAGE_GROUP,
            "fifo_throughput_limit": sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
        }
        queue = sqs.Queue(
            self,
            name,
            visibility_timeout=Duration.seconds(int(hidden_for.to_seconds()) * VISIBILITY_FACTOR),
            retention_period=LONGEST_RETENTION,
            enforce_ssl=self._settings.tls_only,
            dead_letter_queue=dead_letter_queue,
            redrive_allow_policy=redrive_allow_policy,
            **encrypted_by(self._key),
            **(by_group if fifo else {}),  # type: ignore[arg-type]
        )
        acknowledge(queue, {} if self._key else {"CKV_AWS_27": NO_KEY})
        return queue

    def _feed(self, function: JobFunction, source: sqs.Queue, *, batch_size: int, at_a_time: int) -> lambda_.EventSourceMapping:
        # `enabled` is left out on purpose: a deploy that changes the mapping then says nothing about a pause (docs/decisions).
        mapping = lambda_.EventSourceMapping(
            self,
            f"{source.node.id}-mapping",
            target=function.function,
            event_source_arn=source.queue_arn,
            batch_size=batch_size,
            max_concurrency=at_a_time,
            report_batch_item_failures=True,
        )
        unknown = "Lambda knows no such destination for an SQS queue: what fails stays in the queue, whose redrive policy decides."
        acknowledge(mapping, {"Serverless-LambdaEventSourceMappingDestination": unknown})
        return mapping


def encrypted_by(key: kms.IKey | None) -> dict[str, Any]:
    """The properties of an SQS queue whose messages `key` encrypts, or SQS's own key without one."""
    if key is None:
        return {"encryption": sqs.QueueEncryption.SQS_MANAGED}
    return {"encryption": sqs.QueueEncryption.KMS, "encryption_master_key": key, "data_key_reuse": DATA_KEY_REUSE}


def allow_send(function: JobFunction, *queues: sqs.Queue) -> None:
    """Lets the function send messages to these queues."""
    function.allow(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[queue.queue_arn for queue in queues]))


def allow_consume(function: JobFunction, *queues: sqs.Queue) -> None:
    """Lets the function's mappings receive and delete messages of these queues, and the function hide them."""
    actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"]
    function.allow(iam.PolicyStatement(actions=actions, resources=[queue.queue_arn for queue in queues]))


def allow_pause(function: JobFunction, *queues: JobQueue) -> None:
    """Lets the function switch the mappings of these queues' lanes off and on."""
    stack = Stack.of(function)
    arns = [
        stack.format_arn(
            service="lambda",
            resource="event-source-mapping",
            resource_name=mapping.event_source_mapping_id,
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        for queue in queues
        for mapping in queue.mappings.values()
    ]
    function.allow(iam.PolicyStatement(actions=["lambda:UpdateEventSourceMapping"], resources=arns))
