"""The routes of schedules. What is behind them is imported when one is asked for: who enqueues a job does not pay for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aws_lambda_powertools.event_handler.api_gateway import Response

from functions.api.http import Request, answer, etag, found_by
from jobline import strict_json
from jobline.listing import parse_limit
from jobline.service import Service

if TYPE_CHECKING:
    from jobline.schedule import Schedule
    from jobline.scheduling import Scheduling


class ScheduleRoutes:
    """Create, show, list, pause, resume, run and delete schedules."""

    def __init__(self, service: Service, scheduling: Callable[[], Scheduling], request: Request) -> None:
        self._service = service
        self._scheduling = scheduling
        self._request = request

    def put(self, name: str) -> Response[str]:
        self._request.refuse_query()
        expected = self._request.expected
        schedule, is_new = self._scheduling().put(name, strict_json.parse(self._request.body()), expected=expected)
        return self._answer(201 if is_new else 200, schedule)

    def show(self, name: str) -> Response[str]:
        self._request.refuse_query()
        scheduling = self._scheduling()
        schedule = scheduling.find(name)
        if self._request.knows(schedule.tag):
            return Response(304, body="", headers={"ETag": f'"{schedule.tag}"'})
        return answer(200, scheduling.document(schedule, last_run=True), {"ETag": f'"{schedule.tag}"'})

    def page(self) -> Response[str]:
        self._request.refuse_query("limit", "cursor")
        query = self._request.query
        return answer(200, self._scheduling().page(parse_limit(query), query.get("cursor")))

    def delete(self, name: str) -> Response[str]:
        self._request.refuse_query()
        self._scheduling().delete(name, expected=self._request.expected)
        return answer(200, {"deleted": True})

    def pause(self, name: str) -> Response[str]:
        return self._switch(name, "A pause", paused=True)

    def resume(self, name: str) -> Response[str]:
        return self._switch(name, "A resumption", paused=False)

    def _switch(self, name: str, what: str, *, paused: bool) -> Response[str]:
        self._request.refuse_query()
        self._request.refuse_body(what)
        return self._answer(200, self._scheduling().switch(name, paused=paused))

    def run(self, name: str) -> Response[str]:
        self._request.refuse_query()
        self._request.refuse_body("A run")
        job, found = self._scheduling().run(name, key=self._request.header("idempotency-key"), op=self._request.id)
        # Relative to the request's own path, .../schedules/<name>/run (RFC 9110 section 10.2.2).
        headers = {"Location": f"../../jobs/{job.id}", "ETag": etag(job)} | found_by(found)
        return answer(202 if found is None else 200, self._service.document(job), headers)

    def _answer(self, status: int, schedule: Schedule) -> Response[str]:
        return answer(status, self._scheduling().document(schedule), {"ETag": f'"{schedule.tag}"'})
