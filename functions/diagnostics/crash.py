"""A job that takes its process with it."""

from __future__ import annotations

import os
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from jobline import Context, job


class Crash(msgspec.Struct, forbid_unknown_fields=True):
    times: Annotated[
        int, Meta(ge=0, le=1000, description="How many of the job's first starts crash, starts after a retry by hand included.")
    ]


@job("crash", timeout=10)
def crash(payload: Crash, ctx: Context) -> dict[str, Any]:
    """Ends its process at the job's first `times` starts ever, then succeeds."""
    if ctx.starts <= payload.times:
        os._exit(1)
    return {"starts": ctx.starts}
