"""Webhooks: telling somebody's server that something has happened."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from functions.integrations.request_headers import OUR_HEADERS, Headers, refuse_ours
from jobline import Context, NonRetryable, RetryAfter, job
from jobline.errors import InvalidSettings
from jobline.outgoing import Answer, Outgoing, Refused, Rules

LONGEST_RETRY_AFTER: Final = 3600.0
"""Seconds: a receiver that asks for more is asked again all the same."""
SHOWN: Final = 2000
"""Characters of the answer that the result keeps."""
SIGNING_SECRET: Final = "webhook_signing"  # noqa: S105  the secret's name
"""Name under `[secrets]`: one key, or several with spaces between them while they rotate."""

_AGAIN: Final = frozenset({408, 425, 429})
"""Client errors that pass: request timeout, too early, too many requests (RFC 9110, 8470, 6585)."""
_OUR_HEADERS: Final = OUR_HEADERS | {"content-type", "webhook-id", "webhook-timestamp", "webhook-signature"}


class WebhookDelivery(msgspec.Struct, forbid_unknown_fields=True):
    url: Annotated[str, Meta(min_length=1, max_length=2048, description="Where to; https, on port 443 or 8443 of a public address.")]
    body: Annotated[msgspec.Raw, Meta(description="What to say: any JSON value; it is sent as it was written.")]
    headers: Annotated[
        Headers, Meta(description="Further headers, at most 20, for example what the receiver authorises by; nobody is shown their values.")
    ] = {}
    timeout: Annotated[float, Meta(ge=1, le=30, description="Seconds that the receiver has to answer.")] = 10


class DeliveryFailed(Exception):
    """The receiver did not take it this time."""


@job("webhook_delivery", timeout=50, max_attempts=12, retry={"backoff": "exponential"})
def webhook_delivery(payload: WebhookDelivery, ctx: Context) -> dict[str, Any]:
    """Posts JSON to a URL, signed by the Standard Webhooks specification, until the receiver takes it.

    Every attempt has the same `webhook-id`, by which the receiver knows what it had before. Redirects are not followed.
    """
    refuse_ours(payload.headers, _OUR_HEADERS)
    body = bytes(payload.body)
    signing = _signing_headers(ctx.idempotency_key, datetime.now(UTC), body, ctx.secret(SIGNING_SECRET, None))
    headers = {**payload.headers, "Content-Type": "application/json", **signing}
    rules = Rules.of(ctx.stage, ctx.setting("ALLOWED_LOOPBACK_PORTS", ""))
    try:
        answer = Outgoing(rules).request("POST", payload.url, body=body, headers=headers, timeout=payload.timeout)
    except Refused as error:
        raise NonRetryable(error.detail) from error
    if not 200 <= answer.status < 300:
        raise _failure(answer, datetime.now(UTC))
    return {"status": answer.status, "ms": round(answer.seconds * 1000), "body": answer.text[:SHOWN]}


def _signing_headers(id: str, now: datetime, body: bytes, secret: str | None) -> dict[str, str]:
    """Id, time and one signature for each key (https://www.standardwebhooks.com); without a secret no signature."""
    headers = {"webhook-id": id, "webhook-timestamp": str(int(now.timestamp()))}
    if secret is not None:
        # Imported here: only deliveries that are signed need it.
        from standardwebhooks import Webhook

        headers["webhook-signature"] = " ".join(Webhook(key).sign(id, now, body.decode()) for key in _keys(secret))
    return headers


def _keys(secret: str) -> list[bytes]:
    """The keys that the secret holds. The library's own reading skips what is no base64, and would sign with what is left."""
    try:
        keys = [b64decode(text.removeprefix("whsec_"), validate=True) for text in secret.split()]
    except ValueError:
        keys = []
    if not keys or not all(keys):
        raise InvalidSettings(f"the secret {SIGNING_SECRET} is no signing key (whsec_ and base64), nor several with spaces between them")
    return keys


def _failure(answer: Answer, now: datetime) -> Exception:
    """What to raise for an answer that is no success."""
    reason = f"the receiver answered {answer.status}: {answer.text[:200]}"
    if answer.status not in _AGAIN and answer.status < 500:
        return NonRetryable(reason)
    wait = answer.retry_after(now)
    return DeliveryFailed(reason) if wait is None else RetryAfter(min(wait, LONGEST_RETRY_AFTER), reason)
