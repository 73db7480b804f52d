"""A client that sends exactly what a test says, signed or not, and waits for jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from jobline.local_aws import ACCOUNT, REGION, SECRET

OVER = {"done", "dead", "cancelled", "expired"}


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    """The parsed JSON; `None` when there was no body."""
    headers: httpx2.Headers


class Client:
    """One caller of one deployment's API; `key` is `None` for a caller that signs nothing."""

    def __init__(self, url: str, *, key: str | None = ACCOUNT, secret: str = SECRET) -> None:
        self.url = url
        self._credentials = Credentials(key, secret) if key else None

    def call(self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Answer:
        content = b"" if body is None else json.dumps(body).encode()
        return self.send(method, path, content, self.signed(method, path, content, headers))

    def signed(self, method: str, path: str, content: bytes = b"", headers: Mapping[str, str] | None = None) -> dict[str, str]:
        """The headers of a request with this content, its signature among them."""
        given = {"Content-Type": "application/json"} | dict(headers or {})
        request = AWSRequest(method, self.url + path, data=content, headers=given)
        if self._credentials:
            SigV4Auth(self._credentials, "execute-api", REGION).add_auth(request)
        return dict(request.headers)

    def send(self, method: str, path: str, content: bytes, headers: Mapping[str, str], *, timeout: float = 30) -> Answer:
        """Sends what it is given, as it stands."""
        response = httpx2.request(method, self.url + path, content=content, headers=headers, timeout=timeout, trust_env=False)
        return Answer(response.status_code, response.json() if response.content else None, response.headers)

    def enqueue(self, queue: str, type: str, payload: Any = None, **more: Any) -> str:
        """The new job's id."""
        answer = self.call("POST", "/jobs", {"queue": queue, "type": type, "payload": payload, **more})
        assert answer.status == 202, answer
        return str(answer.body["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.call("GET", f"/jobs/{job_id}")
        assert answer.status == 200, answer
        return dict(answer.body)

    def retry(self, job_id: str) -> None:
        answer = self.call("POST", f"/jobs/{job_id}/retry")
        assert answer.status == 202, answer

    def wait(self, job_id: str, until: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
        """The job as soon as `until` holds of it."""
        deadline = time.monotonic() + seconds
        while not until(job := self.job(job_id)):
            assert time.monotonic() < deadline, f"waited {seconds} s in vain: {job}"
            time.sleep(0.1)
        return job

    def end_of(self, job_id: str, seconds: float = 60) -> dict[str, Any]:
        """The job when it is over."""
        return self.wait(job_id, lambda job: job["status"] in OVER, seconds)

    def history(self, job_id: str, seconds: float = 60) -> tuple[list[str], dict[str, Any]]:
        """The states that were seen until the job was over, each once, and the job."""
        seen: list[str] = []

        def look(job: dict[str, Any]) -> bool:
            if job["status"] not in seen:
                seen.append(job["status"])
            return job["status"] in OVER

        return seen, self.wait(job_id, look, seconds)
