"""A job that purges a queue."""

from __future__ import annotations

from typing import Any

from jobline import Context, job
from jobline.operator_tools import OperatorTools
from jobline.purging import Purging
from jobline.selection import Purge
from jobline.sweep import Sweep


@job("purge")
def purge(payload: Purge, ctx: Context) -> dict[str, Any]:
    """Cancels what waits and deletes what is over, by filter; counts what runs and leaves it alone."""
    tools = OperatorTools.of(ctx)
    visit = Purging(store=tools.store, keep=tools.keep, op=f"purge {ctx.id}", dry_run=payload.dry_run, clock=ctx.clock)
    return Sweep(tools.store, ctx, payload, visit, tools.sleep).run()
