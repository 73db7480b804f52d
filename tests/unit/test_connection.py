"""Finding the API, being somebody there, and what its answers mean."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from jobline import api_errors, errors
from jobline.api_errors import NotAllowed, NotConfigured, NotJobline, ServerError, TooManyRequests, error_of
from jobline.connection import Connection, Keys, sign
from jobline.local_aws import free_port
from jobline.problems import is_mapped, problem
from tests.http_api import Received, signature_is_right

AWS_URL = "https://abc123.execute-api.eu-central-1.amazonaws.com"
LOCAL_URL = "http://localhost:4566/_aws/execute-api/abc123"


def noted(folder: Path, url: object = LOCAL_URL) -> Path:
    """The folder with a note of a local deployment in it."""
    (folder / ".jobline").mkdir(parents=True)
    (folder / ".jobline" / "local.json").write_text(json.dumps({"api_url": url, "region": "eu-west-1"}))
    return folder


def test_an_url_that_is_given_goes_before_one_in_the_environment_and_that_before_the_note(tmp_path: Path) -> None:
    folder, environment = noted(tmp_path), {"JOBS_API_URL": "http://127.0.0.1:1"}
    assert Connection.find(api_url=AWS_URL, environment=environment, folder=folder).api_url == AWS_URL
    assert Connection.find(environment=environment, folder=folder).api_url == "http://127.0.0.1:1"
    assert Connection.find(environment={}, folder=folder).api_url == LOCAL_URL


def test_the_note_is_found_from_a_folder_deep_inside_the_checkout(tmp_path: Path) -> None:
    deep = noted(tmp_path) / "functions" / "media"
    deep.mkdir(parents=True)
    assert Connection.find(environment={}, folder=deep).api_url == LOCAL_URL


def test_without_any_url_the_error_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match=r"--api-url.*JOBS_API_URL.*make dev"):
        Connection.find(environment={}, folder=tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"api_url": 7}'])
def test_a_broken_note_is_named(tmp_path: Path, text: str) -> None:
    noted(tmp_path)
    (tmp_path / ".jobline" / "local.json").write_text(text)
    with pytest.raises(NotConfigured, match=r"local\.json"):
        Connection.find(environment={}, folder=tmp_path)


def test_a_note_cannot_send_jobs_away_from_this_machine(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="not on this machine"):
        Connection.find(environment={}, folder=noted(tmp_path, AWS_URL))


@pytest.mark.parametrize("url", ["abc", "ftp://host", "https://", "http://host:port", "http://ho st", "https://host/?a=b", "https://[::1"])
def test_what_is_no_url_of_an_api_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(NotConfigured, match="not the URL of an API"):
        Connection.find(api_url=url, environment={})


def test_the_region_is_that_of_the_host(tmp_path: Path) -> None:
    environment = {"AWS_REGION": "us-east-1"}
    assert Connection.find(api_url=AWS_URL, environment=environment).region == "eu-central-1"
    assert Connection.find(api_url=f"{AWS_URL}.cn", environment=environment).region == "eu-central-1"
    assert Connection.find(api_url="https://jobs.example.com/prod/", environment=environment).region == "us-east-1"
    assert Connection.find(api_url=LOCAL_URL, environment=environment).region == "eu-west-1"
    with pytest.raises(NotConfigured, match="AWS_REGION"):
        Connection.find(api_url="https://jobs.example.com", environment={})


def test_a_request_to_a_domain_of_the_adopters_is_signed_for_that_host_and_the_region_that_was_said() -> None:
    connection = Connection.find(api_url="https://jobs.example.com", environment={"AWS_REGION": "eu-north-1"})
    signed = sign("GET", f"{connection.api_url}/jobs/1", b"", {}, region=connection.region, keys=Keys("AKID", "secret"))
    headers = {name.lower(): value for name, value in signed.items()}
    for host, right in (("jobs.example.com", True), ("abc123.execute-api.eu-north-1.amazonaws.com", False)):
        request = Received("GET", "/jobs/1", headers | {"host": host}, b"")
        assert signature_is_right(request, access_key="AKID", secret="secret", region="eu-north-1") is right


def test_without_credentials_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with pytest.raises(NotConfigured, match="no AWS credentials"):
        Connection.find(api_url=AWS_URL, environment={}).request("GET", "/health")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(NotConfigured, match="nobody"):
        Connection.find(api_url=AWS_URL, environment={}).request("GET", "/health")


def test_an_unused_connection_can_be_closed() -> None:
    with Connection(LOCAL_URL, region="eu-west-1", keys=lambda: Keys("a", "b")):
        pass


def bearer(connection: Connection) -> str:
    """What the connection says of who it is, with one request to a server that answers {}."""
    heard: list[str] = []

    class Hear(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", int(connection.api_url.rpartition(":")[2])), Hear) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        with connection:
            connection.request("GET", "/health")
        thread.join()
    return heard[0]


def test_a_token_that_is_given_goes_before_that_of_the_environment_and_is_asked_for_at_each_request() -> None:
    url, environment = f"http://127.0.0.1:{free_port()}", {"JOBS_TOKEN": "from.the.environment"}
    assert bearer(Connection.find(api_url=url, environment=environment)) == "Bearer from.the.environment"
    assert bearer(Connection.find(api_url=url, token="given", environment=environment)) == "Bearer given"
    tokens = iter(["first", "second"])
    connection = Connection.find(api_url=url, token=lambda: next(tokens), environment=environment)
    assert (bearer(connection), next(tokens)) == ("Bearer first", "second")
    assert bearer(Connection.find(api_url=url, environment={})).startswith("AWS4-HMAC-SHA256 ")


def test_a_token_in_the_environment_is_not_for_the_deployment_that_a_note_names(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    connection = Connection.find(environment={"JOBS_TOKEN": "a.b.c"}, folder=noted(tmp_path, url))
    assert bearer(connection).startswith("AWS4-HMAC-SHA256 ")


def test_a_token_is_never_sent_in_the_clear() -> None:
    with pytest.raises(NotConfigured, match="Use https"):
        Connection.find(api_url="http://jobs.example.com", token="a.b.c", environment={})


def test_a_token_needs_no_region_and_no_aws_credentials() -> None:
    assert Connection.find(api_url="https://jobs.example.com", token="a.b.c", environment={}).api_url == "https://jobs.example.com"


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX-Evil: 1", "Bearer a.b.c", "é"])
def test_what_no_header_can_carry_is_refused_and_not_told(token: str) -> None:
    with pytest.raises(NotConfigured, match="no bearer token has") as caught:
        Connection.find(api_url=LOCAL_URL, token=lambda: token, environment={}).request("GET", "/health")
    assert not token.strip() or token not in str(caught.value)


# ---------------------------------------------------------------------------------------------------- answers


def told(status: int, document: Any) -> errors.JoblineError:
    return error_of(status, document, AWS_URL)


def every_error() -> list[type[errors.JoblineError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.JoblineError)]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_a_problem_document_becomes_the_error_that_wrote_it(kind: type[errors.JoblineError]) -> None:
    assert is_mapped(kind)
    written = problem(kind("what happened"), "request-1")
    read = told(written.status, written.document)
    if written.status == 500:
        assert type(read) is ServerError
    else:
        assert type(read) is kind
        assert read.extra["request_id"] == "request-1"
    assert read.detail == written.document["detail"]


def test_the_places_and_facts_of_a_problem_are_kept() -> None:
    document = {"type": "urn:jobline:problem:invalid-job", "title": "t", "status": 422, "detail": "d", "self": 1, "problems": 2}
    read = told(422, document | {"errors": [{"pointer": "/payload/to", "detail": "is missing"}, "?"], "candidates": ["a"]})
    assert isinstance(read, errors.InvalidJob)
    assert read.problems == ({"pointer": "/payload/to", "detail": "is missing"},)
    assert (read.extra["candidates"], read.extra["status"]) == (["a"], 422)


def test_a_problem_that_a_newer_api_invented_is_known_by_its_status() -> None:
    read = told(409, {"type": "urn:jobline:problem:brand-new", "title": "t", "status": 409, "detail": "The moon is wrong."})
    assert (type(read), read.detail) == (errors.Conflict, "The moon is wrong.")


@pytest.mark.parametrize(
    ("status", "message", "kind", "word"),
    [
        (401, "Unauthorized", NotAllowed, "it is missing, expired, or of another issuer or audience"),
        (403, "Forbidden", NotAllowed, "credentials are not valid there, or lack execute-api:Invoke"),
        (403, "The security token included in the request is expired", NotAllowed, "is expired"),
        (404, "Not Found", NotJobline, "Is the URL right"),
        (413, "Request Too Long", errors.TooLarge, "larger"),
        (429, "Too Many Requests", TooManyRequests, "Try again"),
        (500, "Internal Server Error", ServerError, "log"),
        (503, "Service Unavailable", errors.Unavailable, "503"),
        (302, None, NotJobline, "302"),
        (418, None, NotJobline, "418"),
    ],
)
def test_what_the_gateway_refuses_is_worded_for_people(
    status: int, message: str | None, kind: type[errors.JoblineError], word: str
) -> None:
    read = told(status, {"message": message})
    assert type(read) is kind
    assert word in read.detail
    assert "\n" not in read.detail


@pytest.mark.parametrize("document", [None, [], "text", {"detail": 1, "type": 2}, {"message": {}}])
def test_any_answer_that_is_no_success_becomes_an_error(document: Any) -> None:
    assert isinstance(told(404, document), NotJobline)
    assert isinstance(told(500, document), ServerError)


def test_the_errors_of_the_way_have_titles() -> None:
    kinds = [kind for kind in vars(api_errors).values() if isinstance(kind, type) and kind.__module__ == api_errors.__name__]
    assert len(kinds) == 7
    assert all((kind.__doc__ or "").endswith(".") for kind in kinds)
