"""The HTTP API: which routes there are, who may call them, and how fast."""

from __future__ import annotations

import json
from typing import Final

import jsii
from aws_cdk import ArnFormat, RemovalPolicy, Stack
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk.aws_apigatewayv2_authorizers import HttpIamAuthorizer
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from constructs import Construct, IConstruct, IValidation

from infra.constructs.job_function import JobFunction
from jobline import api_routes

ROUTES: Final[tuple[tuple[str, str], ...]] = tuple((route.method, route.path) for route in api_routes.ROUTES)
"""Method and path of each route of the table."""
REQUESTS_PER_SECOND: Final = 500
BURST: Final = 1000
ACCESS_LOG: Final = {
    "request_id": "$context.requestId",
    "caller": "$context.identity.userArn",
    "route": "$context.routeKey",
    "path": "$context.path",
    "status": "$context.status",
    "milliseconds": "$context.responseLatency",
    "error": "$context.error.message",
}


class HttpApi(Construct):
    """Every route is signed with IAM credentials and answered by one function."""

    def __init__(self, scope: Construct, construct_id: str, *, api: JobFunction, key: kms.IKey | None) -> None:
        """`key` encrypts the access log; without one CloudWatch's own key does."""
        super().__init__(scope, construct_id)
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
            default_authorizer=HttpIamAuthorizer(),
            # Whatever else is asked reaches the function too (`$default`, signed like the rest), which says what is wrong with it.
            default_integration=integration,
        )
        for method, path in ROUTES:
            self.http_api.add_routes(path=path, methods=[apigateway.HttpMethod(method)], integration=integration)
        self._stage(key)
        self.node.add_validation(EveryRouteIsSigned(self))

    def _stage(self, key: kms.IKey | None) -> None:
        log = logs.LogGroup(
            self, "AccessLog", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY, encryption_key=key
        )
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


@jsii.implements(IValidation)
class EveryRouteIsSigned:
    """Refuses to synthesize an API with a route that anybody may call."""

    def __init__(self, scope: IConstruct) -> None:
        self._scope = scope

    def validate(self) -> list[str]:
        open_routes = [
            route.route_key
            for route in self._scope.node.find_all()
            if isinstance(route, apigateway.CfnRoute) and route.authorization_type in {None, "NONE"}
        ]
        return [f"the route {key} has no authorization: every route must be signed" for key in open_routes]
