"""Jobs, claimants and times for tests: say only what the test is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from jobline.job import Job, Status
from jobline.shards import queue_partition
from jobline.transitions import Claimant, Retention

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
KEEP = Retention(done=3600, others=7200)
JOB_ID = "0197a000-0000-7000-8000-000000000001"


def make_job(**fields: Any) -> Job:
    """A pending job of the queue `emails`, due now, unless told otherwise."""
    given: dict[str, Any] = {
        "id": JOB_ID,
        "queue": "emails",
        "type": "send_email",
        "status": Status.PENDING,
        "created_at": NOW,
        "scheduled_at": NOW,
        "payload": '{"to":"ada@example.com"}',
        "timeout": 30,
    }
    given |= fields
    given.setdefault("queue_shard", queue_partition(given["queue"], given["id"]))
    return Job(**given)


def make_claimant(**fields: Any) -> Claimant:
    given: dict[str, Any] = {"request_id": "request-1", "carrier": "message-1", "dispatch": 1, "lease_until": NOW + timedelta(seconds=37)}
    return Claimant(**(given | fields))


def seconds(amount: float) -> timedelta:
    return timedelta(seconds=amount)
