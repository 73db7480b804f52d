"""Payments, through Stripe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jobline import Context, NonRetryable, RetryAfter, Snooze, job
from jobline.context import SECRET_FRESH_FOR

if TYPE_CHECKING:
    from stripe import PaymentIntent, StripeClient, StripeError

STRIPE: Final = "https://api.stripe.com"
KEY: Final = "stripe_key"
"""Name under `[secrets]`: a secret key of Stripe's (`sk_…`), or better a restricted one (`rk_…`) that may write PaymentIntents."""
SECONDS_TO_ANSWER: Final = 20
UNTIL_SETTLED: Final = 6 * 3600
"""Seconds between two looks at a payment that a bank takes days for; a hundred of them are 25 days."""
LONGEST_RETRY_AFTER: Final = 3600.0

MOVED: Final = "payment_intent_unexpected_state"
_NOTHING_DECIDED: Final = frozenset({401, 409, 429})
"""Statuses with which Stripe has not begun to execute a request (https://docs.stripe.com/error-low-level): its key is not used up."""


CustomerId = Annotated[str, Meta(max_length=255, pattern=r"^cus_[A-Za-z0-9_]+(?![\s\S])")]
Suffix = Annotated[str, Meta(min_length=1, max_length=22)]
Text = Annotated[str, Meta(min_length=1, max_length=1000)]


class PaymentProcess(msgspec.Struct, forbid_unknown_fields=True):
    amount: Annotated[
        int,
        Meta(ge=1, le=99_999_999, description="In the currency's smallest unit: 1099 is 10.99 EUR, and 1099 JPY."),
    ]
    currency: Annotated[str, Meta(pattern=r"^[a-z]{3}(?![\s\S])", description="ISO 4217 code in lower case.")]
    payment_method: Annotated[
        str,
        Meta(
            max_length=255,
            pattern=r"^(pm|card|src)_[A-Za-z0-9_]+(?![\s\S])",
            description="What is charged: the id of a PaymentMethod of Stripe's (`pm_…`). Never the number of a card.",
        ),
    ]
    customer: Annotated[CustomerId | UnsetType, Meta(description="Stripe's id (`cus_…`) of the customer whose payment method it is.")] = (
        UNSET
    )
    description: Annotated[Text | UnsetType, Meta(description="What Stripe's dashboard shows.")] = UNSET
    statement_descriptor_suffix: Annotated[
        Suffix | UnsetType, Meta(description="What the customer's statement says after your own name.")
    ] = UNSET
    metadata: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=40)], Annotated[str, Meta(max_length=500)]],
        Meta(max_length=40, description="Kept with the payment, for example your order's number; `jobline_job` is added."),
    ] = {}


class PaymentUnsettled(Exception):
    """Stripe did not say for good what became of the payment."""


@job("payment_process", timeout=120, max_attempts=8, retry={"backoff": "exponential", "base_delay": 2000, "max_delay": 600_000})
def payment_process(payload: PaymentProcess, ctx: Context) -> dict[str, Any]:
    """Charges a payment method through Stripe, once; returns the PaymentIntent's id and what was received.

    First a PaymentIntent is made, which charges nothing, and its id is put down in the job's record; then that one is confirmed, which
    Stripe does once in its life. So no crash, lost answer or repetition charges twice, not even after the day for which Stripe remembers
    idempotency keys. These come from the job's, and only an answer that Stripe would give again and again is followed by a fresh one.
    """
    import stripe

    http = stripe.RequestsClient(timeout=SECONDS_TO_ANSWER)
    # The SDK tries nothing again: the job's own attempts do, and they are counted.
    client = stripe.StripeClient(
        ctx.secret(KEY), base_addresses={"api": ctx.setting("STRIPE_API_BASE", STRIPE)}, max_network_retries=0, http_client=http
    )
    try:
        intent = _confirmed(client, _intent(client, payload, ctx), payload, ctx)
        return _outcome(intent, ctx)
    except stripe.StripeError as error:
        raise _failure(error, ctx) from error
    finally:
        http.close()  # type: ignore[no-untyped-call]


def _intent(client: StripeClient, payload: PaymentProcess, ctx: Context) -> PaymentIntent:
    """This job's one PaymentIntent as it is now; made, and put down, if there is none yet."""
    kept = ctx.cursor or {}
    if "intent" in kept:
        return client.v1.payment_intents.retrieve(kept["intent"])
    given: Any = {
        name: value
        for name in ("amount", "currency", "payment_method", "customer", "description", "statement_descriptor_suffix")
        if (value := getattr(payload, name)) is not UNSET
    }
    # Nobody is there who could be sent to a bank's page.
    given["automatic_payment_methods"] = {"enabled": True, "allow_redirects": "never"}
    given["metadata"] = {**payload.metadata, "jobline_job": ctx.id}
    intent = client.v1.payment_intents.create(given, {"idempotency_key": _key(ctx, "create")})
    ctx.checkpoint({"intent": intent.id, "round": kept.get("round", 0)})
    if (ctx.cursor or {}).get("intent") != intent.id:
        # Without that note a later attempt might make, and charge, a second one.
        raise PaymentUnsettled(f"{intent.id} could not be put down before it is charged")
    return intent


def _confirmed(client: StripeClient, intent: PaymentIntent, payload: PaymentProcess, ctx: Context) -> PaymentIntent:
    """The intent after it was confirmed, now or by an earlier attempt."""
    kept = ctx.cursor or {}
    if intent.status not in ("requires_confirmation", "requires_payment_method") or kept.get("processing"):
        return intent
    ctx.progress(50, f"confirming {intent.id}")
    return client.v1.payment_intents.confirm(
        intent.id,
        {"payment_method": payload.payment_method, "off_session": True},
        {"idempotency_key": _key(ctx, "confirm")},
    )


def _key(ctx: Context, step: str) -> str:
    """The step's idempotency key: the same on every attempt, until Stripe has answered it with an error that it would only repeat."""
    return f"{ctx.idempotency_key}-{step}-{(ctx.cursor or {}).get('round', 0)}"


def _outcome(intent: PaymentIntent, ctx: Context) -> dict[str, Any]:
    """The job's result; raises Snooze while a bank takes its time, NonRetryable when it came to no payment."""
    kept = ctx.cursor or {}
    if intent.status == "processing":
        # A debit that the bank refuses days later must not be confirmed again by itself.
        ctx.checkpoint({**kept, "processing": True})
        raise Snooze(UNTIL_SETTLED, f"{intent.id} is being processed")
    if intent.status != "succeeded":
        ctx.checkpoint({"intent": intent.id, "round": kept.get("round", 0) + 1})  # a retry by hand confirms it anew
        raise NonRetryable(f"{intent.id} came to no payment: its status is {intent.status}{_last_error(intent)}")
    charge = intent.latest_charge
    return {
        "payment_intent": intent.id,
        "charge": charge if charge is None or isinstance(charge, str) else charge.id,
        "amount": intent.amount_received,
        "currency": intent.currency,
    }


def _last_error(intent: PaymentIntent) -> str:
    error = intent.last_payment_error
    return "" if error is None else f", after {error.code}: {error.message}"


def _failure(error: StripeError, ctx: Context) -> Exception:
    """What to raise for an error of Stripe's (https://docs.stripe.com/api/errors, https://docs.stripe.com/error-codes)."""
    import stripe

    status = error.http_status
    if status is not None and status not in _NOTHING_DECIDED:
        # Stripe keeps this answer and gives it to whoever comes with the same key, a 500 too.
        kept = ctx.cursor or {}
        ctx.checkpoint({**kept, "round": kept.get("round", 0) + 1})
    reason = _told(error)
    if isinstance(error, stripe.CardError):
        return NonRetryable(reason)
    if isinstance(error, stripe.AuthenticationError):
        return RetryAfter(SECRET_FRESH_FOR.total_seconds(), f"the secret {KEY} is no key that Stripe takes: {reason}")
    told = (error.headers or {}).get("stripe-should-retry")
    # The last: somebody else has just confirmed it, perhaps a start of this job that was thought dead; the next attempt will see.
    passes = status in _NOTHING_DECIDED or isinstance(error, (stripe.APIConnectionError, stripe.APIError)) or error.code == MOVED
    if told == "true" or passes:
        wait = str((error.headers or {}).get("retry-after", ""))
        return RetryAfter(min(float(wait), LONGEST_RETRY_AFTER), reason) if wait.isdecimal() else PaymentUnsettled(reason)
    return NonRetryable(reason)


def _told(error: StripeError) -> str:
    """Stripe's words, its code, and the parameter and request that they are about."""
    about = error.error
    # Of some errors the SDK itself leaves the code out.
    parts = [getattr(about, "code", None) or getattr(about, "type", None) or type(error).__name__]
    for part in (getattr(about, "decline_code", None), getattr(error, "param", None), error.request_id):
        if part and part not in parts:
            parts.append(part)
    return f"Stripe: {error.user_message} ({', '.join(parts)})"
