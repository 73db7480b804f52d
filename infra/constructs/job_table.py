"""The table of records, its two indexes and its stream."""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra.acknowledgements import acknowledge
from infra.constructs.job_function import NO_KEY, JobFunction
from infra.settings import StageSettings
from jobline.payloads import Kind

BY_QUEUE: Final = "by_queue"
BY_ATTENTION: Final = "by_attention"
_STRING, _NUMBER = dynamodb.AttributeType.STRING, dynamodb.AttributeType.NUMBER


class JobTable(Construct):
    """One table for everything: job records, split bodies, queues' states and counters."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: StageSettings, key: kms.IKey | None) -> None:
        """`key` encrypts the items, the indexes, the stream and the backups; without one DynamoDB's own key does."""
        super().__init__(scope, construct_id)
        self.table = dynamodb.Table(
            self,
            "Table",
            partition_key=dynamodb.Attribute(name="id", type=_STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED if key else None,
            encryption_key=key,
            stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
            time_to_live_attribute="ttl",
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=settings.keeps_data
            ),
            deletion_protection=settings.keeps_data,
            removal_policy=settings.removal_policy,
        )
        acknowledge(self.table, {} if key else {"CKV_AWS_119": NO_KEY})
        # Both know the keys alone: what a list shows is read from the records themselves.
        self._add_index(BY_QUEUE, partition="queue_shard", sort="created_at")
        self._add_index(BY_ATTENTION, partition="attention", sort="attention_at")

    def allow(self, function: JobFunction, *calls: str) -> None:
        """Lets the function make these DynamoDB calls (`GetItem`, …) on the table's items, not on its indexes."""
        self._allow(function, calls, self.table.table_arn)

    def allow_query(self, function: JobFunction, *indexes: str) -> None:
        """Lets the function query these indexes."""
        for index in indexes:
            self._allow(function, ("Query",), f"{self.table.table_arn}/index/{index}")

    def allow_delete_bodies(self, function: JobFunction, *kinds: Kind) -> None:
        """Lets the function delete split bodies of these kinds: of no other item does the key read like `JOB#KIND#…`.

        (Amazon DynamoDB developer guide, "Using IAM policy conditions for fine-grained access control": `dynamodb:LeadingKeys`.)
        """
        keys = {"dynamodb:LeadingKeys": [f"*#{kind}#*" for kind in kinds]}
        function.allow(
            iam.PolicyStatement(
                actions=["dynamodb:DeleteItem"], resources=[self.table.table_arn], conditions={"ForAllValues:StringLike": keys}
            )
        )

    def allow_stream(self, function: JobFunction) -> None:
        """Lets the function's event source mapping read the stream."""
        stream = self.table.table_stream_arn
        assert stream
        self._allow(function, ("DescribeStream", "GetRecords", "GetShardIterator"), stream)
        # A list is of any stream of the table (Amazon DynamoDB developer guide, "IAM policy to grant read access for a stream only").
        listing = iam.PolicyStatement(actions=["dynamodb:ListStreams"], resources=[f"{self.table.table_arn}/stream/*"])
        function.allow(listing, patterns_because="A list is of any stream of the table; records are read of the one stream alone.")

    def _allow(self, function: JobFunction, calls: tuple[str, ...], resource: str) -> None:
        actions = [f"dynamodb:{call}" for call in calls]
        function.allow(iam.PolicyStatement(actions=actions, resources=[resource]))

    def _add_index(self, name: str, *, partition: str, sort: str) -> None:
        self.table.add_global_secondary_index(
            index_name=name,
            partition_key=dynamodb.Attribute(name=partition, type=_STRING),
            sort_key=dynamodb.Attribute(name=sort, type=_NUMBER),
            projection_type=dynamodb.ProjectionType.KEYS_ONLY,
        )
