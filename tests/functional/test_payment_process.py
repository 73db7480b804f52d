"""Payments against a server that behaves as Stripe's documentation says: charged once, whatever happens in between."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from functions.integrations.payment_process import PaymentProcess, PaymentUnsettled, payment_process
from jobline import Context, NonRetryable, RetryAfter
from jobline.errors import InvalidJob, InvalidSettings
from jobline.local_stripe import DECLINES, SECRET_KEY, Account, Fault, LocalStripe, local_stripe
from jobline.registry import Registry
from jobline.steering import Continue
from jobline.testing import RecordedLease, TrialDeployment, make_context

REGISTRY = Registry([payment_process])
PAYMENT = PaymentProcess(amount=1099, currency="eur", payment_method="pm_card_visa", metadata={"order": "4711"})


@pytest.fixture
def server() -> Iterator[LocalStripe]:
    with local_stripe() as server:
        yield server


@pytest.fixture
def account(server: LocalStripe) -> Account:
    return server.account


@pytest.fixture
def jobline_options(server: LocalStripe) -> dict[str, Any]:
    return {"settings": {"STRIPE_API_BASE": server.url}, "secrets": {"stripe_key": SECRET_KEY}}


def context(server: LocalStripe, **options: Any) -> Context:
    settings, secrets = {"STRIPE_API_BASE": server.url}, {"stripe_key": options.pop("key", SECRET_KEY)}
    return make_context("payment_process", settings=settings, secrets=secrets, **options)


def failure(server: LocalStripe, payload: PaymentProcess = PAYMENT, **options: Any) -> Exception:
    """What the handler raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 which one, the caller asks
        payment_process(payload, context(server, **options))
    return raised.value


def paying(method: str) -> PaymentProcess:
    return PaymentProcess(amount=1099, currency="eur", payment_method=method)


# What is charged


def test_a_payment_is_charged_and_told(jobs: TrialDeployment, account: Account) -> None:
    result = jobs.perform(PAYMENT)
    (intent,), (charge,) = account.intents.values(), account.charges
    assert result == {"payment_intent": intent["id"], "charge": charge["id"], "amount": 1099, "currency": "eur"}
    assert (intent["amount"], intent["currency"], intent["payment_method"]) == (1099, "eur", "pm_card_visa")
    assert intent["metadata"]["order"] == "4711"


def test_a_payment_tells_which_job_it_is_of(server: LocalStripe, account: Account) -> None:
    ctx = context(server)
    payment_process(PAYMENT, ctx)
    assert next(iter(account.intents.values()))["metadata"]["jobline_job"] == ctx.id


def test_two_jobs_with_the_same_payload_are_two_payments(jobs: TrialDeployment, account: Account) -> None:
    for _ in range(2):
        jobs.enqueue(PAYMENT, queue="payments")
    jobs.drain()
    assert len(account.charges) == 2


# Once, whatever happens


FAULTS: list[Fault] = ["lose the request", "lose the answer", "rate limit", "error 500", "error 503"]


@pytest.mark.parametrize("a_day_passes", [False, True], ids=["soon", "a day later"])
@pytest.mark.parametrize("request_number", [0, 1, 2, 3])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_request_charges_once(
    fault: Fault, request_number: int, a_day_passes: bool, jobs: TrialDeployment, account: Account
) -> None:
    # A crash between two requests makes the later ones happen: the intent is looked at before it is confirmed.
    jobs.crash_next(payment_process)
    account.faults.extend([*[None] * request_number, fault])
    job = jobs.enqueue(PAYMENT, queue="payments")
    jobs.drain()
    if a_day_passes:
        account.forget_keys()
    jobs.advance("1h")
    assert job.status == "done"
    assert len(account.charges) == 1
    assert job.result["payment_intent"] == account.charges[0]["payment_intent"]


def test_a_worker_that_dies_after_the_charge_charges_nothing_more(jobs: TrialDeployment, account: Account) -> None:
    jobs.crash_next(payment_process)
    job = jobs.enqueue(PAYMENT, queue="payments")
    jobs.drain()
    assert (job.status, len(account.charges)) == ("running", 1)
    account.forget_keys()
    jobs.advance("1h")
    assert (job.status, job.attempts, len(account.charges)) == ("done", 2, 1)


@pytest.mark.parametrize("starts", [1, 2, 5])
def test_a_worker_that_dies_again_and_again_charges_once(starts: int, jobs: TrialDeployment, account: Account) -> None:
    for _ in range(starts):
        jobs.crash_next(payment_process)
        account.faults.extend([None, "lose the answer"])
    job = jobs.enqueue(PAYMENT, queue="payments")
    jobs.advance("1d")
    assert (job.status, len(account.charges)) == ("done", 1)


def test_nothing_is_charged_before_the_intent_is_put_down(server: LocalStripe, account: Account) -> None:
    class Deaf(RecordedLease):
        def checkpoint(self, text: str) -> bool | None:
            return None

    error = failure(server, lease=Deaf())
    assert isinstance(error, PaymentUnsettled)
    assert "could not be put down" in str(error)
    assert (len(account.intents), account.charges) == (1, [])


def test_a_job_that_is_being_cancelled_is_not_charged(server: LocalStripe, account: Account) -> None:
    with pytest.raises(Continue):
        payment_process(PAYMENT, context(server, lease=RecordedLease(cancel_requested=True)))
    assert (len(account.intents), account.charges) == (1, [])


def test_two_starts_at_the_same_time_charge_once(server: LocalStripe, account: Account) -> None:
    account.seconds_to_confirm = 0.3
    cursor = _created(server)
    outcomes: list[str] = []

    def run() -> None:
        try:
            payment_process(PAYMENT, context(server, cursor=cursor))
            outcomes.append("charged")
        except PaymentUnsettled as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(account.charges) == 1
    assert sorted(outcome == "charged" for outcome in outcomes) == [False, True]
    assert any("idempotency_key_in_use" in outcome for outcome in outcomes)


def test_a_start_that_was_thought_dead_cannot_charge_a_second_time(server: LocalStripe, account: Account) -> None:
    cursor = _created(server)
    payment_process(PAYMENT, context(server, cursor=cursor))
    client = stripe.StripeClient(SECRET_KEY, base_addresses={"api": server.url}, max_network_retries=0)
    with pytest.raises(stripe.InvalidRequestError, match="already succeeded"):
        client.v1.payment_intents.confirm(cursor["intent"], {"payment_method": "pm_card_visa"}, {"idempotency_key": "another"})
    assert len(account.charges) == 1


def _created(server: LocalStripe) -> dict[str, Any]:
    """The cursor of a job that got as far as an intent of its own."""
    lease = RecordedLease()
    server.account.faults.extend([None, "lose the request"])
    assert isinstance(failure(server, lease=lease), PaymentUnsettled)
    return dict(lease.checkpoints[0])


# What is final


@pytest.mark.parametrize("method", DECLINES)
def test_a_declined_payment_is_dead_at_once_with_its_code(method: str, jobs: TrialDeployment, account: Account) -> None:
    job = jobs.enqueue(paying(method), queue="payments")
    jobs.drain()
    code, decline_code, message = DECLINES[method]
    assert (job.status, job.attempts, account.charges) == ("dead", 1, [])
    assert str(job.error).startswith(f"NonRetryable: Stripe: {message} ({code}")
    assert decline_code is None or decline_code in str(job.error)


def test_a_declined_payment_is_tried_anew_when_somebody_retries_it(jobs: TrialDeployment, account: Account) -> None:
    job = jobs.enqueue(paying("pm_card_chargeDeclinedInsufficientFunds"), queue="payments")
    jobs.drain()
    assert job.status == "dead"
    account.funded.add("pm_card_chargeDeclinedInsufficientFunds")
    job.retry()
    jobs.drain()
    assert (job.status, len(account.charges), len(account.intents)) == ("done", 1, 1)


def test_a_decline_whose_answer_is_lost_is_not_tried_again_by_itself(jobs: TrialDeployment, account: Account) -> None:
    account.faults.extend([None, "lose the answer"])
    job = jobs.enqueue(paying("pm_card_chargeDeclined"), queue="payments")
    jobs.advance("1h")
    assert (job.status, job.attempts) == ("dead", 2)
    assert sum(request.endswith("/confirm") for request in account.requests) == 2
    assert "card_declined" in str(job.error)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (paying("pm_nobody"), "No such PaymentMethod: 'pm_nobody' (resource_missing, payment_method"),
        (PaymentProcess(amount=1, currency="eur", payment_method="pm_card_visa"), "at least 50 cents (amount_too_small, amount"),
        (
            PaymentProcess(amount=100, currency="xyz", payment_method="pm_card_visa"),
            "Invalid currency: xyz. (invalid_request_error",
        ),
    ],
)
def test_what_stripe_will_never_take_is_the_end(payload: PaymentProcess, told: str, server: LocalStripe) -> None:
    assert isinstance(error := failure(server, payload), NonRetryable)
    assert told in str(error)


def test_a_key_that_was_used_for_something_else_is_the_end(server: LocalStripe, account: Account) -> None:
    payment_process(PAYMENT, context(server))
    assert isinstance(error := failure(server, paying("pm_card_mastercard")), NonRetryable)
    assert "can only be used with the same parameters" in str(error)
    assert len(account.charges) == 1


# What is tried again


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_of_the_moment_is_tried_again_by_the_policy(fault: Fault, server: LocalStripe, account: Account) -> None:
    account.faults.append(fault)
    assert isinstance(failure(server), PaymentUnsettled)
    assert len(account.requests) == 1  # the SDK tries nothing again by itself


def test_an_error_that_stripe_would_repeat_for_a_day_is_followed_by_a_fresh_key(jobs: TrialDeployment, account: Account) -> None:
    account.faults.extend(["error 500", None, "error 500"])
    job = jobs.enqueue(PAYMENT, queue="payments")
    jobs.advance("1h")
    assert (job.status, job.attempts, len(account.charges)) == ("done", 3, 1)


def test_a_key_that_stripe_does_not_know_waits_for_the_right_one(server: LocalStripe) -> None:
    assert isinstance(error := failure(server, key="sk_test_old"), RetryAfter)
    assert error.seconds == 300
    assert "sk_test_old" not in str(error)


def test_a_worker_without_a_key_says_so() -> None:
    with pytest.raises(InvalidSettings, match="stripe_key"):
        payment_process(PAYMENT, make_context("payment_process"))


# What takes days


def test_a_payment_that_a_bank_takes_days_for_is_looked_at_until_it_is_settled(jobs: TrialDeployment, account: Account) -> None:
    job = jobs.enqueue(paying("pm_usBankAccount_success"), queue="payments")
    jobs.advance("2d")
    assert (job.status, job.attempts) == ("scheduled", 0)
    account.settle(paid=True)
    jobs.advance("6h")
    assert (job.status, len(account.charges)) == ("done", 1)


def test_a_debit_that_the_bank_refuses_is_not_confirmed_again_by_itself(jobs: TrialDeployment, account: Account) -> None:
    job = jobs.enqueue(paying("pm_usBankAccount_success"), queue="payments")
    jobs.drain()
    account.settle(paid=False)
    account.forget_keys()
    jobs.advance("7h")
    assert job.status == "dead"
    assert "came to no payment" in str(job.error)
    assert "payment_intent_payment_attempt_failed" in str(job.error)
    assert sum(request.endswith("/confirm") for request in account.requests) == 1
    job.retry()
    jobs.drain()
    assert sum(request.endswith("/confirm") for request in account.requests) == 2


# The payload


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": 0},
        {"amount": 10.99},
        {"amount": 100_000_000},
        {"currency": "EUR"},
        {"currency": "eur\n"},
        {"payment_method": "4242424242424242"},
        {"payment_method": "pm_1/../../v1/refunds"},
        {"customer": "4242424242424242"},
        {"number": "4242424242424242"},
        {"statement_descriptor_suffix": "x" * 23},
        {"metadata": {"k" * 41: "v"}},
    ],
)
def test_a_payload_that_does_not_fit_is_refused(fields: dict[str, Any]) -> None:
    good = {"amount": 1099, "currency": "eur", "payment_method": "pm_card_visa"}
    REGISTRY.decode("payment_process", json.dumps(good))
    with pytest.raises(InvalidJob):
        REGISTRY.decode("payment_process", json.dumps(good | fields))
