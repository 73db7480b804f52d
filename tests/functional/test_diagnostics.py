"""The jobs that do on demand what other jobs do by accident."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from functions.diagnostics.echo import echo
from functions.diagnostics.fail import Fail, FailureOnDemand, fail
from functions.diagnostics.sleep import Sleep, sleep
from jobline import Cancel
from jobline.errors import InvalidJob
from jobline.registry import Registry
from jobline.testing import RecordedLease, make_context

ROOT = Path(__file__).parents[2]
REGISTRY = Registry.discover("functions.diagnostics")


@pytest.mark.parametrize("payload", ['{"a":[1,2.5,null]}', "[]", '"text"', "null", "123456789012345678901234567890"])
def test_echo_returns_what_it_was_given(payload: str) -> None:
    value = REGISTRY.decode("echo", payload)
    assert echo(value, make_context()) == value


def test_sleep_takes_its_time_and_tells_how_far_it_is() -> None:
    lease = RecordedLease()
    assert sleep(Sleep(seconds=0.2), make_context(lease=lease)) == {"slept": 0.2}
    assert lease.reports == [(100, "0 s left")]


def test_sleep_of_no_time_returns_at_once() -> None:
    assert sleep(Sleep(seconds=0), make_context()) == {"slept": 0}


def test_sleep_wakes_when_it_is_asked_to_be_cancelled() -> None:
    with pytest.raises(Cancel, match="woken with 199 s left"):
        sleep(Sleep(seconds=200), make_context(lease=RecordedLease(cancel_requested=True)))


@pytest.mark.parametrize(("starts", "attempt"), [(1, 1), (2, 2), (3, 1)])
def test_fail_counts_every_start_of_the_jobs_life(starts: int, attempt: int) -> None:
    with pytest.raises(FailureOnDemand, match=f"failure {starts} of 3"):
        fail(Fail(times=3), make_context(starts=starts, attempt=attempt))


def test_fail_succeeds_at_last() -> None:
    assert fail(Fail(times=3), make_context(starts=4)) == {"starts": 4}
    assert fail(Fail(times=0), make_context(starts=1)) == {"starts": 1}


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
    [("sleep", '{"seconds": -1}'), ("sleep", '{"seconds": 261}'), ("fail", "{}"), ("fail", '{"times": 1.5}'), ("crash", '{"times": -1}')],
)
def test_a_payload_that_does_not_fit_is_refused(type: str, payload: str) -> None:
    with pytest.raises(InvalidJob):
        REGISTRY.decode(type, payload)
