"""`jobs list`: the jobs of a queue, newest first."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple

import typer

from jobline.cli import screen
from jobline.cli.completing import type_names
from jobline.cli.context import Every, QueueName, Watch, ask, connect
from jobline.cli.output import As, Output, show_all
from jobline.cli.watch import at_a_terminal, watch

app = typer.Typer(rich_markup_mode=None, add_completion=False)
LONGEST_PAGE: Final = 200
PAGE: Final = ("jobs", "next")


class Status(StrEnum):
    """What `list` can be asked for."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    FAILED = "failed"
    RETRYING = "retrying"
    DEAD = "dead"
    DONE = "done"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Found(NamedTuple):
    """The jobs as they came, each a JSON text, and whether there are more."""

    texts: list[bytes]
    more: bool


@app.callback()
def group() -> None:
    """One command."""


@app.command("list", no_args_is_help=True)
def list_jobs(
    context: typer.Context,
    queue: QueueName,
    status: Annotated[Status | None, typer.Option(help="`failed` means both retrying and dead.")] = None,
    type: Annotated[str | None, typer.Option(help="Only jobs of this type.", metavar="TYPE", autocompletion=type_names)] = None,
    tag: Annotated[str | None, typer.Option(help="Only jobs with this tag.", metavar="TAG")] = None,
    since: Annotated[str | None, typer.Option(help="Only jobs made since then, such as 2026-01-31T09:30:00Z.", metavar="TIME")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many jobs.")] = 20,
    watching: Watch = False,
    every: Every = 2.0,
    output: As = Output.TABLE,
) -> None:
    """List jobs of a queue."""
    filters = {"queue": queue, "status": status, "type": type, "tag": tag, "since": since}
    with connect(context) as connection:
        if watching:
            in_place = output is Output.TABLE and at_a_terminal()
            show = (lambda found: screen.jobs_table(_decoded(found))) if in_place else (lambda found: _show(found, output))
            watch(lambda: _read(connection, filters, limit), show, every, in_place=in_place)
        _show(_read(connection, filters, limit), output)


def _read(connection: Any, filters: dict[str, Any], limit: int) -> Found:
    """Page by page, until there are enough."""
    from msgspec import Raw, json

    texts: list[bytes] = []
    cursor = None
    while len(texts) < limit:
        asked = filters | {"limit": min(limit - len(texts), LONGEST_PAGE), "cursor": cursor}
        answer = ask(connection, "GET", "/jobs", PAGE, params=asked)
        texts += map(bytes, json.decode(json.decode(answer.text, type=dict[str, Raw])["jobs"], type=list[Raw]))
        cursor = answer.body["next"]
        if cursor is None:
            break
    return Found(texts, cursor is not None)


def _decoded(found: Found) -> list[Any]:
    from msgspec import json

    return [json.decode(text) for text in found.texts]


def _show(found: Found, output: Output) -> None:
    from msgspec import Raw

    jobs = _decoded(found)
    texts = [Raw(text) for text in found.texts]
    show_all(output, texts, [job["id"] for job in jobs], lambda: screen.show_jobs(jobs, more=found.more))
