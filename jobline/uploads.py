"""Uploads: payloads too large for a request, which a client puts into S3 itself before it enqueues the job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from jobline.errors import FieldProblem, InvalidRequest
from jobline.fields import Reader, read_fields, whole
from jobline.ids import RANDOM_BYTES, new_id
from jobline.payloads import LARGEST_UPLOAD
from jobline.service import Service
from jobline.strict_json import Document
from jobline.times import format_instant

LINK_SECONDS: Final = 15 * 60
"""How long an upload may begin."""


class UploadRequest(NamedTuple):
    """What is going to be uploaded."""

    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""


def parse_upload(document: Document) -> UploadRequest:
    """The request in a body `{"size": bytes, "sha256": hexadecimal}`; raises InvalidRequest with everything that is wrong."""
    body = document.value
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.", problems=(FieldProblem("", "must be an object"),))
    fields, wrong = read_fields(body, UPLOAD_FIELDS, "")
    wrong += [FieldProblem(f"/{name}", "is missing") for name in UPLOAD_FIELDS if name not in body]
    if wrong:
        raise InvalidRequest(f"{wrong[0]['pointer'].removeprefix('/')} {wrong[0]['detail']}", problems=tuple(wrong))
    return UploadRequest(**fields)


def start_upload(service: Service, request: UploadRequest) -> dict[str, Any]:
    """How to upload it: `{"upload", "url", "method", "headers", "expires_at"}`. Makes no call.

    Whoever has the URL may PUT this very content, and no other, until `expires_at`; the id is then a job's `payload_ref`, for a day.
    """
    now = service.now()
    upload = new_id(now, service.random(RANDOM_BYTES))
    url, headers = service.bodies.upload_link(upload, size=request.size, sha256=request.sha256, seconds=LINK_SECONDS)
    expires_at = format_instant(now + timedelta(seconds=LINK_SECONDS))
    return {"upload": upload, "url": url, "method": "PUT", "headers": headers, "expires_at": expires_at}


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError("must be 64 hexadecimal digits, 0-9 a-f")
    return value


UPLOAD_FIELDS: Final[Mapping[str, Reader]] = {"size": whole(1, LARGEST_UPLOAD), "sha256": _sha256}
