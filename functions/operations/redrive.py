"""A job that runs many jobs again."""

from __future__ import annotations

from typing import Any

from jobline import Context, job
from jobline.operator_tools import OperatorTools
from jobline.redriving import Redriving
from jobline.selection import Redrive
from jobline.sweep import Sweep


@job("redrive")
def redrive(payload: Redrive, ctx: Context) -> dict[str, Any]:
    """Retries what ended badly, by filter; a job that fails again meanwhile is not retried again."""
    tools = OperatorTools.of(ctx)
    visit = Redriving(store=tools.store, op=f"redrive {ctx.id}", began=ctx.job.created_at, dry_run=payload.dry_run, clock=ctx.clock)
    return Sweep(tools.store, ctx, payload, visit, tools.sleep).run()
