"""Renewals (DynamoDB is moto's, the queue is the trial deployment's): one payment per subscription and period, whatever crashes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from moto import mock_aws

from functions.scheduled import subscription_renewal as module
from functions.scheduled.subscription_renewal import SubscriptionRenewal, next_due, subscription_renewal
from jobline import NonRetryable
from jobline.testing import RecordedChildren, TrialDeployment, make_context
from tests.aws import client

TODAY = datetime(2026, 3, 31, 6, tzinfo=UTC)
SETTINGS = {"SUBSCRIPTIONS_TABLE": "subscriptions", "PAYMENTS_QUEUE": "payments"}


@cache
def made_once(service: str) -> Any:
    """Making a client takes longer than a test."""
    return client(service)


class Subscriptions:
    """The table as docs/jobs/scheduled.md describes it."""

    def __init__(self) -> None:
        self.dynamodb = made_once("dynamodb")
        self.dynamodb.create_table(
            TableName="subscriptions",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("id", "renewal", "due_on")],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by_due",
                    "KeySchema": [{"AttributeName": "renewal", "KeyType": "HASH"}, {"AttributeName": "due_on", "KeyType": "RANGE"}],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )

    def add(self, id: str, due_on: str = "2026-03-31", **changes: Any) -> None:
        item = {
            "id": {"S": id},
            "renewal": {"S": "due"},
            "due_on": {"S": due_on},
            "every": {"S": "month"},
            "amount": {"N": "990"},
            "currency": {"S": "eur"},
            "payment_method": {"S": "pm_card"},
        }
        given = {name: value for name, value in {**item, **changes}.items() if value is not None}
        self.dynamodb.put_item(TableName="subscriptions", Item=given)

    def get(self, id: str) -> dict[str, str]:
        item = self.dynamodb.get_item(TableName="subscriptions", Key={"id": {"S": id}})["Item"]
        return {name: next(iter(value.values())) for name, value in item.items()}


@pytest.fixture
def subscriptions() -> Iterator[Subscriptions]:
    with mock_aws():
        yield Subscriptions()


@pytest.fixture
def jobline_options(subscriptions: Subscriptions) -> dict[str, Any]:
    return {"client": made_once, "settings": SETTINGS, "start": TODAY}


def renewed(jobs: TrialDeployment, **payload: Any) -> Any:
    """The result of one renewal; payments wait (there is no Stripe here)."""
    return jobs.perform(subscription_renewal, SubscriptionRenewal(**payload))


def payments(jobs: TrialDeployment) -> list[tuple[str, str]]:
    return sorted((job.payload["metadata"]["subscription"], job.payload["metadata"]["period"]) for job in jobs.all("payment_process"))


def test_a_due_subscription_is_charged_once_and_moved_to_its_next_period(jobs: TrialDeployment, subscriptions: Subscriptions) -> None:
    subscriptions.add("ada", customer={"S": "cus_ada"})
    subscriptions.add("later", due_on="2026-04-01")
    subscriptions.add("stopped", renewal=None)
    result = renewed(jobs)
    assert (result["until"], result["seen"], result["enqueued"], result["look_at"]) == ("2026-03-31", 1, 1, [])
    (job,) = jobs.assert_enqueued("payment_process", amount=990, currency="eur", payment_method="pm_card", customer="cus_ada", count=1)
    assert job.queue == "payments"
    item = subscriptions.get("ada")
    assert (item["due_on"], item["day"], item["renewed_period"], item["renewed_by"]) == ("2026-04-30", "31", "2026-03-31", job.id)
    assert "claimed_by" not in item
    assert renewed(jobs)["seen"] == 0


def test_a_dry_run_counts_and_changes_nothing(jobs: TrialDeployment, subscriptions: Subscriptions) -> None:
    subscriptions.add("ada")
    assert renewed(jobs, dry_run=True)["enqueued"] == 1
    assert payments(jobs) == []
    assert subscriptions.get("ada")["due_on"] == "2026-03-31"


class Died(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("step", ["claim", "enqueue", "move"])
def test_a_renewal_that_dies_after_any_step_charges_once_when_it_comes_again(
    subscriptions: Subscriptions, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    subscriptions.add("ada")
    children = RecordedChildren()

    def run() -> Any:
        options: Any = {"client": made_once, "settings": SETTINGS, "children": children, "clock": lambda: TODAY}
        return subscription_renewal(SubscriptionRenewal(), make_context("subscription_renewal", **options))

    dies_after = {"claim": "_claimed", "enqueue": "_move_on", "move": "_move_on"}[step]
    real = getattr(module, dies_after)

    def dying(*arguments: Any) -> None:
        if step != "enqueue":
            real(*arguments)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(module, dies_after, dying)
        with pytest.raises(Died):
            run()
    run()
    # The same key is the same child, however often it is asked for (tests/functional/test_children.py).
    assert {child.key for child in children.enqueued} == {"ada:2026-03-31"}
    assert len(children.enqueued) == (2 if step == "enqueue" else 1)
    assert subscriptions.get("ada")["due_on"] == "2026-04-30"


def test_a_worker_that_dies_at_the_end_has_charged_once(jobs: TrialDeployment, subscriptions: Subscriptions) -> None:
    subscriptions.add("ada")
    jobs.crash_next(subscription_renewal)
    job = jobs.enqueue(SubscriptionRenewal())
    jobs.advance("30m")
    assert (job.status, job.attempts) == ("done", 2)
    assert payments(jobs) == [("ada", "2026-03-31")]


def test_a_period_that_another_job_has_claimed_is_left_to_it_and_named(jobs: TrialDeployment, subscriptions: Subscriptions) -> None:
    subscriptions.add("ada", claimed_by={"S": "another-job"}, claimed_at={"S": "2026-03-30T06:00:00Z"})
    result = renewed(jobs)
    assert (result["held"], result["look_at"]) == (1, ["ada: claimed by job another-job"])
    assert payments(jobs) == []


def test_a_claim_of_its_own_that_is_days_old_is_not_gone_on_with(subscriptions: Subscriptions) -> None:
    ctx = make_context(client=made_once, settings=SETTINGS, clock=lambda: TODAY)
    old = (TODAY - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    subscriptions.add("ada", claimed_by={"S": ctx.idempotency_key}, claimed_at={"S": old})
    assert subscription_renewal(SubscriptionRenewal(), ctx)["held"] == 1


@pytest.mark.parametrize(
    "changes", [{"amount": None}, {"amount": {"N": "0"}}, {"every": {"S": "day"}}, {"currency": {"S": "EUR"}}, {"day": {"N": "32"}}]
)
def test_a_subscription_that_cannot_be_charged_is_named_and_keeps_no_other_from_it(
    jobs: TrialDeployment, subscriptions: Subscriptions, changes: dict[str, Any]
) -> None:
    subscriptions.add("bad", due_on="2026-03-30", **changes)
    subscriptions.add("good")
    result = renewed(jobs)
    assert (result["enqueued"], result["invalid"]) == (1, 1)
    assert result["look_at"][0].startswith("bad: ")
    assert payments(jobs) == [("good", "2026-03-31")]
    assert "claimed_by" not in subscriptions.get("bad")


def test_every_period_that_fell_due_gets_its_payment_over_pages_and_limits(
    jobs: TrialDeployment, subscriptions: Subscriptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    for number in range(5):
        subscriptions.add(f"s{number}")
    subscriptions.add("late", due_on="2026-01-31")
    assert renewed(jobs, limit=4)["more"] is True
    assert renewed(jobs)["more"] is False
    renewed(jobs)
    late = [("late", period) for period in ("2026-01-31", "2026-02-28", "2026-03-31")]
    assert payments(jobs) == [*late, *((f"s{number}", "2026-03-31") for number in range(5))]


def test_a_worker_without_a_table_says_so() -> None:
    with pytest.raises(NonRetryable, match="SUBSCRIPTIONS_TABLE"):
        subscription_renewal(SubscriptionRenewal(), make_context())


@pytest.mark.parametrize(
    ("due", "every", "day", "after"),
    [
        ("2026-01-31", "month", 31, "2026-02-28"),
        ("2026-02-28", "month", 31, "2026-03-31"),
        ("2026-12-15", "month", 15, "2027-01-15"),
        ("2028-02-29", "year", 29, "2029-02-28"),
        ("2031-02-28", "year", 29, "2032-02-29"),
        ("2026-12-28", "week", 28, "2027-01-04"),
    ],
)
def test_the_day_of_the_month_does_not_drift(due: str, every: Any, day: int, after: str) -> None:
    assert next_due(date.fromisoformat(due), every, day).isoformat() == after
