"""One delivery to somebody's server by the Standard Webhooks specification: what is signed, and what the answer means."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from jobline.errors import InvalidSettings
from jobline.outgoing import Answer, Outgoing, Refused
from jobline.steering import NonRetryable, RetryAfter

LONGEST_RETRY_AFTER: Final = 3600.0
"""Seconds: a receiver that asks for more is asked again all the same."""
SHOWN: Final = 2000
"""Characters of the answer that a result keeps."""

_AGAIN: Final = frozenset({408, 425, 429})
"""Client errors that pass: request timeout, too early, too many requests (RFC 9110, 8470, 6585)."""


class DeliveryFailed(Exception):
    """The receiver did not take it this time."""


def deliver(
    outgoing: Outgoing,
    url: str,
    body: bytes,
    *,
    id: str,
    signing: tuple[str, str | None],
    headers: Mapping[str, str] | None = None,
    timeout: float,
) -> dict[str, Any]:
    """Posts JSON once and answers `{"status", "ms", "body"}` of the receiver's 2xx.

    `id` is the same on every attempt, so that the receiver knows what it had before; `signing` is the name and the text of the secret,
    `None` for none. Redirects are not followed. Raises NonRetryable when the receiver, or the URL, will never take it, RetryAfter when it
    says when to come again, DeliveryFailed for other answers, and Unreachable.
    """
    now = datetime.now(UTC)
    all_headers = {**(headers or {}), "Content-Type": "application/json", **_signing_headers(id, now, body, *signing)}
    try:
        answer = outgoing.request("POST", url, body=body, headers=all_headers, timeout=timeout)
    except Refused as error:
        raise NonRetryable(error.detail) from error
    if not 200 <= answer.status < 300:
        raise _failure(answer, datetime.now(UTC))
    return {"status": answer.status, "ms": round(answer.seconds * 1000), "body": answer.text[:SHOWN]}


def _signing_headers(id: str, now: datetime, body: bytes, name: str, secret: str | None) -> dict[str, str]:
    """Id, time and one signature for each key (https://www.standardwebhooks.com); without a secret no signature."""
    headers = {"webhook-id": id, "webhook-timestamp": str(int(now.timestamp()))}
    if secret is not None:
        # Imported here: only deliveries that are signed need it.
        from standardwebhooks import Webhook

        headers["webhook-signature"] = " ".join(Webhook(key).sign(id, now, body.decode()) for key in _keys(name, secret))
    return headers


def _keys(name: str, secret: str) -> list[bytes]:
    """The keys that the secret holds. The library's own reading skips what is no base64, and would sign with what is left."""
    try:
        keys = [b64decode(text.removeprefix("whsec_"), validate=True) for text in secret.split()]
    except ValueError:
        keys = []
    if not keys or not all(keys):
        raise InvalidSettings(f"the secret {name} is no signing key (whsec_ and base64), nor several with spaces between them")
    return keys


def _failure(answer: Answer, now: datetime) -> Exception:
    """What to raise for an answer that is no success."""
    reason = f"the receiver answered {answer.status}: {answer.text[:200]}"
    if answer.status not in _AGAIN and answer.status < 500:
        return NonRetryable(reason)
    wait = answer.retry_after(now)
    return DeliveryFailed(reason) if wait is None else RetryAfter(min(wait, LONGEST_RETRY_AFTER), reason)
