"""What must hold of the deployed stack."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from aws_cdk.assertions import Template

from infra.constructs.job_queue import MAX_RECEIVE_COUNT, VISIBILITY_FACTOR
from jobline.api_routes import ROUTES
from jobline.definitions import Definitions, Queue, Worker
from jobline.errors import InvalidDefinitions
from jobline.long_poll import LONGEST_WAIT
from jobline.settings import (
    BUCKET,
    LANES,
    MAPPINGS,
    OPERATIONS_FUNCTION,
    QUEUE_URL_BASE,
    REPLIES,
    SCHEDULES,
    SET_ASIDE_QUEUE,
    STACK,
    STAGE,
    TABLE,
    WORKER,
)
from tests.infra.deployment import OWN_FUNCTIONS, as_list, definitions, functions, make_stack, mappings, resources, template, the

BOTH = pytest.mark.parametrize("stage", ["dev", "local"])


# ---- queues


def lanes(stage: str) -> dict[str, dict[str, object]]:
    return {name: queue for name, queue in resources(stage, "AWS::SQS::Queue").items() if re.match(r"Queues(?!.*dead[0-9A-F]{8}$)", name)}


def ordered_lanes(stage: str) -> dict[str, dict[str, object]]:
    return {name: queue for name, queue in lanes(stage).items() if "FifoQueue" in queue}


@BOTH
def test_every_lane_but_an_ordered_one_redrives_to_the_dead_letter_queue_of_its_own_queue(stage: str) -> None:
    assert len(lanes(stage)) == sum(len(queue.lane_names) for queue in definitions(stage).queues.values())
    for name, lane in lanes(stage).items():
        if name in ordered_lanes(stage):
            continue
        policy = lane["RedrivePolicy"]
        assert isinstance(policy, dict)
        assert policy["maxReceiveCount"] == MAX_RECEIVE_COUNT
        target = policy["deadLetterTargetArn"]["Fn::GetAtt"][0]
        own = re.sub(r"(high|normal|low)[0-9A-F]{8}$", "dead", name)
        assert re.fullmatch(own + "[0-9A-F]{8}", target)


@BOTH
def test_an_ordered_queue_has_one_fifo_lane_with_no_dead_letter_queue_that_would_take_a_head_away(stage: str) -> None:
    assert len(ordered_lanes(stage)) == sum(queue.ordered for queue in definitions(stage).queues.values()) == 1
    for lane in ordered_lanes(stage).values():
        assert lane["FifoQueue"] is True
        assert "RedrivePolicy" not in lane
        assert "ContentBasedDeduplication" not in lane
        assert (lane["DeduplicationScope"], lane["FifoThroughputLimit"]) == ("messageGroup", "perMessageGroupId")


def test_who_enqueues_may_send_into_every_lane_of_a_low_latency_queue() -> None:
    names = ("fast", "operations")
    workers = {name: Worker(name=name) for name in names}
    queues = {name: Queue(name=name, worker=name, low_latency=name == "fast") for name in names}
    found = Template.from_stack(make_stack("dev", Definitions(stage="dev", queues=queues, workers=workers)))
    policies = found.find_resources("AWS::IAM::Policy").items()
    for function in ("Api", "Fast", "Operations"):
        [policy] = [policy for name, policy in policies if name.startswith(f"{function}Role")]
        statements = policy["Properties"]["PolicyDocument"]["Statement"]
        sends = [lane for one in statements if "sqs:SendMessage" in as_list(one["Action"]) for lane in as_list(one["Resource"])]
        lanes = {re.sub("[0-9A-F]{8}$", "", lane["Fn::GetAtt"][0]) for lane in sends} - {"Queuesoperationsnormal"}
        assert lanes == {"Queuesfasthigh", "Queuesfastnormal", "Queuesfastlow"}


@BOTH
def test_workers_whose_jobs_are_sent_by_jobs_directly_are_not_stopped_by_lambda_as_a_loop(stage: str) -> None:
    loops = {name for name, (_, function) in functions(stage).items() if function.get("RecursiveLoop") == "Allow"}
    assert loops == set(definitions(stage).workers)
    names = ("q", "operations")
    queues, workers = {name: Queue(name=name, worker=name) for name in names}, {name: Worker(name=name) for name in names}
    alone = make_stack("dev", Definitions(stage="dev", queues=queues, workers=workers))
    properties = Template.from_stack(alone).find_resources("AWS::Lambda::Function").values()
    assert not any("RecursiveLoop" in function["Properties"] for function in properties)


@BOTH
def test_no_other_queue_may_use_a_lane_as_its_dead_letter_queue(stage: str) -> None:
    for lane in lanes(stage).values():
        assert lane["RedriveAllowPolicy"] == {"redrivePermission": "denyAll"}


@BOTH
def test_a_message_stays_hidden_for_six_times_the_timeout_of_the_function_that_takes_it(stage: str) -> None:
    queues = resources(stage, "AWS::SQS::Queue")
    for source, function, _ in mappings(stage):
        if source in queues:
            assert queues[source]["VisibilityTimeout"] == VISIBILITY_FACTOR * functions(stage)[function][1]["Timeout"]


@BOTH
def test_every_queue_is_encrypted_and_keeps_messages_for_fourteen_days(stage: str) -> None:
    for queue in resources(stage, "AWS::SQS::Queue").values():
        assert queue["SqsManagedSseEnabled"] is True
        assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_every_queue_and_the_bucket_refuse_plain_http() -> None:
    guarded = [queue["Ref"] for policy in resources("dev", "AWS::SQS::QueuePolicy").values() for queue in policy["Queues"]]
    assert sorted(guarded) == sorted(resources("dev", "AWS::SQS::Queue"))
    policies = [*resources("dev", "AWS::SQS::QueuePolicy").values(), the("dev", "AWS::S3::BucketPolicy")]
    for policy in policies:
        [statement] = policy["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


@BOTH
def test_every_lane_is_served_by_its_worker_with_its_share_of_the_concurrency(stage: str) -> None:
    served = {(source, function): mapping for source, function, mapping in mappings(stage)}
    for name, queue in definitions(stage).queues.items():
        for lane, share in queue.lane_concurrency.items():
            own = "ordered" if queue.ordered else lane
            [mapping] = [
                mapping
                for (source, function), mapping in served.items()
                if function == queue.worker and re.fullmatch(f"Queues{name}{own}[0-9A-F]{{8}}", source)
            ]
            assert mapping["ScalingConfig"] == {"MaximumConcurrency": share}
            assert mapping["BatchSize"] == queue.batch_size


@BOTH
def test_every_queue_mapping_answers_message_by_message(stage: str) -> None:
    for source, _, mapping in mappings(stage):
        if source in resources(stage, "AWS::SQS::Queue"):
            assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


@BOTH
def test_every_dead_letter_queue_is_consumed(stage: str) -> None:
    consumed = [source for source, function, _ in mappings(stage) if function == "dead_letters"]
    assert len(consumed) == len(set(consumed)) == sum(not queue.ordered for queue in definitions(stage).queues.values())
    assert all("dead" in source for source in consumed)


def test_more_queues_than_the_relay_can_be_told_of_are_refused_in_one_sentence() -> None:
    worker = Worker(name="notifications")
    many = {name: Queue(name=name, worker=worker.name) for name in (f"queue-number-{number}" for number in range(30))}
    with pytest.raises(InvalidDefinitions, match="30 queues with 90 lanes are more than the relay can be told of"):
        make_stack("dev", Definitions(stage="dev", queues=many, workers={worker.name: worker}))


# ---- table and stream


def test_outside_local_the_table_survives_every_mistake() -> None:
    [table] = [resource for resource in template("dev")["Resources"].values() if resource["Type"] == "AWS::DynamoDB::Table"]
    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert table["Properties"]["DeletionProtectionEnabled"] is True
    assert table["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_a_local_deployment_leaves_nothing_behind() -> None:
    for resource in template("local")["Resources"].values():
        assert resource.get("DeletionPolicy", "Delete") == "Delete"
        assert not resource.get("Properties", {}).get("DeletionProtectionEnabled")


@BOTH
def test_the_table_is_paid_by_use_streams_both_images_and_forgets_by_ttl(stage: str) -> None:
    table = the(stage, "AWS::DynamoDB::Table")
    assert table["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}


@BOTH
def test_both_indexes_hold_keys_alone(stage: str) -> None:
    indexes = the(stage, "AWS::DynamoDB::Table")["GlobalSecondaryIndexes"]
    assert {index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]] for index in indexes} == {
        "by_queue": ["queue_shard", "created_at"],
        "by_attention": ["attention", "attention_at"],
    }
    assert all(index["Projection"] == {"ProjectionType": "KEYS_ONLY"} for index in indexes)


def stream_mapping(stage: str, function: str) -> dict[str, object]:
    [mapping] = [mapping for source, reader, mapping in mappings(stage) if reader == function and source.startswith("JobsTable")]
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    return mapping


def patterns(mapping: dict[str, object]) -> list[object]:
    criteria = mapping["FilterCriteria"]
    assert isinstance(criteria, dict)
    return [json.loads(one["Pattern"]) for one in criteria["Filters"]]


@BOTH
def test_the_relay_sees_waiting_jobs_at_once_and_sets_aside_what_lambda_gives_up_on(stage: str) -> None:
    mapping = stream_mapping(stage, "relay")
    image = {"status": {"S": ["pending", "failed"]}, "dispatch": {"N": [{"exists": True}]}}
    assert patterns(mapping) == [{"dynamodb": {"NewImage": image}}]
    assert "MaximumBatchingWindowInSeconds" not in mapping
    assert "MaximumRetryAttempts" not in mapping  # a transient failure is repeated until the stream itself forgets
    assert mapping["BatchSize"] == 100
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["DestinationConfig"] == {"OnFailure": {"Destination": {"Fn::GetAtt": [set_aside(stage), "Arn"]}}}


@BOTH
def test_the_observer_sees_every_change_of_a_job_in_large_batches_that_are_never_cut_up(stage: str) -> None:
    mapping = stream_mapping(stage, "observer")
    exists = {"dispatch": {"N": [{"exists": True}]}}
    assert patterns(mapping) == [{"dynamodb": {"NewImage": exists}}, {"dynamodb": {"OldImage": exists}}]
    assert (mapping["BatchSize"], mapping["MaximumBatchingWindowInSeconds"]) == (1000, 5)
    assert mapping["TumblingWindowInSeconds"] == 900  # Lambda then names the shard, which the counters' marks are kept by
    assert not {"BisectBatchOnFunctionError", "FunctionResponseTypes", "MaximumRetryAttempts"} & mapping.keys()


def set_aside(stage: str) -> str:
    [name] = [name for name in resources(stage, "AWS::SQS::Queue") if name.startswith("SetAside")]
    return name


@BOTH
def test_the_stream_has_two_readers(stage: str) -> None:
    readers = [function for source, function, _ in mappings(stage) if source.startswith("JobsTable")]
    assert sorted(readers) == ["observer", "relay"]  # DynamoDB throttles a third (DynamoDB Streams, quotas)


@BOTH
def test_the_ticker_runs_each_minute_and_a_failed_tick_is_not_repeated(stage: str) -> None:
    [schedule] = [one for name, one in resources(stage, "AWS::Scheduler::Schedule").items() if name.startswith("Minute")]
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert schedule["Target"]["Arn"] == {"Fn::GetAtt": [functions(stage)["ticker"][0], "Arn"]}
    assert schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
    ticker = {"Ref": functions(stage)["ticker"][0]}
    [calls] = [one for one in resources(stage, "AWS::Lambda::EventInvokeConfig").values() if one["FunctionName"] == ticker]
    assert calls["MaximumRetryAttempts"] == 0
    assert functions(stage)["ticker"][1]["Timeout"] < 60  # two ticks never run together


# ---- bucket


@BOTH
def test_nothing_in_the_bucket_is_public_or_plain_or_kept_for_ever(stage: str) -> None:
    bucket = the(stage, "AWS::S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert (rules["quarantine"]["Prefix"], rules["quarantine"]["ExpirationInDays"]) == ("quarantine/", 90)
    assert (rules["uploads"]["Prefix"], rules["uploads"]["ExpirationInDays"]) == ("uploads/", 1)
    assert rules["bodies"]["Prefix"] == "bodies/"
    assert rules["bodies"]["ExpirationInDays"] > 365 + definitions(stage).retention_seconds / 86400


# ---- the API


@BOTH
def test_every_route_of_the_contract_is_there_and_signed(stage: str) -> None:
    routes = resources(stage, "AWS::ApiGatewayV2::Route").values()
    assert sorted(route["RouteKey"] for route in routes) == sorted(["$default", *(f"{route.method} {route.path}" for route in ROUTES)])
    assert {route["AuthorizationType"] for route in routes} == {"AWS_IAM"}


def test_the_api_has_time_to_wait_for_a_job_and_to_answer_before_the_gateway_ends_the_request() -> None:
    functions = resources("prod", "AWS::Lambda::Function").values()
    (api,) = [function for function in functions if function["Handler"] == "functions.api.handler.handler"]
    (integration,) = resources("prod", "AWS::ApiGatewayV2::Integration").values()
    assert LONGEST_WAIT.total_seconds() + 3 <= api["Timeout"] == integration["TimeoutInMillis"] / 1000 < 30


@BOTH
def test_the_api_is_throttled_and_logs_who_asked_for_what(stage: str) -> None:
    http_stage = the(stage, "AWS::ApiGatewayV2::Stage")
    assert http_stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 500, "ThrottlingBurstLimit": 1000}
    assert {"$context.identity.userArn", "$context.status"} < set(json.loads(http_stage["AccessLogSettings"]["Format"]).values())


@BOTH
def test_the_api_gets_the_second_payload_format_and_less_time_than_the_gateway_has(stage: str) -> None:
    integration = the(stage, "AWS::ApiGatewayV2::Integration")
    assert (integration["PayloadFormatVersion"], integration["TimeoutInMillis"]) == ("2.0", 29_000)


# ---- functions


def test_functions_run_on_arm_with_python_3_13() -> None:
    for _, function in functions("dev").values():
        assert (function["Architectures"], function["Runtime"]) == (["arm64"], "python3.13")


@BOTH
def test_there_is_a_function_per_worker_beside_our_own(stage: str) -> None:
    assert functions(stage).keys() == {*OWN_FUNCTIONS, *definitions(stage).workers}


@BOTH
def test_a_worker_has_the_memory_the_time_and_the_settings_of_its_file(stage: str) -> None:
    for name, worker in definitions(stage).workers.items():
        _, function = functions(stage)[name]
        assert (function["MemorySize"], function["Timeout"]) == (worker.memory, worker.timeout)
        assert worker.environment.items() <= function["Environment"]["Variables"].items()


@BOTH
def test_every_function_has_a_role_and_a_log_of_its_own(stage: str) -> None:
    found = [function for _, function in functions(stage).values()]
    assert len({json.dumps(function["Role"]) for function in found}) == len(found)
    assert len({json.dumps(function["LoggingConfig"]["LogGroup"]) for function in found}) == len(found)


@BOTH
def test_logs_end_after_a_month_and_have_no_line_of_lambdas_own_below_a_warning(stage: str) -> None:
    assert {log["RetentionInDays"] for log in resources(stage, "AWS::Logs::LogGroup").values()} == {30}
    for _, function in functions(stage).values():
        assert function["LoggingConfig"].items() >= {"LogFormat": "JSON", "SystemLogLevel": "WARN"}.items()


@BOTH
def test_every_function_is_told_what_it_reads_and_nothing_else(stage: str) -> None:
    told = {
        name: {key for key in function["Environment"]["Variables"] if key.startswith("JOBLINE_")}
        for name, (_, function) in functions(stage).items()
    }
    for_worker = {STAGE, TABLE, BUCKET, WORKER, QUEUE_URL_BASE, LANES}
    assert told == {
        "api": {STAGE, TABLE, BUCKET, OPERATIONS_FUNCTION, QUEUE_URL_BASE, LANES, SCHEDULES},
        "relay": {STAGE, TABLE, QUEUE_URL_BASE, LANES, SET_ASIDE_QUEUE},
        "observer": {STAGE, TABLE, BUCKET},
        "ticker": {STAGE, STACK, TABLE},
        "dead_letters": {STAGE, TABLE, BUCKET, QUEUE_URL_BASE},
        **dict.fromkeys(definitions(stage).workers, for_worker),
        "operations": {*for_worker, MAPPINGS, REPLIES},
    }


@BOTH
def test_operations_knows_every_lane_s_mapping_but_its_own(stage: str) -> None:
    value = functions(stage)["operations"][1]["Environment"]["Variables"][MAPPINGS]
    text = "".join(part if isinstance(part, str) else part["Ref"] for part in value["Fn::Join"][1])
    sources = {name: mapping["EventSourceArn"] for name, mapping in resources(stage, "AWS::Lambda::EventSourceMapping").items()}
    queues = definitions(stage).queues
    told = json.loads(text)
    assert {name: len(ids) for name, ids in told.items()} == {
        name: len(queue.lane_names) for name, queue in queues.items() if name != "operations"
    }
    for name, ids in told.items():
        assert {sources[id]["Fn::GetAtt"][0] for id in ids} <= {lane for lane in lanes(stage) if lane.startswith(f"Queues{name}")}


@BOTH
def test_a_deploy_says_nothing_of_whether_a_queue_is_paused(stage: str) -> None:
    assert all("Enabled" not in mapping for mapping in resources(stage, "AWS::Lambda::EventSourceMapping").values())


def lanes_told(stage: str, function: str) -> dict[str, dict[str, str]]:
    value = functions(stage)[function][1]["Environment"]["Variables"][LANES]
    text = "".join(part if isinstance(part, str) else part["Fn::GetAtt"][0] for part in value["Fn::Join"][1])
    return dict(json.loads(text))


@BOTH
def test_the_api_and_the_workers_know_the_lanes_of_ordered_queues_alone(stage: str) -> None:
    for function in ("api", *definitions(stage).workers):
        assert list(lanes_told(stage, function)) == ["ledger"]
        assert set(lanes_told(stage, function)["ledger"].values()) == set(ordered_lanes(stage))


@BOTH
def test_the_relay_knows_the_name_of_every_lane(stage: str) -> None:
    found = lanes_told(stage, "relay")
    assert {name: list(names) for name, names in found.items()} == {
        name: list(queue.lane_names) for name, queue in definitions(stage).queues.items()
    }
    assert sorted(name for names in found.values() for name in names.values()) == sorted(lanes(stage))


# ---- the whole


PHYSICAL_NAMES = {"BucketName", "FunctionName", "LogGroupName", "Name", "QueueName", "RoleName", "TableName"}
NAMES_NOTHING = {
    ("AWS::ApiGatewayV2::Api", "Name"),  # required, and need not be unique
    ("AWS::Lambda::EventInvokeConfig", "FunctionName"),  # refers to a function
    ("AWS::Lambda::EventSourceMapping", "FunctionName"),
    ("AWS::Lambda::Permission", "FunctionName"),
    ("AWS::Logs::MetricFilter", "LogGroupName"),  # refers to a log group
    ("AWS::Scheduler::Schedule", "Name"),  # in a group of the stack's own, whose name is none of ours
}


@BOTH
def test_no_resource_has_a_physical_name(stage: str) -> None:
    for resource in template(stage)["Resources"].values():
        named = {(resource["Type"], name) for name in PHYSICAL_NAMES & resource.get("Properties", {}).keys()}
        assert named <= NAMES_NOTHING


REFUSED_LOCALLY = {
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::Events::Archive",
    "AWS::Logs::QueryDefinition",
    "AWS::Pipes::Pipe",
    "AWS::S3::BucketPolicy",  # the only ones we have refuse plain HTTP, which is all that the local AWS speaks
    "AWS::SQS::QueuePolicy",
}


def test_the_local_stack_has_no_resource_that_the_local_aws_refuses() -> None:
    assert not {resource["Type"] for resource in template("local")["Resources"].values()} & REFUSED_LOCALLY


def test_local_and_dev_differ_in_nothing_but_what_local_cannot_have() -> None:
    def types(stage: str) -> list[str]:
        resources = template(stage)["Resources"].values()
        found = [resource["Type"] for resource in resources if not is_declared(resource)]
        return sorted(kind for kind in found if kind not in REFUSED_LOCALLY)

    def is_declared(resource: dict[str, Any]) -> bool:
        """Whether it is a schedule of queues.toml, which says itself in which stages it is."""
        return resource["Type"] == "AWS::Scheduler::Schedule" and "Name" in resource["Properties"]

    assert types("local") == types("dev")


@BOTH
def test_every_schedule_with_a_name_is_in_the_stack_s_own_group(stage: str) -> None:
    schedules = [one["Properties"] for one in template(stage)["Resources"].values() if one["Type"] == "AWS::Scheduler::Schedule"]
    named = [schedule for schedule in schedules if "Name" in schedule]
    assert {schedule["Name"] for schedule in named} == set(definitions(stage).schedules)
    assert all("Ref" in schedule["GroupName"] for schedule in named)


@BOTH
def test_a_deployment_says_where_it_is(stage: str) -> None:
    access = {"JobsRead", "JobsWrite", "JobsAdmin"}
    assert template(stage)["Outputs"].keys() == {"ApiUrl", "TableName", "BucketName", "ReplyQueueUrlAnswers", *access}


def test_diagnostics_are_not_deployed_to_production() -> None:
    assert "diagnostics" in functions("dev")
    assert "diagnostics" not in functions("prod")
