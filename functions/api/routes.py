"""The routes: which method and path does what, how a request is read and how its answer is written.

Every answer that is not a success is a problem document (see `problems`), whoever noticed the problem.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple

from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver, Response

from functions.api.http import Request, answer, etag, found_by
from functions.api.job_routes import JobRoutes
from functions.api.operator_routes import OperatorRoutes
from jobline import strict_json
from jobline.documents import encode
from jobline.errors import MethodNotAllowed, NotFound, Unavailable
from jobline.listing import parse_listing
from jobline.log import Log
from jobline.operations import Operations
from jobline.problems import MEDIA_TYPE, problem
from jobline.request import parse_request
from jobline.service import Service

_LONGEST_PATH_TOLD: Final = 200


class Route(NamedTuple):
    """One route: a method, a path with `<names>`, and what answers it, given the names' values."""

    method: str
    path: str
    answer: Callable[..., Response[str]]


class Api:
    """The HTTP API over a `Service`, behind API Gateway's HTTP API (payload format 2.0)."""

    def __init__(self, service: Service, operations: Operations, *, stage: str, log: Log) -> None:
        self._service = service
        self._operations = operations
        self._stage = stage
        self._log = log
        self._app = APIGatewayHttpResolver()
        self._request = Request(self._app)
        self._jobs = JobRoutes(service, self._request, log)
        self.routes = self._routes()
        for route in self.routes:
            self._app.route(route.path, method=route.method)(route.answer)
        self._app.not_found(self._no_route)
        self._app.exception_handler(Exception)(self._failed)

    def handle(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """The answer to one request, in API Gateway's shape (payload format 2.0)."""
        try:
            return self._app.resolve(event, context)
        except Exception as error:
            # Not even the router could read it; the caller gets the same kind of answer all the same.
            request_id = str(event.get("requestContext", {}).get("requestId", ""))
            self._log.error("the event could not be read", request_id=request_id, exc_info=error)
            told = problem(error, request_id)
            headers = {"Content-Type": MEDIA_TYPE}
            return {"statusCode": told.status, "headers": headers, "body": encode(told.document), "isBase64Encoded": False}

    def _routes(self) -> tuple[Route, ...]:
        of_jobs = (
            ("POST", "/jobs", self._enqueue),
            ("POST", "/jobs/batch", self._jobs.enqueue_many),
            ("POST", "/uploads", self._jobs.start_upload),
            ("GET", "/jobs", self._list),
            ("GET", "/jobs/<id>", self._jobs.show),
            ("GET", "/jobs/<id>/events", self._jobs.events),
            ("GET", "/jobs/<id>/why", self._jobs.why),
            ("PATCH", "/jobs/<id>", self._jobs.reschedule),
            ("DELETE", "/jobs/<id>", self._cancel),
            ("POST", "/jobs/<id>/retry", self._retry),
            ("POST", "/jobs/<id>/replay", self._jobs.replay),
        )
        return (
            *(Route(*route) for route in of_jobs),
            # The same under a queue's own path, so that an IAM policy can grant one queue.
            *(Route(method, f"/queues/<queue>{path}", answer) for method, path, answer in of_jobs),
            Route("GET", "/queues", self._queues),
            Route("GET", "/queues/<queue>", self._queue),
            Route("GET", "/queues/<queue>/stats", self._stats),
            *(Route(*route) for route in OperatorRoutes(self._service, self._operations, self._request).routes()),
            Route("GET", "/types", self._types),
            Route("GET", "/health", self._health),
        )

    # ------------------------------------------------------------------------------------------------ jobs

    def _enqueue(self, queue: str | None = None) -> Response[str]:
        self._request.refuse_query("wait")
        wait = self._request.wait
        if queue is not None:
            self._service.queue(queue)
        request = parse_request(strict_json.parse(self._request.body()), queue=queue, key=self._request.header("idempotency-key"))
        request = replace(request, traceparent=self._request.traceparent)
        job, document, found = self._service.enqueue(request, op=self._request.id)
        # Relative to the request's own path, since a stage's name may stand before it (RFC 9110 section 10.2.2).
        headers = {"Location": f"jobs/{job.id}"} | found_by(found)
        if wait is not None:
            job = self._service.until_over(job, wait)
            return self._jobs.answer(200 if job.over else 202, job, headers)
        return answer(202 if found is None else 200, document, headers | {"ETag": etag(job)})

    def _list(self, queue: str | None = None) -> Response[str]:
        listing, cursor = parse_listing(self._request.query, queue=queue)
        return answer(200, self._service.page(listing, cursor))

    def _cancel(self, id: str, queue: str | None = None) -> Response[str]:
        self._request.refuse_query()
        return answer(200, self._service.cancel(self._service.find(id, queue=queue), op=self._request.id))

    def _retry(self, id: str, queue: str | None = None) -> Response[str]:
        self._request.refuse_query()
        self._request.refuse_body("A retry")
        key = self._request.header("idempotency-key")
        op = self._request.id if key is None else f"retry {key}"[:200]
        return self._jobs.answer(202, self._service.retry(self._service.find(id, queue=queue), op=op))

    # ------------------------------------------------------------------------------------------------ queues and types

    def _queues(self) -> Response[str]:
        self._request.refuse_query()
        queues = [queue for _, queue in sorted(self._service.definitions.queues.items())]
        paused = self._operations.paused(queues)
        return answer(200, {"queues": [self._service.describe_queue(queue) | {"paused": paused[queue.name]} for queue in queues]})

    def _queue(self, queue: str) -> Response[str]:
        self._request.refuse_query()
        return answer(200, self._service.describe_queue(self._service.queue(queue)) | {"stats": self._service.queue_stats(queue)})

    def _stats(self, queue: str) -> Response[str]:
        self._request.refuse_query()
        return answer(200, self._service.queue_stats(queue))

    def _types(self) -> Response[str]:
        self._request.refuse_query()
        return answer(200, {"types": self._service.describe_types()})

    def _health(self) -> Response[str]:
        return answer(200, {"status": "ok", "stage": self._stage})

    # ------------------------------------------------------------------------------------------------ problems

    def _no_route(self, error: Exception) -> Response[str]:
        method, path = self._request.method, self._request.path[:_LONGEST_PATH_TOLD]
        allowed = sorted({route.method for route in self.routes if re.fullmatch(re.sub("<.*?>", "[^/]+", route.path), path)})
        if allowed:
            return self._failed(MethodNotAllowed(f"{path} does not take {method}; it takes {', '.join(allowed)}.", allow=allowed))
        return self._failed(NotFound(f"There is no route {method} {path}."))

    def _failed(self, error: Exception) -> Response[str]:
        told = problem(error, self._request.id)
        if told.ours:
            self._log.error("the request failed", request_id=self._request.id, exc_info=error)
        elif isinstance(error, Unavailable):
            self._log.warning("AWS did not take a call", request_id=self._request.id, detail=error.detail)
        return Response(told.status, MEDIA_TYPE, encode(told.document), told.headers)
