"""Unique jobs: at most one job for a key at a time, by a lock that names the job which has it.

A lock is an item of the table beside the records: `unique#<queue>#<digest of type and key>`. It says which job holds it, in which life of
that job's id, and on which terms. Nobody ever releases it: whoever meets it reads the job that it names and judges by that job's own
state whether it still holds. So a lock depends on no reader of the stream (PROTOCOL.md, R32), and a job that is over has none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from jobline.job import WAITING, Job
from jobline.times import from_milliseconds, to_milliseconds

Until = Literal["start", "success", "ttl"]
OnConflict = Literal["return", "replace", "reject"]

UNTIL: Final[tuple[Until, ...]] = ("start", "success", "ttl")
ON_CONFLICT: Final[tuple[OnConflict, ...]] = ("return", "replace", "reject")
LONGEST_LOCK_OF_ITSELF: Final = timedelta(days=365)
"""How long after its job is due a lock ends whose request gives no time: for what is never heard of again."""


class Unique(msgspec.Struct, frozen=True, omit_defaults=True, rename={"seconds": "for"}):
    """What a request says of its job's uniqueness; as JSON text it is a field of the record."""

    key: str | None = None
    """A key of the client's choice; else `keys` of the payload make it; else the whole payload does."""
    keys: tuple[str, ...] = ()
    """Fields of the payload: names, or JSON pointers (RFC 6901)."""
    seconds: int | None = None
    """How long the lock holds at most, from now; needed with `until` `ttl`."""
    until: Until = "success"
    """`start`: until a worker first claims the job; `success`: until the job is over; `ttl`: until the time is over, whatever becomes
    of the job."""
    on_conflict: OnConflict = "return"
    """What becomes of a request whose key is held: it is answered with the holder (`return`), takes the place of a holder that waits
    (`replace`), or is refused (`reject`)."""


def stored_unique(text: str) -> Unique:
    """What a record's `unique` (JSON text) says."""
    return msgspec.json.decode(text, type=Unique)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """One lock as the table holds it."""

    id: str
    job_id: str
    created_at: datetime
    """When the job that holds it was created: an id alone may be that of a later job with the same idempotency key."""
    until: Until
    expires_at: datetime

    def names(self, job: Job | None, now: datetime) -> bool:
        """Whether this is the job that the lock was given to, and it is still kept."""
        return job is not None and job.created_at == self.created_at and not job.gone(now)

    def holds(self, job: Job | None, now: datetime) -> bool:
        """Whether the lock still holds; `job` is the record under its job's id, if there is one."""
        if self.expires_at <= now:
            return False
        if self.until == "ttl":
            return True
        if job is None or not self.names(job, now) or job.over:
            return False
        return self.until == "success" or (job.status in WAITING and job.started_at is None)


def lock_of(job: Job, unique: Unique, payload: Any) -> Lock:
    """The lock that the job takes; raises ValueError with a sentence when the payload has none of the fields that make the key."""
    named = json.dumps([job.type, *_identity(unique, payload)], sort_keys=True, separators=(",", ":"))
    longest = job.scheduled_at + LONGEST_LOCK_OF_ITSELF
    return Lock(
        id=f"unique#{job.queue}#{hashlib.sha256(named.encode()).hexdigest()[:32]}",
        job_id=job.id,
        created_at=job.created_at,
        until=unique.until,
        expires_at=longest if unique.seconds is None else job.created_at + timedelta(seconds=unique.seconds),
    )


def encode(lock: Lock) -> dict[str, dict[str, Any]]:
    """The lock as an item; DynamoDB removes it some time after it ended."""
    return {
        "id": {"S": lock.id},
        "job": {"S": lock.job_id},
        "created_at": {"N": str(to_milliseconds(lock.created_at))},
        "until": {"S": lock.until},
        "expires_at": {"N": str(to_milliseconds(lock.expires_at))},
        "ttl": {"N": str(int(lock.expires_at.timestamp()) + 1)},
    }


def decode(item: Mapping[str, Mapping[str, Any]]) -> Lock:
    """The reverse of `encode`; a word of a later release that this one does not know holds until the job is over."""
    until = item["until"]["S"]
    return Lock(
        id=item["id"]["S"],
        job_id=item["job"]["S"],
        created_at=from_milliseconds(int(item["created_at"]["N"])),
        until=until if until in UNTIL else "success",
        expires_at=from_milliseconds(int(item["expires_at"]["N"])),
    )


def _identity(unique: Unique, payload: Any) -> tuple[str, Any]:
    """What makes the key, tagged with how, so that no two ways ever meet."""
    if unique.key is not None:
        return "key", unique.key
    if not unique.keys:
        return "payload", payload
    found = {}
    for pointer in {name if name.startswith("/") else f"/{name.replace('~', '~0').replace('/', '~1')}" for name in unique.keys}:
        value = _at(payload, pointer)
        if value is not _ABSENT:
            found[pointer] = value
    if not found:
        raise ValueError("names no field that the payload has")
    return "keys", found


_ABSENT: Final = object()


def _at(value: Any, pointer: str) -> Any:
    """The value that a JSON pointer names, or `_ABSENT`."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _ABSENT
    return value
