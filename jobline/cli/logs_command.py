"""`jobs logs`: what the functions wrote into CloudWatch Logs, of one job or of all, oldest first."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple

import typer

from jobline.account import Account
from jobline.cli import screen
from jobline.cli.completing import worker_functions
from jobline.cli.context import JOB, ask, connect, job_path, place
from jobline.cli.output import As, Output
from jobline.errors import NotFound
from jobline.stacks import aws_trouble
from jobline.times import format_instant, parse_duration

app = typer.Typer(rich_markup_mode=None, add_completion=False)
LATE_SECONDS: Final = 30
"""How late a line may appear in its group: --follow looks so far back, and shows no line twice."""
SECONDS_BETWEEN_LOOKS: Final = 2.0
_SYSTEM: Final = re.compile(r"^(START|END|REPORT|INIT_START) ")


class Level(StrEnum):
    """How bad a line is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Line(NamedTuple):
    """One line of a function's log."""

    at: int
    """Milliseconds since 1970."""
    function: str
    id: str
    text: str


@app.callback()
def group() -> None:
    """One command."""


@app.command()
def logs(
    context: typer.Context,
    function: Annotated[
        str | None, typer.Argument(metavar="[FUNCTION]", help="api, relay, …, or a worker's folder.", autocompletion=worker_functions)
    ] = None,
    job: Annotated[str | None, typer.Option(help="Only lines that name this job.", metavar="ID")] = None,
    since: Annotated[str | None, typer.Option(help="How far back; default: the job's whole life, or 10m.", metavar="DURATION")] = None,
    level: Annotated[Level, typer.Option(help="Only lines as bad as this, or worse.")] = Level.DEBUG,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    output: As = Output.TABLE,
) -> None:
    """Show what the functions logged, of one job or of all.

    A worker logs no line for a job that went well, unless its handler does. Needs logs:FilterLogEvents and to see the stack.
    """
    start = time.time() - _seconds(since or "10m")
    if job is not None:
        with connect(context) as connection:
            found = ask(connection, "GET", job_path(job), JOB).body
        job = found["id"]
        if since is None:
            start = datetime.fromisoformat(found["created_at"]).timestamp() - 1
    groups = _groups(Account(place(context)), function)
    account, names = groups
    seen: set[tuple[str, str]] = set()
    while True:
        lines = [line for line in _lines(account, names, start, job) if (line.function, line.id) not in seen and _at_least(line, level)]
        seen |= {(line.function, line.id) for line in lines}
        _show(sorted(lines), output)
        if not follow:
            if not lines:
                screen.note("No lines.")
            return
        start = max(start, time.time() - LATE_SECONDS)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _groups(account: Account, function: str | None) -> tuple[Account, dict[str, str]]:
    """The log group of each function that is meant. Raises NotFound."""
    functions = account.functions()
    if function is not None and function not in functions:
        raise NotFound(f"There is no function {function!r}; there are {', '.join(sorted(functions))}.")
    return account, {
        name: configuration.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{configuration['FunctionName']}"
        for name, configuration in functions.items()
        if function is None or name == function
    }


def _lines(account: Account, groups: dict[str, str], start: float, job: str | None) -> Iterator[Line]:
    logs = account.client("logs")
    asked: dict[str, Any] = {"startTime": max(0, int(start * 1000))}
    if job is not None:
        asked["filterPattern"] = f'"{job}"'
    for name, group in groups.items():
        with aws_trouble("CloudWatch Logs"):
            try:
                for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group, **asked):
                    for event in page["events"]:
                        text = event["message"].rstrip()
                        # An emulator that knows no patterns answers everything.
                        if not _SYSTEM.match(text) and (job is None or job in text):
                            identity = event.get("eventId") or f"{event['timestamp']} {text}"
                            yield Line(event["timestamp"], name, identity, text)
            except logs.exceptions.ResourceNotFoundException:
                continue  # nothing has been logged yet


def _at_least(line: Line, level: Level) -> bool:
    order = list(Level)
    said = _parsed(line.text).get("level")
    word = {"critical": "error", "fatal": "error", "warn": "warning"}.get(str(said).lower(), str(said).lower())
    return word not in order or order.index(Level(word)) >= order.index(level)


def _show(lines: Iterable[Line], output: Output) -> None:
    for line in lines:
        parsed = _parsed(line.text)
        if output is Output.NAME:
            screen.write(screen.plain(line.id))
        elif output is Output.TABLE:
            screen.write(screen.plain(" ".join(_words(line, parsed))))
        else:
            screen.show_line(json.dumps({"at": _at(line), "function": line.function, "line": parsed or line.text}))


_TOLD_ANYWAY: Final = frozenset({"level", "message", "timestamp", "service", "location"})


def _words(line: Line, parsed: dict[str, Any]) -> list[str]:
    """A line for people: time, function, level, message, and what else it says."""
    if not parsed:
        return [_at(line), line.function, line.text]
    more = [
        f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in parsed.items() if name not in _TOLD_ANYWAY
    ]
    message = parsed.get("message", "")
    return [_at(line), line.function, str(parsed.get("level", "-")), message if isinstance(message, str) else json.dumps(message), *more]


def _at(line: Line) -> str:
    return format_instant(datetime.fromtimestamp(line.at / 1000, UTC))


def _parsed(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from error
