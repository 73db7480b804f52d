"""The jobs that do on demand what other jobs do by accident."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from functions.diagnostics.sleep import Sleep, sleep
from jobline import Cancel
from jobline.errors import InvalidJob
from jobline.testing import RecordedLease, TrialDeployment, make_context

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("payload", [{"a": [1, 2.5, None]}, [], "text", 123456789012345678901234567890])
def test_echo_returns_what_it_was_given(jobs: TrialDeployment, payload: Any) -> None:
    assert jobs.perform("echo", payload) == payload


def test_sleep_takes_its_time_and_tells_how_far_it_is(jobs: TrialDeployment) -> None:
    job = jobs.enqueue("sleep", {"seconds": 0.2}, queue="diagnostics")
    jobs.drain()
    assert (job.result, job.progress["percent"], job.progress["note"]) == ({"slept": 0.2}, 100, "0 s left")


def test_sleep_of_no_time_returns_at_once(jobs: TrialDeployment) -> None:
    assert jobs.perform("sleep", {"seconds": 0}) == {"slept": 0}


def test_sleep_wakes_when_it_is_asked_to_be_cancelled() -> None:
    with pytest.raises(Cancel, match="woken with 199 s left"):
        sleep(Sleep(seconds=200), make_context(lease=RecordedLease(cancel_requested=True)))


def test_fail_counts_every_start_of_the_jobs_life(jobs: TrialDeployment) -> None:
    job = jobs.enqueue("fail", {"times": 4}, queue="diagnostics", max_attempts=3)
    jobs.advance("1h")
    assert (job.status, job.error) == ("dead", "FailureOnDemand: failure 3 of 4")
    job.retry()
    jobs.advance("1h")
    assert (job.status, job.attempts, job.result) == ("done", 2, {"starts": 5})


def test_a_chain_has_as_many_links_as_were_asked_for(jobs: TrialDeployment) -> None:
    first = jobs.enqueue("chain", {"links": 3}, queue="diagnostics")
    jobs.drain()
    jobs.assert_enqueued("chain", status="done", queue="diagnostics", count=4)
    (second,) = jobs.assert_enqueued("chain", links=2)
    assert (first.result, second.parent_id) == ({"next": second.id}, first.id)


@pytest.mark.parametrize(("starts", "code"), [(1, 1), (2, 1), (3, 0)])
def test_crash_ends_its_process_without_a_word(starts: int, code: int) -> None:
    program = f"""
from functions.diagnostics.crash import Crash, crash
from jobline.testing import make_context
try:
    print(crash(Crash(times=2), make_context(starts={starts})))
finally:
    print("still there")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout == ("" if code else "{'starts': 3}\nstill there\n")


@pytest.mark.parametrize(
    ("type", "payload"),
    [
        ("sleep", {"seconds": -1}),
        ("sleep", {"seconds": 261}),
        ("fail", {}),
        ("fail", {"times": 1.5}),
        ("crash", {"times": -1}),
        ("chain", {"links": 1001}),
    ],
)
def test_a_payload_that_does_not_fit_is_refused(jobs: TrialDeployment, type: str, payload: Any) -> None:
    with pytest.raises(InvalidJob):
        jobs.perform(type, payload)
