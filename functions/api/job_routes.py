"""The routes of jobs that more is behind than a call of the service: each reads its request and answers it."""

from __future__ import annotations

from typing import Any, Final

from aws_lambda_powertools.event_handler.api_gateway import Response

from functions.api.http import Request, answer, etag, found_by
from jobline import strict_json
from jobline.bulk import Outcome, enqueue_many, parse_requests
from jobline.errors import InvalidRequest
from jobline.job import Job
from jobline.log import Log
from jobline.problems import problem
from jobline.replays import replay
from jobline.rescheduling import parse_changes, reschedule
from jobline.service import Service
from jobline.timeline import timeline_document
from jobline.uploads import parse_upload, start_upload

_FOUND_BY: Final = {"idempotency_key": "replayed", "unique": "returned"}
"""What a job of a batch says when it was there already: by which of its keys it was found."""


class JobRoutes:
    """Answers what is asked of jobs, under `/jobs/<id>` and under its queue's own path alike."""

    def __init__(self, service: Service, request: Request, log: Log) -> None:
        self._service = service
        self._request = request
        self._log = log

    def answer(self, status: int, job: Job, headers: dict[str, str] | None = None) -> Response[str]:
        """The whole job, with its entity tag."""
        return answer(status, self._service.document(job), {"ETag": etag(job)} | (headers or {}))

    def enqueue_many(self, queue: str | None = None) -> Response[str]:
        self._request.refuse_query()
        if queue is not None:
            self._service.queue(queue)
        if self._request.header("idempotency-key") is not None:
            raise InvalidRequest("A batch takes no Idempotency-Key header: give each of its jobs an idempotency_key.")
        requests = parse_requests(strict_json.parse(self._request.body()), queue=queue)
        outcomes = enqueue_many(self._service.enqueueing, requests, op=self._request.id)
        return answer(200, {"items": [self._item(outcome) for outcome in outcomes]})

    def start_upload(self, queue: str | None = None) -> Response[str]:
        self._request.refuse_query()
        if queue is not None:
            self._service.queue(queue)
        return answer(201, start_upload(self._service, parse_upload(strict_json.parse(self._request.body()))))

    def _item(self, outcome: Outcome) -> dict[str, Any]:
        """One job of a batch as it is answered: its status, and the job as lists have it or the problem."""
        if isinstance(outcome, Exception):
            told = problem(outcome, self._request.id)
            if told.ours:
                with self._request.secrets_hidden():
                    self._log.error("a job of a batch failed", request_id=self._request.id, exc_info=outcome)
            return {"status": told.status, "problem": told.document}
        job = self._service.short_document(outcome.job)
        return {"status": 202, "job": job} if outcome.found is None else {"status": 200, "job": job, _FOUND_BY[outcome.found]: True}

    def show(self, id: str, queue: str | None = None) -> Response[str]:
        self._request.refuse_query("wait")
        wait = self._request.wait
        job = self._service.find(id, queue=queue)
        if wait is not None:
            job = self._service.until_over(job, wait)
        if self._request.knows(str(job.rev)):
            # Not null: API Gateway documents `body` as text.
            return Response(304, body="", headers={"ETag": etag(job)})
        return self.answer(200 if wait is None or job.over else 202, job)

    def why(self, id: str, queue: str | None = None) -> Response[str]:
        self._request.refuse_query()
        job = self._service.find(id, queue=queue)
        return answer(200, self._service.why(job).document(job))

    def events(self, id: str, queue: str | None = None) -> Response[str]:
        self._request.refuse_query()
        job = self._service.find(id, queue=queue)
        return answer(200, timeline_document(job, now=self._service.now()), {"ETag": etag(job)})

    def replay(self, id: str, queue: str | None = None) -> Response[str]:
        self._request.refuse_query()
        self._request.refuse_body("A replay")
        job = self._service.find(id, queue=queue)
        made, document, found = replay(self._service, job, key=self._request.header("idempotency-key"), op=self._request.id)
        # Relative to the request's own path, .../jobs/<id>/replay (RFC 9110 section 10.2.2).
        headers = {"Location": f"../{made.id}", "ETag": etag(made)} | found_by(found)
        return answer(202 if found is None else 200, document, headers)

    def reschedule(self, id: str, queue: str | None = None) -> Response[str]:
        self._request.refuse_query()
        changes, expected = parse_changes(strict_json.parse(self._request.body())), self._request.if_match
        job = self._service.find(id, queue=queue)
        return self.answer(200, reschedule(self._service, job, changes, op=self._request.id, expected=expected))
