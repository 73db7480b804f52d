"""What operators may do with a whole queue: pause and resume it, purge and redrive its jobs.

Pausing is done by the operations function; purging and redriving are jobs of the queue `operations`, which are made here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from jobline.definitions import OPERATIONS, Queue
from jobline.enqueueing import Enqueued, Enqueueing
from jobline.errors import Conflict, InvalidJob
from jobline.fields import ENQUEUE_FIELDS, Reader, read_fields
from jobline.request import EnqueueRequest, given_members
from jobline.selection import PURGE_FIELDS, REDRIVE_FIELDS
from jobline.strict_json import Document

PAUSED: Final = "Jobs stop starting within about a minute; those that run go on to their end. Enqueueing goes on."
RESUMED: Final = "Jobs start again within about a minute."

Kind = Literal["purge", "redrive"]
_KEY: Final = {"idempotency_key": ENQUEUE_FIELDS["idempotency_key"]}
_FIELDS: Final[Mapping[Kind, Mapping[str, Reader]]] = {"purge": PURGE_FIELDS | _KEY, "redrive": REDRIVE_FIELDS | _KEY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """The use cases of operators."""

    enqueueing: Enqueueing
    switch: Callable[[str, bool], None]
    """Pauses (true) or resumes (false) a queue; see `pausing.ask`."""
    read_paused: Callable[[Sequence[str]], Collection[str]]
    """Those of some queues that are paused."""

    def pause(self, queue: Queue, *, paused: bool) -> dict[str, Any]:
        """Pauses or resumes the queue, and says when that takes effect. Repeating it changes nothing.

        Raises Conflict for the internal queue, which resumes the others.
        """
        if queue.internal:
            raise Conflict("Jobline's own queue cannot be paused: purge and redrive run there.")
        self.switch(queue.name, paused)
        return {"queue": queue.name, "paused": paused, "detail": PAUSED if paused else RESUMED}

    def paused(self, queues: Sequence[Queue]) -> dict[str, bool]:
        """Whether each queue is paused, by name."""
        found = self.read_paused([queue.name for queue in queues])
        return {queue.name: queue.name in found for queue in queues}

    def start(self, kind: Kind, queue: Queue, body: Document, *, key: str | None, op: str) -> Enqueued:
        """The job that purges or redrives the queue; the one that the same idempotency key made before.

        Raises InvalidRequest when the body is no object, InvalidJob with every field that is wrong, and IdempotencyKeyReused.
        """
        given = given_members(body, key=key)
        fields, wrong = read_fields(given, _FIELDS[kind], "")
        if wrong:
            raise InvalidJob.of(wrong)
        key = fields.pop("idempotency_key", None)
        payload = fields | {"queue": queue.name}
        text = msgspec.json.encode(payload, order="sorted").decode()
        made_of = hashlib.sha256(f"{kind} {text}".encode()).hexdigest()[:32]
        request = EnqueueRequest(
            queue=OPERATIONS,
            type=kind,
            payload=payload,
            payload_text=text,
            idempotency_key=key,
            internal=True,
            hash="" if key is None else made_of,
        )
        return self.enqueueing.enqueue(request, op=op)
