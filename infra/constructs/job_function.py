"""A Lambda function with a role and a log group of its own, which may do nothing but write that log until the stack says more."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.settings import StageSettings
from jobline import settings as names


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

    @property
    def timeout(self) -> Duration:
        timeout = self.function.timeout
        assert timeout
        return timeout

    def allow(self, statement: iam.PolicyStatement) -> None:
        """Adds to what the function may do."""
        self.role.add_to_policy(statement)
