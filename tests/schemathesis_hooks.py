"""How schemathesis calls the API: signed, and with data that the deployment can take. Runs inside `.schemathesis`, not with the tests."""

from __future__ import annotations

import os
import uuid
from typing import Any

import requests
import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY, SECRET, REGION = (os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"))


class SigV4(requests.auth.AuthBase):
    """Signs what is sent, as it is sent."""

    def __call__(self, request: Any) -> Any:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        # Hop-by-hop and the connection's own headers change on the way; what matters is signed all the same.
        signed = {name: value for name, value in request.headers.items() if name.lower() in {"content-type"}}
        aws = AWSRequest(request.method, request.url, data=body, headers=signed)
        SigV4Auth(Credentials(KEY, SECRET), "execute-api", REGION).add_auth(aws)
        for name in ("Authorization", "X-Amz-Date", "X-Amz-Content-SHA256"):
            if name in aws.headers:
                request.headers[name] = aws.headers[name]
        return request


schemathesis.auth.set_from_requests(SigV4())


@schemathesis.hook  # type: ignore[untyped-decorator]
def filter_case(context: Any, case: Any) -> bool:
    """Leaves out requests without Authorization header: missing_required_header wants a 401, but API Gateway answers unsigned ones by 403.

    The check ignored_auth, which takes either, sends unsigned requests to every route all the same.
    """
    data = None if case.meta is None else case.meta.phase.data
    return getattr(data, "parameter", None) != "Authorization"


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """What a schema cannot say of a valid request is put right: fields that need each other, names that are not deployed, keys used twice.

    Requests that are meant to be wrong go out as they are.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
    if case.headers and "If-Match" in case.headers:
        case.headers["If-Match"] = "*"  # made up, it is none that the job has
    if case.query:
        case.query.pop("cursor", None)  # made up, it is none that a list gave
        case.query |= {"wait": "0"} if "wait" in case.query else {}
    case.body = _whole(case.body)
    if isinstance(case.body, dict):
        jobs = case.body["jobs"] if isinstance(case.body.get("jobs"), list) else [case.body]
        for body in jobs:
            if isinstance(body, dict):
                _settle(body, of_job="Enqueue" in str(case.operation.body) or ("type" in body and "sha256" not in body))


def _whole(value: Any) -> Any:
    """The value with 1 for 1.0: to JSON Schema both are integers, to the API (and its description) only the first."""
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, int) and abs(value) >= 10**38:
        return 1  # more digits than the API takes of any integer
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _settle(body: dict[str, Any], *, of_job: bool) -> None:
    """Makes a request one that this deployment takes."""
    for name in ("idempotency_key", "scheduled_at", "payload_ref", "ordering_key", "unique"):
        body.pop(name, None)  # used twice; more than a year ahead; not uploaded; not an ordered queue's; fields that need each other
    for name in ("delay", "timeout", "expires_in"):
        if body.get(name) is not None:
            body[name] = {"delay": "10s", "timeout": 10, "expires_in": "1d"}[name]
    if isinstance(body.get("error"), str):
        body["error"] = body["error"][:40]  # with more the operation's payload is kept apart, which the memory store cannot
    if body.get("tags"):
        body["tags"] = ["printable" for _ in body["tags"]]
    if isinstance(body.get("retry"), dict):
        body["retry"].pop("max_attempts", None)  # may not disagree with the field of that name
