"""The schedules of a deployment: their group, the role under which they call the operations function, and those that are declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aws_cdk import CfnResource, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.constructs.customer_key import SEND
from infra.constructs.job_function import JobFunction
from infra.constructs.job_queue import allow_send
from jobline.declared_schedules import schedule_of
from jobline.definitions import DeclaredSchedule
from jobline.schedules import Place, encode

RETRIES: Final = 2
"""Of an asynchronous call that fails, as many as Lambda makes; after a minute, and two (AWS Lambda developer guide)."""
LONGEST_RETRIED: Final = Duration.hours(6)


class Schedules(Construct):
    """One group, which goes with the stack and takes every schedule in it along."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        declared: Mapping[str, DeclaredSchedule],
        operations: JobFunction,
        repeated_from: sqs.Queue,
        set_aside: sqs.Queue,
        key: kms.IKey | None,
    ) -> None:
        """`operations` makes the jobs; where it fails, the call goes to `repeated_from`, a queue that it reads; what Scheduler could not
        call at all in a day goes to `set_aside`. `key` encrypts schedules; without one Scheduler's own key does.
        """
        super().__init__(scope, construct_id)
        self.group = scheduler.CfnScheduleGroup(self, "Group")
        self.role = self._role(operations, set_aside, key)
        self._repeat(operations, repeated_from)
        self.place = Place(
            group=self.group.ref,
            function=operations.function.function_arn,
            role=self.role.role_arn,
            set_aside=set_aside.queue_arn,
            key=key.key_arn if key else None,
        )
        for name, one in declared.items():
            # What the API would send: a declared schedule and another one cannot differ in more than who may change it.
            resource = CfnResource(self, name, type="AWS::Scheduler::Schedule", properties=encode(schedule_of(one), self.place))
            # The role itself is named in it; what the role may do has to be there too.
            resource.node.add_dependency(self.role.node.find_child("DefaultPolicy"))

    def allow(self, api: JobFunction) -> None:
        """Lets the api look after the schedules of this group, and hand them this role and no other."""
        stack = Stack.of(self)
        every = stack.format_arn(service="scheduler", resource="schedule", resource_name=f"{self.group.ref}/*")
        calls = ["CreateSchedule", "DeleteSchedule", "GetSchedule", "UpdateSchedule"]
        api.allow(
            iam.PolicyStatement(actions=[f"scheduler:{call}" for call in calls], resources=[every]),
            patterns_because="Schedules are made and named at run time, in this stack's own group.",
        )
        api.allow(
            iam.PolicyStatement(actions=["scheduler:ListSchedules"], resources=["*"]),
            patterns_because="ListSchedules takes no narrower resource (Service Authorization Reference).",
        )
        to_scheduler = {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}
        api.allow(iam.PolicyStatement(actions=["iam:PassRole"], resources=[self.role.role_arn], conditions=to_scheduler))

    def _role(self, operations: JobFunction, set_aside: sqs.Queue, key: kms.IKey | None) -> iam.Role:
        stack = Stack.of(self)
        ours: dict[str, Any] = {"StringEquals": {"aws:SourceAccount": stack.account, "aws:SourceArn": self.group.attr_arn}}
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("scheduler.amazonaws.com", conditions=ours))
        role.add_to_policy(iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[operations.function.function_arn]))
        role.add_to_policy(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[set_aside.queue_arn]))
        if key:
            for service, calls in (("sqs", SEND), ("scheduler", ("Decrypt",))):
                via = {"StringEquals": {"kms:ViaService": f"{service}.{stack.region}.{stack.url_suffix}"}}
                actions = [f"kms:{call}" for call in calls]
                role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[key.key_arn], conditions=via))
        return role

    def _repeat(self, operations: JobFunction, repeated_from: sqs.Queue) -> None:
        """Has Lambda repeat a call that fails, and then SQS for as long as it takes: Scheduler itself takes it for done."""
        lambda_.CfnEventInvokeConfig(
            self,
            "Repeat",
            function_name=operations.function.function_name,
            qualifier="$LATEST",
            maximum_retry_attempts=RETRIES,
            maximum_event_age_in_seconds=int(LONGEST_RETRIED.to_seconds()),
            destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(
                on_failure=lambda_.CfnEventInvokeConfig.OnFailureProperty(destination=repeated_from.queue_arn)
            ),
        )
        allow_send(operations, repeated_from)
