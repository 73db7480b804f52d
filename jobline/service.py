"""What the API does, without HTTP: enqueue, show, list, cancel and retry jobs, and tell a queue's numbers.

Everything that could vary is an argument: the table, the bodies, the definitions, the clock, chance. `op` names the request
that writes; it is stored with the write, so that a request whose reply was lost recognises its own success (R30).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from jobline import ids, transitions
from jobline.batch import CALLBACKS, is_batch
from jobline.cursors import Cursor
from jobline.definitions import OPERATIONS, PUBLISH, Definitions, Queue
from jobline.direct import Direct
from jobline.documents import short_document, whole_document
from jobline.enqueueing import Enqueueing, Found
from jobline.errors import AmbiguousId, Conflict, JobNotFound, NotFound, Unavailable
from jobline.fields import near
from jobline.job import RETRYABLE, WAITING, Job, Status
from jobline.listing import Listing, read_page
from jobline.long_poll import until_over
from jobline.payloads import Bodies
from jobline.reasons import Reason, reason
from jobline.request import EnqueueRequest
from jobline.secret_fields import secrets_in
from jobline.store import Store
from jobline.transitions import Write
from jobline.types import TypeInfo, Types

MOST_CANDIDATES: Final = 10
_MOST_LOOKED_THROUGH: Final = 100
_MOST_TRIES: Final = 5
"""A write is refused when another one came between; this often in a row is not chance."""


class Answered(NamedTuple):
    """What an enqueue request is answered with."""

    job: Job
    document: dict[str, Any]
    """The job as the API answers it."""
    found: Found | None
    """By what an earlier request's job was found; `None` when it is new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The use cases of the API."""

    store: Store
    bodies: Bodies
    definitions: Definitions
    types: Types
    read_stats: Callable[[str, datetime], Any]
    """The numbers of a queue at a time, as `stats.read_stats` tells them."""
    now: Callable[[], datetime]
    random: Callable[[int], bytes]
    """So many random bytes (`os.urandom`)."""
    direct: Direct
    """Sends what the relay alone must not."""
    sleep: Callable[[float], None] = time.sleep
    """Waits so many seconds."""

    def enqueue(self, request: EnqueueRequest, *, op: str) -> Answered:
        """The job that the request made or found; raises what `Enqueueing.enqueue` raises."""
        job, found = self.enqueueing.enqueue(request, op=op)
        # What was just stored need not be read back.
        known = request.payload_text if found is None and not request.is_apart else None
        return Answered(job, whole_document(job, self.bodies, self.type_of(job), payload=known), found)

    @property
    def enqueueing(self) -> Enqueueing:
        """What makes jobs of requests, over the same table, bodies, definitions, clock and chance."""
        return Enqueueing(
            store=self.store,
            bodies=self.bodies,
            definitions=self.definitions,
            types=self.types,
            now=self.now,
            random=self.random,
            direct=self.direct,
        )

    def find(self, id: str, *, queue: str | None = None) -> Job:
        """The job of an id, or of the beginning of one that no other job has; in `queue`, when the route names one.

        Raises JobNotFound, and AmbiguousId with `candidates`.
        """
        prefix = ids.canonical_prefix(id)
        if prefix is None:
            raise JobNotFound(f"{id[:40]!r} is no job id, nor the first {ids.SHORTEST_PREFIX} or more characters of one.")
        job = self.store.get(prefix) if ids.is_job_id(prefix) else self._find_by_prefix(prefix, queue)
        if job is None or job.gone(self.now()) or queue not in {None, job.queue}:
            where = "" if queue is None else f" in queue {queue[:64]!r}"
            raise JobNotFound(f"There is no job {prefix}{where}.")
        return job

    def until_over(self, job: Job, wait: timedelta) -> Job:
        """The job as soon as it is over, or as it was last seen after `wait`."""
        return until_over(job, self.store.get, wait=wait, now=self.now, sleep=self.sleep)

    def page(self, listing: Listing, cursor: Cursor | None) -> dict[str, Any]:
        """One page of a queue's jobs, `{"jobs": […], "next": cursor or null}`; raises NotFound for an unknown queue."""
        self.queue(listing.queue)
        jobs, following = read_page(self.store, listing, cursor, now=self.now())
        return {"jobs": [self.short_document(job) for job in jobs], "next": following}

    def cancel(self, job: Job, *, op: str) -> dict[str, bool]:
        """`{"cancelled": true}`: it will not start again; `{"cancel_requested": true}`: it runs, and no later attempt will start.

        Cancelling a cancelled job is a success. Raises Conflict when the job is over.
        """

        def write(job: Job) -> Write | None:
            if job.last_op == op:
                return None
            if job.status in WAITING:
                return transitions.cancel(job, now=self.now(), op=op, keep=self.definitions.keep(job.queue))
            if job.status is Status.RUNNING:
                return None if job.cancel_requested else transitions.request_cancel(job, now=self.now(), op=op)
            if job.status is Status.CANCELLED:
                return None
            raise Conflict(f"The job is over: it is {job.status}.", job_status=job.status.value)

        job = self.write(job, write)
        return {"cancelled": True} if job.status is Status.CANCELLED else {"cancel_requested": True}

    def retry(self, job: Job, *, op: str) -> Job:
        """Runs a failed, dead, cancelled or expired job again now: attempts start over, its history stays.

        Raises Conflict for a job in any other state, or whose queue is no longer there. The same `op` again is a success.
        """
        if job.queue not in self.definitions.queues:
            raise Conflict(f"The job's queue {job.queue!r} is no longer defined: nothing would run it.", job_status=job.status.value)

        def write(job: Job) -> Write | None:
            if job.last_op == op:
                return None
            if job.status not in RETRYABLE:
                raise Conflict(
                    f"Only a job that is failed, dead, cancelled or expired can be retried: it is {job.status}.",
                    job_status=job.status.value,
                )
            return transitions.retry(job, now=self.now(), op=op)

        return self.write(job, write)

    def document(self, job: Job) -> dict[str, Any]:
        """The job as the API answers it, with payload and result."""
        return whole_document(job, self.bodies, self.type_of(job))

    def short_document(self, job: Job) -> dict[str, Any]:
        """The job as lists have it."""
        return short_document(job, self.type_of(job))

    def type_of(self, job: Job) -> TypeInfo | None:
        """The job's type as it is deployed now; `None` when nobody runs it any more.

        Also of a batch and of a publication: their payloads are those of other types, whose secrets their own type does not mark, so
        nothing of them is shown.
        """
        if is_batch(job) or (job.queue, job.type) == (OPERATIONS, PUBLISH):
            return None
        queue = self.definitions.queues.get(job.queue)
        return None if queue is None else self.types.find(queue.worker, job.type)

    def secrets_of(self, body: Any) -> list[str]:
        """The secrets in the body of an enqueue request (parsed JSON), of many, or of an event; nothing need be right about it."""
        found: list[str] = []
        requests = [body]
        if isinstance(body, dict) and isinstance(body.get("jobs"), list):
            requests = [*body["jobs"], *(body.get(name) for name in CALLBACKS)]
        for request in requests:
            if isinstance(request, dict) and isinstance(request.get("type"), str):
                for types in self.types.workers.values():
                    if (kind := types.get(request["type"])) is not None and kind.secret:
                        found += secrets_in(request.get("payload"), kind.schema)
        if isinstance(body, dict) and isinstance(body.get("event"), dict):
            # Of an event nobody knows yet which types it is for: what any of them would hide.
            kinds = [kind for types in self.types.workers.values() for kind in types.values() if kind.secret]
            found += [secret for kind in kinds for secret in secrets_in(body["event"], kind.schema)]
        return found

    def why(self, job: Job) -> Reason:
        """Why the job is not running: at most one read, of its queue's numbers, when it waits."""
        queue, now = self.definitions.queues.get(job.queue), self.now()
        stats = self.read_stats(queue.name, now) if queue is not None and job.status in WAITING else None
        takes_type = queue is not None and job.type in self.types.of_worker(queue.worker)
        return reason(job, queue=queue, takes_type=takes_type, stats=stats, now=now)

    def queue(self, name: str) -> Queue:
        """The definition of a queue; raises NotFound."""
        try:
            return self.definitions.queues[name]
        except KeyError:
            raise NotFound(f"There is no queue {name[:64]!r}{near(name, self.definitions.queues)}.") from None

    def queue_stats(self, name: str) -> Any:
        """The numbers of a queue; raises NotFound."""
        return self.read_stats(self.queue(name).name, self.now())

    def describe_queue(self, queue: Queue) -> dict[str, Any]:
        """What clients may know of a queue's definition, with the types that it takes."""
        return {
            "name": queue.name,
            "worker": queue.worker,
            "types": sorted(self.types.of_worker(queue.worker)),
            "concurrency": queue.concurrency,
            "batch_size": queue.batch_size,
            "lanes": queue.lane_names,
            "ordered": queue.ordered,
            "low_latency": queue.low_latency,
            "max_attempts": queue.max_attempts,
            "retry": queue.retry,
            "timeout": queue.timeout,
        }

    def describe_types(self) -> list[dict[str, Any]]:
        """Every type with the queues that take it, its summary, defaults and the JSON Schema of its payload."""
        queues: Mapping[str, list[str]] = {
            worker: sorted(queue.name for queue in self.definitions.queues.values() if queue.worker == worker)
            for worker in self.types.workers
        }
        return [
            {"name": name, "worker": worker, "queues": queues[worker], "summary": info.summary, "timeout": info.timeout}
            | {"max_attempts": info.max_attempts, "retry": info.retry, "schema": info.schema}
            for worker, types in sorted(self.types.workers.items())
            for name, info in sorted(types.items())
            if queues[worker]
        ]

    def write(self, job: Job, write: Callable[[Job], Write | None]) -> Job:
        """The job after what `write` says of it as it is; when it has changed meanwhile, `write` is asked again. `None`: nothing to do.

        Raises what `write` raises, JobNotFound, and Unavailable when the job changes too often.
        """
        for _ in range(_MOST_TRIES):
            change = write(job)
            if change is None:
                return job
            outcome = self.store.apply(job.id, change)
            if outcome.job is None or outcome.job.gone(self.now()):
                raise JobNotFound(f"There is no job {job.id}.")
            job = outcome.job
            if outcome.applied:
                return job
        raise Unavailable("the job changes too often")

    def _find_by_prefix(self, prefix: str, queue: str | None) -> Job | None:
        """The one job whose id begins so. A UUIDv7 begins with its time, so `by_queue` has its neighbourhood in order."""
        if ids.is_derived(prefix):
            raise JobNotFound(f"No job is looked for by {prefix}: an id that comes from an idempotency key is only found whole.")
        since, until = ids.created_span(prefix)
        found: list[str] = []
        everything = True
        for name in [queue] if queue else sorted(self.definitions.queues):
            page = self.store.page_by_queue(name, limit=_MOST_LOOKED_THROUGH, since=since, until=until)
            found += [key.id for key in page.keys if key.id.startswith(prefix)]
            everything = everything and page.next is None
        jobs = {id: job for id, job in self.store.get_many(found[:_MOST_LOOKED_THROUGH]).items() if not job.gone(self.now())}
        if len(jobs) > 1 or not everything:
            some = "Several jobs begin" if len(jobs) > 1 else "Too many jobs are as old as one that begins"
            raise AmbiguousId(f"{some} with {prefix}; give more of the id.", candidates=sorted(jobs)[:MOST_CANDIDATES])
        return next(iter(jobs.values()), None)
