"""A trial deployment: what a test enqueues is run by the real api, relay, worker and ticker, in this process and without waiting.

jobs = make_deployment(send_email, client=boto3.client, settings={"SENDER": "us@example.com"})
jobs.enqueue(SendEmail(to="ada@example.com"), delay="1h")
jobs.advance("1h")
jobs.assert_enqueued(SendEmail, to="ada@example.com", status="done")
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

from jobline.context import Log
from jobline.definitions import Definitions
from jobline.job_type import JobType
from jobline.stats import QueueStats
from jobline.testing.catalogue import Catalogue, What
from jobline.testing.expectations import Expectation, line, miscounted, missed, unwanted
from jobline.testing.mishaps import FragileDeployment, Mishap, Moment, ProcessDied
from jobline.testing.trial_job import TrialJob

if TYPE_CHECKING:
    from jobline.async_client import AsyncClient
    from jobline.client import Client
    from jobline.testing.trial_connection import TrialConnection

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The time in a trial deployment until somebody moves it."""


class TrialDeployment:
    """A deployment for one test. Nothing runs until `drain`, `advance` or `perform`; time stands still but for `advance`."""

    def __init__(
        self,
        definitions: Definitions,
        types: Mapping[str, Iterable[JobType]],
        *,
        start: datetime = START,
        seed: int = 0,
        client: Callable[[str], Any] | None = None,
        settings: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        bucket: str = "trial-bucket",
        log: Log | None = None,
    ) -> None:
        """`types` has each worker's. What handlers get: `client(service)` as `ctx.aws(service)` (once per service), `settings` before those
        of their `worker.toml`, `secrets` as texts, `bucket` as `ctx.bucket`, `log` as `ctx.logger` (by default the logger `jobline.trial`).
        The `seed` decides jitter and ids.
        """
        known = {name: tuple(of_one) for name, of_one in types.items()}
        self._catalogue = Catalogue(job_type for of_one in known.values() for job_type in of_one)
        self.deployment = FragileDeployment(
            definitions,
            types=known,
            start=start,
            seed=seed,
            client=client or _no_client,
            settings=settings,
            secrets=secrets or {},
            bucket=bucket,
            handler_log=log or logging.getLogger("jobline.trial"),
        )
        """The deployment in memory, for what the verbs below do not say: its queues, its table, its functions one by one."""
        self._performed: set[str] = set()

    @property
    def now(self) -> datetime:
        return self.deployment.now

    # ------------------------------------------------------------------------------------------------ enqueue and run

    def enqueue(self, what: Any, payload: Any = None, *, queue: str | None = None, **fields: Any) -> TrialJob:
        """The job that `POST /jobs` makes, with all its checks, or the one that its key names.

        `what` is a type (its name or its handler) and `payload` what JSON can say, or `what` is the payload alone, whose class says
        the type: `enqueue(SendEmail(to=…))`. `fields` are the API's: `delay="1h"`, `scheduled_at`, `priority`, `tags`, `unique` and so
        on; times may be `datetime`, durations `timedelta`. Without `queue`: the only one that has the type. Raises what the API would
        answer as an error.
        """
        name, payload = self._catalogue.request(what, payload)
        return self._seen(self.deployment.enqueue(name, payload, queue=queue, **fields).id)

    def drain(self) -> list[TrialJob]:
        """Runs everything that is due now, and what that enqueues; answers the jobs that ended, in that order.

        Handlers' exceptions are failed attempts, as in a deployment: see `TrialJob.error` and `exception`, or use `perform`.
        """
        return self._ended_in(self.deployment.run_until_idle)

    def advance(self, duration: timedelta | float | str) -> list[TrialJob]:
        """Lets so much time pass (`"1h30m"`, seconds, a `timedelta`), running what falls due at its moment: delayed jobs, retries, expiry.

        Answers the jobs that ended, in that order.
        """
        return self._ended_in(lambda: self.deployment.advance(duration))

    def perform(self, what: Any, payload: Any = None, *, queue: str | None = None, **fields: Any) -> Any:
        """Runs one attempt of one new job now, and nothing else; answers the handler's result, as JSON gives it back.

        Takes what `enqueue` takes. Raises what the handler raised, the object itself; what is left of the job then is cancelled. An
        attempt that failed by itself (a result that is not JSON) is a RuntimeError. `assert_enqueued` does not count this job, but those
        that its handler enqueued.
        """
        __tracebackhide__ = True
        name, payload = self._catalogue.request(what, payload)
        job = self.enqueue(name, payload, queue=queue or self._any_queue_of(name), **fields)
        self._performed.add(job.id)
        try:
            after = self.deployment.run_alone(job.id)
        finally:
            if not job.record.over:
                job.cancel()
        if job.exception is not None:
            raise job.exception
        if after.status != "done":
            raise RuntimeError(f"{name} did not end well: {after.status}{f', {after.error}' if after.error else ''}")
        return job.result

    # ------------------------------------------------------------------------------------------------ clients

    def client(self) -> Client:
        """A client of this deployment's API, for code that is given one; a job that it waits for is run, and time passes meanwhile.

        The project's own `functions.api` answers, so that must be importable.
        """
        from jobline.client import Client

        return Client(connection=self._connection(), sleep=self._pass_time)

    def async_client(self) -> AsyncClient:
        """The same for programs that use asyncio."""
        from jobline.async_client import AsyncClient

        async def sleep(seconds: float) -> None:
            self._pass_time(seconds)

        return AsyncClient(connection=self._connection(), sleep=sleep)

    def _connection(self) -> TrialConnection:
        # Imported here: most tests need none, and the router is the dearest import of them all.
        from jobline.testing.trial_connection import TrialConnection

        return TrialConnection(self.deployment, self._pass_time)

    def _pass_time(self, seconds: float) -> None:
        self.advance(seconds)

    # ------------------------------------------------------------------------------------------------ mishaps

    def fail_next(self, what: What, error: BaseException | type[BaseException] | str = "planned by the test", *, times: int = 1) -> None:
        """The next start of this type, or the next `times`, raises `error` and does not run the handler.

        A text is the message of a RuntimeError; `RetryAfter` and its kin steer the job as if the handler had raised them.
        """
        raised = RuntimeError(error) if isinstance(error, str) else error() if isinstance(error, type) else error
        self.deployment.mishaps.plan(self._catalogue.name(what), Mishap(raised), times)

    def crash_next(self, what: What, *, at: Moment = "end", times: int = 1) -> None:
        """The worker dies in the next start of this type, or the next `times`, as a process does that runs out of memory.

        `at="end"`: when the handler has done its work and nobody has written that down, so that it comes again in full; `"start"`: before
        the handler begins. The job stays `running` until its lease is over: `advance` by its timeout and ten seconds, or by the worker's
        timeout where the queue's `batch_size` is more than 1. What else is in the batch dies too, and comes again alone.
        """
        self.deployment.mishaps.plan(self._catalogue.name(what), Mishap(ProcessDied("planned by the test"), at), times)

    # ------------------------------------------------------------------------------------------------ look and assert

    def job(self, id: str) -> TrialJob:
        """The job of an id; KeyError when there is none."""
        return self._seen(self.deployment.job(id).id)

    def all(self, what: What | None = None, *, status: str | None = None, queue: str | None = None) -> list[TrialJob]:
        """Every job there is, or those of a type, a status, a queue; in the order in which they were made."""
        names = None if what is None else self._catalogue.names(what)
        found = map(self._seen, self.deployment.store.jobs)
        return [
            job for job in found if (names is None or job.type in names) and status in (None, job.status) and queue in (None, job.queue)
        ]

    def stats(self, queue: str) -> QueueStats:
        """The numbers of `GET /queues/{queue}/stats` now."""
        self.deployment.run_observer()
        stats: QueueStats = self.deployment.stats(queue, self.now)
        return stats

    def assert_enqueued(
        self,
        what: What,
        *,
        count: int | None = None,
        queue: str | None = None,
        at: datetime | None = None,
        delay: timedelta | float | str | None = None,
        priority: int | None = None,
        tags: Sequence[str] = (),
        status: str | None = None,
        payload: Any = None,
        **fields: Any,
    ) -> list[TrialJob]:
        """The jobs of this type (name, handler or class of payload) that are as said, whatever became of them.

        AssertionError if there are none, or not exactly `count`. `at` is when the next attempt is due, `delay` the same counted from the
        enqueue. `fields` are fields of the payload as its handler gets it, defaults filled in; `payload={…}` is for those whose names are
        taken here, and for payloads that are no objects. What is not said may be anything. UnknownType and TypeError tell of a type or a
        field that does not exist.
        """
        __tracebackhide__ = True
        expectation = Expectation(
            catalogue=self._catalogue,
            what=what,
            queue=queue,
            at=at,
            delay=delay,
            priority=priority,
            tags=tags,
            status=status,
            payload=payload,
            fields=fields,
        )
        enqueued = self._enqueued()
        found = self._meant(expectation, enqueued)
        if count is None and not found:
            _fail(missed(expectation, enqueued))
        if count is not None and len(found) != count:
            _fail(miscounted(expectation, count, found, enqueued))
        return found

    def refute_enqueued(self, what: What, *, queue: str | None = None, payload: Any = None, **fields: Any) -> None:
        """AssertionError if a job of this type was enqueued that is as said (see `assert_enqueued`)."""
        __tracebackhide__ = True
        expectation = Expectation(catalogue=self._catalogue, what=what, queue=queue, payload=payload, fields=fields)
        if found := self._meant(expectation, self._enqueued()):
            _fail(unwanted(expectation, found))

    def report(self) -> str:
        """Every job in a line, for people; empty when there is none."""
        return "\n".join(line(job).strip() for job in self.all())

    # ------------------------------------------------------------------------------------------------

    def _seen(self, id: str) -> TrialJob:
        return TrialJob(id, self.deployment)

    def _enqueued(self) -> list[TrialJob]:
        return [job for job in self.all() if job.id not in self._performed]

    @staticmethod
    def _meant(expectation: Expectation, jobs: list[TrialJob]) -> list[TrialJob]:
        return [job for job in jobs if expectation.is_about(job) and not expectation.differences(job)]

    def _any_queue_of(self, name: str) -> str | None:
        """A queue that has the type: which one makes no difference to a single attempt."""
        queues = self.deployment.definitions.queues.values()
        return next((queue.name for queue in queues if name in self.deployment.registries[queue.worker].types), None)

    def _ended_in(self, run: Callable[[], None]) -> list[TrialJob]:
        before = len(self.deployment.store.changes)
        run()
        changes = self.deployment.store.changes[before:]
        ended = [after.id for before_it, after in changes if after and after.over and not (before_it and before_it.over)]
        return [self._seen(id) for id in dict.fromkeys(ended)]


def _fail(message: str) -> NoReturn:
    __tracebackhide__ = True
    raise AssertionError(message)


def _no_client(service: str) -> NoReturn:
    raise AssertionError(f"the handler uses {service}: give the trial deployment a client= factory (for example moto's boto3.client)")
