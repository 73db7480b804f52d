"""When jobs start: never early, and within two seconds of their time, whatever the delay and whoever delivers; on moto, by our clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from jobline.context import Context
from jobline.job import Status
from jobline.job_type import JobType, job
from jobline.steering import RetryAfter, Snooze
from jobline.times import parse_duration
from jobline.wiring import utc_now
from tests.cloud import Cloud, cloud
from tests.factories import NOW
from tests.faults import Faults

AT_MOST_LATE = timedelta(seconds=2)
DELAYS = [
    *("0s", "0.5s", "1s", "14m58.5s", "14m59s", "14m59.999s", "15m", "15m0.001s", "15m1s", "16m30s", "1h"),
    *("11h59m59s", "12h", "12h1s", "13h", "30d", "364d", "365d"),
]


class Delays(Faults):
    """No fault; remembers the delay of every message that is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[int] = []

    def call(self, operation: str, method: Any, arguments: dict[str, Any]) -> Any:
        if operation == "send_message_batch":
            self.sent += [entry["DelaySeconds"] for entry in arguments["Entries"]]
        return super().call(operation, method, arguments)


def span(text: str) -> timedelta:
    return parse_duration(text)


def recording(starts: list[datetime], *failures: BaseException) -> JobType:
    """Notes each start; the first ones end with `failures`, one after the other."""

    @job("work")
    def work(payload: Any, ctx: Context) -> None:
        starts.append(utc_now())
        if len(starts) <= len(failures):
            raise failures[len(starts) - 1]

    return work


def live_until(aws: Cloud, due: datetime, *, phase: timedelta = timedelta()) -> None:
    """Everything runs: for two minutes, then, when it is far, from two and a half minutes before `due` to ten seconds after it.

    The ticker's minutes begin anew with each; `phase` moves them.
    """
    far = due - aws.now > timedelta(minutes=5)
    if far:
        aws.settle(ticks=True, limit=timedelta(minutes=2), pace=timedelta(seconds=20))
        aws.pass_time(max(timedelta(), due - aws.now - timedelta(seconds=150) + phase))
    aws.settle(ticks=True, limit=due - aws.now + timedelta(seconds=10))


@pytest.mark.parametrize("delay", DELAYS)
def test_a_delayed_job_starts_at_its_time(delay: str) -> None:
    starts: list[datetime] = []
    delays = Delays()
    with cloud(recording(starts), faults=delays) as aws:
        due = NOW + span(delay)
        aws.enqueue("work", scheduled_at=due)
        assert aws.job().status is (Status.PENDING if span(delay) <= span("15m") else Status.SCHEDULED)
        live_until(aws, due)
        assert aws.job().status is Status.DONE
        assert [timedelta() <= start - due <= AT_MOST_LATE for start in starts] == [True], [str(start - due) for start in starts]
        assert len(delays.sent) == 1
        assert max(delays.sent) <= 900


@pytest.mark.parametrize("phase", [0, 29, 59])
@pytest.mark.parametrize("delay", ["15m1s", "13h"])
def test_it_does_not_matter_when_in_its_minute_the_ticker_runs(delay: str, phase: int) -> None:
    starts: list[datetime] = []
    with cloud(recording(starts)) as aws:
        due = NOW + span(delay)
        aws.enqueue("work", scheduled_at=due)
        live_until(aws, due, phase=timedelta(seconds=phase))
        assert timedelta() <= starts[0] - due <= AT_MOST_LATE


@pytest.mark.parametrize("delay", ["1s", "14m59.999s", "15m", "15m1s", "12h", "13h", "364d"])
def test_a_failed_attempt_is_followed_by_another_at_its_time(delay: str) -> None:
    starts: list[datetime] = []
    delays = Delays()
    milliseconds = span(delay) // timedelta(milliseconds=1)
    with cloud(recording(starts, ValueError("no")), faults=delays) as aws:
        aws.enqueue("work", retry=f'{{"backoff":"fixed","base_delay":{milliseconds},"max_delay":{milliseconds},"jitter":0}}')
        aws.run_relay()
        aws.run_worker()
        failed = aws.job()
        assert (failed.status, failed.scheduled_at) == (Status.FAILED, NOW + span(delay))
        live_until(aws, failed.scheduled_at)
        assert (aws.job().status, aws.job().attempts) == (Status.DONE, 2)
        assert timedelta() <= starts[1] - failed.scheduled_at <= AT_MOST_LATE
        assert max(delays.sent) <= 900


@pytest.mark.parametrize("steering", [RetryAfter, Snooze])
@pytest.mark.parametrize("delay", ["1s", "15m1s", "13h"])
def test_a_handler_may_put_its_job_off_that_long(steering: Any, delay: str) -> None:
    starts: list[datetime] = []
    with cloud(recording(starts, steering(span(delay).total_seconds()))) as aws:
        aws.enqueue("work")
        aws.run_relay()
        aws.run_worker()
        due = aws.job().scheduled_at
        assert due == NOW + span(delay)
        live_until(aws, due)
        assert (len(starts), aws.job().status) == (2, Status.DONE)
        assert timedelta() <= starts[1] - due <= AT_MOST_LATE


def test_a_job_that_expires_while_it_is_put_off_never_starts_again() -> None:
    starts: list[datetime] = []
    with cloud(recording(starts, Snooze(13 * 3600))) as aws:
        aws.enqueue("work", expires_at=NOW + span("12h"), expires_in=12 * 3600)
        aws.run_relay()
        aws.run_worker()
        live_until(aws, NOW + span("12h") + timedelta(minutes=1))
        assert (aws.job().status, len(starts)) == (Status.EXPIRED, 1)


def test_a_ticker_that_was_away_makes_jobs_late_and_not_lost() -> None:
    starts: list[datetime] = []
    delays = Delays()
    with cloud(recording(starts), faults=delays) as aws:
        due = NOW + span("1h")
        aws.enqueue("work", scheduled_at=due)
        aws.pass_time(span("3h"))
        aws.settle(ticks=True)
        assert (aws.job().status, delays.sent) == (Status.DONE, [0])
        assert starts[0] - NOW - span("3h") <= AT_MOST_LATE
