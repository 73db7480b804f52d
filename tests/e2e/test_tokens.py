"""The door for tokens: the routes that the stack makes for it, in front of the deployed function, with a real issuer on this machine."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from aws_cdk.assertions import Template
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec.structs import replace

import jobline
from infra.access import Access
from jobline.api_errors import NotAllowed
from jobline.api_routes import ROUTES, Route
from jobline.definitions import ApiAccess, Jwt
from jobline.local_stack import LocalStack
from tests.e2e.client import Answer, Client
from tests.infra.deployment import definitions, make_stack

AUDIENCE = "jobline-e2e"


class Issuer:
    """An OpenID Connect issuer: says where its keys are, and signs what it is told to."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        issuer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                document = issuer.keys() if self.path == "/keys" else {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def keys(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        n, e = (encoded(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (numbers.n, numbers.e))
        return {"keys": [{"kid": "one", "kty": "RSA", "alg": "RS256", "use": "sig", "n": n, "e": e}]}

    def token(self, *scopes: str, key: rsa.RSAPrivateKey | None = None, **claims: Any) -> str:
        """A token that is good for an hour, unless `claims` say otherwise; signed by `key` in place of the issuer's own."""
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now - 10, "exp": now + 3600, "scope": " ".join(scopes)} | claims
        signed = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "one"}, said))
        return f"{signed}.{encoded((key or self._key).sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    thread = Thread(target=issuer.server.serve_forever)
    thread.start()
    yield issuer
    issuer.server.shutdown()
    thread.join()
    issuer.server.server_close()


@pytest.fixture(scope="module")
def door(stack: LocalStack, issuer: Issuer) -> str:
    """The URL of the door: what a deployment with the setting adds to one without, deployed on top of the one that is there."""
    access = ApiAccess(jwt=Jwt(issuer=issuer.url, audience=(AUDIENCE,)))
    whole = Template.from_stack(make_stack("local", replace(definitions("local"), access=access))).to_json()
    added = {name: resource for name, resource in whole["Resources"].items() if name.startswith("Tokens")}
    cloudformation, name = stack.client("cloudformation"), stack.deployment().stack
    api = next(name for name in whole["Resources"] if name.startswith("ApiFunction"))
    function = cloudformation.describe_stack_resource(StackName=name, LogicalResourceId=api)["StackResourceDetail"]["PhysicalResourceId"]
    arn = stack.client("lambda").get_function(FunctionName=function)["Configuration"]["FunctionArn"]
    http_api = next(name for name, resource in added.items() if resource["Type"] == "AWS::ApiGatewayV2::Api")
    resources = there(added, {json.dumps({"Fn::GetAtt": [api, "Arn"]}): arn})
    template = {"Resources": resources, "Outputs": {"Api": {"Value": {"Ref": http_api}}}}
    cloudformation.create_stack(StackName="tokens", TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_create_complete").wait(StackName="tokens", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    [output] = cloudformation.describe_stacks(StackName="tokens")["Stacks"][0]["Outputs"]
    return f"{stack.deployment().api_url.rpartition('/')[0]}/{output['OutputValue']}"


def there(value: Any, deployed: Mapping[str, str]) -> Any:
    """`value` with its references to what is deployed elsewhere replaced by what they are there."""
    if isinstance(value, dict):
        return deployed.get(json.dumps(value)) or {name: there(inner, deployed) for name, inner in value.items()}
    return [there(inner, deployed) for inner in value] if isinstance(value, list) else value


def call(door: str, token: str | None, method: str, path: str) -> Answer:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    return Client(door, key=None).send(method, path, b"" if method == "GET" else b"{}", headers)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_scope_opens_the_routes_of_its_class_and_no_other(door: str, issuer: Issuer, route: Route) -> None:
    method, path = route.method, route.path
    called = path.replace("{id}", "01890000-0000-7000-8000-000000000000").replace("{queue}", "no-such-queue")
    for held in Access:
        status = call(door, issuer.token(f"jobs:{held}"), method, called).status
        assert (status not in (401, 403)) == (route.access in held.included), (held, status)
    assert call(door, issuer.token(), method, called).status == 403
    assert call(door, issuer.token("openid", "email"), method, called).status == 403
    assert call(door, None, method, called).status == 401


def test_a_token_that_has_expired_or_is_not_for_us_or_not_from_them_is_refused(door: str, issuer: Issuer) -> None:
    now, stranger = int(time.time()), rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert call(door, issuer.token("jobs:read"), "GET", "/queues").status == 200
    for refused in (
        issuer.token("jobs:read", exp=now - 60),
        issuer.token("jobs:read", nbf=now + 600),
        issuer.token("jobs:read", aud="somebody else"),
        issuer.token("jobs:read", aud=None),
        issuer.token("jobs:read", iss="http://127.0.0.1:1"),
        issuer.token("jobs:read", key=stranger),
        issuer.token("jobs:read").rpartition(".")[0] + ".",
        "no.token.at-all",
    ):
        assert call(door, refused, "GET", "/queues").status == 401


@pytest.mark.parametrize("spelling", ["/queues/emails/purge/", "//queues/emails/purge", "/queues/./emails/purge"])
def test_another_spelling_of_a_route_opens_no_way_around_its_scope(door: str, issuer: Issuer, spelling: str) -> None:
    assert call(door, issuer.token("jobs:write"), "POST", spelling).status == 403


def test_a_signature_does_not_open_the_door_for_tokens_nor_a_token_that_for_signatures(door: str, client: Client, issuer: Issuer) -> None:
    assert Client(door).call("GET", "/queues").status == 401
    assert call(client.url, issuer.token("jobs:admin"), "GET", "/queues").status == 403


def test_the_python_client_comes_in_with_a_token(door: str, issuer: Issuer) -> None:
    with jobline.Client(door, token=lambda: issuer.token("jobs:write")) as client:
        assert client.enqueue("echo", 7, queue="diagnostics").result(timeout=60) == 7
    with jobline.Client(door, token=issuer.token("jobs:read")) as client, pytest.raises(NotAllowed, match="lacks the scope"):
        client.enqueue("echo", 7, queue="diagnostics")
    with jobline.Client(door, token=issuer.token("jobs:read", exp=1)) as client, pytest.raises(NotAllowed, match="expired"):
        client.queues()
