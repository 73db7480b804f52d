"""Telling: what a follow-up says of the end of its job, to a URL or into an SQS queue."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from jobline.definitions import Definitions
from jobline.documents import encode, whole_document
from jobline.follow_ups import Ended
from jobline.job import Job
from jobline.payloads import Bodies
from jobline.store import Store
from jobline.times import format_instant
from jobline.types import TypeInfo, Types

SIGNING_SECRET: Final = "callback_signing"  # noqa: S105  the secret's name
"""Under which the operations worker has the secret of `[callbacks]`."""
LOOPBACK_PORTS: Final = "ALLOWED_LOOPBACK_PORTS"
LARGEST_MESSAGE: Final = 262_144
"""Bytes of a message that every SQS queue takes, its attributes included. Since August 2025 SQS takes up to 1 MiB (Amazon SQS Developer
Guide, "Message quotas"), but a queue that was made before keeps the 256 KiB that it was made with."""
ROOM_FOR_ATTRIBUTES: Final = 256
_NOT_IN_A_MESSAGE: Final = re.compile("[\ufffe\uffff]")
"""Characters that JSON may have and SQS refuses (SendMessage, Amazon SQS API reference)."""


class News(NamedTuple):
    """What there is to tell."""

    id: str
    """The same each time that this end is told: by it who is told knows what it had before."""
    document: Mapping[str, Any]
    """`{"type": "job.done", "timestamp": …, "data": the job}`."""
    job: Job | None
    """The ended record; `None` when it is kept no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Finds out what follow-ups have to tell."""

    store: Store
    bodies: Bodies
    type_of: Callable[[Job], TypeInfo | None]
    """The job's type as it is deployed now, which says what of its payload is secret; `None`: all is."""

    def news(self, id: str, ended: Ended) -> News | None:
        """What the follow-up of this id has to tell of an end; `None` when the job was retried since, so that a later end tells."""
        job = self.store.get(ended.job)
        if job is None or format_instant(job.created_at) != ended.created_at:
            # Its retention is over, it was purged, or a new job has its id: that it ended, and how, is known all the same.
            return News(id, _event(ended, _remembered(ended)), None)
        if job.dispatch != ended.dispatch or not job.over:
            return None
        return News(id, _event(ended, whole_document(job, self.bodies, self.type_of(job))), job)


def type_finder(definitions: Definitions, types: Types) -> Callable[[Job], TypeInfo | None]:
    """What finds a job's type as it is deployed now."""

    def find(job: Job) -> TypeInfo | None:
        queue = definitions.queues.get(job.queue)
        return None if queue is None else types.find(queue.worker, job.type)

    return find


def message_body(document: Mapping[str, Any]) -> str:
    """The document as an SQS message's body; without payload and result, and with `"truncated": true`, when it is too large with them."""
    text = message_text(document)
    return text if len(text.encode()) + ROOM_FOR_ATTRIBUTES <= LARGEST_MESSAGE else message_text(truncated(document))


def message_text(document: Mapping[str, Any]) -> str:
    """The document as JSON whose every character SQS takes."""
    return _NOT_IN_A_MESSAGE.sub(lambda found: f"\\u{ord(found[0]):04x}", encode(document))


def truncated(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without the job's payload and result."""
    return {**document, "data": {**document["data"], "payload": None, "result": None}, "truncated": True}


def _event(ended: Ended, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": f"job.{ended.status}", "timestamp": ended.completed_at, "data": data}


def _remembered(ended: Ended) -> dict[str, Any]:
    """What is known of a job without its record."""
    names = ("queue", "type", "status", "created_at", "completed_at")
    return {"id": ended.job, **{name: getattr(ended, name) for name in names}, "omitted": ["payload", "result"]}
