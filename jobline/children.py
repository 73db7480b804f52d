"""Children: the jobs that a running job enqueues, each made once however often its parent's attempts repeat."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jobline.enqueueing import Enqueueing
from jobline.errors import UnknownType
from jobline.job import Job
from jobline.request import parse_request
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
        body = {"queue": queue or self._queue_of(type, parent.queue), "type": type, **fields}
        text = json.dumps(body, allow_nan=False, ensure_ascii=False)
        request = parse_request(parse(text.encode("utf-8", "surrogatepass")), key=f"{parent.id}{mark}")
        # Without the request's hash: an attempt may say other things than the one before, and the mark alone says which child it is.
        request = replace(request, hash="")
        return self._enqueueing.enqueue(request, op=f"{parent.id}/{parent.token}", parent=parent).job.id

    def _queue_of(self, type: str, own: str) -> str:
        definitions, types = self._enqueueing.definitions, self._enqueueing.types
        names = [queue.name for queue in definitions.queues.values() if type in types.of_worker(queue.worker)]
        if own in names:
            return own
        if len(names) != 1:
            raise UnknownType(f"type {type!r} can go to {', '.join(sorted(names)) or 'no queue'}: say queue=")
        return names[0]
