"""Webhooks: telling somebody's server that something has happened."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from functions.integrations.request_headers import OUR_HEADERS, Headers, refuse_ours
from jobline import Context, job
from jobline.outgoing import Outgoing, Rules
from jobline.webhooks import deliver

SIGNING_SECRET: Final = "webhook_signing"  # noqa: S105  the secret's name
"""Name under `[secrets]`: one key, or several with spaces between them while they rotate."""

_OUR_HEADERS: Final = OUR_HEADERS | {"content-type", "webhook-id", "webhook-timestamp", "webhook-signature"}


class WebhookDelivery(msgspec.Struct, forbid_unknown_fields=True):
    url: Annotated[str, Meta(min_length=1, max_length=2048, description="Where to; https, on port 443 or 8443 of a public address.")]
    body: Annotated[msgspec.Raw, Meta(description="What to say: any JSON value; it is sent as it was written.")]
    headers: Annotated[
        Headers, Meta(description="Further headers, at most 20, for example what the receiver authorises by; nobody is shown their values.")
    ] = {}
    timeout: Annotated[float, Meta(ge=1, le=30, description="Seconds that the receiver has to answer.")] = 10


@job("webhook_delivery", timeout=50, max_attempts=12, retry={"backoff": "exponential"})
def webhook_delivery(payload: WebhookDelivery, ctx: Context) -> dict[str, Any]:
    """Posts JSON to a URL, signed by the Standard Webhooks specification, until the receiver takes it.

    Every attempt has the same `webhook-id`, by which the receiver knows what it had before. Redirects are not followed.
    """
    refuse_ours(payload.headers, _OUR_HEADERS)
    return deliver(
        Outgoing(Rules.of(ctx.stage, ctx.setting("ALLOWED_LOOPBACK_PORTS", ""))),
        payload.url,
        bytes(payload.body),
        id=ctx.idempotency_key,
        signing=(SIGNING_SECRET, ctx.secret(SIGNING_SECRET, None)),
        headers=payload.headers,
        timeout=payload.timeout,
    )
