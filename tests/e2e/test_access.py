"""Who is let in, and what the others are told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import time_machine

from infra.access import Access
from infra.constructs.ready_policies import POLICIES
from jobline.api_routes import ROUTES, Route
from jobline.local_aws import ACCOUNT, REGION, ROOT
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


@pytest.fixture(scope="module")
def holders(stack: LocalStack) -> dict[Access, Client]:
    """For each ready policy a client of an IAM user that has it and no other."""
    iam, outputs, url = stack.client("iam"), stack.outputs(), stack.deployment().api_url

    def holder(name: str) -> Client:
        iam.create_user(UserName=name)
        iam.attach_user_policy(UserName=name, PolicyArn=outputs[name])
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Client(url, key=key["AccessKeyId"], secret=key["SecretAccessKey"])

    return {one: holder(name) for one, name in POLICIES.items()}


NOTHING = {
    "{id}": "01890000-0000-7000-8000-000000000000",
    "{queue}": "no-such-queue",
    "{name}": "no-such-schedule",
    "{topic}": "no-such-topic",
}
"""What the parameters of a route are filled in with, so that a call that is let in changes nothing."""


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_ready_policy_lets_its_holder_call_the_routes_of_its_class_and_no_other(holders: dict[Access, Client], route: Route) -> None:
    method, path = route.method, route.path
    called = re.sub("{.*?}", lambda parameter: NOTHING[parameter[0]], path)
    for held, client in holders.items():
        answer = client.call(method, called, None if method == "GET" else {})
        assert (answer.status != 403) == (route.access in held.included), f"{POLICIES[held]}: {answer}"
        assert answer.status < 500


@pytest.mark.parametrize("spelling", ["/queues/emails/purge/", "//queues/emails/purge", "/queues/emails%2Fpurge", "/queues/./emails/purge"])
def test_another_spelling_of_a_route_opens_no_way_around_its_policy(holders: dict[Access, Client], spelling: str) -> None:
    assert holders[Access.WRITE].call("POST", spelling, {"dry_run": True}).status in (403, 404)


def test_a_holder_of_write_does_with_jobs_what_the_policy_says(holders: dict[Access, Client]) -> None:
    reader, writer = holders[Access.READ], holders[Access.WRITE]
    job_id = writer.enqueue("diagnostics", "echo", 1, delay=3600)
    assert reader.job(job_id)["status"] == "scheduled"
    assert writer.call("PATCH", f"/jobs/{job_id}", {"delay": 7200}).status == 200
    assert writer.call("DELETE", f"/queues/diagnostics/jobs/{job_id}").body == {"cancelled": True}
    assert reader.job(job_id)["status"] == "cancelled"


@pytest.fixture(scope="module")
def somebody(holders: dict[Access, Client]) -> Client:
    """A user whose signatures are checked: the client of the other tests is its account's root, whom the local AWS believes."""
    return holders[Access.WRITE]


@pytest.fixture(scope="module")
def of_emails(stack: LocalStack) -> Client:
    """A user with the policy that docs/access.md shows."""
    iam, url = stack.client("iam"), stack.deployment().api_url
    (policy,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "access.md").read_text(encoding="utf-8"), re.DOTALL)
    here = {"REGION": REGION, "ACCOUNT": ACCOUNT, "API_ID": urlsplit(url).path.rpartition("/")[2]}
    iam.create_user(UserName="of-emails")
    iam.put_user_policy(
        UserName="of-emails", PolicyName="emails", PolicyDocument=re.sub("|".join(here), lambda name: here[name[0]], policy)
    )
    key = iam.create_access_key(UserName="of-emails")["AccessKey"]
    return Client(url, key=key["AccessKeyId"], secret=key["SecretAccessKey"])


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_the_policy_of_one_queue_grants_its_jobs_and_nothing_outside_it(of_emails: Client, route: Route) -> None:
    method, path = route.method, route.path
    let_in = route.access in Access.WRITE.included and path.startswith("/queues/{queue}")
    for queue in ("emails", "emails-2", "diagnostics"):
        called = path.replace("{id}", NOTHING["{id}"]).replace("{queue}", queue)
        answer = of_emails.call(method, called, None if method == "GET" else {})
        assert (answer.status != 403) == (let_in and queue == "emails"), answer


def test_the_policy_of_one_queue_does_not_reach_a_job_of_another(of_emails: Client, client: Client) -> None:
    job_id = client.enqueue("diagnostics", "echo", 1, delay=3600)
    assert of_emails.call("GET", f"/queues/emails/jobs/{job_id}").status == 404
    assert of_emails.call("DELETE", f"/queues/emails/jobs/{job_id}").status == 404
    assert client.job(job_id)["status"] == "scheduled"
    assert client.call("DELETE", f"/jobs/{job_id}").status == 200  # other tests purge this queue, and count


def test_a_body_that_was_changed_on_the_way_is_refused(somebody: Client) -> None:
    body, other = json.dumps(ECHO).encode(), json.dumps(ECHO | {"payload": 2}).encode()
    signed = somebody.signed("POST", "/jobs", body)
    assert somebody.send("POST", "/jobs", other, signed).status == 403
    assert somebody.send("POST", "/jobs", body, signed).status == 202


def test_a_signature_is_good_for_its_own_route_alone(somebody: Client) -> None:
    signed = somebody.signed("GET", "/queues")
    assert somebody.send("GET", "/types", b"", signed).status == 403
    assert somebody.send("GET", "/queues", b"", signed).status == 200


@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_signature_of_another_time_is_refused(somebody: Client, minutes: int) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes)):
        signed = somebody.signed("GET", "/queues")
    assert somebody.send("GET", "/queues", b"", signed).status == 403


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_an_unsigned_request_is_refused_on_every_route(client: Client, route: Route) -> None:
    assert Client(client.url, key=None).call(route.method, route.path).status == 403
    assert Client(client.url, key=None).call(route.method, route.path, headers={"Authorization": "Bearer a.b.c"}).status == 403


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
