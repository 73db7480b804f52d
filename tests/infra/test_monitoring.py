"""What CloudWatch watches of a deployment: each alarm has a figure that somebody tells, and says what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.idle_cost import alarms_of
from jobline.definitions import ApiAccess, Definitions, Jwt, Monitoring, Queue, QueueAlarms, Worker
from jobline.gauges import GAUGES, NAMESPACE
from jobline.quarantine import QUARANTINED
from tests.infra.test_deployment_settings import made, of_type, outputs

EVERY = QueueAlarms(dead=1, depth=1000, age=900, run_time=30, error_rate=0.2, workers=1)
TOPIC = "arn:aws:sns:eu-west-1:111122223333:on-call"
OF_AWS = {
    "AWS/ApiGateway": {"5xx"},
    "AWS/Lambda": {"Errors", "Invocations", "IteratorAge"},
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible"},
}
"""Metrics that AWS makes itself, as its own pages name them ("Monitoring … metrics" of each service)."""


def deployment(*, alarms: QueueAlarms | None = None, ordered: bool = False, **settings: Any) -> Definitions:
    queue = Queue(name="emails", worker="emails", concurrency=2, ordered=ordered, alarms=alarms or QueueAlarms())
    queues = {"emails": queue, "operations": Queue(name="operations", worker="operations", concurrency=2)}
    workers = {"emails": Worker(name="emails"), "operations": Worker(name="operations")}
    return Definitions(stage="dev", queues=queues, workers=workers, **settings)


def alarms(template: dict[str, Any]) -> list[dict[str, Any]]:
    return list(of_type(template, "AWS::CloudWatch::Alarm").values())


def told_by_filters(template: dict[str, Any]) -> set[str]:
    filters = of_type(template, "AWS::Logs::MetricFilter").values()
    return {one["MetricName"] for made in filters for one in made["MetricTransformations"]}


def test_every_alarm_watches_a_figure_that_is_told() -> None:
    template = made(deployment(alarms=EVERY))
    ours = {gauge.metric for gauge in GAUGES.values()} | told_by_filters(template)
    for alarm in alarms(template):
        known = ours if alarm["Namespace"] == NAMESPACE else OF_AWS[alarm["Namespace"]]
        assert alarm["MetricName"] in known, alarm


def test_every_alarm_says_which_command_to_begin_with() -> None:
    for alarm in alarms(made(deployment(alarms=EVERY))):
        assert "See: jobs " in alarm["AlarmDescription"], alarm
        assert len(alarm["AlarmDescription"]) <= 1024


def test_a_queue_without_alarms_of_its_own_costs_none_and_the_deployment_watches_itself() -> None:
    said = {alarm["AlarmDescription"].partition(" See:")[0] for alarm in alarms(made(deployment()))}
    assert "There are dead jobs." in said
    assert "The ticker does not run." in said
    assert "The worker emails cannot start, crashes or runs out of time or memory." in said
    assert not any(sentence.startswith("emails:") for sentence in said)


def test_a_silent_ticker_is_no_good_news() -> None:
    [silent] = [one for one in alarms(made(deployment())) if one["MetricName"] == "Invocations"]
    assert (silent["TreatMissingData"], silent["ComparisonOperator"], silent["Threshold"]) == ("breaching", "LessThanThreshold", 1)
    others = [one for one in alarms(made(deployment(alarms=EVERY))) if one["MetricName"] != "Invocations"]
    assert {one["TreatMissingData"] for one in others} == {"notBreaching"}


@pytest.mark.parametrize("key", QueueAlarms.__struct_fields__)
def test_each_alarm_of_a_queue_can_be_asked_for_alone(key: str) -> None:
    value = getattr(EVERY, key)
    template = made(deployment(alarms=QueueAlarms(**{key: value})))
    [alarm] = [one for one in alarms(template) if one["AlarmDescription"].startswith("emails: ")]
    assert {one["Name"]: one["Value"] for one in alarm["Dimensions"]} == {"stack": "Jobline-dev", "queue": "emails"}
    assert alarm["MetricName"] == GAUGES[key].metric
    assert alarm["Threshold"] == (1 if key == "workers" else value)


def test_whoever_is_to_be_told_is_told_when_it_rings_and_when_it_is_over() -> None:
    for alarm in alarms(made(deployment(alarms=EVERY, monitoring=Monitoring(notify=(TOPIC,))))):
        assert alarm["AlarmActions"] == alarm["OKActions"] == [TOPIC]


def test_alarms_of_the_deployment_can_be_left_out_and_those_of_queues_stay() -> None:
    template = made(deployment(alarms=QueueAlarms(depth=5), monitoring=Monitoring(alarms=False)))
    assert [one["MetricName"] for one in alarms(template)] == ["pending"]
    assert not of_type(template, "AWS::Logs::MetricFilter")


def test_a_message_in_quarantine_is_counted_wherever_it_is_put_there() -> None:
    assert len(of_type(made(deployment()), "AWS::Logs::MetricFilter")) == 1
    filters = of_type(made(deployment(ordered=True)), "AWS::Logs::MetricFilter").values()
    assert len(filters) == 2, "an ordered queue has no dead-letter queue: its worker puts it there"
    assert {one["FilterPattern"] for one in filters} == {f'{{ $.message = "{QUARANTINED}" }}'}


def test_a_dashboard_is_made_where_it_is_asked_for_with_every_queue_and_function() -> None:
    assert not of_type(made(deployment()), "AWS::CloudWatch::Dashboard")
    [board] = of_type(made(deployment(monitoring=Monitoring(dashboard=True))), "AWS::CloudWatch::Dashboard").values()
    body = json.loads("".join(part if isinstance(part, str) else "x" for part in board["DashboardBody"]["Fn::Join"][1]))
    titles = [widget["properties"]["title"] for widget in body["widgets"]]
    assert {"emails: messages that wait", "operations: messages that wait", "API: errors", "Dead jobs"} <= set(titles)
    [errors] = [widget["properties"] for widget in body["widgets"] if widget["properties"]["title"] == "Functions: errors"]
    assert len(errors["metrics"]) == 7


@pytest.mark.parametrize(
    "definitions",
    [
        deployment(),
        deployment(alarms=EVERY),
        deployment(monitoring=Monitoring(alarms=False), alarms=EVERY),
        deployment(access=ApiAccess(jwt=Jwt(issuer="https://login.example.com", audience=("jobline",)))),
    ],
)
def test_the_bill_at_rest_counts_the_alarms_that_are_made(definitions: Definitions) -> None:
    template = made(definitions)
    assert len(alarms(template)) == alarms_of(definitions)
    assert "TableName" in outputs(template)
