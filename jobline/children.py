"""Children: the jobs that a running job enqueues, each made once however often its parent's attempts repeat."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobline.bulk import enqueue_many
from jobline.enqueueing import Enqueueing
from jobline.errors import InvalidRequest, UnknownType
from jobline.fields import LONGEST_TIMEOUT
from jobline.job import Job
from jobline.request import EnqueueRequest, parse_request
from jobline.secret_fields import secrets_in
from jobline.strict_json import parse


class Children:
    """Enqueues on behalf of running jobs (see `context.Context.enqueue`)."""

    def __init__(self, enqueueing: Enqueueing) -> None:
        self._enqueueing = enqueueing

    def enqueue(self, parent: Job, mark: str, type: str, queue: str | None, fields: Mapping[str, Any]) -> str:
        """The id of the child that `mark` names among this parent's; it is made unless an earlier attempt has made it.

        `fields` is what `POST /jobs` takes besides queue and type. Without `queue`: the parent's, if that has the type, else the
        only queue that has it. Raises what the API would answer as an error.
        """
        request = _request(parent, mark, {"queue": queue or self._queue_of(type, parent.queue), "type": type, **fields})
        return self._enqueueing.enqueue(request, op=_op(parent), parent=parent).job.id

    def enqueue_many(
        self, parent: Job, type: str, queue: str | None, children: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, str | InvalidRequest]:
        """For each mark the id of its child, or why there can be none; as `enqueue` for each, in as few calls of AWS as it can.

        Raises what kept a child from being made now; the others are made all the same.
        """
        name = queue or self._queue_of(type, parent.queue)
        requests = [_request_or_error(parent, mark, {"queue": name, "type": type, **fields}) for mark, fields in children.items()]
        return dict(zip(children, self.make(parent, requests), strict=True))

    def make(self, parent: Job, requests: Sequence[EnqueueRequest | InvalidRequest]) -> list[str | InvalidRequest]:
        """For each request, whose idempotency key says which child it is, the child's id or why there can be none.

        Raises what kept a child from being made now; the others are made all the same.
        """
        # Nobody waits for an answer here: the attempt has a deadline of its own.
        outcomes = enqueue_many(self._enqueueing, requests, op=_op(parent), parent=parent, longest=LONGEST_TIMEOUT)
        made: list[str | InvalidRequest] = []
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, InvalidRequest):
                raise outcome
            made.append(outcome if isinstance(outcome, InvalidRequest) else outcome.job.id)
        return made

    def secrets_of(self, request: EnqueueRequest) -> list[str]:
        """The secrets in the request's payload, by its type as it is deployed now."""
        queue = self._enqueueing.definitions.queues.get(request.queue)
        kind = None if queue is None else self._enqueueing.types.find(queue.worker, request.type)
        return secrets_in(request.payload, kind.schema) if kind is not None and kind.secret else []

    def _queue_of(self, type: str, own: str) -> str:
        definitions, types = self._enqueueing.definitions, self._enqueueing.types
        names = [queue.name for queue in definitions.queues.values() if type in types.of_worker(queue.worker)]
        if own in names:
            return own
        if len(names) != 1:
            raise UnknownType(f"type {type!r} can go to {', '.join(sorted(names)) or 'no queue'}: say queue=")
        return names[0]


def _request(parent: Job, mark: str, body: Mapping[str, Any]) -> EnqueueRequest:
    text = json.dumps(body, allow_nan=False, ensure_ascii=False)
    request = parse_request(parse(text.encode("utf-8", "surrogatepass")), key=f"{parent.id}{mark}")
    # Without the request's hash: an attempt may say other things than the one before, and the mark alone says which child it is.
    return replace(request, hash="")


def _request_or_error(parent: Job, mark: str, body: Mapping[str, Any]) -> EnqueueRequest | InvalidRequest:
    try:
        return _request(parent, mark, body)
    except InvalidRequest as error:
        return error


def _op(parent: Job) -> str:
    return f"{parent.id}/{parent.token}"
