"""Waiting for somebody's API to say that something is so."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from functions.integrations.request_headers import Headers, refuse_ours
from jobline import Context, NonRetryable, Snooze, job, queries
from jobline.outgoing import Answer, Outgoing, Refused, Rules, Unreachable

if TYPE_CHECKING:
    from jmespath.parser import ParsedResult

MOST_POLLS: Final = 90
"""A job may be put off a hundred times; some are left over."""
RARER: Final = 0.2
"""Of the time since the first look: five looks at the interval, and from a second to thirty days not more than 80 in all."""
SHOWN: Final = 200
"""Characters of an answer that an error tells."""

_AGAIN: Final = frozenset({408, 425, 429})
"""Client errors that pass: request timeout, too early, too many requests (RFC 9110, 8470, 6585)."""


class ApiPolling(msgspec.Struct, forbid_unknown_fields=True):
    url: Annotated[str, Meta(min_length=1, max_length=2048, description="What to GET; https, on port 443 or 8443 of a public address.")]
    until: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=queries.LONGEST,
            description="What must hold of the JSON that comes back, in JMESPath: `status == 'ready'`. It does not hold while it is false, "
            "null, or an empty text, list or object.",
        ),
    ]
    interval: Annotated[
        int,
        Meta(
            ge=1,
            le=86_400,
            description="Seconds between two looks; where `deadline` would need more than 90 of them, they become rarer: a fifth of the "
            "time since the first, at least.",
        ),
    ] = 60
    deadline: Annotated[int, Meta(ge=1, le=2_592_000, description="Seconds from the first look after which it is given up.")] = 3600
    at_deadline: Annotated[
        Literal["fail", "return"],
        Meta(description='What becomes of the job then: `fail`: it is dead; `return`: it is done, and its result says `"held": false`.'),
    ] = "fail"
    headers: Annotated[
        Headers, Meta(description="Headers of the request, at most 20, for example what it is authorised by; nobody is shown their values.")
    ] = {}
    pending_statuses: Annotated[
        list[Annotated[int, Meta(ge=300, le=499)]],
        Meta(max_length=10, description="Statuses that mean “not yet” rather than “never”, for example 404 of what is still being made."),
    ] = []
    timeout: Annotated[float, Meta(ge=1, le=30, description="Seconds that the API has to answer.")] = 10


class Look(NamedTuple):
    """What one look came to."""

    held: bool
    seen: str
    """In a few words."""
    value: Any = None
    """Of the condition."""
    answer: Any = None
    """The JSON that came back."""
    retry_after: float | None = None


@job("api_polling", timeout=90, max_attempts=5, retry={"backoff": "exponential"})
def api_polling(payload: ApiPolling, ctx: Context) -> dict[str, Any]:
    """GETs a URL until a condition holds of the JSON that comes back; returns that JSON.

    Between two looks the job is put off, and nothing runs. An API that is down, too slow, limits requests or answers what the condition
    cannot be asked of has not answered yet; only the deadline ends that. The last look is at the deadline. A job that was given up there
    and is retried by hand has the whole time again.
    """
    condition = _compiled(payload.until)
    refuse_ours(payload.headers)
    ends = _ends(payload, ctx)
    look = _look(payload, condition, ctx)
    if look.held:
        return {"held": True, "value": look.value, "answer": look.answer}
    left = (ends - ctx.clock()).total_seconds()
    if left > 0:
        interval = max(_interval(payload, payload.deadline - left), look.retry_after or 0)
        ctx.progress(100 * max(0.0, 1 - left / payload.deadline), look.seen)
        raise Snooze(min(interval, left), look.seen)
    if payload.at_deadline == "return":
        return {"held": False, "value": look.value, "answer": look.answer}
    ctx.checkpoint({"given_up": True})
    raise NonRetryable(f"`until` did not hold within {payload.deadline} s; at last {look.seen}")


def _compiled(expression: str) -> ParsedResult:
    """The condition, ready to be asked; raises NonRetryable that says what is wrong with it, before anything is asked for."""
    try:
        return queries.compiled(expression)
    except ValueError as error:
        raise NonRetryable(f"until {error}") from error


def _ends(payload: ApiPolling, ctx: Context) -> datetime:
    """When it is given up, as the first look decided; a job retried after it was given up begins anew."""
    kept = ctx.cursor or {}
    if "ends" in kept:
        return datetime.fromisoformat(kept["ends"])
    ends = ctx.clock() + timedelta(seconds=payload.deadline)
    ctx.checkpoint({"ends": ends.isoformat()})
    return ends


def _interval(payload: ApiPolling, elapsed: float) -> float:
    """Seconds until the next look, when nobody asks for more."""
    if payload.deadline / payload.interval <= MOST_POLLS:
        return payload.interval
    return max(payload.interval, elapsed * RARER)


def _look(payload: ApiPolling, condition: ParsedResult, ctx: Context) -> Look:
    rules = Rules.of(ctx.stage, ctx.setting("ALLOWED_LOOPBACK_PORTS", ""))
    headers = {"Accept": "application/json", **payload.headers}
    try:
        answer = Outgoing(rules).request("GET", payload.url, headers=headers, timeout=payload.timeout)
    except Refused as error:
        raise NonRetryable(error.detail) from error
    except Unreachable as error:
        return Look(False, error.detail)
    if 200 <= answer.status < 300:
        return _judged(answer, condition)
    seen = f"the API answered {answer.status}: {answer.text[:SHOWN]}"
    if answer.status in _AGAIN or answer.status in payload.pending_statuses or answer.status >= 500:
        return Look(False, seen, retry_after=answer.retry_after(ctx.clock()))
    raise NonRetryable(seen)


def _judged(answer: Answer, condition: ParsedResult) -> Look:
    seen = f"the API answered {answer.status}: {answer.text[:SHOWN]}"
    if answer.truncated:
        raise NonRetryable(f"the API's answer has more than {len(answer.body)} bytes")
    try:
        document = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NonRetryable(f"{seen}, which is no JSON: {error}") from error
    try:
        value = queries.ask(condition, document)
    except ValueError as error:
        return Look(False, f"{seen}, of which `until` cannot be asked: {error}", answer=document)
    return Look(queries.holds(value), seen, value, document)
