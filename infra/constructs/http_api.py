"""An HTTP API in front of the api function: its routes, what lets a caller in, and how fast."""

from __future__ import annotations

import json
from typing import Final

from aws_cdk import ArnFormat, CfnOutput, Stack
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_kms as kms
from aws_cdk.aws_apigatewayv2_authorizers import HttpIamAuthorizer, HttpJwtAuthorizer
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from constructs import Construct

from infra.access import HEALTH
from infra.acknowledgements import acknowledge
from infra.constructs.job_function import JobFunction, make_log
from jobline.api_routes import ROUTES, Access, scopes
from jobline.definitions import ApiFront, Jwt

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
        log_days: int,
        front: ApiFront,
        domain: str | None,
        jwt: Jwt | None = None,
        open_health: bool = False,
    ) -> None:
        """`key` encrypts the access log; without one CloudWatch's own key does. `jwt` is whose tokens are let in, by their scopes; without
        it IAM decides. `open_health`: anybody may call `GET /health`. `front` says how fast, and whether `domain`, a name that the
        certificate is of, is the only one.
        """
        super().__init__(scope, construct_id)
        self._takes_tokens = jwt is not None
        self._front = front
        only_domain = domain is not None and front.only_domain
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
            disable_execute_api_endpoint=only_domain or None,
            default_authorizer=HttpJwtAuthorizer("Jwt", jwt.issuer, jwt_audience=list(jwt.audience)) if jwt else HttpIamAuthorizer(),
            # Whatever else is asked reaches the function too (`$default`), which says what is wrong with it. It might read a path
            # more generously than the gateway does, so a token must be good for everything there; IAM asks about the path itself.
            default_integration=integration,
            default_authorization_scopes=self._scopes("admin"),
        )
        for route in ROUTES:
            is_open = open_health and f"{route.method} {route.path}" == HEALTH
            added = self.http_api.add_routes(
                path=route.path,
                methods=[apigateway.HttpMethod(route.method)],
                integration=integration,
                authorizer=apigateway.HttpNoneAuthorizer() if is_open else None,
                authorization_scopes=None if is_open else self._scopes(route.access),
            )
            if is_open:
                asked_for = "[access] open_health in queues.toml lets anybody ask whether the API lives; it tells nothing more."
                acknowledge(added[0], {"AwsSolutions-APIG4": asked_for})
        stage = self._stage(key, log_days)
        if domain:
            self._name(domain, stage)
        self.url = f"https://{domain}" if only_domain else self.http_api.api_endpoint
        """Where clients find it: a domain only if nothing else answers, since it needs a DNS record that the stack does not make."""

    def _scopes(self, needed: Access) -> list[str] | None:
        return scopes(needed) if self._takes_tokens else None

    def _name(self, domain: str, stage: apigateway.HttpStage) -> None:
        """Lets the API be called by that name too, and tells what its DNS record must point at."""
        assert self._front.certificate
        name = apigateway.DomainName(
            self,
            "Domain",
            domain_name=domain,
            certificate=acm.Certificate.from_certificate_arn(self, "Certificate", self._front.certificate),
            endpoint_type=apigateway.EndpointType.REGIONAL,
            security_policy=apigateway.SecurityPolicy.TLS_1_2,
        )
        mapping = apigateway.ApiMapping(self, "Mapping", api=self.http_api, domain_name=name, stage=stage)
        mapping.node.add_dependency(stage)
        stack, kind = Stack.of(self), "Token" if self._takes_tokens else ""
        CfnOutput(stack, f"{kind}DomainUrl", value=f"https://{domain}", description="By your own name, once its DNS record is there")
        target = f"What the DNS record of {domain} points at (CNAME, or an alias in Route 53)"
        CfnOutput(stack, f"{kind}DomainTarget", value=name.regional_domain_name, description=target)
        zone = f"The hosted zone of {kind}DomainTarget, for an alias"
        CfnOutput(stack, f"{kind}DomainTargetZone", value=name.regional_hosted_zone_id, description=zone)

    def _stage(self, key: kms.IKey | None, log_days: int) -> apigateway.HttpStage:
        log = make_log(self, "AccessLog", days=log_days, key=key)
        stage = apigateway.HttpStage(
            self,
            "Stage",
            http_api=self.http_api,
            stage_name="$default",
            auto_deploy=True,
            throttle=apigateway.ThrottleSettings(rate_limit=self._front.requests_per_second, burst_limit=self._front.burst),
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
        return stage
