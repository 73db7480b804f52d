"""`jobs schedules`: jobs that are made by the clock."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final
from uuid import uuid4

import typer

from jobline.cli import screen
from jobline.cli.completing import type_names
from jobline.cli.context import JOB, QueueName, ask, connect, said
from jobline.cli.output import As, Output, show_all, show_one
from jobline.cli.payload import read_json, read_payload
from jobline.errors import ScheduleNotFound

app = typer.Typer(rich_markup_mode=None, add_completion=False)
schedules = typer.Typer(rich_markup_mode=None, add_completion=False)
app.add_typer(schedules, name="schedules")

ScheduleName = Annotated[str, typer.Argument(metavar="NAME", help="Name of a schedule.")]
SCHEDULE: Final = ("name", "cron", "rate", "at", "timezone", "paused", "queue", "type", "next_runs")
"""Fields of a schedule that every answer has."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@app.callback()
def group() -> None:
    """One group."""


@schedules.callback(invoke_without_command=True)
def schedules_group(context: typer.Context, output: As = Output.TABLE) -> int:
    """List the schedules; create, pause, resume, run and delete them.

    Without a subcommand: the list.
    """
    if context.invoked_subcommand is None:
        list_(context, output)
    return 0


@schedules.command("list")
def list_(context: typer.Context, output: As = Output.TABLE) -> None:
    """List the schedules, with the next run of each."""
    found: list[Any] = []
    cursor: str | None = None
    with connect(context) as connection:
        while True:
            params = {"limit": 50} | ({} if cursor is None else {"cursor": cursor})
            body = ask(connection, "GET", "/schedules", ("schedules", "next"), params=params).body
            found += body["schedules"]
            if (cursor := body["next"]) is None:
                break

    def table() -> None:
        rows = [(each["name"], _when(each), each["queue"], each["type"], _next(each)) for each in found]
        screen.show(screen.rows_table(("NAME", "WHEN", "QUEUE", "TYPE", "NEXT RUN"), rows))

    show_all(output, found, [each["name"] for each in found], table)


@schedules.command(no_args_is_help=True)
def show(context: typer.Context, name: ScheduleName, output: As = Output.TABLE) -> None:
    """Show a schedule: its next five runs, and what became of the last."""
    with connect(context) as connection:
        answer = ask(connection, "GET", _path(name), SCHEDULE)
    show_one(output, answer.text, name, lambda: _show(answer.body))


@schedules.command(no_args_is_help=True)
def create(
    context: typer.Context,
    name: ScheduleName,
    queue: QueueName,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="Name of the registered function that is to run.", autocompletion=type_names)],
    cron: Annotated[str | None, typer.Option(help="When: five fields of unix cron, or six of AWS's.", metavar="CRON")] = None,
    rate: Annotated[str | None, typer.Option(help="Or how often, such as 5m or 1h.", metavar="DURATION")] = None,
    at: Annotated[str | None, typer.Option(help="Or once, such as 2026-01-31T09:30:00.", metavar="TIME")] = None,
    timezone: Annotated[str | None, typer.Option(help="Whose clocks cron and at mean; default UTC.", metavar="ZONE")] = None,
    start: Annotated[str | None, typer.Option(help="No run before this time.", metavar="TIME")] = None,
    end: Annotated[str | None, typer.Option(help="No run at or after this time.", metavar="TIME")] = None,
    flexible_window: Annotated[str | None, typer.Option(help="A run may be so much late.", metavar="DURATION")] = None,
    paused: Annotated[bool | None, typer.Option("--paused/--running", help="Whether it runs; default: a new one does.")] = None,
    payload: Annotated[str, typer.Option(help="The payload: JSON, @file, or - for standard input.", metavar="JSON|@FILE|-")] = "{}",
    priority: Annotated[int | None, typer.Option(min=1, max=10, help="1 (most urgent) to 10; default 5.")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, max=100, help="Attempts in all, the first one included.")] = None,
    timeout: Annotated[str | None, typer.Option(help="How long one attempt may take.", metavar="DURATION")] = None,
    expires_in: Annotated[str | None, typer.Option(help="Do not start a job later than this after its run.", metavar="DURATION")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag to find the jobs by; may be given several times.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of the one of this name.")] = False,
    output: As = Output.TABLE,
) -> None:
    """Make a schedule: give one of --cron, --rate and --at."""
    from msgspec import Raw

    body = said(
        queue=queue,
        type=type,
        cron=cron,
        rate=rate,
        at=at,
        timezone=timezone,
        start=start,
        end=end,
        flexible_window=flexible_window,
        paused=paused,
        priority=priority,
        max_attempts=max_attempts,
        timeout=timeout,
        expires_in=expires_in,
        tags=tag or None,
    )
    body["payload"] = Raw(read_json(read_payload(payload), "--payload"))
    headers = {} if replace else {"If-None-Match": "*"}
    with connect(context) as connection:
        answer = ask(connection, "PUT", _path(name), SCHEDULE, json=body, headers=headers)
    show_one(output, answer.text, name, lambda: _show(answer.body))


@schedules.command(no_args_is_help=True)
def pause(context: typer.Context, name: ScheduleName, output: As = Output.TABLE) -> None:
    """Keep a schedule from running."""
    _switch(context, name, "pause", output)


@schedules.command(no_args_is_help=True)
def resume(context: typer.Context, name: ScheduleName, output: As = Output.TABLE) -> None:
    """Let a paused schedule run again; what it missed is not made up for."""
    _switch(context, name, "resume", output)


def _switch(context: typer.Context, name: str, verb: str, output: Output) -> None:
    with connect(context) as connection:
        answer = ask(connection, "POST", f"{_path(name)}/{verb}", SCHEDULE)
    show_one(output, answer.text, name, lambda: _show(answer.body))


@schedules.command(no_args_is_help=True)
def run(context: typer.Context, name: ScheduleName, output: As = Output.TABLE) -> None:
    """Run a schedule now, out of turn."""
    with connect(context) as connection:
        answer = ask(connection, "POST", f"{_path(name)}/run", JOB, headers={"Idempotency-Key": f"cli-{uuid4()}"})
    show_one(output, answer.text, answer.body["id"], lambda: screen.show_enqueued(answer.body, replayed=False))


@schedules.command(no_args_is_help=True)
def delete(context: typer.Context, name: ScheduleName, output: As = Output.TABLE) -> None:
    """Delete a schedule; the jobs that it made go on."""
    with connect(context) as connection:
        answer = ask(connection, "DELETE", _path(name), ("deleted",))
    show_one(output, answer.text, name, lambda: screen.show(f"deleted {name}"))


def _path(name: str) -> str:
    """The path of a schedule. Raises ScheduleNotFound for what cannot be a name, which in a path might mean something else."""
    if not _NAME.fullmatch(name):
        raise ScheduleNotFound(f"{name[:64]!r} is no name of a schedule: a lower-case letter and at most 63 of a-z 0-9 _ -.")
    return f"/schedules/{name}"


def _show(schedule: Any) -> None:
    last = schedule.get("last_run")
    rows = {
        "name": schedule["name"] + (" (declared in queues.toml)" if schedule.get("declared") else ""),
        "when": _when(schedule),
        "paused": "yes" if schedule["paused"] else "no",
        "queue": schedule["queue"],
        "type": schedule["type"],
        "next runs": "\n".join(schedule["next_runs"]) or "none",
    }
    if last is not None:
        rows["last run"] = f"{last['due_at']}: " + (f"job {last['job_id']}" if last["job_id"] else f"no job, {last['problem']}")
    screen.show(screen.pairs_table(rows))


def _when(schedule: Any) -> str:
    if schedule["rate"]:
        return f"every {schedule['rate']}"
    return f"{schedule['cron'] or schedule['at']} {schedule['timezone']}"


def _next(schedule: Any) -> str:
    if schedule["paused"]:
        return "paused"
    return str(next(iter(schedule["next_runs"]), "none"))
