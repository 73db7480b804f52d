"""Why a job is not running: one reason for each state that it can be in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from jobline import transitions as t
from jobline.definitions import Queue
from jobline.job import Job, Status
from jobline.reasons import Reason, reason
from jobline.stats import QueueStats
from jobline.transitions import applied, history_entry
from tests.factories import KEEP, NOW, make_claimant, make_job, seconds

QUEUE = Queue(name="emails", worker="notifications", concurrency=10)
QUIET = QueueStats(
    pending=1,
    running=0,
    failed=0,
    retrying=0,
    scheduled=0,
    dead=0,
    done=0,
    avg_wait_time=None,
    p95_wait_time=None,
    avg_run_time=None,
    oldest_job_age=None,
    enqueue_rate=0.0,
    dequeue_rate=1.0,
    error_rate=0.0,
    active_workers=1,
    paused=False,
)


def why(job: Job, *, after: float = 0, queue: Queue | None = QUEUE, takes_type: bool = True, **stats: Any) -> Reason:
    """The reason, so many seconds after the test's beginning."""
    numbers = msgspec.structs.replace(QUIET, **stats)
    return reason(job, queue=queue, takes_type=takes_type, stats=numbers, now=NOW + seconds(after))


# ---------------------------------------------------------------------------------------------------- over, running


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (Status.DONE, "It is done since 2026-03-01T12:00:00Z."),
        (Status.DEAD, "It is dead since 2026-03-01T12:00:00Z, after 3 attempts: E: no. A retry runs it again."),
        (Status.CANCELLED, "It was cancelled at 2026-03-01T12:00:00Z. A retry runs it again."),
        (Status.EXPIRED, "It expired: it was to start before 2026-03-01T12:00:00Z. A retry runs it again."),
    ],
)
def test_a_job_that_is_over_is_not_running_because_it_is_over(status: Status, sentence: str) -> None:
    found = why(make_job(status=status, completed_at=NOW, attempts=3, error="E: no", expires_at=NOW))
    assert (found.code, found.sentence) == (status.value, sentence)
    assert reason(make_job(status=status), queue=None, takes_type=False, stats=None, now=NOW).code == status.value


def running(**fields: Any) -> Job:
    return applied(make_job(**fields), t.claim(make_claimant(), now=NOW, alone=True))


def test_a_job_that_runs_is_running_and_its_holder_is_named() -> None:
    found = why(running(), after=36)
    assert (found.code, found.facts["held_by"], found.facts["lease_until"]) == ("running", "request-1", "2026-03-01T12:00:37Z")
    assert "request-1" in found.sentence
    assert "asked to stop" not in found.sentence
    asked = applied(running(), t.request_cancel(running(), now=NOW, op="op"))
    assert why(asked).sentence.endswith("It has been asked to stop.")
    assert reason(running(), queue=None, takes_type=False, stats=None, now=NOW).code == "running"


def test_a_lease_that_was_lost_is_told_with_the_time_by_which_it_is_settled() -> None:
    found = why(running(), after=37)
    # Nobody watches the job: the walk puts it under watch a quarter of an hour after its creation, the next tick settles it.
    assert (found.code, found.facts["settled_by"]) == ("lease_lost", "2026-03-01T12:16:00Z")
    watched = running(attention="emails#open#1", attention_at=NOW)
    assert why(watched, after=60).facts["settled_by"] == "2026-03-01T12:06:37Z"
    assert why(watched, after=7200).facts["settled_by"] == "2026-03-01T14:00:00Z"


# ---------------------------------------------------------------------------------------------------- not due


def test_a_job_that_is_not_due_is_not_running_because_of_its_time() -> None:
    short, long = make_job(scheduled_at=NOW + seconds(600)), t.enqueued(make_job(scheduled_at=NOW + timedelta(days=3)), now=NOW)
    assert (why(short).code, why(short).sentence) == ("delayed", "It is delayed until 2026-03-01T12:10:00Z, in 10 min.")
    assert (why(long).code, why(long).sentence) == ("scheduled", "It is scheduled for 2026-03-04T12:00:00Z, in 3 d.")
    assert why(short).facts == {"until": "2026-03-01T12:10:00Z", "seconds": 600.0, "paused": False}
    paused = why(short, paused=True, pending=5000, error_rate=1.0)
    assert (paused.code, paused.facts["paused"]) == ("delayed", True)
    assert paused.sentence.endswith("Its queue is paused, too.")


def test_a_job_that_failed_waits_for_its_next_attempt() -> None:
    job = applied(running(), t.fail(running(), now=NOW, error="E: refused", delay=seconds(90), alone=True, keep=KEEP))
    found = why(job)
    assert (found.code, found.facts["until"], found.facts["error"]) == ("retrying", "2026-03-01T12:01:30Z", "E: refused")
    assert found.sentence == "Attempt 1 of 3 failed: E: refused. The next one is due at 2026-03-01T12:01:30Z, in 90 s."
    far = applied(running(), t.fail(running(), now=NOW, error="E: refused", delay=timedelta(hours=20), alone=True, keep=KEEP))
    assert why(far).code == "retrying"


def test_a_job_that_its_handler_put_off_says_so() -> None:
    for delay in (60, 6000):
        job = applied(running(), t.snooze(running(), now=NOW, delay=seconds(delay), alone=True, keep=KEEP))
        assert why(job).code == "snoozed"
    moved = make_job(scheduled_at=NOW + seconds(60), history=(history_entry("snoozed", NOW, 0), history_entry("rescheduled", NOW, 0)))
    assert why(moved).code == "delayed"


# ---------------------------------------------------------------------------------------------------- due


@pytest.mark.parametrize("status", [Status.PENDING, Status.FAILED, Status.SCHEDULED])
def test_what_keeps_a_due_job_for_good_comes_before_what_only_delays_it(status: Status) -> None:
    job = make_job(status=status)
    much: dict[str, Any] = {"pending": 5000, "error_rate": 1.0, "paused": True}
    assert why(make_job(status=status, expires_at=NOW + seconds(5)), after=5, **much).code == "expiring"
    assert why(job, queue=None, **much).code == "unserved"
    assert why(job, takes_type=False, **much).code == "unserved"
    assert why(job, **much).code == "paused"
    assert why(job, **much | {"paused": False}).code in {"failing", "waking"}


def test_a_job_that_is_no_longer_served_says_what_is_missing() -> None:
    assert why(make_job(), queue=None).sentence == "Its queue 'emails' is no longer defined: nothing will run it."
    assert "no longer takes type 'send_email'" in why(make_job(), takes_type=False).sentence
    assert why(make_job(scheduled_at=NOW + seconds(60)), queue=None).code == "unserved"


def test_a_job_that_the_ticker_has_to_wake_waits_for_the_ticker() -> None:
    job = t.enqueued(make_job(scheduled_at=NOW + seconds(5000)), now=NOW)
    assert why(job, after=5001).code == "waking"
    failed = applied(running(), t.fail(running(), now=NOW, error="E", delay=seconds(5000), alone=True, keep=KEEP))
    found = why(failed, after=5001)
    assert (found.code, found.facts["error"]) == ("waking", "E")


def test_a_job_that_has_just_come_due_is_on_its_way() -> None:
    found = why(make_job(), after=0.5, pending=8)
    assert (found.code, found.sentence) == ("on_its_way", "It is due for 0.5 s: its message is on its way to a worker.")


def test_a_job_behind_others_says_about_how_many_and_how_long() -> None:
    found = why(make_job(), after=30, pending=1524, dequeue_rate=12.0)
    assert (found.code, found.facts["jobs_ahead"]) == ("behind", 1500)
    assert found.sentence == (
        "It waits its turn behind about 1,500 jobs of queue 'emails'; 12 start per second, so it may take about 2 min."
    )
    assert why(make_job(), after=0.5, pending=1524).code == "behind"
    assert why(make_job(), after=30, pending=2).sentence.startswith("It waits its turn behind about 1 job of queue 'emails'; 1 start")


def test_jobs_that_came_later_are_not_ahead() -> None:
    """Fifty wait, and at one a second forty of them came in the forty seconds since."""
    assert why(make_job(), after=40, pending=50, enqueue_rate=1.0).facts["jobs_ahead"] == 9
    assert why(make_job(), after=3600, pending=50, enqueue_rate=1.0).facts["jobs_ahead"] == 0


def test_a_worker_that_fails_most_attempts_is_the_reason_for_a_backlog() -> None:
    found = why(make_job(), after=30, pending=300, error_rate=0.97)
    assert (found.code, found.facts["error_rate"]) == ("failing", 0.97)
    assert "97% of the attempts" in found.sentence
    assert why(make_job(), after=30, pending=300, error_rate=0.4).code == "behind"
    assert why(make_job(), after=1, pending=1, error_rate=1.0).code == "on_its_way"


def test_a_queue_in_which_nothing_starts_is_stalled() -> None:
    still: dict[str, Any] = {"dequeue_rate": 0.0, "running": 0}
    found = why(make_job(), after=130, **still)
    assert (found.code, found.facts["looked_at"]) == ("stalled", "2026-03-01T12:16:00Z")
    assert "its worker 'notifications' cannot start" in found.sentence
    assert why(make_job(), after=130, pending=900, **still).code == "stalled"
    assert why(make_job(), after=100, **still).code == "overdue"
    assert (
        why(make_job(), after=130, pending=900, dequeue_rate=0.0, running=3).sentence.count("none has started in the last 5 minutes") == 1
    )


def test_a_queue_whose_places_are_taken_is_busy() -> None:
    # Five of ten places are the normal lane's.
    assert why(make_job(), after=30, running=5).code == "busy"
    assert why(make_job(), after=30, running=4).code == "overdue"
    assert why(make_job(priority=1), after=30, running=3).code == "busy"
    assert why(make_job(priority=10), after=30, running=2).code == "busy"


def test_a_job_that_should_have_started_long_ago_says_when_its_message_is_sent_again() -> None:
    found = why(make_job(attention="emails#open#1", attention_at=NOW + seconds(300)), after=90)
    assert (found.code, found.facts["looked_at"]) == ("overdue", "2026-03-01T12:06:00Z")


def test_a_job_that_waits_is_not_explained_without_numbers() -> None:
    with pytest.raises(ValueError, match="numbers"):
        reason(make_job(), queue=QUEUE, takes_type=True, stats=None, now=NOW)


def test_the_answer_has_one_shape() -> None:
    job = make_job()
    assert why(job).document(job) == {
        "id": job.id,
        "status": "pending",
        "code": "on_its_way",
        "reason": "It is due for 0 s: its message is on its way to a worker.",
        "facts": {
            "due_at": "2026-03-01T12:00:00Z",
            "seconds": 0.0,
            "jobs_ahead": 0,
            "running": 0,
            "starts_per_second": 1.0,
            "error_rate": 0.0,
        },
    }


def test_a_job_of_an_ordered_queue_waits_for_those_before_it() -> None:
    ordered = Queue(name="ledger", worker="notifications", ordered=True)
    job = make_job(queue="ledger", ordering_key="ada")
    assert why(job, queue=ordered, after=5).code == "on_its_way"
    found = why(job, queue=ordered, after=600, dequeue_rate=0.0)
    assert (found.code, found.facts["ordering_key"]) == ("in_order", "ada")
    assert found.sentence.startswith("It keeps its place: it starts when every job with the ordering key 'ada' that came before it is over")
    failed = make_job(queue="ledger", ordering_key="ada", status=Status.FAILED, scheduled_at=NOW + seconds(60), attempts=1, error="E: no")
    assert why(failed, queue=ordered).code == "retrying"
