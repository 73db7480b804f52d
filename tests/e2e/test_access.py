"""Who is let in, and what the others are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from jobline.local_aws import ACCOUNT, REGION
from jobline.local_stack import LocalStack
from tests.e2e.client import Client

ECHO = {"queue": "diagnostics", "type": "echo", "payload": 1}

Caller = Callable[..., Client]


@pytest.fixture(scope="module")
def caller(stack: LocalStack) -> Caller:
    """Makes an IAM user who may call the routes given, each as `METHOD/path`, and a client of theirs."""
    iam, url, made = stack.client("iam"), stack.deployment().api_url, iter(range(100))

    def make(*routes: str, secret: str | None = None) -> Client:
        user = f"user{next(made)}"
        iam.create_user(UserName=user)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        api = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{urlsplit(url).path.rpartition('/')[2]}"
        statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": [f"{api}/*/{route}" for route in routes]}
        if routes:
            policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            iam.put_user_policy(UserName=user, PolicyName="api", PolicyDocument=policy)
        return Client(url, key=key["AccessKeyId"], secret=secret or key["SecretAccessKey"])

    return make


def test_an_unsigned_request_is_refused(client: Client) -> None:
    assert Client(client.url, key=None).call("POST", "/jobs", ECHO).status == 403


def test_a_key_that_nobody_has_is_refused(client: Client) -> None:
    assert Client(client.url, key="AKIAIOSFODNN7EXAMPLE", secret="x").call("GET", "/health").status == 403


def test_a_wrong_secret_is_refused(caller: Caller) -> None:
    assert caller("*/*", secret="wrong").call("POST", "/jobs", ECHO).status == 403


def test_a_user_without_permission_is_refused(caller: Caller) -> None:
    assert caller().call("POST", "/jobs", ECHO).status == 403


def test_a_user_of_one_queue_reaches_that_queue_only(caller: Caller) -> None:
    user = caller("*/queues/diagnostics/*")
    enqueued = user.call("POST", "/queues/diagnostics/jobs", {"type": "echo", "payload": 1})
    assert enqueued.status == 202
    assert user.call("GET", f"/queues/diagnostics/jobs/{enqueued.body['id']}").status == 200
    assert user.call("POST", "/queues/emails/jobs", {"type": "send_email", "payload": {"to": "a@example.com"}}).status == 403
    assert user.call("POST", "/jobs", ECHO).status == 403


def test_each_of_an_operator_s_routes_is_granted_by_itself(caller: Caller) -> None:
    user = caller("POST/queues/diagnostics/redrive", "GET/queues/operations/jobs/*")
    started = user.call("POST", "/queues/diagnostics/redrive", {"error": "an error that no job has"})
    assert started.status == 202
    assert user.call("GET", f"/queues/operations/jobs/{started.body['id']}").status == 200
    for forbidden in ("diagnostics/purge", "diagnostics/pause", "diagnostics/resume", "emails/redrive"):
        assert user.call("POST", f"/queues/{forbidden}").status == 403


def test_a_wrong_url_is_not_found(client: Client) -> None:
    wrong = client.url.rpartition("/")[0] + "/00000000"
    assert Client(wrong).call("GET", "/health").status == 404


def test_an_unknown_route_is_a_problem_document(client: Client) -> None:
    answer = client.call("GET", "/no/such/route")
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "request_id"} <= set(answer.body)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"queue": "nowhere"}, "/queue"),
        ({"type": "no_such_type"}, "/type"),
        ({"type": "sleep", "payload": {"seconds": "long"}}, "/payload/seconds"),
        ({"priority": 11}, "/priority"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_what_cannot_be_accepted_is_named(client: Client, change: dict[str, object], pointer: str) -> None:
    answer = client.call("POST", "/jobs", ECHO | change)
    assert answer.status in (400, 422)
    assert pointer in [error["pointer"] for error in answer.body["errors"]]


def test_a_job_that_is_not_there_is_a_404(client: Client) -> None:
    assert client.call("GET", "/jobs/01890000-0000-7000-8000-000000000000").status == 404
