"""Large payloads from the command line and from programs: put where the API says, and named in the request."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from jobline.api_errors import UploadRefused
from jobline.cli import run
from jobline.cli.payload import LARGEST_SENT
from jobline.connection import Connection
from tests.receiver import Receiver, Script, answer, receiver

CONTENT = b'{"x": "' + b"x" * LARGEST_SENT + b'"}'
JOB = dict.fromkeys(("payload", "started_at", "completed_at", "error", "result")) | {
    "id": "0197a000-0000-7000-8000-000000000001",
    "queue": "q",
    "type": "t",
    "priority": 5,
    "status": "pending",
    "attempts": 0,
    "max_attempts": 3,
    "scheduled_at": "2026-03-01T12:00:00Z",
    "created_at": "2026-03-01T12:00:00Z",
}


def said(status: int, document: Any) -> Script:
    return answer(status, json.dumps(document).encode(), Content_Type="application/json")


def offer(server: Receiver, *after: Script) -> None:
    """The server answers an upload with a link to itself, and then with `after`."""
    link = {"upload": "u-1", "url": server.url("/bucket/uploads/u-1?sig=1"), "method": "PUT", "headers": {"x-checked": "yes"}}
    server.answers = [said(201, link), *after]


def test_a_payload_is_put_where_the_api_says_with_the_headers_that_it_gave() -> None:
    with receiver() as server, Connection.find(api_url=server.url("")) as connection:
        offer(server, answer(200))
        assert connection.upload(CONTENT) == "u-1"
    asked, put = server.received
    assert (asked.line, put.line) == ("POST /uploads HTTP/1.1", "PUT /bucket/uploads/u-1?sig=1 HTTP/1.1")
    assert json.loads(asked.body) == {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    assert (put.body, put.headers["x-checked"]) == (CONTENT, "yes")
    assert "authorization" not in put.headers


def test_what_s3_does_not_take_is_an_error_in_one_line() -> None:
    with receiver() as server, Connection.find(api_url=server.url("")) as connection:
        offer(server, answer(403, b"<Error/>"))
        with pytest.raises(UploadRefused, match=r"127\.0\.0\.1 answered with status 403"):
            connection.upload(CONTENT)


@pytest.mark.parametrize(("size", "uploaded"), [(LARGEST_SENT, False), (LARGEST_SENT + 1, True)])
def test_the_command_line_uploads_what_no_request_can_carry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int, uploaded: bool
) -> None:
    (tmp_path / "big.json").write_bytes(b'"' + b"x" * (size - 2) + b'"')
    with receiver() as server:
        offer(server, answer(200), said(202, JOB))
        if not uploaded:
            server.answers = server.answers[-1:]
        line = ["--api-url", server.url(""), "enqueue", "q", "t", "--payload", f"@{tmp_path / 'big.json'}"]
        assert run(line) == 0
    assert capsys.readouterr().out.startswith("enqueued 0197a000")
    sent = json.loads(server.received[-1].body)
    assert ("payload_ref" in sent, "payload" in sent) == (uploaded, not uploaded)
    assert len(server.received) == (3 if uploaded else 1)


@pytest.mark.parametrize("text", [b'{"a": tru}', b'{"a": NaN}', b'{"a": "\\', b"[1,"])
def test_a_large_file_that_is_no_json_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: bytes) -> None:
    (tmp_path / "big.json").write_bytes(b" " * LARGEST_SENT + text)
    line = ["--api-url", "http://127.0.0.1:9", "enqueue", "q", "t", "--payload", f"@{tmp_path / 'big.json'}"]
    assert run(line) == 2
    assert "--payload" in capsys.readouterr().err
