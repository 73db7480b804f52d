"""A deployment in memory with queues of its own, its API, and somebody who makes batches there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec

from functions.operations.batch import batch
from functions.operations.publish import publish
from jobline.batch import read_standing
from jobline.context import Context
from jobline.definitions import DeclaredTopic, Definitions, Queue, Worker
from jobline.errors import Unavailable
from jobline.job import Job, Status
from jobline.job_type import job
from jobline.memory import MemoryStore
from jobline.memory_deployment import MemoryDeployment
from jobline.memory_stream import MemoryStream
from jobline.publishing import Publishing
from jobline.secret_fields import Secret
from jobline.steering import Cancel
from jobline.store import Outcome
from jobline.transitions import Write
from tests.api import Answer, Client
from tests.factories import NOW


class Work(msgspec.Struct, forbid_unknown_fields=True):
    n: int = 0
    ends: str = "done"
    token: Secret[str] = ""
    any: Any = None


@job("work", max_attempts=1)
def work(payload: Work, ctx: Context) -> int:
    """Ends as its payload says."""
    if payload.ends == "dead":
        raise ValueError("broken")
    if payload.ends == "cancelled":
        raise Cancel("not wanted")
    return payload.n


@job("report")
def report(payload: dict[str, Any], ctx: Context) -> str | None:
    """What a callback does: it is told whose it is."""
    return ctx.parent_id


QUEUES = {
    "emails": Queue(name="emails", worker="notes", lanes=1, batch_size=10),
    "images": Queue(name="images", worker="notes", lanes=1),
    "letters": Queue(name="letters", worker="notes", ordered=True),
    "operations": Queue(name="operations", worker="operations", lanes=1, max_attempts=5, timeout=870),
}
WORKERS = {"notes": Worker(name="notes"), "operations": Worker(name="operations", timeout=900)}
TOPICS = {"orders": DeclaredTopic(subscriptions={"log": '{"queue":"images","type":"report"}'})}
REPORT = {"queue": "images", "type": "report"}


def member(n: int = 0, *, queue: str = "emails", ends: str = "done", **fields: Any) -> dict[str, Any]:
    """A member's request."""
    return {"queue": queue, "type": "work", "payload": {"n": n, "ends": ends}, **fields}


class CountingStore(MemoryStore):
    """Counts the reads of records by batches and of batches, and the calls that they take on AWS."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.calls = 0
        self.active = True
        """Whether it is one of them that calls."""

    def get_many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        if self.active:
            self.reads += len(job_ids)
            self.calls += -(-len(job_ids) // 100)
        return super().get_many(job_ids)


class Killed(BaseException):
    """The process died here."""


WAYS = ("refused", "reply lost", "dies before", "dies after")


class Spoiled(CountingStore):
    """A store of which one call goes wrong, counted over every method that the coordinator's process calls."""

    def __init__(self) -> None:
        super().__init__()
        self.at = -1
        self.way = ""
        self.number = 0
        self.fragile = False
        self.spoiled = ""

    def _spoil(self, name: str, call: Callable[[], Any]) -> Any:
        if not (self.active and self.fragile):
            return call()
        number, self.number = self.number, self.number + 1
        if number != self.at:
            return call()
        self.spoiled = name
        if self.way in {"reply lost", "dies after"}:
            call()
        raise Unavailable("no answer") if self.way in {"refused", "reply lost"} else Killed(name)

    def apply(self, job_id: str, write: Write) -> Outcome:
        outcome: Outcome = self._spoil(write.event, lambda: MemoryStore.apply(self, job_id, write))
        return outcome

    def get_many(self, job_ids: Any) -> dict[str, Job]:
        found: dict[str, Job] = self._spoil("get_many", lambda: CountingStore.get_many(self, job_ids))
        return found

    def create_many(self, jobs: Any) -> list[bool | None]:
        # Never raises `Unavailable`: no verdict is what that is.
        with suppress(Unavailable):
            verdicts: list[bool | None] = self._spoil("create_many", lambda: MemoryStore.create_many(self, jobs))
            return verdicts
        return [None] * len(jobs)

    def create(self, job: Job, *, now: Any) -> Outcome:
        outcome: Outcome = self._spoil("create", lambda: MemoryStore.create(self, job, now=now))
        return outcome


class Scene:
    """The deployment, and what a test does there. Unless `nudged`, no batch is woken: every nudge is lost."""

    def __init__(self, *, nudged: bool = False, queues: dict[str, Queue] = QUEUES, **settings: Any) -> None:
        definitions = Definitions(stage="test", queues=queues, workers=WORKERS, topics=TOPICS)
        self.deployment = MemoryDeployment(definitions, {"notes": [work, report], "operations": [batch, publish]}, start=NOW, **settings)
        self.use(CountingStore())
        self._consume = self.deployment.consume
        self.deployment.__dict__["consume"] = self._watched
        self.deployment.__dict__["run_ticker"] = self._unwatched_tick
        if not nudged:
            self.lose_nudges()

    def use(self, store: CountingStore) -> None:
        """Puts another table in the place of the one that there is."""
        deployment = self.deployment
        self.store = deployment.store = store
        deployment.stream = MemoryStream(store, deployment.clock)
        deployment.relay_readers, deployment.observer_readers = deployment.stream.readers(), deployment.stream.readers()
        deployment.ports = deployment.make_ports(store=store, sqs=deployment.sqs, clock=deployment.clock)
        deployment._observer = deployment.make_observer(deployment.ports)
        self.api = Client(
            self.store,
            deployment.ports.bodies,
            definitions=deployment.definitions,
            types=deployment.types,
            now=deployment.clock,
            random=deployment.random.randbytes,
            sleep=deployment.advance,
            direct=deployment.make_direct(deployment.ports),
        )
        self.api.publishing = Publishing(topics=deployment.make_topics(deployment.ports), enqueueing=self.api.service.enqueueing)

    def _watched(self, name: str, size: int, function: Callable[[dict[str, Any]], Mapping[str, Any]]) -> int:
        """One batch of messages; a process that is killed leaves them where they are."""

        def answer(event: dict[str, Any]) -> Mapping[str, Any]:
            self.store.active = name.startswith("operations")
            try:
                return function(event)
            except Killed:
                return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in event["Records"]]}
            finally:
                self.store.active = True

        return self._consume(name, size, answer)

    def _unwatched_tick(self) -> None:
        self.store.active = False
        self.deployment.make_ticker(self.deployment.ports).tick()
        self.store.active = True

    def lose_nudges(self) -> None:
        self.deployment.__dict__["run_observer"] = lambda: 0

    def post(self, jobs: Sequence[Any] = (), *, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        return self.api.call("POST", "/batches", {"jobs": list(jobs), **fields}, headers=headers)

    def make(self, jobs: Sequence[Any], **fields: Any) -> str:
        """The id of a new batch, nothing of which has run."""
        answer = self.post(jobs, **fields)
        assert answer.status == 202, answer
        return str(answer.body["id"])

    def show(self, id: str) -> dict[str, Any]:
        answer = self.api.call("GET", f"/batches/{id}")
        assert answer.status == 200, answer
        return dict(answer.body)

    def show_status(self, id: str) -> Status:
        """Of the batch's own job."""
        return self.job(id).status

    def run(self, duration: timedelta | float | str = 0) -> None:
        self.deployment.advance(duration)

    def job(self, id: str) -> Job:
        return self.deployment.job(id)

    def members(self, id: str) -> list[Job]:
        """The members that are there, in the order of the request."""
        return [self.job(each["id"]) for each in self.show(id)["jobs"] if each["id"] in self.store.jobs]

    def made(self, type: str) -> list[Job]:
        return [each for each in self.store.jobs.values() if each.type == type]

    def awaited(self, id: str) -> int:
        return read_standing(self.job(id)).at

    def cancel(self, id: str) -> Answer:
        return self.api.call("DELETE", f"/jobs/{id}")

    def retry(self, id: str) -> Answer:
        return self.api.call("POST", f"/jobs/{id}/retry")

    def looks(self, id: str) -> int:
        """How often the batch has been put off."""
        return self.job(id).snoozes

    def result(self, id: str) -> Any:
        assert self.job(id).status is Status.DONE, self.job(id)
        return json.loads(self.job(id).result or "")
