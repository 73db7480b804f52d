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
    "CKV_AWS_117": "It talks to AWS's endpoints under its role, over TLS; from a VPC it would need endpoints that cost by the hour.",
    "W3005": "The CDK writes the dependency on the role itself.",
}
"""Why a function may break these rules of the security gates."""


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
        memory: int = 512,
        may_loop: bool = False,
    ) -> None:
        """`environment` comes on top of what every function is told; `memory` is in MB. `may_loop`: Lambda need not stop loops.

        `key` encrypts its log and its environment; without one Lambda's and CloudWatch's own keys do.
        """
        super().__init__(scope, construct_id)
        self.name = name
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.log_group = logs.LogGroup(
            self, "Log", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY, encryption_key=key
        )
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

        acknowledge(self.function, ACCEPTED if key else ACCEPTED | {"CKV_AWS_173": NO_KEY})
        acknowledge(self.log_group, {} if key else {"CKV_AWS_158": NO_KEY})

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
