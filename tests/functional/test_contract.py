"""The API in this process against its own contract, by schemathesis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from jobline.memory_items import MemoryBucket, MemoryItems
from jobline.payloads import Bodies
from tests import aws
from tests.api import PLACE, Client
from tests.http_api import http_api
from tests.schemathesis_run import findings, narrowed


@pytest.mark.slow
@pytest.mark.parametrize(("phases", "examples"), [("coverage", 1), ("fuzzing", 15), ("stateful", 20)])
def test_schemathesis_finds_nothing(phases: str, examples: int, tmp_path: Path) -> None:
    items: Any = MemoryItems()
    bucket: Any = MemoryBucket()
    with mock_aws(), http_api(Client(bodies=Bodies(items, "jobs", lambda: bucket, "bodies"))) as api:
        aws.client("scheduler").create_schedule_group(Name=PLACE.group)
        document = narrowed("emails", "send_sms", longest=60)
        found = findings(api.url, document, tmp_path, queue="emails", examples=examples, phases=phases, seconds=200)
    assert not found, found
