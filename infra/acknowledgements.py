"""Findings of the security gates that are as they should be: each said on one resource, with its reason.

A finding is a rule of cdk-nag, checkov or cfn-lint (`infra.gates` runs them) that a resource breaks. What is acknowledged here is told to
each tool in its own way, so that whoever runs these tools over the template elsewhere sees it too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from aws_cdk import Acknowledgment, CfnResource, Stack, Validations
from aws_cdk import aws_iam as iam
from constructs import IConstruct

ACKNOWLEDGED: Final = "jobline:acknowledged"
"""The metadata of a construct that hold its acknowledgements: reasons by rule."""
UNTOLD: Final = "jobline:acknowledgements-untold"
"""The context with which the tools are told nothing: then they find what there is to be found."""
_CHECKOV: Final = re.compile(r"CKV2?_[A-Z]+_\d+")
_READS: Final = re.compile(r":(Batch)?(Get|List|Describe|Query|Scan|Head)[A-Za-z]*$")
_CFN_LINT: Final = re.compile(r"[EWI]\d{4}")


def acknowledge(construct: IConstruct, reasons: Mapping[str, str]) -> None:
    """Says why the resource of this construct may break these rules (`AwsSolutions-S1`, `CKV_AWS_18`, `W3005`): reasons by rule.

    Raises ValueError for a construct that is more than one resource, and for an empty reason.
    """
    resource = construct if isinstance(construct, CfnResource) else construct.node.default_child
    if not isinstance(resource, CfnResource):
        raise ValueError(f"{construct.node.path} is not one resource: acknowledge findings on the resource that has them")
    for rule, reason in reasons.items():
        if not reason.strip():
            raise ValueError(f"{resource.node.path}: why may it break {rule}?")
        resource.node.add_metadata(ACKNOWLEDGED, {rule: reason})
        if not resource.node.try_get_context(UNTOLD):
            _tell(resource, rule, reason)


def acknowledge_wildcards(policy: IConstruct, statement: iam.PolicyStatement, reason: str) -> None:
    """Says why this statement of a policy names actions or resources by patterns, if it does."""
    stack = Stack.of(policy)
    names = [f"Action::{action}" for action in statement.actions]
    names += [f"Resource::{_written(stack.resolve(resource))}" for resource in statement.resources]
    reasons = {f"AwsSolutions-IAM5[{name}]": reason for name in names if "*" in name}
    if "*" in statement.resources and not all(_READS.search(action) for action in statement.actions):
        reasons["CKV_AWS_111"] = reason
    acknowledge(policy, reasons)


def _tell(resource: CfnResource, rule: str, reason: str) -> None:
    if _CHECKOV.fullmatch(rule):
        told = resource.get_metadata("checkov") or {"skip": []}
        resource.add_metadata("checkov", {"skip": [*told["skip"], {"id": rule, "comment": reason}]})
    elif _CFN_LINT.fullmatch(rule):
        told = resource.get_metadata("cfn-lint") or {"config": {"ignore_checks": []}, "reasons": {}}
        ignored = {"ignore_checks": [*told["config"]["ignore_checks"], rule]}
        resource.add_metadata("cfn-lint", {"config": ignored, "reasons": told["reasons"] | {rule: reason}})
    else:
        Validations.of(resource).acknowledge(Acknowledgment(id=rule, reason=reason))


def _written(value: Any) -> str:
    """A resolved ARN as cdk-nag writes it: `{"Fn::Join": ["", [{"Fn::GetAtt": ["Jobs", "Arn"]}, "/*"]]}` → `<Jobs.Arn>/*`."""
    if isinstance(value, str):
        return value
    if "Fn::Join" in value:
        delimiter, parts = value["Fn::Join"]
        return str(delimiter).join(map(_written, parts))
    if "Fn::GetAtt" in value:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    return f"<{value['Ref']}>"
