"""The commands of `jobs` about one job: what becomes of it, and how it is moved."""

from __future__ import annotations

from typing import Annotated

import typer

from jobline.cli import screen
from jobline.cli.commands import JOB, As, Output, app, ask, connect, job_path

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, or the first 8 or more characters of it.")]


@app.command(no_args_is_help=True)
def reschedule(
    context: typer.Context,
    id: Id,
    delay: Annotated[str | None, typer.Option(help="Start after this: seconds, or 90s, 10m, 1h30m.", metavar="DURATION")] = None,
    at: Annotated[str | None, typer.Option("--at", help="Start at this time, such as 2026-01-31T09:30:00Z.", metavar="TIME")] = None,
    priority: Annotated[int | None, typer.Option(min=1, max=10, help="1 (most urgent) to 10.")] = None,
    output: As = Output.TABLE,
) -> None:
    """Move a job that has not started to another time or priority."""
    if delay is None and at is None and priority is None:
        raise typer.BadParameter("say what is to change", param_hint="--delay, --at or --priority")
    changes = {"delay": delay, "scheduled_at": at, "priority": priority}
    with connect(context) as connection:
        answer = ask(connection, "PATCH", job_path(id), JOB, json={name: value for name, value in changes.items() if value is not None})
    if output is Output.JSON:
        screen.show_json(answer.text)
    else:
        screen.show_rescheduled(answer.body)


@app.command(no_args_is_help=True)
def replay(
    context: typer.Context,
    id: Id,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key again names the same new job.", metavar="KEY")] = None,
    output: As = Output.TABLE,
) -> None:
    """Make a new job with the request of an old one, in whatever state that is."""
    headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
    with connect(context) as connection:
        answer = ask(connection, "POST", f"{job_path(id)}/replay", JOB, headers=headers)
    if output is Output.JSON:
        screen.show_json(answer.text)
    else:
        screen.show_enqueued(answer.body, replayed="idempotent-replayed" in answer.headers)
