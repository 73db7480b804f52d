"""The real API behind a real HTTP server on this machine, which asks for signatures as API Gateway does."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from jobline.local_aws import ACCOUNT, REGION, SECRET
from tests.api import Answer, Client

PREFIX = "/_aws/execute-api/abc123"
"""Where a local AWS has an API."""


class Received(NamedTuple):
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def signature_is_right(request: Received, *, access_key: str, secret: str, region: str) -> bool:
    """Whether a request is signed by Signature Version 4, done by the book ("Create a signed AWS API request", AWS IAM user guide)."""
    given = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/([\w-]+)/execute-api/aws4_request, SignedHeaders=([\w;-]+), Signature=(\w{64})",
        request.headers.get("authorization", ""),
    )
    if given is None or given[1] != access_key or given[3] != region or "host" not in given[4].split(";"):
        return False
    path, _, query = request.target.partition("?")
    canonical = "\n".join(
        [
            request.method,
            quote(path, safe="/~"),
            "&".join(sorted(query.split("&"))),
            *(f"{name}:{request.headers[name].strip()}" for name in given[4].split(";")),
            "",
            given[4],
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    scope = f"{given[2]}/{region}/execute-api/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(hmac.digest(key, to_sign.encode(), "sha256").hex(), given[5])


def joined(query: str) -> dict[str, str]:
    """The parameters as API Gateway hands them on: a repeated one's values joined by commas."""
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters


class HttpApi:
    """A server's address and what it received. `answer`, when set, answers in place of the API; by ConnectionAbortedError it hangs up."""

    def __init__(self, client: Client, server: ThreadingHTTPServer) -> None:
        self.client = client
        self.url = f"http://localhost:{server.server_port}{PREFIX}"
        self.received: list[Received] = []
        self.answer: Callable[[Received], tuple[int, str]] | None = None

    def respond(self, request: Received) -> tuple[int, dict[str, str], str]:
        self.received.append(request)
        if self.answer is not None:
            status, text = self.answer(request)
            return status, {"Content-Type": "application/json"}, text
        if not signature_is_right(request, access_key=ACCOUNT, secret=SECRET, region=REGION):
            return 403, {"Content-Type": "application/json"}, '{"message":"Forbidden"}'
        parts = urlsplit(request.target)
        path = unquote(parts.path.removeprefix(PREFIX))
        sent: dict[str, Any] = {"query": joined(parts.query), "raw_query": parts.query, "headers": request.headers}
        answer: Answer = self.client.call(request.method, path, request.body or None, **sent)
        return answer.status, dict(answer.headers), answer.text

    @property
    def last(self) -> Received:
        return self.received[-1]

    @property
    def last_body(self) -> Any:
        return json.loads(self.last.body)


@contextmanager
def http_api(client: Client | None = None) -> Iterator[HttpApi]:
    """A server that answers until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                status, answered, text = api.respond(Received(self.command, self.path, headers, self.rfile.read(length)))
            except ConnectionAbortedError:
                return  # HTTP/1.0: whoever asked finds the connection closed
            body = text.encode()
            self.send_response(status)
            for name, value in (answered | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = do_HEAD = do_OPTIONS = do_TRACE = do_QUERY = respond

        def log_message(self, format: str, *args: Any) -> None:
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = HttpApi(client or Client(), server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
