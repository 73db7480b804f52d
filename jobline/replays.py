"""Replaying: a new job with the request of an old one, in whatever state that is."""

from __future__ import annotations

import hashlib

from jobline import strict_json
from jobline.errors import Conflict, FieldProblem, InvalidJob
from jobline.fields import ENQUEUE_FIELDS
from jobline.job import Job
from jobline.locks import stored_unique
from jobline.request import EnqueueRequest
from jobline.retry import stored_policy
from jobline.service import Answered, Service


def replay(service: Service, job: Job, *, key: str | None, op: str) -> Answered:
    """A new job with the payload, priority, limits, retry policy, tags, group and uniqueness of `job`, due now.

    With an idempotency key, the same key again names the same new job; keys of other replays and of enqueue requests are others.
    Raises Conflict when the queue is no longer defined, InvalidJob when today's queue or type would not take the request, and
    UniqueConflict as enqueue does.
    """
    if job.queue not in service.definitions.queues:
        raise Conflict(f"The job's queue {job.queue!r} is no longer defined: nothing would run it.", job_status=job.status.value)
    payload = service.bodies.load(job.payload, job.payload_ref) or "null"
    request = EnqueueRequest(
        queue=job.queue,
        type=job.type,
        payload=strict_json.parse(payload.encode()).value,
        payload_text=payload,
        priority=job.priority,
        max_attempts=job.max_attempts,
        retry=stored_policy(job.retry),
        timeout=job.timeout,
        expires_in=job.expires_in,
        idempotency_key=None if key is None else f"replay of {job.id} by {_checked(key)}",
        group=job.group,
        tags=job.tags,
        unique=None if job.unique is None else stored_unique(job.unique),
        hash=hashlib.sha256(f"replay of {job.id}".encode()).hexdigest()[:32],
    )
    return service.enqueue(request, op=op)


def _checked(key: str) -> str:
    try:
        return str(ENQUEUE_FIELDS["idempotency_key"](key))
    except ValueError as error:
        raise InvalidJob.of([FieldProblem("/idempotency_key", str(error))]) from error
