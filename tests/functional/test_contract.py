"""The API in this process against its own contract, by schemathesis."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.http_api import http_api
from tests.schemathesis_run import findings, narrowed


@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    # The memory store has no S3 to upload to.
    with http_api() as api:
        document = narrowed("emails", "send_sms")
        found = findings(api.url, document, tmp_path, examples=8, phases="examples,coverage", seconds=200, exclude="^start_upload")
    assert not found, found
