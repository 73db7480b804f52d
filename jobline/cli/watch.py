"""`--watch`: the same look again and again. At a terminal it stays in place; elsewhere it is printed whenever it has changed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from jobline.api_errors import ServerError, Unreachable
from jobline.cli import screen
from jobline.cli.failures import complain
from jobline.errors import Unavailable


def watch(
    look: Callable[[], Any],
    show: Callable[[Any], Any],
    every: float,
    *,
    in_place: bool,
    until: Callable[[Any], bool] = lambda seen: False,
    told: Callable[[Any], Any] = lambda seen: seen,
) -> Any:
    """Looks each `every` seconds until `until(what was seen)`, or Ctrl-C; answers what was seen last.

    `show(seen)` answers a renderable when `in_place`, else prints; it is asked when `told(seen)` has changed. What comes and goes on
    the way is waited out, aloud.
    """
    seen: Any = None
    shown: Any = None
    with _place(in_place) as put:
        while True:
            try:
                seen = look()
            except (Unavailable, Unreachable, ServerError) as error:
                if shown is None:
                    raise
                complain(error.detail)
            else:
                if in_place:
                    put(show(seen))
                elif told(seen) != shown:
                    show(seen)
                shown = told(seen)
                if until(seen):
                    return seen
            time.sleep(every)


def at_a_terminal() -> bool:
    """Whether stdout is one whose lines can be written over."""
    return sys.stdout.isatty()


def _place(in_place: bool) -> Any:
    if not in_place:
        from contextlib import nullcontext

        return nullcontext(lambda renderable: None)
    return _Live()


class _Live:
    def __enter__(self) -> Callable[[Any], None]:
        from rich.live import Live

        self._live = Live(console=screen.console(), auto_refresh=False, vertical_overflow="crop")
        self._live.__enter__()
        return lambda renderable: self._live.update(renderable, refresh=True)

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)
