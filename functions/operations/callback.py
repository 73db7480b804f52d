"""A job that tells a URL the end of another job; the end itself asks for it."""

from __future__ import annotations

from typing import Any, Final

from jobline import Context, job
from jobline.documents import encode
from jobline.follow_ups import CALLBACK, Callback
from jobline.operator_tools import OperatorTools
from jobline.outgoing import Outgoing, Rules
from jobline.telling import LOOPBACK_PORTS, SIGNING_SECRET
from jobline.webhooks import deliver

ANSWERED_WITHIN: Final = 10.0
"""Seconds that the receiver has."""


@job(CALLBACK)
def callback(payload: Callback, ctx: Context) -> dict[str, Any]:
    """Posts the end of a job to its callback_url, signed by the Standard Webhooks specification, until the receiver takes it.

    `{"skipped": …}` when the job was retried since: its next end is told.
    """
    news = OperatorTools.of(ctx).telling.news(ctx.id, payload)
    if news is None:
        return {"skipped": "the job was retried since; its next end is told"}
    return deliver(
        Outgoing(Rules.of(ctx.stage, ctx.setting(LOOPBACK_PORTS, ""))),
        payload.url,
        encode(news.document).encode(),
        id=news.id,
        signing=(SIGNING_SECRET, ctx.secret(SIGNING_SECRET, None)),
        timeout=ANSWERED_WITHIN,
    )
