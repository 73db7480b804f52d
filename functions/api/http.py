"""HTTP as API Gateway delivers it (payload format 2.0): the request that is being answered, read strictly, and its answer."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final
from urllib.parse import unquote_plus

from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver, Response

from jobline.documents import encode
from jobline.enqueueing import Found
from jobline.errors import InvalidRequest, TooLarge
from jobline.expected import Expected
from jobline.fields import ENQUEUE_FIELDS
from jobline.job import Job
from jobline.long_poll import parse_wait
from jobline.redaction import Redactor
from jobline.service import Service

LARGEST_BODY: Final = 2_500_000
"""Bytes. Lambda takes 6 MB per call, of which base64 and the event's other fields use their part (Lambda quotas)."""
BLANK: Final = b" \t\n\r"
"""What JSON takes for nothing; `bytes.strip` would take more."""
_JSON: Final = "application/json"
_TAG: Final = r'(W/)?"([!#-~\x80-\xff]*)"'
"""An entity tag (RFC 9110 section 8.8.3)."""

_TRACEPARENT: Final = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"


class Request:
    """The request that the router is answering at this moment."""

    def __init__(self, app: APIGatewayHttpResolver, service: Service, redactor: Redactor) -> None:
        """`service` knows what is secret in a body; `redactor` is the log's."""
        self._app = app
        self._service = service
        self._redactor = redactor

    @property
    def id(self) -> str:
        return str(self._app.current_event.request_context.request_id)

    @property
    def method(self) -> str:
        return str(self._app.current_event.http_method)

    @property
    def path(self) -> str:
        return str(self._app.current_event.path)

    @property
    def query(self) -> Mapping[str, str]:
        return self._app.current_event.raw_event.get("queryStringParameters") or {}

    def header(self, name: str) -> str | None:
        """The header of this lower-case name; of a repeated one the values are joined with commas."""
        return self._app.current_event.headers.get(name)

    @property
    def if_match(self) -> frozenset[str] | None:
        """What If-Match names, without quotes: the revisions of which the job must have one; `None`: any. Raises InvalidRequest.

        A weak tag matches nothing (RFC 9110 section 13.1.1).
        """
        header = self.header("if-match")
        if header is None or header.strip() == "*":
            return None
        if not re.fullmatch(rf"\s*{_TAG}(?:\s*,\s*{_TAG})*\s*", header):
            raise InvalidRequest('The If-Match header is no entity tag, such as "3", as the ETag header of an answer has it.')
        return frozenset(tag for weak, tag in re.findall(_TAG, header) if not weak)

    @property
    def expected(self) -> Expected:
        """What If-Match and If-None-Match (of which only `*` is taken) expect of what a PUT or DELETE changes. Raises InvalidRequest."""
        header = self.header("if-none-match")
        if header is not None and header.strip() != "*":
            raise InvalidRequest("Of If-None-Match only * is taken here: create it only if there is none.")
        return Expected(tags=self.if_match, present=self.header("if-match") is not None, absent=header is not None)

    def knows(self, tag: str) -> bool:
        """Whether If-None-Match says that the client has what has this entity tag now (RFC 9110 section 13.1.2)."""
        header = self.header("if-none-match") or ""
        return header.strip() == "*" or tag in [known for _, known in re.findall(_TAG, header)]

    @property
    def wait(self) -> timedelta | None:
        """How long the answer may wait for the job's end; `None`: it was not asked to. Raises InvalidRequest."""
        return parse_wait(self.query["wait"]) if "wait" in self.query else None

    @property
    def traceparent(self) -> str | None:
        """The caller's trace context; one that is none is passed over, as W3C Trace Context (section 4.3) asks."""
        header = self.header("traceparent") or ""
        return header if re.fullmatch(_TRACEPARENT, header) else None

    @property
    def idempotency_key(self) -> str | None:
        """The Idempotency-Key header of a request that has no such field in its body. Raises InvalidRequest for one that is no key."""
        key = self.header("idempotency-key")
        try:
            return None if key is None else str(ENQUEUE_FIELDS["idempotency_key"](key))
        except ValueError as error:
            raise InvalidRequest(f"The Idempotency-Key header {error}.") from None

    def refuse_unclear_query(self) -> None:
        """Raises InvalidRequest for a query parameter that is empty or stands there twice: API Gateway joins the two by a comma."""
        raw = self._app.current_event.raw_event.get("rawQueryString") or ""
        names = [unquote_plus(pair.partition("=")[0]) for pair in raw.split("&") if pair]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise InvalidRequest(f"The query parameter {repeated[0][:64]!r} is there more than once.")
        if empty := sorted(name for name, value in self.query.items() if not value):
            raise InvalidRequest(f"The query parameter {empty[0][:64]!r} is empty.")

    def refuse_query(self, *known: str) -> None:
        """Raises InvalidRequest for a query parameter that is not among `known`, is empty or stands there twice."""
        self.refuse_unclear_query()
        if unknown := sorted(self.query.keys() - set(known)):
            raise InvalidRequest(f"The query parameter {unknown[0][:64]!r} is not known.")

    def refuse_body(self, what: str) -> None:
        """Raises InvalidRequest when there is a body that says anything; `what` takes none."""
        if self.body().strip(BLANK) not in {b"", b"{}"}:
            raise InvalidRequest(f"{what} takes no body.")

    @contextmanager
    def secrets_hidden(self) -> Iterator[None]:
        """While it lasts the log does not tell the secrets that this request brought."""
        try:
            secrets = self._service.secrets_of(json.loads(self.body()))
        except (InvalidRequest, TooLarge, ValueError, RecursionError):
            secrets = []
        with self._redactor.holding(self.id, secrets):
            yield

    def body(self) -> bytes:
        """The bytes that were sent. Raises TooLarge, and InvalidRequest when they cannot be told."""
        event = self._app.current_event.raw_event
        # What is no character of UTF-8 is left to the JSON gate, which says where it stands.
        body = (event.get("body") or "").encode("utf-8", "surrogatepass")
        if event.get("isBase64Encoded"):
            try:
                body = base64.b64decode(body, validate=True)
            except binascii.Error:
                raise InvalidRequest("The body cannot be read: it is said to be base64 and is not.") from None
        if len(body) > LARGEST_BODY:
            raise TooLarge(f"The body has {len(body)} bytes; the limit is {LARGEST_BODY}.", limit=LARGEST_BODY)
        return body


def answer(status: int, document: Any, headers: dict[str, str] | None = None) -> Response[str]:
    """A success that carries JSON."""
    return Response(status, _JSON, encode(document), headers)


def etag(job: Job) -> str:
    """The entity tag of a job: its `rev`, which grows with every write."""
    return f'"{job.rev}"'


def found_by(found: Found | None) -> dict[str, str]:
    """The header that says why a request was answered with a job that it did not make."""
    return {} if found is None else {_FOUND_BY[found]: "true"}


_FOUND_BY: Final = {"idempotency_key": "Idempotent-Replayed", "unique": "Unique-Returned"}
