"""What `jobs` says when something goes wrong, and with which exit code it ends."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from jobline import errors
from jobline.api_errors import NotAllowed
from jobline.errors import JoblineError

FAILED: Final = 1
USAGE: Final = 2
ENDED_OTHERWISE: Final = 6
"""The job that was waited for is over and not done."""
TIMED_OUT: Final = 7
_CODES: Final[Mapping[type[JoblineError], int]] = {
    errors.InvalidRequest: USAGE,
    errors.UnknownQueue: 3,
    errors.UnknownType: 3,
    errors.NotFound: 3,
    NotAllowed: 4,
    errors.Conflict: 5,
    errors.PreconditionFailed: 5,
    errors.IdempotencyKeyReused: 5,
}


def complain_of(error: JoblineError) -> None:
    """Says what went wrong on stderr."""
    complain(error.detail, *notes(error))


def exit_code(error: JoblineError) -> int:
    """The exit code for an error: that of its class, or of the nearest class above."""
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), FAILED)


def complain(sentence: str, *more: str) -> None:
    """Says on stderr what went wrong; control characters of whoever's answer it quotes do not reach the terminal."""
    for line in (f"jobs: {sentence}", *(f"  {note}" for note in more)):
        print("".join(c if c.isprintable() else " " for c in line), file=sys.stderr)


def notes(error: JoblineError) -> list[str]:
    """What else there is to say of an error: further fields that are wrong, or the jobs that a short id may mean."""
    if isinstance(error, errors.AmbiguousId):
        return [str(candidate) for candidate in error.extra.get("candidates", ())]
    if isinstance(error, errors.InvalidRequest) and len(error.problems) > 1:
        return [f"{problem['pointer']} {problem['detail']}" for problem in error.problems]
    return []
