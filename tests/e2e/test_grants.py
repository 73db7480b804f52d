"""Every grant is needed: each action of each statement is taken away in turn, and something fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from jobline.definitions import Definitions
from jobline.local_aws import ROOT
from jobline.local_stack import LocalStack
from tests.e2e import scenarios
from tests.e2e.client import Client
from tests.e2e.grants import Grant, Grants
from tests.e2e.scenarios import PATIENCE, World, Wrong

Scenario = Callable[[World], None]

NEEDED: Mapping[str, Scenario] = {
    "api: dynamodb:GetItem on table": scenarios.cancelled,
    "api: dynamodb:PutItem on table": scenarios.cancelled,
    "api: dynamodb:UpdateItem on table": scenarios.cancelled,
    "api: dynamodb:BatchGetItem on table": scenarios.counted,
    "api: dynamodb:PartiQLInsert on table": scenarios.many,
    "api: dynamodb:Query on indexes": scenarios.listed_by_attention,
    "api: dynamodb:DeleteItem on split bodies": scenarios.keyed,
    "api: s3:DeleteObject on bodies/*": scenarios.keyed_huge,
    "api: s3:GetObject on bodies/*": scenarios.keyed_huge,
    "api: s3:PutObject on bodies/*": scenarios.keyed_huge,
    "api: s3:GetObject on uploads/*": scenarios.uploaded,
    "api: s3:PutObject on uploads/*": scenarios.uploaded,
    "api: sqs:SendMessage on sqs": scenarios.ordered,
    "api: lambda:InvokeFunction on lambda": scenarios.paused,
    "api: scheduler:CreateSchedule on scheduler": scenarios.scheduled,
    "api: scheduler:DeleteSchedule on scheduler": scenarios.scheduled,
    "api: scheduler:GetSchedule on scheduler": scenarios.scheduled,
    "api: scheduler:ListSchedules on *": scenarios.scheduled,
    "api: scheduler:UpdateSchedule on scheduler": scenarios.scheduled,
    "relay: sqs:SendMessage on sqs": scenarios.small,
    "observer: dynamodb:GetItem on table": scenarios.observed_anew,
    "observer: dynamodb:PutItem on table": scenarios.small,
    "observer: dynamodb:BatchGetItem on table": scenarios.batched,
    "observer: dynamodb:UpdateItem on table": scenarios.batched,
    "observer: dynamodb:DeleteItem on split bodies": scenarios.expired,
    "observer: s3:DeleteObject on bodies/*": scenarios.expired_huge,
    "ticker: dynamodb:BatchGetItem on table": scenarios.ticked,
    "ticker: dynamodb:UpdateItem on table": scenarios.ticked,
    "ticker: dynamodb:GetItem on table": scenarios.ticked,
    "ticker: dynamodb:Query on indexes": scenarios.ticked,
    "dead_letters: dynamodb:GetItem on table": scenarios.given_up,
    "dead_letters: dynamodb:UpdateItem on table": scenarios.given_up,
    "dead_letters: dynamodb:PutItem on table": scenarios.given_up_and_told,
    "dead_letters: s3:PutObject on quarantine/*": scenarios.unreadable,
    "diagnostics: dynamodb:GetItem on table": scenarios.large,
    "diagnostics: dynamodb:PutItem on table": scenarios.large,
    "diagnostics: dynamodb:UpdateItem on table": scenarios.small,
    "diagnostics: dynamodb:PartiQLUpdate on table": scenarios.many,
    "diagnostics: s3:GetObject on bodies/*": scenarios.huge,
    "diagnostics: s3:PutObject on bodies/*": scenarios.huge,
    "diagnostics: sqs:ChangeMessageVisibility on sqs": scenarios.retried,
    "diagnostics: sqs:SendMessage on sqs": scenarios.ordered,
    "diagnostics: s3:PutObject on quarantine/*": scenarios.unreadable_in_order,
    "notifications: ses:SendEmail on *": scenarios.mailed,
    "notifications: s3:PutObject on receipts/*": scenarios.mailed,
    "media: s3:GetObject on *": scenarios.resized,
    "media: s3:PutObject on results/*": scenarios.resized,
    "documents: s3:GetObject on documents/*": scenarios.typeset,
    "documents: s3:PutObject on results/*": scenarios.typeset,
    "operations: dynamodb:GetItem on table": scenarios.paused,
    "operations: dynamodb:DeleteItem on table": scenarios.purged,
    "operations: dynamodb:BatchGetItem on table": scenarios.purged,
    "operations: dynamodb:Query on indexes": scenarios.purged,
    "operations: dynamodb:UpdateItem on table": scenarios.redriven,
    "operations: sqs:SendMessage on sqs": scenarios.replied,
    "operations: secretsmanager:GetSecretValue on secretsmanager": scenarios.called_back,
}
"""What fails without each grant."""

BY_NAME: Mapping[str, Scenario] = {name: scenario for name, scenario in sorted(vars(scenarios).items()) if scenario in NEEDED.values()}

UNCHECKED: Mapping[str, str] = {
    "logs:CreateLogStream on its log": "the local AWS writes logs itself: test_a_function_writes_its_own_log_alone",
    "logs:PutLogEvents on its log": "the same",
    "dynamodb:DescribeStream on stream": "the mapping's calls, not checked there: test_only_relay_and_observer_read_the_stream",
    "dynamodb:GetRecords on stream": "the same",
    "dynamodb:GetShardIterator on stream": "the same",
    "dynamodb:ListStreams on stream": "the same",
    "sqs:ReceiveMessage on sqs": "the mapping's calls: test_a_worker_receives_from_the_lanes_of_its_own_queues_alone and its like",
    "sqs:DeleteMessage on sqs": "the same",
    "sqs:GetQueueAttributes on sqs": "the same",
    "s3:ListBucket on s3": "asked by S3 alone, to tell a missing object from a forbidden one; the local AWS tells without",
    "iam:PassRole on iam": "not checked: test_the_api_changes_schedules_of_its_own_group_alone_and_hands_over_one_role",
    "lambda:UpdateEventSourceMapping on mappings": "not checked: test_operations_alone_may_switch_the_mappings_of_lanes",
}
"""Grants, of whatever function, that the local AWS does not ask for; template tests hold them."""

RARELY_USED: Mapping[str, str] = {
    "dead_letters: sqs:ChangeMessageVisibility on sqs": "a dead letter whose job is still held by a worker is hidden until then",
    "diagnostics: dynamodb:DeleteItem on split bodies": "a result whose finish came to nothing, since the lease was lost, is removed again",
    "diagnostics: s3:DeleteObject on bodies/*": "the same",
    "diagnostics: dynamodb:PartiQLInsert on table": "many children at once, as no handler here has them: test_notifications",
    "notifications: s3:GetObject on receipts/*": "another attempt after a mail was sent: test_send_email",
    "ticker: dynamodb:PutItem on table": "a recount, which the ticker asks for: test_operators has one",
}
"""Grants that only a rare fault calls for, too slow to be had here at will."""


_IMPORTED = "the example of data_import runs with it and nothing wider: test_imports"
_SCHEDULED = "the examples of docs/jobs/scheduled.md run with it and nothing wider: test_scheduled"
_NOTIFIED = "the examples of docs/jobs/notifications.md run with it and nothing wider: test_notifications"
_INTEGRATED = "the jobs of test_integrations run with it and nothing wider"
IN_EXAMPLES: Mapping[str, str] = {
    "notifications: s3:GetObject on attachments/*": _NOTIFIED,
    "notifications: s3:PutObject on results/*": "a newsletter's refused rows: test_batch_newsletter",
    "notifications: sns:Publish on *": _NOTIFIED,
    "integrations: s3:GetObject on crm/*": "records by reference: test_sync_to_crm",
    "integrations: s3:PutObject on crm/*": "what a CRM refuses: test_sync_to_crm",
    "integrations: secretsmanager:GetSecretValue on secretsmanager": _INTEGRATED,
    "imports: s3:GetObject on imports/*": _IMPORTED,
    "imports: s3:PutObject on imported/*": "partitions: test_data_import",
    "imports: dynamodb:DescribeTable on table": _IMPORTED,
    "imports: dynamodb:BatchWriteItem on table": _IMPORTED,
    "scheduled: s3:DeleteObject on temporary/*": "objects that are old: test_data_cleanup; none is, in a stack of this minute",
    "scheduled: s3:PutObject on results/*": _SCHEDULED,
    "scheduled: dynamodb:DescribeTable on table": _SCHEDULED,
    "scheduled: dynamodb:Scan on table": _SCHEDULED,
    "scheduled: dynamodb:DeleteItem on table": _SCHEDULED,
    "scheduled: dynamodb:Query on table": _SCHEDULED,
    "scheduled: dynamodb:Query on indexes": _SCHEDULED,
    "scheduled: dynamodb:BatchGetItem on table": _SCHEDULED,
    "scheduled: s3:GetObject on reports/*": _SCHEDULED,
    "scheduled: s3:PutObject on reports/*": _SCHEDULED,
}
"""Grants of workers whose jobs have tests of their own, on this stack or on moto; none of them is taken away here."""


@pytest.fixture(scope="module")
def grants(stack: LocalStack) -> Grants:
    return Grants(stack)


@pytest.fixture(scope="module")
def world(stack: LocalStack, client: Client) -> Iterator[World]:
    world = World(client, stack)
    yield world
    world.tidy_up()


def of_every_worker(grants: Grants, definitions: Definitions) -> dict[str, list[str]]:
    """Of each worker, what the worker of the diagnostics is granted as well: proved there, it is needed here by the same code."""
    of: dict[str, list[str]] = {}
    for grant in grants.all:
        of.setdefault(grant.function, []).append(grant.what)
    shared = set(of["diagnostics"]) - {"s3:PutObject on quarantine/*"}
    for worker in definitions.workers:
        assert shared - {"dynamodb:DeleteItem on split bodies"} <= set(of[worker]), f"{worker} lacks what every worker needs"
    return {worker: sorted(shared & set(of[worker])) for worker in definitions.workers if worker != "diagnostics"}


def test_every_grant_is_taken_away_below_or_listed_with_the_reason_why_not(grants: Grants) -> None:
    shared = of_every_worker(grants, Definitions.load(ROOT, "local"))
    there = {str(grant) for grant in grants.all}
    listed = {str(grant) for grant in grants.all if grant.what in UNCHECKED or grant.what in shared.get(grant.function, ())}
    assert there - listed - RARELY_USED.keys() - IN_EXAMPLES.keys() - NEEDED.keys() == set(), "say what fails without these"
    assert (NEEDED.keys() | RARELY_USED.keys() | IN_EXAMPLES.keys()) - there == set(), "nobody is granted these any more"
    assert UNCHECKED.keys() - {grant.what for grant in grants.all} == set()
    assert not NEEDED.keys() & RARELY_USED.keys()


@pytest.mark.parametrize("name", NEEDED)
def test_without_this_grant_something_fails(grants: Grants, world: World, name: str) -> None:
    (grant,) = (one for one in grants.all if str(one) == name)
    with grants.without(grant):
        assert failure(grants, world, grant, NEEDED[name]), f"nothing fails without {name}"


def failure(grants: Grants, world: World, grant: Grant, scenario: Scenario) -> str:
    """What fails in a scenario without this grant; nothing if all goes on as ever."""
    since = time.time()
    world.noticed = lambda: bool(grants.complaints(grant, since))
    try:
        scenario(world)
    except Wrong as error:
        return str(error)
    while time.time() < since + PATIENCE:
        if told := grants.complaints(grant, since):
            return told[0]
        time.sleep(0.1)
    return ""


@pytest.mark.parametrize("scenario", BY_NAME.values(), ids=BY_NAME)
def test_with_every_grant_nothing_fails(world: World, scenario: Scenario) -> None:
    world.noticed = lambda: False
    scenario(world)
