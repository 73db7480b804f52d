"""A job that takes time."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from jobline import Cancel, Context, job

LONGEST = 260
"""Seconds that fit into the worker's time."""


class Sleep(msgspec.Struct, forbid_unknown_fields=True):
    seconds: Annotated[float, Meta(ge=0, le=LONGEST, description="How long to sleep.")]


@job("sleep", timeout=LONGEST + 10)
def sleep(payload: Sleep, ctx: Context) -> dict[str, Any]:
    """Sleeps, with progress every second, and stops when it is asked to be cancelled."""
    left = payload.seconds
    while left > 0:
        nap = min(1.0, left)
        time.sleep(nap)
        left -= nap
        ctx.progress(round(100 * (1 - left / payload.seconds), 1), f"{left:g} s left")
        if ctx.cancelled:
            raise Cancel(f"woken with {left:g} s left")
    return {"slept": payload.seconds}
