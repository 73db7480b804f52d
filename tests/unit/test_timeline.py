"""What happened to a job, as its record tells it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobline import transitions as t
from jobline.errors import CorruptRecord
from jobline.job import Job, Status
from jobline.memory import holds
from jobline.timeline import read_entry, timeline, timeline_document
from jobline.transitions import Write, applied, history_entry
from tests.factories import KEEP, NOW, make_claimant, make_job, seconds


class Life:
    """A job that things happen to, by the real transitions."""

    def __init__(self, **fields: Any) -> None:
        self.now = NOW
        self.job: Job = t.enqueued(make_job(**fields), now=NOW)

    def at(self, second: float) -> Life:
        self.now = NOW + seconds(second)
        return self

    def does(self, write: Write) -> Life:
        assert all(holds(condition, self.job) for condition in write.when), write
        self.job = applied(self.job, write)
        return self

    def claims(self, *, alone: bool = True, lease: float = 37) -> Life:
        who = make_claimant(dispatch=self.job.dispatch, lease_until=self.now + seconds(lease))
        return self.does(t.claim(who, now=self.now, alone=alone))

    def fails(self, error: str, *, after: float, alone: bool = True) -> Life:
        return self.does(t.fail(self.job, now=self.now, error=error, delay=seconds(after), alone=alone, keep=KEEP))

    def ends(self, *, alone: bool = True) -> Life:
        return self.does(t.done(self.job, now=self.now, result="1", result_ref=None, alone=alone, keep=KEEP))

    @property
    def told(self) -> list[tuple[float, str, int, float | None]]:
        """Second, event, attempt and duration of each thing that happened."""
        events = timeline(self.job, now=self.now)
        return [((event.at - NOW).total_seconds(), event.event, event.attempt, event.seconds) for event in events]

    @property
    def details(self) -> dict[str, str]:
        return {event.event: event.detail for event in timeline(self.job, now=self.now)}


def test_the_straight_path_is_told_by_the_record_s_own_times() -> None:
    life = Life().at(0.25).claims().at(2.75).ends()
    assert life.told == [(0, "enqueued", 0, None), (0.25, "started", 1, 0.25), (2.75, "done", 1, 2.5)]
    assert life.job.history == ()


def test_a_delay_is_told_before_and_after_it_is_over() -> None:
    life = Life(scheduled_at=NOW + seconds(60)).at(30)
    assert life.told == [(0, "enqueued", 0, None)]
    assert life.details == {"enqueued": "due 2026-03-01T12:01:00Z"}
    assert life.at(61).claims().told == [(0, "enqueued", 0, None), (60, "due", 0, 60), (61, "started", 1, 1)]


@pytest.mark.parametrize("alone", [True, False])
def test_every_attempt_is_told_with_its_start_its_cause_and_its_duration(alone: bool) -> None:
    life = Life(max_attempts=3).at(1).claims(alone=alone).at(3).fails("E: one", after=10, alone=alone)
    life.at(14).claims(alone=alone).at(15.5).fails("E: two", after=20, alone=alone)
    expected = [
        (0, "enqueued", 0, None),
        (1, "started", 1, 1),
        (3, "failed", 1, 2),
        (14, "started", 2, 11),
        (15.5, "failed", 2, 1.5),
    ]
    assert life.told == expected
    life.at(36).claims(alone=alone)
    assert life.told == [*expected, (35.5, "due", 2, 20), (36, "started", 3, 0.5)]
    life.at(37).fails("E: three", after=1, alone=alone)
    assert life.told == [*expected, (35.5, "due", 2, 20), (36, "started", 3, 0.5), (37, "failed", 3, 1), (37, "dead", 3, None)]
    assert life.details["failed"] == "E: three"
    assert life.details["dead"] == "3 of 3 attempts"


def test_a_crash_is_told_and_the_start_after_it() -> None:
    life = Life().claims(lease=10)
    life.at(11).does(t.take_over(life.job, make_claimant(lease_until=life.now + seconds(10)), now=life.now, keep=KEEP))
    life.at(12).ends()
    assert life.told == [(0, "enqueued", 0, None), (0, "started", 1, 0), (11, "crash", 1, 11), (11, "started", 2, 0), (12, "done", 2, 1)]
    assert "request-1" in life.details["crash"]


def test_what_people_did_is_told_with_what_came_of_it() -> None:
    life = Life(scheduled_at=NOW + seconds(5000)).at(10)
    life.does(t.reschedule(life.job, now=life.now, op="op", scheduled_at=NOW + seconds(20), priority=1))
    life.at(21).claims()
    life.at(22).does(t.request_cancel(life.job, now=life.now, op="op"))
    life.at(25).fails("E: x", after=5)
    life.at(99).does(t.retry(life.job, now=life.now, op="op"))
    life.at(100).claims().at(101).ends()
    assert life.told == [
        (0, "enqueued", 0, None),
        (10, "rescheduled", 0, None),
        (21, "started", 1, 11),
        (22, "cancel_requested", 1, None),
        (25, "failed", 1, 4),
        (99, "retried", 1, None),
        (100, "started", 1, 1),
        (101, "done", 1, 1),
    ]
    assert life.details["rescheduled"] == "due 2026-03-01T12:00:20Z, priority 1"
    assert life.details["retried"] == "was cancelled"
    assert life.details["enqueued"] == ""


def test_each_end_is_told_once_with_its_cause() -> None:
    cancelled = Life()
    cancelled.at(4).does(t.cancel(cancelled.job, now=cancelled.now, op="op", keep=KEEP))
    assert cancelled.told[1:] == [(4, "cancelled", 0, None)]
    assert cancelled.details["cancelled"] == "on request"

    abandoned = Life().claims()
    abandoned.at(4).does(t.abandon(abandoned.job, now=abandoned.now, reason="not wanted", alone=True, keep=KEEP))
    assert abandoned.told[1:] == [(0, "started", 1, 0), (4, "cancelled", 1, 4)]
    assert abandoned.details["cancelled"] == "not wanted"

    expired = Life(expires_at=NOW + seconds(3))
    expired.at(4).does(t.expire(expired.job, now=expired.now, keep=KEEP))
    assert expired.told[1:] == [(4, "expired", 0, None)]
    assert expired.details["expired"] == "not started by 2026-03-01T12:00:03Z"

    hopeless = Life().claims().at(1)
    hopeless.does(t.fail(hopeless.job, now=hopeless.now, error="E: no", delay=seconds(1), alone=True, keep=KEEP, retryable=False))
    assert hopeless.told[2:] == [(1, "failed", 1, 1), (1, "dead", 1, None)]
    assert hopeless.details["dead"] == "E: no"

    asked = Life().claims()
    asked.at(1).does(t.request_cancel(asked.job, now=asked.now, op="op")).at(2).fails("E: stopped", after=1)
    assert asked.told[2:] == [(1, "cancel_requested", 1, None), (2, "failed", 1, 2), (2, "cancelled", 1, None)]


def test_a_snooze_is_told() -> None:
    life = Life().at(1).claims()
    life.at(2).does(t.snooze(life.job, now=life.now, delay=seconds(30), alone=True, keep=KEEP))
    assert life.told == [(0, "enqueued", 0, None), (1, "started", 1, 1), (2, "snoozed", 1, 1)]
    assert life.details["snoozed"] == "30 s"
    assert life.at(33).claims().told[3:] == [(32, "due", 1, 30), (33, "started", 1, 1)]


def test_entries_of_an_earlier_release_tell_no_durations_but_the_last() -> None:
    history = tuple(history_entry("failed", NOW + seconds(n), n, "E") for n in (1, 2))
    job = make_job(status=Status.FAILED, attempts=2, started_at=NOW + seconds(1.5), history=history, scheduled_at=NOW + seconds(60))
    told = [(event.event, event.attempt, event.seconds) for event in timeline(job, now=NOW + seconds(3))]
    assert told == [("enqueued", 0, None), ("failed", 1, None), ("started", 2, 0.5), ("failed", 2, 0.5)]
    lost = make_job(history=(history_entry("lost", NOW, 1, "gone"),))
    assert [event.event for event in timeline(lost, now=NOW)] == ["enqueued", "lost"]


def test_a_history_that_was_capped_says_so() -> None:
    entry = history_entry("failed", NOW, 1, "E")
    assert "truncated" not in timeline_document(make_job(history=(entry,) * 39), now=NOW)
    assert timeline_document(make_job(history=(entry,) * 40), now=NOW)["truncated"] is True


def test_the_answer_is_plain() -> None:
    life = Life().at(1.5).claims().at(2).fails("E: x", after=100)
    assert timeline_document(life.job, now=life.now) == {
        "events": [
            {"at": "2026-03-01T12:00:00Z", "event": "enqueued", "attempt": 0, "detail": ""},
            {"at": "2026-03-01T12:00:01.500Z", "event": "started", "attempt": 1, "detail": "", "seconds": 1.5},
            {"at": "2026-03-01T12:00:02Z", "event": "failed", "attempt": 1, "detail": "E: x", "seconds": 0.5},
        ]
    }


def test_what_a_later_release_adds_to_an_entry_is_passed_over() -> None:
    entry = read_entry('["failed",1772366400000,2,"E",1500,{"more":1}]')
    assert (entry.event, entry.at, entry.attempt, entry.detail, entry.seconds) == ("failed", NOW, 2, "E", 1.5)
    assert read_entry('["failed",1772366400000,2,"E","?"]').seconds is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "1", '["x"]', '["failed","soon",1,""]', '["failed",1e400,1,""]', '["failed",1,null,""]'])
def test_an_entry_that_is_none_is_a_corrupt_record(text: str) -> None:
    with pytest.raises(CorruptRecord):
        read_entry(text)


def test_events_are_in_order_of_time_however_long_the_life() -> None:
    life = Life(max_attempts=100)
    for n in range(30):
        life.at(n * 100).claims().at(n * 100 + 1).fails(f"E: {n}", after=5)
    times: list[datetime] = [event.at for event in timeline(life.job, now=life.now + timedelta(days=1))]
    assert times == sorted(times)
    assert len([event for event in timeline(life.job, now=life.now) if event.event == "started"]) == 30


def test_a_claim_that_was_handed_back_is_no_start() -> None:
    life = Life().at(1).claims()
    life.at(2).does(t.hand_back(life.job, now=life.now, alone=True, keep=KEEP))
    assert life.told == [(0, "enqueued", 0, None)]
    assert life.at(3).claims().told == [(0, "enqueued", 0, None), (3, "started", 1, 3)]


WHAT_CAN_HAPPEN = ("claim", "claim in a batch", "fail", "snooze", "crash", "lose", "hand back", "done", "retry", "move", "cancel", "expire")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WHAT_CAN_HAPPEN), st.integers(1, 5000)), max_size=30))
def test_whatever_happens_every_start_is_told_once_in_its_place_and_the_end_last(steps: list[tuple[str, int]]) -> None:
    life = Life(max_attempts=4, expires_at=NOW + seconds(20_000), expires_in=20_000)
    starts: list[datetime] = []
    alone = True
    for step, later in steps:
        life.now += seconds(later)
        job, now = life.job, life.now
        who = make_claimant(dispatch=job.dispatch, lease_until=now + seconds(30))
        writes = {
            "claim": t.claim(who, now=now, alone=True),
            "claim in a batch": t.claim(who, now=now, alone=False),
            "fail": t.fail(job, now=now, error="E", delay=seconds(later), alone=alone, keep=KEEP),
            "snooze": t.snooze(job, now=now, delay=seconds(later), alone=alone, keep=KEEP),
            "crash": t.take_over(job, who, now=now, keep=KEEP),
            "lose": t.lose(job, now=now, keep=KEEP, over_since=now),
            "hand back": t.hand_back(job, now=now, alone=alone, keep=KEEP),
            "done": t.done(job, now=now, result=None, result_ref=None, alone=alone, keep=KEEP),
            "retry": t.retry(job, now=now, op="op"),
            "move": t.reschedule(job, now=now, op="op", scheduled_at=now + seconds(later), priority=3),
            "cancel": t.cancel(job, now=now, op="op", keep=KEEP),
            "expire": t.expire(job, now=now, keep=KEEP),
        }
        write = writes[step]
        if not all(holds(condition, job) for condition in write.when):
            continue
        life.job = applied(job, write)
        if write.set.get("status") is Status.RUNNING:
            alone = step != "claim in a batch"
            starts.append(now)
        if step == "hand back":
            starts.pop()

    events = timeline(life.job, now=life.now)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert events[0].event == "enqueued"
    told = [event.at for event in events if event.event == "started"]
    assert told == starts
    assert all(event.seconds is None or event.seconds >= 0 for event in events)
    assert all(event.at <= life.now for event in events)
    if life.job.over:
        assert events[-1].event == life.job.status
