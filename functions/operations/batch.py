"""A job that is a batch: the others that it is about, and what follows from how they end."""

from __future__ import annotations

from typing import Any

from jobline import Context, job
from jobline.batch import BATCH, Batch
from jobline.coordination import MAX_SNOOZES, Coordination


@job(BATCH, timeout=300, max_attempts=10, max_snoozes=MAX_SNOOZES)
def batch(payload: Batch, ctx: Context) -> dict[str, Any]:
    """Makes jobs that belong together, waits for their ends, and makes the jobs that follow."""
    return Coordination(ctx, payload).run()
