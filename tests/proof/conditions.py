"""What the proof changes of the engine so that rare things are common: nothing that it is to prove."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

from jobline import attempt, finishes, transitions
from tests.proof.world import FEW, WORLD, Operation, Timer

_PLACES = ((transitions.go_on, "cap", FEW), (finishes.Finishes.__init__, "later", None))


def _no_deadline(seconds: float) -> nullcontext[None]:
    return nullcontext()


def _later(seconds: float, call: Callable[[], None]) -> Timer:
    op = WORLD[-1].current
    assert isinstance(op, Operation)
    return op.later(seconds, call)


@contextmanager
def conditions() -> Iterator[None]:
    """Few continuations are many; an attempt's alarm and a kept finish's timer are the operation's own (`world`)."""
    with ExitStack() as stack:
        for function, name, value in _PLACES:
            defaults: Any = function.__kwdefaults__
            stack.enter_context(mock.patch.dict(defaults, {name: _later if value is None else value}))
        stack.enter_context(mock.patch.object(attempt, "deadline", _no_deadline))
        yield
