"""What a handler may raise to say how its job goes on.

Any other exception is a failed attempt: the retry policy says when the next one comes.
"""

from __future__ import annotations

from typing import Final

LONGEST_WAIT: Final = 365 * 24 * 3600
"""Seconds that a handler may put its job off."""


class Steering(Exception):
    """What a handler raises to say how its job goes on."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """Told in the job's `error` or history."""


class RetryAfter(Steering):
    """This attempt failed; the next one, if any is left, comes after `seconds`, whatever the retry policy says."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"try again after {seconds:g} s")
        self.seconds = _wait(seconds)


class Snooze(Steering):
    """Nothing failed: run again after `seconds`. No attempt is used; the number of snoozes is capped."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"run again after {seconds:g} s")
        self.seconds = _wait(seconds)


class NonRetryable(Steering):
    """Trying again would fail again: the job is dead now, with attempts left or not."""


class Cancel(Steering):
    """The work is no longer wanted: the job is cancelled."""


class Continue(BaseException):
    """Raised by `Context.checkpoint` to end this run where it stands; another run goes on from the checkpoint.

    Not an `Exception`, so that no handler swallows it by accident.
    """


def _wait(seconds: float) -> float:
    if not 0 <= seconds <= LONGEST_WAIT:  # false for NaN too
        raise ValueError(f"a job can be put off by 0 to {LONGEST_WAIT} s, not by {seconds!r}")
    return float(seconds)
