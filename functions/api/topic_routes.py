"""The routes of topics. What is behind them is imported when one is asked for: who enqueues a job does not pay for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aws_lambda_powertools.event_handler.api_gateway import Response

from functions.api.http import Request, answer, etag, found_by
from jobline import strict_json
from jobline.service import Service

if TYPE_CHECKING:
    from jobline.publishing import Publishing
    from jobline.topics import Subscription


class TopicRoutes:
    """Show topics, subscribe to them, publish."""

    def __init__(self, service: Service, publishing: Callable[[], Publishing], request: Request) -> None:
        self._service = service
        self._publishing = publishing
        self._request = request

    def page(self) -> Response[str]:
        self._request.refuse_query()
        return answer(200, self._publishing().list())

    def show(self, topic: str) -> Response[str]:
        self._request.refuse_query()
        return answer(200, self._publishing().show(topic))

    def publish(self, topic: str) -> Response[str]:
        self._request.refuse_query()
        body, key = strict_json.parse(self._request.body()), self._request.header("idempotency-key")
        trace = self._request.traceparent
        job, found = self._publishing().publish(topic, body, key=key, op=self._request.id, traceparent=trace)
        # Relative to the request's own path, .../topics/<topic>/publish (RFC 9110 section 10.2.2).
        headers = {"Location": f"../../jobs/{job.id}", "ETag": etag(job)} | found_by(found)
        return answer(202 if found is None else 200, self._service.document(job), headers)

    def get(self, topic: str, name: str) -> Response[str]:
        self._request.refuse_query()
        subscription = self._publishing().find(topic, name)
        if self._request.knows(subscription.tag):
            return Response(304, body="", headers={"ETag": f'"{subscription.tag}"'})
        return self._answer(200, topic, subscription)

    def put(self, topic: str, name: str) -> Response[str]:
        self._request.refuse_query()
        expected = self._request.expected
        subscription, is_new = self._publishing().put(topic, name, strict_json.parse(self._request.body()), expected=expected)
        return self._answer(201 if is_new else 200, topic, subscription)

    def delete(self, topic: str, name: str) -> Response[str]:
        self._request.refuse_query()
        self._publishing().delete(topic, name, expected=self._request.expected)
        return answer(200, {"deleted": True})

    @staticmethod
    def _answer(status: int, topic: str, subscription: Subscription) -> Response[str]:
        return answer(status, subscription.document(topic), {"ETag": f'"{subscription.tag}"'})
