"""The commands of operators: what is done to a whole queue."""

from __future__ import annotations

import typer

from jobline.api_errors import NotJobline
from jobline.cli import screen
from jobline.cli.commands import As, Output, QueueName, app, ask, connect, queue_path


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
    if output is Output.JSON:
        screen.show_json(answer.text)
    else:
        screen.show_switched(queue, answer.body)
