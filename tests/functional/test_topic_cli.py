"""`jobs topics` and the Python clients' verbs against the real API behind a real HTTP server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jobline.async_client import AsyncClient
from jobline.client import Client
from jobline.errors import InvalidJob, SubscriptionNotFound, TopicNotFound
from tests.command_line import Cli

SUBSCRIBE = ("topics", "subscribe", "orders", "thanks", "emails", "send_email")
ASKED = ("--filter", "amount > `100`", "--transform", "{to: email}", "--tag", "vip", "--delay", "5m")


def test_a_topic_is_subscribed_to_published_to_and_left(cli: Cli) -> None:
    made = cli(*SUBSCRIBE, *ASKED)
    assert (made.code, made.err) == (0, "")
    assert "amount > `100`" in made.out
    assert cli("topics", "-o", "name").out.split() == ["orders", "quiet"]
    assert "What becomes of orders." in cli("topics", "list").out
    assert cli("topics", "show", "orders", "-o", "name").out.split() == ["declared", "thanks"]
    assert cli("topics", "publish", "orders", "--event", '{"amount": 120}').out.startswith("enqueued")
    once = ("topics", "publish", "orders", "--event", "{}", "--idempotency-key", "order-7", "-o", "name")
    assert cli(*once).out == cli(*once).out
    assert cli("topics", "unsubscribe", "orders", "thanks").out == "deleted thanks\n"
    assert cli("topics", "unsubscribe", "orders", "thanks").code == 3


def test_subscribe_replaces_nothing_unless_it_is_asked_to(cli: Cli) -> None:
    assert cli(*SUBSCRIBE).code == 0
    assert cli(*SUBSCRIBE).code == 5
    assert cli(*SUBSCRIBE, "--replace", "--priority", "1", "-o", "json").json["priority"] == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("topics show ../jobs", 3),
        ("topics publish nonesuch --event {}", 3),
        ("topics publish orders --event []", 2),
        ("topics publish orders --event {", 2),
        ("topics publish orders", 2),
        ("topics subscribe orders x emails send_email --filter kind==", 2),
        ("topics subscribe orders declared emails send_email", 5),
    ],
)
def test_a_mistake_is_told_in_a_line_or_as_usage(cli: Cli, line: str, code: int) -> None:
    result = cli(*line.split())
    assert (result.code, result.out) == (code, "")


def test_python_has_the_same_verbs(cli: Cli) -> None:
    with Client(cli.api.url) as client:
        made = client.put_subscription("orders", "thanks", "send_email", queue="emails", filter="amount", tags=["vip"])
        assert (made["filter"], made["tags"], made["transform"]) == ("amount", ["vip"], None)
        assert [each["name"] for each in client.topics()] == ["orders", "quiet"]
        assert [each["name"] for each in client.topic("orders")["subscriptions"]] == ["declared", "thanks"]
        job = client.publish("orders", {"amount": 7}, idempotency_key="k")
        assert client.publish("orders", {"amount": 7}, idempotency_key="k").id == job.id
        with pytest.raises(TopicNotFound):
            client.publish("nonesuch", {})
        with pytest.raises(InvalidJob) as wrong:
            client.put_subscription("orders", "x", "send_email", queue="emails", filter="kind ==")
        assert [each["pointer"] for each in wrong.value.problems] == ["/filter"]
        client.delete_subscription("orders", "thanks")
        with pytest.raises(SubscriptionNotFound):
            client.delete_subscription("orders", "thanks")


def test_the_asynchronous_client_has_them_too(cli: Cli) -> None:
    async def live() -> None:
        async with AsyncClient(cli.api.url) as client:
            await client.put_subscription("quiet", "log", "send_email", queue="emails")
            assert [each["name"] for each in await client.topics()] == ["orders", "quiet"]
            assert [each["name"] for each in (await client.topic("quiet"))["subscriptions"]] == ["log"]
            assert (await client.publish("quiet", {"n": 1})).id
            await client.delete_subscription("quiet", "log")

    asyncio.run(live())


def test_an_event_comes_from_a_file_as_it_was_written(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text('{"amount": 1.0, "id": 9223372036854775808}')
    made = cli("topics", "publish", "quiet", "--event", f"@{file}", "-o", "name")
    assert made.code == 0, made.err
    assert '{"amount": 1.0, "id": 9223372036854775808}' in cli.client.store.jobs[made.out.strip()].payload
