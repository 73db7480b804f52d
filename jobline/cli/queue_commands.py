"""The commands about queues and types: what there is, and how it fares."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from jobline.cli import screen
from jobline.cli.completing import type_names
from jobline.cli.context import Every, QueueName, Watch, ask, connect, queue_path
from jobline.cli.output import As, Output, show_all, show_one
from jobline.cli.watch import at_a_terminal, watch
from jobline.errors import NotFound

app = typer.Typer(rich_markup_mode=None, add_completion=False)
STATS: Final = (
    *("pending", "running", "failed", "retrying", "scheduled", "dead", "done", "avg_wait_time", "p95_wait_time", "avg_run_time"),
    *("oldest_job_age", "enqueue_rate", "dequeue_rate", "error_rate", "active_workers", "paused"),
)


@app.command(no_args_is_help=True)
def stats(context: typer.Context, queue: QueueName, watching: Watch = False, every: Every = 2.0, output: As = Output.TABLE) -> None:
    """Show a queue's numbers."""
    path = f"{queue_path(queue)}/stats"
    with connect(context) as connection:
        if watching:
            in_place = output is Output.TABLE and at_a_terminal()
            watch(
                lambda: ask(connection, "GET", path, STATS)[2:],
                lambda seen: screen.stats_table(queue, seen[0]) if in_place else _show(output, queue, *seen),
                every,
                in_place=in_place,
            )
        answer = ask(connection, "GET", path, STATS)
    _show(output, queue, answer.body, answer.text)


def _show(output: Output, queue: str, stats: screen.Json, text: str) -> None:
    show_one(output, text, queue, lambda: screen.show_stats(queue, stats))


@app.command()
def queues(context: typer.Context, output: As = Output.TABLE) -> None:
    """List the queues of the deployment."""
    with connect(context) as connection:
        answer = ask(connection, "GET", "/queues", ("queues",))
    found = answer.body["queues"]

    def table() -> None:
        rows = [
            (
                each["name"],
                "yes" if each.get("paused") else "no",
                each["worker"],
                each["concurrency"],
                each["batch_size"],
                len(each["lanes"]),
                f"{each['timeout']} s",
                ", ".join(each["types"]),
            )
            for each in found
        ]
        screen.show(screen.rows_table(("QUEUE", "PAUSED", "WORKER", "CONCURRENCY", "BATCH", "LANES", "TIMEOUT", "TYPES"), rows))

    show_all(output, found, [each["name"] for each in found], table)


@app.command()
def types(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[TYPE]", help="Show all of this type.", autocompletion=type_names)] = None,
    output: As = Output.TABLE,
) -> None:
    """List the types of job, or show what one of them takes.

    With TYPE: its defaults and the JSON Schema of its payload.
    """
    from msgspec import json

    with connect(context) as connection:
        answer = ask(connection, "GET", "/types", ("types",))
    found = answer.body["types"]
    if name is None:
        rows = [(each["name"], each["worker"], ", ".join(each["queues"]), each["summary"]) for each in found]
        header = ("TYPE", "WORKER", "QUEUES", "DOES")
        show_all(output, found, [each["name"] for each in found], lambda: screen.show(screen.rows_table(header, rows)))
        return
    try:
        [one] = [each for each in found if each["name"] == name]
    except ValueError:
        raise NotFound(f"There is no type {name!r}; there are {', '.join(sorted(each['name'] for each in found))}.") from None
    show_one(output, json.encode(one), name, lambda: screen.show_json(json.encode(one)))
