"""`jobs`, called in this process from inside a checkout with a local deployment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jobline.cli import run
from jobline.shards import attention_partition
from jobline.stats import QueueStats
from tests.factories import make_job
from tests.http_api import HttpApi

STATS = QueueStats(
    pending=1523,
    running=10,
    failed=5,
    retrying=3,
    scheduled=4,
    dead=2,
    done=90_000,
    avg_wait_time=2.3,
    p95_wait_time=7200.0,
    avg_run_time=None,
    oldest_job_age=61.0,
    enqueue_rate=0.0667,
    dequeue_rate=12.0,
    error_rate=0.031,
    active_workers=7,
    paused=True,
)


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """`jobs`, called from inside a checkout with a local deployment."""

    def __init__(self, api: HttpApi, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.api = api
        self.client = api.client
        self.folder = folder
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Result:
        code = run(arguments)
        captured = self._capsys.readouterr()
        return Result(code, captured.out, captured.err)

    def has(self, *, letter: str = "a", **fields: Any) -> str:
        """Puts a job into the table; its id."""
        job = make_job(id=f"0197a000-0000-7000-8000-00000000000{letter}", **fields)
        if job.attention_at is not None:
            job = replace(job, attention=attention_partition(job.queue, job.status.value if job.over else "open", job.id))
        self.client.store.jobs[job.id] = job
        return job.id
