"""The two readers of the table's stream: the relay, which sends messages, and the observer, which counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.acknowledgements import acknowledge
from infra.constructs.job_function import JobFunction
from infra.constructs.job_table import JobTable

_IS_A_JOB: Final = {"dispatch": {"N": [{"exists": True}]}}
"""Only a job's record has `dispatch`; split bodies, counters and queues' states have not."""
WAITING_JOBS: Final = {"dynamodb": {"NewImage": {"status": {"S": ["pending", "failed"]}, **_IS_A_JOB}}}
JOBS_WRITTEN: Final = {"dynamodb": {"NewImage": _IS_A_JOB}}
JOBS_DELETED: Final = {"dynamodb": {"OldImage": _IS_A_JOB}}


class RelayFeed(Construct):
    """Feeds the relay: at once, and each record again until it is taken, a failing batch in ever smaller halves.

    Records that Lambda itself gives up on go to `set_aside`, like those that the relay can never send.
    """

    def __init__(self, scope: Construct, construct_id: str, *, relay: JobFunction, table: JobTable, set_aside: sqs.Queue) -> None:
        super().__init__(scope, construct_id)
        mapping = lambda_.EventSourceMapping(
            self,
            "Mapping",
            batch_size=100,
            bisect_batch_on_error=True,
            report_batch_item_failures=True,
            **_from_the_beginning(relay, table, [WAITING_JOBS]),
        )
        # Not by `on_failure`, which would let the relay do more with the queue and its key than send (the stack grants that).
        resource = mapping.node.default_child
        assert isinstance(resource, lambda_.CfnEventSourceMapping)
        resource.destination_config = lambda_.CfnEventSourceMapping.DestinationConfigProperty(
            on_failure=lambda_.CfnEventSourceMapping.OnFailureProperty(destination=set_aside.queue_arn)
        )
        table.allow_stream(relay)


class ObserverFeed(Construct):
    """Feeds the observer: large batches, a few seconds late.

    The tumbling window makes Lambda say which shard a batch is of, so that the observer keeps one mark per shard and counts right
    however a repeated batch is cut (PROTOCOL.md, R20). Where the window is ignored, a batch that failed must come back beginning with
    the same record: so there is neither bisection nor a partial failure.
    """

    def __init__(self, scope: Construct, construct_id: str, *, observer: JobFunction, table: JobTable) -> None:
        super().__init__(scope, construct_id)
        mapping = lambda_.EventSourceMapping(
            self,
            "Mapping",
            batch_size=1000,
            max_batching_window=Duration.seconds(5),
            tumbling_window=Duration.minutes(15),
            **_from_the_beginning(observer, table, [JOBS_WRITTEN, JOBS_DELETED]),
        )
        repeated = "A batch is repeated until it is counted: one set aside would leave the counters wrong."
        acknowledge(mapping, {"Serverless-LambdaEventSourceMappingDestination": repeated})
        table.allow_stream(observer)


def _from_the_beginning(function: JobFunction, table: JobTable, filters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What both mappings share; a record is read when it fits one of the filters."""
    return {
        "target": function.function,
        "event_source_arn": table.table.table_stream_arn,
        "starting_position": lambda_.StartingPosition.TRIM_HORIZON,
        "filters": [lambda_.FilterCriteria.filter(dict(pattern)) for pattern in filters],
    }
