"""What runs the ticker."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from constructs import Construct

from infra.constructs.job_function import JobFunction


class EveryMinute(Construct):
    """Invokes a function each minute. A tick that fails is not repeated: the next one does the same work."""

    def __init__(self, scope: Construct, construct_id: str, *, function: JobFunction) -> None:
        super().__init__(scope, construct_id)
        scheduler.Schedule(
            self,
            "Schedule",
            schedule=scheduler.ScheduleExpression.rate(Duration.minutes(1)),
            target=targets.LambdaInvoke(function.function, retry_attempts=0, max_event_age=Duration.minutes(1)),
        )
        function.function.configure_async_invoke(retry_attempts=0, max_event_age=Duration.minutes(1))
