"""The commands of `jobs` that show jobs: what they are, what became of them, and why."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from jobline.cli import screen
from jobline.cli.context import JOB, Every, Id, Ids, Watch, ask, connect, job_path, of_each, read_ids
from jobline.cli.failures import ENDED_OTHERWISE, TIMED_OUT, complain
from jobline.cli.output import As, Output, show_all, show_one
from jobline.cli.waiting import wait_for_end
from jobline.cli.watch import at_a_terminal, watch
from jobline.job import TERMINAL
from jobline.times import parse_duration

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(no_args_is_help=True)
def status(context: typer.Context, ids: Ids, watching: Watch = False, every: Every = 1.0, output: As = Output.TABLE) -> int:
    """Show jobs: state, payload, result and error.

    With --watch until all of them are over.
    """
    from msgspec import Raw

    wanted = read_ids(ids)

    def look() -> Any:
        return of_each(context, wanted, lambda connection, id: ask(connection, "GET", job_path(id), JOB))

    def show(seen: Any) -> None:
        answers = list(seen[0].values())
        if len(wanted) == 1:
            [one] = answers
            show_one(output, one.text, one.body["id"], lambda: screen.show_job(one.body))
            return
        texts, jobs = [Raw(answer.text.encode()) for answer in answers], [answer.body for answer in answers]
        show_all(output, texts, [job["id"] for job in jobs], lambda: screen.show(screen.jobs_table(jobs)))

    def drawn(seen: Any) -> Any:
        jobs = [answer.body for answer in seen[0].values()]
        return screen.job_table(jobs[0]) if len(jobs) == 1 else screen.jobs_table(jobs)

    def over(seen: Any) -> bool:
        return all(answer.body["status"] in TERMINAL for answer in seen[0].values())

    if not watching:
        seen = look()
        show(seen)
    elif output is Output.TABLE and at_a_terminal():
        seen = watch(look, drawn, every, in_place=True, until=over)
    else:
        seen = watch(look, show, every, in_place=False, until=over, told=lambda seen: [answer.text for answer in seen[0].values()])
    code: int = seen[1]
    return code


@app.command(no_args_is_help=True)
def why(context: typer.Context, id: Id, output: As = Output.TABLE) -> None:
    """Say why a job is not running."""
    with connect(context) as connection:
        answer = ask(connection, "GET", f"{job_path(id)}/why", ("status", "code", "reason", "facts"))
    show_one(output, answer.text, answer.body["code"], lambda: screen.show_reason(answer.body))


@app.command(no_args_is_help=True)
def events(context: typer.Context, id: Id, output: As = Output.TABLE) -> None:
    """Show what happened to a job, oldest first."""
    with connect(context) as connection:
        answer = ask(connection, "GET", f"{job_path(id)}/events", ("events",))
    events, truncated = answer.body["events"], bool(answer.body.get("truncated"))
    if output is Output.JSON:
        screen.show_json(answer.text)
    else:
        show_all(output, events, [event["event"] for event in events], lambda: screen.show_events(events, truncated=truncated))


@app.command(no_args_is_help=True)
def wait(
    context: typer.Context,
    id: Id,
    timeout: Annotated[str | None, typer.Option(help="Give up after this; default: never.", metavar="DURATION")] = None,
    output: As = Output.TABLE,
) -> int:
    """Wait for a job's end and show it.

    Exit code 0 when it is done, 6 when it ended otherwise, 7 when the time was over first.
    """
    ends = None if timeout is None else time.monotonic() + _seconds(timeout)
    with connect(context) as connection:
        answer = wait_for_end(connection, job_path(id), ends)
    show_one(output, answer.text, answer.body["id"], lambda: screen.show_job(answer.body))
    status = answer.body["status"]
    if status not in TERMINAL:
        complain(f"The time was over before the job was: it is {status}.")
        return TIMED_OUT
    return 0 if status == "done" else ENDED_OTHERWISE


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--timeout") from error
