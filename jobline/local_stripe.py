"""A payment provider on this machine that answers as Stripe's public documentation says; for tests and `make demo`.

PaymentIntents can be created, confirmed and looked at. Where the facts are from:

- parameters, statuses, what confirming does: https://docs.stripe.com/api/payment_intents, https://docs.stripe.com/payments/paymentintents/lifecycle
- idempotency keys (a status and body are kept for at least 24 hours once a request has begun to execute, errors and 500 too; other
  parameters are an error; concurrent ones are a conflict; parameters that do not validate keep nothing):
  https://docs.stripe.com/api/idempotent_requests, https://docs.stripe.com/error-low-level
- errors and their codes: https://docs.stripe.com/api/errors, https://docs.stripe.com/error-codes, https://docs.stripe.com/declines/codes
- 429 and object locks: https://docs.stripe.com/rate-limits
- the payment methods that are accepted and declined: https://docs.stripe.com/testing
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import parse_qsl

from jobline.local_server import serving

SECRET_KEY: Final = "jobline-local-stripe-key"  # noqa: S105  opens nothing but this server
DECLINES: Final[Mapping[str, tuple[str, str | None, str]]] = {
    "pm_card_chargeDeclined": ("card_declined", "generic_decline", "Your card was declined."),
    "pm_card_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds", "Your card has insufficient funds."),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", None, "Your card has expired."),
    "pm_card_chargeDeclinedProcessingError": ("processing_error", None, "An error occurred while processing your card. Try again later."),
    "pm_card_authenticationRequired": (
        "authentication_required",
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
    ),
}
"""Code, decline code and message, by payment method."""
ACCEPTED: Final = frozenset({"pm_card_visa", "pm_card_mastercard"})
SLOW: Final = "pm_usBankAccount_success"
"""A bank account: its payments are `processing` until `settle`."""
MINIMUM: Final = 50
"""Of USD and EUR, in cents."""
_CREATE: Final = frozenset(
    {"amount", "currency", "payment_method", "customer", "description", "statement_descriptor_suffix", "metadata"}
    | {"automatic_payment_methods", "confirm", "off_session"}
)
_CONFIRM: Final = frozenset({"payment_method", "off_session"})

Json = dict[str, Any]
Fault = Literal["lose the request", "lose the answer", "rate limit", "error 500", "error 503"]
"""What goes wrong with one request: it never arrives, is executed and its answer is lost, is not let in, or fails while it is executed."""


class Answer(NamedTuple):
    status: int
    body: Json
    headers: Mapping[str, str] = {}


class Refusal(Exception):
    """An answer that is no success; `kept` when the request had begun to execute."""

    def __init__(self, status: int, error: Json, *, kept: bool = True, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error.get("message"))
        self.answer = Answer(status, {"error": error}, headers or {})
        self.kept = kept


@dataclass
class Remembered:
    """What an idempotency key stands for; without an answer while its first request is being executed."""

    request: tuple[str, Mapping[str, str]]
    answer: Answer | None = None


@dataclass
class Account:
    """One account's payments, and what will go wrong."""

    intents: dict[str, Json] = field(default_factory=dict)
    charges: list[Json] = field(default_factory=list)
    """Every charge that took money."""
    keys: dict[str, Remembered] = field(default_factory=dict)
    faults: deque[Fault | None] = field(default_factory=deque)
    """Of the requests to come, in their order; `None`: nothing goes wrong."""
    requests: list[str] = field(default_factory=list)
    """Method and path of each that arrived."""
    funded: set[str] = field(default_factory=set)
    """Payment methods of `DECLINES` whose owners have put it right."""
    seconds_to_confirm: float = 0
    secret_key: str = SECRET_KEY

    def __post_init__(self) -> None:
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._locked: set[str] = set()

    def forget_keys(self) -> None:
        """A day passes: what was asked under a key is no longer known."""
        self.keys.clear()

    def settle(self, *, paid: bool) -> None:
        """The banks have decided about every payment that is being processed."""
        for intent in self.intents.values():
            if intent["status"] == "processing":
                self._pay(intent) if paid else self._fail(intent, "payment_intent_payment_attempt_failed", None, "The debit failed.")

    def charged(self, name: str, value: str) -> list[Json]:
        """The charges of payments whose metadata has this value under this name."""
        return [charge for charge in self.charges if self.intents[charge["payment_intent"]]["metadata"].get(name) == value]

    # ---- one request

    def answer(self, method: str, path: str, form: Mapping[str, str], key: str | None) -> Answer:
        """The answer, through the idempotency layer."""
        if key is None or method != "POST":
            try:
                return self._execute(method, path, form)
            except Refusal as refusal:
                return refusal.answer
        with self._lock:
            known = self.keys.get(key)
            if known is not None:
                return self._replayed(known, (path, form))
            remembered = self.keys[key] = Remembered((path, form))
        try:
            remembered.answer = self._execute(method, path, form)
        except Refusal as refusal:
            if refusal.kept:
                remembered.answer = refusal.answer
            else:
                del self.keys[key]
            return refusal.answer
        return remembered.answer

    def break_down(self, path: str, form: Mapping[str, str], key: str | None) -> Answer:
        """A failure of Stripe's own, after the request has begun to execute: its key stands for it from then on."""
        known = None if key is None else self.keys.get(key)
        if known is not None:
            return self._replayed(known, (path, form))
        answer = Answer(500, {"error": {"type": "api_error", "message": "Sorry! There was an error while talking to Stripe."}})
        if key is not None:
            self.keys[key] = Remembered((path, form), answer)
        return answer

    def _replayed(self, known: Remembered, request: tuple[str, Mapping[str, str]]) -> Answer:
        if known.request != request:
            message = "Keys for idempotent requests can only be used with the same parameters they were first used with."
            return Answer(400, {"error": {"type": "idempotency_error", "message": message}}, {"Stripe-Should-Retry": "false"})
        if known.answer is None:
            message = "There is currently another in-progress request using this Idempotency-Key."
            error = {"type": "idempotency_error", "code": "idempotency_key_in_use", "message": message}
            return Answer(409, {"error": error}, {"Stripe-Should-Retry": "true"})
        return known.answer._replace(headers={**known.answer.headers, "Idempotent-Replayed": "true"})

    def _execute(self, method: str, path: str, form: Mapping[str, str]) -> Answer:
        if (method, path) == ("POST", "/v1/payment_intents"):
            return Answer(200, self._create(form))
        if found := re.fullmatch(r"/v1/payment_intents/(\w+)(/confirm)?", path):
            intent = self.intents.get(found[1])
            if intent is None:
                message = f"No such payment_intent: '{found[1]}'"
                raise _invalid(message, code="resource_missing", param="intent", status=404)
            if method == "GET" and not found[2]:
                return Answer(200, dict(intent))
            if method == "POST" and found[2]:
                return Answer(200, self._confirm(intent, form))
        raise _invalid(f"Unrecognized request URL ({method}: {path}).", status=404)

    def _create(self, form: Mapping[str, str]) -> Json:
        _check_names(form, _CREATE)
        for name in ("amount", "currency"):
            if not form.get(name):
                raise _invalid(f"Missing required param: {name}.", code="parameter_missing", param=name)
        if not form["amount"].isdecimal() or int(form["amount"]) < 1:
            raise _invalid(f"Invalid integer: {form['amount']}", code="parameter_invalid_integer", param="amount")
        if form["currency"] not in ("eur", "usd", "gbp", "jpy"):
            raise _invalid(f"Invalid currency: {form['currency']}.", param="currency")
        if form["currency"] in ("eur", "usd") and int(form["amount"]) < MINIMUM:
            message = "Amount must be at least 50 cents"
            raise Refusal(400, {"type": "invalid_request_error", "code": "amount_too_small", "message": message, "param": "amount"})
        method = form.get("payment_method")
        _check_method(method)
        id = f"pi_local{next(self._numbers):04d}"
        self.intents[id] = {
            "id": id,
            "object": "payment_intent",
            "amount": int(form["amount"]),
            "amount_received": 0,
            "currency": form["currency"],
            "customer": form.get("customer"),
            "description": form.get("description"),
            "latest_charge": None,
            "last_payment_error": None,
            "livemode": False,
            "metadata": {name[9:-1]: value for name, value in form.items() if name.startswith("metadata[")},
            "payment_method": method,
            "status": "requires_confirmation" if method else "requires_payment_method",
        }
        return dict(self.intents[id])

    def _confirm(self, intent: Json, form: Mapping[str, str]) -> Json:
        _check_names(form, _CONFIRM)
        with self._lock:
            if intent["id"] in self._locked:
                message = "This object cannot be accessed right now because another API request is currently accessing it."
                raise Refusal(429, {"type": "invalid_request_error", "code": "lock_timeout", "message": message}, kept=False)
            self._locked.add(intent["id"])
        try:
            time.sleep(self.seconds_to_confirm)
            method = form.get("payment_method") or intent["payment_method"]
            if intent["status"] not in ("requires_confirmation", "requires_payment_method"):
                message = f"You cannot confirm this PaymentIntent because it has already {intent['status']}."
                error = {"type": "invalid_request_error", "code": "payment_intent_unexpected_state", "message": message}
                raise Refusal(400, {**error, "payment_intent": dict(intent)})
            if not method:
                raise _invalid("You cannot confirm this PaymentIntent because it's missing a payment method.", param="payment_method")
            _check_method(method)
            if method in DECLINES and method not in self.funded:
                raise Refusal(402, self._fail(intent, *DECLINES[method]))
            intent["payment_method"] = method
            if method == SLOW:
                intent["status"] = "processing"
            else:
                self._pay(intent)
            return dict(intent)
        finally:
            self._locked.discard(intent["id"])

    def _pay(self, intent: Json) -> None:
        charge = {"id": f"ch_local{next(self._numbers):04d}", "payment_intent": intent["id"], "amount": intent["amount"]}
        self.charges.append(charge)
        intent.update(status="succeeded", amount_received=intent["amount"], latest_charge=charge["id"], last_payment_error=None)

    def _fail(self, intent: Json, code: str, decline_code: str | None, message: str) -> Json:
        error: Json = {"type": "card_error", "code": code, "message": message}
        if decline_code:
            error["decline_code"] = decline_code
        intent.update(status="requires_payment_method", payment_method=None, last_payment_error=error)
        return {**error, "payment_intent": dict(intent)}


def _invalid(message: str, *, code: str | None = None, param: str | None = None, status: int = 400) -> Refusal:
    error = {"type": "invalid_request_error", "message": message, "code": code, "param": param}
    return Refusal(status, {name: value for name, value in error.items() if value is not None}, kept=False)


def _check_names(form: Mapping[str, str], known: frozenset[str]) -> None:
    for name in form:
        if name.partition("[")[0] not in known:
            raise _invalid(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)


def _check_method(method: str | None) -> None:
    if method is not None and method not in {*DECLINES, *ACCEPTED, SLOW}:
        raise _invalid(f"No such PaymentMethod: '{method}'", code="resource_missing", param="payment_method")


class LocalStripe(ThreadingHTTPServer):
    """The provider over HTTP, on a port of 127.0.0.1."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Request)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.account = Account()


class _Request(BaseHTTPRequestHandler):
    server: LocalStripe

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._serve(dict(parse_qsl(text, keep_blank_values=True)))

    def _serve(self, form: Mapping[str, str]) -> None:
        account = self.server.account
        account.requests.append(f"{self.command} {self.path}")
        fault = account.faults.popleft() if account.faults else None
        key = self.headers.get("Idempotency-Key")
        if fault == "lose the request":
            return
        if self.headers.get("Authorization") != f"Bearer {account.secret_key}":
            answer = Answer(401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided: sk_***"}})
        elif fault == "rate limit":
            error = {"type": "invalid_request_error", "code": "rate_limit", "message": "Too many requests hit the API too quickly."}
            answer = Answer(429, {"error": error}, {"Stripe-Rate-Limited-Reason": "global-rate"})
        elif fault == "error 503":
            answer = Answer(503, {"error": {"type": "api_error", "message": "Stripe is unavailable."}})
        elif fault == "error 500":
            answer = account.break_down(self.path, form, key)
        else:
            answer = account.answer(self.command, self.path, form, key)
        if fault != "lose the answer":
            self._say(answer, key)

    def _say(self, answer: Answer, key: str | None) -> None:
        body = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        headers = {"Content-Type": "application/json", "Request-Id": f"req_local{len(self.server.account.requests)}", **answer.headers}
        for name, value in {**headers, **({"Idempotency-Key": key} if key else {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the screen is somebody else's."""


@contextmanager
def local_stripe(port: int = 0) -> Iterator[LocalStripe]:
    """A provider that listens until the end of the block, on a free port unless one is given."""
    with serving(LocalStripe(port)) as server:
        yield server
