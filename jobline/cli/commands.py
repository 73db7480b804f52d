"""The commands of `jobs`: what each takes, which request it sends, and what it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from jobline.api_errors import NotJobline
from jobline.cli import screen
from jobline.cli.failures import complain_of, exit_code
from jobline.cli.payload import payload_field, read_json, read_payload
from jobline.connection import URL_VARIABLE, Answer, Connection
from jobline.errors import JoblineError, JobNotFound, NotFound

app = typer.Typer(
    name="jobs",
    help="Enqueue jobs and look after them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Output(StrEnum):
    """How to print what came."""

    TABLE = "table"
    JSON = "json"


class Until(StrEnum):
    """Until when a unique key is held."""

    START = "start"
    SUCCESS = "success"
    TTL = "ttl"


class OnConflict(StrEnum):
    """What becomes of a request whose unique key is held."""

    RETURN = "return"
    REPLACE = "replace"
    REJECT = "reject"


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


As = Annotated[Output, typer.Option("--output", "-o", help="A table for people, or JSON for programs.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID…", help="Ids of jobs, or the first 8 or more characters of them.")]
QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of a queue.")]

LONGEST_PAGE: Final = 200
JOB: Final = (
    *("id", "queue", "type", "payload", "priority", "status", "attempts", "max_attempts"),
    *("scheduled_at", "started_at", "completed_at", "error", "result", "created_at"),
)
"""Fields of a job that every answer has."""
PAGE: Final = ("jobs", "next")
STATS: Final = (
    *("pending", "running", "failed", "retrying", "scheduled", "dead", "done", "avg_wait_time", "p95_wait_time", "avg_run_time"),
    *("oldest_job_age", "enqueue_rate", "dequeue_rate", "error_rate", "active_workers", "paused"),
)


@app.callback()
def jobs(
    context: typer.Context,
    api_url: Annotated[
        str,
        typer.Option(
            "--api-url", envvar=URL_VARIABLE, help="The deployment's URL: the stack's output ApiUrl. Default: what `make dev` runs."
        ),
    ] = "",
) -> None:
    """Enqueue jobs and look after them."""
    context.obj = api_url


@app.command(no_args_is_help=True)
def enqueue(
    context: typer.Context,
    queue: QueueName,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="Name of the registered function that is to run.")],
    payload: Annotated[str, typer.Option(help="The payload: JSON, @file, or - for standard input.", metavar="JSON|@FILE|-")] = "{}",
    delay: Annotated[str | None, typer.Option(help="Start after this: seconds, or 90s, 10m, 1h30m.", metavar="DURATION")] = None,
    at: Annotated[str | None, typer.Option("--at", help="Start at this time, such as 2026-01-31T09:30:00Z.", metavar="TIME")] = None,
    priority: Annotated[int | None, typer.Option(min=1, max=10, help="1 (most urgent) to 10; default 5.")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, max=100, help="Attempts in all, the first one included.")] = None,
    timeout: Annotated[str | None, typer.Option(help="How long one attempt may take.", metavar="DURATION")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key again names the same job.", metavar="KEY")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag to find the job by; may be given several times.")] = None,
    group: Annotated[str | None, typer.Option(help="Whose job it is: no group keeps the others waiting.", metavar="GROUP")] = None,
    ordering_key: Annotated[
        str | None, typer.Option(help="In an ordered queue: jobs with the same key run one after the other.", metavar="KEY")
    ] = None,
    expires_in: Annotated[str | None, typer.Option(help="Do not start it later than this.", metavar="DURATION")] = None,
    retry: Annotated[str | None, typer.Option(help='Retry policy, such as {"backoff":"fixed","base_delay":5000}.', metavar="JSON")] = None,
    unique: Annotated[str | None, typer.Option(help="At most one job for this key at a time.", metavar="KEY")] = None,
    unique_by: Annotated[
        list[str] | None, typer.Option(help="The same, with the key made of this field of the payload; may be given several times.")
    ] = None,
    unique_for: Annotated[str | None, typer.Option(help="How long the key is held at most.", metavar="DURATION")] = None,
    unique_until: Annotated[Until | None, typer.Option(help="Until when the key is held; default success: until the job is over.")] = None,
    on_conflict: Annotated[OnConflict | None, typer.Option(help="What to do when the key is held; default return.")] = None,
    output: As = Output.TABLE,
) -> None:
    """Ask for a job."""
    from msgspec import Raw

    request: dict[str, Any] = {
        "queue": queue,
        "type": type,
        "delay": delay,
        "scheduled_at": at,
        "priority": priority,
        "max_attempts": max_attempts,
        "timeout": timeout,
        "idempotency_key": idempotency_key,
        "tags": tag or None,
        "group": group,
        "ordering_key": ordering_key,
        "expires_in": expires_in,
        "retry": None if retry is None else Raw(read_json(retry, "--retry")),
        "unique": said(key=unique, keys=unique_by or None, until=unique_until, on_conflict=on_conflict, **{"for": unique_for}) or None,
    }
    text = read_payload(payload)
    with connect(context) as connection:
        answer = ask(connection, "POST", "/jobs", JOB, json=said(**request) | payload_field(connection, text))
    if output is Output.JSON:
        screen.show_json(answer.text)
    else:
        screen.show_enqueued(answer.body, replayed=bool({"idempotent-replayed", "unique-returned"} & answer.headers.keys()))


@app.command(no_args_is_help=True)
def status(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of a job, or the first 8 or more characters of it.")],
    output: As = Output.TABLE,
) -> None:
    """Show a job: its state, payload, result and error."""
    with connect(context) as connection:
        answer = ask(connection, "GET", job_path(id), JOB)
    if output is Output.JSON:
        screen.show_json(answer.text)
    else:
        screen.show_job(answer.body)


@app.command("list", no_args_is_help=True)
def list_jobs(
    context: typer.Context,
    queue: QueueName,
    status: Annotated[Status | None, typer.Option(help="`failed` means both retrying and dead.")] = None,
    type: Annotated[str | None, typer.Option(help="Only jobs of this type.", metavar="TYPE")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many jobs.")] = 20,
    output: As = Output.TABLE,
) -> None:
    """List jobs of a queue."""
    from msgspec import Raw, json

    found: list[Raw] = []
    cursor = None
    with connect(context) as connection:
        while len(found) < limit:
            asked = {"queue": queue, "status": status, "type": type, "limit": min(limit - len(found), LONGEST_PAGE), "cursor": cursor}
            answer = ask(connection, "GET", "/jobs", PAGE, params=asked)
            found += json.decode(json.decode(answer.text, type=dict[str, Raw])["jobs"], type=list[Raw])
            cursor = answer.body["next"]
            if cursor is None:
                break
    if output is Output.JSON:
        screen.show_json(json.encode(found))
    else:
        screen.show_jobs([json.decode(job) for job in found], more=cursor is not None)


@app.command(no_args_is_help=True)
def retry(context: typer.Context, ids: Ids, output: As = Output.TABLE) -> int:
    """Run failed, dead, cancelled or expired jobs again now."""
    from msgspec import Raw, json

    answers, code = of_each(context, ids, lambda connection, id: ask(connection, "POST", f"{job_path(id)}/retry", JOB))
    if output is Output.JSON:
        screen.show_json(json.encode([Raw(answer.text.encode()) for answer in answers.values()]))
    else:
        screen.show_retried([answer.body for answer in answers.values()])
    return code


@app.command(no_args_is_help=True)
def cancel(context: typer.Context, ids: Ids, output: As = Output.TABLE) -> int:
    """Make sure that jobs do not start; of a running job this is a request."""
    from msgspec import json

    answers, code = of_each(context, ids, lambda connection, id: ask(connection, "DELETE", job_path(id)))
    if output is Output.JSON:
        screen.show_json(json.encode([{"id": id} | answer.body for id, answer in answers.items()]))
    else:
        screen.show_cancelled({id: answer.body for id, answer in answers.items()})
    return code


@app.command(no_args_is_help=True)
def stats(context: typer.Context, queue: QueueName, output: As = Output.TABLE) -> None:
    """Show a queue's numbers."""
    path = queue_path(queue)
    with connect(context) as connection:
        answer = ask(connection, "GET", f"{path}/stats", STATS)
    if output is Output.JSON:
        screen.show_json(answer.text)
    else:
        screen.show_stats(queue, answer.body)


# ---------------------------------------------------------------------------------------------------- what commands share

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def connect(context: typer.Context) -> Connection:
    """The connection to the API that the command line, the environment or the working folder names. Raises NotConfigured."""
    return Connection.find(api_url=context.obj or None)


def ask(connection: Connection, method: str, path: str, fields: tuple[str, ...] = (), **request: Any) -> Answer:
    """The answer to one request, which must be an object with these fields. Raises what `Connection.request` raises."""
    answer = connection.request(method, path, **request)
    if not isinstance(answer.body, dict) or not set(fields) <= answer.body.keys():
        raise NotJobline(f"{connection.api_url} answered as no Jobline API does. Is the URL right?")
    return answer


def job_path(id: str) -> str:
    """The path of a job. Raises JobNotFound for what cannot be an id, which in a path might mean something else."""
    if not _NAME.fullmatch(id):
        raise JobNotFound(f"{id[:64]!r} is no job id, nor the beginning of one.")
    return f"/jobs/{id}"


def queue_path(queue: str) -> str:
    """The path of a queue. Raises NotFound for what cannot be a queue's name."""
    if not _NAME.fullmatch(queue):
        raise NotFound(f"There is no queue {queue!r}.")
    return f"/queues/{queue}"


def of_each(context: typer.Context, ids: list[str], ask: Callable[[Connection, str], Answer]) -> tuple[dict[str, Answer], int]:
    """The answer for each id that had one, and the exit code of the first that had none: one job's trouble keeps no other waiting."""
    answers: dict[str, Answer] = {}
    codes: list[int] = []
    with connect(context) as connection:
        for id in ids:
            try:
                answers[id] = ask(connection, id)
            except JoblineError as error:
                if len(ids) == 1:
                    raise
                complain_of(error)
                codes.append(exit_code(error))
    return answers, next(iter(codes), 0)


def said(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}
