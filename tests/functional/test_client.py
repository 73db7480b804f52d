"""The Python clients against the real API behind a real HTTP server that checks signatures: each test runs with both of them."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from jobline import AsyncClient, Client, Context, JobFailed, NewJob, WaitTimedOut, job
from jobline.api_errors import NotAllowed, TooManyRequests, Unreachable
from jobline.connection import AsyncConnection, Connection
from jobline.errors import Conflict, InvalidJob, JobNotFound, PreconditionFailed, Unavailable, UnknownType
from jobline.job import Status
from tests.api import Client as ApiClient
from tests.command_line import STATS
from tests.factories import NOW, make_job
from tests.http_api import HttpApi, Received, http_api

TO_ADA = {"to": "ada@example.com"}


class Mail(msgspec.Struct):
    to: str


@job("send_email")
def send_email(payload: Mail, ctx: Context) -> None:
    """What a program's own handlers look like to its client."""


class Awaited:
    """An asynchronous object whose every call is awaited here, so that one test fits both clients."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found
        return lambda *given, **named: self._awaited(found(*given, **named))

    def _awaited(self, value: Any) -> Any:
        if inspect.isasyncgen(value):
            return self._drained(value)
        if inspect.isawaitable(value):
            value = self._loop.run_until_complete(value)
        return [self._wrapped(each) for each in value] if isinstance(value, list) else self._wrapped(value)

    def _drained(self, generator: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._wrapped(self._loop.run_until_complete(anext(generator)))
            except StopAsyncIteration:
                return

    def _wrapped(self, value: Any) -> Any:
        return Awaited(value, self._loop) if hasattr(value, "wait") else value


class Bench:
    """A client, the API it speaks to, and the pauses that it made."""

    def __init__(self, client: Any, api: HttpApi, pauses: list[float]) -> None:
        self.client = client
        self.api = api
        self.pauses = pauses

    @property
    def store(self) -> Any:
        return self.api.client.store

    def change(self, job_id: str, **fields: Any) -> None:
        self.store.jobs[job_id] = replace(self.store.jobs[job_id], **fields)

    @contextmanager
    def failing(self, *answers: tuple[int, str] | None) -> Iterator[None]:
        """The next answers in place of the API's; `None`: the API does what it was asked, and the connection breaks."""
        left = list(answers)

        def answer(request: Received) -> tuple[int, str]:
            if not left:
                self.api.answer = None
                status, _, text = self.api.respond(request)
                self.api.received.pop()
                return status, text
            spoiled = left.pop(0)
            if spoiled is not None:
                return spoiled
            self.api.answer = None
            self.api.respond(request)
            self.api.answer = answer
            raise ConnectionAbortedError

        self.api.answer = answer
        yield
        self.api.answer = None


@pytest.fixture(params=["client", "async client"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    pauses: list[float] = []
    with http_api(ApiClient(read_stats=lambda queue, now: STATS)) as api:
        if request.param == "client":
            with Client(api.url, sleep=pauses.append) as blocking:
                yield Bench(blocking, api, pauses)
            return
        loop = asyncio.new_event_loop()

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)

        client = AsyncClient(api.url, sleep=sleep)
        yield Bench(Awaited(client, loop), api, pauses)
        loop.run_until_complete(client.aclose())
        loop.close()


def test_a_job_is_enqueued_and_told(bench: Bench) -> None:
    job = bench.client.enqueue("send_email", TO_ADA, queue="emails", delay=timedelta(minutes=10), priority=2, tags=["vip"])
    stored = bench.store.jobs[job.id]
    assert (stored.queue, stored.type, stored.priority, stored.tags) == ("emails", "send_email", 2, ("vip",))
    assert stored.scheduled_at == NOW + timedelta(minutes=10) == job.scheduled_at
    assert (job.status, job.attempts, job.payload, job.over) == (Status.PENDING, 0, TO_ADA, False)


@pytest.mark.parametrize("way", ["payload", "handler", "name"])
def test_a_type_is_named_by_payload_handler_or_name(bench: Bench, way: str) -> None:
    payload = Mail(to="ada@example.com")
    given: dict[str, Any] = {"payload": (payload,), "handler": (send_email, payload), "name": ("send_email", payload)}
    job = bench.client.enqueue(*given[way], queue="emails")
    assert json.loads(bench.store.jobs[job.id].payload)["to"] == "ada@example.com"
    assert job.type == "send_email"


def test_without_a_queue_the_only_one_that_takes_the_type_is_asked_for_once(bench: Bench) -> None:
    assert bench.client.enqueue("image_resize", {}).queue == "images"
    assert bench.client.enqueue("image_resize", {}).queue == "images"
    assert [request.method for request in bench.api.received] == ["GET", "POST", "POST"]
    with pytest.raises(InvalidJob, match="'send_email' can go to emails, letters: say queue="):
        bench.client.enqueue("send_email", TO_ADA)


def test_an_enqueue_whose_answer_was_lost_makes_one_job(bench: Bench) -> None:
    with bench.failing(None, None):
        job = bench.client.enqueue("send_email", TO_ADA, queue="emails")
    assert list(bench.store.jobs) == [job.id]
    assert len(bench.pauses) == 2


def test_two_enqueues_of_the_same_make_two_jobs_unless_their_key_is_the_same(bench: Bench) -> None:
    first, second = (bench.client.enqueue("send_email", TO_ADA, queue="emails") for _ in range(2))
    assert first.id != second.id
    keyed = [bench.client.enqueue("send_email", TO_ADA, queue="emails", idempotency_key="order-1").id for _ in range(2)]
    assert keyed[0] == keyed[1]


def test_what_the_api_asks_for_as_a_pause_is_waited(bench: Bench) -> None:
    too_many = json.dumps({"message": "Too Many Requests"})
    with bench.failing((429, too_many), (503, "{}"), (500, "{}")):
        bench.client.enqueue("send_email", TO_ADA, queue="emails")
    assert len(bench.pauses) == 3
    assert all(0.1 <= pause <= 1.5 for pause in bench.pauses)


def test_after_its_tries_the_last_error_is_raised(bench: Bench) -> None:
    with bench.failing(*[(429, "{}")] * 5), pytest.raises(TooManyRequests):
        bench.client.enqueue("send_email", TO_ADA, queue="emails")
    assert len(bench.pauses) == 4
    with bench.failing(*[None] * 5), pytest.raises(Unreachable):
        bench.client.enqueue("send_email", TO_ADA, queue="emails")
    assert len(bench.store.jobs) == 1


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda client: client.enqueue("send_email", {"too": 1}, queue="emails"), InvalidJob),
        (lambda client: client.enqueue("send_emial", TO_ADA, queue="emails"), UnknownType),
        (lambda client: client.enqueue("send_email", TO_ADA, queue="emails", dealy=3), InvalidJob),
        (lambda client: client.get("0197a000-0000-7000-8000-00000000dead"), JobNotFound),
    ],
)
def test_an_error_is_the_class_of_its_problem_and_is_not_tried_again(bench: Bench, call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(bench.client)
    assert bench.pauses == []


def test_an_invalid_job_names_every_place(bench: Bench) -> None:
    with pytest.raises(InvalidJob) as caught:
        bench.client.enqueue("send_email", {"to": 7, "cc": 1}, queue="emails", priority=11)
    assert {problem["pointer"] for problem in caught.value.problems} >= {"/priority"}


def test_many_jobs_go_in_one_request_and_each_has_its_outcome(bench: Bench) -> None:
    jobs = [NewJob("send_email", {"to": f"{n}@example.com"}, "emails", {"priority": 1 + n}) for n in range(4)]
    jobs[2] = NewJob("send_email", {"to": 7}, "emails")
    outcomes = bench.client.enqueue_many(jobs)
    assert isinstance(outcomes[2], InvalidJob)
    made = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
    assert [bench.store.jobs[job.id].priority for job in made] == [1, 2, 4]
    assert len(bench.api.received) == 1


def test_more_jobs_than_one_request_takes_go_in_several_and_in_order(bench: Bench) -> None:
    outcomes = bench.client.enqueue_many(NewJob("send_email", {"to": f"{n}@example.com"}, "emails") for n in range(1100))
    assert [job.payload["to"] for job in outcomes] == [f"{n}@example.com" for n in range(1100)]
    assert len(bench.api.received) == 3


def test_many_jobs_whose_answer_was_lost_are_made_once(bench: Bench) -> None:
    with bench.failing(None):
        outcomes = bench.client.enqueue_many([NewJob("send_email", {"to": f"{n}@example.com"}, "emails") for n in range(5)])
    assert {job.id for job in outcomes} == set(bench.store.jobs)
    assert len(bench.store.jobs) == 5


class Sent(msgspec.Struct):
    message_id: str


def test_a_result_is_awaited_and_decoded(bench: Bench) -> None:
    job = bench.client.enqueue("send_email", TO_ADA, queue="emails")
    bench.change(job.id, status=Status.DONE, result='{"message_id":"m-1"}', completed_at=NOW)
    assert job.result(Sent) == Sent("m-1")
    assert job.result() == {"message_id": "m-1"}
    assert job.over


def test_a_job_that_ended_otherwise_raises_with_what_it_said(bench: Bench) -> None:
    job = bench.client.enqueue("send_email", TO_ADA, queue="emails")
    bench.change(job.id, status=Status.DEAD, error="ConnectionError: Connection refused", completed_at=NOW)
    with pytest.raises(JobFailed, match="is dead: ConnectionError: Connection refused") as caught:
        job.result()
    assert caught.value.job.error == "ConnectionError: Connection refused"  # type: ignore[attr-defined]


def test_waiting_for_a_job_that_does_not_end_ends(bench: Bench) -> None:
    job = bench.client.enqueue("send_email", TO_ADA, queue="emails")
    with pytest.raises(WaitTimedOut, match=r"is pending after 0\.3 s"):
        job.wait(timeout=0.3)


def test_a_job_is_cancelled_retried_replayed_and_moved(bench: Bench) -> None:
    job = bench.client.enqueue("send_email", TO_ADA, queue="emails", delay="1h")
    assert job.reschedule(delay="2h", priority=1).scheduled_at == NOW + timedelta(hours=2)
    assert job.cancel() is True
    with pytest.raises(Conflict):
        job.reschedule(delay="2h")
    assert job.refresh().status is Status.CANCELLED
    assert job.retry().status is Status.PENDING
    replayed = job.replay()
    assert (replayed.payload, replayed.id != job.id) == (TO_ADA, True)
    assert [event["event"] for event in job.events()][-1] == "retried"
    assert job.why()


def test_a_retry_whose_answer_was_lost_is_one_retry(bench: Bench) -> None:
    job = bench.client.enqueue("send_email", TO_ADA, queue="emails")
    job.cancel()
    with bench.failing(None):
        assert job.retry().status is Status.PENDING
    with bench.failing(None):
        replayed = job.replay()
    assert set(bench.store.jobs) == {job.id, replayed.id}


def test_listing_reads_page_by_page(bench: Bench) -> None:
    for n in range(250):
        bench.store.create(make_job(id=f"0197a000-0000-7000-8000-{n:012d}", created_at=NOW + timedelta(seconds=n)), now=NOW)
    bench.api.client.now = NOW + timedelta(hours=1)
    listed = bench.client.jobs("emails")
    assert next(iter(listed)).id.endswith("249")
    assert len(bench.api.received) == 1
    assert len(list(bench.client.jobs("emails", status="pending"))) == 250


def test_queues_stats_and_types_are_told(bench: Bench) -> None:
    assert "emails" in {queue["name"] for queue in bench.client.queues()}
    assert bench.client.stats("emails")["pending"] == 1523
    assert "send_email" in {each["name"] for each in bench.client.types()}


@pytest.mark.parametrize("good", ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"])
def test_the_callers_trace_context_reaches_the_record(good: str) -> None:
    with http_api() as api, Client(api.url, traceparent=lambda: good) as client:
        assert api.client.store.jobs[client.enqueue("send_email", TO_ADA, queue="emails").id].traceparent == good


@pytest.mark.parametrize(
    "bad", ["", "00-zz-1-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", f"00-{'0' * 32}-{'1' * 16}-01"]
)
def test_a_trace_context_that_is_none_is_passed_over(bad: str) -> None:
    with http_api() as api, Client(api.url, traceparent=lambda: bad) as client:
        assert api.client.store.jobs[client.enqueue("send_email", TO_ADA, queue="emails").id].traceparent is None


def test_wrong_credentials_are_an_error_of_their_own(bench: Bench) -> None:
    bench.api.answer = lambda request: (403, '{"message":"Forbidden"}')
    with pytest.raises(NotAllowed):
        bench.client.queues()


def test_a_payload_class_that_names_no_type_says_so() -> None:
    with pytest.raises(TypeError, match="Sent is the payload of no handler"):
        Client("http://127.0.0.1:1").enqueue(Sent("x"))
    with pytest.raises(TypeError, match="a job's type is a name"):
        Client("http://127.0.0.1:1").enqueue(7)


def test_both_clients_have_the_same_verbs() -> None:
    def public(kind: type) -> set[str]:
        return {name.removeprefix("a") if name == "aclose" else name for name in vars(kind) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)
    from jobline.async_client import AsyncJob
    from jobline.client import Job

    assert public(Job) == public(AsyncJob)
    for name in public(Job):
        assert list(inspect.signature(getattr(Job, name)).parameters) == list(inspect.signature(getattr(AsyncJob, name)).parameters)
    assert issubclass(AsyncConnection, Connection)
    assert issubclass(PreconditionFailed, Exception) and issubclass(TooManyRequests, Unavailable)
