"""What a handler can ask of its context."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from jobline.context import Context, Toolbox
from jobline.errors import InvalidSettings
from jobline.job import Job, Status
from jobline.testing import RecordedLease, make_context

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class HandSetClock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class CountingFactory:
    """Makes clients of moto's AWS and counts them."""

    made: list[str] = field(default_factory=list)

    def __call__(self, service: str) -> Any:
        self.made.append(service)
        return boto3.client(service, region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")  # type: ignore[call-overload]


def toolbox(clock: HandSetClock, factory: CountingFactory, secrets: dict[str, str]) -> Toolbox:
    return Toolbox(client=factory, stage="dev", bucket="data", settings={"SENDER": "a@b.c"}, secrets=secrets, clock=clock)


def test_the_context_tells_its_job() -> None:
    ctx = make_context(
        "resize", id="0197a000-0000-7000-8000-00000000000a", attempt=2, max_attempts=5, tags=("a", "b"), stage="dev", bucket="data"
    )
    assert (ctx.id, ctx.queue, ctx.type, ctx.attempt, ctx.max_attempts) == ("0197a000-0000-7000-8000-00000000000a", "test", "resize", 2, 5)
    assert (ctx.tags, ctx.stage, ctx.bucket) == (("a", "b"), "dev", "data")


def test_the_idempotency_key_is_the_same_on_every_attempt_and_another_for_another_job() -> None:
    first, second = make_context(attempt=1), make_context(attempt=2)
    assert first.idempotency_key == second.idempotency_key
    assert make_context(id="0197a000-0000-7000-8000-00000000000a").idempotency_key != first.idempotency_key


def test_starts_go_on_where_attempts_begin_again() -> None:
    ctx = make_context(attempt=1, starts=6)
    assert (ctx.attempt, ctx.starts) == (1, 6)


def test_the_remaining_time_shrinks_to_nothing_and_not_below() -> None:
    clock = HandSetClock()
    ctx = make_context(timeout=30, clock=clock)
    assert (ctx.deadline, ctx.remaining()) == (NOW + timedelta(seconds=30), 30)
    clock.now += timedelta(seconds=29.5)
    assert ctx.remaining() == 0.5
    clock.now += timedelta(seconds=10)
    assert ctx.remaining() == 0


def test_progress_reaches_the_lease_with_a_note_of_bounded_length() -> None:
    lease = RecordedLease()
    ctx = make_context(lease=lease)
    ctx.progress(0)
    ctx.progress(99.5, "n" * 300)
    assert lease.reports == [(0, ""), (99.5, "n" * 200)]


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan"), float("inf")])
def test_progress_that_is_no_percentage_is_refused(percent: float) -> None:
    lease = RecordedLease()
    with pytest.raises(ValueError, match="from 0 to 100"):
        make_context(lease=lease).progress(percent)
    assert lease.reports == []


def test_a_cancel_request_is_seen_by_asking() -> None:
    lease = RecordedLease()
    ctx = make_context(lease=lease)
    assert not ctx.cancelled
    lease.cancel_requested = True
    assert ctx.cancelled


def test_a_cancel_request_that_a_progress_report_met_needs_no_further_question() -> None:
    class OnlyProgress(RecordedLease):
        def cancelled(self) -> bool:
            raise AssertionError("asked again")

    ctx = make_context(lease=OnlyProgress(cancel_requested=True))
    ctx.progress(10)
    assert ctx.cancelled


def test_settings_and_secrets_that_are_not_declared_are_told_or_have_the_given_default() -> None:
    ctx = make_context(settings={"SENDER": "a@b.c", "EMPTY": ""}, secrets={"key": "s3cret"})
    assert (ctx.setting("SENDER"), ctx.setting("EMPTY"), ctx.secret("key")) == ("a@b.c", "", "s3cret")
    assert (ctx.setting("OTHER", "x"), ctx.secret("other", None)) == ("x", None)
    with pytest.raises(InvalidSettings, match=r"\[environment\] of worker\.toml has no 'OTHER'"):
        ctx.setting("OTHER")
    with pytest.raises(InvalidSettings, match=r"\[secrets\] of worker\.toml has no 'other'"):
        ctx.secret("other")


@mock_aws
def test_a_client_is_made_once_per_process_and_a_secret_is_read_again_after_five_minutes() -> None:
    clock, factory = HandSetClock(), CountingFactory()
    owner = factory("secretsmanager")
    arn = owner.create_secret(Name="crm", SecretString="old")["ARN"]
    factory.made.clear()
    tools = toolbox(clock, factory, {"crm_token": arn})

    def context() -> Context:
        job = Job(id="i", queue="q", type="t", status=Status.RUNNING, created_at=NOW, scheduled_at=NOW)
        return Context(job=job, attempt=1, deadline=NOW, lease=RecordedLease(), tools=tools, clock=clock, logger=make_context().logger)

    assert context().secret("crm_token") == "old"
    owner.put_secret_value(SecretId=arn, SecretString="new")
    clock.now += timedelta(minutes=4, seconds=59)
    assert context().secret("crm_token") == "old"
    clock.now += timedelta(seconds=1)
    assert context().secret("crm_token") == "new"
    assert factory.made == ["secretsmanager"]
    assert context().aws("secretsmanager") is context().aws("secretsmanager")
    assert context().setting("SENDER") == "a@b.c"


def test_a_test_that_gives_no_aws_is_told_which_service_its_handler_wanted() -> None:
    with pytest.raises(AssertionError, match="the handler uses s3"):
        make_context().aws("s3")
