"""Who may do what: the roles of the functions, compared with the calls that their code makes."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any, cast

import pytest

from jobline.memory_items import MemoryItems
from jobline.payloads import INLINE_LIMIT, Bodies, Kind
from jobline.queue_states import item_key as state_key
from jobline.stats import counters_key
from tests.factories import JOB_ID
from tests.infra.deployment import as_list, definitions, functions, policy_statements, resources, statements, written

STAGES = pytest.mark.parametrize("stage", ["dev", "local"])

LISTED_WILDCARDS = {
    "/bodies/*",  # keys of the bucket under one prefix
    "/uploads/*",
    "/quarantine/*",
    "/stream/*",  # ListStreams takes nothing narrower
}
OTHER_TABLE = re.compile(r"arn:aws:dynamodb:[^:]*:[^:]*:table/[A-Za-z0-9_.-]+(/index/[A-Za-z0-9_.-]+)?")
"""A table with a written name is an adopter's, such as a worker's own: ours has the name that CloudFormation gives it."""


def allowed(stage: str, function: str, service: str) -> dict[str, set[str]]:
    """The calls to `service` that the function may make, by resource; an adopter's own tables are left out."""
    found: dict[str, set[str]] = {}
    for actions, targets in statements(stage, function):
        for target in targets:
            if OTHER_TABLE.fullmatch(target):
                continue
            calls = {action.partition(":")[2] for action in actions if action.startswith(f"{service}:")}
            if calls:
                found[target] = found.get(target, set()) | calls
    return found


def table_calls(stage: str, function: str) -> set[str]:
    [table] = resources(stage, "AWS::DynamoDB::Table")
    return allowed(stage, function, "dynamodb").get(table, set())


@STAGES
def test_no_function_may_read_the_whole_table_or_write_it_in_bulk(stage: str) -> None:
    for function in functions(stage):
        everything = set().union(*allowed(stage, function, "dynamodb").values())
        assert not everything & {"Scan", "BatchWriteItem", "DeleteTable", "UpdateTable", "PartiQLSelect", "PartiQLDelete"}


@STAGES
def test_the_api_may_delete_payloads_observer_and_workers_any_body_and_operations_alone_a_record(stage: str) -> None:
    both = {"*#payload#*", "*#result#*"}
    workers = definitions(stage).workers.keys() - {"operations"}
    deletable = {"api": {"*#payload#*"}, "observer": both, **dict.fromkeys(workers, both)}
    for function in functions(stage):
        deletes = [
            one
            for one in policy_statements(stage, function)
            if "dynamodb:DeleteItem" in as_list(one["Action"])
            and not all(OTHER_TABLE.fullmatch(written(target)) for target in as_list(one["Resource"]))
        ]
        conditions = [one["Condition"] for one in deletes if "Condition" in one]
        assert len(deletes) - len(conditions) == (function == "operations")
        assert len(conditions) == (function in deletable)
        for condition in conditions:
            assert condition.keys() == {"ForAllValues:StringLike"}
            assert set(as_list(condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])) == deletable[function]


@pytest.mark.parametrize("kind", ["payload", "result"])
def test_the_keys_that_may_be_deleted_are_those_of_bodies_of_that_kind(kind: Kind) -> None:
    other: Kind = "result" if kind == "payload" else "payload"
    items = MemoryItems()
    bodies = Bodies(cast(Any, items), "jobs", cast(Any, None), "")
    for put in (kind, other):
        bodies.put(JOB_ID, put, "x" * (INLINE_LIMIT + 1), version="1")
    ids = [*items.items, JOB_ID, counters_key(kind), state_key(kind)]
    assert [id for id in ids if fnmatchcase(id, f"*#{kind}#*")] == [ids[0]]


@STAGES
@pytest.mark.parametrize(
    ("function", "calls"),
    [
        ("api", {"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem", "PartiQLInsert"}),
        ("relay", set()),
        ("observer", {"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem"}),
        ("ticker", {"GetItem", "BatchGetItem", "PutItem", "UpdateItem"}),
        ("dead_letters", {"GetItem", "PutItem", "UpdateItem"}),
        ("notifications", {"GetItem", "PutItem", "UpdateItem", "PartiQLUpdate", "PartiQLInsert", "DeleteItem"}),
        ("scheduled", {"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "PartiQLUpdate", "PartiQLInsert", "DeleteItem"}),
        ("operations", {"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "PartiQLUpdate", "PartiQLInsert", "DeleteItem"}),
    ],
)
def test_a_function_may_make_the_calls_to_the_table_that_its_code_makes_and_no_others(stage: str, function: str, calls: set[str]) -> None:
    assert table_calls(stage, function) == calls


@STAGES
def test_only_api_ticker_and_operations_query_the_two_indexes_and_who_makes_reports_the_one(stage: str) -> None:
    [table] = resources(stage, "AWS::DynamoDB::Table")
    by_queue, by_attention = f"{table}/index/by_queue", f"{table}/index/by_attention"
    expected = {function: {by_queue, by_attention} for function in ("api", "ticker", "operations")} | {"scheduled": {by_queue}}
    for function in functions(stage):
        queried = {target for target, calls in allowed(stage, function, "dynamodb").items() if "Query" in calls}
        assert queried == expected.get(function, set())


@STAGES
def test_only_relay_and_observer_read_the_stream(stage: str) -> None:
    readers = {
        function for function in functions(stage) if any("GetRecords" in calls for calls in allowed(stage, function, "dynamodb").values())
    }
    assert readers == {"relay", "observer"}


def lanes(stage: str) -> set[str]:
    return {name for name in resources(stage, "AWS::SQS::Queue") if name.startswith("Queues") and not name[:-8].endswith("dead")}


@STAGES
def test_the_relay_sends_to_lanes_and_what_it_sets_aside_whoever_enqueues_to_ordered_lanes_and_operations_replies(stage: str) -> None:
    queues = resources(stage, "AWS::SQS::Queue")
    ordered = {name for name, queue in queues.items() if "FifoQueue" in queue}
    for function in functions(stage):
        targets = {target for target, calls in allowed(stage, function, "sqs").items() if "SendMessage" in calls}
        if function == "relay":
            assert targets == lanes(stage) | {name for name in queues if name.startswith("SetAside")}
        else:
            of_operations = {name for name in queues if name.startswith(("Queuesoperationsnormal", "Replies"))}
            own = of_operations if function == "operations" else set()
            assert targets == (ordered | own if function in {"api", *definitions(stage).workers} else set())


@STAGES
def test_only_workers_of_ordered_queues_put_messages_in_quarantine_beside_dead_letters(stage: str) -> None:
    [bucket] = resources(stage, "AWS::S3::Bucket")
    writers = {name for name in functions(stage) if "PutObject" in allowed(stage, name, "s3").get(f"{bucket}/quarantine/*", set())}
    assert writers == {"dead_letters", *(queue.worker for queue in definitions(stage).queues.values() if queue.ordered)}


@STAGES
def test_a_worker_receives_from_the_lanes_of_its_own_queues_alone(stage: str) -> None:
    for name in definitions(stage).workers:
        own = {queue.name for queue in definitions(stage).queues.values() if queue.worker == name}
        received = {target for target, calls in allowed(stage, name, "sqs").items() if "ReceiveMessage" in calls}
        assert received
        assert all(any(target.startswith(f"Queues{queue}") and "dead" not in target for queue in own) for target in received)


@STAGES
def test_dead_letters_receives_from_dead_letter_queues_alone_and_writes_to_quarantine_alone(stage: str) -> None:
    received = allowed(stage, "dead_letters", "sqs")
    assert len(received) == sum(not queue.ordered for queue in definitions(stage).queues.values())
    assert all("dead" in target for target in received)
    [bucket] = resources(stage, "AWS::S3::Bucket")
    assert allowed(stage, "dead_letters", "s3") == {f"{bucket}/quarantine/*": {"PutObject"}}


@STAGES
def test_relay_and_ticker_never_touch_the_bucket_and_the_observer_only_deletes_bodies(stage: str) -> None:
    for function in ("relay", "ticker"):
        assert allowed(stage, function, "s3") == {}
    [bucket] = resources(stage, "AWS::S3::Bucket")
    assert allowed(stage, "observer", "s3") == {f"{bucket}/bodies/*": {"DeleteObject"}}


@STAGES
def test_operations_alone_may_switch_the_mappings_of_lanes_and_not_of_its_own_queue(stage: str) -> None:
    delivering = {
        name
        for name, mapping in resources(stage, "AWS::Lambda::EventSourceMapping").items()
        if mapping["EventSourceArn"]["Fn::GetAtt"][0] in lanes(stage)
    }
    expected = {name for name in delivering if not name.startswith("Queuesoperations")}
    assert delivering - expected
    for function in functions(stage):
        switched = {
            target.rpartition(":")[2]
            for target, calls in allowed(stage, function, "lambda").items()
            if calls == {"UpdateEventSourceMapping"}
        }
        assert switched == (expected if function == "operations" else set())


@STAGES
def test_only_the_api_may_call_a_function_and_that_is_operations(stage: str) -> None:
    for function in functions(stage):
        called = {target for target, calls in allowed(stage, function, "lambda").items() if "InvokeFunction" in calls}
        assert called == ({functions(stage)["operations"][0]} if function == "api" else set())


@STAGES
def test_a_worker_may_do_what_its_file_says(stage: str) -> None:
    [bucket], [table] = resources(stage, "AWS::S3::Bucket"), resources(stage, "AWS::DynamoDB::Table")
    for name, worker in definitions(stage).workers.items():
        for permission in worker.permissions:
            for said in permission.resources:
                resource = said.replace("{bucket}", bucket).replace("{table}", table)
                granted = [actions for actions, targets in statements(stage, name) if resource in targets]
                assert set(permission.actions) <= set().union(*granted)


@STAGES
def test_no_action_is_a_wildcard_and_no_resource_is_beyond_the_listed_ones(stage: str) -> None:
    [bucket] = resources(stage, "AWS::S3::Bucket")
    said_by_workers = {
        resource.replace("{bucket}", bucket)
        for worker in definitions(stage).workers.values()
        for permission in worker.permissions
        for resource in permission.resources
    }
    for policy in resources(stage, "AWS::IAM::Policy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            assert not any("*" in action for action in as_list(statement["Action"]))
            if statement["Action"] == "scheduler:ListSchedules":
                continue  # takes no resource
            for resource in map(written, as_list(statement["Resource"])):
                of_schedules = re.search("schedule/SchedulesGroup[0-9A-F]{8}/[*]$", resource)  # they are named at run time
                assert "*" not in resource or resource in said_by_workers or resource.endswith(tuple(LISTED_WILDCARDS)) or of_schedules


@STAGES
def test_every_role_can_be_taken_by_one_service_alone(stage: str) -> None:
    for role in resources(stage, "AWS::IAM::Role").values():
        assert "ManagedPolicyArns" not in role
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"]["Service"] in {"lambda.amazonaws.com", "scheduler.amazonaws.com"}


@STAGES
def test_a_function_writes_its_own_log_alone(stage: str) -> None:
    for name, (_, function) in functions(stage).items():
        assert allowed(stage, name, "logs") == {function["LoggingConfig"]["LogGroup"]["Ref"]: {"CreateLogStream", "PutLogEvents"}}


@STAGES
def test_only_the_gateway_may_call_the_api_and_only_for_this_api(stage: str) -> None:
    [permission] = resources(stage, "AWS::Lambda::Permission").values()
    assert permission["Principal"] == "apigateway.amazonaws.com"
    [http_api] = resources(stage, "AWS::ApiGatewayV2::Api")
    assert {"Ref": http_api} in permission["SourceArn"]["Fn::Join"][1]
    assert json.dumps(permission["FunctionName"]) == json.dumps({"Fn::GetAtt": [functions(stage)["api"][0], "Arn"]})


def test_a_secret_named_without_its_last_six_characters_is_granted_whatever_they_are() -> None:
    named = definitions("local").workers["integrations"].secrets.values()
    assert allowed("local", "integrations", "secretsmanager") == {f"{arn}-??????": {"GetSecretValue"} for arn in named}
    assert all(arn.startswith("arn:aws:secretsmanager:eu-west-1:000000000000:") for arn in named)


def test_operations_alone_may_read_what_ends_of_jobs_are_signed_with() -> None:
    arn = definitions("local").callbacks.secret
    readers = {function for function in functions("local") if f"{arn}-??????" in allowed("local", function, "secretsmanager")}
    assert readers == {"operations"}
    assert allowed("dev", "operations", "secretsmanager") == {}, "no secret is named"
