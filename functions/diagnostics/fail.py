"""A job that fails on demand."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from jobline import Context, job


class Fail(msgspec.Struct, forbid_unknown_fields=True):
    times: Annotated[
        int, Meta(ge=0, le=1000, description="How many of the job's first starts fail, starts after a retry by hand included.")
    ]


class FailureOnDemand(Exception):
    """The payload asked for this failure."""


@job("fail", timeout=10)
def fail(payload: Fail, ctx: Context) -> dict[str, Any]:
    """Fails the job's first `times` starts ever, then succeeds."""
    if ctx.starts <= payload.times:
        raise FailureOnDemand(f"failure {ctx.starts} of {payload.times}")
    return {"starts": ctx.starts}
