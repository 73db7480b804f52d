"""A Lambda function with a role and a log group of its own, which may do nothing but write that log until the stack says more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.acknowledgements import acknowledge, acknowledge_wildcards
from infra.settings import StageSettings
from jobline import settings as names
from jobline.definitions import Vpc

NO_KEY: Final = "Encrypted with AWS's own key; [encryption] kms_key in queues.toml has it done with a key of the customer's."
_RUNTIME: Final = "Python 3.13 is what wheels and byte code are made for and tests are run on; AWS maintains it until 2029."
_ASYNCHRONOUS_ONLY: Final = (
    "A dead-letter queue is for asynchronous calls: what API Gateway, a queue or the stream calls is repeated by them,"
    " and a lost tick by the next."
)
ACCEPTED: Final = {
    "AwsSolutions-L1": _RUNTIME,
    "Serverless-LambdaLatestVersion": _RUNTIME,
    "Serverless-LambdaTracing": "A trace costs more than a job. Log lines carry the ids of job and request, and a job keeps its history.",
    "Serverless-LambdaDLQ": _ASYNCHRONOUS_ONLY,
    "CKV_AWS_116": _ASYNCHRONOUS_ONLY,
    "CKV_AWS_115": "Mappings have a maximum concurrency; a lower one of the function would throttle polls, which burns receive counts.",
    "W3005": "The CDK writes the dependency on the role itself.",
}
"""Why a function may break these rules of the security gates."""
NO_VPC: Final = "It talks to AWS's endpoints under its role, over TLS; from a VPC it would need endpoints that cost by the hour."
NETWORK_CALLS: Final = (
    *("CreateNetworkInterface", "DeleteNetworkInterface", "DescribeNetworkInterfaces"),
    *("DescribeSubnets", "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"),
)
"""What Lambda does under a function's role to join it to a network (AWS Lambda developer guide, "Giving Lambda functions access to
resources in an Amazon VPC")."""


class JobFunction(Construct):
    """`functions/<name>` as deployed."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        code: lambda_.Code,
        settings: StageSettings,
        environment: Mapping[str, str],
        timeout: Duration,
        key: kms.IKey | None,
        log_days: int,
        memory: int = 512,
        may_loop: bool = False,
        vpc: Vpc | None = None,
    ) -> None:
        """`environment` comes on top of what every function is told; `memory` is in MB. `may_loop`: Lambda need not stop loops.

        `key` encrypts its log and its environment; without one Lambda's and CloudWatch's own keys do. `vpc` is the adopter's network that
        it runs in, for which its role must be let (`allow_network`).
        """
        super().__init__(scope, construct_id)
        self.name = name
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.log_group = make_log(self, "Log", days=log_days, key=key)
        self.log_group.grant_write(self.role)
        self.function = lambda_.Function(
            self,
            "Function",
            description=f"Jobline's {name} ({settings.stage})",
            runtime=settings.runtime,
            architecture=settings.architecture,
            handler=f"functions.{name}.handler.handler",
            code=code,
            role=self.role,
            log_group=self.log_group,
            # START, END and REPORT lines are 300 bytes per call and repeat Lambda's own metrics: no system line below WARN.
            logging_format=lambda_.LoggingFormat.JSON,
            system_log_level_v2=lambda_.SystemLogLevel.WARN,
            timeout=timeout,
            memory_size=memory,
            environment_encryption=key,
            recursive_loop=lambda_.RecursiveLoop.ALLOW if may_loop else None,
            environment={
                names.STAGE: settings.stage,
                "POWERTOOLS_SERVICE_NAME": name,
                "POWERTOOLS_LOG_LEVEL": "INFO",
                "POWERTOOLS_METRICS_NAMESPACE": "Jobline",
                **environment,
            },
        )

        acknowledge(self.function, ACCEPTED | ({} if vpc else {"CKV_AWS_117": NO_VPC}) | ({} if key else {"CKV_AWS_173": NO_KEY}))
        if vpc:
            self._join(vpc)

    @property
    def timeout(self) -> Duration:
        timeout = self.function.timeout
        assert timeout
        return timeout

    def allow(self, statement: iam.PolicyStatement, *, patterns_because: str = "") -> None:
        """Adds to what the function may do. A statement with an asterisk has to say why, or the security gates find it."""
        self.role.add_to_policy(statement)
        if patterns_because:
            acknowledge_wildcards(self.role.node.find_child("DefaultPolicy"), statement, patterns_because)

    def allow_network(self) -> None:
        """Lets Lambda join the function to its network under the role, and keeps the function's own code from doing the same calls."""
        calls = [f"ec2:{call}" for call in NETWORK_CALLS]
        why = "Lambda makes and removes the network interfaces of the worker's [vpc], which are not known before, under this role alone."
        self.allow(iam.PolicyStatement(actions=calls, resources=["*"]), patterns_because=why)
        # Every call that code makes in a function carries the function's ARN; those of Lambda itself do not.
        by_code = {"Null": {"lambda:SourceFunctionArn": "false"}}
        self.allow(iam.PolicyStatement(effect=iam.Effect.DENY, actions=calls, resources=["*"], conditions=by_code))

    def _join(self, vpc: Vpc) -> None:
        # By ids alone: the CDK's own way asks the account about the network while it synthesizes.
        resource = self.function.node.default_child
        assert isinstance(resource, lambda_.CfnFunction)
        resource.vpc_config = lambda_.CfnFunction.VpcConfigProperty(
            subnet_ids=list(vpc.subnets), security_group_ids=list(vpc.security_groups)
        )


def make_log(scope: Construct, construct_id: str, *, days: int, key: kms.IKey | None) -> logs.LogGroup:
    """A log group that keeps its lines for that many days and goes with the stack; without `key`, CloudWatch's own key encrypts it."""
    group = logs.LogGroup(scope, construct_id, removal_policy=RemovalPolicy.DESTROY, encryption_key=key)
    resource = group.node.default_child
    assert isinstance(resource, logs.CfnLogGroup)
    resource.retention_in_days = days
    acknowledge(group, {} if key else {"CKV_AWS_158": NO_KEY})
    return group
