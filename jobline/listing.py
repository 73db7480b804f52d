"""Lists of one queue's jobs, page by page, from the index that has them in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from jobline import cursors
from jobline.cursors import Cursor
from jobline.errors import InvalidRequest
from jobline.fields import LONGEST_TAG, is_name
from jobline.job import Job, Status
from jobline.shards import attention_partitions, queue_partitions, shard_of
from jobline.store import Key, Page, Store
from jobline.times import format_instant, parse_instant

LONGEST_PAGE: Final = 200
DEFAULT_PAGE: Final = 50
MOST_READ: Final = 200
"""Records that one page reads at most, whatever its filters; so it may be short, or empty, and have a `next` all the same."""
_BATCH: Final = 100
_MOST_ROUNDS: Final = 8


class Part(NamedTuple):
    """One index to read: a kind of `by_attention`, or `by_queue` when there is none."""

    kind: str | None = None
    newest_first: bool = True


_EVERYTHING: Final = (Part(),)
_WAITING: Final = Part("open", newest_first=False)
FILTERS: Final[Mapping[str | None, tuple[tuple[Part, ...], frozenset[Status]]]] = {
    None: (_EVERYTHING, frozenset(Status)),
    "pending": (_EVERYTHING, frozenset({Status.PENDING})),
    "running": (_EVERYTHING, frozenset({Status.RUNNING})),
    "done": (_EVERYTHING, frozenset({Status.DONE})),
    "scheduled": ((_WAITING,), frozenset({Status.SCHEDULED})),
    "retrying": ((_WAITING,), frozenset({Status.FAILED})),
    # What went wrong: first what needs somebody, then what will be tried again.
    "failed": ((Part("dead"), _WAITING), frozenset({Status.DEAD, Status.FAILED})),
    "dead": ((Part("dead"),), frozenset({Status.DEAD})),
    "cancelled": ((Part("cancelled"),), frozenset({Status.CANCELLED})),
    "expired": ((Part("expired"),), frozenset({Status.EXPIRED})),
}
"""Status as a client asks for it → where to read, and which records count. Records decide; an index may be a moment behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which jobs a client asked for."""

    queue: str
    status: str | None = None
    type: str | None = None
    tag: str | None = None
    since: datetime | None = None
    """Only jobs created then or later."""
    limit: int = DEFAULT_PAGE
    route: str = "GET /jobs"

    @property
    def name(self) -> str:
        """What a cursor of this listing is bound to: everything but the size of a page."""
        since = None if self.since is None else format_instant(self.since)
        return msgspec.json.encode([self.route, self.queue, self.status, self.type, self.tag, since]).decode()

    @property
    def filters(self) -> bool:
        """Whether records that are read may not be among those asked for."""
        return (self.status, self.type, self.tag) != (None, None, None)

    def wants(self, job: Job) -> bool:
        """Whether this record is among those asked for."""
        return (
            job.status in FILTERS[self.status][1]
            and self.type in {None, job.type}
            and (self.tag is None or self.tag in job.tags)
            and (self.since is None or job.created_at >= self.since)
        )


def parse_listing(query: Mapping[str, str], *, queue: str | None = None) -> tuple[Listing, Cursor | None]:
    """What a query string asks for, and where to go on; `queue` is the one that the route names, if it does.

    Raises InvalidRequest: no queue, a parameter that is not known or not right, or a cursor of another listing.
    """
    known = {"queue", "status", "type", "tag", "since", "limit", "cursor"}
    if unknown := sorted(query.keys() - known):
        raise InvalidRequest(f"The query parameter {unknown[0][:64]!r} is not known; there are {', '.join(sorted(known))}.")
    if queue is not None and query.get("queue", queue) != queue:
        raise InvalidRequest(f"The query parameter queue is not that of the route ({queue!r}).")
    asked = queue or query.get("queue")
    if not asked:
        raise InvalidRequest("Say which queue's jobs: the query parameter queue is missing.")
    given: dict[str, Any] = {name: query[name] for name in ("status", "type", "tag") if name in query}
    if given.get("status") not in FILTERS:
        statuses = ", ".join(sorted(status for status in FILTERS if status))
        raise InvalidRequest(f"There is no status {given['status'][:64]!r}; there are {statuses}.")
    if "type" in given and not is_name(given["type"]):
        raise InvalidRequest(f"There is no type {given['type'][:64]!r}.")
    if len(given.get("tag", "")) > LONGEST_TAG:
        raise InvalidRequest(f"A tag has at most {LONGEST_TAG} characters.")
    if queue is not None:
        given["route"] = "GET /queues/{queue}/jobs"
    if "since" in query:
        given["since"] = _since(query["since"])
    if "limit" in query:
        given["limit"] = parse_limit(query)
    listing = Listing(queue=asked, **given)
    cursor = cursors.decode(query["cursor"], listing.name) if "cursor" in query else None
    if cursor is not None and cursor.part >= len(FILTERS[listing.status][0]):
        raise InvalidRequest("The cursor is not one that this listing gave. Begin again without it.")
    return listing, cursor


def read_page(store: Store, listing: Listing, cursor: Cursor | None, *, now: datetime) -> tuple[list[Job], str | None]:
    """One page of the listing, and the cursor of the next one, if there may be more.

    Reads at most 200 records. Records whose retention is over are left out.
    """
    parts, _ = FILTERS[listing.status]
    part, position, until = cursor or Cursor(0, {})
    found: dict[str, Job] = {}
    unread = MOST_READ
    for _ in range(_MOST_ROUNDS):
        wanted = listing.limit - len(found)
        size = min(unread, MOST_READ if listing.filters else max(wanted, _BATCH // 4))
        page = _keys(store, listing, parts[part], Cursor(part, position, until), limit=size)
        if page.keys and parts[part].newest_first:
            until = until or page.keys[0].at
        read, jobs = _until_full(store, listing, page.keys, wanted, now)
        found |= jobs
        unread -= read
        position = _after(position, page, read)
        if read == len(page.keys) and page.next is None:
            part, position, until = part + 1, {}, None
        if part == len(parts):
            return list(found.values()), None
        if len(found) == listing.limit or unread <= 0:
            break
    return list(found.values()), cursors.encode(Cursor(part, position, until), listing.name)


def _keys(store: Store, listing: Listing, part: Part, cursor: Cursor, *, limit: int) -> Page:
    if part.kind is None:
        names = queue_partitions(listing.queue)
        start = {names[shard]: key for shard, key in cursor.position.items()}
        return store.page_by_queue(listing.queue, limit=limit, start=start, since=listing.since, until=cursor.until)
    names = attention_partitions(listing.queue, part.kind)
    start = {names[shard]: key for shard, key in cursor.position.items()}
    return store.page_by_attention(listing.queue, part.kind, limit=limit, start=start, until=cursor.until, newest_first=part.newest_first)


def _until_full(store: Store, listing: Listing, keys: tuple[Key, ...], wanted: int, now: datetime) -> tuple[int, dict[str, Job]]:
    """Reads records in the keys' order until `wanted` are found: how many keys that took, and the records."""
    found: dict[str, Job] = {}
    for first in range(0, len(keys), _BATCH):
        batch = keys[first : first + _BATCH]
        jobs = store.get_many([key.id for key in batch])
        for number, key in enumerate(batch):
            job = jobs.get(key.id)
            if job is not None and not job.gone(now) and listing.wants(job):
                found[job.id] = job
                if len(found) == wanted:
                    return first + number + 1, found
    return len(keys), found


def _after(position: Mapping[int, Key | None], page: Page, read: int) -> dict[int, Key | None]:
    """Where the listing goes on when `read` of the page's keys are behind it."""
    if read == len(page.keys):
        return cursors.shard_position(page.next or {})
    return dict(position) | {shard_of(key.id): key for key in page.keys[:read]}


def _since(text: str) -> datetime:
    try:
        return parse_instant(text)
    except ValueError as error:
        raise InvalidRequest(f"The query parameter since is not a time: {error}.") from None


def parse_limit(query: Mapping[str, str]) -> int:
    """How many entries a page is to have at most. Raises InvalidRequest."""
    text = query.get("limit", str(DEFAULT_PAGE))
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= LONGEST_PAGE):
        raise InvalidRequest(f"The query parameter limit must be a whole number from 1 to {LONGEST_PAGE}.")
    return int(text)
