"""When a failed attempt is tried again: the four retry strategies, as one policy object.

The shape is the API's own (`{"max_attempts": 5, "backoff": "exponential", "base_delay": 1000, "max_delay": 60000, "jitter": 0.25}`);
delays are milliseconds here as everywhere else that a policy is written down.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Literal

import msgspec

MAX_ATTEMPTS_LIMIT = 100
LONGEST_DELAY_MS = 365 * 24 * 3600 * 1000

Backoff = Literal["immediate", "fixed", "exponential"]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=LONGEST_DELAY_MS)]


class RetryPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one level (job, type, queue, default) says of retries; a field left out is decided by the next level."""

    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=MAX_ATTEMPTS_LIMIT)] | None = None
    """Starts in all, the first one included."""
    backoff: Backoff | None = None
    """`immediate`: no delay; `fixed`: always `base_delay`; `exponential`: `base_delay * 2 ** attempt`, attempt counted from 0."""
    base_delay: Milliseconds | None = None
    """Milliseconds."""
    max_delay: Milliseconds | None = None
    """Milliseconds; caps the delay after jitter."""
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Spreads each delay evenly by plus or minus this fraction."""

    def merged(self, over: RetryPolicy | None) -> RetryPolicy:
        """This policy with what `over` says put on top, field by field."""
        if over is None:
            return self
        said = {name: value for name in self.__struct_fields__ if (value := getattr(over, name)) is not None}
        return msgspec.structs.replace(self, **said)

    def delay(self, attempt: int, uniform: Callable[[float, float], float]) -> timedelta:
        """How long to wait after the failure of `attempt` (0 for the first) before the next one.

        `uniform(a, b)` is the source of chance (`random.uniform`), asked only when `jitter` is set.
        Fields that no level decided have `DEFAULT_RETRY`'s values. Exact to the millisecond.
        """
        policy = DEFAULT_RETRY.merged(self)
        base, cap, jitter = policy.base_delay or 0, policy.max_delay or 0, policy.jitter or 0.0
        match policy.backoff:
            case "immediate":
                milliseconds = 0.0
            case "fixed":
                milliseconds = float(base)
            case _:
                # 2 ** 64 ms is past any cap; a larger exponent would only overflow the float.
                milliseconds = float(base * 2 ** min(attempt, 64))
        if jitter:
            milliseconds *= 1 + uniform(-jitter, jitter)
        return timedelta(milliseconds=round(min(max(milliseconds, 0.0), float(cap))))


DEFAULT_RETRY = RetryPolicy(max_attempts=3, backoff="exponential", base_delay=1000, max_delay=3_600_000, jitter=0.25)
"""What a queue gets that says nothing: three attempts, 1 s, 2 s, 4 s … with a quarter of jitter, at most an hour."""


class _Stored(RetryPolicy, frozen=True, forbid_unknown_fields=False):
    """A policy as a record holds it: fields of a newer release are passed over."""


def stored_policy(text: str) -> RetryPolicy:
    """The policy of a record's `retry` (JSON text)."""
    return msgspec.json.decode(text, type=_Stored)
