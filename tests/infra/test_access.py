"""The ready policies: what each grants, and what it does not."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import pytest

from infra.access import Access, access
from infra.constructs.http_api import ROUTES
from infra.constructs.ready_policies import POLICIES
from tests.infra.deployment import as_list, resources, template, written

BOTH = pytest.mark.parametrize("stage", ["dev", "local"])
ANY_CLASS = pytest.mark.parametrize("granted", Access)
LARGEST_POLICY = 6144
"""Characters of a managed policy, white space not counted (IAM and AWS STS quotas)."""
SEGMENTS = ("x", "jobs", "uploads", "batch", "retry", "purge", "queues", "0197a000-0000")
"""What may stand for a parameter in a path, the nastiest first words of other routes among it."""


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
@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_a_policy_grants_the_routes_of_its_class_and_no_other(stage: str, granted: Access, route: tuple[str, str]) -> None:
    patterns = granted_routes(stage, granted)
    may = access(*route) in granted.included
    for called in calls(*route):
        assert any(fnmatchcase(called, pattern) for pattern in patterns) == may, called


def test_writing_is_about_jobs_and_what_is_done_to_a_whole_queue_is_for_admins() -> None:
    classes: dict[Access, set[str]] = {one: set() for one in Access}
    for method, path in ROUTES:
        classes[access(method, path)].add(f"{method} {path}")
    assert classes[Access.READ] == {f"GET {path}" for method, path in ROUTES if method == "GET"}
    assert classes[Access.ADMIN] == {f"POST /queues/{{queue}}/{verb}" for verb in ("pause", "resume", "purge", "redrive")}
    assert {"POST /jobs", "POST /queues/{queue}/uploads", "DELETE /jobs/{id}", "PATCH /jobs/{id}"} < classes[Access.WRITE]


def test_a_route_that_nobody_thought_of_is_for_admins() -> None:
    assert access("POST", "/queues/{queue}/explode") == access("DELETE", "/schedules/{name}") == Access.ADMIN


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
