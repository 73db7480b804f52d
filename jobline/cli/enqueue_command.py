"""`jobs enqueue`: one job from options, or many from a file with a payload on each line."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from jobline.cli import screen
from jobline.cli.completing import type_names
from jobline.cli.context import JOB, QueueName, ask, connect, said
from jobline.cli.output import As, Output, show_one
from jobline.cli.payload import payload_field, read_json, read_payload

app = typer.Typer(rich_markup_mode=None, add_completion=False)


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


@app.callback()
def group() -> None:
    """One command."""


@app.command(no_args_is_help=True)
def enqueue(
    context: typer.Context,
    queue: QueueName,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="Name of the registered function that is to run.", autocompletion=type_names)],
    payload: Annotated[str, typer.Option(help="The payload: JSON, @file, or - for standard input.", metavar="JSON|@FILE|-")] = "{}",
    payloads: Annotated[
        str | None,
        typer.Option(help="A job for each line of this file, which is its payload (JSON Lines).", metavar="@FILE|-"),
    ] = None,
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
    callback_url: Annotated[str | None, typer.Option(help="A POST tells this URL the end of the job.", metavar="URL")] = None,
    reply_to: Annotated[str | None, typer.Option(help="A message in this reply queue tells the end of the job.", metavar="NAME")] = None,
    output: As = Output.TABLE,
) -> int:
    """Ask for a job, or for many.

    With --payloads a job is made for each line of a file, 500 to a request, with a bar on stderr at a terminal. Each has the key
    KEY-LINE: the same --idempotency-key again makes only the jobs that are not there yet.
    """
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
        "callback_url": callback_url,
        "reply_to": reply_to,
        "retry": None if retry is None else Raw(read_json(retry, "--retry")),
        "unique": said(key=unique, keys=unique_by or None, until=unique_until, on_conflict=on_conflict, **{"for": unique_for}) or None,
    }
    if payloads is not None:
        if payload != "{}":
            raise typer.BadParameter("give one or the other", param_hint="--payload, --payloads")
        from jobline.cli.many import enqueue_lines

        with connect(context) as connection:
            return enqueue_lines(connection, payloads, said(**request), idempotency_key, output)
    text = read_payload(payload)
    with connect(context) as connection:
        answer = ask(connection, "POST", "/jobs", JOB, json=said(**request) | payload_field(connection, text))
    found = bool({"idempotent-replayed", "unique-returned"} & answer.headers.keys())
    show_one(output, answer.text, answer.body["id"], lambda: screen.show_enqueued(answer.body, replayed=found))
    return 0
