"""The routes as a whole: what exists, what every answer has, and what happens when something of ours breaks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from moto import mock_aws

from jobline import openapi
from jobline.api_routes import ROUTES, Route
from jobline.errors import CorruptRecord, Unavailable
from jobline.job import Job
from jobline.memory import MemoryStore
from tests import aws
from tests.api import PLACE, Client, event
from tests.factories import JOB_ID


@pytest.fixture
def api() -> Client:
    return Client()


def test_health_needs_nothing_but_the_api_itself(api: Client) -> None:
    answer = Client(Broken(RuntimeError("no table"))).call("GET", "/health")
    assert (answer.status, answer.body) == (200, {"status": "ok", "stage": "test"})


def test_the_contract_is_served_and_only_once_to_who_has_it(api: Client) -> None:
    answer = api.call("GET", "/openapi.json")
    assert (answer.status, answer.body) == (200, json.loads(openapi.compact()))
    again = api.call("GET", "/openapi.json", headers={"if-none-match": f"W/{answer.headers['ETag']}"})
    assert (again.status, again.text, again.headers["ETag"]) == (304, "", answer.headers["ETag"])


def test_queues_are_listed_with_what_clients_may_know(api: Client) -> None:
    queues = {queue["name"]: queue for queue in api.call("GET", "/queues").body["queues"]}
    assert list(queues) == ["emails", "images", "letters", "operations"]
    assert queues["emails"] == {
        "name": "emails",
        "worker": "notifications",
        "types": ["send_email", "send_sms"],
        "concurrency": 10,
        "batch_size": 1,
        "lanes": ["high", "normal", "low"],
        "ordered": False,
        "low_latency": False,
        "max_attempts": 4,
        "retry": {"max_attempts": 4, "backoff": "exponential", "base_delay": 2000, "max_delay": 3600000, "jitter": 0.25},
        "timeout": 60,
        "paused": False,
    }


def test_one_queue_comes_with_its_numbers(api: Client) -> None:
    assert api.call("GET", "/queues/emails").body["stats"]["pending"] == len("emails")
    assert api.call("GET", "/queues/letters/stats").body["pending"] == len("letters")


@pytest.mark.parametrize("path", ["/queues/email", "/queues/email/stats"])
def test_an_unknown_queue_is_a_404_that_helps(api: Client, path: str) -> None:
    answer = api.call("GET", path)
    assert (answer.status, answer.body["detail"]) == (404, "There is no queue 'email' (did you mean 'emails'?).")


def test_types_come_with_their_schema_and_only_those_that_a_queue_takes(api: Client) -> None:
    types = {each["name"]: each for each in api.call("GET", "/types").body["types"]}
    assert list(types) == ["image_resize", "send_email", "send_sms", "batch", "publish", "purge", "redrive"]
    assert types["send_email"]["queues"] == ["emails", "letters"]
    assert types["send_email"]["schema"]["$defs"]["SendEmail"]["required"] == ["to"]
    assert (types["send_email"]["summary"], types["send_email"]["timeout"]) == ("Send one message.", 30)
    assert (types["send_sms"]["max_attempts"], types["send_sms"]["retry"]) == (7, {"backoff": "fixed", "jitter": 0.0})


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_of_the_table_is_answered(api: Client, route: Route) -> None:
    path = route.path.replace("{queue}", "emails").replace("{id}", JOB_ID).replace("{name}", "nightly").replace("{topic}", "orders")
    with mock_aws():  # where schedules are
        aws.client("scheduler").create_schedule_group(Name=PLACE.group)
        answer = api.call(route.method, path)
    assert answer.status < 500
    assert answer.status != 405
    assert "There is no route" not in answer.text


def test_a_job_has_the_same_routes_under_its_queue_with_the_same_access() -> None:
    jobs = {(route.method, f"/queues/{{queue}}{route.path}", route.does, route.access) for route in ROUTES if route.tag == "jobs"}
    of_queues = {each for each in jobs if not each[1].startswith("/queues/{queue}/queues")}
    assert of_queues <= {(route.method, route.path, route.does, route.access) for route in ROUTES}
    assert len(of_queues) * 2 == len(jobs)


def test_what_only_reads_is_a_get_and_what_is_done_to_a_queue_is_an_operators() -> None:
    assert {route.access for route in ROUTES if route.method == "GET"} == {"read"}
    assert "read" not in {route.access for route in ROUTES if route.method != "GET"}
    of_topics = {"put_subscription", "delete_subscription"}
    of_schedules = {f"{verb}_schedule" for verb in ("put", "delete", "pause", "resume")}
    assert {route.does for route in ROUTES if route.access == "admin"} == {"pause", "resume", "purge", "redrive"} | of_schedules | of_topics


@pytest.mark.parametrize(
    "path", ["/", "", "/job", "/jobs/", "/jobs/a/b", "/queues/emails/job", "/jobs/a/retry/b", "//jobs", "/favicon.ico"]
)
def test_a_wrong_url_is_a_404_problem(api: Client, path: str) -> None:
    assert api.call("GET", path).status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/jobs", "GET, POST"),
        ("HEAD", "/jobs", "GET, POST"),
        ("OPTIONS", "/jobs", "GET, POST"),
        ("POST", f"/jobs/{JOB_ID}", "DELETE, GET, PATCH"),
        ("PUT", f"/queues/emails/jobs/{JOB_ID}", "DELETE, GET, PATCH"),
        ("GET", f"/jobs/{JOB_ID}/retry", "POST"),
        ("GET", f"/jobs/{'0' * 1000}/retry", "POST"),
        ("OPTIONS", "/jobs/batch", "POST"),
        ("PATCH", "/jobs/batch", "POST"),
        ("GET", "/queues/emails/jobs/batch", "POST"),
        ("OPTIONS", "/queues/emails/jobs/batch", "POST"),
        ("DELETE", "/queues/emails", "GET"),
        ("POST", "/queues/emails/stats", "GET"),
        ("POST", "/health", "GET"),
    ],
)
def test_a_method_that_a_path_does_not_take_is_a_405_that_says_which_it_takes(api: Client, method: str, path: str, allowed: str) -> None:
    answer = api.call(method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/jobs"),
        ("GET", f"/jobs/{JOB_ID}"),
        ("DELETE", f"/jobs/{JOB_ID}"),
        ("PATCH", f"/jobs/{JOB_ID}"),
        ("POST", f"/jobs/{JOB_ID}/retry"),
        ("POST", f"/jobs/{JOB_ID}/replay"),
        ("GET", f"/jobs/{JOB_ID}/events"),
        ("GET", f"/jobs/{JOB_ID}/why"),
        ("GET", "/queues"),
        ("GET", "/queues/emails"),
        ("GET", "/queues/emails/stats"),
        ("GET", "/types"),
    ],
)
def test_a_query_parameter_that_a_route_does_not_know_is_refused(api: Client, method: str, path: str) -> None:
    answer = api.call(method, path, query={"waits": "20"})
    assert (answer.status, answer.body["detail"]) == (400, "The query parameter 'waits' is not known.")


def test_every_problem_names_the_request(api: Client) -> None:
    assert api.send(event("get_job")).body["request_id"] == "T9hTfgzmliAEMBA="


def test_a_list_is_asked_for_as_api_gateway_delivers_it(api: Client) -> None:
    answer = api.send(event("get_jobs"))
    assert (answer.status, answer.body["detail"]) == (400, "The query parameter 'tag' is there more than once.")
    once = event("get_jobs") | {"rawQueryString": "queue=emails&status=failed&tag=a%2Cb"}
    once["queryStringParameters"] |= {"tag": "a,b"}
    answer = api.send(once)
    assert (answer.status, answer.body) == (200, {"jobs": [], "next": None})


class Broken(MemoryStore):
    """A store in which every read goes wrong."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def get(self, job_id: str) -> Job | None:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("password=hunter2"), CorruptRecord("password=hunter2"), KeyError("password=hunter2")])
def test_what_breaks_inside_is_a_500_that_tells_nothing_and_is_logged_once(error: Exception) -> None:
    api = Client(Broken(error))
    answer = api.call("GET", f"/jobs/{JOB_ID}")
    assert (answer.status, answer.body["request_id"]) == (500, "request-1")
    assert "hunter2" not in answer.text
    ((level, _, fields),) = api.log.lines
    assert (level, fields["request_id"], fields["exc_info"]) == ("error", "request-1", error)


def test_aws_refusing_a_call_is_a_503_that_asks_to_come_back() -> None:
    api = Client(Broken(Unavailable("reading a job: ThrottlingException on arn:aws:dynamodb:…")))
    answer = api.call("GET", f"/jobs/{JOB_ID}")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert "arn:" not in answer.text
    assert [level for level, _, _ in api.log.lines] == ["warning"]


@pytest.mark.parametrize("broken", [{}, {"requestContext": {"requestId": "r"}}, {"version": "1.0", "path": "/jobs", "httpMethod": "GET"}])
def test_an_event_that_is_none_of_api_gateways_is_a_500_problem_too(broken: dict[str, Any]) -> None:
    api = Client()
    answer = api.send(broken)
    assert answer.status == 500
    assert len(api.log.lines) == 1


def test_a_request_that_succeeds_or_is_refused_logs_nothing(api: Client) -> None:
    api.enqueue()
    api.call("GET", "/nope")
    api.call("POST", "/jobs", "{")
    assert api.log.lines == []


def test_an_answer_is_what_lambda_and_api_gateway_take(api: Client) -> None:
    answer = api.api.handle(event("post_jobs"), None)
    assert json.loads(json.dumps(answer)) == answer
    assert {"statusCode", "headers", "body", "isBase64Encoded"} <= answer.keys()
    assert all(isinstance(value, str) for value in answer["headers"].values())


@pytest.mark.parametrize("character", ['"', "\n", "\x00", "\\", "#", "?", "^", "`"])
def test_a_character_that_no_id_has_is_a_404_and_never_a_405_for_a_method_that_is_taken(api: Client, character: str) -> None:
    for id in (character, JOB_ID + character, character * 10_000):
        answer = api.call("DELETE", f"/jobs/{id}")
        assert answer.status == 404
        assert len(answer.text) < 1500
