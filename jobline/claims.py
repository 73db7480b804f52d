"""Claims: how a worker comes to hold a job's lease, and what a refusal means for the message it came with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from jobline.errors import Unavailable
from jobline.job import Job, Status
from jobline.message import Message
from jobline.store import Outcome, Store
from jobline.transitions import Claimant, Keep, Write, claim, expire, take_over

LEASE_MARGIN = timedelta(seconds=5)
"""A holder trusts its lease until this long before its end: twice any clock skew, and more (R25)."""
WRITE_TIME = timedelta(seconds=2)
"""What a lease has beyond timeout and margin, for the claim's own answer and the finish."""
ONE_SECOND = timedelta(seconds=1)
CLAIM_PAUSES = (0.1, 0.3)
"""Seconds before each repetition of a claim that AWS did not answer; a start may come this much after its claim."""


class Delivery(NamedTuple):
    """One message as SQS delivered it."""

    message: Message
    message_id: str
    receipt_handle: str
    queue_name: str
    """The SQS queue's name."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Delivery:
        """The delivery of one record of Lambda's SQS event; raises `InvalidMessage`."""
        name = record["eventSourceARN"].rsplit(":", 1)[-1]
        return cls(Message.decode(record["body"]), record["messageId"], record["receiptHandle"], name)


@dataclass(frozen=True, slots=True)
class Held:
    """The lease is ours. `alone`: this claim spent the attempt."""

    job: Job
    delivery: Delivery
    alone: bool


@dataclass(frozen=True, slots=True)
class Drop:
    """The message is of no use to anybody: delete it."""


@dataclass(frozen=True, slots=True)
class Hide:
    """The message comes too early: hide it until then."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Suspect:
    """The job's last lease was lost: it must run alone. `job` is the record as read."""

    job: Job
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Unknown:
    """No verdict: leave the message to its visibility timeout."""


Verdict = Held | Drop | Hide | Suspect | Unknown


def judge(job: Job | None, delivery: Delivery, request_id: str, now: datetime) -> Verdict | None:
    """What the record that refused a claim says about the message (R1, R3, R9, R16); `None`: it waits past its expiry."""
    if job is None or job.over or job.dispatch != delivery.message.dispatch:
        return Drop()
    if job.status is Status.RUNNING:
        lease_until = job.lease_until or now
        if job.claimed_by == request_id and job.carrier == delivery.message_id:
            return Held(job, delivery, alone=False)  # our own claim, whose answer was lost
        if lease_until <= now:
            return Suspect(job, delivery)
        return Hide(lease_until + ONE_SECOND) if job.carrier == delivery.message_id else Drop()
    if job.status is Status.SCHEDULED:
        return Hide(job.scheduled_at + ONE_SECOND)
    if job.expires_at <= now:
        return None
    if job.scheduled_at > now:
        return Hide(min(job.scheduled_at, job.expires_at) + ONE_SECOND)
    return Suspect(job, delivery) if job.solo else Unknown()


class Claims:
    """Claims for one invocation of a worker."""

    def __init__(
        self, *, store: Store, request_id: str, ends_at: datetime, keep: Keep, clock: Callable[[], datetime], sleep: Callable[[float], None]
    ) -> None:
        self._store = store
        self._request_id = request_id
        self._ends_at = ends_at
        self._keep = keep
        self._clock = clock
        self._sleep = sleep

    def take(self, delivery: Delivery, *, alone: bool) -> Verdict:
        """Claims one delivered job; in a batch (`alone=False`) suspects are left out and no attempt is spent."""
        now = self._clock()
        who = self._claimant(delivery, now, alone=alone)
        try:
            outcome = self._apply(delivery.message.id, claim(who, now=now, alone=alone))
            if outcome.applied and outcome.job is not None:
                return Held(outcome.job, delivery, alone)
            verdict = judge(outcome.job, delivery, self._request_id, now)
            if isinstance(verdict, Held):
                return Held(verdict.job, delivery, alone)
            if verdict is None and outcome.job is not None:
                return self._expire(outcome.job, delivery)
            return verdict or Unknown()
        except Unavailable:
            return Hide(who.lease_until + ONE_SECOND)

    def take_many(self, deliveries: Sequence[Delivery]) -> list[Verdict | None]:
        """Claims several jobs in as few calls as possible, suspects left out and no attempt spent; `None`: `take` it singly.

        The jobs must differ (R15).
        """
        now = self._clock()
        writes = [(delivery.message.id, claim(self._claimant(delivery, now, alone=False), now=now, alone=False)) for delivery in deliveries]
        verdicts: list[Verdict | None] = []
        for delivery, outcome in zip(deliveries, self._store.apply_many(writes), strict=True):
            if outcome is None or outcome.job is None:
                verdicts.append(None)
            elif outcome.applied:
                verdicts.append(Held(outcome.job, delivery, alone=False))
            else:
                verdicts.append(judge(outcome.job, delivery, self._request_id, now))
        return verdicts

    def take_suspect(self, suspect: Suspect) -> Verdict:
        """Claims a suspect, alone: counts the attempt, or settles the lost lease for good (R11)."""
        if suspect.job.status is not Status.RUNNING:
            return self.take(suspect.delivery, alone=True)
        delivery, now = suspect.delivery, self._clock()
        who = self._claimant(delivery, now, alone=True)
        try:
            outcome = self._apply(suspect.job.id, take_over(suspect.job, who, now=now, keep=self._keep(suspect.job.queue)))
        except Unavailable:
            return Hide(who.lease_until + ONE_SECOND)
        job = outcome.job
        if job is not None and job.status is Status.RUNNING and (outcome.applied or self._is_mine(job, delivery)):
            return Held(job, delivery, alone=True)
        return Drop() if outcome.applied else judge(job, delivery, self._request_id, now) or Unknown()

    def _apply(self, job_id: str, write: Write) -> Outcome:
        """The write, repeated while AWS does not answer and there is time (R16).

        It may have taken effect without our hearing of it: then the repetition is refused by a record that names us. Raises
        `Unavailable` in the end; the lease may then be ours all the same, so the message is hidden until it would be over.
        """
        for pause in CLAIM_PAUSES:
            try:
                return self._store.apply(job_id, write)
            except Unavailable:
                if self._clock() + timedelta(seconds=pause) >= self._ends_at:
                    raise
                self._sleep(pause)
        return self._store.apply(job_id, write)

    def _is_mine(self, job: Job, delivery: Delivery) -> bool:
        return job.claimed_by == self._request_id and job.carrier == delivery.message_id

    def _claimant(self, delivery: Delivery, now: datetime, *, alone: bool) -> Claimant:
        """A lone claim's lease is the job's timeout and a margin; a batch's lasts as long as this invocation can (R14)."""
        lease_until = self._ends_at + LEASE_MARGIN
        if alone and delivery.message.timeout:
            lease_until = min(lease_until, now + timedelta(seconds=delivery.message.timeout) + LEASE_MARGIN + WRITE_TIME)
        return Claimant(self._request_id, delivery.message_id, delivery.message.dispatch, lease_until)

    def _expire(self, job: Job, delivery: Delivery) -> Verdict:
        write = expire(job, now=self._clock(), keep=self._keep(job.queue), dispatch=delivery.message.dispatch)
        outcome = self._store.apply(job.id, write)
        if outcome.applied or outcome.job is None or outcome.job.over or outcome.job.dispatch != delivery.message.dispatch:
            return Drop()
        return Unknown()
