"""Which deployment is meant: who says so first decides."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session
from botocore.stub import Stubber

from jobline import stacks
from jobline.api_errors import NotAllowed, NotConfigured, Unreachable
from jobline.config_file import ConfigFile, Profile
from jobline.discovery import find
from jobline.stacks import Stack, find_stack

AWS_URL = "https://abc123.execute-api.eu-central-1.amazonaws.com"
LOCAL_URL = "http://localhost:4566/_aws/execute-api/abc123"
CONFIG = """
profile = "prod"

[profiles.prod]
api_url = "https://prod.execute-api.eu-west-1.amazonaws.com/"
aws_profile = "company-prod"

[profiles.dev]
stack = "Jobline-dev"
region = "eu-west-3"

[profiles.empty]
region = "eu-west-3"
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment whose config file has three deployments, in an account that has a stack of each name that is asked for."""
    (tmp_path / "config.toml").write_text(CONFIG)

    def found(name: str | None, *, region: str | None, aws_profile: str | None) -> Stack:
        return Stack(
            name or "Jobline-only", region or "eu-west-2", f"https://{(name or 'only').lower()}.execute-api.eu-west-2.amazonaws.com"
        )

    monkeypatch.setattr("jobline.stacks.find_stack", found)
    return {"JOBS_CONFIG_FILE": str(tmp_path / "config.toml")}


def noted(folder: Path) -> Path:
    (folder / ".jobline").mkdir()
    (folder / ".jobline" / "local.json").write_text(json.dumps({"api_url": LOCAL_URL, "stack": "Jobline-local"}))
    return folder


def test_each_source_goes_before_the_next(tmp_path: Path, environment: dict[str, str]) -> None:
    everything: dict[str, Any] = {
        "flags": {"api_url": AWS_URL, "profile": "prod", "stack": "Jobline-x"},
        "variables": {"JOBS_API_URL": "http://127.0.0.1:1", "JOBS_PROFILE": "dev", "JOBS_STACK": "Jobline-y"},
    }
    folder = noted(tmp_path)
    sources = []
    for kind, names in (("flags", ("api_url", "profile", "stack")), ("variables", ("JOBS_API_URL", "JOBS_PROFILE", "JOBS_STACK"))):
        for name in names:
            sources.append(find(**everything["flags"], environment=environment | everything["variables"], folder=folder).source)
            del everything[kind][name]
    sources.append(find(environment=environment, folder=folder).source)
    (folder / ".jobline" / "local.json").unlink()
    sources.append(find(environment=environment, folder=folder).source)
    (tmp_path / "config.toml").unlink()
    sources.append(find(environment=environment | {"AWS_REGION": "eu-west-2"}, folder=folder).source)
    assert sources == [
        "--api-url",
        "--profile prod",
        "--stack Jobline-x",
        "JOBS_API_URL",
        "JOBS_PROFILE dev",
        "JOBS_STACK Jobline-y",
        str(folder / ".jobline" / "local.json"),
        f"{tmp_path / 'config.toml'} (profile prod)",
        "the only Jobline stack in eu-west-2",
    ]


def test_a_profile_says_url_or_stack_region_and_credentials(tmp_path: Path, environment: dict[str, str]) -> None:
    prod = find(profile="prod", environment=environment, folder=tmp_path)
    assert (prod.api_url, prod.region, prod.aws_profile, prod.local) == (
        "https://prod.execute-api.eu-west-1.amazonaws.com", "eu-west-1", "company-prod", False,
    )  # fmt: skip
    dev = find(profile="dev", environment=environment, folder=tmp_path)
    assert (dev.api_url, dev.stack) == ("https://jobline-dev.execute-api.eu-west-2.amazonaws.com", "Jobline-dev")
    for name, word in (("empty", "neither api_url nor stack"), ("nobody", "no profile 'nobody'")):
        with pytest.raises(NotConfigured, match=word):
            find(profile=name, environment=environment, folder=tmp_path)


def test_a_local_deployment_knows_its_aws_and_its_stack(tmp_path: Path, environment: dict[str, str]) -> None:
    found = find(environment=environment, folder=noted(tmp_path))
    assert (found.local, found.endpoint_url, found.stack) == (True, "http://localhost:4566", "Jobline-local")


# ---------------------------------------------------------------------------------------------------- config file


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config.toml"
    file = ConfigFile.read(path).with_setting("prod", "stack", 'Job"line\\-é').with_setting("dev", "api_url", AWS_URL)
    file.write()
    read = ConfigFile.read(path)
    assert read == file
    assert (read.default, read.profiles["prod"]) == ("prod", Profile(stack='Job"line\\-é'))
    assert read.with_default("dev").default == "dev"
    gone = read.with_setting("prod", "stack", None)
    assert (list(gone.profiles), gone.default) == (["dev"], None)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("profile = ", "cannot be read"),
        ("profile = 'x'", r"\[profiles.x\]"),
        ("colour = 'red'", "colour is no setting"),
        ("profiles = 1", "not a table"),
        ("[profiles]\nx = 1", "profiles.x is not a table"),
        ("[profiles.x]\nurl = 'a'", "profiles.x.url is no setting"),
        ("[profiles.x]\nstack = 1", "profiles.x.stack is not a text"),
    ],
)
def test_a_broken_config_file_is_named_with_its_key(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(NotConfigured, match=word) as caught:
        ConfigFile.read(path)
    assert str(path) in caught.value.detail
    assert "\n" not in caught.value.detail


# ---------------------------------------------------------------------------------------------------- stacks


class Account:
    """A CloudFormation that has these stacks, and how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.asked = 0
        self._client = Session().create_client("cloudformation", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
        self.stub = Stubber(self._client)
        monkeypatch.setattr(stacks, "_memory_path", lambda: folder / "cache" / "stacks.json")
        monkeypatch.setattr(stacks, "make_session", lambda profile: self)

    def get_config_variable(self, name: str) -> str | None:
        return None

    def create_client(self, service: str, **options: Any) -> Any:
        self.asked += 1
        return self._client

    def has(self, *names: str) -> None:
        described = [
            {
                "StackName": name,
                "Description": "Jobline, a job queue: stage dev" if name.startswith("Jobline") else "something else",
                "CreationTime": "2026-01-01T00:00:00Z",
                "StackStatus": "CREATE_COMPLETE",
                "Outputs": [{"OutputKey": "ApiUrl", "OutputValue": f"https://{name}.example.com"}],
            }
            for name in names
        ]
        self.stub.add_response("describe_stacks", {"Stacks": described})


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Account]:
    account = Account(monkeypatch, tmp_path)
    with account.stub:
        yield account


def test_the_only_stack_is_found_and_remembered_for_an_hour(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.has("Other", "Jobline-dev")
    only = Stack("Jobline-dev", "eu-west-1", "https://Jobline-dev.example.com")
    assert find_stack(None, region="eu-west-1", aws_profile=None) == only
    assert find_stack(None, region="eu-west-1", aws_profile=None) == only
    assert account.asked == 1
    now = time.time()
    monkeypatch.setattr("jobline.stacks.time.time", lambda: now + 3601)
    account.has("Jobline-dev")
    assert find_stack(None, region="eu-west-1", aws_profile=None) == only
    assert account.asked == 2


def test_a_stack_is_found_by_its_name_or_its_stage(account: Account) -> None:
    for name in ("Jobline-prod", "prod"):
        account.has("Jobline-dev", "Jobline-prod")
        assert find_stack(name, region="eu-west-1", aws_profile=None).name == "Jobline-prod"


def test_none_and_several_are_said_so(account: Account) -> None:
    account.has("Other")
    with pytest.raises(NotConfigured, match="no Jobline stack in eu-west-1"):
        find_stack(None, region="eu-west-1", aws_profile=None)
    account.has("Jobline-dev", "Jobline-prod")
    with pytest.raises(NotConfigured, match="several Jobline stacks in eu-west-1: Jobline-dev, Jobline-prod"):
        find_stack(None, region="eu-west-1", aws_profile=None)
    with pytest.raises(NotConfigured, match="Which region"):
        find_stack("dev", region=None, aws_profile=None)


def test_what_aws_refuses_is_worded(account: Account) -> None:
    account.stub.add_client_error("describe_stacks", "AccessDenied", "not authorized", http_status_code=403)
    with pytest.raises(NotAllowed, match="CloudFormation refuses DescribeStacks: not authorized"):
        find_stack(None, region="eu-west-1", aws_profile=None)
    account.stub.add_client_error("describe_stacks", "ValidationError", "no", http_status_code=400)
    with pytest.raises(Unreachable, match="ValidationError"):
        find_stack(None, region="eu-west-1", aws_profile=None)
