"""A client of the API and the handler that its jobs reach: together they see everything that the promise speaks of.

What a client sees are answers; what a handler sees are starts, each under a token; what the table's stream tells is every change
of every record. `check_promise` compares the three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from jobline.context import Context
from jobline.follow_ups import asks
from jobline.job import OPERATIONS, TRANSITIONS, Job, Status
from jobline.job_type import JobType, job
from jobline.payloads import Bodies
from jobline.records import decode, is_job
from tests.api import Answer
from tests.cloud import Cloud
from tests.faults import Killed

MOVES = frozenset().union(*(row.moves for row in TRANSITIONS.values()))
WORK = {"queue": "emails", "type": "work", "retry": {"backoff": "fixed", "base_delay": 5000, "jitter": 0}}


class Witness:
    """Enqueues, cancels and retries jobs of one type, `work`, and is its handler.

    The handler returns `{"payload": …}`; the first `fails` starts of each job fail, and so does every start while something is `broken`.
    """

    def __init__(self, *, fails: int = 0) -> None:
        self.fails = fails
        self.broken: Exception | None = None
        self.meanwhile: Callable[[str], object] | None = None
        """What happens to a job (given its id) while its handler runs."""
        self.always: dict[str, Any] = {}
        """Fields of every job."""
        self.aws: Cloud
        self.accepted: list[str] = []
        """Every job whose creation was answered 2xx, with repetitions."""
        self.payload: Any = None
        """Of the job last enqueued."""
        self.posts: list[str | None] = []
        """The idempotency key of every request for a job."""
        self.since = 0
        """How many AWS calls had been made when that began which a life is about."""
        self.starts: list[tuple[str, int]] = []
        """Every start: the job's id and the token it ran under."""
        self.stopped: dict[str, int] = {}
        """Jobs that a client was told would not start again, with the number of starts before."""

    def job_type(self) -> JobType:
        @job("work")
        def work(payload: Any, ctx: Context) -> dict[str, Any]:
            self.starts.append((ctx.id, ctx.starts))
            if self.meanwhile is not None:
                self.meanwhile(ctx.id)
            if self.broken is not None:
                raise self.broken
            if self.starts_of(ctx.id) <= self.fails:
                raise ValueError("not yet")
            return {"payload": payload}

        return work

    def starts_of(self, job_id: str) -> int:
        return sum(id == job_id for id, _ in self.starts)

    # ------------------------------------------------------------------------------------------------ the client's side

    def ask(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Answer:
        """The answer in the end: a request that got none, or was told to come back, is sent again just as it was."""
        for _ in range(3):
            self.aws.faults.new_process()
            if path == "/jobs":
                self.posts.append(key)
            try:
                answer = self.aws.api.call(method, path, body, headers=None if key is None else {"idempotency-key": key})
            except Killed:
                continue
            finally:
                self.aws.faults.new_process()  # a handler that waits for this answer is a process of its own
            if answer.status != 503:
                return answer
        raise AssertionError(f"{method} {path} gets no answer")

    def enqueue(self, payload: Any, *, key: str | None = None, **fields: Any) -> str:
        """The new job's id."""
        self.payload = payload
        answer = self.ask("POST", "/jobs", WORK | self.always | {"payload": payload} | fields, key=key)
        assert answer.status in {200, 202}, answer
        self.accepted.append(answer.body["id"])
        return self.accepted[-1]

    def cancel(self, job_id: str) -> dict[str, bool]:
        answer = self.ask("DELETE", f"/jobs/{job_id}")
        assert answer.status == 200, answer
        self.stopped.setdefault(job_id, self.starts_of(job_id))
        return dict(answer.body)

    def retry(self, job_id: str, *, key: str | None = None) -> int:
        """The answer's status: 202, or 409 for a client without a key that repeats what has taken effect."""
        answer = self.ask("POST", f"/jobs/{job_id}/retry", key=key)
        assert answer.status == 202 or (answer.status == 409 and key is None), answer
        return answer.status

    # ------------------------------------------------------------------------------------------------ the judge's side

    def jobs(self) -> dict[str, Job]:
        """Every record of a client's job, read past all faults."""
        return {found.id: found for found in self._records() if found.queue != OPERATIONS}

    def follow_ups(self) -> list[Job]:
        """The records of follow-ups, in any order."""
        return [found for found in self._records() if found.queue == OPERATIONS]

    def _records(self) -> list[Job]:
        items = self.aws.raw["dynamodb"].scan(TableName=self.aws.table, ConsistentRead=True)["Items"]
        return [decode(item) for item in items if is_job(item)]

    def changes(self) -> Iterator[tuple[Job | None, Job]]:
        """Every change of every record, in order: what it was (`None`: nothing) and what it became."""
        for record in self.aws.stream():
            old, new = (record["dynamodb"].get(image) or {} for image in ("OldImage", "NewImage"))
            if is_job(new):
                yield decode(old) if old else None, decode(new)

    def check_promise(self, where: str) -> None:
        """README's promise, as far as one look at the end can tell; `where` goes before what is told of a broken one."""
        jobs = self.jobs()
        assert jobs.keys() >= set(self.accepted), f"{where}: {self.accepted} were accepted, there are {sorted(jobs)}"
        assert len(jobs) <= len(set(self.posts) - {None}) + self.posts.count(None), f"{where}: {self.posts} made {sorted(jobs)}"
        for found in jobs.values():
            assert found.over, f"{where}: stranded: {found}"
            assert found.attempts <= found.max_attempts, f"{where}: {found}"
            if found.status is Status.DONE:
                assert self.starts_of(found.id), f"{where}: done without a start: {found}"
        assert len(set(self.starts)) == len(self.starts), f"{where}: started twice under one lease: {self.starts}"
        for job_id, before in self.stopped.items():
            assert self.starts_of(job_id) == before, f"{where}: {job_id} started after its cancel was answered"
        assert self.aws.messages() == 0, f"{where}: messages left"
        changes = list(self.changes())
        ended = [new.id for old, new in changes if asks(new) and new.over and not (old and old.over)]
        told = [follow_up.parent_id for follow_up in self.follow_ups()]
        assert sorted(ended) == sorted(filter(None, told)), f"{where}: {ended} ended, {told} were told of"
        for old, new in changes:
            problem = wrong_change(old, new)
            assert problem is None, f"{where}: {problem}: {old} -> {new}"

    def result(self, job_id: str) -> str | None:
        """The recorded result's text, wherever it is kept."""
        found = self.jobs()[job_id]
        raw: Any = self.aws.raw
        return Bodies(raw["dynamodb"], self.aws.table, lambda: raw["s3"], "bodies").load(found.result, found.result_ref)


def wrong_change(old: Job | None, new: Job) -> str | None:
    """What no change of a record may be; `None` when nothing is wrong with it."""
    if old is None:
        return None if (new.token, new.rev, new.result, new.result_ref) == (0, 1, None, None) else "not created new"
    if (old.status, new.status) not in MOVES:
        return "no row of the protocol leads there"
    if new.rev != old.rev + 1:
        return "not one write"
    if new.token not in {old.token, old.token + 1} or (new.token > old.token) != (new.token > old.token and new.status is Status.RUNNING):
        return "the token grows with a claim and never else"
    if new.token > old.token and old.status is Status.RUNNING and (old.lease_until or new.created_at) > (new.started_at or old.created_at):
        return "two leases at once"
    if old.status is Status.DONE:
        return "a recorded result is final"
    return None
