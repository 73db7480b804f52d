"""The stack as tests look at it: synthesized from the checkout's own files and context, with stand-ins for the assets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from aws_cdk import App, AssetHashType
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Template

from infra.settings import settings_for
from infra.stack import JoblineStack
from jobline.definitions import Definitions

ROOT: Final = Path(__file__).resolve().parents[2]
OWN_FUNCTIONS: Final = ("api", "relay", "observer", "ticker", "dead_letters")


def no_code(function: str) -> lambda_.Code:
    """An asset whose hash depends on the function's name alone: template tests do not read it."""
    folder = Path(mkdtemp())
    (folder / "handler.py").write_text("")
    return lambda_.Code.from_asset(str(folder), asset_hash=f"asset of {function}", asset_hash_type=AssetHashType.CUSTOM)


@cache
def definitions(stage: str) -> Definitions:
    """What the checkout's own files say for one stage."""
    return Definitions.load(ROOT, stage)


def make_stack(stage: str, other: Definitions | None = None) -> JoblineStack:
    """The stack of one stage, in an app of its own."""
    # Without the checkout's context another template would be tested than the one that is deployed.
    app = App(context=json.loads((ROOT / "cdk.json").read_text())["context"], outdir=mkdtemp())
    return JoblineStack(app, f"Jobline-{stage}", settings=settings_for(stage), definitions=other or definitions(stage), code=no_code)


@cache
def template(stage: str) -> Mapping[str, Any]:
    """The template of one stage; to be read only."""
    return Template.from_stack(make_stack(stage)).to_json()


def resources(stage: str, resource_type: str) -> dict[str, dict[str, Any]]:
    """Properties by logical id of every resource of this type."""
    found = template(stage)["Resources"].items()
    return {name: resource.get("Properties", {}) for name, resource in found if resource["Type"] == resource_type}


def the(stage: str, resource_type: str) -> dict[str, Any]:
    """The properties of the one resource of this type."""
    [properties] = resources(stage, resource_type).values()
    return properties


def functions(stage: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Logical id and properties of each Lambda function, by the folder that it is made of."""
    found = resources(stage, "AWS::Lambda::Function").items()
    return {properties["Handler"].split(".")[1]: (logical_id, properties) for logical_id, properties in found}


def mappings(stage: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every event source mapping: the logical id of its source, the name of its function, its properties."""
    name_of = {logical_id: name for name, (logical_id, _) in functions(stage).items()}
    for properties in resources(stage, "AWS::Lambda::EventSourceMapping").values():
        yield properties["EventSourceArn"]["Fn::GetAtt"][0], name_of[properties["FunctionName"]["Ref"]], properties


def statements(stage: str, function: str) -> list[tuple[set[str], set[str]]]:
    """What a function's role allows: actions, and resources written as `LogicalId` followed by what is joined to its ARN."""
    found = policy_statements(stage, function)
    return [(set(as_list(one["Action"])), {written(resource) for resource in as_list(one["Resource"])}) for one in found]


def policy_statements(stage: str, function: str) -> list[dict[str, Any]]:
    """The statements of a function's role as the template has them; every one allows something."""
    _, properties = functions(stage)[function]
    role = properties["Role"]["Fn::GetAtt"][0]
    policies = [policy for policy in resources(stage, "AWS::IAM::Policy").values() if policy["Roles"] == [{"Ref": role}]]
    found = [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]
    assert all(statement["Effect"] == "Allow" for statement in found)
    return found


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def written(resource: Any) -> str:
    """A resource of a policy as text: `{"Fn::Join": ["", [{"Fn::GetAtt": ["Jobs", "Arn"]}, "/index/x"]]}` → `Jobs/index/x`."""
    if isinstance(resource, str):
        return resource
    if "Fn::Join" in resource:
        return "".join(written(part) for part in resource["Fn::Join"][1])
    if "Fn::GetAtt" in resource:
        logical_id, attribute = resource["Fn::GetAtt"]
        return str(logical_id) if attribute == "Arn" else f"{logical_id}.{attribute}"
    return str(resource["Ref"])
