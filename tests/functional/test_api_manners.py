"""HTTP manners that every route has: methods, paths, query parameters, keys and cursors, each tried on the whole table of routes."""

from __future__ import annotations

import pytest

from jobline.api_examples import EXAMPLES
from jobline.api_routes import ROUTES, Route
from tests.api import SEND_EMAIL, Client
from tests.factories import JOB_ID

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"]
WRONG = [
    (method, path)
    for path in sorted({route.path for route in ROUTES})
    for method in METHODS
    if (method, path) not in {r[2:4] for r in ROUTES}
]
HOSTILE = [
    "..",
    ".",
    "../../health",
    "a/b",
    "/",
    "\x00",
    "\x00" * 8,
    f"{JOB_ID}\x00",
    f"{JOB_ID}/",
    f" {JOB_ID}",
    "x" * 10_000,
    "0" * 10_000,
    "\u00fc" * 36,
    "\u202e" * 8,
    "\U0001f600" * 10,
    "\uff10" * 36,
    "\r\nX-Injected: 1",
    "%2e%2e",
    "%00",
    "{id}",
    "$(id)",
    "' OR 1=1 --",
    "<script>",
    "-" * 36,
    "0" * 7,
    "_counters",
]
"""What may stand in place of an id or a queue's name, its percent-encoding already undone, as API Gateway hands it on."""


@pytest.fixture
def api() -> Client:
    return Client()


def filled(path: str, *, id: str = JOB_ID, queue: str = "emails", name: str = "nightly", topic: str = "orders") -> str:
    return path.format(id=id, queue=queue, name=name, topic=topic)


def a_body(route: Route) -> object:
    """A body that the route takes."""
    return next(iter(EXAMPLES[route.takes].values())) if route.takes else None


def test_every_method_that_a_path_does_not_take_is_a_405_that_says_which_it_takes(api: Client) -> None:
    for method, path in WRONG:
        answer = api.call(method, filled(path))
        taken = sorted(route.method for route in ROUTES if route.path == path)
        assert (answer.status, answer.headers["Allow"]) == (405, ", ".join(taken)), (method, path)
        assert answer.body["allow"] == taken
    assert api.store.jobs == {}


@pytest.mark.parametrize("route", [route for route in ROUTES if "{" in route.path], ids=lambda route: route.name)
def test_a_path_with_anything_in_it_is_a_problem_and_never_worse(api: Client, route: Route) -> None:
    """An operation's own answer is out of the question: there is no such job and no such queue."""
    for parameter in ("id", "queue", "name", "topic"):
        if f"{{{parameter}}}" in route.path:
            for text in HOSTILE:
                answer = api.call(route.method, filled(route.path, **{parameter: text}), a_body(route))
                assert answer.status in {400, 404, 405}, (text[:40], answer)
                assert len(answer.text) < 1500
                assert not any(char in answer.text for char in "\r\n\x00")
    assert api.store.jobs == {}
    assert api.log.lines == []


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("waits", "waits=20", "is not known"),
        ("x" * 5000, f"{'x' * 5000}=1", "is not known"),
        ("\u00e9", "%C3%A9=1", "is not known"),
        ("queue", "queue=emails&queue=emails", "more than once"),
        ("limit", "limit=", "is empty"),
        ("", "=1", "is not known"),
    ],
    ids=["unknown", "long", "unicode", "twice", "empty", "nameless"],
)
def test_a_query_parameter_that_no_route_can_mean_is_a_400(api: Client, route: Route, name: str, raw: str, says: str) -> None:
    value = {"twice": "emails,emails", "empty": ""}.get(raw.partition("=")[0], raw.partition("=")[2].partition("&")[0])
    body = a_body(route)
    answer = api.call(route.method, filled(route.path), body, query={name: value}, raw_query=raw)
    assert (answer.status, says in answer.body["detail"]) == (400, True), answer
    assert len(answer.text) < 1500
    assert (api.store.jobs, api.paused) == ({}, set())


@pytest.mark.parametrize("path", ["/jobs", "/queues/emails/jobs", "/queues/emails/purge", "/queues/emails/redrive"])
def test_two_keys_that_disagree_are_a_400_that_names_both_places(api: Client, path: str) -> None:
    body = SEND_EMAIL if path.endswith("jobs") else {}
    answer = api.call("POST", path, body | {"idempotency_key": "k"}, headers={"idempotency-key": "j"})
    assert (answer.status, answer.problems) == (400, [("/idempotency_key", "is not that of the Idempotency-Key header")])
    assert "idempotency_key" in answer.body["detail"]
    assert "Idempotency-Key" in answer.body["detail"]
    assert api.store.jobs == {}


LISTS = {"/jobs": {"queue": "emails"}, "/queues/emails/jobs": {}}


def a_cursor(api: Client, path: str, **query: str) -> str:
    for _ in range(3):
        api.enqueue()
    return str(api.call("GET", path, query=LISTS[path] | query | {"limit": "2"}).body["next"])


@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_with_any_bit_flipped_is_a_400(api: Client, path: str) -> None:
    cursor = a_cursor(api, path)
    assert api.call("GET", path, query=LISTS[path] | {"cursor": cursor}).status == 200
    for at, character in enumerate(cursor):
        for bit in range(8):
            flipped = cursor[:at] + chr(ord(character) ^ 1 << bit) + cursor[at + 1 :]
            answer = api.call("GET", path, query=LISTS[path] | {"cursor": flipped})
            assert (answer.status, "Begin again" in answer.body["detail"]) == (400, True), (at, bit)


def test_a_cursor_of_another_route_queue_or_filter_is_a_400(api: Client) -> None:
    cursor = a_cursor(api, "/jobs")
    others: list[tuple[str, dict[str, str]]] = [("/queues/emails/jobs", {}), ("/jobs", {"queue": "images"})]
    others += [("/jobs", {"queue": "emails"} | more) for more in ({"status": "dead"}, {"type": "send_sms"}, {"tag": "x"})]
    for path, query in others:
        assert api.call("GET", path, query=query | {"cursor": cursor}).status == 400, (path, query)
    assert api.call("GET", "/jobs", query={"queue": "emails", "cursor": a_cursor(api, "/queues/emails/jobs")}).status == 400
