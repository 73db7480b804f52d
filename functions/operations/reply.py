"""A job that tells an SQS queue the end of another job; the end itself asks for it."""

from __future__ import annotations

from typing import Any

from jobline import Context, job
from jobline.follow_ups import REPLY, Reply
from jobline.operator_tools import OperatorTools


@job(REPLY)
def reply(payload: Reply, ctx: Context) -> dict[str, Any]:
    """Sends the end of a job to the reply queue that its reply_to names.

    `{"skipped": …}` when the job was retried since: its next end is told.
    """
    tools = OperatorTools.of(ctx)
    news = tools.telling.news(ctx.id, payload)
    if news is None:
        return {"skipped": "the job was retried since; its next end is told"}
    return tools.replies.send(payload.to, payload, news)
