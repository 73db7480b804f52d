"""`jobs batch`: jobs that belong together, and what follows from how they end."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Final

import typer

from jobline.cli import screen
from jobline.cli.completing import queue_names, type_names
from jobline.cli.context import ask, connect, said
from jobline.cli.failures import ENDED_OTHERWISE, TIMED_OUT, complain
from jobline.cli.output import As, Output, show_all, show_one
from jobline.cli.payload import read_json, read_payload
from jobline.errors import BatchNotFound
from jobline.times import parse_duration

app = typer.Typer(rich_markup_mode=None, add_completion=False)
batch = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)
app.add_typer(batch, name="batch")

BATCH: Final = ("id", "name", "status", "error", "total", "counts", "created_at", "completed_at", "jobs")
"""Fields of a batch that every answer has."""
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


@app.callback()
def group() -> None:
    """One group."""


@batch.callback()
def batch_group() -> None:
    """Make jobs that belong together, and see how they stand.

    A batch is a job too: cancel, retry, why and events take its id.
    """


@batch.command(no_args_is_help=True)
def create(
    context: typer.Context,
    jobs: Annotated[
        str, typer.Argument(metavar="@FILE|-", help="A member for each line: its payload with --type, else its whole request.")
    ],
    queue: Annotated[
        str | None, typer.Option(help="The queue of members that name none themselves.", metavar="QUEUE", autocompletion=queue_names)
    ] = None,
    type: Annotated[
        str | None, typer.Option(help="The type of every member; lines are payloads then.", metavar="TYPE", autocompletion=type_names)
    ] = None,
    on_success: Annotated[str | None, typer.Option(help="What to enqueue when all are done: a request.", metavar="JSON|@FILE")] = None,
    on_complete: Annotated[str | None, typer.Option(help="What to enqueue when all are over.", metavar="JSON|@FILE")] = None,
    on_dead: Annotated[str | None, typer.Option(help="What to enqueue, once, when one is dead.", metavar="JSON|@FILE")] = None,
    name: Annotated[str | None, typer.Option(help="What to call it.", metavar="TEXT")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key again names the same batch.", metavar="KEY")] = None,
    output: As = Output.TABLE,
) -> None:
    """Make a batch of at most 500 jobs: all of them, or, when one is wrong, none."""
    from msgspec import Raw

    from jobline.cli.many import read_lines

    if type is not None and queue is None:
        raise typer.BadParameter("is needed with --type", param_hint="--queue")
    callbacks = {"on_success": on_success, "on_complete": on_complete, "on_dead": on_dead}
    body: dict[str, Any] = {"jobs": [_member(line, queue, type) for line in read_lines(jobs)]}
    body |= {
        field: Raw(read_json(read_payload(text), f"--{field.replace('_', '-')}")) for field, text in callbacks.items() if text is not None
    }
    body |= said(name=name, idempotency_key=idempotency_key)
    with connect(context) as connection:
        answer = ask(connection, "POST", "/batches", BATCH, json=body)
    show_one(output, answer.text, answer.body["id"], lambda: _show(answer.body))


@batch.command(no_args_is_help=True)
def show(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of a batch, or the first 8 or more characters of it.")],
    waiting: Annotated[bool, typer.Option("--wait", help="Until it waits for nothing any more.")] = False,
    timeout: Annotated[str | None, typer.Option(help="Give up waiting after this; default: never.", metavar="DURATION")] = None,
    output: As = Output.TABLE,
) -> int:
    """Show a batch and how each of its jobs stands; -o name: the ids of its jobs.

    With --wait: exit code 0 when it is complete and all are done, 6 when it ended otherwise, 7 when the time was over first.
    """
    path = _path(id)
    ends = None if timeout is None else time.monotonic() + _seconds(timeout)
    if ends is not None and not waiting:
        raise typer.BadParameter("is for --wait", param_hint="--timeout")
    with connect(context) as connection:
        if waiting:
            from jobline.cli.waiting import wait_for_end

            answer = wait_for_end(connection, path, ends, fields=BATCH, over=lambda seen: seen["status"] != "open")
        else:
            answer = ask(connection, "GET", path, BATCH)
    shown = answer.body
    if output is Output.NAME:
        show_all(output, shown["jobs"], [each["id"] for each in shown["jobs"]], lambda: None)
    else:
        show_one(output, answer.text, shown["id"], lambda: _show(shown))
    if not waiting:
        return 0
    if shown["status"] == "open":
        complain("The time was over before the batch was.")
        return TIMED_OUT
    return 0 if shown["status"] == "complete" and shown["counts"]["done"] == shown["total"] else ENDED_OTHERWISE


def _member(line: bytes, queue: str | None, type: str | None) -> Any:
    """A member's request; what is written in the line stays as it is written."""
    from msgspec import Raw, ValidationError, json

    if type is not None:
        return {"queue": queue, "type": type, "payload": Raw(line)}
    try:
        written = json.decode(line, type=dict[str, Raw])
    except ValidationError:
        return Raw(line)  # no object: the API says so, and where
    return written if queue is None else {"queue": queue, **written}


def _path(id: str) -> str:
    """The path of a batch. Raises BatchNotFound for what cannot be an id, which in a path might mean something else."""
    if not _ID.fullmatch(id):
        raise BatchNotFound(f"{id[:64]!r} is no id of a batch, nor the beginning of one.")
    return f"/batches/{id}"


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--timeout") from error


def _show(shown: Any) -> None:
    rows = {
        "id": shown["id"],
        "name": shown["name"],
        "status": shown["status"],
        "error": shown["error"],
        "jobs": ", ".join(f"{number} {status}" for status, number in shown["counts"].items() if number),
        "created": shown["created_at"],
        "completed": shown["completed_at"],
        **{field.replace("_", " "): shown.get(field) for field in ("on_success", "on_complete", "on_dead")},
    }
    screen.show(screen.pairs_table({name: value for name, value in rows.items() if value is not None}))
    members = [(each["id"], each["queue"], each["type"], each["status"]) for each in shown["jobs"]]
    screen.show(screen.rows_table(("JOB", "QUEUE", "TYPE", "STATUS"), members))
