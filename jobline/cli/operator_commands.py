"""The commands of operators: what is done to a whole queue."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any
from uuid import uuid4

import typer

from jobline.api_errors import NotJobline
from jobline.cli import screen
from jobline.cli.bar import percents
from jobline.cli.completing import type_names
from jobline.cli.context import JOB, QueueName, ask, connect, job_path, queue_path
from jobline.cli.failures import ENDED_OTHERWISE
from jobline.cli.output import As, Output, show_one
from jobline.cli.waiting import wait_for_end
from jobline.connection import Answer, Connection
from jobline.job import TERMINAL

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Ended(StrEnum):
    """What `redrive` can be asked for."""

    DEAD = "dead"
    FAILED = "failed"
    RETRYING = "retrying"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Removable(StrEnum):
    """What `purge` can be asked for."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RETRYING = "retrying"
    FAILED = "failed"
    DEAD = "dead"
    DONE = "done"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@app.command(no_args_is_help=True)
def pause(context: typer.Context, queue: QueueName, output: As = Output.TABLE) -> None:
    """Keep a queue's jobs from starting; those that run go on to their end."""
    _switch(context, queue, "pause", output)


@app.command(no_args_is_help=True)
def resume(context: typer.Context, queue: QueueName, output: As = Output.TABLE) -> None:
    """Let a paused queue's jobs start again."""
    _switch(context, queue, "resume", output)


def _switch(context: typer.Context, queue: str, verb: str, output: Output) -> None:
    with connect(context) as connection:
        answer = ask(connection, "POST", f"{queue_path(queue)}/{verb}", ("paused",))
    if answer.body["paused"] is not (verb == "pause"):
        raise NotJobline(f"The API did not {verb} the queue.")
    show_one(output, answer.text, queue, lambda: screen.show_switched(queue, answer.body))


# ---------------------------------------------------------------------------------------------------- purge and redrive

Type = Annotated[str | None, typer.Option("--type", help="Only jobs of this type.", metavar="TYPE", autocompletion=type_names)]
Error = Annotated[str | None, typer.Option(help='Only jobs whose error has this text, such as "TimeoutError:".', metavar="TEXT")]
Before = Annotated[str | None, typer.Option(help="Only jobs created before this time, such as 2026-01-31T09:30:00Z.", metavar="TIME")]
Limit = Annotated[int | None, typer.Option(min=1, help="Change at most so many jobs.")]
Rate = Annotated[float | None, typer.Option(min=0.1, max=1000, help="Change at most so many jobs per second.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count only.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, or only for the start.")]


@app.command(no_args_is_help=True)
def purge(
    context: typer.Context,
    queue: QueueName,
    status: Annotated[Removable | None, typer.Option(help="Only jobs in this state; `failed` means both retrying and dead.")] = None,
    type: Type = None,
    error: Error = None,
    before: Before = None,
    limit: Limit = None,
    rate: Rate = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Wait = True,
    output: As = Output.TABLE,
) -> int:
    """Cancel what waits in a queue and delete what is over; what runs is left alone."""
    path = f"{queue_path(queue)}/purge"
    body = _body(status, type, error, before, limit, rate, dry_run)
    if not (yes or dry_run):
        _ask_first(f"Cancel what waits and delete what is over in {queue}: {_told(body) or 'everything'}?")
    return _operate(context, path, body, output, wait=wait, verb="purge", queue=queue)


@app.command(no_args_is_help=True)
def redrive(
    context: typer.Context,
    queue: QueueName,
    status: Annotated[Ended, typer.Option(help="Jobs in this state; `failed` means both retrying and dead.")] = Ended.DEAD,
    type: Type = None,
    error: Error = None,
    before: Before = None,
    limit: Limit = None,
    rate: Rate = None,
    dry_run: DryRun = False,
    wait: Wait = True,
    output: As = Output.TABLE,
) -> int:
    """Run a queue's dead jobs (or others that ended badly) again, now."""
    body = _body(status, type, error, before, limit, rate, dry_run)
    return _operate(context, f"{queue_path(queue)}/redrive", body, output, wait=wait, verb="redrive", queue=queue)


def _body(
    status: StrEnum | None, type: str | None, error: str | None, before: str | None, limit: int | None, rate: float | None, dry_run: bool
) -> dict[str, Any]:
    said = {"status": status and status.value, "type": type, "error": error, "before": before, "limit": limit, "rate": rate}
    return {name: value for name, value in said.items() if value is not None} | ({"dry_run": True} if dry_run else {})


def _told(body: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in body.items())


def _ask_first(question: str) -> None:
    """Goes on when a person at a terminal says yes; raises UsageError where nobody can be asked, Abort when they say no."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("this cannot be undone and nobody is here to ask: say --yes", param_hint="--yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise typer.Abort


def _operate(context: typer.Context, path: str, body: dict[str, Any], output: Output, *, wait: bool, verb: str, queue: str) -> int:
    """Starts the operation, shows how far it is on stderr, and its counts when it is over; the exit code."""
    with connect(context) as connection:
        # The key makes the request safe to repeat, whoever repeats it.
        answer = ask(connection, "POST", path, JOB, json=body, headers={"Idempotency-Key": f"cli-{uuid4()}"})
        if wait:
            answer = _watch(connection, answer, f"{verb} {queue}")
    job = answer.body

    def table() -> None:
        if wait:
            screen.show_operation(verb, queue, job)
        else:
            screen.show_enqueued(job, replayed=False)

    show_one(output, answer.text, job["id"], table)
    return 0 if not wait or answer.body["status"] == "done" else ENDED_OTHERWISE


def _watch(connection: Connection, answer: Answer, title: str) -> Answer:
    """The operation's job when it is over; how far it is, a person at a terminal sees as a bar."""
    if answer.body["status"] in TERMINAL:
        return answer
    with percents(title) as show:

        def seen(job: Any) -> None:
            progress = job.get("progress")
            if isinstance(progress, dict):
                show(float(progress.get("percent") or 0), screen.plain(str(progress.get("note") or "")))

        return wait_for_end(connection, job_path(answer.body["id"]), None, seen=seen, longest_wait=2.0)
