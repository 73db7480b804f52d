"""A trial deployment's API for code that uses `jobline.client`: its requests are answered by the project's real routes, without HTTP."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from jobline.connection import Answer, AsyncConnection, Keys
from jobline.log import Silence
from jobline.memory_schedules import MemorySchedules
from jobline.operations import Operations
from jobline.publishing import Publishing
from jobline.scheduling import Scheduling
from jobline.testing.mishaps import FragileDeployment

if TYPE_CHECKING:
    import httpx2

URL: Final = "https://trial.example"


def _read_contract() -> str:
    from jobline.openapi import compact  # seldom asked for

    return compact()


class TrialConnection(AsyncConnection):
    """Both clients' way to a deployment in memory. A request that waits lets time pass there."""

    def __init__(self, deployment: FragileDeployment, pass_time: Callable[[float], None]) -> None:
        """`pass_time` lets so many seconds pass. Raises ModuleNotFoundError where the project's `functions.api` cannot be imported."""
        super().__init__(URL, region="eu-central-1", keys=lambda: Keys("trial", "trial"))
        service = replace(deployment.service, sleep=pass_time)
        operations = Operations(
            enqueueing=service.enqueueing,
            switch=lambda queue, paused: (deployment.states.pause if paused else deployment.states.resume)(queue, deployment.now),
            read_paused=lambda queues: [queue for queue in queues if deployment.states.get(queue).paused],
        )
        scheduling = Scheduling(
            schedules=MemorySchedules(lambda: deployment.now),
            enqueueing=service.enqueueing,
            declared=deployment.definitions.schedules,
            read_note=lambda schedule: None,
        )
        publishing = Publishing(topics=deployment.make_topics(deployment.ports), enqueueing=service.enqueueing)
        # By name: the routes stand above this package, and only a test may reach up to them.
        routes = import_module("functions.api.routes")
        given: dict[str, Any] = {"stage": deployment.definitions.stage, "log": Silence(), "redactor": deployment.redactor}
        self._api = routes.Api(service, operations, lambda: scheduling, lambda: publishing, **given, read_contract=_read_contract)
        self._requests = 0

    def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        import httpx2

        parts = urlsplit(url)
        self._requests += 1
        http = {"method": method, "path": unquote(parts.path)}
        event = {
            "version": "2.0",
            "rawPath": unquote(parts.path),
            "rawQueryString": parts.query,
            "queryStringParameters": dict(parse_qsl(parts.query, keep_blank_values=True)) or None,
            "headers": {name.lower(): value for name, value in headers.items()},
            "requestContext": {"requestId": f"trial-{self._requests}", "stage": "$default", "http": http},
            "body": b64encode(body).decode() if body else None,
            "isBase64Encoded": bool(body),
        }
        answer = self._api.handle(event, None)
        return httpx2.Response(answer["statusCode"], headers=answer["headers"], text=answer["body"] or "")

    async def ask(
        self, method: str, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return self.request(method, path, json=json, params=params, headers=headers)
