"""The routes of operators: what is done to a whole queue. Each is a route of its own, so that IAM can grant it apart from the rest."""

from __future__ import annotations

from collections.abc import Callable

from aws_lambda_powertools.event_handler.api_gateway import Response

from functions.api.http import Request, answer
from jobline.operations import Operations
from jobline.service import Service


class OperatorRoutes:
    """Pause and resume."""

    def __init__(self, service: Service, operations: Operations, request: Request) -> None:
        self._service = service
        self._operations = operations
        self._request = request

    def routes(self) -> tuple[tuple[str, str, Callable[..., Response[str]]], ...]:
        """Method, path and what answers it."""
        return (
            ("POST", "/queues/<queue>/pause", self._pause),
            ("POST", "/queues/<queue>/resume", self._resume),
        )

    def _pause(self, queue: str) -> Response[str]:
        return self._switch(queue, "A pause", paused=True)

    def _resume(self, queue: str) -> Response[str]:
        return self._switch(queue, "A resumption", paused=False)

    def _switch(self, queue: str, what: str, *, paused: bool) -> Response[str]:
        self._request.refuse_query()
        self._request.refuse_body(what)
        return answer(200, self._operations.pause(self._service.queue(queue), paused=paused))
