"""How far long work is: a bar on stderr, for a person at a terminal and nobody else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(title: str, total: float | None) -> Iterator[Callable[[float], None]]:
    """A bar until the block is left; call what it gives with how much more of `total` is done. `None`: nobody knows how much there is."""
    if not sys.stderr.isatty():
        yield lambda amount: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True, markup=False, emoji=False, highlight=False), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda amount: progress.advance(task, amount)


@contextmanager
def percents(title: str) -> Iterator[Callable[[float, str], None]]:
    """A bar until the block is left; call what it gives with the per cent that are done, and a word about it."""
    if not sys.stderr.isatty():
        yield lambda percent, note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    paper = Console(stderr=True, markup=False, emoji=False, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(markup=False))
    with Progress(*columns, console=paper, transient=True) as progress:
        task = progress.add_task(title, total=100)

        def show(percent: float, note: str) -> None:
            progress.update(task, completed=percent, description=f"{title} {note}".rstrip())

        yield show
