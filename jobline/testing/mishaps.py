"""Mishaps: what a test wants to go wrong, and a deployment in memory whose workers can die."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, cast

from jobline.context import Context, Toolbox
from jobline.definitions import OPERATIONS, Definitions
from jobline.job import Job, Status
from jobline.job_type import JobType
from jobline.lanes import lane_of
from jobline.memory_deployment import MemoryDeployment, Ports, sqs_record
from jobline.message import Message
from jobline.operator_tools import OperatorTools
from jobline.record_reader import RecordReader
from jobline.steering import Continue
from jobline.store import Store
from jobline.testing.contexts import GivenToolbox
from jobline.worker import Worker

Moment = Literal["start", "end"]


class ProcessDied(BaseException):
    """The worker's process ended here: nothing of it runs any more. Not an `Exception`, so that no handler swallows it by accident."""


@dataclass(frozen=True, slots=True)
class Mishap:
    """One start that goes wrong."""

    error: BaseException
    """What is raised instead of running the handler; `ProcessDied` takes the whole process with it."""
    at: Moment = "start"
    """`end`: the handler runs first, and nobody learns how it ended."""


@dataclass(slots=True)
class Mishaps:
    """What is planned, by type, and what handlers have raised."""

    planned: dict[str, deque[Mishap]] = field(default_factory=dict)
    raised: dict[str, BaseException] = field(default_factory=dict)
    """By job id: what its last start raised."""
    dead: bool = False
    """Whether the process that runs now has died."""

    def plan(self, type: str, mishap: Mishap, times: int) -> None:
        if times < 1:
            raise ValueError(f"times is at least 1, not {times}")
        self.planned.setdefault(type, deque()).extend([mishap] * times)

    def around(self, job_type: JobType) -> JobType:
        """The type with a handler that meets what is planned for it, and whose exceptions are kept."""

        def handler(payload: Any, ctx: Context) -> Any:
            self.raised.pop(ctx.id, None)
            planned = self.planned.get(job_type.name)
            mishap = planned.popleft() if planned else None
            try:
                return self._meet(mishap, job_type.handler, payload, ctx)
            except Continue:
                raise
            except BaseException as error:
                self.raised[ctx.id] = error
                raise

        return replace(job_type, handler=handler)

    def _meet(self, mishap: Mishap | None, handler: Callable[[Any, Context], Any], payload: Any, ctx: Context) -> Any:
        if mishap is None:
            return handler(payload, ctx)
        try:
            if mishap.at == "end":
                handler(payload, ctx)
        finally:
            self.dead = isinstance(mishap.error, ProcessDied)
            raise mishap.error


class MortalStore:
    """A store as a process reaches it: once that is dead, no call gets through."""

    def __init__(self, store: Store, mishaps: Mishaps) -> None:
        self._store = store
        self._mishaps = mishaps

    def __getattr__(self, name: str) -> Any:
        if self._mishaps.dead:
            raise ProcessDied("the process died")
        return getattr(self._store, name)


class GivenOperatorTools(GivenToolbox, OperatorTools):
    """The tools of the operations worker, whose secrets are given as texts as well."""


class FragileDeployment(MemoryDeployment):
    """A deployment in memory with mishaps, and with tools that are given as plain values."""

    operator_tools = GivenOperatorTools

    def __init__(
        self,
        definitions: Definitions,
        types: Mapping[str, Iterable[JobType]],
        *,
        client: Callable[[str], Any],
        secrets: Mapping[str, str],
        bucket: str,
        **options: Any,
    ) -> None:
        """`secrets` has the text of each name, `bucket` is `ctx.bucket`; the rest is `MemoryDeployment`'s."""
        self.mishaps = Mishaps()
        self._make_client = cache(client)
        self._secrets = secrets
        self._bucket = bucket
        fragile = {name: [self.mishaps.around(job_type) for job_type in of_one] for name, of_one in types.items()}
        super().__init__(definitions, fragile, **options)

    def secrets(self, worker: str) -> Mapping[str, str]:
        return self._secrets

    def make_tools(self, ports: Ports, worker: str) -> Toolbox:
        if worker == OPERATIONS:
            return super().make_tools(ports, worker)
        return GivenToolbox(
            client=self._make_client,
            stage=self.definitions.stage,
            bucket=self._bucket,
            settings=self.settings(worker),
            secrets=self._secrets,
            clock=ports.clock,
            children=self.make_children(ports),
            redactor=self.redactor,
            records=RecordReader(ports.store, self.definitions),
        )

    def make_worker(self, ports: Ports, name: str) -> Worker:
        return super().make_worker(replace(ports, store=cast(Store, MortalStore(ports.store, self.mishaps))), name)

    def consume(self, name: str, size: int, function: Callable[[dict[str, Any]], Mapping[str, Any]]) -> int:
        def mortal(event: dict[str, Any]) -> Mapping[str, Any]:
            """The function's answer; of a process that died, none: every message stays."""
            try:
                return function(event)
            except ProcessDied:
                return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in event["Records"]]}
            finally:
                self.mishaps.dead = False

        return super().consume(name, size, mortal)

    def run_alone(self, job_id: str) -> Job:
        """The record after one attempt of this job and of no other, in as many runs as its checkpoints make of it.

        Raises ProcessDied when that was planned.
        """
        continued = -1
        while (job := self.job(job_id)).continued > continued and job.status is Status.PENDING:
            continued = job.continued
            queue = self.definitions.queues[job.queue]
            lane = self.lanes(queue)[lane_of(job.priority, queue.lane_names)]
            message = Message(id=job.id, queue=job.queue, dispatch=job.dispatch, timeout=job.timeout)
            attributes = {"MessageGroupId": job.ordering_key or job.id}
            carried = {"MessageId": f"alone-{job.id}", "ReceiptHandle": "none", "Body": message.encode(), "Attributes": attributes}
            try:
                self.make_worker(self.ports, queue.worker).handle(
                    {"Records": [sqs_record(carried, lane)]},
                    request_id=f"alone-{job.id}-{job.rev}",
                    remaining_milliseconds=self.definitions.workers[queue.worker].timeout * 1000,
                )
            finally:
                self.mishaps.dead = False
        return job
