"""The worker: what runs when SQS hands a batch of messages to a worker's Lambda function.

Claims, runs, finishes. A message is deleted only after the write that makes it superfluous; everything uncertain is left to
its visibility timeout. The rule numbers are PROTOCOL.md's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final

from jobline import transitions
from jobline.attempt import Ending, Failed, Unstarted, attempt
from jobline.claims import LEASE_MARGIN, ONE_SECOND, WRITE_TIME, Claims, Delivery, Drop, Held, Hide, Suspect, Verdict
from jobline.context import Context, Toolbox
from jobline.endings import BodyStore, Endings
from jobline.errors import CorruptRecord, InvalidMessage
from jobline.finishes import Change, Finishes
from jobline.job import WAITING, Job
from jobline.lease import HeldLease
from jobline.log import Log
from jobline.ordered import OrderedBatch, is_ordered
from jobline.quarantine import Quarantine
from jobline.queue import Hiding, Queues
from jobline.registry import Registry
from jobline.secret_fields import secrets_in_text
from jobline.store import Store
from jobline.transitions import Keep
from jobline.types import TypeInfo

START_TIME: Final = timedelta(seconds=5)
"""What an invocation may take to claim its first job. A timeout that no invocation has room for is cut to what one has."""
UNREADABLE_PAUSE: Final = timedelta(seconds=10)
"""How long a message is hidden whose job's payload AWS did not give."""


@dataclass(slots=True)
class Invocation:
    """One invocation: who we are, when Lambda ends us, and what became of its messages."""

    request_id: str
    ends_at: datetime
    longest_attempt: timedelta
    """What an attempt may take if it is the first of an invocation such as this one."""
    claims: Claims
    kept: list[str] = field(default_factory=list)
    """Message ids that must stay in their queue."""
    unwritten: bool = False
    """Whether a lease of ours may still live because its finish was not written."""
    endings: dict[str, int] = field(default_factory=dict)
    """How many jobs ended how, for the summary line."""
    _lock: Lock = field(default_factory=Lock)

    def count(self, what: str) -> None:
        with self._lock:
            self.endings[what] = self.endings.get(what, 0) + 1


class Worker:
    """Runs the jobs of one worker folder. Everything it needs is an argument; `functions/<worker>/handler.py` wires it."""

    def __init__(
        self,
        *,
        registry: Registry,
        types: Mapping[str, TypeInfo],
        store: Store,
        bodies: BodyStore,
        queues: Queues,
        tools: Toolbox,
        keep: Keep,
        clock: Callable[[], datetime],
        uniform: Callable[[float, float], float],
        quarantine: Quarantine,
        log: Log,
        handler_log: Any,
        threads: Callable[[str], int] = lambda queue: 1,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`types` tells which fields are secret; `threads(queue)`: how many jobs of one batch of that queue run at once."""
        self._registry = registry
        self._types = types
        self._store = store
        self._bodies = bodies
        self._queues = queues
        self._quarantine = quarantine
        self._tools = tools
        self._keep = keep
        self._clock = clock
        self._endings = Endings(bodies=bodies, keep=keep, clock=clock, uniform=uniform)
        self._log = log
        self._handler_log = handler_log
        self._threads = threads
        self._sleep = sleep

    def handle(self, event: Mapping[str, Any], *, request_id: str, remaining_milliseconds: int) -> dict[str, Any]:
        """Runs one batch; answers the messages that must stay in the queue (Lambda's partial batch response)."""
        length = timedelta(milliseconds=remaining_milliseconds)
        ends_at = self._clock() + length
        claims = Claims(store=self._store, request_id=request_id, ends_at=ends_at, keep=self._keep, clock=self._clock, sleep=self._sleep)
        invocation = Invocation(request_id, ends_at, length - WRITE_TIME - START_TIME, claims)
        finishes = Finishes(
            store=self._store,
            ends_at=ends_at,
            clock=self._clock,
            sleep=self._sleep,
            log=self._log,
            stale=lambda: invocation.count("stale"),
        )
        if is_ordered(event):
            self._ordered_batch(invocation, finishes).handle(event["Records"])
        else:
            self._run_batch(event, invocation, finishes)
        if invocation.endings:
            self._log.info("batch", **invocation.endings)
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in dict.fromkeys(invocation.kept)]}

    def _run_batch(self, event: Mapping[str, Any], invocation: Invocation, finishes: Finishes) -> None:
        deliveries = self._deliveries(event, invocation)
        held, suspects = self._claim(deliveries, invocation, alone=len(event["Records"]) == 1)
        self._hold_messages(held)
        try:
            self._run_all(sorted(held, key=lambda one: (one.job.priority, one.job.scheduled_at)), invocation, finishes)
        finally:
            finishes.flush()
        self._run_suspects(suspects, invocation, finishes)

    def _ordered_batch(self, invocation: Invocation, finishes: Finishes) -> OrderedBatch:
        def run(held: Held) -> None:
            self._hold_messages([held])
            self._run(held, invocation, finishes)

        return OrderedBatch(
            claims=invocation.claims,
            queues=self._queues,
            quarantine=self._quarantine,
            clock=self._clock,
            log=self._log,
            kept=invocation.kept,
            fits=lambda timeout: self._fits(min(timeout, invocation.longest_attempt), invocation.ends_at),
            unwritten=lambda: invocation.unwritten,
            take=lambda delivery: self._take(delivery, invocation, alone=True),
            settle=lambda delivery, verdict: self._settle(delivery, verdict, invocation),
            run=run,
        )

    # ------------------------------------------------------------------------------------------------ claim

    def _deliveries(self, event: Mapping[str, Any], invocation: Invocation) -> list[Delivery]:
        """The batch's messages, one per job: of copies the newest dispatch, the others stay hidden (R15)."""
        newest: dict[str, Delivery] = {}
        for record in event["Records"]:
            try:
                delivery = Delivery.of(record)
            except InvalidMessage as error:
                # It runs out of receives and reaches the dead-letter queue, whose consumer keeps it in quarantine.
                self._log.error("message cannot be read", message_id=record["messageId"], reason=str(error))
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
        if alone or len(deliveries) == 1:
            verdicts = [self._take(delivery, invocation, alone=alone) for delivery in deliveries]
        else:
            verdicts = self._take_together(deliveries, invocation)
        for delivery, verdict in zip(deliveries, verdicts, strict=True):
            if isinstance(verdict, Held):
                held.append(verdict)
            elif isinstance(verdict, Suspect):
                suspects.append(verdict)
            else:
                self._settle(delivery, verdict, invocation)
        return held, suspects

    def _take_together(self, deliveries: list[Delivery], invocation: Invocation) -> list[Verdict | None]:
        """One call for the whole batch; what it leaves open is asked one by one."""
        verdicts = invocation.claims.take_many(deliveries)
        return [
            self._take(delivery, invocation, alone=False) if verdict is None else verdict
            for delivery, verdict in zip(deliveries, verdicts, strict=True)
        ]

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

    def _hold_messages(self, held: list[Held]) -> None:
        """Shows messages again soon after their leases, not after six times the function's timeout; best effort (R29)."""
        now = self._clock()
        by_queue: dict[str, list[Hiding]] = {}
        for one in held:
            hiding = Hiding(one.delivery.receipt_handle, (one.job.lease_until or now) + ONE_SECOND)
            by_queue.setdefault(one.delivery.queue_name, []).append(hiding)
        for name, hidings in by_queue.items():
            self._queues.hide_many(name, hidings, now)

    def _run_suspects(self, suspects: list[Suspect], invocation: Invocation, finishes: Finishes) -> None:
        """Runs suspects one at a time, after every other finish of this invocation was written (R13)."""
        for suspect in suspects:
            delivery = suspect.delivery
            if invocation.unwritten or not self._fits(self._timeout(suspect.job, invocation), invocation.ends_at):
                self._queues.hide(delivery.queue_name, delivery.receipt_handle, self._clock(), self._clock())
                invocation.kept.append(delivery.message_id)
                continue
            verdict = invocation.claims.take_suspect(suspect)
            if isinstance(verdict, Held):
                self._hold_messages([verdict])
                self._run(verdict, invocation, finishes)
            else:
                self._settle(delivery, verdict, invocation)

    # ------------------------------------------------------------------------------------------------ run and finish

    def _run_all(self, held: list[Held], invocation: Invocation, finishes: Finishes) -> None:
        threads = min(len(held), self._threads(held[0].job.queue)) if held else 1
        if threads == 1:
            for one in held:
                self._run(one, invocation, finishes)
            return
        with ThreadPoolExecutor(threads, thread_name_prefix="job") as pool:
            for run in [pool.submit(self._run, one, invocation, finishes) for one in held]:
                run.result()

    def _timeout(self, job: Job, invocation: Invocation) -> timedelta:
        """What this attempt may take: the job's timeout, or less where a redeploy gave its worker less time than that."""
        return min(timedelta(seconds=job.timeout), invocation.longest_attempt)

    def _fits(self, timeout: timedelta, end: datetime) -> bool:
        return timeout > timedelta() and self._clock() + timeout + WRITE_TIME <= end

    def _run(self, held: Held, invocation: Invocation, finishes: Finishes) -> None:
        job = held.job
        timeout = self._timeout(job, invocation)
        trusted_until = (job.lease_until or self._clock()) - LEASE_MARGIN
        if not self._fits(timeout, invocation.ends_at) or self._clock() + timeout > trusted_until:
            self._hand_back(held, invocation, finishes)
            return
        context = Context(
            job=job,
            attempt=job.attempts + (0 if held.alone else 1),
            deadline=self._clock() + timeout,
            lease=HeldLease(self._store, job, self._clock),
            tools=self._tools,
            clock=self._clock,
            logger=self._handler_log,
        )
        try:
            ending = attempt(self._registry, lambda: self._payload(job), context, timeout.total_seconds())
        finally:
            self._tools.redactor.release(job.id)
        if isinstance(ending, Unstarted):
            self._log.warning("payload cannot be read now", job=job.id, error=ending.reason)
            self._hand_back(held, invocation, finishes, pause=UNREADABLE_PAUSE)
        else:
            self._finish(held, ending, invocation, finishes)

    def _payload(self, job: Job) -> str:
        """The payload's JSON text; from now until the attempt is over nothing tells the secrets in it."""
        text = self._bodies.load(job.payload, job.payload_ref) or "null"
        kind = self._types.get(job.type)
        if kind is not None and kind.secret:
            self._tools.redactor.hold(job.id, secrets_in_text(text, kind.schema))
        return text

    def _hand_back(self, held: Held, invocation: Invocation, finishes: Finishes, *, pause: timedelta = timedelta(0)) -> None:
        """Gives up a lease under which nothing was started (R17); the message comes again after `pause`."""
        delivery = held.delivery

        def change(job: Job) -> transitions.Write:
            return transitions.hand_back(job, now=self._clock(), alone=held.alone, keep=self._keep(job.queue))

        def settle(after: Job | None) -> None:
            if after is not None and after.over:
                return
            invocation.count("handed_back")
            invocation.unwritten |= after is held.job
            invocation.kept.append(delivery.message_id)
            self._queues.hide(delivery.queue_name, delivery.receipt_handle, self._clock() + pause, self._clock())

        finishes.write(held.job, change, settle)

    def _finish(self, held: Held, ending: Ending, invocation: Invocation, finishes: Finishes) -> None:
        """Writes how the attempt ended; the message goes only when the record says that it is superfluous (R17)."""

        put_away: list[str] = []

        def settle(after: Job | None) -> None:
            self._endings.discard_unnamed(held, after, put_away)
            delivery = held.delivery
            superfluous = after is None or after.over or after.dispatch != delivery.message.dispatch
            waits = after is not None and after.status in WAITING
            invocation.count(str(after.status) if after is not None and (superfluous or waits) else "unfinished")
            if superfluous or after is None:
                return
            invocation.kept.append(delivery.message_id)
            if waits:  # in its place, as a job of an ordered queue does
                self._queues.hide(delivery.queue_name, delivery.receipt_handle, min(after.scheduled_at, after.expires_at), self._clock())
            else:
                invocation.unwritten = True

        if isinstance(ending, Failed):
            self._log.warning("attempt failed", job=held.job.id, type=held.job.type, attempt=held.job.attempts, error=ending.error[:300])
        change: Change = self._endings.change(held, ending, put_away)
        if held.alone:
            finishes.write(held.job, change, settle)
        else:
            finishes.keep(held.job, change, settle)
