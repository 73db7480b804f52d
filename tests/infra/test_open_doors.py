"""Nothing that anybody may call is ever synthesised, whoever adds it and however."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aws_cdk import App, CfnResource, NestedStack, Stack
from aws_cdk import aws_apigateway as rest
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_lambda as lambda_
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from msgspec.structs import replace

from infra.constructs.http_api import HttpApi
from infra.errors import OpenDoor
from infra.open_doors import refuse_open_doors
from infra.stack import JoblineStack
from jobline.definitions import ApiAccess
from tests.infra.deployment import definitions, make_stack


def refusal(stack: JoblineStack, *allowed: str) -> str:
    """What is said of the stack's doors; nothing when it may be deployed."""
    try:
        refuse_open_doors(app_of(stack).synth(), allowed=allowed)
    except OpenDoor as error:
        return str(error)
    return ""


def app_of(stack: JoblineStack) -> App:
    app = stack.node.root
    assert isinstance(app, App)
    return app


def http(stack: JoblineStack) -> HttpApi:
    api = stack.node.find_child("Http")
    assert isinstance(api, HttpApi)
    return api


def a_route_by_the_escape_hatch(stack: JoblineStack) -> None:
    apigateway.CfnRoute(stack, "Open", api_id=http(stack).http_api.api_id, route_key="GET /open")


def a_route_added_without_its_authorizer(stack: JoblineStack) -> None:
    http(stack).http_api.add_routes(
        path="/open",
        methods=[apigateway.HttpMethod.GET],
        integration=HttpLambdaIntegration("Integration", stack.api.function),
        authorizer=apigateway.HttpNoneAuthorizer(),
    )


def a_route_with_an_override(stack: JoblineStack) -> None:
    route = next(one for one in stack.node.find_all() if isinstance(one, apigateway.CfnRoute) and one.route_key == "POST /jobs")
    route.add_property_override("AuthorizationType", "NONE")


def a_route_whose_authorization_only_the_deploy_knows(stack: JoblineStack) -> None:
    route = next(one for one in stack.node.find_all() if isinstance(one, apigateway.CfnRoute) and one.route_key == "POST /jobs")
    route.add_property_override("AuthorizationType", {"Ref": "AWS::NoValue"})


def a_route_written_as_a_bare_resource(stack: JoblineStack) -> None:
    CfnResource(stack, "Open", type="AWS::ApiGatewayV2::Route", properties={"ApiId": "x", "RouteKey": "GET /open"})


def a_second_api(stack: JoblineStack) -> None:
    second = apigateway.HttpApi(stack, "Second")
    integration = HttpLambdaIntegration("Integration", stack.api.function)
    second.add_routes(path="/open", methods=[apigateway.HttpMethod.GET], integration=integration)


def a_second_api_in_another_stack(stack: JoblineStack) -> None:
    apigateway.CfnRoute(Stack(app_of(stack), "Other"), "Open", api_id="x", route_key="GET /open")


def a_second_api_in_a_nested_stack(stack: JoblineStack) -> None:
    apigateway.CfnRoute(NestedStack(stack, "Nested"), "Open", api_id="x", route_key="GET /open")


def an_api_made_of_a_document(stack: JoblineStack) -> None:
    apigateway.CfnApi(stack, "Document", body={"openapi": "3.0.1", "paths": {"/open": {"get": {}}}})


def a_rest_api(stack: JoblineStack) -> None:
    rest.RestApi(stack, "Rest").root.add_method("GET", rest.MockIntegration())


def a_function_url(stack: JoblineStack) -> None:
    stack.api.function.add_function_url(auth_type=lambda_.FunctionUrlAuthType.NONE)


def a_permission_for_everybody(stack: JoblineStack) -> None:
    lambda_.CfnPermission(stack, "All", action="lambda:InvokeFunction", function_name="x", principal="*")


@pytest.mark.parametrize(
    ("add", "named"),
    [
        (a_route_by_the_escape_hatch, "the route GET /open (Open) has no authorization"),
        (a_route_added_without_its_authorizer, "the route GET /open (HttpApiGETopen"),
        (a_route_with_an_override, "the route POST /jobs ("),
        (a_route_whose_authorization_only_the_deploy_knows, "the route POST /jobs ("),
        (a_route_written_as_a_bare_resource, "the route GET /open (Open) has no authorization"),
        (a_second_api, "the route GET /open (SecondGETopen"),
        (a_second_api_in_another_stack, "the route GET /open (Open) has no authorization"),
        (a_second_api_in_a_nested_stack, "the route GET /open (Open) has no authorization"),
        (an_api_made_of_a_document, "the API Document gets routes by Body"),
        (a_rest_api, "the method GET of a REST API (RestGET"),
        (a_function_url, "the function URL ApiFunctionFunctionUrl"),
        (a_permission_for_everybody, "the permission All lets anybody call a function"),
    ],
)
def test_a_deployment_with_an_open_door_is_refused_in_a_sentence_that_names_it(add: Callable[[JoblineStack], None], named: str) -> None:
    stack = make_stack("dev")
    add(stack)
    assert named in refusal(stack)


@pytest.mark.parametrize("stage", ["dev", "local", "prod"])
def test_the_stack_as_it_is_has_no_open_door(stage: str) -> None:
    assert refusal(make_stack(stage)) == ""


def with_open_health() -> JoblineStack:
    return make_stack("dev", replace(definitions("dev"), access=ApiAccess(open_health=True)))


def test_health_may_be_open_only_where_the_setting_says_so() -> None:
    stack = with_open_health()
    assert refusal(stack, "GET /health") == ""
    assert "the route GET /health (HttpApiGEThealth" in refusal(stack)


def test_where_health_is_open_nothing_else_may_be() -> None:
    stack = with_open_health()
    a_route_by_the_escape_hatch(stack)
    assert refusal(stack, "GET /health") == (
        "the route GET /open (Open) has no authorization. Whoever calls must be asked who they are: see docs/access.md"
    )
