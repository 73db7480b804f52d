"""`jobs topics`: events, what subscribes to them, and publishing."""

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
from jobline.errors import SubscriptionNotFound, TopicNotFound

app = typer.Typer(rich_markup_mode=None, add_completion=False)
topics = typer.Typer(rich_markup_mode=None, add_completion=False)
app.add_typer(topics, name="topics")

TopicName = Annotated[str, typer.Argument(metavar="TOPIC", help="Name of a topic.")]
SubscriptionName = Annotated[str, typer.Argument(metavar="NAME", help="Name of a subscription.")]
SUBSCRIPTION: Final = ("name", "topic", "declared", "queue", "type", "filter", "transform")
"""Fields of a subscription that every answer has."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@app.callback()
def group() -> None:
    """One group."""


@topics.callback(invoke_without_command=True)
def topics_group(context: typer.Context, output: As = Output.TABLE) -> int:
    """List the topics; publish to one, see what subscribes, subscribe, unsubscribe.

    Without a subcommand: the list.
    """
    if context.invoked_subcommand is None:
        list_(context, output)
    return 0


@topics.command("list")
def list_(context: typer.Context, output: As = Output.TABLE) -> None:
    """List the topics."""
    with connect(context) as connection:
        found = ask(connection, "GET", "/topics", ("topics",)).body["topics"]

    def table() -> None:
        screen.show(screen.rows_table(("NAME", "DESCRIPTION"), [(each["name"], each["description"]) for each in found]))

    show_all(output, found, [each["name"] for each in found], table)


@topics.command(no_args_is_help=True)
def show(context: typer.Context, topic: TopicName, output: As = Output.TABLE) -> None:
    """Show what subscribes to a topic."""
    with connect(context) as connection:
        found = ask(connection, "GET", _path(topic), ("name", "subscriptions")).body["subscriptions"]

    def table() -> None:
        rows = [(each["name"], each["queue"], each["type"], each["filter"] or "", each["transform"] or "") for each in found]
        screen.show(screen.rows_table(("NAME", "QUEUE", "TYPE", "FILTER", "TRANSFORM"), rows))

    show_all(output, found, [each["name"] for each in found], table)


@topics.command(no_args_is_help=True)
def publish(
    context: typer.Context,
    topic: TopicName,
    event: Annotated[str, typer.Option(help="What has happened: a JSON object, @file, or - for standard input.", metavar="JSON|@FILE|-")],
    idempotency_key: Annotated[str | None, typer.Option(help="The same key again names the same publication.", metavar="KEY")] = None,
    output: As = Output.TABLE,
) -> None:
    """Publish an event: one job for each subscription that takes it. Prints the publication's own job."""
    from msgspec import Raw

    body = {"event": Raw(read_json(read_payload(event), "--event")), "idempotency_key": idempotency_key or str(uuid4())}
    with connect(context) as connection:
        answer = ask(connection, "POST", f"{_path(topic)}/publish", JOB, json=body)
    show_one(output, answer.text, answer.body["id"], lambda: screen.show_enqueued(answer.body, replayed=answer.status == 200))


@topics.command(no_args_is_help=True)
def subscribe(
    context: typer.Context,
    topic: TopicName,
    name: SubscriptionName,
    queue: QueueName,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="Name of the registered function that is to run.", autocompletion=type_names)],
    filter: Annotated[str | None, typer.Option(help="Only events of which this holds, in JMESPath.", metavar="JMESPATH")] = None,
    transform: Annotated[str | None, typer.Option(help="The payload, made of the event; default: the event.", metavar="JMESPATH")] = None,
    delay: Annotated[str | None, typer.Option(help="Start so long after the publication.", metavar="DURATION")] = None,
    priority: Annotated[int | None, typer.Option(min=1, max=10, help="1 (most urgent) to 10; default 5.")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, max=100, help="Attempts in all, the first one included.")] = None,
    timeout: Annotated[str | None, typer.Option(help="How long one attempt may take.", metavar="DURATION")] = None,
    expires_in: Annotated[str | None, typer.Option(help="Do not start a job later than this.", metavar="DURATION")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag to find the jobs by; may be given several times.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of the one of this name.")] = False,
    output: As = Output.TABLE,
) -> None:
    """Subscribe to a topic: each event that the filter takes becomes a job of that type."""
    body = said(
        queue=queue,
        type=type,
        filter=filter,
        transform=transform,
        delay=delay,
        priority=priority,
        max_attempts=max_attempts,
        timeout=timeout,
        expires_in=expires_in,
        tags=tag or None,
    )
    headers = {} if replace else {"If-None-Match": "*"}
    with connect(context) as connection:
        answer = ask(connection, "PUT", _path(topic, name), SUBSCRIPTION, json=body, headers=headers)
    show_one(output, answer.text, name, lambda: _show(answer.body))


@topics.command(no_args_is_help=True)
def unsubscribe(context: typer.Context, topic: TopicName, name: SubscriptionName, output: As = Output.TABLE) -> None:
    """End a subscription; the jobs that it made go on."""
    with connect(context) as connection:
        answer = ask(connection, "DELETE", _path(topic, name), ("deleted",))
    show_one(output, answer.text, name, lambda: screen.show(f"deleted {name}"))


def _show(subscription: Any) -> None:
    shown = {name: value for name, value in subscription.items() if value is not None and name != "declared"}
    if subscription["declared"]:
        shown["name"] += " (declared in queues.toml)"
    screen.show(screen.pairs_table(shown))


def _path(topic: str, name: str | None = None) -> str:
    """Where it is; a name that none could have is asked of nobody."""
    if not _NAME.fullmatch(topic):
        raise TopicNotFound(f"There is no topic {topic[:64]!r}.")
    if name is not None and not _NAME.fullmatch(name):
        raise SubscriptionNotFound(f"The topic {topic!r} has no subscription {name[:64]!r}.")
    return f"/topics/{topic}" if name is None else f"/topics/{topic}/subscriptions/{name}"
