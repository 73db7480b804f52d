"""Enqueueing: from a request to the job that it made or found, whoever asks: a client of the API or a handler.

Everything that could vary is an argument: the table, the bodies, the definitions, the clock, chance. `op` names who asks; it is stored
with the write, so that a request whose reply was lost recognises its own success (R30).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, NamedTuple

from jobline import ids, transitions
from jobline.creation import Replaced
from jobline.definitions import Definitions
from jobline.direct import Direct
from jobline.errors import FieldProblem, IdempotencyKeyReused, InvalidJob, TooDeep, Unavailable, UniqueConflict, UnknownUpload
from jobline.job import WAITING, Job
from jobline.locks import Lock
from jobline.payloads import INLINE_LIMIT, LARGEST_UPLOAD, Bodies, NoSuchBody, Placed, reference_of
from jobline.request import EnqueueRequest, admit, lock_for
from jobline.store import Store
from jobline.types import Types

Found = Literal["idempotency_key", "unique"]
_MOST_TRIES: Final = 8
"""Requests for one unique key that come between each other this often in a row: the next try is the client's."""


DEEPEST: Final = 100
"""Generations of jobs that enqueue jobs: a loop that nobody meant ends here."""
_VERSION_BYTES: Final = 8


class Enqueued(NamedTuple):
    """The job of an enqueue request."""

    job: Job
    found: Found | None = None
    """By what an earlier request's job was found; `None` when this request made it."""


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
    direct: Direct
    """Sends what the relay alone must not (R27, R28)."""

    def enqueue(self, request: EnqueueRequest, *, op: str, parent: Job | None = None) -> Enqueued:
        """Creates the job by one conditional write, or finds the one that has its idempotency key or its unique key.

        `parent` is the job whose handler asks. Raises what `request.admit` raises, TooDeep, IdempotencyKeyReused when the key came
        before with another request, and UniqueConflict when another job holds the unique key and is neither to be returned nor can be
        replaced.
        """
        return self.settle(request, self.prepare(request, op=op, parent=parent))

    def prepare(self, request: EnqueueRequest, *, op: str, parent: Job | None = None) -> Job:
        """The job that the request asks for, not yet written; raises what `request.admit` raises, and TooDeep."""
        now, key = self.now(), request.idempotency_key
        id = ids.new_id(now, self.random(ids.RANDOM_BYTES)) if key is None else ids.derived_id(request.queue, key)
        job = replace(admit(request, self.definitions, self.types, id=id, now=now), last_op=op)
        return job if parent is None else _child(job, parent)

    def settle(self, request: EnqueueRequest, job: Job) -> Enqueued:
        """Writes a prepared job, or finds the one that has its key; doing so again finds it. Raises as `enqueue` does.

        A job of an ordered queue is in its place when this returns. When it raises Unavailable, the job may be there all the same and
        will run, but which place it has is not certain before the same request was repeated and succeeded.
        """
        enqueued = self._write_or_find(request, job)
        self.direct.send(enqueued.job, new=enqueued.found is None)
        return enqueued

    def _write_or_find(self, request: EnqueueRequest, job: Job) -> Enqueued:
        try:
            return self._write(request, job)
        except UnknownUpload:
            # A request that is repeated days later: its upload is gone, its job is not.
            before = self.store.get(job.id) if request.idempotency_key else None
            if before is None or before.gone(job.created_at):
                raise
            return self._of_same_id(before, request, job.last_op or "")

    def _write(self, request: EnqueueRequest, job: Job) -> Enqueued:
        lock = lock_for(job, request)
        if lock is not None:
            return self._create_unique(job, lock, request, job.created_at)
        stored = self._with_body(job, request)
        outcome = self.store.create(stored, now=job.created_at)
        if outcome.applied:
            return Enqueued(outcome.job or stored)
        self._discard_unnamed(stored, outcome.job)
        return self._of_same_id(outcome.job or stored, request, job.last_op or "")

    def _with_body(self, job: Job, request: EnqueueRequest) -> Job:
        # A key's id comes again, and so may the payload: what was put for this request alone can be removed, however late.
        version = self.random(_VERSION_BYTES).hex()
        if request.is_apart:
            placed = self._copied(job, request, version)
        else:
            placed = self.bodies.put(job.id, "payload", request.payload_text, version=version)
        if request.payload_ref and request.hash:
            job = replace(job, request_hash=request.hash_with(reference_of(placed.reference or "").sha256))
        return replace(job, payload=placed.inline, payload_ref=placed.reference)

    def _discard_unnamed(self, refused: Job, standing: Job | None) -> None:
        """Removes the payload put away for a record that was refused, unless the one that stands there is it, its answer lost."""
        if refused.payload_ref is not None and (standing is None or standing.payload_ref != refused.payload_ref):
            self.bodies.discard(refused.id, refused.payload_ref)

    def _copied(self, job: Job, request: EnqueueRequest, version: str) -> Placed:
        source = reference_of(request.payload_copy) if request.payload_copy else self.bodies.uploaded(request.payload_ref or "")
        if source is not None and source.size > LARGEST_UPLOAD:
            raise InvalidJob.of([FieldProblem("/payload_ref", f"has {source.size} bytes; the limit is {LARGEST_UPLOAD}")])
        try:
            if source is not None:
                return self.bodies.copy(job.id, "payload", source, version=version)
        except NoSuchBody:
            pass
        raise UnknownUpload.of([FieldProblem("/payload_ref", "names no upload, or one that is gone or was not checked on arrival")])

    def _of_same_id(self, job: Job, request: EnqueueRequest, op: str) -> Enqueued:
        """The job that stands where the request's own was to be written."""
        if request.idempotency_key is None or job.last_op == op:
            # A fresh id was taken by nobody but ourselves: the reply to that write was lost (R30).
            return Enqueued(job)
        if job.request_hash != self._hash_beside(job, request):
            where = (FieldProblem("/idempotency_key", f"names job {job.id}, which another request created"),)
            detail = f"The idempotency key was used before with another request (job {job.id})."
            raise IdempotencyKeyReused(detail, problems=where, job_id=job.id)
        return Enqueued(job, found="idempotency_key")

    def _hash_beside(self, job: Job, request: EnqueueRequest) -> str | None:
        """The hash that the job would have if this request had made it. Of an upload that is gone nobody can tell that it was another."""
        if not request.payload_ref:
            return request.hash or None
        uploaded = self.bodies.uploaded(request.payload_ref) or (reference_of(job.payload_ref) if job.payload_ref else None)
        return request.hash_with(uploaded.sha256 if uploaded else "")

    # ------------------------------------------------------------------------------------------------ unique jobs

    def _create_unique(self, job: Job, lock: Lock, request: EnqueueRequest, now: datetime) -> Enqueued:
        """Record and lock are written together, on the condition that both places are as they were found (docs/protocol.md)."""
        op, over, before = job.last_op or "", None, None
        if request.is_apart or len(request.payload_text.encode()) > INLINE_LIMIT:
            # A body put away for a job that is then not made would lie there for nobody.
            before = self.store.get_lock(lock.id)
        for _ in range(_MOST_TRIES):
            replaced = None
            if before is not None and over is None and (request.idempotency_key or before.job_id == job.id):
                over = self.store.get(job.id)  # a key that came before names its job, whoever holds the lock
            if over is not None and not over.gone(now):
                return self._of_same_id(over, request, op)
            if before is not None:
                holder = self.store.get(before.job_id)
                if before.holds(holder, now):
                    settled = self._settle(job, before, holder, request, now)
                    if isinstance(settled, Enqueued):
                        return settled
                    replaced = settled
            stored = self._with_body(job, request)
            made = self.store.create_unique(stored, lock, over=over, before=before, replaced=replaced)
            if made.applied:
                return Enqueued(made.job or stored)
            self._discard_unnamed(stored, made.job)
            over, before = made.job, made.lock
        raise Unavailable("too many requests for one unique key at once")

    def _settle(self, job: Job, lock: Lock, holder: Job | None, request: EnqueueRequest, now: datetime) -> Enqueued | Replaced:
        """What becomes of a request whose unique key is held: the holder answers it, or makes room; raises UniqueConflict."""
        on_conflict = request.unique.on_conflict if request.unique else "reject"
        if holder is None or not lock.names(holder, now):
            raise UniqueConflict(
                f"The unique key is held until {lock.expires_at:%Y-%m-%dT%H:%M:%SZ} for job {lock.job_id}, which is no longer kept.",
                job_id=lock.job_id,
            )
        if on_conflict == "return":
            return Enqueued(holder, found="unique")
        if on_conflict == "replace" and holder.status in WAITING:
            keep, reason = self.definitions.keep(holder.queue), f"replaced by job {job.id}"
            write = transitions.cancel(holder, now=now, op=job.last_op or "", keep=keep, reason=reason)
            return Replaced(holder, write.on_condition(transitions.Condition("rev", "=", holder.rev)))
        cannot = f"cannot be replaced: it is {holder.status}" if on_conflict == "replace" else f"is {holder.status}"
        raise UniqueConflict(f"Job {holder.id} holds this unique key and {cannot}.", job_id=holder.id, job_status=holder.status.value)


def _child(job: Job, parent: Job) -> Job:
    if parent.depth >= DEEPEST:
        raise TooDeep(f"This would be job number {DEEPEST + 1} in a chain of jobs that enqueue each other; the limit is {DEEPEST}.")
    return replace(job, parent_id=parent.id, depth=parent.depth + 1, traceparent=parent.traceparent)
