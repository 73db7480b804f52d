"""Ends that are told: to a URL and into a queue, by the real engine in memory and to a server on this machine."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from jobline import SECRET, Context, NonRetryable, job
from jobline.definitions import OPERATIONS, Callbacks, Definitions, Queue, ReplyQueue, Worker
from jobline.errors import InvalidJob
from jobline.follow_ups import MAX_ATTEMPTS, Reply
from jobline.job import Status
from jobline.memory_deployment import reply_queue_name
from jobline.operator_tools import OperatorTools
from jobline.purging import Purging
from jobline.registry import Registry
from jobline.replies import Replies
from jobline.telling import LARGEST_MESSAGE, SIGNING_SECRET
from jobline.testing.trial import TrialDeployment
from jobline.testing.trial_job import TrialJob
from tests.receiver import Receiver, Script, answer, receiver

KEY = f"whsec_{base64.b64encode(bytes(24)).decode()}"
FIFO = "arn:aws:sqs:eu-central-1:123456789012:answers.fifo"


class Charge(msgspec.Struct):
    card: Annotated[str, SECRET] = "4242"
    size: int = 0
    fails: bool = False


@job("charge", max_attempts=1)
def charge(payload: Charge, ctx: Context) -> dict[str, Any]:
    if payload.fails:
        raise NonRetryable("no such card")
    return {"charged": True, "text": "\uffff" + "x" * payload.size}


@job("order")
def order(payload: dict[str, Any], ctx: Context) -> str:
    return ctx.enqueue("charge", Charge(), key="charge", **payload)


def deployment(*, port: int = 8181, secret: str | None = None) -> TrialDeployment:
    definitions = Definitions(
        stage="local",
        queues={
            "payments": Queue(name="payments", worker="bank", batch_size=10),
            OPERATIONS: Queue(name=OPERATIONS, worker=OPERATIONS, timeout=870, lanes=1),
        },
        workers={
            "bank": Worker(name="bank"),
            OPERATIONS: Worker(name=OPERATIONS, timeout=900, environment={"ALLOWED_LOOPBACK_PORTS": str(port)}),
        },
        callbacks=Callbacks(loopback_ports=(port,)),
        replies={"answers": ReplyQueue(name="answers"), "ordered": ReplyQueue(name="ordered", queue=FIFO)},
    )
    types = {"bank": [charge, order], OPERATIONS: Registry.discover("functions.operations").types.values()}
    return TrialDeployment(definitions, types, secrets={} if secret is None else {SIGNING_SECRET: secret})


def told(server: Receiver) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.received]


def follow_ups(jobs: TrialDeployment) -> list[TrialJob]:
    return jobs.all(queue=OPERATIONS)


def replies(jobs: TrialDeployment, name: str = "answers") -> list[dict[str, Any]]:
    return [json.loads(message.body) for message in jobs.deployment.sqs.messages(reply_queue_name(name))]


# The end and its callback


def test_an_end_is_told_once_as_the_job_is_shown_without_its_secrets() -> None:
    with receiver() as server:
        jobs = deployment(port=server.port)
        made = jobs.enqueue(charge, Charge(card="4242-secret"), callback_url=server.url("/done?token=t0ken"))
        jobs.drain()
    (request,) = server.received
    (event,) = told(server)
    assert request.line == "POST /done?token=t0ken HTTP/1.1"
    assert event["type"] == "job.done"
    shown = jobs.deployment.service.document(made.record)
    assert event["data"] == json.loads(msgspec.json.encode(shown))
    assert event["data"]["payload"]["card"] == "***"
    assert event["data"]["result"]["charged"] is True
    assert event["data"]["callback_url"] == f"http://127.0.0.1:{server.port}/done?***"
    assert event["timestamp"] == event["data"]["completed_at"]
    (follow_up,) = follow_ups(jobs)
    assert (follow_up.status, follow_up.parent_id) == ("done", made.id)
    assert request.headers["webhook-id"] == follow_up.id
    assert "webhook-signature" not in request.headers


def test_a_callback_is_signed_when_the_deployment_has_a_secret() -> None:
    with receiver() as server:
        jobs = deployment(port=server.port, secret=KEY)
        made = jobs.enqueue(charge, callback_url=server.url())
        jobs.drain()
    (request,) = server.received
    assert Webhook(KEY).verify(request.body, request.headers)["data"]["id"] == made.id


@pytest.mark.parametrize("end", ["dead", "cancelled", "expired", "purged"])
def test_every_other_end_is_told_too(end: str) -> None:
    with receiver() as server:
        jobs = deployment(port=server.port)
        if end == "dead":
            jobs.enqueue(charge, Charge(fails=True), callback_url=server.url())
            jobs.drain()
        elif end == "expired":
            jobs.enqueue(charge, delay=3000, expires_in=3001, callback_url=server.url())
            jobs.deployment.states.pause("payments", jobs.now)
            jobs.advance("1h")
        else:
            made = jobs.enqueue(charge, delay=3000, callback_url=server.url())
            if end == "cancelled":
                made.cancel()
            else:
                store, keep = jobs.deployment.store, jobs.deployment.definitions.keep
                visit = Purging(store=store, keep=keep, op="purge 1", dry_run=False, clock=jobs.deployment.clock)
                assert visit(made.record) == "cancelled"
            jobs.drain()
    assert [event["type"] for event in told(server)] == [f"job.{'cancelled' if end == 'purged' else end}"]


def test_a_job_that_nobody_asked_about_makes_no_follow_up() -> None:
    jobs = deployment()
    jobs.enqueue(charge)
    jobs.drain()
    assert follow_ups(jobs) == []


def test_a_receiver_that_is_down_is_called_again_and_a_2xx_ends_it() -> None:
    with receiver(answer(503), answer(500), answer(204)) as server:
        jobs = deployment(port=server.port)
        made = jobs.enqueue(charge, callback_url=server.url())
        jobs.drain()
        assert made.status == "done"
        jobs.advance("1m")
    assert len({request.headers["webhook-id"] for request in server.received}) == 1
    (follow_up,) = follow_ups(jobs)
    assert (follow_up.status, follow_up.attempts, len(server.received)) == ("done", 3, 3)


def test_a_receiver_that_stays_down_leaves_a_dead_letter_that_can_be_retried() -> None:
    with receiver(answer(503)) as server:
        jobs = deployment(port=server.port)
        jobs.enqueue(charge, callback_url=server.url())
        jobs.advance("2h")
        (follow_up,) = follow_ups(jobs)
        assert (follow_up.status, follow_up.attempts) == ("dead", MAX_ATTEMPTS)
        server.answers = [answer(200)]
        follow_up.retry()
        jobs.drain()
        assert follow_up.status == "done"


@pytest.mark.parametrize(("script", "word"), [(answer(410), "410"), (answer(302, Location="http://127.0.0.1:1/"), "302")])
def test_a_receiver_that_refuses_is_not_called_again(script: Script, word: str) -> None:
    with receiver(script) as server:
        jobs = deployment(port=server.port)
        jobs.enqueue(charge, callback_url=server.url())
        jobs.advance("2h")
    (follow_up,) = follow_ups(jobs)
    assert (follow_up.status, len(server.received)) == ("dead", 1)
    assert word in (follow_up.error or "")


def test_a_job_that_was_retried_before_its_end_was_told_has_only_the_later_end_told() -> None:
    with receiver() as server:
        jobs = deployment(port=server.port)
        made = jobs.enqueue(charge, delay=3000, callback_url=server.url())
        made.cancel()
        made.retry()
        jobs.drain()
    assert [event["type"] for event in told(server)] == ["job.done"]
    assert sorted(str(follow_up.result.get("skipped", "told"))[:4] for follow_up in follow_ups(jobs)) == ["the ", "told"]


def test_the_end_of_each_life_is_told() -> None:
    with receiver() as server:
        jobs = deployment(port=server.port)
        made = jobs.enqueue(charge, Charge(fails=True), callback_url=server.url())
        jobs.drain()
        made.retry()
        jobs.drain()
    assert [event["type"] for event in told(server)] == ["job.dead", "job.dead"]
    assert len({request.headers["webhook-id"] for request in server.received}) == 2


def test_the_end_of_a_job_whose_record_is_gone_is_told_in_short() -> None:
    with receiver() as server:
        jobs = deployment(port=server.port)
        made = jobs.enqueue(charge, delay=3000, callback_url=server.url())
        made.cancel()
        assert jobs.deployment.store.delete(made.record)
        jobs.drain()
    (event,) = told(server)
    assert event["type"] == "job.cancelled"
    assert (event["data"]["id"], event["data"]["status"], event["data"]["omitted"]) == (made.id, "cancelled", ["payload", "result"])


def test_the_url_of_a_follow_up_is_shown_to_nobody() -> None:
    jobs = deployment()
    jobs.enqueue(charge, delay=3000, callback_url="https://shop.example.com/hook?token=t0ken").cancel()
    (follow_up,) = follow_ups(jobs)
    shown = json.dumps(json.loads(msgspec.json.encode(jobs.deployment.service.short_document(follow_up.record))))
    assert "t0ken" not in shown and "shop.example.com" not in shown


# Replies


def test_an_end_is_told_in_the_reply_queue_with_what_a_receiver_selects_by() -> None:
    jobs = deployment()
    made = jobs.enqueue(charge, reply_to="answers")
    jobs.drain()
    (event,) = replies(jobs)
    assert (event["type"], event["data"]["id"], event["data"]["reply_to"]) == ("job.done", made.id, "answers")
    assert event["data"]["result"]["text"] == "\uffff"
    (message,) = jobs.deployment.sqs.messages(reply_queue_name("answers"))
    assert {name: value["StringValue"] for name, value in message.attributes.items()} == {"job_id": made.id, "status": "done"}
    assert "\uffff" not in message.body, "SQS refuses it"


def test_both_may_be_asked_for() -> None:
    with receiver() as server:
        jobs = deployment(port=server.port)
        jobs.enqueue(charge, reply_to="answers", callback_url=server.url())
        jobs.drain()
    assert told(server) == replies(jobs)


@pytest.mark.parametrize(("size", "short"), [(LARGEST_MESSAGE - 5000, False), (LARGEST_MESSAGE, True)])
def test_what_is_too_large_for_a_message_is_told_without_payload_and_result(size: int, short: bool) -> None:
    jobs = deployment()
    jobs.enqueue(charge, Charge(size=size), reply_to="answers")
    jobs.drain()
    (event,) = replies(jobs)
    assert event.get("truncated", False) is short
    assert (event["data"]["result"] is None) is short
    (message,) = jobs.deployment.sqs.messages(reply_queue_name("answers"))
    assert len(message.body.encode()) < LARGEST_MESSAGE


def test_a_queue_that_takes_less_than_others_is_told_in_short() -> None:
    jobs = deployment()
    jobs.deployment.sqs.queues[reply_queue_name("answers")].largest = 8_000
    jobs.enqueue(charge, Charge(size=20_000), reply_to="answers")
    jobs.drain()
    (event,) = replies(jobs)
    assert event["truncated"] is True


def test_a_reply_queue_that_is_gone_leaves_a_dead_letter_that_says_so() -> None:
    jobs = deployment()
    del jobs.deployment.sqs.queues[reply_queue_name("answers")]
    made = jobs.enqueue(charge, reply_to="answers")
    jobs.drain()
    (follow_up,) = follow_ups(jobs)
    assert (made.status, follow_up.status) == ("done", "dead")
    assert "reply queue 'answers' is gone" in (follow_up.error or "")


# What may be asked


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example.com/",
        "https://u:p@shop.example.com/",
        "https://shop.example.com:22/",
        "ftp://shop.example.com/",
        "https://",
        "x y",
    ],
)
def test_a_url_that_can_never_be_called_is_refused_where_it_is_given(url: str) -> None:
    with pytest.raises(InvalidJob) as refused:
        deployment().enqueue(charge, callback_url=url)
    assert [problem["pointer"] for problem in refused.value.problems] == ["/callback_url"]


def test_an_unknown_reply_queue_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidJob) as refused:
        deployment().enqueue(charge, reply_to="answer")
    (problem,) = refused.value.problems
    assert (problem["pointer"], "did you mean 'answers'?" in problem["detail"]) == ("/reply_to", True)


def test_a_child_may_be_told_of() -> None:
    jobs = deployment()
    jobs.enqueue("order", {"reply_to": "answers"})
    jobs.drain()
    assert [event["data"]["type"] for event in replies(jobs)] == ["charge"]


def test_the_follow_up_is_seen_by_a_test_that_does_not_run_it(jobs: TrialDeployment) -> None:
    made = jobs.enqueue("echo", {"n": 1}, queue="diagnostics", delay=3000, reply_to="answers")
    made.cancel()
    (follow_up,) = jobs.assert_enqueued("reply", to="answers", job=made.id)
    jobs.drain()
    assert follow_up.status == Status.DONE


def test_a_fifo_queue_gets_the_ends_of_one_group_in_order_and_each_once() -> None:
    jobs = deployment()
    sqs = jobs.deployment.sqs
    sqs.create("answers.fifo")
    made = jobs.enqueue(charge, group="shop-1", reply_to="ordered")
    jobs.drain()
    (follow_up,) = follow_ups(jobs)
    ended = msgspec.json.decode(follow_up.record.payload or "", type=Reply)
    tools = jobs.deployment.make_tools(jobs.deployment.ports, OPERATIONS)
    assert isinstance(tools, OperatorTools)
    news = tools.telling.news(follow_up.id, ended)
    assert news is not None
    replies = Replies(lambda: cast(Any, sqs), {"ordered": "memory:///answers.fifo"})
    assert replies.send("ordered", ended, news) == replies.send("ordered", ended, news)
    (message,) = sqs.messages("answers.fifo")
    assert (message.group, message.deduplication_id, ended.job) == ("shop-1", follow_up.id, made.id)


def test_the_receiver_of_the_page_takes_what_is_sent_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "callbacks.md").read_text()
    (example,) = re.findall(r"```python\n(from standardwebhooks .*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102  our own page
    with receiver() as server:
        jobs = deployment(port=server.port, secret=KEY)
        made = jobs.enqueue(charge, callback_url=server.url())
        jobs.drain()
    (request,) = server.received
    names["told"](request.body, request.headers, KEY)
    assert capsys.readouterr().out == f"job.done {made.id}\n"
    with pytest.raises(WebhookVerificationError):
        names["told"](request.body + b" ", request.headers, KEY)
