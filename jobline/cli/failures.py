"""What `jobs` says when something goes wrong, and with which exit code it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

from jobline import errors
from jobline.api_errors import NotAllowed
from jobline.errors import JoblineError

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
NOT_PERMITTED: Final = 4
CONFLICT: Final = 5
ENDED_OTHERWISE: Final = 6
TIMED_OUT: Final = 7
INTERRUPTED: Final = 130
EXIT_CODES: Final[Mapping[int, str]] = {
    0: "it worked",
    FAILED: "it failed, or doctor found something wrong",
    USAGE: "the command, the request or the payload was wrong",
    NOT_FOUND: "there is no such job, queue or type",
    NOT_PERMITTED: "these credentials may not do it",
    CONFLICT: "the job's state does not allow it",
    ENDED_OTHERWISE: "the job is over and not done",
    TIMED_OUT: "the job was not over in time",
    INTERRUPTED: "Ctrl-C, or no at a question",
}
"""What each exit code means, as the help has it."""
_CODES: Final[Mapping[type[JoblineError], int]] = {
    errors.InvalidRequest: USAGE,
    errors.UnknownQueue: NOT_FOUND,
    errors.UnknownType: NOT_FOUND,
    errors.NotFound: NOT_FOUND,
    NotAllowed: NOT_PERMITTED,
    errors.Conflict: CONFLICT,
    errors.PreconditionFailed: CONFLICT,
    errors.IdempotencyKeyReused: CONFLICT,
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
        try:
            print("".join(c if c.isprintable() else " " for c in line), file=sys.stderr, flush=True)
        except BrokenPipeError:  # whoever read it has gone
            # What is left in the buffer is written once more at the end, and would make the exit code 120 ("signal", Python's
            # library reference, "Note on SIGPIPE").
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
            return


def notes(error: JoblineError) -> list[str]:
    """What else there is to say of an error: further fields that are wrong, or the jobs that a short id may mean."""
    if isinstance(error, errors.AmbiguousId):
        return [str(candidate) for candidate in error.extra.get("candidates", ())]
    if isinstance(error, errors.InvalidRequest) and len(error.problems) > 1:
        return [f"{problem['pointer']} {problem['detail']}" for problem in error.problems]
    return []
