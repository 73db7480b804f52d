"""The queues in which ends of jobs are told: made with the stack, or somebody's own."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from aws_cdk.assertions import Template

from jobline.definitions import ReplyQueue
from jobline.settings import REPLIES
from tests.infra.deployment import definitions, make_stack

THEIRS = "arn:aws:sqs:eu-west-1:111122223333:answers.fifo"


def template_with(**replies: str | None) -> dict[str, Any]:
    declared = {name: ReplyQueue(name=name, queue=arn) for name, arn in replies.items()}
    stack = make_stack("dev", msgspec.structs.replace(definitions("dev"), replies=declared))
    return dict(Template.from_stack(stack).to_json())


def queues(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = template["Resources"].items()
    return {name: one["Properties"] for name, one in found if one["Type"] == "AWS::SQS::Queue" and name.startswith("Replies")}


def test_a_reply_queue_that_is_made_is_encrypted_takes_tls_alone_and_keeps_replies_for_two_weeks() -> None:
    template = template_with(answers=None)
    ((name, queue),) = queues(template).items()
    assert (queue["SqsManagedSseEnabled"], queue["MessageRetentionPeriod"]) == (True, 14 * 24 * 3600)
    policies = [one["Properties"] for one in template["Resources"].values() if one["Type"] == "AWS::SQS::QueuePolicy"]
    (policy,) = (policy for policy in policies if policy["Queues"] == [{"Ref": name}])
    assert "aws:SecureTransport" in json.dumps(policy)
    assert template["Outputs"]["ReplyQueueUrlAnswers"]["Value"] == {"Ref": name}


def test_a_queue_of_somebody_s_own_is_told_by_its_url_and_nothing_is_made() -> None:
    template = template_with(theirs=THEIRS)
    assert queues(template) == {}
    (told,) = (
        one["Properties"]["Environment"]["Variables"][REPLIES]
        for one in template["Resources"].values()
        if one["Type"] == "AWS::Lambda::Function" and REPLIES in one["Properties"].get("Environment", {}).get("Variables", {})
    )
    assert json.loads(told) == {"theirs": "https://sqs.eu-west-1.amazonaws.com/111122223333/answers.fifo"}
    senders = [
        one for one in template["Resources"].values() if one["Type"] in ("AWS::IAM::Policy", "AWS::IAM::Role") and THEIRS in json.dumps(one)
    ]
    assert len(senders) == 1
