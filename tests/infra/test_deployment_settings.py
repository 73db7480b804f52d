"""What the deployment's own settings make of the stack: tags, logs, the API's speed and names, a worker's network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from tempfile import mkdtemp
from typing import Any

import msgspec
import pytest
from aws_cdk import App
from aws_cdk.assertions import Template

from infra.settings import settings_for
from infra.stack import JoblineStack
from jobline.definitions import ApiAccess, ApiFront, Definitions, Jwt, Queue, Vpc, Worker
from tests.infra.deployment import ROOT, as_list, make_stack, no_code

CERTIFICATE = "arn:aws:acm:eu-west-1:111122223333:certificate/1234abcd"
TWO_NAMES = ApiFront(domain="jobs.example.com", token_domain="tokens.example.com", certificate=CERTIFICATE)
TOKENS = ApiAccess(jwt=Jwt(issuer="https://login.example.com", audience=("jobline",)))
VPC = Vpc(subnets=("subnet-0a1b0a1b", "subnet-0c2d0c2d"), security_groups=("sg-0e3f0e3f",))


def small(*, vpc: Vpc | None = None, stage: str = "dev", **settings: Any) -> Definitions:
    """A deployment with one queue of an adopter's."""
    queues = {name: Queue(name=name, worker=name, concurrency=2) for name in ("emails", "operations")}
    workers = {"emails": Worker(name="emails", vpc=vpc), "operations": Worker(name="operations")}
    return Definitions(stage=stage, queues=queues, workers=workers, **settings)


def made(definitions: Definitions) -> dict[str, Any]:
    return dict(Template.from_stack(make_stack(definitions.stage, definitions)).to_json())


def of_type(template: Mapping[str, Any], resource_type: str) -> dict[str, dict[str, Any]]:
    return {name: one["Properties"] for name, one in template["Resources"].items() if one["Type"] == resource_type}


def outputs(template: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one["Value"] for name, one in template["Outputs"].items()}


# ---- tags


def test_cloudformation_is_told_the_adopters_tags_and_the_stage_for_every_resource() -> None:
    app = App(context=json.loads((ROOT / "cdk.json").read_text())["context"], outdir=mkdtemp())
    definitions = small(tags={"team": "billing"})
    stack = JoblineStack(app, "Tagged", settings=settings_for("dev"), definitions=definitions, code=no_code)
    assert dict(app.synth().get_stack_artifact(stack.artifact_id).tags) == {"team": "billing", "jobline:stage": "dev"}


def test_what_a_queue_and_a_worker_cost_can_be_told_by_their_tags() -> None:
    template = made(small())
    tagged: dict[tuple[str, str], set[str]] = {}
    for name, one in template["Resources"].items():
        for tag in one.get("Properties", {}).get("Tags", ()):
            tagged.setdefault((tag["Key"], tag["Value"]), set()).add(name[:-8])
    assert tagged == {
        ("jobline:queue", "emails"): {"Queuesemailsnormal", "Queuesemailsdead"},
        ("jobline:queue", "operations"): {"Queuesoperationsnormal", "Queuesoperationsdead"},
        ("jobline:worker", "emails"): {"EmailsFunction", "EmailsLog"},
        ("jobline:worker", "operations"): {"OperationsFunction", "OperationsLog"},
    }


# ---- logs


def test_every_log_is_kept_for_as_long_as_the_setting_says() -> None:
    groups = of_type(made(small(log_days=90, access=TOKENS)), "AWS::Logs::LogGroup")
    assert len(groups) == 7 + 2  # functions, doors
    assert {group["RetentionInDays"] for group in groups.values()} == {90}


# ---- the API


def test_every_door_takes_as_many_requests_as_the_setting_says() -> None:
    stages = of_type(made(small(api=ApiFront(requests_per_second=20, burst=40), access=TOKENS)), "AWS::ApiGatewayV2::Stage").values()
    throttled = [stage["DefaultRouteSettings"] for stage in stages]
    assert throttled == [{"ThrottlingBurstLimit": 40, "ThrottlingRateLimit": 20}] * 2


def test_each_door_has_its_own_name_with_a_modern_tls_and_says_what_the_dns_record_points_at() -> None:
    template = made(small(api=TWO_NAMES, access=TOKENS))
    names = of_type(template, "AWS::ApiGatewayV2::DomainName")
    logical_ids = {one["DomainName"]: name for name, one in names.items()}
    assert logical_ids.keys() == {"jobs.example.com", "tokens.example.com"}
    for one in names.values():
        [configuration] = one["DomainNameConfigurations"]
        assert configuration == {"CertificateArn": CERTIFICATE, "EndpointType": "REGIONAL", "SecurityPolicy": "TLS_1_2"}
    mapped = {json.dumps(one["ApiId"]): one for one in of_type(template, "AWS::ApiGatewayV2::ApiMapping").values()}
    for kind, domain in (("", "jobs.example.com"), ("Token", "tokens.example.com")):
        url = outputs(template)[f"{kind}ApiUrl"]
        assert outputs(template)[f"{kind}DomainUrl"] == f"https://{domain}"
        target, zone = (outputs(template)[f"{kind}{output}"]["Fn::GetAtt"] for output in ("DomainTarget", "DomainTargetZone"))
        assert (target, zone) == ([logical_ids[domain], "RegionalDomainName"], [logical_ids[domain], "RegionalHostedZoneId"])
        api_id = url["Fn::GetAtt"][0]
        assert mapped[json.dumps({"Ref": api_id})]["DomainName"] == {"Ref": logical_ids[domain]}


def test_api_gateways_own_name_answers_until_only_the_domain_is_wanted() -> None:
    both = made(small(api=TWO_NAMES, access=TOKENS))
    assert not any("DisableExecuteApiEndpoint" in api for api in of_type(both, "AWS::ApiGatewayV2::Api").values())
    only = made(small(api=msgspec.structs.replace(TWO_NAMES, only_domain=True), access=TOKENS))
    assert all(api["DisableExecuteApiEndpoint"] is True for api in of_type(only, "AWS::ApiGatewayV2::Api").values())
    assert outputs(only)["ApiUrl"] == "https://jobs.example.com"
    assert outputs(only)["TokenApiUrl"] == "https://tokens.example.com"


# ---- a worker's network


def policy_of(template: Mapping[str, Any], function: str) -> list[dict[str, Any]]:
    policies = of_type(template, "AWS::IAM::Policy").values()
    [found] = [one for one in policies if one["PolicyName"].startswith(f"{function}Role")]
    return list(found["PolicyDocument"]["Statement"])


def test_a_worker_runs_in_the_network_that_its_file_names_and_no_other_function_does() -> None:
    functions = of_type(made(small(vpc=VPC)), "AWS::Lambda::Function")
    inside = {name[:-8]: one["VpcConfig"] for name, one in functions.items() if "VpcConfig" in one}
    assert inside == {"EmailsFunction": {"SubnetIds": ["subnet-0a1b0a1b", "subnet-0c2d0c2d"], "SecurityGroupIds": ["sg-0e3f0e3f"]}}


def test_lambda_may_join_such_a_worker_to_its_network_and_the_workers_code_may_not() -> None:
    template = made(small(vpc=VPC))
    allow, deny = (one for one in policy_of(template, "Emails") if any(action.startswith("ec2:") for action in as_list(one["Action"])))
    assert (allow["Effect"], deny["Effect"]) == ("Allow", "Deny")
    assert set(allow["Action"]) == set(deny["Action"]) >= {"ec2:CreateNetworkInterface", "ec2:DescribeSubnets"}
    assert "Condition" not in allow
    assert deny["Condition"] == {"Null": {"lambda:SourceFunctionArn": "false"}}
    assert '"ec2:' not in json.dumps([policy_of(template, "Operations"), policy_of(template, "Api")])


# ---- the local stage


@pytest.mark.parametrize("resource_type", ["AWS::ApiGatewayV2::DomainName", "AWS::ApiGatewayV2::ApiMapping"])
def test_the_local_stage_has_none_of_the_accounts_names(resource_type: str) -> None:
    local = made(small(stage="local", api=msgspec.structs.replace(TWO_NAMES, only_domain=True), access=TOKENS))
    assert not of_type(local, resource_type)
    assert not any("DisableExecuteApiEndpoint" in api for api in of_type(local, "AWS::ApiGatewayV2::Api").values())
    assert "Fn::GetAtt" in outputs(local)["ApiUrl"]


def test_the_local_stage_has_none_of_the_accounts_networks() -> None:
    local = made(small(stage="local", vpc=VPC))
    assert not any("VpcConfig" in one for one in of_type(local, "AWS::Lambda::Function").values())
    assert '"ec2:' not in json.dumps(policy_of(local, "Emails"))
