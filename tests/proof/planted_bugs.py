"""The simulator's planted bugs, made in the real code: each switches one rule of docs/protocol.md off.

`PLANTED[name]` puts one into the running engine for as long as its context lasts. Names are those of the protocol's simulation.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

from jobline import claims, counter_items, dead_letters, finishes, follow_ups, locks, marks, relay, service, ticker, transitions, worker
from jobline.errors import Unavailable
from jobline.job import RETRYABLE, WAITING, Job, Status
from jobline.memory import MemoryStore
from jobline.shards import queue_partitions
from jobline.store import Outcome
from jobline.transitions import Condition, Write
from tests.factories import NOW
from tests.proof.world import WORLD

Bug = Callable[[], AbstractContextManager[object]]
PLANTED: dict[str, Bug] = {}


def planted(bug: Callable[[], Iterator[None]]) -> Bug:
    made = contextmanager(bug)
    PLANTED[bug.__name__.replace("_with_", "+")] = made
    return made


# ---------------------------------------------------------------------------------------------------- tools


@contextmanager
def swapped(original: Any, new: Any) -> Iterator[None]:
    """Puts `new` in the place of a module's function or constant, under every name by which a module of Jobline knows it."""
    with ExitStack() as stack:
        found = 0
        for name, module in list(sys.modules.items()):
            if name.startswith("jobline") and module is not None:
                for attribute, value in list(vars(module).items()):
                    if value is original:
                        stack.enter_context(mock.patch.object(module, attribute, new))
                        found += 1
        assert found, original
        yield


@contextmanager
def method(owner: type, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Replaces a method by `make(original)`."""
    with mock.patch.object(owner, name, make(getattr(owner, name))):
        yield


@contextmanager
def writes(function: Callable[..., Write], change: Callable[[Write, tuple[Any, ...]], Write]) -> Iterator[None]:
    """Changes every write that one row of the protocol makes; `change(write, positional arguments)`."""
    with swapped(function, lambda *positional, **named: change(function(*positional, **named), positional)):
        yield


def without(write: Write, *fields: str) -> Write:
    """The write without its conditions on these fields."""
    return dataclasses.replace(write, when=tuple(condition for condition in write.when if condition.field not in fields))


def unguarded(write: Write, **fields: Any) -> Write:
    """The write that also sets these fields, whatever its row allows; `None` removes one."""
    changed = dataclasses.replace(write)
    kept = {name: value for name, value in fields.items() if value is not None}
    object.__setattr__(changed, "set", {name: value for name, value in write.set.items() if name not in fields} | kept)
    object.__setattr__(changed, "add", {name: value for name, value in write.add.items() if name not in fields})
    object.__setattr__(changed, "remove", (*(n for n in write.remove if n not in kept), *(n for n in fields if n not in kept)))
    return changed


def keeping(write: Write, *fields: str) -> Write:
    """The write without its changes of these fields."""
    return dataclasses.replace(
        write,
        set={name: value for name, value in write.set.items() if name not in fields},
        add={name: value for name, value in write.add.items() if name not in fields},
        remove=tuple(name for name in write.remove if name not in fields),
    )


def adding(write: Write, **amounts: int) -> Write:
    return dataclasses.replace(write, add={**write.add, **amounts})


def blind_to_cancel(function: Callable[..., Any]) -> AbstractContextManager[None]:
    """The row neither asks for a cancel request nor honours one."""

    def blind(job: Job, *positional: Any, **named: Any) -> Any:
        change = function(dataclasses.replace(job, cancel_requested=False), *positional, **named)
        return without(change, "cancel_requested") if isinstance(change, Write) else change

    return swapped(function, blind)


def judged(change: Callable[[Any, Job | None, Any, datetime], Any]) -> AbstractContextManager[None]:
    """Changes verdicts: `change(verdict, job, delivery, now)`."""
    original = claims.judge

    def judge(job: Job | None, delivery: Any, request_id: str, now: datetime) -> Any:
        return change(original(job, delivery, request_id, now), job, delivery, now)

    return swapped(original, judge)


def looked_after(change: Callable[[Any, Job, datetime], Any]) -> AbstractContextManager[None]:
    """Changes what the ticker does for one job: `change(write, job, now)`."""
    original = ticker.attention

    def attention(job: Job, *, now: datetime, rests: bool, keep: Any) -> Any:
        return change(original(job, now=now, rests=rests, keep=keep), job, now)

    return swapped(original, attention)


# ---------------------------------------------------------------------------------------------------- claim


@planted
def claim_unconditional() -> Iterator[None]:
    anything = (Condition("status", "in", (Status.PENDING, Status.SCHEDULED, Status.FAILED, Status.RUNNING)),)
    with writes(transitions.claim, lambda write, _: dataclasses.replace(write, when=anything)):
        yield


@planted
def claim_no_dispatch() -> Iterator[None]:
    with writes(transitions.claim, lambda write, _: without(write, "dispatch")):
        yield


@planted
def pending_ignores_due() -> Iterator[None]:
    with writes(transitions.claim, lambda write, _: without(write, "scheduled_at")):
        yield


@planted
def no_expiry_in_claim() -> Iterator[None]:
    with writes(transitions.claim, lambda write, _: without(write, "expires_at")):
        yield


@planted
def solo_flag_ignored() -> Iterator[None]:
    with writes(transitions.claim, lambda write, _: without(write, "solo")):
        yield


@planted
def batch_claim_spends() -> Iterator[None]:
    with writes(transitions.claim, lambda write, _: adding(write, attempts=1)):
        yield


@planted
def claim_drops_attention() -> Iterator[None]:
    with writes(transitions.claim, lambda write, _: unguarded(write, attention=None, attention_at=None)):
        yield


@planted
def no_stale_drop() -> Iterator[None]:
    def change(verdict: Any, job: Job | None, delivery: Any, now: datetime) -> Any:
        stale = job is not None and not job.over and job.dispatch != delivery.message.dispatch
        return claims.Unknown() if stale else verdict

    with judged(change):
        yield


@planted
def notdue_dropped() -> Iterator[None]:
    def change(verdict: Any, job: Job | None, delivery: Any, now: datetime) -> Any:
        waits = job is not None and job.status in WAITING
        return claims.Drop() if waits and isinstance(verdict, claims.Hide) else verdict

    with judged(change):
        yield


@planted
def drop_on_live_lease() -> Iterator[None]:
    def change(verdict: Any, job: Job | None, delivery: Any, now: datetime) -> Any:
        running = job is not None and job.status is Status.RUNNING
        return claims.Drop() if running and isinstance(verdict, claims.Hide) else verdict

    with judged(change):
        yield


@planted
def carrier_back() -> Iterator[None]:
    def change(verdict: Any, job: Job | None, delivery: Any, now: datetime) -> Any:
        live = job is not None and job.status is Status.RUNNING and job.dispatch == delivery.message.dispatch
        return claims.Hide(job.lease_until or now) if live and job is not None and isinstance(verdict, claims.Drop) else verdict

    with judged(change):
        yield


@planted
def lost_ack_is_other() -> Iterator[None]:
    """The claim's own success, met when its reply was lost, is taken for somebody else's."""

    def change(verdict: Any, job: Job | None, delivery: Any, now: datetime) -> Any:
        return claims.Drop() if isinstance(verdict, claims.Held) else verdict

    with judged(change):
        yield


@planted
def throttled_is_refused() -> Iterator[None]:
    def apply(self: Any, job_id: str, write: Write) -> Outcome:
        try:
            return self._store.apply(job_id, write)
        except Unavailable:
            return Outcome(False, None)

    with method(claims.Claims, "_apply", lambda _: apply):
        yield


@planted
def expire_only_drops() -> Iterator[None]:
    with method(claims.Claims, "_expire", lambda _: lambda self, job, delivery: claims.Drop()):
        yield


# ---------------------------------------------------------------------------------------------------- leases, batches, suspects


@contextmanager
def _short_lease() -> Iterator[None]:
    def make(original: Any) -> Any:
        def claimant(self: Any, delivery: Any, now: datetime, *, alone: bool) -> Any:
            return original(self, delivery, now, alone=True)

        return claimant

    with method(claims.Claims, "_claimant", make):
        yield


@contextmanager
def _start_without_check() -> Iterator[None]:
    with mock.patch.object(worker, "LEASE_MARGIN", timedelta(days=-1)), method(worker.Worker, "_fits", lambda _: lambda *_: True):
        yield


@planted
def short_lease() -> Iterator[None]:
    with _short_lease():
        yield


@planted
def start_without_check() -> Iterator[None]:
    with _start_without_check():
        yield


@planted
def short_lease_with_start_without_check() -> Iterator[None]:
    with _short_lease(), _start_without_check():
        yield


@planted
def no_margin() -> Iterator[None]:
    with mock.patch.object(claims, "LEASE_MARGIN", timedelta()), mock.patch.object(worker, "LEASE_MARGIN", timedelta()):
        yield


@planted
def no_dedupe() -> Iterator[None]:
    def deliveries(self: Any, event: Any, invocation: Any) -> list[Any]:
        return [claims.Delivery.of(record) for record in event["Records"]]

    with method(worker.Worker, "_deliveries", lambda _: deliveries):
        yield


@planted
def suspects_join_batch() -> Iterator[None]:
    def make(original: Any) -> Any:
        def take(self: Any, delivery: Any, *, alone: bool) -> Any:
            verdict = original(self, delivery, alone=alone)
            return self.take_suspect(verdict) if isinstance(verdict, claims.Suspect) else verdict

        return take

    def take_many(self: Any, deliveries: Any) -> list[Any]:
        return [self.take(delivery, alone=False) for delivery in deliveries]

    with method(claims.Claims, "take", make), method(claims.Claims, "take_many", lambda _: take_many):
        yield


# ---------------------------------------------------------------------------------------------------- finish


@planted
def finish_without_token() -> Iterator[None]:
    with swapped(transitions._held, lambda job: (Condition("status", "=", Status.RUNNING),)):
        yield


@planted
def finish_unconditional() -> Iterator[None]:
    with swapped(transitions._held, lambda job: ()):
        yield


@planted
def acked_after_lost_finish() -> Iterator[None]:
    def make(original: Any) -> Any:
        def write(self: Any, job: Job, change: Any, *more: Any) -> Any:
            once = [True]
            apply = self._store.apply

            def give_up(job_id: str, write: Write) -> Outcome:
                try:
                    return apply(job_id, write)
                except Unavailable:
                    once.clear()
                    return Outcome(True, None)

            with mock.patch.object(self, "_store", mock.Mock(apply=give_up)):
                return original(self, job, change, *more)

        return write

    with method(finishes.Finishes, "_write", make):
        yield


@planted
def snooze_spends() -> Iterator[None]:
    def change(write: Write, _: Any) -> Write:
        return keeping(write, "attempts") if write.set["status"] in (Status.PENDING, Status.SCHEDULED) else write

    with writes(transitions.snooze, change):
        yield


@planted
def no_snooze_cap() -> Iterator[None]:
    snooze = transitions.snooze
    with swapped(snooze, lambda *positional, **named: snooze(*positional, **named | {"cap": 10**9})):
        yield


@planted
def creq_ignored() -> Iterator[None]:
    with ExitStack() as stack:
        for function in (transitions._ended_by_lost_lease, transitions.fail, transitions.snooze):
            stack.enter_context(blind_to_cancel(function))
        yield


@planted
def release_ignores_creq() -> Iterator[None]:
    with blind_to_cancel(transitions.hand_back):
        yield


# ---------------------------------------------------------------------------------------------------- lost leases


@planted
def no_max_at_lost() -> Iterator[None]:
    ended = transitions._ended_by_lost_lease

    def without_max(job: Job, now: datetime, keep: Any) -> Any:
        return ended(dataclasses.replace(job, max_attempts=10**9), now, keep)

    with swapped(ended, without_max):
        yield


@planted
def lost_back_to_pending() -> Iterator[None]:
    def change(write: Write, _: Any) -> Write:
        return unguarded(write, status=Status.PENDING, solo=None) if write.set["status"] is Status.FAILED else write

    with writes(transitions.lose, change):
        yield


# ---------------------------------------------------------------------------------------------------- api


@planted
def cancel_running_says_cancelled() -> Iterator[None]:
    more = WAITING | {Status.RUNNING}
    with (
        mock.patch.object(service, "WAITING", more),
        writes(transitions.cancel, lambda write, _: dataclasses.replace(write, when=(Condition("status", "in", tuple(more)),))),
    ):
        yield


@planted
def retry_resets_token() -> Iterator[None]:
    with writes(transitions.retry, lambda write, _: unguarded(write, token=0)):
        yield


@planted
def retry_running() -> Iterator[None]:
    with swapped(RETRYABLE, RETRYABLE | {Status.RUNNING}):
        yield


@planted
def retry_keeps_expiry() -> Iterator[None]:
    with writes(transitions.retry, lambda write, _: keeping(write, "expires_at")):
        yield


@planted
def retry_not_watched() -> Iterator[None]:
    with writes(transitions.retry, lambda write, _: unguarded(write, attention=None, attention_at=None)):
        yield


@planted
def no_dispatch_on_retry() -> Iterator[None]:
    with writes(transitions.retry, lambda write, _: adding(keeping(write, "dispatch"), resend=1)):
        yield


@planted
def ttl_kept() -> Iterator[None]:
    with writes(transitions.retry, lambda write, _: keeping(write, "ttl")):
        yield


@planted
def patch_no_dispatch() -> Iterator[None]:
    with writes(transitions.reschedule, lambda write, _: keeping(write, "dispatch")):
        yield


@planted
def lock_holds_nothing() -> Iterator[None]:
    """Not the simulation's: a unique key that somebody has is free for everybody."""
    with method(locks.Lock, "holds", lambda _: lambda self, job, now: False):
        yield


@planted
def lock_outlives_its_job() -> Iterator[None]:
    """Not the simulation's: a unique key stays taken when its job is over."""
    with method(locks.Lock, "holds", lambda _: lambda self, job, now: self.expires_at > now):
        yield


# ---------------------------------------------------------------------------------------------------- relay


@planted
def relay_by_own_clock() -> Iterator[None]:
    original = relay.needs_message

    def needs_message(before: Job | None, after: Job | None) -> bool:
        if after is not None and after.status is Status.FAILED and after.scheduled_at - WORLD[-1].now <= timedelta(seconds=900):
            return before is None or (before.dispatch, before.resend) != (after.dispatch, after.resend)
        return original(before, after)

    with swapped(original, needs_message):
        yield


@contextmanager
def _relay_no_clamp() -> Iterator[None]:
    with mock.patch.object(relay, "LONGEST_MESSAGE_DELAY", timedelta(days=400)):
        yield


@contextmanager
def _promote_by_status_only() -> Iterator[None]:
    with writes(transitions.promote, lambda write, _: without(write, "scheduled_at", "rev")):
        yield


@planted
def relay_no_clamp() -> Iterator[None]:
    with _relay_no_clamp():
        yield


@planted
def promote_by_status_only() -> Iterator[None]:
    with _promote_by_status_only():
        yield


@planted
def relay_no_clamp_with_promote_by_status_only() -> Iterator[None]:
    with _relay_no_clamp(), _promote_by_status_only():
        yield


@planted
def set_aside_transient() -> Iterator[None]:
    def make(original: Any) -> Any:
        def flush(self: Any, name: str, lane: Any) -> list[str]:
            original(self, name, lane)
            return []

        return flush

    with method(relay.Relay, "_flush", make):
        yield


# ---------------------------------------------------------------------------------------------------- ticker


@planted
def promote_unconditional() -> Iterator[None]:
    with writes(transitions.promote, lambda write, _: dataclasses.replace(write, when=())):
        yield


@planted
def ticker_owns_all_failed() -> Iterator[None]:
    def change(write: Any, job: Job, now: datetime) -> Any:
        due = job.status is Status.FAILED and job.scheduled_at <= now + transitions.PROMOTE_AHEAD
        return transitions.promote(job, now=now) if due else write

    with looked_after(change):
        yield


@planted
def resend_bumps_dispatch() -> Iterator[None]:
    with writes(transitions.resend, lambda write, _: adding(write, dispatch=1)):
        yield


@planted
def resend_every_minute() -> Iterator[None]:
    with (
        mock.patch.object(transitions, "RESEND_FIRST_PAUSE", timedelta()),
        mock.patch.object(transitions, "RESEND_LONGEST_PAUSE", timedelta()),
    ):
        yield


@planted
def resend_while_paused() -> Iterator[None]:
    original = ticker.attention
    with swapped(original, lambda job, *, now, rests, keep: original(job, now=now, rests=False, keep=keep)):
        yield


@planted
def no_walk() -> Iterator[None]:
    with method(ticker.Ticker, "_walk", lambda _: lambda self, queue, state, out_of_time: state):
        yield


@planted
def walk_too_young() -> Iterator[None]:
    with mock.patch.object(ticker, "WALK_BEHIND", timedelta()):
        yield


@planted
def walk_cursor_first() -> Iterator[None]:
    def make(original: Any) -> Any:
        def walk(self: Any, queue: str, state: Any, out_of_time: Any) -> Any:
            until, walked = self._clock() - ticker.WALK_BEHIND, dict(state.walked)
            for partition in queue_partitions(queue):
                keys = self._store.walk(partition, after=walked.get(partition), until=until, limit=ticker.PAGE)
                if keys:
                    walked[partition] = keys[-1]
            self._states.save_walk(queue, dataclasses.replace(state, walked=walked))
            return original(self, queue, state, out_of_time)

        return walk

    with method(ticker.Ticker, "_walk", make):
        yield


@planted
def walk_skips_running() -> Iterator[None]:
    waiting = Condition("status", "in", tuple(WAITING))
    with (
        writes(transitions.watch, lambda write, _: dataclasses.replace(write, when=(waiting, *write.when[1:]))),
        looked_after(lambda write, job, now: None if job.status is Status.RUNNING else write),
    ):
        yield


@planted
def walk_on_mismatch_only() -> Iterator[None]:
    def make(original: Any) -> Any:
        def walk(self: Any, queue: str, state: Any, out_of_time: Any) -> Any:
            world = WORLD[-1]
            pending = sum(job.status is Status.PENDING for job in world.store.jobs.values())
            return state if pending == len(world.sqs.messages()) else original(self, queue, state, out_of_time)

        return walk

    with method(ticker.Ticker, "_walk", make):
        yield


# ---------------------------------------------------------------------------------------------------- dead letters


def _settled(change: Callable[[Any, Job, Any, datetime, Any], Any]) -> AbstractContextManager[None]:
    original = dead_letters.settlement

    def settlement(job: Job | None, message: Any, message_id: str, now: datetime, keep: Any) -> Any:
        wanted = original(job, message, message_id, now, keep)
        return wanted if job is None or job.over else change(wanted, job, message, now, keep)

    return swapped(original, settlement)


@planted
def dlq_ignores_lease() -> Iterator[None]:
    def change(wanted: Any, job: Job, message: Any, now: datetime, keep: Any) -> Any:
        if job.status is not Status.RUNNING or job.dispatch != message.dispatch:
            return wanted
        return without(transitions.lose(job, now=now, keep=keep(job.queue), over_since=now), "lease_until")

    with _settled(change):
        yield


@planted
def dlq_ignores_dispatch() -> Iterator[None]:
    def change(wanted: Any, job: Job, message: Any, now: datetime, keep: Any) -> Any:
        if job.status not in (Status.PENDING, Status.FAILED) or job.expires_at <= now:
            return wanted
        return unguarded(transitions.put_back(job, now=now, dispatch=job.dispatch), status=Status.PENDING, scheduled_at=now)

    with _settled(change):
        yield


@planted
def dlq_resets_due() -> Iterator[None]:
    def change(write: Write, positional: tuple[Any, ...]) -> Write:
        return unguarded(write, status=Status.PENDING, scheduled_at=WORLD[-1].now)

    with writes(transitions.put_back, change):
        yield


# ---------------------------------------------------------------------------------------------------- observer


@planted
def observer_blind_add() -> Iterator[None]:
    with method(marks.Marks, "cover", lambda _: lambda self, batch: -1):
        yield


@planted
def observer_refused_is_done() -> Iterator[None]:
    def make(original: Any) -> Any:
        def put(self: Any, queue: str, folded: Any) -> bool:
            original(self, queue, folded)
            return True

        return put

    with method(counter_items.CounterItems, "put", make):
        yield


@planted
def observer_first_seq() -> Iterator[None]:
    """The mark is the first number of a batch: a batch that begins so was folded, whatever it holds now."""

    def of(numbers: Any, shard: str | None = None) -> Any:
        return marks.Batch(marks._name(f"{shard} {min(numbers)}"), 0, 10**12)

    with mock.patch.object(marks.Batch, "of", of):
        yield


# ---------------------------------------------------------------------------------------------------- follow-ups


def silent(function: Callable[..., Write]) -> AbstractContextManager[None]:
    """The row ends jobs and tells nobody."""
    return writes(function, lambda write, _: dataclasses.replace(write, makes=()))


@planted
def cancel_tells_nobody() -> Iterator[None]:
    with silent(transitions.cancel):
        yield


@planted
def expire_tells_nobody() -> Iterator[None]:
    with silent(transitions.expire):
        yield


@planted
def lose_tells_nobody() -> Iterator[None]:
    with silent(transitions.lose):
        yield


@planted
def take_over_tells_nobody() -> Iterator[None]:
    with silent(transitions.take_over):
        yield


@planted
def hand_back_tells_nobody() -> Iterator[None]:
    with silent(transitions.hand_back):
        yield


@planted
def done_tells_nobody() -> Iterator[None]:
    with silent(transitions.done):
        yield


@planted
def replaced_tells_nobody() -> Iterator[None]:
    def make(original: Any) -> Any:
        def create_unique(self: Any, job: Job, lock: Any, *, replaced: Any = None, **found: Any) -> Any:
            quiet = replaced and replaced._replace(write=dataclasses.replace(replaced.write, makes=()))
            return original(self, job, lock, replaced=quiet, **found)

        return create_unique

    with method(MemoryStore, "create_unique", make):
        yield


@planted
def put_first_then_update() -> Iterator[None]:
    """Two writes, the follow-up's first: it is there when the end is refused."""

    def make(original: Any) -> Any:
        def apply(self: MemoryStore, job_id: str, write: Write) -> Outcome:
            for made in write.makes:
                self.create_many([made])
            return original(self, job_id, write)

        return apply

    with method(MemoryStore, "apply", make):
        yield


@planted
def follow_up_of_no_life() -> Iterator[None]:
    """Its id is the same in every life of the job."""
    original = follow_ups.follow_up_id
    with swapped(original, lambda kind, job: original(kind, dataclasses.replace(job, dispatch=1))):
        yield


@planted
def follow_up_of_any_incarnation() -> Iterator[None]:
    """Its id is the same for a new job under the id of one that is gone."""
    original = follow_ups.follow_up_id
    with swapped(original, lambda kind, job: original(kind, dataclasses.replace(job, created_at=NOW))):
        yield


@planted
def ended_as_it_was_not_read() -> Iterator[None]:
    with writes(transitions.cancel, lambda write, _: without(write, "created_at", "rev") if write.makes else write):
        yield
