"""Payloads that clients upload, on the real stack: the link, S3's own checks, and the job that runs on it."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx2

from tests.e2e.client import Client

CONTENT = b'{"text": "' + b"x" * 1_200_000 + b'"}'


def start(client: Client) -> dict[str, Any]:
    answer = client.call("POST", "/uploads", {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()})
    assert answer.status == 201, answer
    return dict(answer.body)


def put(upload: dict[str, Any], content: bytes) -> int:
    headers = upload["headers"] | {"Content-Length": str(len(content))}
    return httpx2.request(upload["method"], upload["url"], content=content, headers=headers, timeout=30, trust_env=False).status_code


def get(url: str) -> bytes:
    return httpx2.get(url, timeout=30, trust_env=False).content


def test_a_job_runs_on_what_was_uploaded(client: Client) -> None:
    upload = start(client)
    asked = {"queue": "diagnostics", "type": "echo", "payload_ref": upload["upload"]}
    assert client.call("POST", "/jobs", asked).status == 422
    assert put(upload, CONTENT[:-2] + b'y"}') in (400, 403)
    assert client.call("POST", "/jobs", asked).status == 422
    assert put(upload, CONTENT) == 200

    answer = client.call("POST", "/jobs", asked)
    assert (answer.status, answer.body["payload"]) == (202, None)
    done = client.end_of(answer.body["id"])
    assert (done["status"], done["attempts"], done["payload"], done["result"]) == ("done", 1, None, None)
    assert get(done["payload_url"]) == CONTENT
    assert get(done["result_url"]) == CONTENT.replace(b": ", b":")
