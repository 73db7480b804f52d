"""A deployment whose data are encrypted with a KMS key of the customer's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
import pytest
from aws_cdk.assertions import Template

from infra.idle_cost import idle_cost
from jobline.definitions import NEW_KEY, Definitions, Encryption
from tests.infra.deployment import as_list, definitions, make_stack, template

OWN_ARN = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
KEYS = pytest.mark.parametrize("kms_key", [NEW_KEY, OWN_ARN])
WHERE_A_KEY_IS_NAMED = {
    "AWS::DynamoDB::Table": ("SSESpecification", "KMSMasterKeyId"),
    "AWS::Lambda::Function": ("KmsKeyArn",),
    "AWS::Logs::LogGroup": ("KmsKeyId",),
    "AWS::S3::Bucket": ("BucketEncryption", "ServerSideEncryptionConfiguration", 0, "ServerSideEncryptionByDefault", "KMSMasterKeyID"),
    "AWS::SQS::Queue": ("KmsMasterKeyId",),
}
READ, WRITE = {"Decrypt", "DescribeKey"}, {"Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo"}


def with_key(kms_key: str, stage: str = "dev", *, direct: bool = True) -> Definitions:
    """The checkout's definitions with that key; not `direct`: without the queues whose messages are sent by whoever enqueues."""
    found = definitions(stage)
    queues = {name: queue for name, queue in found.queues.items() if direct or not queue.direct}
    return msgspec.structs.replace(found, queues=queues, encryption=Encryption(kms_key=kms_key))


@cache
def found(kms_key: str, stage: str = "dev", *, direct: bool = True) -> Mapping[str, Any]:
    resources = Template.from_stack(make_stack(stage, with_key(kms_key, stage, direct=direct))).to_json()["Resources"]
    return dict(resources)


def of_type(kms_key: str, resource_type: str, **options: Any) -> list[dict[str, Any]]:
    return [resource for resource in found(kms_key, **options).values() if resource["Type"] == resource_type]


def named(resource: Mapping[str, Any]) -> Any:
    """The key that a resource names, wherever its type has it."""
    value: Any = resource["Properties"]
    for step in WHERE_A_KEY_IS_NAMED[resource["Type"]]:
        value = value[step]
    return value


def uses(function: str, *, direct: bool = True) -> dict[str, set[str]]:
    """The KMS calls that a function may make, by the service through which."""
    policies = of_type(NEW_KEY, "AWS::IAM::Policy", direct=direct)
    [policy] = [policy["Properties"] for policy in policies if policy["Properties"]["PolicyName"].startswith(f"{function}Role")]
    allowed: dict[str, set[str]] = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        calls = {action.partition(":")[2] for action in as_list(statement["Action"]) if action.startswith("kms:")}
        if calls:
            assert statement["Resource"]["Fn::GetAtt"][1] == "Arn"
            service = statement["Condition"]["StringEquals"]["kms:ViaService"]["Fn::Join"][1][0]
            allowed[service.rstrip(".")] = allowed.get(service.rstrip("."), set()) | calls
    return allowed


@KEYS
def test_table_queues_bucket_logs_and_environments_are_all_encrypted_with_it(kms_key: str) -> None:
    made = [name for name, resource in found(kms_key).items() if resource["Type"] == "AWS::KMS::Key"]
    expected = {"Fn::GetAtt": [*made, "Arn"]} if made else OWN_ARN
    assert len(made) == (kms_key == NEW_KEY)
    kept = [resource for resource in found(kms_key).values() if resource["Type"] in WHERE_A_KEY_IS_NAMED]
    assert {resource["Type"] for resource in kept} == WHERE_A_KEY_IS_NAMED.keys()
    assert all(named(resource) == expected for resource in kept)


def test_without_one_everything_is_encrypted_with_the_services_own_keys_and_no_role_may_use_kms() -> None:
    resources = template("dev")["Resources"].values()
    assert not any(resource["Type"].startswith("AWS::KMS") for resource in resources)
    assert '"kms:' not in msgspec.json.encode([one for one in resources if one["Type"] == "AWS::IAM::Policy"]).decode()
    assert all(queue["Properties"]["SqsManagedSseEnabled"] for queue in resources if queue["Type"] == "AWS::SQS::Queue")


def test_kms_is_asked_seldom() -> None:
    [bucket] = of_type(NEW_KEY, "AWS::S3::Bucket")
    assert bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]["BucketKeyEnabled"] is True
    assert all(queue["Properties"]["KmsDataKeyReusePeriodSeconds"] == 3600 for queue in of_type(NEW_KEY, "AWS::SQS::Queue"))


def test_a_new_key_is_rotated_and_lives_as_long_as_the_data() -> None:
    [key] = of_type(NEW_KEY, "AWS::KMS::Key")
    [table] = of_type(NEW_KEY, "AWS::DynamoDB::Table")
    assert key["Properties"]["EnableKeyRotation"] is True
    assert key["DeletionPolicy"] == table["DeletionPolicy"] == "Retain"
    [local] = of_type(NEW_KEY, "AWS::KMS::Key", stage="local")
    assert local["DeletionPolicy"] == "Delete"


def test_cloudwatch_uses_a_new_key_for_this_stacks_log_groups_alone() -> None:
    [key] = of_type(NEW_KEY, "AWS::KMS::Key")
    account, logs = key["Properties"]["KeyPolicy"]["Statement"]
    assert account["Principal"]["AWS"]["Fn::Join"][1][-1] == ":root"
    assert logs["Principal"]["Service"]["Fn::Join"][1][0] == "logs."
    assert logs["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]["Fn::Join"][1][-1] == ":log-group:Jobline-dev-*"
    # What CloudFormation names by itself begins with the stack's name.
    assert not any("LogGroupName" in group["Properties"] for group in of_type(NEW_KEY, "AWS::Logs::LogGroup"))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            "Api",
            {"lambda": {"Decrypt"}, "dynamodb": READ | WRITE, "s3": {"Decrypt", "GenerateDataKey"}}
            | {"scheduler": {"Decrypt", "DescribeKey", "GenerateDataKey"}},
        ),
        ("Relay", {"lambda": {"Decrypt"}, "dynamodb": READ, "sqs": {"Decrypt", "GenerateDataKey"}}),
        ("Observer", {"lambda": {"Decrypt"}, "dynamodb": READ | WRITE}),
        ("Ticker", {"lambda": {"Decrypt"}, "dynamodb": READ | WRITE}),
        ("DeadLetters", {"lambda": {"Decrypt"}, "dynamodb": READ | WRITE, "sqs": {"Decrypt"}, "s3": {"GenerateDataKey"}}),
        ("Media", {"lambda": {"Decrypt"}, "dynamodb": READ | WRITE, "sqs": {"Decrypt"}, "s3": {"Decrypt", "GenerateDataKey"}}),
    ],
)
def test_a_function_may_use_it_for_the_data_that_it_touches_and_through_that_service_alone(
    function: str, expected: dict[str, set[str]]
) -> None:
    assert uses(function, direct=False) == expected


@pytest.mark.parametrize("function", ["Api", "Media"])
def test_who_sends_messages_of_ordered_and_low_latency_queues_may_encrypt_them(function: str) -> None:
    assert uses(function)["sqs"] == {"Decrypt", "GenerateDataKey"}


def test_a_new_key_costs_a_dollar_a_month_and_ones_own_nothing_more() -> None:
    plain = sum(item.dollars for item in idle_cost(definitions("dev")))
    assert sum(item.dollars for item in idle_cost(with_key(NEW_KEY))) - plain == pytest.approx(1.03, abs=0.005)
    assert sum(item.dollars for item in idle_cost(with_key(OWN_ARN))) - plain == pytest.approx(0.03, abs=0.005)
