"""The commands of `jobs` about one job: what becomes of it, and how it is moved."""

from __future__ import annotations

import time
from typing import Annotated, Final

import typer

from jobline.cli import screen
from jobline.cli.commands import JOB, As, Output, app, ask, connect, job_path
from jobline.cli.failures import ENDED_OTHERWISE, TIMED_OUT, complain
from jobline.connection import Answer, Connection
from jobline.errors import Unavailable
from jobline.job import TERMINAL
from jobline.long_poll import LONGEST_WAIT
from jobline.times import parse_duration

_LONGEST_WAIT: Final = LONGEST_WAIT.total_seconds()
"""Of one request; a longer wait is several of them."""

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, or the first 8 or more characters of it.")]


@app.command(no_args_is_help=True)
def why(context: typer.Context, id: Id, output: As = Output.TABLE) -> None:
    """Say why a job is not running."""
    with connect(context) as connection:
        answer = ask(connection, "GET", f"{job_path(id)}/why", ("status", "code", "reason", "facts"))
    if output is Output.JSON:
        screen.show_json(answer.text)
    else:
        screen.show_reason(answer.body)


@app.command(no_args_is_help=True)
def events(context: typer.Context, id: Id, output: As = Output.TABLE) -> None:
    """Show what happened to a job, oldest first."""
    with connect(context) as connection:
        answer = ask(connection, "GET", f"{job_path(id)}/events", ("events",))
    if output is Output.JSON:
        screen.show_json(answer.text)
    else:
        screen.show_events(answer.body["events"], truncated=bool(answer.body.get("truncated")))


@app.command(no_args_is_help=True)
def wait(
    context: typer.Context,
    id: Id,
    timeout: Annotated[str | None, typer.Option(help="Give up after this; default: never.", metavar="DURATION")] = None,
    output: As = Output.TABLE,
) -> int:
    """Wait for a job's end and show it: exit code 0 when it is done, 6 when it ended otherwise, 7 when the time was over first."""
    ends = None if timeout is None else time.monotonic() + _seconds(timeout)
    with connect(context) as connection:
        answer = _waited(connection, job_path(id), ends)
    if output is Output.JSON:
        screen.show_json(answer.text)
    else:
        screen.show_job(answer.body)
    status = answer.body["status"]
    if status not in TERMINAL:
        complain(f"The time was over before the job was: it is {status}.")
        return TIMED_OUT
    return 0 if status == "done" else ENDED_OTHERWISE


def _waited(connection: Connection, path: str, ends: float | None) -> Answer:
    """The last answer: the job over, or as it was when the time was over. What comes and goes at AWS is waited out too."""
    while True:
        left = _LONGEST_WAIT if ends is None else min(_LONGEST_WAIT, max(0.0, ends - time.monotonic()))
        try:
            answer = ask(connection, "GET", path, JOB, params={"wait": f"{left:.3f}"})
        except Unavailable:
            if ends is not None and time.monotonic() >= ends:
                raise
            time.sleep(1)
            continue
        if answer.body["status"] in TERMINAL or (ends is not None and time.monotonic() >= ends):
            return answer


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--timeout") from error


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
