"""One local AWS with the real stack in it, for all tests here; the port is free, or JOBLINE_PORT."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobline.local_aws import ROOT, LocalAws, configured_port, free_port
from jobline.local_stack import LocalStack
from tests.e2e.checkout import copy_checkout
from tests.e2e.client import Client
from tests.e2e.meter import Meter


@pytest.fixture(scope="session")
def meter(tmp_path_factory: pytest.TempPathFactory) -> Meter:
    return Meter(tmp_path_factory.mktemp("meter") / "calls.jsonl")


@pytest.fixture(scope="session")
def stack(meter: Meter) -> Iterator[LocalStack]:
    """The stack as `make dev` deploys it, and every AWS call in it metered."""
    port = configured_port() if "JOBLINE_PORT" in os.environ else free_port()
    state = ROOT / ".jobline" / "e2e"
    with LocalAws(port=port, state=state, program=Path(__file__).with_name("metered_aws.py"), settings=meter.settings) as aws:
        stack = LocalStack(aws)
        stack.bootstrap()
        stack.deploy()
        yield stack


@pytest.fixture(scope="session")
def client(stack: LocalStack) -> Client:
    return Client(stack.deployment().api_url)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A second checkout, to change and to run beside this one."""
    return copy_checkout(tmp_path / "copy")
