"""An HTTP API in front of the api function: its routes, what lets a caller in, and how fast."""

from __future__ import annotations

import json
from typing import Final

from aws_cdk import ArnFormat, RemovalPolicy, Stack
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk.aws_apigatewayv2_authorizers import HttpIamAuthorizer, HttpJwtAuthorizer
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from constructs import Construct

from infra.access import HEALTH, Access, scopes
from infra.acknowledgements import acknowledge
from infra.constructs.job_function import NO_KEY, JobFunction
from jobline.api_routes import ROUTES
from jobline.definitions import Jwt

REQUESTS_PER_SECOND: Final = 500
BURST: Final = 1000
ACCESS_LOG: Final = {
    "request_id": "$context.requestId",
    "caller": "$context.identity.userArn",
    "subject": "$context.authorizer.claims.sub",
    "route": "$context.routeKey",
    "path": "$context.path",
    "status": "$context.status",
    "milliseconds": "$context.responseLatency",
    "error": "$context.error.message",
}


class HttpApi(Construct):
    """One door: every route asks for a signature with IAM credentials, or all of them for a JWT; one function answers."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        api: JobFunction,
        key: kms.IKey | None,
        jwt: Jwt | None = None,
        open_health: bool = False,
    ) -> None:
        """`key` encrypts the access log; without one CloudWatch's own key does. `jwt` is whose tokens are let in, by their scopes; without
        it IAM decides. `open_health`: anybody may call `GET /health`.
        """
        super().__init__(scope, construct_id)
        self._takes_tokens = jwt is not None
        integration = HttpLambdaIntegration(
            "Integration",
            api.function,
            payload_format_version=apigateway.PayloadFormatVersion.VERSION_2_0,
            timeout=api.timeout,
            scope_permission_to_route=False,
        )
        self.http_api = apigateway.HttpApi(
            self,
            "Api",
            description="Jobline: enqueue jobs and see what became of them",
            create_default_stage=False,
            default_authorizer=HttpJwtAuthorizer("Jwt", jwt.issuer, jwt_audience=list(jwt.audience)) if jwt else HttpIamAuthorizer(),
            # Whatever else is asked reaches the function too (`$default`), which says what is wrong with it. It might read a path
            # more generously than the gateway does, so a token must be good for everything there; IAM asks about the path itself.
            default_integration=integration,
            default_authorization_scopes=self._scopes(Access.ADMIN),
        )
        for route in ROUTES:
            is_open = open_health and f"{route.method} {route.path}" == HEALTH
            added = self.http_api.add_routes(
                path=route.path,
                methods=[apigateway.HttpMethod(route.method)],
                integration=integration,
                authorizer=apigateway.HttpNoneAuthorizer() if is_open else None,
                authorization_scopes=None if is_open else self._scopes(Access(route.access)),
            )
            if is_open:
                asked_for = "[access] open_health in queues.toml lets anybody ask whether the API lives; it tells nothing more."
                acknowledge(added[0], {"AwsSolutions-APIG4": asked_for})
        self._stage(key)

    def _scopes(self, needed: Access) -> list[str] | None:
        return scopes(needed) if self._takes_tokens else None

    def _stage(self, key: kms.IKey | None) -> None:
        log = logs.LogGroup(
            self, "AccessLog", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY, encryption_key=key
        )
        acknowledge(log, {} if key else {"CKV_AWS_158": NO_KEY})
        stage = apigateway.HttpStage(
            self,
            "Stage",
            http_api=self.http_api,
            stage_name="$default",
            auto_deploy=True,
            throttle=apigateway.ThrottleSettings(rate_limit=REQUESTS_PER_SECOND, burst_limit=BURST),
        )
        resource = stage.node.default_child
        assert isinstance(resource, apigateway.CfnStage)
        # CloudFormation's own ARN of a log group ends with ":*", which API Gateway would cut off and report as drift.
        arn = Stack.of(self).format_arn(
            service="logs", resource="log-group", resource_name=log.log_group_name, arn_format=ArnFormat.COLON_RESOURCE_NAME
        )
        resource.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
            destination_arn=arn, format=json.dumps(ACCESS_LOG, separators=(",", ":"))
        )
