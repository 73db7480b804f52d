"""A CRM on this machine that answers as HubSpot's public documentation says; for tests and `make demo`.

Objects can be upserted in batches. Where the facts are from:

- the batch upsert, its limit of 100 inputs and what comes back: https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/guide
- 207 with `objectWriteTraceId`, 401, 403, 423, 429, 477, 5xx: https://developers.hubspot.com/docs/api-reference/error-handling
- rate limits and the shape of a 429: https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Final, NamedTuple

from jobline.local_server import serving

TOKEN: Final = "jobline-local-crm-token"  # noqa: S105  opens nothing but this server
MOST_INPUTS: Final = 100
CORRELATION: Final = "aeb5f871-7f07-4993-9211-075dc63e7cbf"

Json = dict[str, Any]


class Answer(NamedTuple):
    status: int
    body: Json
    headers: Mapping[str, str] = {}


def error(status: int, category: str, message: str, **headers: str) -> Answer:
    """An error as HubSpot words it; `Retry_After="3"` becomes the header `Retry-After: 3`."""
    body = {"status": "error", "message": message, "correlationId": CORRELATION, "category": category}
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def over_the_limit(policy: str = "TEN_SECONDLY_ROLLING", **headers: str) -> Answer:
    """A 429; `policy` is `DAILY` when the day's limit is used up."""
    answer = error(429, "RATE_LIMITS", f"You have reached your {policy.lower()} limit.", **headers)
    return answer._replace(body={**answer.body, "errorType": "RATE_LIMIT", "policyName": policy})


@dataclass
class Portal:
    """One account's records, and what it will answer instead of doing its work."""

    objects: dict[str, dict[str, Json]] = field(default_factory=lambda: {"contacts": {}, "companies": {}})
    """By object type and the value of the unique property."""
    unique: str = "external_id"
    properties: frozenset[str] = frozenset({"external_id", "email", "firstname", "lastname", "lifecyclestage", "visits"})
    answers: deque[Answer | None] = field(default_factory=deque)
    """To the requests to come, in their order; `None`: the work is done."""
    batches: list[list[str]] = field(default_factory=list)
    """The ids of each batch that was executed."""
    requests: int = 0
    token: str = TOKEN

    def __post_init__(self) -> None:
        self._ids = count(101)
        self._lock = threading.Lock()

    def answer(self, path: str, authorization: str, text: str) -> Answer:
        with self._lock:
            self.requests += 1
            if authorization != f"Bearer {self.token}":
                return error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found. This API supports OAuth 2.0.")
            if self.answers and (planned := self.answers.popleft()) is not None:
                return planned
            found = re.fullmatch(r"/crm/v3/objects/([A-Za-z0-9_-]+)/batch/upsert", path)
            if found is None or found[1] not in self.objects:
                return error(404, "OBJECT_NOT_FOUND", f"Unable to infer object type from: {path}")
            return self._upsert(self.objects[found[1]], text)

    def _upsert(self, records: dict[str, Json], text: str) -> Answer:
        try:
            inputs = json.loads(text)["inputs"]
            ids = [each["id"] for each in inputs]
        except (ValueError, KeyError, TypeError):
            return error(400, "VALIDATION_ERROR", "Invalid input JSON")
        if not 0 < len(inputs) <= MOST_INPUTS:
            return error(400, "VALIDATION_ERROR", f"The maximum number of inputs supported in a batch request is {MOST_INPUTS}.")
        if any(each.get("idProperty") != self.unique for each in inputs):
            return error(400, "VALIDATION_ERROR", f"{inputs[0].get('idProperty')} is not a unique property of this object.")
        if len(set(ids)) < len(ids):
            return error(400, "VALIDATION_ERROR", "Duplicate IDs found in batch input. IDs must be unique.")
        # A property that does not exist is a mistake of the whole request; a value that does not fit is one of its own record.
        if unknown := sorted({name for each in inputs for name in each["properties"]} - self.properties):
            return error(400, "VALIDATION_ERROR", f'Property values were not valid: Property "{unknown[0]}" does not exist')
        began = datetime.now(UTC).isoformat()
        self.batches.append(ids)
        results, errors = [], []
        for each in inputs:
            if (problem := _problem(each["properties"])) is None:
                results.append(self._put(records, each))
            elif "objectWriteTraceId" in each:
                context = {"objectWriteTraceId": [each["objectWriteTraceId"]]}
                errors.append({"status": "error", "category": "VALIDATION_ERROR", "message": problem, "context": context})
            else:
                return error(400, "VALIDATION_ERROR", problem)
        body = {"status": "COMPLETE", "results": results, "startedAt": began, "completedAt": datetime.now(UTC).isoformat()}
        return Answer(207, {**body, "numErrors": len(errors), "errors": errors}) if errors else Answer(200, body)

    def _put(self, records: dict[str, Json], given: Json) -> Json:
        new = given["id"] not in records
        record = records.setdefault(given["id"], {"id": str(next(self._ids)), "properties": {self.unique: given["id"]}})
        record["properties"].update({name: None if value is None else str(value) for name, value in given["properties"].items()})
        trace = {"objectWriteTraceId": given["objectWriteTraceId"]} if "objectWriteTraceId" in given else {}
        now = datetime.now(UTC).isoformat()
        return {**record, "createdAt": now, "updatedAt": now, "archived": False, "new": new, **trace}


def _problem(properties: Json) -> str | None:
    """What HubSpot says of a value that its property does not take."""
    email = properties.get("email")
    if email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", str(email)):
        return f'Property values were not valid: [{{"isValid":false,"message":"Email address {email} is invalid","name":"email"}}]'
    visits = properties.get("visits")
    if visits is not None and not str(visits).isdecimal():
        return f'Property values were not valid: [{{"isValid":false,"message":"{visits} was not a valid number.","name":"visits"}}]'
    return None


class LocalCrm(ThreadingHTTPServer):
    """The CRM over HTTP, on a port of 127.0.0.1."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Request)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.portal = Portal()


class _Request(BaseHTTPRequestHandler):
    server: LocalCrm

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        answer = self.server.portal.answer(self.path, self.headers.get("Authorization", ""), text)
        body = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json;charset=utf-8", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the screen is somebody else's."""


@contextmanager
def local_crm(port: int = 0) -> Iterator[LocalCrm]:
    """A CRM that listens until the end of the block, on a free port unless one is given."""
    with serving(LocalCrm(port)) as server:
        yield server
