"""Flows: what each verb of the Python clients asks of the API, step by step, without saying how a request travels.

A flow is a generator: it yields requests and pauses, is sent answers, and returns what the verb answers. `Client` and `AsyncClient`
drive the same flows, each in its own way, so that they cannot differ.
"""

from __future__ import annotations

import random
import sys
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from jobline.api_errors import ServerError, Unreachable
from jobline.connection import Answer
from jobline.errors import InvalidJob, JoblineError, Unavailable
from jobline.job_type import JobType
from jobline.times import format_instant

T = TypeVar("T")

MOST_TRIES: Final = 5
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
LONGEST_POLL: Final = 20
"""Seconds that one request waits for a job's end."""
LARGEST_CHUNK: Final = 500
"""Jobs in one request."""
LARGEST_BODY: Final = 2_400_000
"""Bytes of one request, below the API's limit of 2.5 MB."""
PAGE: Final = 100


class Request(NamedTuple):
    """One request to the API."""

    method: str
    path: str
    json: Any = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None


class Pause(NamedTuple):
    """A pause of so many seconds."""

    seconds: float


Flow = Generator[Request | Pause, Any, T]


class NewJob(msgspec.Struct, frozen=True):
    """One job of `enqueue_many` or of a batch: what `enqueue` takes."""

    type: Any
    payload: Any = None
    queue: str | None = None
    fields: dict[str, Any] = {}


class WaitTimedOut(JoblineError):
    """The job or the batch did not end in time."""

    slug = "wait-timed-out"


class JobFailed(JoblineError):
    """The job ended otherwise than done."""

    slug = "job-failed"


def named_type(type: Any) -> tuple[str, Any]:
    """A type's name, and the payload if it was given in the type's place (`enqueue(SendEmail(to=…))`).

    A payload class names the type whose handler takes it, if the module that defines the class declares exactly one such handler.
    Raises TypeError.
    """
    if isinstance(type, str):
        return type, None
    if isinstance(type, JobType):
        return type.name, None
    if isinstance(type, msgspec.Struct):
        module = sys.modules[type.__class__.__module__]
        names = sorted({each.name for each in vars(module).values() if isinstance(each, JobType) and each.payload_type is type.__class__})
        if len(names) == 1:
            return names[0], type
        raise TypeError(
            f"{type.__class__.__name__} is the payload of {', '.join(names) or 'no handler'} in {module.__name__}: name the type first"
        )
    raise TypeError(f"a job's type is a name, a handler or a payload of one, not {type!r}")


def plain(value: Any) -> Any:
    """A value as JSON has it: times as RFC 3339, durations in seconds."""
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return msgspec.to_builtins(value)


class Flows:
    """The verbs of one client."""

    def __init__(
        self,
        *,
        tries: int = MOST_TRIES,
        traceparent: Callable[[], str | None] | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._tries = tries
        self._traceparent = traceparent
        self._uniform = uniform
        self._queues: dict[str, list[str]] | None = None

    # ------------------------------------------------------------------------------------------------ one request

    def send(self, request: Request, *, repeatable: bool = True) -> Flow[Answer]:
        """The answer; a request that may be repeated is, with growing pauses or as the answer's `Retry-After` asks.

        Raises the last error when every try failed.
        """
        for attempt in range(self._tries):
            try:
                answer: Answer = yield request
                return answer
            except (Unavailable, Unreachable, ServerError) as error:
                if not repeatable or attempt == self._tries - 1:
                    raise
                asked = error.extra.get("retry_after")
                pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * self._uniform(0.5, 1.5)
            yield Pause(max(pause, float(asked)) if isinstance(asked, (int, float)) else pause)
        raise AssertionError("there is at least one try")

    # ------------------------------------------------------------------------------------------------ enqueue

    def enqueue(self, type: Any, payload: Any, queue: str | None, fields: Mapping[str, Any]) -> Flow[dict[str, Any]]:
        """The new job's document. Repeated after a lost answer it still makes one job: every request has an idempotency key."""
        body = yield from self._body(NewJob(type, payload, queue, dict(fields)))
        headers = {} if (trace := self._traceparent and self._traceparent()) is None else {"traceparent": trace}
        answer = yield from self.send(Request("POST", "/jobs", json=body, headers=headers or None))
        return dict(answer.body)

    def enqueue_many(self, jobs: Iterable[NewJob]) -> Flow[list[dict[str, Any] | JoblineError]]:
        """For each job, in order, its document or what kept it from being made. As many requests as 500 jobs or 2.4 MB each need."""
        from jobline.api_errors import error_of

        bodies: list[dict[str, Any]] = []
        for job in jobs:
            bodies.append((yield from self._body(job)))
        outcomes: list[dict[str, Any] | JoblineError] = []
        for chunk in _chunks(bodies):
            answer = yield from self.send(Request("POST", "/jobs/batch", json={"jobs": chunk}))
            for item in answer.body["items"]:
                outcomes.append(dict(item["job"]) if "job" in item else error_of(item["status"], item["problem"], ""))
        return outcomes

    def _body(self, job: NewJob) -> Flow[dict[str, Any]]:
        """The body of a request for the job, with a key of its own."""
        body = yield from self._written(job)
        body.setdefault("idempotency_key", str(uuid.uuid4()))
        return body

    def _written(self, job: NewJob) -> Flow[dict[str, Any]]:
        name, payload = named_type(job.type)
        if payload is not None and job.payload is not None:
            raise TypeError("the payload was given twice")
        payload = job.payload if payload is None else payload
        queue = job.queue or (yield from self._queue_of(name))
        body = {"queue": queue, "type": name} | {field: plain(value) for field, value in job.fields.items() if value is not None}
        if payload is not None:
            body["payload"] = msgspec.to_builtins(payload)
        return body

    def _queue_of(self, type: str) -> Flow[str]:
        """The only queue that takes the type; asked of the API once."""
        if self._queues is None:
            answer = yield from self.send(Request("GET", "/types"))
            self._queues = {each["name"]: list(each["queues"]) for each in answer.body["types"]}
        names = self._queues.get(type, [])
        if len(names) != 1:
            raise InvalidJob(f"Type {type!r} can go to {', '.join(names) or 'no queue'}: say queue=.")
        return names[0]

    # ------------------------------------------------------------------------------------------------ one job

    def get(self, job_id: str) -> Flow[dict[str, Any]]:
        answer = yield from self.send(Request("GET", f"/jobs/{job_id}"))
        return dict(answer.body)

    def wait(self, job_id: str, timeout: float | None, now: Callable[[], float]) -> Flow[dict[str, Any]]:
        """The job once it is over; raises WaitTimedOut after `timeout` seconds (`None`: never)."""
        return (yield from self._wait(f"/jobs/{job_id}", f"Job {job_id}", timeout, now))

    def _wait(self, path: str, what: str, timeout: float | None, now: Callable[[], float]) -> Flow[dict[str, Any]]:
        end = None if timeout is None else now() + timeout
        while True:
            left = LONGEST_POLL if end is None else max(0, min(LONGEST_POLL, int(end - now())))
            answer = yield from self.send(Request("GET", path, params={"wait": left}))
            if answer.status == 200:
                return dict(answer.body)
            if end is not None and now() >= end:
                raise WaitTimedOut(f"{what} is {answer.body['status']} after {timeout:g} s.", job_status=answer.body["status"])
            if not left:
                yield Pause(0.2)

    def cancel(self, job_id: str) -> Flow[bool]:
        """True: it will not start again. False: it runs, and was asked to stop. Raises Conflict when it is over."""
        answer = yield from self.send(Request("DELETE", f"/jobs/{job_id}"))
        return bool(answer.body.get("cancelled"))

    def act(self, job_id: str, verb: str) -> Flow[dict[str, Any]]:
        """`retry` or `replay`, under a key of its own, so that a repetition finds what the first one did."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        answer = yield from self.send(Request("POST", f"/jobs/{job_id}/{verb}", headers=headers))
        return dict(answer.body)

    def reschedule(self, job_id: str, fields: Mapping[str, Any]) -> Flow[dict[str, Any]]:
        body = {name: plain(value) for name, value in fields.items() if value is not None}
        answer = yield from self.send(Request("PATCH", f"/jobs/{job_id}", json=body))
        return dict(answer.body)

    # ------------------------------------------------------------------------------------------------ batches

    def batch(
        self, jobs: Iterable[NewJob], callbacks: Mapping[str, NewJob | None], name: str | None, key: str | None
    ) -> Flow[dict[str, Any]]:
        """The new batch's document. Repeated after a lost answer it still makes one batch: the request has a key, if not this one."""
        body: dict[str, Any] = {"jobs": [], "idempotency_key": key or str(uuid.uuid4())}
        for job in jobs:
            body["jobs"].append((yield from self._written(job)))
        for callback, asked in callbacks.items():
            if asked is not None:
                body[callback] = yield from self._written(asked)
        if name is not None:
            body["name"] = name
        headers = {} if (trace := self._traceparent and self._traceparent()) is None else {"traceparent": trace}
        answer = yield from self.send(Request("POST", "/batches", json=body, headers=headers or None))
        return dict(answer.body)

    def get_batch(self, batch_id: str) -> Flow[dict[str, Any]]:
        answer = yield from self.send(Request("GET", f"/batches/{batch_id}"))
        return dict(answer.body)

    def wait_for_batch(self, batch_id: str, timeout: float | None, now: Callable[[], float]) -> Flow[dict[str, Any]]:
        """The batch once nobody waits any more; raises WaitTimedOut after `timeout` seconds (`None`: never)."""
        return (yield from self._wait(f"/batches/{batch_id}", f"Batch {batch_id}", timeout, now))

    # ------------------------------------------------------------------------------------------------ schedules

    def put_schedule(self, name: str, type: Any, payload: Any, queue: str | None, fields: Mapping[str, Any]) -> Flow[dict[str, Any]]:
        """The schedule as it is from now on."""
        body = yield from self._written(NewJob(type, payload, queue, dict(fields)))
        answer = yield from self.send(Request("PUT", f"/schedules/{name}", json=body))
        return dict(answer.body)

    def schedule_page(self, cursor: str | None) -> Flow[tuple[list[dict[str, Any]], str | None]]:
        """Some of the schedules, and the cursor of the others."""
        answer = yield from self.send(Request("GET", "/schedules", params={"limit": PAGE} | ({} if cursor is None else {"cursor": cursor})))
        return list(answer.body["schedules"]), answer.body["next"]

    def switch_schedule(self, name: str, verb: str) -> Flow[dict[str, Any]]:
        """`pause` or `resume`."""
        answer = yield from self.send(Request("POST", f"/schedules/{name}/{verb}"))
        return dict(answer.body)

    def run_schedule(self, name: str) -> Flow[dict[str, Any]]:
        """The job of a run out of turn, under a key of its own, so that a repetition finds it."""
        answer = yield from self.send(Request("POST", f"/schedules/{name}/run", headers={"Idempotency-Key": str(uuid.uuid4())}))
        return dict(answer.body)

    def delete_schedule(self, name: str) -> Flow[None]:
        """Nothing. Raises ScheduleNotFound, after a request whose answer was lost as well."""
        yield from self.send(Request("DELETE", f"/schedules/{name}"))

    # ------------------------------------------------------------------------------------------------ topics

    def publish(self, topic: str, event: Any, key: str | None) -> Flow[dict[str, Any]]:
        """The publication's job. Repeated after a lost answer it is one publication all the same: the request has a key."""
        body = {"event": plain(event), "idempotency_key": key or str(uuid.uuid4())}
        headers = {} if (trace := self._traceparent and self._traceparent()) is None else {"traceparent": trace}
        answer = yield from self.send(Request("POST", f"/topics/{topic}/publish", json=body, headers=headers or None))
        return dict(answer.body)

    def put_subscription(self, topic: str, name: str, type: Any, queue: str | None, fields: Mapping[str, Any]) -> Flow[dict[str, Any]]:
        """The subscription as it is from now on."""
        body = yield from self._written(NewJob(type, None, queue, dict(fields)))
        answer = yield from self.send(Request("PUT", f"/topics/{topic}/subscriptions/{name}", json=body))
        return dict(answer.body)

    def delete_subscription(self, topic: str, name: str) -> Flow[None]:
        """Nothing. Raises SubscriptionNotFound, after a request whose answer was lost as well."""
        yield from self.send(Request("DELETE", f"/topics/{topic}/subscriptions/{name}"))

    # ------------------------------------------------------------------------------------------------ whatever is to be seen

    def look(self, path: str) -> Flow[Any]:
        """What a GET answers."""
        answer = yield from self.send(Request("GET", path))
        return answer.body

    def page(self, filters: Mapping[str, Any], cursor: str | None) -> Flow[tuple[list[dict[str, Any]], str | None]]:
        """One page of a listing, and the cursor of the next."""
        params = {"limit": PAGE, **{name: plain(value) for name, value in filters.items() if value is not None}, "cursor": cursor}
        answer = yield from self.send(Request("GET", "/jobs", params=params))
        return list(answer.body["jobs"]), answer.body["next"]


def _chunks(bodies: Sequence[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    size = 0
    for body in bodies:
        length = len(msgspec.json.encode(body)) + 1
        if chunk and (len(chunk) == LARGEST_CHUNK or size + length > LARGEST_BODY):
            yield chunk
            chunk, size = [], 0
        chunk.append(body)
        size += length
    if chunk:
        yield chunk
