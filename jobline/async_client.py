"""The Python client for programs that use asyncio: the same verbs as `client.Client`, each to be awaited.

async with AsyncClient() as client:
    job = await client.enqueue("send_email", {"to": "ada@example.com"}, delay="10m")
    print(await job.result())
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar, overload

from jobline.batch_view import BatchView
from jobline.client import JobView
from jobline.connection import AsyncConnection, Token
from jobline.errors import JoblineError
from jobline.flows import MOST_TRIES, Flow, Flows, NewJob, Pause

T = TypeVar("T")


class AsyncJob(JobView):
    """A job of one deployment, with what can be done about it; see `client.Job`."""

    def __init__(self, client: AsyncClient, document: Mapping[str, Any]) -> None:
        super().__init__(document)
        self._client = client

    async def refresh(self) -> Self:
        """Reads the job anew."""
        return await self._told(self._client.flows.get(self.id))

    async def wait(self, timeout: float | None = None) -> Self:
        """Returns when the job is over, however it ended; raises WaitTimedOut after `timeout` seconds."""
        return self if self.over else await self._told(self._client.flows.wait(self.id, timeout, time.monotonic))

    @overload
    async def result(self, as_type: None = None, *, timeout: float | None = None) -> Any: ...
    @overload
    async def result(self, as_type: type[T], *, timeout: float | None = None) -> T: ...
    async def result(self, as_type: Any = None, *, timeout: float | None = None) -> Any:
        """What the handler returned, once it is there; see `client.Job.result`."""
        return (await self.wait(timeout))._result(as_type)

    async def cancel(self) -> bool:
        """True: it will not start again. False: it runs, and was asked to stop. Raises Conflict when it is over."""
        return await self._client.run(self._client.flows.cancel(self.id))

    async def retry(self) -> Self:
        """Runs a failed, dead, cancelled or expired job again now. Raises Conflict for any other."""
        return await self._told(self._client.flows.act(self.id, "retry"))

    async def replay(self) -> AsyncJob:
        """A new job with the same request."""
        return AsyncJob(self._client, await self._client.run(self._client.flows.act(self.id, "replay")))

    async def reschedule(self, *, delay: Any = None, scheduled_at: Any = None, priority: int | None = None) -> Self:
        """Moves a job that has not started. Raises Conflict for any other."""
        return await self._told(
            self._client.flows.reschedule(self.id, {"delay": delay, "scheduled_at": scheduled_at, "priority": priority})
        )

    async def events(self) -> list[dict[str, Any]]:
        """What happened to it, oldest first."""
        return list((await self._client.run(self._client.flows.look(f"/jobs/{self.id}/events")))["events"])

    async def why(self) -> dict[str, Any]:
        """Why it is not running."""
        return dict(await self._client.run(self._client.flows.look(f"/jobs/{self.id}/why")))

    async def _told(self, flow: Flow[dict[str, Any]]) -> Self:
        self.document = await self._client.run(flow)
        return self


class AsyncBatch(BatchView):
    """A batch of one deployment; see `client.Batch`."""

    def __init__(self, client: AsyncClient, document: Mapping[str, Any]) -> None:
        super().__init__(document)
        self._client = client

    async def refresh(self) -> Self:
        """Reads the batch anew."""
        return await self._told(self._client.flows.get_batch(self.id))

    async def wait(self, timeout: float | None = None) -> Self:
        """Returns when it waits for nothing any more, however its members ended; raises WaitTimedOut after `timeout` seconds."""
        return self if self.over else await self._told(self._client.flows.wait_for_batch(self.id, timeout, time.monotonic))

    async def _told(self, flow: Flow[dict[str, Any]]) -> Self:
        self.document = await self._client.run(flow)
        return self


class AsyncClient:
    """One deployment, as one caller; see `client.Client`. An asynchronous context manager."""

    def __init__(
        self,
        api_url: str | None = None,
        *,
        token: Token | None = None,
        connection: AsyncConnection | None = None,
        tries: int = MOST_TRIES,
        traceparent: Callable[[], str | None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connection = connection or AsyncConnection.find(api_url=api_url, token=token)
        self._sleep = sleep
        self.flows = Flows(tries=tries, traceparent=traceparent)

    async def enqueue(self, type: Any, payload: Any = None, *, queue: str | None = None, **fields: Any) -> AsyncJob:
        """Makes a job; see `client.Client.enqueue`."""
        return AsyncJob(self, await self.run(self.flows.enqueue(type, payload, queue, fields)))

    async def enqueue_many(self, jobs: Iterable[NewJob]) -> list[AsyncJob | JoblineError]:
        """For each, in order, the job or what kept it from being made; one that is wrong does not keep the others."""
        made = await self.run(self.flows.enqueue_many(jobs))
        return [each if isinstance(each, JoblineError) else AsyncJob(self, each) for each in made]

    async def batch(
        self,
        jobs: Iterable[NewJob],
        *,
        on_success: NewJob | None = None,
        on_complete: NewJob | None = None,
        on_dead: NewJob | None = None,
        name: str | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncBatch:
        """Makes jobs that belong together, all of them or none, and what is to follow from how they end (docs/batches.md).

        Raises InvalidJob, which names every job that is wrong by its place (`/jobs/3/payload/to`).
        """
        callbacks = {"on_success": on_success, "on_complete": on_complete, "on_dead": on_dead}
        return AsyncBatch(self, await self.run(self.flows.batch(jobs, callbacks, name, idempotency_key)))

    async def get_batch(self, batch_id: str) -> AsyncBatch:
        """The batch of an id. Raises BatchNotFound."""
        return AsyncBatch(self, await self.run(self.flows.get_batch(batch_id)))

    async def get(self, job_id: str) -> AsyncJob:
        """The job of an id, or of its first 8 or more characters. Raises JobNotFound and AmbiguousId."""
        return AsyncJob(self, await self.run(self.flows.get(job_id)))

    async def jobs(
        self, queue: str, *, status: str | None = None, type: str | None = None, tag: str | None = None, since: Any = None
    ) -> AsyncIterator[AsyncJob]:
        """A queue's jobs, newest first, read page by page as they are asked for."""
        filters = {"queue": queue, "status": status, "type": type, "tag": tag, "since": since}
        cursor: str | None = None
        while True:
            documents, cursor = await self.run(self.flows.page(filters, cursor))
            for document in documents:
                yield AsyncJob(self, document)
            if cursor is None:
                return

    async def queues(self) -> Sequence[dict[str, Any]]:
        """What queues there are."""
        return list((await self.run(self.flows.look("/queues")))["queues"])

    async def stats(self, queue: str) -> dict[str, Any]:
        """A queue's numbers."""
        return dict(await self.run(self.flows.look(f"/queues/{queue}/stats")))

    async def types(self) -> Sequence[dict[str, Any]]:
        """What types there are, with the JSON Schema of their payloads."""
        return list((await self.run(self.flows.look("/types")))["types"])

    async def publish(self, topic: str, event: Any, *, idempotency_key: str | None = None) -> AsyncJob:
        """Publishes an event, an object: one job for each subscription of the topic that takes it. Answers the publication's own job.

        Raises TopicNotFound, InvalidJob and IdempotencyKeyReused.
        """
        return AsyncJob(self, await self.run(self.flows.publish(topic, event, idempotency_key)))

    async def topics(self) -> Sequence[dict[str, Any]]:
        """What topics there are."""
        return list((await self.run(self.flows.look("/topics")))["topics"])

    async def topic(self, name: str) -> dict[str, Any]:
        """A topic with its subscriptions. Raises TopicNotFound."""
        return dict(await self.run(self.flows.look(f"/topics/{name}")))

    async def put_subscription(self, topic: str, name: str, type: Any, *, queue: str | None = None, **fields: Any) -> dict[str, Any]:
        """Subscribes: `put_subscription("orders", "thanks", "send_email", filter="amount > `100`", transform="{to: customer.email}")`.

        `fields` are those of `PUT /topics/{topic}/subscriptions/{name}`: `filter` and `transform` (JMESPath), `priority`, `delay` and
        so on. Replaces the one of this name. Raises TopicNotFound, InvalidJob and its kin, SubscriptionConflict for a declared one.
        """
        return await self.run(self.flows.put_subscription(topic, name, type, queue, fields))

    async def delete_subscription(self, topic: str, name: str) -> None:
        """Ends a subscription; the jobs that it made go on. Raises SubscriptionNotFound, SubscriptionConflict for a declared one."""
        await self.run(self.flows.delete_subscription(topic, name))

    async def put_schedule(self, name: str, type: Any, payload: Any = None, *, queue: str | None = None, **fields: Any) -> dict[str, Any]:
        """Makes a schedule, or replaces the one of this name; see `client.Client.put_schedule`."""
        return await self.run(self.flows.put_schedule(name, type, payload, queue, fields))

    async def schedules(self) -> AsyncIterator[dict[str, Any]]:
        """The schedules, read page by page as they are asked for."""
        cursor: str | None = None
        while True:
            found, cursor = await self.run(self.flows.schedule_page(cursor))
            for each in found:
                yield each
            if cursor is None:
                return

    async def schedule(self, name: str) -> dict[str, Any]:
        """A schedule, with its next runs and what became of the last. Raises ScheduleNotFound."""
        return dict(await self.run(self.flows.look(f"/schedules/{name}")))

    async def pause_schedule(self, name: str) -> dict[str, Any]:
        """Keeps a schedule from running. Raises ScheduleNotFound."""
        return await self.run(self.flows.switch_schedule(name, "pause"))

    async def resume_schedule(self, name: str) -> dict[str, Any]:
        """Lets a paused schedule run again; what it missed is not made up for. Raises ScheduleNotFound."""
        return await self.run(self.flows.switch_schedule(name, "resume"))

    async def run_schedule(self, name: str) -> AsyncJob:
        """Runs a schedule now, out of turn: its job. Raises ScheduleNotFound."""
        return AsyncJob(self, await self.run(self.flows.run_schedule(name)))

    async def delete_schedule(self, name: str) -> None:
        """Deletes a schedule; the jobs that it made go on. Raises ScheduleNotFound, and ScheduleConflict for a declared one."""
        await self.run(self.flows.delete_schedule(name))

    async def run(self, flow: Flow[T]) -> T:
        """Drives a flow to its end."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    await self._sleep(step.seconds)
                    step = next(flow)
                    continue
                try:
                    answer = await self._connection.ask(step.method, step.path, json=step.json, params=step.params, headers=step.headers)
                except JoblineError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
