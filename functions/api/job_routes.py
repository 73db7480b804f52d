"""The routes of one job that more is behind than a call of the service: each reads its request and answers it."""

from __future__ import annotations

from aws_lambda_powertools.event_handler.api_gateway import Response

from functions.api.http import Request, answer, etag, found_by
from jobline import strict_json
from jobline.job import Job
from jobline.replays import replay
from jobline.rescheduling import parse_changes, reschedule
from jobline.service import Service
from jobline.timeline import timeline_document


class JobRoutes:
    """Answers what is asked of one job, under `/jobs/<id>` and under its queue's own path alike."""

    def __init__(self, service: Service, request: Request) -> None:
        self._service = service
        self._request = request

    def answer(self, status: int, job: Job, headers: dict[str, str] | None = None) -> Response[str]:
        """The whole job, with its entity tag."""
        return answer(status, self._service.document(job), {"ETag": etag(job)} | (headers or {}))

    def show(self, id: str, queue: str | None = None) -> Response[str]:
        self._request.refuse_query("wait")
        wait = self._request.wait
        job = self._service.find(id, queue=queue)
        if wait is not None:
            job = self._service.until_over(job, wait)
        if self._request.knows(job):
            return Response(status_code=304, headers={"ETag": etag(job)})
        return self.answer(200 if wait is None or job.over else 202, job)

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
