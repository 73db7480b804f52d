"""Enqueueing: from a request to the job that it made or found, whoever asks: a client of the API or a handler.

Everything that could vary is an argument: the table, the bodies, the definitions, the clock, chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from jobline import ids
from jobline.definitions import Definitions
from jobline.errors import FieldProblem, IdempotencyKeyReused
from jobline.job import Job
from jobline.payloads import Bodies
from jobline.request import EnqueueRequest, admit
from jobline.store import Store
from jobline.types import Types


class Enqueued(NamedTuple):
    """The job of an enqueue request."""

    job: Job
    replayed: bool
    """Whether an earlier request with the same idempotency key had made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueueing:
    """Makes jobs of requests."""

    store: Store
    bodies: Bodies
    definitions: Definitions
    types: Types
    now: Callable[[], datetime]
    random: Callable[[int], bytes]
    """So many random bytes (`os.urandom`)."""

    def enqueue(self, request: EnqueueRequest, *, op: str) -> Enqueued:
        """Creates the job by one conditional write, or finds the one that the same request had created before.

        `op` names who asks; it is stored with the write, so that a request whose reply was lost recognises its own success (R30).
        Raises what `request.admit` raises, and IdempotencyKeyReused when the key came before with another request.
        """
        now, key = self.now(), request.idempotency_key
        id = ids.new_id(now, self.random(ids.RANDOM_BYTES)) if key is None else ids.derived_id(request.queue, key)
        job = admit(request, self.definitions, self.types, id=id, now=now)
        placed = self.bodies.put(id, "payload", request.payload_text)
        job = replace(job, payload=placed.inline, payload_ref=placed.reference, last_op=op)
        outcome = self.store.create(job, now=now)
        if outcome.applied or outcome.job is None or key is None or outcome.job.last_op == op:
            # A fresh id was taken by nobody but ourselves: the reply to that write was lost (R30).
            return Enqueued(outcome.job or job, replayed=False)
        if outcome.job.request_hash != request.hash:
            where = (FieldProblem("/idempotency_key", f"names job {id}, which another request created"),)
            raise IdempotencyKeyReused(f"The idempotency key was used before with another request (job {id}).", problems=where, job_id=id)
        return Enqueued(outcome.job, replayed=True)
