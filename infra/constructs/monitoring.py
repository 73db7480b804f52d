"""Alarms and the dashboard: what CloudWatch watches of a deployment, and whom it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.constructs.http_api import HttpApi
from infra.constructs.job_function import JobFunction
from infra.constructs.job_queue import JobQueue
from infra.constructs.job_table import JobTable
from jobline.definitions import OPERATIONS, Definitions, QueueAlarms
from jobline.gauges import DEAD, GAUGES, NAMESPACE, QUEUE, STACK
from jobline.quarantine import QUARANTINED

MINUTE: Final = 60
LOOKS: Final = 5
"""Minutes that are looked at; in three of them a figure must be too high, so that one slow minute rings nothing."""
BAD_LOOKS: Final = 3
STREAM_LATE: Final = 5 * MINUTE * 1000
"""Milliseconds that the relay may be behind the table's stream: jobs start that much later."""
COUNTERS_LATE: Final = 60 * MINUTE * 1000
"""Milliseconds that the observer may be behind: nothing but figures is late, and a day is lost for good."""
_WIDTH: Final = 8
_HEIGHT: Final = 6

_SAYS: Final[Mapping[str, str]] = {
    "dead": "{queue}: {limit} or more dead jobs. See: jobs list {queue} --status dead. Then: jobs redrive {queue}, or jobs purge {queue}.",
    "depth": "{queue}: {limit} or more jobs wait. See: jobs stats {queue}. More at a time: concurrency in queues.toml.",
    "age": "{queue}: the oldest job that is due was made {limit} s ago or earlier. See: jobs stats {queue}, jobs doctor.",
    "run_time": "{queue}: attempts took {limit} s or more on average over an hour. See: jobs stats {queue}.",
    "error_rate": "{queue}: of the attempts of five minutes {limit:.0%} or more failed. See: jobs list {queue} --status failed.",
    "workers": "{queue}: jobs wait and fewer than {limit} workers run. See: jobs doctor, jobs logs {worker} --level error.",
}
"""What an alarm tells whoever it wakes, by its key in queues.toml."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """One alarm: which figure, from where on, and what to say."""

    name: str
    says: str
    metric: str
    namespace: str
    dimensions: Mapping[str, str]
    statistic: str = "Maximum"
    limit: float = 1
    looks: int = LOOKS
    bad_looks: int = BAD_LOOKS
    below: bool = False
    """Whether it rings under the limit, and when there is no figure at all."""


class Monitoring(Construct):
    """The alarms of a deployment's own parts and of its queues, and the dashboard where it is asked for."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        definitions: Definitions,
        functions: Mapping[str, JobFunction],
        queues: Mapping[str, JobQueue],
        table: JobTable,
        set_aside: sqs.Queue,
        doors: Sequence[HttpApi],
    ) -> None:
        """`functions` are all of the stack by their folder's name."""
        super().__init__(scope, construct_id)
        self._definitions = definitions
        self._functions = functions
        self._queues = queues
        self._stack = Stack.of(self).stack_name
        if definitions.monitoring.alarms:
            self._count_quarantined()
            for watch in (*self._of_the_api(doors), *self._of_the_spine(set_aside), *self._of_the_workers(), self._of_the_dead()):
                self._alarm(watch)
        for name, queue in definitions.queues.items():
            for watch in self._of_a_queue(name, queue.worker, queue.alarms):
                self._alarm(watch)
        if definitions.monitoring.dashboard:
            self._dashboard(table, doors)

    # ------------------------------------------------------------------------------------------------ what is watched

    def _of_the_api(self, doors: Sequence[HttpApi]) -> Sequence[Watch]:
        return [
            Watch(
                name="Api" if number == 0 else f"Api{number + 1}",
                says="The API answered with 5xx in three of five minutes. See: jobs logs api --level error, jobs doctor.",
                namespace="AWS/ApiGateway",
                metric="5xx",
                dimensions={"ApiId": door.http_api.api_id, "Stage": "$default"},
                statistic="Sum",
            )
            for number, door in enumerate(doors)
        ]

    def _of_the_spine(self, set_aside: sqs.Queue) -> Sequence[Watch]:
        aside = {"QueueName": set_aside.queue_name}
        return (
            self._fails("relay", "Messages are sent late or not at all."),
            self._of_function("relay", "Late", "IteratorAge", STREAM_LATE, "The relay is five minutes behind: jobs start late."),
            self._of_function("observer", "Late", "IteratorAge", COUNTERS_LATE, "The observer is an hour behind: the figures are old."),
            self._fails("ticker", "What is delayed, scheduled or lost is attended late."),
            self._of_function(
                "ticker", "Silent", "Invocations", 1, "The ticker does not run.", statistic="Sum", below=True, bad_looks=LOOKS
            ),
            self._fails("dead_letters", "Messages that ran out of receives are not settled."),
            self._fails("operations", "Purge, redrive, schedules and pauses do not run."),
            Watch(
                name="SetAside",
                says="A change of a record could not be made a message of, and is set aside. See: jobs doctor.",
                namespace="AWS/SQS",
                metric="ApproximateNumberOfMessagesVisible",
                dimensions=aside,
                looks=1,
                bad_looks=1,
            ),
            Watch(
                name="Quarantined",
                says="A message that nobody can read is in the bucket, under quarantine/. See: jobs logs dead_letters --level error.",
                namespace=NAMESPACE,
                metric=f"quarantined-{self._stack}",
                dimensions={},
                statistic="Sum",
                looks=1,
                bad_looks=1,
            ),
        )

    def _of_the_workers(self) -> Sequence[Watch]:
        names = sorted(self._definitions.workers.keys() - {OPERATIONS})
        return [self._fails(name, f"The worker {name} cannot start, crashes or runs out of time or memory.") for name in names]

    def _of_the_dead(self) -> Watch:
        return Watch(
            name="Dead",
            says="There are dead jobs. See: jobs queues, jobs list QUEUE --status dead. Then: jobs redrive QUEUE, or jobs purge QUEUE.",
            namespace=NAMESPACE,
            metric=DEAD,
            dimensions={STACK: self._stack},
        )

    def _of_a_queue(self, name: str, worker: str, alarms: QueueAlarms) -> Sequence[Watch]:
        limits = {key: getattr(alarms, key) for key in GAUGES if getattr(alarms, key) is not None}
        return [
            Watch(
                name=f"Queue {name} {key}",
                says=_SAYS[key].format(queue=name, worker=worker, limit=limit),
                namespace=NAMESPACE,
                metric=GAUGES[key].metric,
                dimensions={STACK: self._stack, QUEUE: name},
                limit=1 if key == "workers" else limit,
            )
            for key, limit in limits.items()
        ]

    def _fails(self, function: str, so: str) -> Watch:
        says = f"{so} See: jobs logs {function} --level error."
        return self._of_function(function, "Fails", "Errors", 1, says, statistic="Sum")

    def _of_function(self, name: str, what: str, metric: str, limit: float, says: str, **more: Any) -> Watch:
        return Watch(
            name=f"{name} {what}",
            says=says if "See:" in says else f"{says} See: jobs logs {name} --level warning, jobs doctor.",
            namespace="AWS/Lambda",
            metric=metric,
            dimensions={"FunctionName": self._functions[name].function.function_name},
            limit=limit,
            **more,
        )

    def _count_quarantined(self) -> None:
        """Makes a figure of the lines that tell of a quarantined message; a metric filter's has no dimensions without a value for them."""
        keepers = {"dead_letters": self._functions["dead_letters"]}
        keepers |= {queue.worker: self._functions[queue.worker] for queue in self._definitions.queues.values() if queue.ordered}
        for name, function in keepers.items():
            logs.CfnMetricFilter(
                self,
                f"{name} quarantined",
                log_group_name=function.log_group.log_group_name,
                filter_pattern=f'{{ $.message = "{QUARANTINED}" }}',
                metric_transformations=[
                    logs.CfnMetricFilter.MetricTransformationProperty(
                        metric_namespace=NAMESPACE, metric_name=f"quarantined-{self._stack}", metric_value="1"
                    )
                ],
            )

    # ------------------------------------------------------------------------------------------------ what is made

    def _alarm(self, watch: Watch) -> None:
        told = list(self._definitions.monitoring.notify)
        cloudwatch.CfnAlarm(
            self,
            watch.name,
            alarm_description=watch.says,
            namespace=watch.namespace,
            metric_name=watch.metric,
            dimensions=[cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value) for name, value in watch.dimensions.items()],
            statistic=watch.statistic,
            period=MINUTE,
            evaluation_periods=watch.looks,
            datapoints_to_alarm=watch.bad_looks,
            threshold=watch.limit,
            comparison_operator="LessThanThreshold" if watch.below else "GreaterThanOrEqualToThreshold",
            treat_missing_data="breaching" if watch.below else "notBreaching",
            alarm_actions=told,
            ok_actions=told,
        )

    def _dashboard(self, table: JobTable, doors: Sequence[HttpApi]) -> None:
        board = cloudwatch.Dashboard(self, "Dashboard", default_interval=None)
        api = [{"ApiId": door.http_api.api_id, "Stage": "$default"} for door in doors]
        records = {"TableName": table.table.table_name}
        lambdas = {name: {"FunctionName": function.function.function_name} for name, function in self._functions.items()}
        board.add_widgets(
            _graph("API: requests", [_figure("AWS/ApiGateway", "Count", of, "Sum", "requests") for of in api]),
            _graph(
                "API: errors",
                [_figure("AWS/ApiGateway", name, of, "Sum", name) for of in api for name in ("4xx", "5xx")],
            ),
            _graph("API: latency (ms)", [_figure("AWS/ApiGateway", "Latency", of, stat, stat) for of in api for stat in ("p50", "p95")]),
        )
        for name, queue in self._queues.items():
            lanes = {lane: {"QueueName": lane_queue.queue_name} for lane, lane_queue in queue.lanes.items()}
            board.add_widgets(
                _graph(
                    f"{name}: messages that wait",
                    [_figure("AWS/SQS", "ApproximateNumberOfMessagesVisible", of, "Maximum", lane) for lane, of in lanes.items()],
                ),
                _graph(
                    f"{name}: age of the oldest message (s)",
                    [_figure("AWS/SQS", "ApproximateAgeOfOldestMessage", of, "Maximum", lane) for lane, of in lanes.items()],
                ),
                _graph(
                    f"{name}: messages in and out",
                    [
                        _figure("AWS/SQS", metric, of, "Sum", f"{lane} {word}")
                        for lane, of in lanes.items()
                        for metric, word in (("NumberOfMessagesSent", "in"), ("NumberOfMessagesDeleted", "out"))
                    ],
                ),
            )
        board.add_widgets(
            _graph("Functions: errors", [_figure("AWS/Lambda", "Errors", of, "Sum", name) for name, of in lambdas.items()]),
            _graph("Functions: longest run (ms)", [_figure("AWS/Lambda", "Duration", of, "Maximum", name) for name, of in lambdas.items()]),
            _graph(
                "Functions: at the same time",
                [_figure("AWS/Lambda", "ConcurrentExecutions", of, "Maximum", name) for name, of in lambdas.items()],
            ),
        )
        board.add_widgets(
            _graph(
                "Table: units",
                [
                    _figure("AWS/DynamoDB", "ConsumedWriteCapacityUnits", records, "Sum", "write"),
                    _figure("AWS/DynamoDB", "ConsumedReadCapacityUnits", records, "Sum", "read"),
                ],
            ),
            _graph(
                "Stream: behind (ms)",
                [_figure("AWS/Lambda", "IteratorAge", lambdas[name], "Maximum", name) for name in ("relay", "observer")],
            ),
            _graph("Dead jobs", [_figure(NAMESPACE, DEAD, {STACK: self._stack}, "Maximum", "dead")]),
        )


def _figure(namespace: str, name: str, dimensions: Mapping[str, str], statistic: str, label: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(namespace=namespace, metric_name=name, dimensions_map=dict(dimensions), statistic=statistic, label=label)


def _graph(title: str, figures: Sequence[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(figures), width=_WIDTH, height=_HEIGHT)
