"""The API: what answers each route of the table (`api_routes`), how a request is read and how its answer is written.

Every answer that is not a success is a problem document (see `problems`), whoever noticed the problem.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver, Response

from functions.api.batch_routes import BatchRoutes
from functions.api.http import Request, answer, etag, found_by
from functions.api.job_routes import JobRoutes
from functions.api.operator_routes import OperatorRoutes
from functions.api.schedule_routes import ScheduleRoutes
from functions.api.topic_routes import TopicRoutes
from jobline import strict_json
from jobline.api_routes import ROUTES
from jobline.documents import encode
from jobline.errors import MethodNotAllowed, NotFound, Unavailable
from jobline.listing import parse_listing
from jobline.log import Log
from jobline.operations import Operations
from jobline.problems import MEDIA_TYPE, problem
from jobline.redaction import Redactor
from jobline.request import parse_request
from jobline.service import Service

if TYPE_CHECKING:
    from jobline.publishing import Publishing
    from jobline.scheduling import Scheduling

_LONGEST_PATH_TOLD: Final = 200


class Api:
    """The HTTP API over a `Service`, behind API Gateway's HTTP API (payload format 2.0)."""

    def __init__(
        self,
        service: Service,
        operations: Operations,
        scheduling: Callable[[], Scheduling],
        publishing: Callable[[], Publishing],
        *,
        stage: str,
        log: Log,
        redactor: Redactor,
        read_contract: Callable[[], str],
    ) -> None:
        """`redactor` is told what `log` must not say; `read_contract` reads the OpenAPI document (JSON), when it is asked for; so with
        `scheduling` and `publishing`, which need more than jobs do.
        """
        self._service = service
        self._operations = operations
        self._stage = stage
        self._log = log
        self._read_contract = read_contract
        self._app = APIGatewayHttpResolver()
        self._request = Request(self._app, service, redactor)
        self._jobs = JobRoutes(service, self._request, log)
        self._operators = OperatorRoutes(service, operations, self._request)
        self._schedules = ScheduleRoutes(service, scheduling, self._request)
        self._topics = TopicRoutes(service, publishing, self._request)
        self._batches = BatchRoutes(service, self._request)
        answers = self._answers()
        for route in ROUTES:
            # A path that is one route's own word for word is no other route's with a parameter: what that takes is refused here.
            for method in _matching_methods(route.path) - set(_methods(route.path)):
                self._app.route(route.path.replace("{", "<").replace("}", ">"), method=method)(lambda **_: self._no_route(NotFound()))
            self._app.route(route.path.replace("{", "<").replace("}", ">"), method=route.method)(answers[route.does])
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

    def _answers(self) -> dict[str, Callable[..., Response[str]]]:
        """What answers each route, by what it does; it is given the values of the path's parameters."""
        return {
            "enqueue": self._enqueue,
            "enqueue_many": self._jobs.enqueue_many,
            "start_upload": self._jobs.start_upload,
            "list_jobs": self._list,
            "get_job": self._jobs.show,
            "list_events": self._jobs.events,
            "explain_job": self._jobs.why,
            "reschedule": self._jobs.reschedule,
            "cancel": self._cancel,
            "retry": self._retry,
            "replay": self._jobs.replay,
            "start_batch": self._batches.start,
            "get_batch": self._batches.show,
            "list_queues": self._queues,
            "get_queue": self._queue,
            "get_stats": self._stats,
            "pause": self._operators.pause,
            "resume": self._operators.resume,
            "purge": self._operators.purge,
            "redrive": self._operators.redrive,
            "list_schedules": self._schedules.page,
            "get_schedule": self._schedules.show,
            "put_schedule": self._schedules.put,
            "delete_schedule": self._schedules.delete,
            "pause_schedule": self._schedules.pause,
            "resume_schedule": self._schedules.resume,
            "run_schedule": self._schedules.run,
            "list_topics": self._topics.page,
            "get_topic": self._topics.show,
            "publish": self._topics.publish,
            "get_subscription": self._topics.get,
            "put_subscription": self._topics.put,
            "delete_subscription": self._topics.delete,
            "list_types": self._types,
            "get_openapi": self._contract,
            "get_health": self._health,
        }

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
        self._request.refuse_unclear_query()
        listing, cursor = parse_listing(self._request.query, queue=queue)
        return answer(200, self._service.page(listing, cursor))

    def _cancel(self, id: str, queue: str | None = None) -> Response[str]:
        self._request.refuse_query()
        return answer(200, self._service.cancel(self._service.find(id, queue=queue), op=self._request.id))

    def _retry(self, id: str, queue: str | None = None) -> Response[str]:
        self._request.refuse_query()
        self._request.refuse_body("A retry")
        key = self._request.idempotency_key
        op = self._request.id if key is None else f"retry {key}"
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

    def _contract(self) -> Response[str]:
        self._request.refuse_query()
        document = self._read_contract()
        tag = hashlib.sha256(document.encode()).hexdigest()[:32]
        headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}
        if self._request.knows(tag):
            return Response(304, body="", headers=headers)
        return Response(200, "application/json", document, headers)

    def _health(self) -> Response[str]:
        self._request.refuse_query()
        return answer(200, {"status": "ok", "stage": self._stage})

    # ------------------------------------------------------------------------------------------------ problems

    def _no_route(self, error: Exception) -> Response[str]:
        method, path = self._request.method, quote(self._request.path, safe="/:@!$&'()*+,;= ")[:_LONGEST_PATH_TOLD]
        allowed = _methods(self._request.path)
        if allowed and method not in allowed:  # else a parameter has characters that no name and no id has
            return self._failed(MethodNotAllowed(f"{path} does not take {method}; it takes {', '.join(allowed)}.", allow=allowed))
        return self._failed(NotFound(f"There is no route {method} {path}."))

    def _failed(self, error: Exception) -> Response[str]:
        told = problem(error, self._request.id)
        if told.ours:
            with self._request.secrets_hidden():
                self._log.error("the request failed", request_id=self._request.id, exc_info=error)
        elif isinstance(error, Unavailable):
            self._log.warning("AWS did not take a call", request_id=self._request.id, detail=error.detail)
        return Response(told.status, MEDIA_TYPE, encode(told.document), told.headers)


def _matching_methods(path: str) -> set[str]:
    return {route.method for route in ROUTES if re.fullmatch(re.sub("{.*?}", "[^/]+", route.path), path)}


def _methods(path: str) -> list[str]:
    """The methods that a path takes; one that is a route's own word for word is no other route's with a parameter."""
    matching = [route for route in ROUTES if re.fullmatch(re.sub("{.*?}", "[^/]+", route.path), path)]
    fewest = min((route.path.count("{") for route in matching), default=0)
    return sorted({route.method for route in matching if route.path.count("{") == fewest})
