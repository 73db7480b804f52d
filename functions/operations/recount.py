"""A job that makes a queue's counters anew; the ticker asks for it when they cannot be trusted."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from jobline import Context, job
from jobline.operator_tools import OperatorTools
from jobline.recounting import Recounting


class Recount(msgspec.Struct, forbid_unknown_fields=True):
    queue: Annotated[str, msgspec.Meta(min_length=1, max_length=64, description="The queue whose jobs are counted.")]


@job("recount")
def recount(payload: Recount, ctx: Context) -> dict[str, Any]:
    """Counts a queue's jobs by their records, while others go on changing them."""
    tools = OperatorTools.of(ctx)
    return Recounting(store=tools.store, items=tools.counters, ctx=ctx, queue=payload.queue, sleep=tools.sleep).run()
