"""Replaying: a new job with the request of an old one, in whatever state that is."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from jobline import strict_json
from jobline.errors import Conflict, FieldProblem, InvalidJob
from jobline.fields import ENQUEUE_FIELDS
from jobline.job import Job
from jobline.locks import stored_unique
from jobline.request import EnqueueRequest
from jobline.retry import stored_policy
from jobline.service import Answered, Service

LARGEST_READ: Final = 2_500_000
"""Bytes of payload that a request can have carried; a larger one was uploaded, and never checked by the api."""


def replay(service: Service, job: Job, *, key: str | None, op: str) -> Answered:
    """A new job with the payload, priority, limits, retry policy, tags, group, ordering key, uniqueness, callback and reply of `job`,
    due now.

    With an idempotency key, the same key again names the same new job; keys of other replays and of enqueue requests are others.
    Raises Conflict when the queue is no longer defined, InvalidJob when today's queue or type would not take the request, and
    UniqueConflict as enqueue does.
    """
    if job.queue not in service.definitions.queues:
        raise Conflict(f"The job's queue {job.queue!r} is no longer defined: nothing would run it.", job_status=job.status.value)
    request = EnqueueRequest(
        queue=job.queue,
        type=job.type,
        **_payload_of(job, service),
        priority=job.priority,
        max_attempts=job.max_attempts,
        retry=stored_policy(job.retry),
        timeout=job.timeout,
        expires_in=job.expires_in,
        idempotency_key=None if key is None else f"replay of {job.id} by {_checked(key)}",
        group=job.group,
        ordering_key=job.ordering_key if service.definitions.queues[job.queue].ordered else None,
        tags=job.tags,
        unique=None if job.unique is None else stored_unique(job.unique),
        callback_url=job.callback_url,
        reply_to=job.reply_to,
        hash=hashlib.sha256(f"replay of {job.id}".encode()).hexdigest()[:32],
    )
    return service.enqueue(request, op=op)


def _payload_of(job: Job, service: Service) -> dict[str, Any]:
    """The payload as a request has it: read, or, when it is larger than any request, only named."""
    if job.payload_ref is not None and service.bodies.size(job.payload_ref) > LARGEST_READ:
        return {"payload_copy": job.payload_ref}
    text = service.bodies.load(job.payload, job.payload_ref) or "null"
    return {"payload": strict_json.parse(text.encode()).value, "payload_text": text}


def _checked(key: str) -> str:
    try:
        return str(ENQUEUE_FIELDS["idempotency_key"](key))
    except ValueError as error:
        raise InvalidJob.of([FieldProblem("/idempotency_key", str(error))]) from error
