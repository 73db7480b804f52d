"""The routes of operators: what is done to a whole queue. Each is a route of its own, so that IAM can grant it apart from the rest."""

from __future__ import annotations

from aws_lambda_powertools.event_handler.api_gateway import Response

from functions.api.http import BLANK, Request, answer, etag, found_by
from jobline import strict_json
from jobline.operations import Kind, Operations
from jobline.service import Service


class OperatorRoutes:
    """Pause and resume, purge and redrive."""

    def __init__(self, service: Service, operations: Operations, request: Request) -> None:
        self._service = service
        self._operations = operations
        self._request = request

    def pause(self, queue: str) -> Response[str]:
        return self._switch(queue, "A pause", paused=True)

    def resume(self, queue: str) -> Response[str]:
        return self._switch(queue, "A resumption", paused=False)

    def _switch(self, queue: str, what: str, *, paused: bool) -> Response[str]:
        self._request.refuse_query()
        self._request.refuse_body(what)
        return answer(200, self._operations.pause(self._service.queue(queue), paused=paused))

    def purge(self, queue: str) -> Response[str]:
        return self._start(queue, "purge")

    def redrive(self, queue: str) -> Response[str]:
        return self._start(queue, "redrive")

    def _start(self, name: str, kind: Kind) -> Response[str]:
        self._request.refuse_query()
        queue = self._service.queue(name)
        body = strict_json.parse(self._request.body().strip(BLANK) or b"{}")
        key = self._request.header("idempotency-key")
        job, found = self._operations.start(kind, queue, body, key=key, op=self._request.id)
        # Relative to the request's own path, .../queues/<queue>/purge (RFC 9110 section 10.2.2).
        headers = {"Location": f"../../jobs/{job.id}", "ETag": etag(job)} | found_by(found)
        return answer(202 if found is None else 200, self._service.document(job), headers)
