"""What several of the functional tests begin with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api import Client
from tests.command_line import STATS, Cli
from tests.http_api import http_api


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """The command line, and behind it a whole API over a table in memory."""
    for name in ("JOBS_API_URL", "JOBS_DEBUG", "COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    with http_api(Client(read_stats=lambda queue, now: STATS)) as api:
        (tmp_path / ".jobline").mkdir()
        (tmp_path / ".jobline" / "local.json").write_text(json.dumps({"api_url": api.url}))
        monkeypatch.chdir(tmp_path)
        yield Cli(api, tmp_path, capsys)
