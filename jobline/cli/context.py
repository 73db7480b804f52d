"""What commands share: the deployment that is meant, a request to its API, and the jobs and queues that arguments name."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from jobline.cli.completing import queue_names
from jobline.cli.failures import complain_of, exit_code
from jobline.errors import JoblineError, JobNotFound, NotFound

if TYPE_CHECKING:
    from jobline.connection import Answer, Connection
    from jobline.discovery import Place


class Given(NamedTuple):
    """What the command line says of the deployment."""

    api_url: str | None = None
    profile: str | None = None
    stack: str | None = None
    region: str | None = None


Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, or the first 8 or more characters of it.")]
Ids = Annotated[
    list[str],
    typer.Argument(metavar="ID…", help="Ids of jobs, or the first 8 or more characters of them; - reads them from standard input."),
]
QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of a queue.", autocompletion=queue_names)]
Every = Annotated[float, typer.Option("--every", min=0.2, max=3600, help="Seconds between looks of --watch.", metavar="SECONDS")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")]

JOB: Final = (
    *("id", "queue", "type", "payload", "priority", "status", "attempts", "max_attempts"),
    *("scheduled_at", "started_at", "completed_at", "error", "result", "created_at"),
)
"""Fields of a job that every answer has."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def place(context: typer.Context) -> Place:
    """The deployment that is meant. Raises NotConfigured."""
    from jobline.discovery import find

    return find(**(context.obj or Given())._asdict())


def connect(context: typer.Context) -> Connection:
    """The connection to its API. Raises NotConfigured."""
    from jobline.connection import Connection

    return Connection.to(place(context))


def ask(connection: Connection, method: str, path: str, fields: tuple[str, ...] = (), **request: Any) -> Answer:
    """The answer to one request, which must be an object with these fields. Raises what `Connection.request` raises."""
    answer = connection.request(method, path, **request)
    if not isinstance(answer.body, dict) or not set(fields) <= answer.body.keys():
        from jobline.api_errors import NotJobline

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


def of_each(context: typer.Context, ids: Sequence[str], ask: Callable[[Connection, str], Answer]) -> tuple[dict[str, Answer], int]:
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


def read_ids(given: Sequence[str]) -> list[str]:
    """The ids that arguments name, each once; `-` stands for those on standard input, one a line (or the first word of it)."""
    ids: list[str] = []
    for id in given:
        ids += (line.split()[0] for line in sys.stdin if line.strip()) if id == "-" else [id]
    return list(dict.fromkeys(ids))


def said(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}
