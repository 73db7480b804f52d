"""The commands of `jobs` that change jobs that are there."""

from __future__ import annotations

from typing import Annotated

import typer

from jobline.cli import screen
from jobline.cli.context import JOB, Id, Ids, ask, connect, job_path, of_each, read_ids
from jobline.cli.output import As, Output, show_all, show_one

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(no_args_is_help=True)
def retry(context: typer.Context, ids: Ids, output: As = Output.TABLE) -> int:
    """Run failed, dead, cancelled or expired jobs again now."""
    from msgspec import Raw

    answers, code = of_each(context, read_ids(ids), lambda connection, id: ask(connection, "POST", f"{job_path(id)}/retry", JOB))
    jobs = [answer.body for answer in answers.values()]
    texts = [Raw(answer.text.encode()) for answer in answers.values()]
    show_all(output, texts, [job["id"] for job in jobs], lambda: screen.show_retried(jobs))
    return code


@app.command(no_args_is_help=True)
def cancel(context: typer.Context, ids: Ids, output: As = Output.TABLE) -> int:
    """Make sure that jobs do not start; of a running job this is a request."""
    answers, code = of_each(context, read_ids(ids), lambda connection, id: ask(connection, "DELETE", job_path(id)))
    told = {id: answer.body for id, answer in answers.items()}
    show_all(output, [{"id": id} | body for id, body in told.items()], told, lambda: screen.show_cancelled(told))
    return code


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
    show_one(output, answer.text, answer.body["id"], lambda: screen.show_rescheduled(answer.body))


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
    found = "idempotent-replayed" in answer.headers
    show_one(output, answer.text, answer.body["id"], lambda: screen.show_enqueued(answer.body, replayed=found))
