"""What runs the ticker."""

from __future__ import annotations

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from constructs import Construct

from infra.acknowledgements import acknowledge
from infra.constructs.job_function import JobFunction


class EveryMinute(Construct):
    """Invokes a function each minute. A tick that fails is not repeated: the next one does the same work."""

    def __init__(self, scope: Construct, construct_id: str, *, function: JobFunction) -> None:
        super().__init__(scope, construct_id)
        # A role of our own: the one that the CDK makes may call every version of the function, too.
        own_account = {"StringEquals": {"aws:SourceAccount": Stack.of(self).account}}
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("scheduler.amazonaws.com", conditions=own_account))
        role.add_to_policy(iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[function.function.function_arn]))
        scheduler.Schedule(
            self,
            "Schedule",
            schedule=scheduler.ScheduleExpression.rate(Duration.minutes(1)),
            target=targets.LambdaInvoke(
                function.function, retry_attempts=0, max_event_age=Duration.minutes(1), role=role.without_policy_updates()
            ),
        )
        function.function.configure_async_invoke(retry_attempts=0, max_event_age=Duration.minutes(1))
        acknowledge(
            function.function.node.find_child("EventInvokeConfig"),
            {"Serverless-LambdaAsyncFailureDestination": "Nothing is lost with a tick that fails: the next one does the same work."},
        )
