"""Job ids: UUIDs that tell when the job was created, or that follow from an idempotency key.

A `UUIDv7` begins with 48 bits of creation time, so a prefix of one is a span of `created_at`. A `UUIDv8` is derived from
(queue, idempotency key): the same key finds the same job without a second index, and says nothing of time. Both by RFC 9562.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import UTC, datetime
from typing import Final

from jobline.times import from_milliseconds, to_milliseconds

SHORTEST_PREFIX: Final = 8
RANDOM_BYTES: Final = 10

_JOB_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[78][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_SHAPE: Final = "xxxxxxxx-xxxx-Vxxx-Nxxx-xxxxxxxxxxxx"
_TIME_DIGITS: Final = 12
_LAST_MILLISECOND: Final = to_milliseconds(datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC))


def new_id(now: datetime, random: bytes) -> str:
    """A fresh UUIDv7 of `now` (milliseconds) and ten random bytes (RFC 9562 section 5.7)."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"an id needs {RANDOM_BYTES} random bytes")
    return _uuid(to_milliseconds(now).to_bytes(6) + random, version=7)


def derived_id(queue: str, key: str) -> str:
    """The UUIDv8 that (queue, idempotency key) always names: the first bits of a SHA-256 (RFC 9562 section 5.8)."""
    # A queue's name has no NUL, so no two pairs have the same bytes.
    return _uuid(hashlib.sha256(f"{queue}\0{key}".encode()).digest()[:16], version=8)


def is_job_id(text: str) -> bool:
    """Whether `text` is a whole job id in its canonical, lower-case form."""
    return _JOB_ID.fullmatch(text) is not None


def is_derived(job_id: str) -> bool:
    """Whether the id (or a prefix that reaches the version digit) is derived from an idempotency key."""
    return job_id[14:15] == "8"


def canonical_prefix(text: str) -> str | None:
    """`text` in lower case when it can be the beginning of a job id (at least 8 characters, hyphens in place), else `None`."""
    prefix = text.lower()
    if not SHORTEST_PREFIX <= len(prefix) <= len(_SHAPE):
        return None
    allowed = {"-": "-", "V": "78", "N": "89ab"}
    fits = all(char in allowed.get(place, "0123456789abcdef") for char, place in zip(prefix, _SHAPE, strict=False))
    return prefix if fits else None


def created_span(prefix: str) -> tuple[datetime, datetime]:
    """First and last millisecond at which a UUIDv7 that begins with `prefix` (canonical) can have been created."""
    digits = prefix.replace("-", "")[:_TIME_DIGITS]
    first = min(int(digits.ljust(_TIME_DIGITS, "0"), 16), _LAST_MILLISECOND)
    last = min(int(digits.ljust(_TIME_DIGITS, "f"), 16), _LAST_MILLISECOND)
    return from_milliseconds(first), from_milliseconds(last)


def _uuid(octets: bytes, *, version: int) -> str:
    number = int.from_bytes(octets)
    number = number & ~(0xF << 76) | version << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))
