"""The enqueue request: what `POST /jobs` takes, checked field by field, and the job that it becomes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from jobline.definitions import Definitions, Queue
from jobline.errors import FieldProblem, InvalidJob, InvalidRequest, UnknownQueue, UnknownType
from jobline.fields import ENQUEUE_FIELDS, LONGEST_DELAY, near, read_fields
from jobline.job import FAR_FUTURE, Job, Status
from jobline.locks import Lock, Unique, lock_of
from jobline.retry import RetryPolicy
from jobline.strict_json import Document
from jobline.transitions import enqueued
from jobline.types import TypeInfo, Types

DEFAULT_PRIORITY: Final = 5
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueRequest:
    """A request whose fields are each right by themselves; `None` is what the client left to the type, the queue or the default."""

    queue: str
    type: str
    payload: Any = None
    """The payload's value, to be checked against its type."""
    payload_text: str = "{}"
    """The payload as the client wrote it; an empty object when it was left out."""
    payload_ref: str | None = None
    """The id of an upload that is the payload: a larger one, checked by the worker alone."""
    payload_copy: str | None = None
    """Reference to another job's payload in S3, which is to be this one's too."""
    priority: int = DEFAULT_PRIORITY
    delay: timedelta | None = None
    scheduled_at: datetime | None = None
    """At most one of `delay` and `scheduled_at` is given."""
    max_attempts: int | None = None
    retry: RetryPolicy | None = None
    timeout: int | None = None
    """Seconds."""
    expires_in: int | None = None
    """Seconds from now."""
    idempotency_key: str | None = None
    group: str | None = None
    ordering_key: str | None = None
    tags: tuple[str, ...] = ()
    unique: Unique | None = None
    callback_url: str | None = None
    reply_to: str | None = None
    internal: bool = False
    """Whether Jobline itself asks: its own queue takes nobody else's jobs, since they may touch any queue."""
    traceparent: str | None = None
    """The caller's W3C trace context."""
    occurrence: str | None = None
    """The run of a schedule that asks for it (see `occurrence`)."""
    batch_id: str | None = None
    """The batch that asks for it as one of its members."""
    hash: str = ""
    """128 bits of SHA-256, in hex, over the canonical request: equal for equal requests, however they were written. An upload's id is
    left out: see `hash_with`."""

    def hash_with(self, payload_sha256: str) -> str:
        """The request's hash when its payload is an upload of that content: the same for the same content uploaded again."""
        return hashlib.sha256(f"{self.hash} {payload_sha256}".encode()).hexdigest()[:32]

    @property
    def is_apart(self) -> bool:
        """Whether the payload is in S3 already, so that nobody here has seen it."""
        return self.payload_ref is not None or self.payload_copy is not None


def parse_request(document: Document, *, queue: str | None = None, key: str | None = None) -> EnqueueRequest:
    """The request in a body, where `queue` is the one that the route names, if it does, and `key` the Idempotency-Key header.

    Raises InvalidRequest when the body is no object or names another queue or key than route and header, and InvalidJob with
    every field that is wrong. `null` is the same as leaving a field out, except for `payload`.
    """
    if not isinstance(document.value, dict):
        raise InvalidRequest("The body must be a JSON object.", problems=(FieldProblem("", "must be an object"),))
    body: dict[str, Any] = {name: value for name, value in document.value.items() if value is not None or name == "payload"}
    _same(body, "queue", queue, "the route")
    _same(body, "idempotency_key", key, "the Idempotency-Key header")
    fields, wrong = read_fields(body, ENQUEUE_FIELDS, "")
    wrong += [FieldProblem(f"/{name}", "is missing") for name in ("queue", "type") if name not in body]
    if "payload" in body and "payload_ref" in body:
        wrong.append(FieldProblem("/payload_ref", "cannot be given together with payload"))
    if "delay" in body and "scheduled_at" in body:
        wrong.append(FieldProblem("/scheduled_at", "cannot be given together with delay"))
    policy = fields.get("retry")
    if policy and policy.max_attempts and fields.get("max_attempts", policy.max_attempts) != policy.max_attempts:
        wrong.append(FieldProblem("/retry/max_attempts", f"is {policy.max_attempts}, but max_attempts is {fields['max_attempts']}"))
    if wrong:
        raise InvalidJob.of(wrong)
    text = document.source("payload") if "payload" in body else "{}"
    fields.setdefault("payload", {})
    return EnqueueRequest(**fields, payload_text=text, hash=_hash(body) if "idempotency_key" in body else "")


def given_members(document: Document, *, key: str | None) -> dict[str, Any]:
    """The members of a body that are not null, with the key of the Idempotency-Key header, if there is one.

    Raises InvalidRequest when the body is no object, or names another key than the header.
    """
    if not isinstance(document.value, dict):
        raise InvalidRequest("The body must be a JSON object.", problems=(FieldProblem("", "must be an object"),))
    given = {name: value for name, value in document.value.items() if value is not None}
    _same(given, "idempotency_key", key, "the Idempotency-Key header")
    return given


def admit(request: EnqueueRequest, definitions: Definitions, types: Types, *, id: str, now: datetime) -> Job:
    """The record of the requested job as enqueue would write it, its payload still inline.

    Raises UnknownQueue, UnknownType, or InvalidJob when the payload does not fit its type or a time is more than is allowed.
    """
    queue = definitions.queues.get(request.queue)
    if queue is None:
        theirs = {name: queue for name, queue in definitions.queues.items() if not queue.internal}
        raise UnknownQueue(**_unknown("queue", f"there is no queue {request.queue!r}", request.queue, theirs))
    if queue.internal and not request.internal:
        ways = "POST /batches, /queues/{queue}/purge and /queues/{queue}/redrive"
        raise InvalidJob.of([FieldProblem("/queue", f"is Jobline's own: its jobs are made by {ways}")])
    known = types.of_worker(queue.worker)
    kind = known.get(request.type)
    if kind is None:
        raise UnknownType(**_unknown("type", f"queue {queue.name!r} has no type {request.type!r}", request.type, known))
    due = _due(request, now)
    timeout = request.timeout or kind.timeout or queue.timeout
    wrong = [] if request.is_apart else [*kind.misfits(request.payload, "/payload")]
    wrong += _time_problems(request, queue, timeout, definitions, due, now)
    wrong += _order_problems(request, queue, due, now)
    wrong += _telling_problems(request, definitions)
    if wrong:
        raise InvalidJob.of(wrong)
    retry = _effective_retry(request, kind, queue)
    job = Job(
        id=id,
        queue=queue.name,
        type=request.type,
        status=Status.PENDING,
        created_at=now,
        scheduled_at=due,
        expires_at=FAR_FUTURE if request.expires_in is None else now + request.expires_in * _SECOND,
        expires_in=request.expires_in,
        priority=request.priority,
        max_attempts=retry.max_attempts or queue.max_attempts,
        retry=msgspec.json.encode(retry).decode(),
        timeout=timeout,
        payload=request.payload_text,
        tags=request.tags,
        group=request.group,
        ordering_key=(request.ordering_key or queue.name) if queue.ordered else None,
        traceparent=request.traceparent,
        callback_url=request.callback_url,
        reply_to=request.reply_to,
        occurrence=request.occurrence,
        batch_id=request.batch_id,
        unique=None if request.unique is None else msgspec.json.encode(request.unique).decode(),
        request_hash=request.hash or None,
    )
    return enqueued(job, now=now)


def lock_for(job: Job, request: EnqueueRequest) -> Lock | None:
    """The lock that the requested job takes; `None` when it need not be unique. Raises InvalidJob when the payload makes no key."""
    if request.unique is None:
        return None
    if request.is_apart and request.unique.key is None:
        raise InvalidJob.of([FieldProblem("/unique", "needs a key: the payload was uploaded, and is not read here")])
    try:
        return lock_of(job, request.unique, request.payload)
    except ValueError as error:
        raise InvalidJob.of([FieldProblem("/unique/keys", str(error))]) from None


def _same(body: dict[str, Any], name: str, other: str | None, where: str) -> None:
    """Takes the value that route or header gives; a body that says another one is refused."""
    if other is not None and body.setdefault(name, other) != other:
        raise InvalidRequest(
            f"The body's {name} is not that of {where} ({other!r}).", problems=(FieldProblem(f"/{name}", f"is not that of {where}"),)
        )


def _hash(body: Mapping[str, Any]) -> str:
    # Like RFC 8785, numbers count by value: 0.1 and 1e-1 are one request. Whole numbers keep all their digits.
    canonical = json.dumps(
        {name: value for name, value in body.items() if name not in ("idempotency_key", "payload_ref")},
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def _due(request: EnqueueRequest, now: datetime) -> datetime:
    """When the job is due; a time that has passed means now."""
    return max(now, request.scheduled_at or now + (request.delay or timedelta(0)))


def _time_problems(
    request: EnqueueRequest, queue: Queue, timeout: int, definitions: Definitions, due: datetime, now: datetime
) -> list[FieldProblem]:
    wrong = []
    longest = definitions.workers[queue.worker].longest_job
    if timeout > longest:
        wrong.append(FieldProblem("/timeout", f"is {timeout} s, but a job of worker {queue.worker!r} may take at most {longest} s"))
    if due - now > LONGEST_DELAY:
        wrong.append(FieldProblem("/scheduled_at", "must be at most 1 year from now"))
    if request.expires_in is not None and due >= now + request.expires_in * _SECOND:
        wrong.append(FieldProblem("/expires_in", "ends before the job is due"))
    return wrong


def _order_problems(request: EnqueueRequest, queue: Queue, due: datetime, now: datetime) -> list[FieldProblem]:
    """What an ordered queue cannot keep order with, and what only an ordered queue takes."""
    if not queue.ordered:
        not_here = f"is for ordered queues; queue {queue.name!r} is none"
        return [] if request.ordering_key is None else [FieldProblem("/ordering_key", not_here)]
    refused = {
        "delay" if request.delay else "scheduled_at": due > now,
        "priority": request.priority != DEFAULT_PRIORITY,
        "group": request.group is not None,
    }
    reason = f"is refused by the ordered queue {queue.name!r}: its jobs run in the order in which they came"
    return [FieldProblem(f"/{field}", reason) for field, wrong in refused.items() if wrong]


def _telling_problems(request: EnqueueRequest, definitions: Definitions) -> list[FieldProblem]:
    """What is wrong with where the end of the job is to be told, as far as that shows before it is tried."""
    wrong = []
    if request.reply_to is not None and request.reply_to not in definitions.replies:
        there = f"; there are {', '.join(sorted(definitions.replies))}" if definitions.replies else "; queues.toml declares none"
        sentence = f"there is no reply queue {request.reply_to!r}{near(request.reply_to, definitions.replies) or there}"
        wrong.append(FieldProblem("/reply_to", sentence))
    if request.callback_url is not None:
        # Imported here: few requests have one, and a cold start need not pay for reading URLs.
        from jobline.addresses import Refused, Rules, parse

        try:
            parse(request.callback_url, Rules.of(definitions.stage, definitions.callbacks.port_list))
        except Refused as error:
            wrong.append(FieldProblem("/callback_url", error.detail))
    return wrong


def _effective_retry(request: EnqueueRequest, kind: TypeInfo, queue: Queue) -> RetryPolicy:
    """Field by field: job over type over queue (which has every field)."""
    policy = queue.retry.merged(kind.retry).merged(RetryPolicy(max_attempts=kind.max_attempts))
    return policy.merged(request.retry).merged(RetryPolicy(max_attempts=request.max_attempts))


def _unknown(field: str, sentence: str, given: str, known: Mapping[str, Any]) -> dict[str, Any]:
    detail = sentence + (near(given, known) or f"; there are {', '.join(sorted(known))}" if known else "")
    return {"detail": f"{detail[0].upper()}{detail[1:]}.", "problems": (FieldProblem(f"/{field}", detail),)}
