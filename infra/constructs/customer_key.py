"""The customer's KMS key under which everything is kept, if `queues.toml` asks for one."""

from __future__ import annotations

from typing import Final, Literal

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra.constructs.job_function import JobFunction
from infra.settings import StageSettings
from jobline.definitions import NEW_KEY

READ_TABLE: Final = ("Decrypt", "DescribeKey")
"""What DynamoDB asks of who reads a table or its stream (Amazon DynamoDB developer guide, "DynamoDB encryption at rest: usage notes")."""
WRITE_TABLE: Final = (*READ_TABLE, "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo")
SEND: Final = ("GenerateDataKey", "Decrypt")
"""What SQS asks of who sends (Amazon SQS developer guide, "Configuring KMS permissions for Amazon SQS"); who receives needs Decrypt."""


class CustomerKey(Construct):
    """A key of the customer's: made with the stack, or one that is there already and whose policy is its owner's business."""

    def __init__(self, scope: Construct, construct_id: str, *, kms_key: str, settings: StageSettings) -> None:
        """`kms_key` is `"create"` or a key's ARN. A key made here lives as long as the data: it is kept where they are kept."""
        super().__init__(scope, construct_id)
        if kms_key != NEW_KEY:
            self.key: kms.IKey = kms.Key.from_key_arn(self, "Key", kms_key)
            return
        self.key = kms.Key(
            self,
            "Key",
            description=f"Jobline, stage {settings.stage}: records, messages, bodies, logs and settings",
            enable_key_rotation=True,
            removal_policy=settings.removal_policy,
        )
        self._allow_log_groups()

    def allow(self, function: JobFunction, service: Literal["dynamodb", "lambda", "s3", "scheduler", "sqs"], *calls: str) -> None:
        """Lets the function use the key by these KMS calls (`Decrypt`, …), through that service and in no other way."""
        stack = Stack.of(self)
        function.allow(
            iam.PolicyStatement(
                actions=[f"kms:{call}" for call in calls],
                resources=[self.key.key_arn],
                conditions={"StringEquals": {"kms:ViaService": f"{service}.{stack.region}.{stack.url_suffix}"}},
            )
        )

    def _allow_log_groups(self) -> None:
        """CloudWatch Logs uses the key in its own name: for the log groups of this stack, which all begin with the stack's name.

        (Amazon CloudWatch Logs user guide, "Encrypt log data in CloudWatch Logs using AWS KMS".)
        """
        stack = Stack.of(self)
        groups = stack.format_arn(
            service="logs", resource="log-group", resource_name=f"{stack.stack_name}-*", arn_format=ArnFormat.COLON_RESOURCE_NAME
        )
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal(f"logs.{stack.region}.amazonaws.com")],
                actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
                resources=["*"],
                conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
            )
        )
