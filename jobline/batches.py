"""Batches as clients ask for them and see them: what `POST /batches` takes, the job that it becomes, and the batch as it stands.

Everything in the request is checked before anything is made: one job that is wrong, and there is no batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from jobline.batch import (
    BATCH,
    CALLBACKS,
    GONE,
    LONGEST_NAME,
    MOST_MEMBERS,
    NAMES,
    Standing,
    is_batch,
    member_ids,
    members_of,
    read_batch,
    read_standing,
)
from jobline.definitions import OPERATIONS
from jobline.errors import BatchNotFound, FieldProblem, InvalidJob, InvalidRequest, JobNotFound
from jobline.fields import ENQUEUE_FIELDS, Reader, read_fields
from jobline.job import Job, Status
from jobline.request import EnqueueRequest, admit, given_members, parse_request
from jobline.schema import MOST_PROBLEMS
from jobline.service import Service
from jobline.strict_json import Document
from jobline.times import format_instant

REFUSED: Final[Mapping[str, str]] = {
    "idempotency_key": "cannot be given in a batch: the batch itself may have one",
    "unique": "cannot be given in a batch: what another job may hold back or replace cannot be waited for",
    "payload_ref": "cannot be given in a batch: an upload may be gone when the job is made",
}
"""Fields of `POST /jobs` that no job of a batch may have."""
UNMADE: Final = "unmade"
"""What a member is called that is not there yet."""
STATUSES: Final = (*(status.value for status in Status), UNMADE, NAMES[GONE])
"""What a member can be."""
BATCH_STATUSES: Final = ("open", "complete", "cancelled", "dead")


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME or not value.isprintable():
        raise ValueError(f"must be 1 to {LONGEST_NAME} printable characters")
    return value


def _jobs(value: Any) -> list[Any]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_MEMBERS:
        raise ValueError(f"must be an array of 1 to {MOST_MEMBERS} jobs")
    return value


FIELDS: Final[Mapping[str, Reader]] = {
    "jobs": _jobs,
    **dict.fromkeys(CALLBACKS, lambda value: value),
    "name": _name,
    "idempotency_key": ENQUEUE_FIELDS["idempotency_key"],
}


class Answered(NamedTuple):
    """What a request for a batch is answered with."""

    job: Job
    """The batch's own."""
    document: dict[str, Any]
    replayed: bool
    """Whether an earlier request with the same key made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """The use cases of batches."""

    service: Service

    def start(self, body: Document, *, key: str | None, op: str, traceparent: str | None = None) -> Answered:
        """The batch of this request; the one that the same idempotency key made before.

        Raises InvalidRequest when the body is no object, InvalidJob with the places that are wrong (at most 20), and IdempotencyKeyReused.
        """
        request = self._request(body, key, traceparent)
        job, found = self.service.enqueueing.enqueue(request, op=op)
        return Answered(job, self.document(job, text=request.payload_text if found is None else None), found is not None)

    def find(self, id: str) -> Job:
        """The job of the batch of this id, or of the beginning of one that no other has. Raises BatchNotFound and AmbiguousId."""
        try:
            job = self.service.find(id, queue=OPERATIONS)
        except JobNotFound:
            job = None
        if job is None or not is_batch(job):
            raise BatchNotFound(f"There is no batch {id[:40]}.")
        return job

    def document(self, job: Job, *, text: str | None = None) -> dict[str, Any]:
        """The batch as the API answers it: at most five reads of members, a hundred in each.

        `text` is the payload of one that was made just now, so that nothing need be read.
        """
        batch = read_batch(text or self.service.bodies.load(job.payload, job.payload_ref) or "null")
        standing, members = read_standing(job), members_of(batch)
        ids = member_ids(job, members)
        found = {} if text is not None else self.service.store.get_many(ids)
        now = self.service.now()
        statuses = [_status(number, found.get(id), standing, now) for number, id in enumerate(ids)]
        over = json.loads(self.service.bodies.load(job.result, job.result_ref) or "null") or {}
        return {
            "id": job.id,
            "name": batch.name or None,
            "status": _BATCH_STATUS.get(job.status, "open"),
            "error": job.error,
            "total": len(ids),
            "counts": dict.fromkeys(STATUSES, 0) | (standing.counts or _counted(statuses)),
            "created_at": format_instant(job.created_at),
            "completed_at": None if job.completed_at is None else format_instant(job.completed_at),
            **{name: over.get(name) or (standing.on_dead or None if name == "on_dead" else None) for name in CALLBACKS},
            "jobs": [
                {"id": id, "queue": member.queue, "type": member.type, "status": status}
                for id, member, status in zip(ids, members, statuses, strict=True)
            ],
        }

    # ------------------------------------------------------------------------------------------------ the request

    def _request(self, body: Document, key: str | None, traceparent: str | None) -> EnqueueRequest:
        """The request for the batch's own job."""
        given = given_members(body, key=key)
        fields, wrong = read_fields(given, FIELDS, "")
        if "jobs" not in given:
            wrong.append(FieldProblem("/jobs", "is missing"))
        if "jobs" in fields:
            wrong += self._wrong_jobs([(f"/jobs/{number}", each) for number, each in enumerate(body.elements("jobs"))])
        wrong += self._wrong_jobs([(f"/{name}", body.member(name)) for name in CALLBACKS if name in fields])
        if wrong:
            raise InvalidJob.of(wrong[:MOST_PROBLEMS])
        key = fields.pop("idempotency_key", None)
        # As it was written: what a job of the batch is given is byte for byte what was sent.
        text = "{" + ",".join(f'"{name}":{body.source(name)}' for name in fields) + "}"
        return EnqueueRequest(
            queue=OPERATIONS,
            type=BATCH,
            payload=fields,
            payload_text=text,
            # Apart from the keys of purges and redrives, and of replays: a client's own has no blank.
            idempotency_key=None if key is None else f"batch {key}",
            internal=True,
            traceparent=traceparent,
            hash="" if key is None else _hash(fields),
        )

    def _wrong_jobs(self, jobs: Sequence[tuple[str, Document]]) -> list[FieldProblem]:
        """What is wrong with these jobs, each at its place in the request."""
        wrong: list[FieldProblem] = []
        for place, document in jobs:
            if len(wrong) >= MOST_PROBLEMS:
                break
            wrong += [FieldProblem(f"{place}{each['pointer']}", each["detail"]) for each in self._wrong_with(document)]
        return wrong

    def _wrong_with(self, document: Document) -> list[FieldProblem]:
        given = document.value if isinstance(document.value, dict) else {}
        if refused := [FieldProblem(f"/{name}", reason) for name, reason in REFUSED.items() if given.get(name) is not None]:
            return refused
        service = self.service
        try:
            admit(parse_request(document), service.definitions, service.types, id="", now=service.now())
        except InvalidRequest as error:
            return list(error.problems) or [FieldProblem("", error.detail)]
        return []


_BATCH_STATUS: Final[Mapping[Status, str]] = {
    Status.DONE: "complete",
    Status.CANCELLED: "cancelled",
    Status.DEAD: "dead",
}
"""Of the batch, by the status of its own job; any other is `open`."""


def _status(number: int, job: Job | None, standing: Standing, now: datetime) -> str:
    """What a member is; of one whose record is gone, what was seen of it last."""
    if job is not None and not job.gone(now):
        return job.status.value
    if number >= standing.made:
        return UNMADE
    return NAMES.get(standing.seen[number : number + 1], NAMES[GONE])


def _counted(statuses: Sequence[str]) -> dict[str, int]:
    return {status: statuses.count(status) for status in set(statuses)}


def _hash(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{BATCH} {text}".encode()).hexdigest()[:32]
