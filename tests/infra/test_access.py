"""The ready policies: what each grants, and what it does not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from itertools import product
from typing import Any, get_args

import pytest
from aws_cdk.assertions import Template
from msgspec.structs import replace

from infra.access import Access
from infra.constructs.ready_policies import POLICIES
from jobline import api_routes
from jobline.api_routes import ROUTES, Route
from jobline.definitions import ApiAccess, Jwt
from tests.infra.deployment import as_list, definitions, make_stack, resources, template, written

BOTH = pytest.mark.parametrize("stage", ["dev", "local"])
ANY_CLASS = pytest.mark.parametrize("granted", Access)
LARGEST_POLICY = 6144
"""Characters of a managed policy, white space not counted (IAM and AWS STS quotas)."""
SEGMENTS = ("x", "jobs", "uploads", "batch", "retry", "purge", "queues", "0197a000-0000")
"""What may stand for a parameter in a path, the nastiest first words of other routes among it."""


def test_the_classes_of_routes_are_the_tables_in_its_order() -> None:
    assert [one.value for one in Access] == list(get_args(api_routes.Access))


def policy(stage: str, granted: Access) -> dict[str, Any]:
    [found] = [one for name, one in resources(stage, "AWS::IAM::ManagedPolicy").items() if name.startswith(f"Access{POLICIES[granted]}")]
    return found


def granted_routes(stage: str, granted: Access) -> list[str]:
    """The policy's resources from `METHOD/path` on."""
    [statement] = policy(stage, granted)["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "execute-api:Invoke")
    [api] = resources(stage, "AWS::ApiGatewayV2::Api")
    heads, tails = zip(*(written(one).split(f":{api}/$default/") for one in as_list(statement["Resource"])), strict=True)
    assert set(heads) == {"arn:AWS::Partition:execute-api:AWS::Region:AWS::AccountId"}
    return list(tails)


def calls(method: str, path: str) -> list[str]:
    """The route as it may be called, `METHOD/path`, with every parameter filled in by each of `SEGMENTS`."""
    parameters = re.findall("{.*?}", path)
    filled = []
    for values in product(SEGMENTS, repeat=len(parameters)):
        called = path
        for parameter, value in zip(parameters, values, strict=True):
            called = called.replace(parameter, value)
        filled.append(f"{method}{called}")
    return filled


@BOTH
@ANY_CLASS
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_policy_grants_the_routes_of_its_class_and_no_other(stage: str, granted: Access, route: Route) -> None:
    patterns = granted_routes(stage, granted)
    may = route.access in granted.included
    for called in calls(route.method, route.path):
        assert any(fnmatchcase(called, pattern) for pattern in patterns) == may, called


def test_writing_is_about_jobs_and_what_is_done_to_a_whole_queue_is_for_admins() -> None:
    classes: dict[str, set[str]] = {one: set() for one in Access}
    for route in ROUTES:
        classes[route.access].add(f"{route.method} {route.path}")
    assert classes["read"] == {f"GET {route.path}" for route in ROUTES if route.method == "GET"}
    assert classes["admin"] >= {f"POST /queues/{{queue}}/{verb}" for verb in ("pause", "resume", "purge", "redrive")}
    of_jobs = re.compile(r"(POST|PATCH|DELETE) (/queues/\{queue\})?/(jobs|uploads)(/.*)?")
    makes_jobs = {"POST /schedules/{name}/run", "POST /batches", "POST /topics/{topic}/publish"}
    assert all(of_jobs.fullmatch(route) for route in classes["write"] - makes_jobs)
    changes = {f"{route.method} {route.path}" for route in ROUTES if route.path.startswith("/schedules") and route.method != "GET"}
    assert classes["admin"] >= changes - {"POST /schedules/{name}/run"}
    assert classes["admin"] >= {f"{method} /topics/{{topic}}/subscriptions/{{name}}" for method in ("PUT", "DELETE")}


@ANY_CLASS
def test_a_policy_fits_into_what_iam_takes_wherever_it_is_deployed(granted: Access) -> None:
    longest = "arn:aws-us-gov:execute-api:ap-southeast-2:123456789012:abcdefghij/$default/"
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": [f"{longest}{one}" for one in granted_routes("dev", granted)]}
        ],
    }
    assert len(json.dumps(document, separators=(",", ":"))) <= LARGEST_POLICY


@BOTH
def test_the_policies_are_outputs_of_the_stack_and_attached_to_nobody(stage: str) -> None:
    for granted, name in POLICIES.items():
        logical_id = template(stage)["Outputs"][name]["Value"]["Ref"]
        assert resources(stage, "AWS::IAM::ManagedPolicy")[logical_id] == policy(stage, granted)
        assert not {"Users", "Roles", "Groups"} & policy(stage, granted).keys()


# ---- tokens


ISSUER = Jwt(issuer="https://login.example.com/", audience=("jobline",))


@cache
def with_tokens() -> Mapping[str, Any]:
    """The template of stage dev where the API takes tokens, too."""
    stack = make_stack("dev", replace(definitions("dev"), access=ApiAccess(jwt=ISSUER)))
    return Template.from_stack(stack).to_json()


def routes_for_tokens() -> dict[str, dict[str, Any]]:
    found = with_tokens()["Resources"].items()
    routes = [one["Properties"] for name, one in found if one["Type"] == "AWS::ApiGatewayV2::Route" and name.startswith("Tokens")]
    return {route["RouteKey"]: route for route in routes}


def test_tokens_come_in_by_a_door_of_their_own_and_signatures_by_the_same_as_before() -> None:
    signed = {name: one for name, one in with_tokens()["Resources"].items() if name.startswith("Http")}
    assert signed == {name: one for name, one in template("dev")["Resources"].items() if name.startswith("Http")}
    assert routes_for_tokens().keys() == {"$default", *(f"{route.method} {route.path}" for route in ROUTES)}
    assert with_tokens()["Outputs"].keys() - template("dev")["Outputs"].keys() == {"TokenApiUrl"}


def test_a_token_is_asked_for_on_every_route_and_checked_against_issuer_and_audience() -> None:
    [(name, authorizer)] = [one for one in with_tokens()["Resources"].items() if one[1]["Type"] == "AWS::ApiGatewayV2::Authorizer"]
    assert authorizer["Properties"]["JwtConfiguration"] == {"Issuer": ISSUER.issuer, "Audience": list(ISSUER.audience)}
    assert authorizer["Properties"]["IdentitySource"] == ["$request.header.Authorization"]
    for route in routes_for_tokens().values():
        assert (route["AuthorizationType"], route["AuthorizerId"]) == ("JWT", {"Ref": name})


def test_a_route_takes_the_scope_of_its_class_or_of_one_that_includes_it() -> None:
    accepted = {
        Access.READ: ["jobs:read", "jobs:write", "jobs:admin"],
        Access.WRITE: ["jobs:write", "jobs:admin"],
        Access.ADMIN: ["jobs:admin"],
    }
    routes = routes_for_tokens()
    assert {key: route["AuthorizationScopes"] for key, route in routes.items()} == {
        **{f"{route.method} {route.path}": accepted[Access(route.access)] for route in ROUTES},
        # Whatever else is asked: the function may read a path more generously than the gateway.
        "$default": ["jobs:admin"],
    }


def test_without_the_setting_no_token_is_taken() -> None:
    assert not resources("dev", "AWS::ApiGatewayV2::Authorizer")
    assert all("AuthorizationScopes" not in route for route in resources("dev", "AWS::ApiGatewayV2::Route").values())
