"""`GET /jobs/{id}/why`: how the API comes to its answer (the answers themselves: tests/unit/test_reasons.py)."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobline import reasons
from jobline.errors import Unavailable
from jobline.job import Status
from jobline.memory import MemoryStore
from tests.api import Client
from tests.command_line import STATS
from tests.factories import NOW, make_job, seconds

QUIET = msgspec.structs.replace(STATS, paused=False, pending=1, error_rate=0.0)


class Counted(MemoryStore):
    """A store that counts its reads."""

    reads = 0

    def get(self, job_id: str) -> Any:
        self.reads += 1
        return super().get(job_id)


@pytest.fixture
def api() -> Client:
    return Client(Counted(), read_stats=lambda queue, now: QUIET)


def test_a_job_that_waits_is_explained_by_its_record_and_its_queue_s_numbers() -> None:
    asked: list[tuple[str, datetime]] = []

    def read_stats(queue: str, now: datetime) -> Any:
        asked.append((queue, now))
        return msgspec.structs.replace(QUIET, pending=1524)

    api = Client(Counted(), read_stats=read_stats)
    id = api.enqueue()["id"]
    api.pass_time(30)
    answer = api.call("GET", f"/jobs/{id}/why")
    assert (answer.status, answer.body["id"], answer.body["status"], answer.body["code"]) == (200, id, "pending", "behind")
    assert answer.body["facts"]["jobs_ahead"] == 1500
    assert (asked, api.store.reads) == ([("emails", NOW + seconds(30))], 1)


@pytest.mark.parametrize("status", [Status.RUNNING, Status.DONE, Status.DEAD, Status.CANCELLED, Status.EXPIRED])
def test_a_job_that_does_not_wait_is_explained_without_numbers(status: Status) -> None:
    def none(queue: str, now: datetime) -> Any:
        raise Unavailable("reading stats")

    api = Client(read_stats=none)
    job = make_job(status=status, completed_at=NOW, lease_until=NOW + seconds(5))
    api.store.create(job, now=NOW)
    assert api.call("GET", f"/jobs/{job.id}/why").body["code"] == status.value
    waiting = api.enqueue()["id"]
    assert api.call("GET", f"/jobs/{waiting}/why").status == 503


def test_a_job_of_a_queue_or_type_that_is_gone_is_unserved(api: Client) -> None:
    for number, (queue, type) in enumerate([("bygone", "send_email"), ("emails", "bygone")]):
        job = make_job(id=f"0197a000-0000-7000-8000-00000000000{number}", queue=queue, type=type)
        api.store.create(job, now=NOW)
        assert api.call("GET", f"/queues/{queue}/jobs/{job.id}/why").body["code"] == "unserved"


def test_only_a_job_that_is_there_is_explained(api: Client) -> None:
    id = api.enqueue()["id"]
    assert api.call("GET", f"/jobs/{id[:13]}/why").body["code"] == "on_its_way"
    assert api.call("GET", f"/queues/images/jobs/{id}/why").status == 404
    assert api.call("GET", "/jobs/nonsense/why").status == 404
    assert api.call("GET", f"/jobs/{id}/why", query={"x": "1"}).status == 400


def test_the_documents_list_every_code_and_no_other() -> None:
    source = Path(reasons.__file__).read_text()
    codes = set(re.findall(r'code="(\w+)"', source)) | {"delayed", "scheduled"} | {status.value for status in Status if status in _OVER}
    page = (Path(__file__).parents[2] / "docs" / "why.md").read_text()
    listed = set(re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))))
    assert listed == codes


_OVER = {Status.DONE, Status.DEAD, Status.CANCELLED, Status.EXPIRED}
