"""The routes of batches. What is behind them is imported when one is asked for: who enqueues a job does not pay for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_lambda_powertools.event_handler.api_gateway import Response

from functions.api.http import Request, answer
from jobline import strict_json
from jobline.service import Service

if TYPE_CHECKING:
    from jobline.batches import Batches


class BatchRoutes:
    """Make a batch and show it."""

    def __init__(self, service: Service, request: Request) -> None:
        self._service = service
        self._request = request

    @property
    def _batches(self) -> Batches:
        from jobline.batches import Batches

        return Batches(service=self._service)

    def start(self) -> Response[str]:
        self._request.refuse_query()
        started = self._batches.start(
            strict_json.parse(self._request.body()),
            key=self._request.header("idempotency-key"),
            op=self._request.id,
            traceparent=self._request.traceparent,
        )
        # Relative to the request's own path, since a stage's name may stand before it (RFC 9110 section 10.2.2).
        headers = {"Location": f"batches/{started.job.id}"} | ({"Idempotent-Replayed": "true"} if started.replayed else {})
        return answer(200 if started.replayed else 202, started.document, headers)

    def show(self, id: str) -> Response[str]:
        self._request.refuse_query("wait")
        wait = self._request.wait
        job = self._batches.find(id)
        if wait is not None:
            job = self._service.until_over(job, wait)
        return answer(200 if wait is None or job.over else 202, self._batches.document(job))
