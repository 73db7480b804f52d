"""The SQS queues in which ends of jobs are told: those that are made with the stack, and those that are there."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import CfnOutput
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.acknowledgements import acknowledge
from infra.constructs.job_function import NO_KEY, JobFunction
from infra.constructs.job_queue import LONGEST_RETENTION, allow_send, encrypted_by
from infra.settings import StageSettings
from jobline.definitions import ReplyQueue


class ReplyQueues(Construct):
    """Queues that callers receive from; Jobline only sends."""

    def __init__(
        self, scope: Construct, construct_id: str, *, declared: Mapping[str, ReplyQueue], settings: StageSettings, key: kms.IKey | None
    ) -> None:
        """`key` encrypts what is made here; without one SQS's own key does."""
        super().__init__(scope, construct_id)
        self._theirs = [reply.queue for reply in declared.values() if reply.queue is not None]
        self.made = {name: self._queue(name, settings, key) for name, reply in declared.items() if reply.queue is None}
        self.urls: Mapping[str, str] = {
            name: self.made[name].queue_url if reply.queue is None else _url(reply.queue) for name, reply in declared.items()
        }
        """The URL of each queue, by the name that `reply_to` says."""
        for name, queue in self.made.items():
            output = CfnOutput(self, f"{name}-url", value=queue.queue_url, description=f"Where replies to {name} are received")
            output.override_logical_id(f"ReplyQueueUrl{_words(name)}")

    def allow_send(self, function: JobFunction) -> None:
        """Lets the function send messages to these queues, and to no other."""
        if self.made:
            allow_send(function, *self.made.values())
        if self._theirs:
            function.allow(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=self._theirs))

    def _queue(self, name: str, settings: StageSettings, key: kms.IKey | None) -> sqs.Queue:
        queue = sqs.Queue(
            self,
            name,
            retention_period=LONGEST_RETENTION,
            enforce_ssl=settings.tls_only,
            redrive_allow_policy=sqs.RedriveAllowPolicy(redrive_permission=sqs.RedrivePermission.DENY_ALL),
            **encrypted_by(key),
        )
        theirs = "Who receives replies is the caller's own program; what it cannot take is for it to put aside."
        reasons = {"AwsSolutions-SQS3": theirs, "Serverless-SQSRedrivePolicy": theirs}
        acknowledge(queue, reasons if key else reasons | {"CKV_AWS_27": NO_KEY})
        return queue


def _url(arn: str) -> str:
    """The URL of a queue by its ARN (Amazon SQS developer guide, "Queue and message identifiers")."""
    _, partition, _, region, account, name = arn.split(":")
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    return f"https://sqs.{region}.{suffix}/{account}/{name}"


def _words(name: str) -> str:
    return "".join(word.title() for word in name.replace("_", "-").split("-"))
