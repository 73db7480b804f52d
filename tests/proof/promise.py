"""The promise of DESIGN.md section 1, as facts that are checked at every write and every start.

Kept beside the engine and never read by it: who was granted which lease, which starts were counted, which dispatch may be sent.
A fact that does not hold raises `Broken`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from jobline import claims, follow_ups
from jobline.job import OPERATIONS, TRANSITIONS, Job, Status
from jobline.transitions import RESEND_FIRST_PAUSE, RESEND_LONGEST_PAUSE

if TYPE_CHECKING:
    from tests.proof.world import Operation

SKEW = timedelta(seconds=1)
"""A clock of ours is at most this wrong, so two differ by two seconds at most."""
EARLIER = datetime(2000, 1, 1, tzinfo=UTC)
NEEDS_MESSAGE = {"promote", "lose", "fail", "snooze", "continue", "retry", "reschedule", "put_back"}
"""Events after which a job that still waits must be sent anew: its dispatch grows by one; by no other event."""
FINISHES = {"done", "fail", "snooze", "continue", "abandon", "hand_back", "progress", "checkpoint"}
"""Events that only the holder of the lease may write."""
FREES = FINISHES - {"progress", "checkpoint"}

LIFE = tuple[str, int, int]
"""A job, its incarnation (a key may name a new job when the old one is gone) and its life (a retry by hand begins another)."""


class Broken(AssertionError):
    """Something that Jobline promises did not hold."""


def need(holds: object, what: str) -> None:
    if not holds:
        raise Broken(what)


@dataclass(slots=True)
class Grant:
    """A lease as it was given."""

    op: Operation
    token: int
    alone: bool
    believed_until: datetime
    """Until when, in true time, its holder takes the lease for its own."""
    claimed_at: datetime
    incarnation: int
    over: bool = False
    started: bool = False


class Promise:
    """What has happened to every job, and whether it was right."""

    def __init__(self) -> None:
        self.grants: dict[str, list[Grant]] = {}
        self.starts: dict[str, int] = {}
        self.accepted: set[str] = set()
        self.gone: set[str] = set()
        self.cancelled: dict[str, datetime] = {}
        """Jobs of which it was said that they will not start again."""
        self.cancel_requested: dict[str, int] = {}
        """Token of the attempt that was asked to stop."""
        self.incarnation: dict[str, int] = {}
        self.life: dict[str, int] = {}
        self.counted: dict[LIFE, int] = {}
        self.ended_well: set[LIFE] = set()
        self.not_before: dict[str, datetime] = {}
        self.sendable: set[tuple[str, int]] = set()
        """Job and dispatch that the relay was ever asked to send."""
        self.relay_owns: dict[str, bool] = {}
        self.tellings: dict[str, int] = {}
        """How many ends of a job were to be told."""

    # ------------------------------------------------------------------------------------------------ writes

    def wrote(self, op: Operation, event: str, before: Job | None, after: Job) -> None:
        """One write took effect."""
        where = f"{after.id[:8]} {event} by {op.name} of {before.status if before else None} -> {after.status}"
        if event == "enqueue":
            self._created(before, after, where)
        else:
            assert before is not None
            self._changed(op, event, before, after, where)
        counted = self.counted.get(self.life_of(after.id), 0)
        need(after.attempts == counted, f"{where}: attempts is {after.attempts}, but {counted} starts came to an end of their own")
        need(after.attempts <= after.max_attempts, f"{where}: {after.attempts} attempts of {after.max_attempts}")
        need((after.ttl is not None) == after.over, f"{where}: a ttl belongs on ended records only, and on all of them")
        need("CorruptRecord" not in (after.error or ""), f"{where}: {after.error}")
        self._owner(op, event, before, after, where)
        self._told(op, event, before, after, where)

    def _told(self, op: Operation, event: str, before: Job | None, after: Job, where: str) -> None:
        """Whoever asked is told of every end, by one follow-up that is written with it, and of nothing else."""
        ends = after.over and not (before is not None and before.over) and follow_ups.asks(after)
        self.tellings[after.id] = self.tellings.get(after.id, 0) + ends
        self.no_more_told(op.world.store.jobs.values(), after.id, where)

    def no_more_told(self, records: Iterable[Job], id: str, where: str) -> None:
        """There are as many follow-ups of a job as it had ends."""
        told = sum(record.queue == OPERATIONS and record.parent_id == id for record in records)
        need(told == self.tellings.get(id, 0), f"{where}: {told} follow-ups of {self.tellings.get(id, 0)} ends")

    def _created(self, before: Job | None, after: Job, where: str) -> None:
        need(after.status in TRANSITIONS["enqueue"].targets, f"{where}: not a state of a new job")
        need(after.token == (before.token if before else 0), f"{where}: the token was reset")
        need(after.dispatch == (before.dispatch + 1 if before else 1), f"{where}: dispatch {after.dispatch}")
        id = after.id
        self.incarnation[id] = self.incarnation.get(id, 0) + 1
        self.life[id] = 0
        self.not_before[id] = after.scheduled_at
        self.accepted.add(id)
        self.gone.discard(id)
        self._begin_anew(id)

    def _changed(self, op: Operation, event: str, before: Job, after: Job, where: str) -> None:
        row = TRANSITIONS[event]
        need((before.status, after.status) in row.moves, f"{where}: no such transition")
        need(after.rev == before.rev + 1, f"{where}: rev {before.rev} -> {after.rev}")
        id = after.id
        need(id not in self.cancelled or event in ("retry", "forget"), f"{where}: it was said that it is cancelled")
        granted = event in ("claim", "take_over") and after.status is Status.RUNNING
        need(after.token == before.token + granted, f"{where}: token {before.token} -> {after.token}")
        # A job of an ordered queue keeps its message, and so its place, while it waits for another attempt (R28).
        keeps = after.ordered and event in ("fail", "snooze", "continue", "lose")
        grows = event in NEEDS_MESSAGE and not keeps and after.status in (Status.PENDING, Status.FAILED, Status.SCHEDULED)
        need(after.dispatch == before.dispatch + grows, f"{where}: dispatch {before.dispatch} -> {after.dispatch}")
        need(after.resend == before.resend + (event == "resend"), f"{where}: resend {before.resend} -> {after.resend}")
        same = (before.result, before.result_ref) == (after.result, after.result_ref)
        need(same or event in ("done", "retry"), f"{where}: the result was overwritten")
        if event in FINISHES:
            self._finished(op, event, before, after, where)
        if granted:
            self._granted(op, before, after, where)
        if event == "cancel":
            self.cancelled[id] = op.world.now
        elif event == "request_cancel":
            self.cancel_requested[id] = after.token
        elif event == "retry":
            self.life[id] += 1
            self._begin_anew(id)
            need(after.expires_at > after.scheduled_at, f"{where}: accepted, and expired already")
        if event in ("retry", "reschedule", "fail", "snooze", "continue", "lose") and not after.over:
            self.not_before[id] = after.scheduled_at

    def _begin_anew(self, id: str) -> None:
        self.cancelled.pop(id, None)
        self.cancel_requested.pop(id, None)

    def _granted(self, op: Operation, before: Job, after: Job, where: str) -> None:
        now, id = op.world.now, after.id
        assert after.lease_until is not None
        alone = after.attempts > before.attempts
        for other in self.grants.setdefault(id, []):
            live = not other.over and other.believed_until > now
            need(not live, f"{where}: token {other.token} of {other.op.name} still holds the lease")
            need(other.incarnation != self.incarnation[id] or other.token < after.token, f"{where}: the token did not grow")
        # By the claim's own clock: its answer may take long. A lost lease is run again whatever has expired meanwhile.
        claimed_at = after.started_at if before.status is not Status.RUNNING and after.started_at else EARLIER
        believed = after.lease_until - claims.LEASE_MARGIN - op.skew
        self.grants[id].append(Grant(op, after.token, alone, believed, claimed_at, self.incarnation[id]))
        if alone:
            self._count(id, 1)

    def _finished(self, op: Operation, event: str, before: Job, after: Job, where: str) -> None:
        grant = self._grant(after.id, before.token)
        need(grant is not None and grant.op is op, f"{where}: a stale worker wrote over token {before.token}")
        assert grant is not None
        if event not in FREES:
            return
        grant.over = True
        # An attempt can fail before its first line: its payload could not be read.
        need(grant.started or event in ("fail", "hand_back"), f"{where}: without a start")
        need(event != "hand_back" or not grant.started, f"{where}: though it was started")
        if event == "done":
            life = self.life_of(after.id)
            need(life not in self.ended_well, f"{where}: a second result")
            self.ended_well.add(life)
        unspent = event == "hand_back" or (event in ("snooze", "continue") and not after.over)
        if unspent and grant.alone:
            self._count(after.id, -1)
        elif not unspent and not grant.alone:
            self._count(after.id, 1)

    def _owner(self, op: Operation, event: str, before: Job | None, after: Job, where: str) -> None:
        """Who delivers is fixed by the write (R2); what the ticker owns the relay never sends, and the other way round."""
        id = after.id
        if event in ("enqueue", "fail", "snooze", "continue", "reschedule"):
            held = after.attention_at is not None and after.attention_at == min(after.scheduled_at, after.expires_at)
            self.relay_owns[id] = not (after.status is Status.SCHEDULED or (after.status is Status.FAILED and held and not after.ordered))
        elif event in ("promote", "retry", "lose", "put_back"):
            need(event != "promote" or not self.relay_owns[id], f"{where}: promoted, though the relay delivers it")
            self.relay_owns[id] = True
        if event == "resend":
            assert before is not None and before.attention_at is not None and after.attention_at is not None
            need(before.attention_at <= op.clock() + 2 * SKEW, f"{where}: sent again before its time (flood)")
            pause = min(RESEND_FIRST_PAUSE * 4 ** min(before.resend, 5), RESEND_LONGEST_PAUSE)
            grown = after.attention_at - before.attention_at >= pause or after.attention_at == after.expires_at
            need(grown, f"{where}: again after {after.attention_at - before.attention_at}, not {pause} (flood)")
            need(not op.world.deployment.states.get(after.queue).paused or op.dated, f"{where}: in a paused queue (flood)")
        if not after.over and self.relay_owns[id]:
            self.sendable.add((id, after.dispatch))

    # ------------------------------------------------------------------------------------------------ starts and ends

    def started(self, op: Operation, job: Job) -> None:
        """A handler's first line runs; `job` is the record as it was claimed."""
        id, now = job.id, op.world.now
        where = f"{id[:8]} starts in {op.name} with token {job.token}"
        self.starts[id] = self.starts.get(id, 0) + 1
        grant = self._grant(id, job.token)
        need(grant is not None and grant.op is op, f"{where}: without a grant")
        assert grant is not None
        need(now < grant.believed_until, f"{where}: its lease is over since {now - grant.believed_until}")
        need(not grant.started, f"{where}: one lease started twice")
        grant.started = True
        for other in self.grants[id]:
            need(other is grant or other.over or other.believed_until <= now, f"{where}: token {other.token} holds the lease too")
        need(id not in self.cancelled, f"{where}: it was said that it is cancelled")
        need(id not in self.cancel_requested or job.token <= self.cancel_requested[id], f"{where}: an earlier attempt was asked to stop")
        record = op.world.store.jobs.get(id)
        if record is not None and record.token == job.token:
            due = max(record.scheduled_at, self.not_before[id]) if record.status is Status.RUNNING else record.scheduled_at
            need(due <= now + SKEW, f"{where}: {due - now} early")
            need(record.expires_at > grant.claimed_at, f"{where}: it had expired")
        need(grant.alone or not job.solo, f"{where}: a suspect runs without its start being counted")
        if grant.alone:
            held = [other for grants in self.grants.values() for other in grants if other.op is op and not other.over]
            need(held == [grant] or not job.solo, f"{where}: a suspect runs beside other leases of its process")

    def answered(self, id: str, life: LIFE, answer: dict[str, bool], record: Job | None) -> None:
        """Somebody was told what his cancel came to, of a job in this life."""
        if record is None or self.life_of(id) != life:
            return
        if answer.get("cancelled"):
            need(record.status is Status.CANCELLED, f"{id[:8]}: it is said to be cancelled, and is {record.status}")
            self.cancelled.setdefault(id, record.completed_at or EARLIER)
        else:
            need(record.cancel_requested or record.over, f"{id[:8]}: nobody will know that it is to be cancelled")

    def alone_with_its_key(self, made: Job | None, jobs: Iterable[Job]) -> None:
        """A unique job was made: no other one that holds the key may be open. A job that was retried by hand holds none any more."""
        others = [
            job.id[:8] for job in jobs if job.unique and not job.over and self.life[job.id] == 0 and made is not None and job.id != made.id
        ]
        need(not others, f"{made.id[:8] if made else ''} was made beside {others}, which hold its unique key")

    def sent(self, job_id: str, dispatch: int, delay: int) -> None:
        """The relay asked SQS for a message."""
        need(0 <= delay <= 900, f"{job_id[:8]}: DelaySeconds {delay}")
        need((job_id, dispatch) in self.sendable, f"{job_id[:8]}: dispatch {dispatch} was sent, though nobody asked the relay (flood)")

    def removed(self, job: Job) -> None:
        """The table's TTL deleted a record."""
        need(job.over, f"{job.id[:8]}: TTL deletes a job that is {job.status}")
        self.gone.add(job.id)
        self._begin_anew(job.id)

    def _grant(self, id: str, token: int) -> Grant | None:
        """The lease with this token; the latest, as a new job of an old key has a new row of tokens."""
        return next((grant for grant in reversed(self.grants.get(id, ())) if grant.token == token), None)

    def _count(self, id: str, starts: int) -> None:
        life = self.life_of(id)
        self.counted[life] = self.counted.get(life, 0) + starts

    def life_of(self, id: str) -> LIFE:
        return (id, self.incarnation[id], self.life[id])
