"""The job: one piece of work, its states, and every way from one state to another.

A `Job` is the record exactly as the table holds it, read by everybody and changed by nobody in place: every change is a
`Write` (see `transitions`) that the store applies conditionally. This module knows no AWS, no clock and no environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple


class Status(StrEnum):
    """What a job is at this moment; the values are what the API, the CLI and the table say."""

    PENDING = "pending"
    """Waits for a worker. Entered by enqueue, promotion, retry, hand-back, snooze and reschedule; left by claim, reschedule, cancel
    or expiry."""
    SCHEDULED = "scheduled"
    """Due later than a message can wait. Entered by enqueue, snooze and reschedule; left by promotion, reschedule, cancel or expiry."""
    RUNNING = "running"
    """A worker holds the lease. Entered by claim; left by finish or hand-back, or when the lease is lost."""
    FAILED = "failed"
    """The last attempt failed, or lost its lease, and another is due. Left by claim, promotion, cancel, retry or expiry."""
    DONE = "done"
    """The handler returned; the result is recorded. Removed after the retention."""
    DEAD = "dead"
    """Out of attempts, non-retryable, or crashed too often: the dead letters. Left by retry, or removed after the retention."""
    CANCELLED = "cancelled"
    """Stopped on request before or between attempts. Left by retry, or removed after the retention."""
    EXPIRED = "expired"
    """`expires_at` passed before a start. Left by retry, or removed after the retention."""


TERMINAL: Final = frozenset({Status.DONE, Status.DEAD, Status.CANCELLED, Status.EXPIRED})
WAITING: Final = frozenset({Status.PENDING, Status.SCHEDULED, Status.FAILED})
RETRYABLE: Final = frozenset({Status.DEAD, Status.CANCELLED, Status.EXPIRED, Status.FAILED})


class Transition(NamedTuple):
    """One row of the protocol: who may move a job from which states into which."""

    actor: str
    sources: frozenset[Status]
    targets: frozenset[Status]
    kept: frozenset[Status] = frozenset()
    """The sources that stay what they are; no other source leads to them."""

    @property
    def moves(self) -> frozenset[tuple[Status, Status]]:
        """Every (from, to) that this is; none for an enqueue, which comes from nowhere."""
        changing, new = self.sources - self.kept, self.targets - self.kept
        return frozenset({(source, target) for source in changing for target in new} | {(status, status) for status in self.kept})


def _row(actor: str, sources: frozenset[Status] | set[Status], *targets: Status, kept: set[Status] | None = None) -> Transition:
    return Transition(actor, frozenset(sources), frozenset(targets), frozenset(kept or ()))


def _touch(actor: str, statuses: frozenset[Status] | set[Status]) -> Transition:
    """A write that leaves the status as it is."""
    return Transition(actor, frozenset(statuses), frozenset(statuses), frozenset(statuses))


_S = Status
TRANSITIONS: Final = MappingProxyType(
    {
        "enqueue": _row("api", set(), _S.PENDING, _S.SCHEDULED),
        "promote": _row("ticker", {_S.SCHEDULED, _S.FAILED}, _S.PENDING),
        "claim": _row("worker", {_S.PENDING, _S.FAILED}, _S.RUNNING),
        "take_over": _row("worker", {_S.RUNNING}, _S.RUNNING, _S.DEAD, _S.CANCELLED),
        "lose": _row("ticker, dead_letters", {_S.RUNNING}, _S.FAILED, _S.DEAD, _S.CANCELLED),
        "hand_back": _row("worker", {_S.RUNNING}, _S.PENDING, _S.CANCELLED),
        "done": _row("worker", {_S.RUNNING}, _S.DONE),
        "fail": _row("worker", {_S.RUNNING}, _S.FAILED, _S.DEAD, _S.CANCELLED),
        "snooze": _row("worker", {_S.RUNNING}, _S.PENDING, _S.SCHEDULED, _S.DEAD, _S.CANCELLED),
        "continue": _row("worker", {_S.RUNNING}, _S.PENDING, _S.DEAD, _S.CANCELLED),
        "abandon": _row("worker", {_S.RUNNING}, _S.CANCELLED),
        "cancel": _row("api", WAITING, _S.CANCELLED),
        "request_cancel": _touch("api", {_S.RUNNING}),
        "reschedule": _row("api", WAITING, _S.PENDING, _S.SCHEDULED, _S.FAILED, kept={_S.FAILED}),
        "retry": _row("api, operations", RETRYABLE, _S.PENDING),
        "recount": _touch("operations", frozenset(_S) - {_S.DONE}),
        "forget": _touch("operations", TERMINAL),
        "expire": _row("worker, ticker, dead_letters", WAITING, _S.EXPIRED),
        "put_back": _touch("dead_letters", {_S.PENDING, _S.FAILED}),
        "resend": _touch("ticker", {_S.PENDING, _S.FAILED}),
        "watch": _touch("ticker", WAITING | {_S.RUNNING}),
        "progress": _touch("worker", {_S.RUNNING}),
        "checkpoint": _touch("worker", {_S.RUNNING}),
    }
)
"""Every event of the protocol (PROTOCOL.md's transition table). Whatever is not here is refused."""

RECORD_VERSION: Final = 1
OPERATIONS: Final = "operations"
"""The internal queue and the worker that serves it: work on many jobs, and what endings ask for. Every deployment has both; no file
defines them."""
FAR_FUTURE: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""`expires_at` of a job that never expires: claims compare it, so it is always set (R18). The API shows null."""
LONGEST_MESSAGE_DELAY: Final = timedelta(seconds=900)
"""SQS refuses a longer `DelaySeconds` (SendMessage, Amazon SQS API reference); beyond it the ticker delivers."""
WATCH_GRACE: Final = timedelta(minutes=5)
"""How long after its time somebody looks at a job that has left the straight path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One record of the table. Times are aware UTC, exact to the millisecond; absent facts are `None`."""

    id: str
    """UUIDv7, or UUIDv8 derived from (queue, idempotency key)."""
    queue: str
    type: str
    """The registered function's name."""
    status: Status
    created_at: datetime
    scheduled_at: datetime
    """When the next attempt is due; no claim succeeds before."""
    expires_at: datetime = FAR_FUTURE
    """No claim succeeds at or after this."""
    priority: int = 5
    """1 (most urgent) to 10."""
    attempts: int = 0
    """Starts that came to an end of their own: returned, raised, timed out, or crashed alone."""
    max_attempts: int = 3
    retry: str = "{}"
    """The effective retry policy as JSON text (see `retry.RetryPolicy`)."""
    timeout: int = 60
    """Seconds that one attempt may take."""
    payload: str | None = None
    """JSON text as the client sent it; `None` when it is kept apart (`payload_ref`)."""
    payload_ref: str | None = None
    """Where a larger payload is kept (see `payloads`)."""
    result: str | None = None
    result_ref: str | None = None
    error: str | None = None
    """`Type: message` of the last failed attempt."""
    progress: str | None = None
    """JSON text `{"percent", "note", "at"}` as the handler last reported it."""
    checkpoint: str | None = None
    """JSON text of the cursor that the handler last put down (`Context.checkpoint`); kept by a retry."""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    ordering_key: str | None = None
    """The group of an ordered queue inside which this job keeps its place; set for every job of such a queue, and for no other."""
    traceparent: str | None = None
    unique: str | None = None
    """JSON text of what was asked of its uniqueness (see `locks.Unique`)."""
    parent_id: str | None = None
    """The job whose handler enqueued this one."""
    batch_id: str | None = None
    """The batch that it is a member of: the id of that batch's own job."""
    callback_url: str | None = None
    """Where the end of this job is told, by HTTP (see `follow_ups`)."""
    reply_to: str | None = None
    """The declared reply queue in which the end of this job is told."""
    occurrence: str | None = None
    """Which run of which schedule it is, `NAME 2026-01-31T09:30:00Z`; see `occurrence`."""
    depth: int = 0
    """Jobs that enqueued jobs before this one: its parent's depth and one; 0 for a client's own job."""
    request_hash: str | None = None
    """SHA-256 of the canonical request: tells a replay of an idempotency key from a misuse."""
    history: tuple[str, ...] = ()
    """What went other than straight, oldest first, as compact JSON texts (see `transitions.history_entry`)."""
    cancel_requested: bool = False
    ttl: int | None = None
    """Epoch second after which the record counts as absent; only ever on a terminal record."""

    # The protocol's own fields
    dispatch: int = 1
    """Grows with every write that needs a new message or voids the old one; the message carries it."""
    resend: int = 0
    """Grows when the ticker asks for one more copy of the same dispatch."""
    token: int = 0
    """Fencing token: grows with every claim and is never reset."""
    lease_until: datetime | None = None
    claimed_by: str | None = None
    """The Lambda request id that holds the lease."""
    carrier: str | None = None
    """The SQS message id that the claim came with."""
    solo: bool = False
    """A suspect: its last lease was lost, so it runs alone."""
    snoozes: int = 0
    recounted_at: datetime | None = None
    """The last recount of its queue's counters that found this record (see `counters.vintage`)."""
    continued: int = 0
    """How often a run stopped at a checkpoint and went on in another one."""
    attention: str | None = None
    """Partition of `by_attention`: `queue#kind#shard`; absent on the straight path."""
    attention_at: datetime | None = None
    """When somebody must look (or, for ended jobs, when they ended)."""
    rev: int = 1
    """Grows by one with every write: the ETag."""
    last_op: str | None = None
    """Request id of the api's last write, to recognise its own lost reply (R30)."""
    expires_in: int | None = None
    """Seconds, as requested at enqueue: a retry gives the job the same time again (R19)."""
    queue_shard: str = field(default="")
    """Partition of `by_queue`: `queue#shard`, immutable."""
    v: int = RECORD_VERSION

    @property
    def over(self) -> bool:
        """Whether the job has reached a terminal state."""
        return self.status in TERMINAL

    @property
    def ordered(self) -> bool:
        """Whether the job keeps its place in its group: its message stays where it is until the job is over (R28)."""
        return self.ordering_key is not None

    @property
    def delivered_by_ticker(self) -> bool:
        """Whether the ticker, not the relay, will deliver this waiting job: decided by the write that made it wait (R2)."""
        if self.status is Status.SCHEDULED:
            return True
        return self.status is Status.FAILED and not self.ordered and self.attention_at == min(self.scheduled_at, self.expires_at)

    def gone(self, now: datetime) -> bool:
        """Whether the record's retention is over: DynamoDB deletes late, so readers must not show it any more."""
        return self.ttl is not None and self.ttl <= int(now.timestamp())
