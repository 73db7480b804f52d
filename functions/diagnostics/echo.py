"""A job that does nothing."""

from __future__ import annotations

from typing import Any

from jobline import Context, job


@job("echo", timeout=10)
def echo(payload: Any, ctx: Context) -> Any:
    """Returns its payload."""
    return payload
