"""What is not strict JSON, in every form and through every route that takes a body: a 400 that names the place, at little cost."""

from __future__ import annotations

import base64
import copy
import time
from typing import Any

import pytest

from jobline.api_routes import ROUTES, Route
from tests.api import Answer, Client, event
from tests.factories import JOB_ID

MOST_CPU_SECONDS = 2
"""Of one refusal; 100,000 brackets that were followed inward would exhaust the stack, and what is quadratic takes minutes."""
TAKING = [route for route in ROUTES if route.takes]

NOT_JSON: dict[str, tuple[bytes, int, str]] = {
    "NaN": (b'{"a":NaN}', 5, "/a"),
    "Infinity": (b'{"a":[Infinity]}', 6, "/a/0"),
    "-Infinity": (b'{"a":-Infinity}', 5, "/a"),
    "1e400": (b'{"a":1e400}', 5, "/a"),
    "a name twice": (b'{"a":1,"a":1}', 7, "/a"),
    "a name twice, once escaped": (b'{"a":1,"\\u0061":2}', 7, "/a"),
    "a name twice, deeper": (b'{"a":{"b":1,"b":1}}', 12, "/a/b"),
    "half a surrogate pair, escaped": (b'{"a":"\\ud800"}', 5, "/a"),
    "the other half, escaped": (b'{"a":"\\udc00x"}', 5, "/a"),
    "half a surrogate pair, raw": (b'{"a":"\xed\xa0\x80"}', 6, "/a"),
    "half a surrogate pair in a name": (b'{"\\ud800":1}', 1, ""),
    "nesting of 65": (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", 68, "/a" + "/0" * 63),
    "39 digits": (b'{"a":' + b"1" * 39 + b"}", 5, "/a"),
    "a byte order mark": (b"\xef\xbb\xbf{}", 0, ""),
    "something after it": (b"{} {}", 3, ""),
    "not UTF-8": (b'{"a":"\xff"}', 6, "/a"),
    "UTF-16": ("{}".encode("utf-16-le"), 1, ""),
    "a character of two bytes in five": (b'{"a":"\xc0\xaf"}', 6, "/a"),
    "cut off in a string": (b'{"a":"b', 5, "/a"),
    "cut off after a name": (b'{"a":', 5, "/a"),
    "single quotes": (b"{'a':1}", 1, ""),
    "a comment": (b"{/* no */}", 1, ""),
    "a comment of one line": (b"// no\n{}", 0, ""),
    "a comma too many": (b'{"a":1,}', 7, ""),
    "a plus sign": (b'{"a":+1}', 5, "/a"),
    "a zero before": (b'{"a":01}', 5, "/a"),
    "a control character": (b'{"a":"\n"}', 6, "/a"),
    "a NUL": (b"\x00", 0, ""),
    "blank to Python alone": (b"\x0b", 0, ""),
    "100,000 brackets": (b"[" * 100_000, 64, "/0" * 64),
    "100,000 objects in each other": (b'{"a":' * 100_000, 320, "/a" * 64),
    "Python": (b'{"a":None}', 5, "/a"),
}
"""By what is wrong: the body, the byte at which it is wrong, and the pointer to it."""
EMPTY = [b"", b" \n\t\r"]


@pytest.fixture
def api() -> Client:
    return Client()


def send(api: Client, route: Route, body: bytes, *, as_base64: bool) -> Answer:
    """The answer to this body, as API Gateway hands on what is text to it, or what is not."""
    sent = copy.deepcopy(event("post_jobs_base64"))
    path = route.path.format(queue="emails", id=JOB_ID, name="nightly", topic="orders")
    sent["requestContext"]["http"] |= {"method": route.method, "path": path}
    content = base64.b64encode(body).decode() if as_base64 else body.decode()
    return api.send(sent | {"rawPath": path, "body": content, "isBase64Encoded": as_base64})


def is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("route", TAKING, ids=lambda route: route.name)
def test_what_is_not_strict_json_is_a_400_that_names_the_place(api: Client, route: Route) -> None:
    for name, (body, offset, pointer) in NOT_JSON.items():
        for as_base64 in (True, False) if is_text(body) else (True,):
            began = time.process_time()
            answer = send(api, route, body, as_base64=as_base64)
            assert time.process_time() - began < MOST_CPU_SECONDS, name
            assert (answer.status, answer.body["type"]) == (400, "urn:jobline:problem:invalid-json"), (name, answer)
            assert (answer.body["offset"], answer.problems[0][0]) == (offset, pointer), (name, answer)
            assert f"at byte {offset}" in answer.body["detail"]
            assert len(answer.text) < 1500
    assert api.store.jobs == {}
    assert api.log.lines == []


@pytest.mark.parametrize("route", TAKING, ids=lambda route: route.name)
def test_a_body_that_is_left_out_is_refused_where_one_is_needed(api: Client, route: Route) -> None:
    for body in EMPTY:
        answer = send(Client(), route, body, as_base64=True)
        if route.body_required:
            assert (answer.status, answer.body["offset"]) == (400, 0), answer
            assert "empty" in answer.body["detail"]
        else:
            assert answer.status == 202, answer


@pytest.mark.parametrize("route", TAKING, ids=lambda route: route.name)
@pytest.mark.parametrize("body", ["[]", '"x"', "1", "null", "true", "[{}]"])
def test_json_that_is_no_object_is_a_400_that_says_so(api: Client, route: Route, body: str) -> None:
    answer = send(api, route, body.encode(), as_base64=False)
    assert (answer.status, answer.body["type"]) == (400, "urn:jobline:problem:invalid-request"), answer
    assert "object" in answer.body["detail"]


@pytest.mark.parametrize("route", TAKING, ids=lambda route: route.name)
def test_a_body_that_is_said_to_be_base64_and_is_not_is_a_400(api: Client, route: Route) -> None:
    path = route.path.format(queue="emails", id=JOB_ID, name="nightly", topic="orders")
    sent = copy.deepcopy(event("post_jobs_base64")) | {"rawPath": path, "body": "{}", "isBase64Encoded": True}
    sent["requestContext"]["http"] |= {"method": route.method, "path": path}
    assert api.send(sent).status == 400


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "POST" and not route.takes], ids=lambda route: route.name)
def test_what_takes_no_body_refuses_any(api: Client, route: Route) -> None:
    path = route.path.format(queue="emails", id=api.enqueue()["id"], name="nightly", topic="orders")
    for body in (*(body for body, _, _ in NOT_JSON.values()), b"[]", b"null", b'{"a":1}', b"\x0b"):
        answer = send(api, route._replace(path=path), body, as_base64=True)
        assert (answer.status, "takes no body" in answer.body["detail"]) == (400, True), (body[:20], answer)
    assert api.paused == set()


NESTED_64: Any = b'{"queue":"emails","type":"send_sms","payload":' + b"[" * 63 + b"]" * 63 + b"}"
DIGITS_38: Any = b'{"queue":"emails","type":"send_sms","payload":' + b"9" * 38 + b"}"


@pytest.mark.parametrize("name", ["enqueue", "enqueue_in_queue"])
@pytest.mark.parametrize("body", [NESTED_64, DIGITS_38], ids=["nesting of 64", "38 digits"])
def test_what_is_just_within_the_limits_is_taken(name: str, body: bytes) -> None:
    (route,) = [route for route in ROUTES if route.name == name]
    assert send(Client(), route, body, as_base64=False).status == 202
