"""A canary in every secret field, sent down every path: nothing but the stored payload and the handler ever has it."""

from __future__ import annotations

import io
import json
import logging
import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
import pytest

from jobline import Cancel, Context, NonRetryable, RetryAfter, Secret, Snooze, job
from jobline.definitions import OPERATIONS, Definitions, Queue, Worker
from jobline.memory_deployment import MemoryDeployment
from jobline.redaction import Redactor
from jobline.wiring import make_log
from tests.api import Client

CANARY = 'cänary"<&>\nof a secret/é'
PLAIN = "Canary0fAnotherSecret"
KEPT = "canary-in-secrets-manager"
TRACES = ("nary", "of a secret", "Canary0f", "of another")
"""What is left of a canary in any form that is not quite taken out; no other text here has it."""


class Card(msgspec.Struct):
    number: Secret[str]


class Charge(msgspec.Struct, forbid_unknown_fields=True):
    how: str
    token: Secret[str]
    cards: list[Card] = []
    headers: dict[str, Secret[str]] = {}
    padding: str = ""


seen: list[str] = []


@job("charge", max_attempts=2, retry={"backoff": "fixed", "base_delay": 1000, "jitter": 0})
def charge(payload: Charge, ctx: Context) -> str:
    """Does what handlers do with secrets by mistake."""
    seen.append(payload.token)
    ctx.progress(5, f"using {payload.token}")
    ctx.logger.info("charging %s", payload, extra={"cards": payload.cards})
    ctx.secret("api_key")
    match payload.how:
        case "raise":
            raise ValueError(f"refused: {payload.token}")
        case "repr":
            raise ValueError(repr(payload))
        case "json":
            raise ValueError(msgspec.json.encode(payload))
        case "url":
            raise ValueError(f"GET https://x.example/?t={quote(payload.token, safe='')}&n={payload.cards[0].number}")
        case "key":
            raise KeyError(payload.token)
        case "long":
            raise ValueError("x" * 1990 + payload.cards[0].number)
        case "chained":
            try:
                raise ValueError(payload.token)
            except ValueError as error:
                ctx.logger.exception("it went wrong")
                raise RuntimeError("because of that") from error
        case "kept":
            raise ValueError(f"login with {ctx.secret('api_key')}")
        case "exit":
            raise SystemExit(payload.token)
        case "dead":
            raise NonRetryable(payload.token)
        case "later":
            raise RetryAfter(1, payload.token)
        case "cancel":
            raise Cancel(payload.token)
        case "snooze" if ctx.starts < 2:
            raise Snooze(1, payload.token)
        case "child":
            ctx.enqueue("charge", msgspec.structs.replace(payload, how="raise"))
            ctx.enqueue("charge", {"how": 5, "token": payload.token})
        case "result":
            return object()  # type: ignore[return-value]
    return "charged"


HOWS = [
    "raise",
    "repr",
    "json",
    "url",
    "key",
    "long",
    "chained",
    "kept",
    "exit",
    "dead",
    "later",
    "cancel",
    "snooze",
    "child",
    "result",
    "well",
]


class Bench:
    """A deployment whose every function writes to the real log, and its real API."""

    def __init__(self) -> None:
        seen.clear()
        self.out = io.StringIO()
        redactor = Redactor()
        log = make_log(redactor, stream=self.out)
        logging.getLogger(os.environ["POWERTOOLS_SERVICE_NAME"]).propagate = False
        definitions = Definitions(
            stage="test",
            queues={
                "payments": Queue(name="payments", worker="bank", batch_size=10),
                "letters": Queue(name="letters", worker="bank", ordered=True),
                OPERATIONS: Queue(name=OPERATIONS, worker=OPERATIONS, timeout=870),
            },
            workers={
                "bank": Worker(name="bank", timeout=90, secrets={"api_key": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:key"}),
                OPERATIONS: Worker(name=OPERATIONS, timeout=900),
            },
        )
        self.deployment = MemoryDeployment(
            definitions, {"bank": [charge]}, start=datetime(2026, 1, 1, tzinfo=UTC), client=SecretsManager, log=log, redactor=redactor
        )
        lanes = {queue.name: self.deployment.lanes(queue) for queue in definitions.queues.values() if queue.direct}
        service = self.deployment.service
        self.api = Client(
            self.deployment.store,
            service.bodies,
            lanes,
            log=log,
            redactor=redactor,
            definitions=definitions,
            types=self.deployment.types,
            read_stats=self.deployment.stats,
            now=self.deployment.clock,
            direct=service.direct,
        )
        self.answers: list[str] = []
        self.ids: list[str] = []

    def call(self, method: str, path: str, body: Any = None, **given: Any) -> Any:
        answer = self.api.call(method, path, body, **given)
        self.answers.append(f"{method} {path}: {answer.text} {dict(answer.headers)}")
        return answer.body if answer.text else None

    def enqueue(self, how: str, queue: str = "payments", **fields: Any) -> str:
        made = self.call("POST", "/jobs", {"queue": queue, "type": "charge", "payload": payload(how)} | fields)
        self.ids.append(made["id"])
        return str(made["id"])

    def told(self) -> dict[str, str]:
        """Everything that anybody but the handler can read, by where."""
        for id in list(self.deployment.store.jobs):
            for path in (f"/jobs/{id}", f"/jobs/{id}/events", f"/jobs/{id}/why"):
                self.call("GET", path)
        for path in ("/jobs", "/queues/payments/jobs", "/queues/letters/jobs"):
            for status in ("", "failed", "dead", "cancelled", "done"):
                query = {"limit": "200"} | ({"queue": "payments"} if path == "/jobs" else {}) | ({"status": status} if status else {})
                self.call("GET", path, query=query)
        for path in ("/queues", "/queues/payments", "/queues/payments/stats", "/types"):
            self.call("GET", path)
        records = [replace(each, payload=None) for each in self.deployment.store.jobs.values()]
        messages = [vars(queue) for queue in self.deployment.sqs.__dict__.values() if hasattr(queue, "__dict__")]
        return {
            "log": self.out.getvalue(),
            "answers": "\n".join(self.answers),
            "records": repr(records),
            "messages": repr(messages) + repr(vars(self.deployment.sqs)),
            "counters": repr([item for key, item in self.deployment.items.items.items() if "#payload#" not in key]),
        }


class SecretsManager:
    def __init__(self, service: str) -> None:
        self.get_secret_value = lambda SecretId: {"SecretString": KEPT}


def payload(how: Any, **more: Any) -> dict[str, Any]:
    return {"how": how, "token": CANARY, "cards": [{"number": PLAIN}], "headers": {"x": f"{PLAIN}-2"}} | more


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", f"test-{uuid4()}")
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "INFO")
    return Bench()


def assert_untold(bench: Bench) -> None:
    for where, text in bench.told().items():
        for trace in (CANARY, PLAIN, KEPT, *TRACES, "anary"):
            at = text.find(trace)
            assert at < 0, f"the canary is in {where}: …{text[max(0, at - 300) : at + 100]}…"
    for line in bench.out.getvalue().splitlines():
        assert isinstance(json.loads(line), dict)


def test_no_path_tells_a_secret(bench: Bench) -> None:
    for how in HOWS:
        bench.enqueue(how)
    bench.enqueue("raise", "letters", ordering_key="k")
    bench.enqueue("well", unique={"keys": ["token"]}, delay="1h")
    bench.call("POST", "/jobs", {"queue": "payments", "type": "charge", "payload": payload("well"), "unique": {"keys": ["token"]}})
    bench.enqueue("raise", payload=payload("raise", padding="p" * 1000))  # an item of its own
    bench.enqueue("raise", payload=payload("raise", padding="p" * 200_000))  # in S3
    bench.enqueue("raise", payload=payload("raise", padding="p" * 1_100_000))  # too large for an answer
    bulk = [{"queue": "payments", "type": "charge", "payload": payload(how)} for how in ("well", "raise", 5)]
    bench.call("POST", "/jobs/batch", {"jobs": bulk})
    bench.deployment.run_until_idle()
    bench.deployment.advance("2h")
    for id in bench.ids:
        bench.call("POST", f"/jobs/{id}/retry")
        bench.call("POST", f"/jobs/{id}/replay")
    bench.deployment.advance("1h")
    assert len(seen) > 60
    assert set(seen) == {CANARY}, "the handler has it, also on a retry and a replay"
    assert '"error":"ValueError: refused: ***"' in "".join(bench.told().values())
    assert_untold(bench)


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": [CANARY]},
        {"token": CANARY, "cards": [{"number": {"is": PLAIN}}]},
        {"token": CANARY, "headers": {"x": [PLAIN]}},
        {"token": CANARY, "how": 5},
        {"token": CANARY, "cards": PLAIN},
    ],
)
def test_a_refused_payload_is_not_told(bench: Bench, wrong: dict[str, Any]) -> None:
    for key in (None, "key"):
        body = {"queue": "payments", "type": "charge", "payload": payload("well") | wrong} | ({"idempotency_key": key} if key else {})
        bench.call("POST", "/jobs", body)
        assert '"status":422' in bench.answers[-1]
    bench.call("POST", "/jobs", '{"queue": "payments", "type": "charge", "payload": {"how": "x", "token": "' + PLAIN + '", "token": 1}}')
    assert_untold(bench)


def test_a_payload_that_the_worker_refuses_is_not_told(bench: Bench) -> None:
    """What was uploaded is read by the worker alone; so is the payload of a job that an older release took."""
    for broken in ('{"how":"x","token":["' + PLAIN + '"]}', '{"how":"x","token":"' + PLAIN + '","' + "more" + '":1}', '{"token":"' + PLAIN):
        id = bench.enqueue("well")
        bench.deployment.store.jobs[id] = replace(bench.deployment.job(id), payload=broken)
    bench.deployment.run_until_idle()
    bench.deployment.advance("1h")
    assert_untold(bench)


def test_our_own_failure_does_not_log_a_secret(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(job: Any, **_: Any) -> Any:
        raise TypeError(f"cannot store {job.payload}")

    monkeypatch.setattr(bench.deployment.store, "create", fail)
    bench.call("POST", "/jobs", {"queue": "payments", "type": "charge", "payload": payload("well")})
    assert '"status":500' in bench.answers[-1]
    assert "cannot store" in bench.out.getvalue()
    assert_untold(bench)


def test_a_job_whose_type_is_gone_tells_nothing_of_its_payload(bench: Bench) -> None:
    id = bench.enqueue("well")
    bench.deployment.store.jobs[id] = replace(bench.deployment.job(id), type="forgotten")
    assert bench.call("GET", f"/jobs/{id}")["payload"] == "***"
    assert_untold(bench)


def test_what_is_no_secret_is_shown_as_it_was(bench: Bench) -> None:
    id = bench.enqueue("well")
    assert bench.call("GET", f"/jobs/{id}")["payload"] == {
        "how": "well",
        "token": "***",
        "cards": [{"number": "***"}],
        "headers": {"x": "***"},
    }


def test_a_large_payload_with_secrets_is_not_linked_to(bench: Bench) -> None:
    id = bench.enqueue("well", payload=payload("well", padding="p" * 1_100_000))
    shown = bench.call("GET", f"/jobs/{id}")
    assert (shown["payload"], shown["omitted"], "payload_url" in shown) == (None, ["payload"], False)
