"""The Python client: enqueue jobs and look after them, from any program that has AWS credentials for the API.

client = Client()                                  # the deployment that `jobs config` shows (see `discovery`)
job = client.enqueue("send_email", {"to": "ada@example.com"}, delay="10m")
job.wait()
print(job.result())
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar, overload

import msgspec

from jobline.batch_view import BatchView
from jobline.connection import Connection, Token
from jobline.errors import JoblineError
from jobline.flows import MOST_TRIES, Flow, Flows, JobFailed, NewJob, Pause
from jobline.job import TERMINAL, Status

T = TypeVar("T")


class JobView:
    """A job as the API last told it; `document` is the whole answer."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = dict(document)

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def queue(self) -> str:
        return str(self.document["queue"])

    @property
    def type(self) -> str:
        return str(self.document["type"])

    @property
    def status(self) -> Status:
        return Status(self.document["status"])

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in TERMINAL

    @property
    def payload(self) -> Any:
        return self.document["payload"]

    @property
    def attempts(self) -> int:
        return int(self.document["attempts"])

    @property
    def error(self) -> str | None:
        """`Type: message` of the last failed attempt."""
        error: str | None = self.document["error"]
        return error

    @property
    def progress(self) -> Mapping[str, Any] | None:
        """`{"percent", "note", "at"}` as the handler last reported it."""
        progress: Mapping[str, Any] | None = self.document["progress"]
        return progress

    @property
    def created_at(self) -> datetime:
        return datetime.fromisoformat(self.document["created_at"])

    @property
    def scheduled_at(self) -> datetime:
        return datetime.fromisoformat(self.document["scheduled_at"])

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} {self.id} {self.type} {self.status}>"

    def _result(self, as_type: Any) -> Any:
        """The result of a job that is over; raises JobFailed, with `job`, when it ended otherwise than done."""
        if self.status is not Status.DONE:
            failed = JobFailed(f"Job {self.id} is {self.status}: {self.error or 'no error was recorded'}", job_status=self.status.value)
            failed.job = self  # type: ignore[attr-defined]
            raise failed
        value = self.document["result"]
        return value if as_type is None else msgspec.convert(value, as_type)


class Job(JobView):
    """A job of one deployment, with what can be done about it."""

    def __init__(self, client: Client, document: Mapping[str, Any]) -> None:
        super().__init__(document)
        self._client = client

    def refresh(self) -> Self:
        """Reads the job anew."""
        return self._told(self._client.flows.get(self.id))

    def wait(self, timeout: float | None = None) -> Self:
        """Returns when the job is over, however it ended; raises WaitTimedOut after `timeout` seconds."""
        return self if self.over else self._told(self._client.flows.wait(self.id, timeout, time.monotonic))

    @overload
    def result(self, as_type: None = None, *, timeout: float | None = None) -> Any: ...
    @overload
    def result(self, as_type: type[T], *, timeout: float | None = None) -> T: ...
    def result(self, as_type: Any = None, *, timeout: float | None = None) -> Any:
        """What the handler returned, once it is there; decoded as `as_type` if that is given (a `msgspec.Struct`, for example).

        Raises JobFailed when the job ended otherwise than done, and WaitTimedOut.
        """
        return self.wait(timeout)._result(as_type)

    def cancel(self) -> bool:
        """True: it will not start again. False: it runs, and was asked to stop. Raises Conflict when it is over."""
        return self._client.run(self._client.flows.cancel(self.id))

    def retry(self) -> Self:
        """Runs a failed, dead, cancelled or expired job again now. Raises Conflict for any other."""
        return self._told(self._client.flows.act(self.id, "retry"))

    def replay(self) -> Job:
        """A new job with the same request."""
        return Job(self._client, self._client.run(self._client.flows.act(self.id, "replay")))

    def reschedule(self, *, delay: Any = None, scheduled_at: Any = None, priority: int | None = None) -> Self:
        """Moves a job that has not started. Raises Conflict for any other."""
        fields = {"delay": delay, "scheduled_at": scheduled_at, "priority": priority}
        return self._told(self._client.flows.reschedule(self.id, fields))

    def events(self) -> list[dict[str, Any]]:
        """What happened to it, oldest first."""
        return list(self._client.run(self._client.flows.look(f"/jobs/{self.id}/events"))["events"])

    def why(self) -> dict[str, Any]:
        """Why it is not running."""
        return dict(self._client.run(self._client.flows.look(f"/jobs/{self.id}/why")))

    def _told(self, flow: Flow[dict[str, Any]]) -> Self:
        self.document = self._client.run(flow)
        return self


class Batch(BatchView):
    """A batch of one deployment."""

    def __init__(self, client: Client, document: Mapping[str, Any]) -> None:
        super().__init__(document)
        self._client = client

    def refresh(self) -> Self:
        """Reads the batch anew."""
        return self._told(self._client.flows.get_batch(self.id))

    def wait(self, timeout: float | None = None) -> Self:
        """Returns when it waits for nothing any more, however its members ended; raises WaitTimedOut after `timeout` seconds."""
        return self if self.over else self._told(self._client.flows.wait_for_batch(self.id, timeout, time.monotonic))

    def _told(self, flow: Flow[dict[str, Any]]) -> Self:
        self.document = self._client.run(flow)
        return self


class Client:
    """One deployment, as one caller. A context manager: leaving it closes its connections. Threads may share it.

    Every request is signed (AWS Signature Version 4) or carries a token. What AWS or the way there refuses for the moment is tried again,
    at most `tries` times, as its `Retry-After` asks or with growing, spread pauses; an enqueue that is repeated makes one job. Errors are
    those of `jobline.errors` and `jobline.api_errors`, one class per problem type.
    """

    def __init__(
        self,
        api_url: str | None = None,
        *,
        token: Token | None = None,
        connection: Connection | None = None,
        tries: int = MOST_TRIES,
        traceparent: Callable[[], str | None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`api_url` is the stack's output ApiUrl; without it `discovery` finds the deployment.

        `token` is a bearer token for the output TokenApiUrl, or a function that gives the one of the moment; without it `JOBS_TOKEN` beside
        a URL that was given, else requests are signed. `traceparent()` gives the caller's W3C trace context, which the job's handler sees
        as `ctx.traceparent`. Raises NotConfigured.
        """
        self._connection = connection or Connection.find(api_url=api_url, token=token)
        self._sleep = sleep
        self.flows = Flows(tries=tries, traceparent=traceparent)

    def enqueue(self, type: Any, payload: Any = None, *, queue: str | None = None, **fields: Any) -> Job:
        """Makes a job: `enqueue("send_email", {"to": …})`, `enqueue(send_email, SendEmail(to=…))` or `enqueue(SendEmail(to=…))`.

        Without `queue`, the only one that takes the type. `fields` are those of `POST /jobs`: `delay`, `scheduled_at`, `priority`,
        `max_attempts`, `retry`, `timeout`, `expires_in`, `idempotency_key`, `unique`, `group`, `ordering_key`, `tags`, `callback_url`,
        `reply_to`; durations may be seconds, `"10m"` or `timedelta`, times RFC 3339 or `datetime`.
        Raises InvalidJob and its kin, which name every field that is wrong.
        """
        return Job(self, self.run(self.flows.enqueue(type, payload, queue, fields)))

    def enqueue_many(self, jobs: Iterable[NewJob]) -> list[Job | JoblineError]:
        """For each, in order, the job or what kept it from being made; one that is wrong does not keep the others."""
        return [each if isinstance(each, JoblineError) else Job(self, each) for each in self.run(self.flows.enqueue_many(jobs))]

    def batch(
        self,
        jobs: Iterable[NewJob],
        *,
        on_success: NewJob | None = None,
        on_complete: NewJob | None = None,
        on_dead: NewJob | None = None,
        name: str | None = None,
        idempotency_key: str | None = None,
    ) -> Batch:
        """Makes jobs that belong together, all of them or none, and what is to follow from how they end (docs/batches.md).

        Raises InvalidJob, which names every job that is wrong by its place (`/jobs/3/payload/to`).
        """
        callbacks = {"on_success": on_success, "on_complete": on_complete, "on_dead": on_dead}
        return Batch(self, self.run(self.flows.batch(jobs, callbacks, name, idempotency_key)))

    def get_batch(self, batch_id: str) -> Batch:
        """The batch of an id. Raises BatchNotFound."""
        return Batch(self, self.run(self.flows.get_batch(batch_id)))

    def get(self, job_id: str) -> Job:
        """The job of an id, or of its first 8 or more characters. Raises JobNotFound and AmbiguousId."""
        return Job(self, self.run(self.flows.get(job_id)))

    def jobs(
        self, queue: str, *, status: str | None = None, type: str | None = None, tag: str | None = None, since: Any = None
    ) -> Iterator[Job]:
        """A queue's jobs, newest first, read page by page as they are asked for."""
        filters = {"queue": queue, "status": status, "type": type, "tag": tag, "since": since}
        cursor: str | None = None
        while True:
            documents, cursor = self.run(self.flows.page(filters, cursor))
            yield from (Job(self, document) for document in documents)
            if cursor is None:
                return

    def queues(self) -> Sequence[dict[str, Any]]:
        """What queues there are."""
        return list(self.run(self.flows.look("/queues"))["queues"])

    def stats(self, queue: str) -> dict[str, Any]:
        """A queue's numbers."""
        return dict(self.run(self.flows.look(f"/queues/{queue}/stats")))

    def types(self) -> Sequence[dict[str, Any]]:
        """What types there are, with the JSON Schema of their payloads."""
        return list(self.run(self.flows.look("/types"))["types"])

    def publish(self, topic: str, event: Any, *, idempotency_key: str | None = None) -> Job:
        """Publishes an event, an object: one job for each subscription of the topic that takes it. Answers the publication's own job.

        Raises TopicNotFound, InvalidJob and IdempotencyKeyReused.
        """
        return Job(self, self.run(self.flows.publish(topic, event, idempotency_key)))

    def topics(self) -> Sequence[dict[str, Any]]:
        """What topics there are."""
        return list(self.run(self.flows.look("/topics"))["topics"])

    def topic(self, name: str) -> dict[str, Any]:
        """A topic with its subscriptions. Raises TopicNotFound."""
        return dict(self.run(self.flows.look(f"/topics/{name}")))

    def put_subscription(self, topic: str, name: str, type: Any, *, queue: str | None = None, **fields: Any) -> dict[str, Any]:
        """Subscribes: `put_subscription("orders", "thanks", "send_email", filter="amount > `100`", transform="{to: customer.email}")`.

        `fields` are those of `PUT /topics/{topic}/subscriptions/{name}`: `filter` and `transform` (JMESPath), `priority`, `delay` and
        so on. Replaces the one of this name. Raises TopicNotFound, InvalidJob and its kin, SubscriptionConflict for a declared one.
        """
        return self.run(self.flows.put_subscription(topic, name, type, queue, fields))

    def delete_subscription(self, topic: str, name: str) -> None:
        """Ends a subscription; the jobs that it made go on. Raises SubscriptionNotFound, SubscriptionConflict for a declared one."""
        self.run(self.flows.delete_subscription(topic, name))

    def put_schedule(self, name: str, type: Any, payload: Any = None, *, queue: str | None = None, **fields: Any) -> dict[str, Any]:
        """Makes a schedule, or replaces the one of this name: `put_schedule("nightly", "send_email", {"to": …}, cron="0 9 * * MON-FRI")`.

        `fields` are those of `PUT /schedules/{name}`: one of `cron`, `rate` and `at`, `timezone`, `start`, `end`, `flexible_window`,
        `paused`, and what its jobs get: `priority`, `tags` and so on. Answers the schedule, with its next runs.
        Raises InvalidSchedule, InvalidJob and its kin, and ScheduleConflict for one that `queues.toml` declares.
        """
        return self.run(self.flows.put_schedule(name, type, payload, queue, fields))

    def schedules(self) -> Iterator[dict[str, Any]]:
        """The schedules, read page by page as they are asked for."""
        cursor: str | None = None
        while True:
            found, cursor = self.run(self.flows.schedule_page(cursor))
            yield from found
            if cursor is None:
                return

    def schedule(self, name: str) -> dict[str, Any]:
        """A schedule, with its next runs and what became of the last. Raises ScheduleNotFound."""
        return dict(self.run(self.flows.look(f"/schedules/{name}")))

    def pause_schedule(self, name: str) -> dict[str, Any]:
        """Keeps a schedule from running. Raises ScheduleNotFound."""
        return self.run(self.flows.switch_schedule(name, "pause"))

    def resume_schedule(self, name: str) -> dict[str, Any]:
        """Lets a paused schedule run again; what it missed is not made up for. Raises ScheduleNotFound."""
        return self.run(self.flows.switch_schedule(name, "resume"))

    def run_schedule(self, name: str) -> Job:
        """Runs a schedule now, out of turn: its job. Raises ScheduleNotFound."""
        return Job(self, self.run(self.flows.run_schedule(name)))

    def delete_schedule(self, name: str) -> None:
        """Deletes a schedule; the jobs that it made go on. Raises ScheduleNotFound, and ScheduleConflict for a declared one."""
        self.run(self.flows.delete_schedule(name))

    def run(self, flow: Flow[T]) -> T:
        """Drives a flow to its end."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    self._sleep(step.seconds)
                    step = next(flow)
                    continue
                try:
                    answer = self._connection.request(step.method, step.path, json=step.json, params=step.params, headers=step.headers)
                except JoblineError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
