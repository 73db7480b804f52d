"""How what was found is printed: a table for people, JSON for programs, or names alone to pipe into the next command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from jobline.cli import screen


class Output(StrEnum):
    """How to print what came."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    NAME = "name"


As = Annotated[
    Output,
    typer.Option("--output", "-o", help="table: for people; json; jsonl: one line each; name: ids or names alone, one a line."),
]


def show_one(output: Output, text: str | bytes, name: Any, table: Callable[[], object]) -> None:
    """Prints one thing: the JSON text that it came as, or its name, or what `table()` prints."""
    if output is Output.TABLE:
        table()
    elif output is Output.JSON:
        screen.show_json(text)
    elif output is Output.JSONL:
        screen.show_line(text)
    else:
        screen.write(screen.plain(str(name)))


def show_all(output: Output, texts: Sequence[Any], names: Iterable[Any], table: Callable[[], object]) -> None:
    """Prints many things: an array, one JSON text a line, their names, or what `table()` prints.

    `texts` has what msgspec can encode; a `Raw` is printed as it came.
    """
    from msgspec import json

    if output is Output.TABLE:
        table()
    elif output is Output.JSON:
        screen.show_json(json.encode(texts))
    elif output is Output.JSONL:
        for text in texts:
            screen.show_line(json.encode(text))
    else:
        for name in names:
            screen.write(screen.plain(str(name)))


def at_a_terminal() -> bool:
    """Whether a person sees stderr: progress is for them alone."""
    return sys.stderr.isatty()
