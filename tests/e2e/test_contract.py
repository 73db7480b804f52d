"""The deployed API against its own contract, by schemathesis: what ran in memory (functional/test_contract.py) on the real services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.access import Access
from infra.constructs.ready_policies import POLICIES
from jobline.local_stack import LocalStack
from tests.e2e.client import Client
from tests.schemathesis_run import findings, narrowed

QUEUE = "diagnostics"


@pytest.fixture
def admin(stack: LocalStack) -> tuple[str, str]:
    """The access key of a user who may call every route: the signatures of the account's root are not checked here."""
    iam = stack.client("iam")
    iam.create_user(UserName="contract")
    iam.attach_user_policy(UserName="contract", PolicyArn=stack.outputs()[POLICIES[Access.ADMIN]])
    key = iam.create_access_key(UserName="contract")["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture
def tidied(client: Client) -> Iterator[None]:
    """Afterwards no queue is paused and no job is left of those that were made: other tests use the same queues, and count."""
    yield
    for queue in client.call("GET", "/queues").body["queues"]:
        if queue["paused"]:
            assert client.call("POST", f"/queues/{queue['name']}/resume").status == 200
    # Generated purges and redrives may be as slow as one job in ten seconds; and whatever is cancelled here may be over by then.
    for job in client.call("GET", "/jobs?queue=operations&limit=200").body["jobs"]:
        if job["completed_at"] is None:
            assert client.call("DELETE", f"/jobs/{job['id']}").status in {200, 409}
    purged = client.end_of(client.call("POST", f"/queues/{QUEUE}/purge").body["id"])
    assert purged["status"] == "done", purged


@pytest.mark.slow
@pytest.mark.usefixtures("tidied")
def test_schemathesis_finds_nothing_in_the_deployment(client: Client, admin: tuple[str, str], tmp_path: Path) -> None:
    queues = {queue["name"]: queue for queue in client.call("GET", "/queues").body["queues"]}
    document = narrowed(QUEUE, "echo", longest=queues[QUEUE]["timeout"])
    # Not the coverage phase: its 1,500 requests try how requests are read, which is the same code as in memory, and take minutes here.
    found = findings(client.url, document, tmp_path, queue=QUEUE, examples=3, phases="fuzzing,stateful", seconds=200, key=admin)
    assert not found, found
