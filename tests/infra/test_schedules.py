"""Schedules as they are deployed: declared ones, who may call and change them, and what happens to a call that fails."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.assertions import Template

from infra.bundling import Bundles
from infra.settings import settings_for
from jobline.declared_schedules import check_jobs
from jobline.definitions import Definitions
from jobline.errors import InvalidDefinitions
from jobline.types import Types
from tests.infra.deployment import ROOT, as_list, functions, make_stack, policy_statements, resources, written

NIGHTLY = """
[schedules.nightly]
cron = "30 2 * * *"
timezone = "Europe/Berlin"
flexible_window = "15m"
queue = "emails"
type = "send_email"
payload = { to = "ops@example.com", subject = "<aws.scheduler.schedule-arn>" }
priority = 8
"""


def load(tmp_path: Path, text: str, stage: str = "dev") -> Definitions:
    for file in ROOT.glob("functions/*/worker.toml"):
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    (tmp_path / "queues.toml").write_text((ROOT / "queues.toml").read_text() + text)
    return Definitions.load(tmp_path, stage)


@cache
def types() -> Types:
    return Bundles(ROOT, Definitions.load(ROOT, "dev"), settings_for("dev").target).types


def test_a_declared_schedule_is_what_the_api_would_have_made(tmp_path: Path) -> None:
    found = load(tmp_path, NIGHTLY)
    check_jobs(found, types())
    made = Template.from_stack(make_stack("dev", found)).find_resources("AWS::Scheduler::Schedule")
    [schedule] = [one["Properties"] for name, one in made.items() if name.startswith("Schedulesnightly")]
    assert schedule["Name"] == "nightly"
    assert (schedule["ScheduleExpression"], schedule["ScheduleExpressionTimezone"]) == ("cron(30 2 * * ? *)", "Europe/Berlin")
    assert (schedule["State"], schedule["FlexibleTimeWindow"]) == ("ENABLED", {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15})
    assert schedule["GroupName"]["Ref"].startswith("SchedulesGroup")
    given = json.loads(schedule["Target"]["Input"])
    assert json.loads(given["job"])["payload"] == {"to": "ops@example.com", "subject": "<aws.scheduler.schedule-arn>"}
    assert "<aws.scheduler.schedule-arn>" not in schedule["Target"]["Input"], "Scheduler would fill it in"


def test_what_queues_toml_declares_is_right_and_neither_deletes_nor_charges_nor_mails_as_it_stands() -> None:
    shipped = Definitions.load(ROOT, "dev")
    check_jobs(shipped, types())
    assert shipped.schedules.keys() == {"cleanup", "renewals", "report", "warm"}
    assert all(schedule.paused for schedule in shipped.schedules.values())
    for name in ("cleanup", "renewals"):
        assert json.loads(shipped.schedules[name].job)["payload"]["dry_run"] is True
    assert json.loads(shipped.schedules["report"].job)["payload"]["to"] == []


def test_a_schedule_is_in_the_stages_that_it_names(tmp_path: Path) -> None:
    text = NIGHTLY + 'stages = ["prod"]\n'
    assert "nightly" not in load(tmp_path, text).schedules
    assert "nightly" in load(tmp_path, text, "prod").schedules
    later = load(tmp_path, NIGHTLY + '[stages.prod.schedules.nightly]\ncron = "0 4 * * *"\npaused = true\n', "prod").schedules["nightly"]
    assert (later.cron, later.paused) == ("0 4 * * ? *", True)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('cron = "30 2 * * *"', ""), "schedules.nightly.cron: this is missing"),
        (('"30 2 * * *"', '"30 2 30 2 *"'), "schedules.nightly.cron: names no day that exists"),
        (('"30 2 * * *"', '"30 2 1 * MON"'), "schedules.nightly.cron: restricts both"),
        (('"Europe/Berlin"', '"Europe/Atlantis"'), "schedules.nightly.timezone: must be a time zone"),
        (("timezone =", "timezome ="), "schedules.nightly.timezome: there is no such key; did you mean 'timezone'"),
        (('queue = "emails"', 'queue = "email"'), "schedules.nightly.queue: stage local has no queue 'email'"),
        (('queue = "emails"', ""), "schedules.nightly.queue: is missing"),
        (("priority = 8", "priority = 80"), "schedules.nightly.priority: must be a whole number"),
        (("priority = 8", 'rate = "5 minutes"'), "schedules.nightly.rate: there is no such key"),
        (("[schedules.nightly]", "[schedules.Nightly]"), "schedules.Nightly: a schedule's name is"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    assert change[0] in NIGHTLY
    with pytest.raises(InvalidDefinitions) as refused:
        load(tmp_path, NIGHTLY.replace(*change))
    told = str(refused.value).replace(" (with [stages.local])", "")
    assert told.startswith(f"queues.toml: {sentence}"), told


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("to =", "two ="), "queues.toml: schedules.nightly.payload"),
        (('type = "send_email"', 'type = "send_mail"'), "queues.toml: schedules.nightly.type: queue 'emails' has no type 'send_mail'"),
    ],
)
def test_a_payload_that_does_not_fit_its_type_is_refused_before_anything_is_deployed(
    tmp_path: Path, change: tuple[str, str], sentence: str
) -> None:
    with pytest.raises(InvalidDefinitions) as refused:
        check_jobs(load(tmp_path, NIGHTLY.replace(*change)), types())
    assert str(refused.value).startswith(sentence), refused.value


def api_may(service: str) -> list[dict[str, Any]]:
    return [one for one in policy_statements("dev", "api") if any(action.startswith(service) for action in as_list(one["Action"]))]


def test_the_api_changes_schedules_of_its_own_group_alone_and_hands_over_one_role() -> None:
    of_group, of_all = sorted(api_may("scheduler:"), key=lambda one: len(as_list(one["Action"])), reverse=True)
    assert set(of_group["Action"]) == {f"scheduler:{call}Schedule" for call in ("Create", "Delete", "Get", "Update")}
    assert "schedule/SchedulesGroup" in written(of_group["Resource"])
    assert (of_all["Action"], of_all["Resource"]) == ("scheduler:ListSchedules", "*")
    [passing] = api_may("iam:")
    assert passing["Action"] == "iam:PassRole"
    assert passing["Resource"]["Fn::GetAtt"][0].startswith("SchedulesRole")
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}


def test_scheduler_may_call_the_operations_function_for_this_group_alone() -> None:
    [role] = [one for name, one in resources("dev", "AWS::IAM::Role").items() if name.startswith("SchedulesRole")]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"]["StringEquals"]["aws:SourceArn"]["Fn::GetAtt"][0].startswith("SchedulesGroup")
    [policy] = [one for name, one in resources("dev", "AWS::IAM::Policy").items() if name.startswith("SchedulesRole")]
    may = {one["Action"]: one["Resource"]["Fn::GetAtt"][0] for one in policy["PolicyDocument"]["Statement"]}
    assert may["lambda:InvokeFunction"] == functions("dev")["operations"][0]
    assert may["sqs:SendMessage"].startswith("SetAside")
    assert len(may) == 2


def test_a_call_that_fails_is_repeated_by_lambda_and_then_kept_in_the_queue_of_operations() -> None:
    [repeat] = [one for name, one in resources("dev", "AWS::Lambda::EventInvokeConfig").items() if name.startswith("Schedules")]
    assert repeat["FunctionName"] == {"Ref": functions("dev")["operations"][0]}
    assert (repeat["MaximumRetryAttempts"], repeat["MaximumEventAgeInSeconds"], repeat["Qualifier"]) == (2, 21600, "$LATEST")
    assert repeat["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0].startswith("Queuesoperationsnormal")
