"""The worker: what runs when SQS hands a batch of messages to a worker's Lambda function.

Claims, runs, finishes. A message is deleted only after the write that makes it superfluous; everything uncertain is left to
its visibility timeout. The rule numbers are PROTOCOL.md's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from jobline import transitions
from jobline.attempt import Abandoned, Ending, Failed, Returned, Snoozed, attempt
from jobline.claims import LEASE_MARGIN, ONE_SECOND, WRITE_TIME, Claims, Delivery, Drop, Held, Hide, Suspect, Verdict
from jobline.context import Context, Toolbox
from jobline.errors import CorruptRecord, InvalidMessage, Unavailable
from jobline.job import Job, Status
from jobline.lease import HeldLease
from jobline.log import Log
from jobline.payloads import Placed
from jobline.queue import Queues
from jobline.registry import Registry
from jobline.retry import stored_policy
from jobline.store import Store
from jobline.transitions import Keep, Write

FINISH_PAUSE = 0.2
"""Seconds between tries of a finish that AWS did not take."""


class BodyStore(Protocol):
    """What the worker asks of `payloads.Bodies`."""

    def put(self, job_id: str, kind: Any, text: str, *, version: str = "") -> Placed: ...
    def load(self, inline: str | None, reference: str | None) -> str | None: ...


@dataclass(slots=True)
class Invocation:
    """One invocation: who we are, when Lambda ends us, and what became of its messages."""

    request_id: str
    ends_at: datetime
    claims: Claims
    kept: list[str] = field(default_factory=list)
    """Message ids that must stay in their queue."""
    unwritten: bool = False
    """Whether a lease of ours may still live because its finish was not written."""
    endings: dict[str, int] = field(default_factory=dict)
    """How many jobs ended how, for the summary line."""

    def count(self, what: str) -> None:
        self.endings[what] = self.endings.get(what, 0) + 1


class Worker:
    """Runs the jobs of one worker folder. Everything it needs is an argument; `functions/<worker>/handler.py` wires it."""

    def __init__(
        self,
        *,
        registry: Registry,
        store: Store,
        bodies: BodyStore,
        queues: Queues,
        tools: Toolbox,
        keep: Keep,
        clock: Callable[[], datetime],
        uniform: Callable[[float, float], float],
        log: Log,
        handler_log: Any,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._registry = registry
        self._store = store
        self._bodies = bodies
        self._queues = queues
        self._tools = tools
        self._keep = keep
        self._clock = clock
        self._uniform = uniform
        self._log = log
        self._handler_log = handler_log
        self._sleep = sleep

    def handle(self, event: Mapping[str, Any], *, request_id: str, remaining_milliseconds: int) -> dict[str, Any]:
        """Runs one batch; answers the messages that must stay in the queue (Lambda's partial batch response)."""
        ends_at = self._clock() + timedelta(milliseconds=remaining_milliseconds)
        claims = Claims(store=self._store, request_id=request_id, ends_at=ends_at, keep=self._keep, clock=self._clock, sleep=self._sleep)
        invocation = Invocation(request_id, ends_at, claims)
        deliveries = self._deliveries(event, invocation)
        alone = len(event["Records"]) == 1
        held, suspects = self._claim(deliveries, invocation, alone=alone)
        for one in sorted(held, key=lambda one: (one.job.priority, one.job.scheduled_at)):
            self._hold_message(one)
            self._run(one, invocation)
        self._run_suspects(suspects, invocation)
        if invocation.endings:
            self._log.info("batch", **invocation.endings)
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in dict.fromkeys(invocation.kept)]}

    # ------------------------------------------------------------------------------------------------ claim

    def _deliveries(self, event: Mapping[str, Any], invocation: Invocation) -> list[Delivery]:
        """The batch's messages, one per job: of copies the newest dispatch, the others stay hidden (R15)."""
        newest: dict[str, Delivery] = {}
        for record in event["Records"]:
            try:
                delivery = Delivery.of(record)
            except InvalidMessage as error:
                # It runs out of receives and reaches the dead-letter queue, whose consumer keeps it in quarantine.
                self._log.error("message cannot be read", message=record["messageId"], reason=str(error))
                invocation.kept.append(record["messageId"])
                continue
            known = newest.get(delivery.message.id)
            older = delivery if known is not None and known.message.dispatch >= delivery.message.dispatch else known
            if older is not delivery:
                newest[delivery.message.id] = delivery
            if older is not None:
                invocation.kept.append(older.message_id)
        return list(newest.values())

    def _claim(self, deliveries: list[Delivery], invocation: Invocation, *, alone: bool) -> tuple[list[Held], list[Suspect]]:
        held: list[Held] = []
        suspects: list[Suspect] = []
        for delivery in deliveries:
            verdict = self._take(delivery, invocation, alone=alone)
            if isinstance(verdict, Held):
                held.append(verdict)
            elif isinstance(verdict, Suspect):
                suspects.append(verdict)
            else:
                self._settle(delivery, verdict, invocation)
        return held, suspects

    def _take(self, delivery: Delivery, invocation: Invocation, *, alone: bool) -> Verdict | None:
        try:
            return invocation.claims.take(delivery, alone=alone)
        except CorruptRecord as error:
            self._log.error("record cannot be read", job=delivery.message.id, error=str(error))
            return None

    def _settle(self, delivery: Delivery, verdict: Verdict | None, invocation: Invocation) -> None:
        """What a claim that took nothing means for its message."""
        if isinstance(verdict, Drop):
            invocation.count("dropped")
            return
        invocation.kept.append(delivery.message_id)
        if isinstance(verdict, Hide):
            self._queues.hide(delivery.queue_name, delivery.receipt_handle, verdict.until, self._clock())

    def _hold_message(self, held: Held) -> None:
        """Shows the message again soon after the lease, not after six times the function's timeout; best effort (R29)."""
        until = (held.job.lease_until or self._clock()) + ONE_SECOND
        self._queues.hide(held.delivery.queue_name, held.delivery.receipt_handle, until, self._clock())

    def _run_suspects(self, suspects: list[Suspect], invocation: Invocation) -> None:
        """Runs suspects one at a time, after every other finish of this invocation was written (R13)."""
        for suspect in suspects:
            delivery = suspect.delivery
            if invocation.unwritten or not self._fits(suspect.job, invocation.ends_at):
                self._queues.hide(delivery.queue_name, delivery.receipt_handle, self._clock(), self._clock())
                invocation.kept.append(delivery.message_id)
                continue
            verdict = invocation.claims.take_suspect(suspect)
            if isinstance(verdict, Held):
                self._hold_message(verdict)
                self._run(verdict, invocation)
            else:
                self._settle(delivery, verdict, invocation)

    # ------------------------------------------------------------------------------------------------ run and finish

    def _fits(self, job: Job, end: datetime) -> bool:
        return self._clock() + timedelta(seconds=job.timeout) + WRITE_TIME <= end

    def _run(self, held: Held, invocation: Invocation) -> None:
        job = held.job
        trusted_until = (job.lease_until or self._clock()) - LEASE_MARGIN
        if not self._fits(job, invocation.ends_at) or self._clock() + timedelta(seconds=job.timeout) > trusted_until:
            self._hand_back(held, invocation)
            return
        lease = HeldLease(self._store, job, self._clock)
        context = Context(
            job=job,
            attempt=job.attempts + (0 if held.alone else 1),
            deadline=self._clock() + timedelta(seconds=job.timeout),
            lease=lease,
            tools=self._tools,
            clock=self._clock,
            logger=self._handler_log,
        )
        ending = attempt(self._registry, lambda: self._payload(job), context, job.timeout)
        self._finish(held, ending, invocation)

    def _payload(self, job: Job) -> str:
        text = self._bodies.load(job.payload, job.payload_ref)
        return "null" if text is None else text

    def _hand_back(self, held: Held, invocation: Invocation) -> None:
        """Gives up a lease under which nothing was started (R17)."""
        delivery = held.delivery
        after = self._write(
            held.job, lambda job: transitions.hand_back(job, now=self._clock(), alone=held.alone, keep=self._keep(job.queue)), invocation
        )
        if after is not None and after.over:
            return
        invocation.count("handed_back")
        invocation.unwritten |= after is held.job
        invocation.kept.append(delivery.message_id)
        self._queues.hide(delivery.queue_name, delivery.receipt_handle, self._clock(), self._clock())

    def _finish(self, held: Held, ending: Ending, invocation: Invocation) -> None:
        """Writes how the attempt ended; the message goes only when the record says that it is superfluous (R17)."""
        try:
            after = self._write(held.job, self._finishing(held, ending), invocation)
        except CorruptRecord as error:
            self._log.error("record cannot be read", job=held.job.id, error=str(error))
            after = held.job
        superfluous = after is None or after.over or after.dispatch != held.delivery.message.dispatch
        if not superfluous:
            invocation.kept.append(held.delivery.message_id)
            invocation.unwritten = True
        invocation.count(str(after.status) if after is not None and superfluous else "unfinished")
        if isinstance(ending, Failed):
            self._log.warning("attempt failed", job=held.job.id, type=held.job.type, attempt=held.job.attempts, error=ending.error[:300])

    def _finishing(self, held: Held, ending: Ending) -> Callable[[Job], Write]:
        """The finish as a function of the record as last read; the body of a result is put away once, before."""
        alone = held.alone
        keep = self._keep(held.job.queue)
        placed: Placed | None = None

        def write(job: Job) -> Write:
            nonlocal placed
            now = self._clock()
            if isinstance(ending, Returned):
                placed = placed or self._bodies.put(job.id, "result", ending.result, version=f"{job.token}#")
                return transitions.done(job, now=now, result=placed.inline, result_ref=placed.reference, alone=alone, keep=keep)
            if isinstance(ending, Snoozed):
                return transitions.snooze(job, now=now, delay=timedelta(seconds=ending.seconds), alone=alone, keep=keep)
            if isinstance(ending, Abandoned):
                return transitions.abandon(job, now=now, reason=ending.reason, alone=alone, keep=keep)
            delay = self._delay(job, ending, alone=alone)
            return transitions.fail(job, now=now, error=ending.error, delay=delay, alone=alone, keep=keep, retryable=ending.retryable)

        return write

    def _delay(self, job: Job, failed: Failed, *, alone: bool) -> timedelta:
        if failed.retry_after is not None:
            return timedelta(seconds=failed.retry_after)
        failures_before = job.attempts - (1 if alone else 0)
        return stored_policy(job.retry).delay(failures_before, self._uniform)

    def _write(self, job: Job, write: Callable[[Job], Write], invocation: Invocation) -> Job | None:
        """Applies a finish until it is written, refused for good, or time is out; answers the record as it is then.

        A refusal by our own token is read again (a cancel request came in between) or is our own lost reply; by another
        token it is stale: logged, counted, and nothing is overwritten. Out of time, the answer is the record as we held it:
        the message stays, and the lease ends by itself.
        """
        held = job
        while True:
            try:
                outcome = self._store.apply(job.id, write(job))
            except Unavailable as error:
                if self._clock() + timedelta(seconds=FINISH_PAUSE) >= invocation.ends_at:
                    self._log.warning("finish not written", job=job.id, error=str(error))
                    return held
                self._sleep(FINISH_PAUSE)
                continue
            after = outcome.job
            if outcome.applied or after is None:
                return after
            if after.token != held.token:
                invocation.count("stale")
                self._log.warning("stale finish refused", job=job.id, token=held.token, now=after.token)
                return after
            if after.status is not Status.RUNNING:
                return after
            job = after
