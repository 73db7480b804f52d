"""The protocol's rows, one by one, and what holds of any sequence of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jobline import transitions as t
from jobline.expressions import update_expression
from jobline.job import FAR_FUTURE, RETRYABLE, TERMINAL, TRANSITIONS, WAITING, Job, Status
from jobline.memory import MemoryStore, holds
from tests.factories import KEEP, NOW, make_claimant, make_job, seconds


def allowed(job: Job, write: t.Write) -> bool:
    return all(holds(condition, job) for condition in write.when)


def after(job: Job, write: t.Write) -> Job:
    assert allowed(job, write), f"{write.event} was refused by {job.status}"
    return t.applied(job, write)


def running(**fields: Any) -> Job:
    given = {
        "status": Status.RUNNING,
        "token": 1,
        "attempts": 1,
        "lease_until": NOW + seconds(37),
        "claimed_by": "request-1",
        "carrier": "message-1",
    }
    return make_job(**(given | fields))


class TestEnqueue:
    def test_a_job_due_within_900_seconds_is_pending_and_in_no_attention_index(self) -> None:
        job = t.enqueued(make_job(scheduled_at=NOW + seconds(900)), now=NOW)
        assert (job.status, job.attention, job.delivered_by_ticker) == (Status.PENDING, None, False)

    def test_a_job_due_later_is_scheduled_and_the_ticker_s(self) -> None:
        job = t.enqueued(make_job(scheduled_at=NOW + seconds(900.001)), now=NOW)
        assert (job.status, job.attention_at, job.delivered_by_ticker) == (Status.SCHEDULED, job.scheduled_at, True)

    def test_a_scheduled_job_that_expires_first_is_looked_at_when_it_expires(self) -> None:
        job = t.enqueued(make_job(scheduled_at=NOW + seconds(9000), expires_at=NOW + seconds(5000)), now=NOW)
        assert job.attention_at == job.expires_at


class TestClaim:
    def test_a_lone_claim_spends_the_attempt(self) -> None:
        job = after(make_job(), t.claim(make_claimant(), now=NOW, alone=True))
        assert (job.status, job.attempts, job.token, job.claimed_by, job.started_at) == (Status.RUNNING, 1, 1, "request-1", NOW)

    def test_a_claim_in_a_batch_spends_none(self) -> None:
        assert after(make_job(), t.claim(make_claimant(), now=NOW, alone=False)).attempts == 0

    def test_a_suspect_is_left_out_of_a_batch_but_may_be_claimed_alone(self) -> None:
        suspect = make_job(solo=True)
        assert not allowed(suspect, t.claim(make_claimant(), now=NOW, alone=False))
        assert after(suspect, t.claim(make_claimant(), now=NOW, alone=True)).solo

    @pytest.mark.parametrize(
        "job",
        [
            make_job(scheduled_at=NOW + seconds(0.001)),
            make_job(status=Status.FAILED, scheduled_at=NOW + seconds(5)),
            make_job(expires_at=NOW),
            make_job(dispatch=2),
            *(make_job(status=status) for status in sorted(set(Status) - {Status.PENDING, Status.FAILED})),
        ],
    )
    def test_no_claim_starts_a_job_early_late_twice_or_by_a_void_message(self, job: Job) -> None:
        assert not allowed(job, t.claim(make_claimant(), now=NOW, alone=True))

    def test_a_claim_leaves_attention_alone(self) -> None:
        watched = make_job(attention="emails#open#1", attention_at=NOW + seconds(300))
        claimed = after(watched, t.claim(make_claimant(), now=NOW, alone=True))
        assert (claimed.attention, claimed.attention_at) == (watched.attention, watched.attention_at)


class TestLostLease:
    def lost(self, **fields: Any) -> Job:
        return running(lease_until=NOW, **fields)

    def test_with_attempts_left_its_message_starts_it_again_alone(self) -> None:
        job = after(self.lost(), t.take_over(self.lost(), make_claimant(), now=NOW, keep=KEEP))
        assert (job.status, job.solo, job.attempts, job.token) == (Status.RUNNING, True, 2, 2)
        assert json.loads(job.history[-1])[0] == "crash"

    def test_without_attempts_left_it_is_dead_whoever_meets_it(self) -> None:
        last = self.lost(attempts=3)
        writes = [
            t.take_over(last, make_claimant(), now=NOW, keep=KEEP),
            t.lose(last, now=NOW, keep=KEEP, over_since=NOW),
        ]
        for write in writes:
            job = after(last, write)
            assert (job.status, job.error) == (Status.DEAD, t.LOST_LEASE_ERROR)

    def test_a_cancel_request_is_honoured_when_attempts_are_left(self) -> None:
        asked = self.lost(cancel_requested=True)
        assert after(asked, t.take_over(asked, make_claimant(), now=NOW, keep=KEEP)).status is Status.CANCELLED
        assert after(asked, t.lose(asked, now=NOW, keep=KEEP, over_since=NOW)).status is Status.CANCELLED

    def test_the_ticker_makes_it_failed_due_now_and_marked_never_pending(self) -> None:
        job = after(self.lost(), t.lose(self.lost(), now=NOW, keep=KEEP, over_since=NOW))
        assert (job.status, job.solo, job.scheduled_at, job.dispatch, job.lease_until) == (Status.FAILED, True, NOW, 2, None)

    def test_a_lease_that_lives_is_nobody_s_to_take(self) -> None:
        live = running(lease_until=NOW + seconds(0.001))
        assert not allowed(live, t.take_over(live, make_claimant(), now=NOW, keep=KEEP))
        assert not allowed(live, t.lose(live, now=NOW, keep=KEEP, over_since=NOW))

    def test_a_cancel_request_that_came_after_the_reading_refuses_the_write(self) -> None:
        write = t.lose(self.lost(), now=NOW, keep=KEEP, over_since=NOW)
        assert not allowed(self.lost(cancel_requested=True), write)


class TestFinish:
    def test_done_keeps_the_result_and_leaves_every_index_of_open_jobs(self) -> None:
        watched = running(attention="emails#open#1", attention_at=NOW, error="ValueError: before", solo=True)
        job = after(watched, t.done(watched, now=NOW, result="{}", result_ref=None, alone=True, keep=KEEP))
        assert (job.status, job.result, job.error, job.attention, job.attention_at, job.solo) == (
            Status.DONE,
            "{}",
            None,
            None,
            None,
            False,
        )
        assert (job.completed_at, job.ttl, job.attempts) == (NOW, int(NOW.timestamp()) + KEEP.done, 1)

    def test_a_finish_after_a_batch_claim_spends_the_attempt(self) -> None:
        job = running(attempts=0)
        assert after(job, t.done(job, now=NOW, result="1", result_ref=None, alone=False, keep=KEEP)).attempts == 1

    def test_a_cancel_request_that_came_too_late_leaves_a_success_done(self) -> None:
        job = running(cancel_requested=True)
        assert after(job, t.done(job, now=NOW, result="1", result_ref=None, alone=True, keep=KEEP)).status is Status.DONE

    def test_a_worker_that_lost_its_lease_can_overwrite_nothing(self) -> None:
        mine = running(token=1)
        for record in (running(token=2), make_job(token=1), make_job(status=Status.DONE, token=1)):
            assert not allowed(record, t.done(mine, now=NOW, result="1", result_ref=None, alone=True, keep=KEEP))
            assert not allowed(record, t.fail(mine, now=NOW, error="E", delay=seconds(1), alone=True, keep=KEEP))
            assert not allowed(record, t.hand_back(mine, now=NOW, alone=True, keep=KEEP))

    def fail(self, job: Job, delay: float = 1, **options: Any) -> Job:
        return after(job, t.fail(job, now=NOW, error="ValueError: no", delay=seconds(delay), alone=True, keep=KEEP, **options))

    def test_a_failure_with_attempts_left_waits_for_its_backoff(self) -> None:
        job = self.fail(running(solo=True), delay=4)
        assert (job.status, job.scheduled_at, job.dispatch, job.error, job.solo) == (
            Status.FAILED,
            NOW + seconds(4),
            2,
            "ValueError: no",
            False,
        )
        assert not job.delivered_by_ticker

    def test_a_backoff_beyond_what_sqs_can_delay_is_the_ticker_s(self) -> None:
        assert self.fail(running(), delay=901).delivered_by_ticker
        assert not self.fail(running(), delay=900).delivered_by_ticker

    def test_the_last_failure_is_dead(self) -> None:
        job = self.fail(running(attempts=3))
        assert (job.status, job.error) == (Status.DEAD, "ValueError: no")
        assert job.attention is not None and "#dead#" in job.attention

    def test_a_failure_that_no_retry_can_mend_is_dead_at_once(self) -> None:
        assert self.fail(running(), retryable=False).status is Status.DEAD

    def test_a_failure_after_a_cancel_request_is_cancelled(self) -> None:
        assert self.fail(running(cancel_requested=True)).status is Status.CANCELLED

    @pytest.mark.parametrize("wait", [0, 60, 901, 48 * 3600])
    def test_an_ordered_job_keeps_its_message_however_its_start_ends_and_is_never_the_ticker_s_to_deliver(self, wait: int) -> None:
        mine = running(ordering_key="ledger", expires_at=NOW + seconds(3600))
        failed = self.fail(mine, delay=wait)
        snoozed = after(mine, t.snooze(mine, now=NOW, delay=seconds(wait), alone=True, keep=KEEP))
        continued = after(mine, t.go_on(mine, now=NOW, alone=True, keep=KEEP))
        over = NOW + seconds(600)
        lost = after(mine, t.lose(mine, now=over, keep=KEEP, over_since=over))
        assert [job.status for job in (failed, snoozed, continued, lost)] == ["failed", "pending", "pending", "failed"]
        for job in (failed, snoozed, continued, lost):
            assert (job.dispatch, job.delivered_by_ticker) == (1, False)
        assert failed.scheduled_at == snoozed.scheduled_at == NOW + seconds(wait)
        assert failed.attention_at is not None and failed.attention_at == min(NOW + seconds(wait + 300), mine.expires_at)

    def test_handing_back_returns_the_attempt(self) -> None:
        job = after(running(), t.hand_back(running(), now=NOW, alone=True, keep=KEEP))
        assert (job.status, job.attempts, job.dispatch, job.lease_until) == (Status.PENDING, 0, 1, None)

    def test_handing_back_a_job_whose_cancel_was_requested_cancels_it(self) -> None:
        asked = running(cancel_requested=True)
        assert after(asked, t.hand_back(asked, now=NOW, alone=True, keep=KEEP)).status is Status.CANCELLED

    def test_a_snooze_uses_no_attempt(self) -> None:
        job = after(running(), t.snooze(running(), now=NOW, delay=seconds(60), alone=True, keep=KEEP))
        assert (job.status, job.attempts, job.snoozes, job.dispatch) == (Status.PENDING, 0, 1, 2)

    def test_a_long_snooze_is_scheduled(self) -> None:
        assert after(running(), t.snooze(running(), now=NOW, delay=seconds(1000), alone=True, keep=KEEP)).status is Status.SCHEDULED

    def test_snoozing_without_end_is_dead(self) -> None:
        sleepy = running(snoozes=t.MAX_SNOOZES)
        job = after(sleepy, t.snooze(sleepy, now=NOW, delay=seconds(1), alone=True, keep=KEEP))
        assert job.status is Status.DEAD
        assert (job.error or "").startswith("SnoozedTooOften")

    def test_a_handler_can_cancel_its_job(self) -> None:
        job = after(running(), t.abandon(running(), now=NOW, reason="sold out", alone=True, keep=KEEP))
        assert (job.status, job.attempts) == (Status.CANCELLED, 1)


class TestOperators:
    @pytest.mark.parametrize("status", sorted(WAITING))
    def test_what_has_not_started_can_be_cancelled(self, status: Status) -> None:
        job = make_job(status=status)
        assert after(job, t.cancel(job, now=NOW, op="op", keep=KEEP)).status is Status.CANCELLED

    @pytest.mark.parametrize("status", sorted(TERMINAL | {Status.RUNNING}))
    def test_what_has_started_or_ended_cannot(self, status: Status) -> None:
        job = make_job(status=status)
        assert not allowed(job, t.cancel(job, now=NOW, op="op", keep=KEEP))

    @pytest.mark.parametrize("status", sorted(RETRYABLE))
    def test_a_retry_starts_over_and_keeps_token_and_history(self, status: Status) -> None:
        job = make_job(
            status=status, attempts=3, token=7, dispatch=9, ttl=1, error="E", result="1", cancel_requested=True, snoozes=5, history=("[]",)
        )
        again = after(job, t.retry(job, now=NOW, op="op"))
        assert (again.status, again.attempts, again.token, again.dispatch, again.snoozes) == (Status.PENDING, 0, 7, 10, 0)
        assert (again.ttl, again.error, again.result, again.cancel_requested, again.expires_at) == (None, None, None, False, FAR_FUTURE)
        assert len(again.history) == 2
        assert again.attention_at == NOW + timedelta(minutes=5)

    def test_a_retried_job_that_expires_gets_its_time_again(self) -> None:
        job = make_job(status=Status.EXPIRED, expires_in=60, expires_at=NOW - seconds(1))
        assert after(job, t.retry(job, now=NOW, op="op")).expires_at == NOW + seconds(60)

    def test_rescheduling_a_failed_job_leaves_it_failed(self) -> None:
        job = make_job(status=Status.FAILED)
        moved = after(job, t.reschedule(job, now=NOW, op="op", scheduled_at=NOW + seconds(5000), priority=1))
        assert (moved.status, moved.priority, moved.delivered_by_ticker, moved.dispatch) == (Status.FAILED, 1, True, 2)


class TestRepair:
    def test_a_job_is_promoted_at_most_ninety_seconds_ahead(self) -> None:
        for ahead, expected in ((90, True), (90.001, False)):
            job = t.enqueued(make_job(scheduled_at=NOW + seconds(5000)), now=NOW)
            assert allowed(job, t.promote(job, now=job.scheduled_at - seconds(ahead))) is expected

    def test_a_resend_keeps_the_dispatch_and_pauses_longer_each_time(self) -> None:
        job = make_job(attention="emails#open#1", attention_at=NOW)
        pauses = []
        now = NOW
        for _ in range(6):
            job = after(job, t.resend(job, now=now))
            assert job.attention_at is not None
            pauses.append(job.attention_at - now)
            now = job.attention_at
        assert pauses == [timedelta(minutes=m) for m in (15, 60, 240, 960, 1440, 1440)]
        assert (job.dispatch, job.resend) == (1, 6)

    def test_putting_back_changes_neither_status_nor_time(self) -> None:
        job = make_job(status=Status.FAILED, scheduled_at=NOW + seconds(60))
        back = after(job, t.put_back(job, now=NOW, dispatch=1))
        assert (back.status, back.scheduled_at, back.dispatch) == (Status.FAILED, job.scheduled_at, 2)

    def test_history_is_capped_and_the_oldest_go(self) -> None:
        job = make_job(status=Status.DEAD, history=tuple(str(n) for n in range(t.HISTORY_LIMIT)))
        again = after(job, t.retry(job, now=NOW, op="op"))
        assert len(again.history) == t.HISTORY_LIMIT
        assert again.history[0] == "1"


def test_an_error_is_cut_to_its_limit_inside_no_character() -> None:
    text = t.clip_error("ü" * 5000)
    assert len(text.encode()) <= t.ERROR_LIMIT
    assert set(text) == {"ü"}


def test_a_write_to_a_state_that_its_row_does_not_lead_to_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="cancel cannot lead to running"):
        t.Write(event="cancel", when=(), set={"status": Status.RUNNING}, add={})


class AnyOrder(RuleBasedStateMachine):
    """Applies any row at any moment to one job; what must hold of a record holds after each."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.now = NOW
        self.store.create(t.enqueued(make_job(max_attempts=2, expires_at=NOW + timedelta(days=2)), now=NOW), now=NOW)

    @property
    def job(self) -> Job:
        return self.store.jobs[make_job().id]

    def try_(self, write: t.Write) -> None:
        before = self.job
        outcome = self.store.apply(before.id, write)
        update_expression(write)
        if not outcome.applied:
            assert self.job is before
            return
        row = TRANSITIONS[write.event]
        assert (before.status, self.job.status) in row.moves
        assert self.job.rev == before.rev + 1
        assert self.job.token >= before.token
        assert self.job.dispatch >= before.dispatch
        assert (self.job.id, self.job.queue_shard, self.job.created_at, self.job.payload) == (
            before.id,
            before.queue_shard,
            NOW,
            before.payload,
        )

    @rule(by=st.sampled_from([1, 30, 100, 1000, 100_000]))
    def time_passes(self, by: int) -> None:
        self.now += seconds(by)

    @rule(alone=st.booleans(), stale=st.booleans())
    def claim(self, alone: bool, stale: bool) -> None:
        who = make_claimant(dispatch=self.job.dispatch - stale, lease_until=self.now + seconds(40))
        self.try_(t.claim(who, now=self.now, alone=alone))

    @precondition(lambda self: self.job.status is Status.RUNNING)
    @rule(
        alone=st.booleans(),
        row=st.sampled_from(["done", "fail", "fatal", "snooze", "abandon", "back", "progress"]),
        delay=st.sampled_from([0, 5, 5000]),
    )
    def finish(self, alone: bool, row: str, delay: int) -> None:
        job, now = self.job, self.now
        alone = alone and job.attempts > 0
        if not alone and job.attempts >= job.max_attempts:
            return  # a batch never claims a job without attempts left: it would be dead
        match row:
            case "done":
                self.try_(t.done(job, result="1", result_ref=None, alone=alone, now=now, keep=KEEP))
            case "fail" | "fatal":
                self.try_(t.fail(job, error="E", delay=seconds(delay), alone=alone, retryable=row == "fail", now=now, keep=KEEP))
            case "snooze":
                self.try_(t.snooze(job, delay=seconds(delay), alone=alone, cap=2, now=now, keep=KEEP))
            case "abandon":
                self.try_(t.abandon(job, reason="r", alone=alone, now=now, keep=KEEP))
            case "back":
                self.try_(t.hand_back(job, alone=alone, now=now, keep=KEEP))
            case _:
                self.try_(t.progress(job, "{}"))

    @rule()
    def lease_lost(self) -> None:
        self.try_(t.lose(self.job, now=self.now, keep=KEEP, over_since=self.now))

    @rule()
    def lease_taken_over(self) -> None:
        who = make_claimant(dispatch=self.job.dispatch, lease_until=self.now + seconds(40))
        self.try_(t.take_over(self.job, who, now=self.now, keep=KEEP))

    @rule()
    def operator_cancels(self) -> None:
        self.try_(t.cancel(self.job, now=self.now, op="op", keep=KEEP))
        self.try_(t.request_cancel(self.job, now=self.now, op="op"))

    @rule()
    def operator_retries(self) -> None:
        self.try_(t.retry(self.job, now=self.now, op="op"))

    @rule(delay=st.sampled_from([0, 50, 5000]))
    def operator_reschedules(self, delay: int) -> None:
        self.try_(t.reschedule(self.job, now=self.now, op="op", scheduled_at=self.now + seconds(delay), priority=1))

    @rule()
    def ticker_looks(self) -> None:
        for write in (
            t.expire(self.job, now=self.now, keep=KEEP),
            t.promote(self.job, now=self.now),
            t.resend(self.job, now=self.now),
            t.watch(self.job, now=self.now),
            t.watch_lease(self.job, now=self.now),
        ):
            self.try_(write)

    @rule()
    def dead_letter_is_put_back(self) -> None:
        self.try_(t.put_back(self.job, now=self.now, dispatch=self.job.dispatch))

    @invariant()
    def the_record_is_sound(self) -> None:
        job = self.job
        assert 0 <= job.attempts <= job.max_attempts
        assert (job.ttl is not None) == job.over
        assert (job.completed_at is not None) == job.over
        assert (job.lease_until is not None) == (job.status is Status.RUNNING)
        assert job.status is not Status.SCHEDULED or job.delivered_by_ticker
        assert job.attention is None or job.attention.split("#")[1] == (job.status.value if job.over else "open")
        assert job.attention_at is None or job.over or job.attention_at <= job.expires_at
        assert job.status is not Status.DONE or job.attention is None


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = hypothesis_settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_the_record_of_a_renewed_id_goes_on_counting() -> None:
    store = MemoryStore()
    old = make_job(status=Status.DONE, ttl=int(NOW.timestamp()), token=4, dispatch=6, rev=9)
    store.create(old, now=NOW - seconds(10))
    outcome = store.create(replace(make_job(), payload="2"), now=NOW)
    assert outcome.applied and outcome.job is not None
    assert (outcome.job.token, outcome.job.dispatch, outcome.job.rev, outcome.job.ttl) == (4, 7, 10, None)
