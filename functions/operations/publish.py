"""A job that is a publication: one job more for each subscription that takes its event."""

from __future__ import annotations

from typing import Any

from jobline import Context, job
from jobline.definitions import PUBLISH
from jobline.fan_out import FanOut
from jobline.topics import Publication


@job(PUBLISH, timeout=120, max_attempts=10)
def publish(payload: Publication, ctx: Context) -> dict[str, Any]:
    """Makes a job for each subscription of a topic that takes the event."""
    return FanOut(ctx, payload).run()
