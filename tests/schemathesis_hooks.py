"""How schemathesis calls the API: signed, and with data that the deployment can take. Runs inside `.schemathesis`, not with the tests."""

from __future__ import annotations

import os
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from jobline.times import parse_duration

KEY, SECRET, REGION = (os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"))
QUEUE = os.environ["CONTRACT_QUEUE"]
"""The queue that takes the jobs."""
_TAGS = re.compile(r'\*|(W/)?"[!#-~\x80-\xff]*"(\s*,\s*(W/)?"[!#-~\x80-\xff]*")*')


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

    e2e/test_access.py sends such requests to every route; here the check ignored_auth, which takes either status, does.
    """
    data = None if case.meta is None else case.meta.phase.data
    return getattr(data, "parameter", None) != "Authorization"


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Puts right what no schema can say of a valid request, where it is wrong; everything else goes out as it was generated.

    Requests that are meant to be wrong go out as they are. A part that needs no change is not even assigned: schemathesis then looks
    at it anew, and takes an optional body that is left out for a wrong one.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = _unused(case.headers["Idempotency-Key"])
    if case.headers and not _TAGS.fullmatch(case.headers.get("If-Match", "*")):
        case.headers["If-Match"] = "*"  # the coverage phase takes 0 for text of the pattern
    if case.path_parameters.get("queue", QUEUE) != QUEUE and case.operation.definition.raw["operationId"] == "enqueue_in_queue":
        case.path_parameters["queue"] = QUEUE  # the stateful phase takes any that GET /queues listed, which need not take this type
    if case.query:
        case.query.pop("cursor", None)  # made up, it is none that a list gave
        case.query |= {"wait": "0"} if "wait" in case.query else {}  # or it would be waited, up to 25 s, or is longer than may be waited
    body = _short(case.body)
    if isinstance(body, dict):
        _settle(body, header=(case.headers or {}).get("Idempotency-Key"))
        if case.operation.definition.raw["operationId"] == "start_batch":
            _settle_batch(body)
    if body != case.body or repr(body) != repr(case.body):  # 1 == 1.0
        case.body = body


def _unused(key: str) -> str:
    """The key, but one that no other request has: the same with another request is a 422."""
    return key[: 128 - 32] + uuid.uuid4().hex


def _short(value: Any) -> Any:
    """A copy without integers of more digits than the API takes (its description says so; JSON Schema cannot of any JSON)."""
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_short(each) for each in value]
    return value % 10**38 if isinstance(value, int) and abs(value) >= 10**38 else value


def _settle(body: dict[str, Any], *, header: str | None) -> None:
    """Makes the fields of a request fit each other and this deployment."""
    if isinstance(body.get("idempotency_key"), str):
        body["idempotency_key"] = header or _unused(body["idempotency_key"])
    body.pop("payload_ref", None)  # nothing was uploaded
    body.pop("ordering_key", None)  # the queue is not ordered
    body.pop("callback_url", None)  # nobody's server is to be called
    body.pop("reply_to", None)  # no queue has such a name
    for name in {"filter", "transform"} & body.keys():
        body[name] = None if body[name] is None else "kind"  # any other text is hardly JMESPath
    for name in _WHOLE & body.keys():
        body[name] = _whole(body[name])
    for name, (most, step) in _DURATIONS.items():
        if isinstance(body.get(name), str) and not _fits(body[name], most, step):
            body[name] = "10s"  # as text a schema can say its form, not its length
    if isinstance(body.get("scheduled_at"), str) and body["scheduled_at"][:4] > str(_now().year):
        body["scheduled_at"] = (_now() + timedelta(days=1)).isoformat()  # more than a year ahead
    if body.get("expires_in") is not None and (body.get("delay") or body.get("scheduled_at")):
        body["expires_in"] = "3650d"  # else it may end before the job is due
    if isinstance(body.get("tags"), list):
        body["tags"] = ["".join(one if one.isprintable() else "x" for one in tag) for tag in body["tags"]]
    if isinstance(body.get("retry"), dict):
        body["retry"] = {name: _whole(each) if name in _WHOLE else each for name, each in body["retry"].items()}
        if body["retry"].get("max_attempts") is not None and body.get("max_attempts") is not None:
            body["retry"]["max_attempts"] = body["max_attempts"]  # the two may not disagree
    if isinstance(body.get("unique"), dict):
        body["unique"].pop("keys", None)  # of fields that the payload may not have
        if isinstance(body["unique"].get("for"), str) and not _fits(body["unique"]["for"], 3650 * 86_400, 1000):
            body["unique"]["for"] = "10s"


def _settle_batch(body: dict[str, Any]) -> None:
    """The same for each job of a batch."""
    jobs = body["jobs"] if isinstance(body.get("jobs"), list) else []
    for job in (*jobs, *(body.get(name) for name in ("on_success", "on_complete", "on_dead"))):
        if isinstance(job, dict):
            _settle(job, header=None)
    if isinstance(body.get("name"), str):
        body["name"] = "".join(one if one.isprintable() else "x" for one in body["name"])


_WHOLE = frozenset({"priority", "max_attempts", "base_delay", "max_delay", "limit", "size"})
_DURATIONS = {"delay": (365 * 86_400, 1), "timeout": (60, 1000), "expires_in": (3650 * 86_400, 1000)}
"""At most so many seconds, in whole steps of so many milliseconds; a timeout as long as every worker allows."""


def _whole(value: Any) -> Any:
    """1 for 1.0: to JSON Schema both are integers, to the API (and its description) only the first."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _fits(duration: str, most: int, step: int) -> bool:
    try:
        milliseconds = parse_duration(duration) // timedelta(milliseconds=1)
    except ValueError as error:
        return "shorter than" not in str(error)  # anything else is a finding, if the pattern takes it
    return 0 <= milliseconds <= most * 1000 and milliseconds % step == 0 and (step == 1 or milliseconds > 0)


def _now() -> datetime:
    return datetime.now(UTC)
