"""A job that enqueues the next one."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from jobline import Context, job


class Chain(msgspec.Struct, forbid_unknown_fields=True):
    links: Annotated[int, Meta(ge=0, le=1000, description="How many jobs are to follow this one, each enqueued by the one before.")]


@job("chain", timeout=10)
def chain(payload: Chain, ctx: Context) -> dict[str, Any]:
    """Enqueues a chain of jobs, one link per job; returns the next link's id, or null at the end."""
    return {"next": ctx.enqueue("chain", Chain(links=payload.links - 1)) if payload.links else None}
