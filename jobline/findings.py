"""What a look at a deployment finds: what is wrong, with the command that mends it, and what could not be checked, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from jobline.errors import JoblineError


class Verdict(StrEnum):
    """How a check came out."""

    FINE = "fine"
    WRONG = "wrong"
    UNCHECKED = "not checked"


class Finding(NamedTuple):
    """One thing that a check found."""

    check: str
    verdict: Verdict
    what: str
    mend: str | None = None
    """The command, or the step, that mends it."""


class Trouble(NamedTuple):
    """One thing that is wrong, as a check tells it."""

    what: str
    mend: str


class Unchecked(Exception):
    """This cannot be checked here; the text says why."""


Check = Callable[[], Iterable[Trouble]]
"""Yields what is wrong. Raises Unchecked, or an error of the tree: then it could not look."""


def examine(checks: Iterable[tuple[str, Check]]) -> Iterator[Finding]:
    """What each check found, in order. One that cannot look keeps no other from looking."""
    for name, check in checks:
        wrong = 0
        try:
            for trouble in check():
                wrong += 1
                yield Finding(name, Verdict.WRONG, trouble.what, trouble.mend)
        except (Unchecked, JoblineError) as reason:
            yield Finding(name, Verdict.UNCHECKED, str(reason))
        else:
            if not wrong:
                yield Finding(name, Verdict.FINE, "")
