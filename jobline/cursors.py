"""Cursors: where a listing goes on, as text that clients hand back unread.

A cursor carries no authority and no secret. It is bound to the listing that made it (route and filters), checked whole, and has
exactly one spelling: any other text, and the right text for another listing, is refused.
"""

from __future__ import annotations

import hashlib
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from jobline.errors import InvalidRequest
from jobline.shards import SHARDS
from jobline.store import Key, Position
from jobline.times import from_milliseconds, to_milliseconds

_VERSION: Final = 1
_CHECK_BYTES: Final = 12
_LONGEST: Final = 1000
_UNREAD: Final = 0
_EXHAUSTED: Final = 1
_AFTER: Final = 2
_NO_TIME: Final = b"\xff" * 8
_KEY_BYTES: Final = 16 + 8
"""The id's 128 bits and its place in the index, in epoch milliseconds."""


class Cursor(NamedTuple):
    """Where a listing goes on."""

    part: int
    """Which of the listing's parts, for one that reads several indexes one after the other."""
    position: Mapping[int, Key | None]
    """Shard → last key read, or `None` when that shard is exhausted; an absent one is unread (see `store.Position`)."""
    until: datetime | None = None
    """What is newer than the listing's first job is left out: it came later, and would stand among older ones."""


def encode(cursor: Cursor, listing: str) -> str:
    """The cursor as URL-safe text, for the listing that `listing` describes."""
    body = bytes((_VERSION, cursor.part)) + (_NO_TIME if cursor.until is None else to_milliseconds(cursor.until).to_bytes(8))
    for shard in range(SHARDS):
        if shard not in cursor.position:
            body += bytes((_UNREAD,))
        elif (key := cursor.position[shard]) is None:
            body += bytes((_EXHAUSTED,))
        else:
            body += bytes((_AFTER,)) + uuid.UUID(key.id).bytes + to_milliseconds(key.at).to_bytes(8)
    return urlsafe_b64encode(body + _check(body, listing)).decode().rstrip("=")


def decode(text: str, listing: str) -> Cursor:
    """The reverse of `encode` for the same listing; raises InvalidRequest for any other text."""
    try:
        if len(text) > _LONGEST:
            raise ValueError("too long")
        data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
        if check != _check(body, listing) or body[0] != _VERSION:
            raise ValueError("not ours")
        until = body[2:10]
        cursor = Cursor(body[1], _shards(body[10:]), None if until == _NO_TIME else from_milliseconds(int.from_bytes(until)))
        # Base64 has several texts for the same bytes; only ours is taken.
        if encode(cursor, listing) != text:
            raise ValueError("another spelling")
    except (ValueError, IndexError, OverflowError):
        raise InvalidRequest("The cursor is not one that this listing gave. Begin again without it.") from None
    return cursor


def shard_position(position: Position) -> dict[int, Key | None]:
    """A store's position by shard number."""
    return {int(partition.rpartition("#")[2]): key for partition, key in position.items()}


def _shards(body: bytes) -> dict[int, Key | None]:
    position: dict[int, Key | None] = {}
    at = 0
    for shard in range(SHARDS):
        kind, at = body[at], at + 1
        if kind == _EXHAUSTED:
            position[shard] = None
        elif kind == _AFTER:
            key = body[at : at + _KEY_BYTES]
            position[shard] = Key(str(uuid.UUID(bytes=key[:16])), from_milliseconds(int.from_bytes(key[16:])))
            at += _KEY_BYTES
    return position


def _check(body: bytes, listing: str) -> bytes:
    return hashlib.sha256(b"jobline cursor\0" + listing.encode() + b"\0" + body).digest()[:_CHECK_BYTES]
