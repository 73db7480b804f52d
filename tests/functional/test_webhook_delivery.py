"""Webhooks to a real server: what arrives, and what its answers come to."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from functions.integrations.webhook_delivery import WebhookDelivery, webhook_delivery
from jobline import NonRetryable, RetryAfter
from jobline.errors import InvalidJob, InvalidSettings
from jobline.outgoing import Unreachable
from jobline.registry import Registry
from jobline.secret_fields import hide
from jobline.testing import make_context
from jobline.webhooks import LONGEST_RETRY_AFTER, DeliveryFailed
from tests.receiver import Receiver, Script, answer, drip, receiver

REGISTRY = Registry([webhook_delivery])
OLD, NEW = (f"whsec_{base64.b64encode(bytes([n]) * 24).decode()}" for n in (1, 2))


def deliver(server: Receiver, body: str = '{"order":4711}', *, secret: str | None = None, stage: str = "local", **fields: Any) -> Any:
    ctx = make_context(
        "webhook_delivery",
        stage=stage,
        settings={"ALLOWED_LOOPBACK_PORTS": str(server.port)},
        secrets={} if secret is None else {"webhook_signing": secret},
    )
    return webhook_delivery(WebhookDelivery(url=server.url(), body=msgspec.Raw(body), **fields), ctx)


def failure(script: Script) -> Exception:
    """What the handler raises when the receiver answers so."""
    with receiver(script) as server, pytest.raises(Exception) as raised:  # noqa: PT011 which one, the caller asks
        deliver(server)
    return raised.value


# What arrives


def test_a_delivery_arrives_as_json_and_its_answer_is_the_result() -> None:
    with receiver(answer(200, b'{"received":true}')) as server:
        result = deliver(server)
    (request,) = server.received
    assert (request.line, request.headers["content-type"]) == ("POST /hook HTTP/1.1", "application/json")
    assert (result["status"], result["body"]) == (200, '{"received":true}')
    assert 0 <= result["ms"] < 10_000


@pytest.mark.parametrize("body", ['{"a":1.0,"b":[1e2, 123456789012345678901234567890]}', '"text"', "null", '{ "ö" : "ß" }'])
def test_the_body_is_sent_as_it_was_written(body: str) -> None:
    payload = REGISTRY.decode("webhook_delivery", f'{{"url": "https://hooks.example/", "body": {body}}}')
    with receiver() as server:
        deliver(server, bytes(payload.body).decode())
    assert server.received[0].body == body.encode()


def test_every_attempt_has_the_same_webhook_id() -> None:
    with receiver() as server:
        deliver(server)
        deliver(server)
    ids = [request.headers["webhook-id"] for request in server.received]
    assert ids[0] == ids[1] == make_context().id


@pytest.mark.parametrize("key", [OLD, NEW])
def test_a_receiver_with_either_of_two_rotating_keys_can_verify_the_delivery(key: str) -> None:
    with receiver() as server:
        deliver(server, '{"n":1.0}', secret=f"{OLD} {NEW}")
    (request,) = server.received
    assert Webhook(key).verify(request.body, request.headers) == {"n": 1.0}
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(request.body + b" ", request.headers)


def test_without_a_secret_there_is_no_signature() -> None:
    with receiver() as server:
        deliver(server)
    assert "webhook-signature" not in server.received[0].headers


@pytest.mark.parametrize("secret", ["whsec_%%%", "n0t! k3y!", f"{OLD} b#d", "whsec_", " "])
def test_a_secret_that_is_no_key_is_told_and_never_shown(secret: str) -> None:
    with receiver() as server, pytest.raises(InvalidSettings, match="webhook_signing is no signing key") as told:
        deliver(server, secret=secret)
    assert not any(word in str(told.value) for word in secret.split() if word != "whsec_")
    assert server.received == []


def test_headers_of_the_client_are_sent() -> None:
    with receiver() as server:
        deliver(server, headers={"Authorization": "Bearer abc"})
    assert server.received[0].headers["authorization"] == "Bearer abc"


def test_what_a_receiver_authorises_by_is_shown_to_nobody() -> None:
    described = REGISTRY.describe()["webhook_delivery"]
    shown = hide('{"url":"https://hooks.example/","body":{"n":1},"headers":{"Authorization":"Bearer abc"}}', described["schema"])
    assert json.loads(shown) == {"url": "https://hooks.example/", "body": {"n": 1}, "headers": {"Authorization": "***"}}


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Webhook-Signature", "connection"])
def test_headers_that_are_ours_are_refused(name: str) -> None:
    with receiver() as server, pytest.raises(NonRetryable, match=f"the header {name} cannot be given"):
        deliver(server, headers={name: "x"})
    assert server.received == []


# What answers come to


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    with receiver(answer(status)) as server:
        assert deliver(server)["status"] == status


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 405, 409, 410, 413, 422])
def test_an_answer_that_would_be_the_same_again_is_dead_at_once(status: int) -> None:
    assert isinstance(failed := failure(answer(status, b"no", Location="https://hooks.example/")), NonRetryable)
    assert str(failed) == f"the receiver answered {status}: no"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_an_answer_of_the_moment_is_tried_again_by_the_policy(status: int) -> None:
    assert isinstance(failure(answer(status)), DeliveryFailed)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked", "seconds"), [("17", 17), ("0", 0), ("999999999", LONGEST_RETRY_AFTER)])
def test_retry_after_is_honoured_within_reason(status: int, asked: str, seconds: float) -> None:
    assert isinstance(failed := failure(answer(status, Retry_After=asked)), RetryAfter)
    assert failed.seconds == seconds


@pytest.mark.parametrize(("ahead", "least", "most"), [(120, 110, 120), (-120, 0, 0)])
def test_retry_after_may_be_a_date(ahead: int, least: float, most: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    assert isinstance(failed := failure(answer(503, Retry_After=date)), RetryAfter)
    assert least <= failed.seconds <= most


@pytest.mark.parametrize("asked", ["soon", "-5", "1.5", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"])
def test_a_retry_after_that_says_nothing_is_left_to_the_policy(asked: str) -> None:
    assert isinstance(failure(answer(503, Retry_After=asked)), DeliveryFailed)


def test_a_receiver_that_fails_twice_and_then_accepts_gets_it_at_the_third_attempt() -> None:
    with receiver(answer(500), answer(503), answer(200, b"thanks")) as server:
        for _ in range(2):
            with pytest.raises(DeliveryFailed):
                deliver(server)
        assert deliver(server)["body"] == "thanks"
    assert len(server.received) == 3


def test_a_receiver_that_is_too_slow_is_tried_again() -> None:
    with (
        receiver(drip(b"HTTP/1.1 200 OK\r\n\r\n", endless=b".", pause=0.2)) as server,
        pytest.raises(Unreachable, match="the time was over"),
    ):
        deliver(server, timeout=1)


def test_the_result_keeps_the_beginning_of_a_long_answer() -> None:
    with receiver(answer(200, b"x" * 100_000)) as server:
        assert deliver(server)["body"] == "x" * 2000


# Where it may go


def test_a_private_address_is_dead_at_once() -> None:
    ctx = make_context("webhook_delivery", stage="dev")
    with pytest.raises(NonRetryable, match="is not a public address"):
        webhook_delivery(WebhookDelivery(url="https://169.254.169.254/", body=msgspec.Raw(b"{}")), ctx)


def test_loopback_ports_are_for_the_local_stage_only() -> None:
    with receiver() as server, pytest.raises(NonRetryable, match="only https"):
        deliver(server, stage="prod")
    assert server.received == []


@pytest.mark.parametrize(
    "fields",
    [
        '"url": ""',
        '"url": "https://hooks.example/", "method": "GET"',
        '"url": "https://hooks.example/", "timeout": 31',
        '"url": "https://hooks.example/", "timeout": 0',
        '"url": "https://hooks.example/", "headers": {"X-Bad\\r\\nHost": "x"}',
        '"url": "https://hooks.example/", "headers": {"X-Good": "x\\r\\nHost: y"}',
        '"url": "https://hooks.example/", "headers": {"X-Good": "at the end\\n"}',
        '"url": "https://hooks.example/", "headers": {"X-Good": 1}',
    ],
)
def test_a_payload_that_does_not_fit_is_refused(fields: str) -> None:
    with pytest.raises(InvalidJob):
        REGISTRY.decode("webhook_delivery", f'{{"body": {{}}, {fields}}}')
