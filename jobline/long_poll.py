"""Waiting for a job's end inside one request: `?wait=20`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from jobline.errors import InvalidRequest, Unavailable
from jobline.job import Job
from jobline.times import parse_duration

LONGEST_WAIT: Final = timedelta(seconds=25)
"""API Gateway's HTTP API ends a request at 30 s (Amazon API Gateway quotas); the answer needs some of them."""
FIRST_PAUSE: Final = timedelta(milliseconds=250)
LONGEST_PAUSE: Final = timedelta(seconds=2)
"""Pauses double from the one to the other: most jobs end soon, and each look costs a read."""


def parse_wait(text: str) -> timedelta:
    """The duration that `wait` says: seconds, or text such as `20s`. Raises InvalidRequest when it is none or too long."""
    try:
        wait = parse_duration(text)
    except ValueError as error:
        raise InvalidRequest(f"The query parameter wait is not a duration: {error}.") from None
    if wait > LONGEST_WAIT:
        raise InvalidRequest(f"The query parameter wait must be at most {LONGEST_WAIT.total_seconds():g} seconds.")
    return wait


def until_over(
    job: Job, read: Callable[[str], Job | None], *, wait: timedelta, now: Callable[[], datetime], sleep: Callable[[float], None]
) -> Job:
    """The job as soon as it is over, or as it was last seen when `wait` has passed.

    A read that AWS does not take is left out, and a record that has gone ends the waiting.
    """
    ends, pause = now() + wait, FIRST_PAUSE
    while not job.over and (left := ends - now()) > timedelta(0):
        sleep(min(pause, left).total_seconds())
        pause = min(2 * pause, LONGEST_PAUSE)
        try:
            seen = read(job.id)
        except Unavailable:
            continue
        if seen is None or seen.gone(now()):
            break
        job = seen
    return job
