"""IAM policies to be attached to whoever calls the API: nobody has to write one that grants neither too much nor too little."""

from __future__ import annotations

from typing import Final

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.access import Access, grants
from infra.acknowledgements import acknowledge_wildcards

POLICIES: Final = {Access.READ: "JobsRead", Access.WRITE: "JobsWrite", Access.ADMIN: "JobsAdmin"}
DESCRIPTIONS: Final = {
    Access.READ: "See jobs with their payloads and results, queues, schedules and types",
    Access.WRITE: "JobsRead, and enqueue, upload, cancel, retry, replay and reschedule jobs, and run schedules out of turn",
    Access.ADMIN: "JobsWrite, and pause, resume, purge and redrive queues, and make, change, pause and delete schedules",
}


class ReadyPolicies(Construct):
    """One managed policy per class of routes; its ARN is an output of the stack, so attaching it is all there is to do."""

    def __init__(self, scope: Construct, construct_id: str, *, http_api: apigateway.HttpApi) -> None:
        super().__init__(scope, construct_id)
        stack = Stack.of(self)
        for access, name in POLICIES.items():
            statement = iam.PolicyStatement(
                actions=["execute-api:Invoke"],
                resources=[
                    stack.format_arn(service="execute-api", resource=http_api.api_id, resource_name=f"$default/{route}")
                    for route in grants(access)
                ],
            )
            policy = iam.ManagedPolicy(self, name, description=f"Jobline: {DESCRIPTIONS[access]}", statements=[statement])
            acknowledge_wildcards(policy, statement, "An asterisk stands for an id or a queue in a route of this API.")
            CfnOutput(stack, name, value=policy.managed_policy_arn, description=f"Policy: {DESCRIPTIONS[access]}")
