"""Waiting for the end of a job or a batch, request by request."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from jobline.cli.context import JOB, ask
from jobline.connection import Answer, Connection
from jobline.errors import Unavailable
from jobline.job import TERMINAL
from jobline.long_poll import LONGEST_WAIT

_LONGEST_WAIT: Final = LONGEST_WAIT.total_seconds()
"""Of one request; a longer wait is several of them."""


def wait_for_end(
    connection: Connection,
    path: str,
    ends: float | None,
    *,
    seen: Callable[[Any], None] = lambda job: None,
    fields: tuple[str, ...] = JOB,
    over: Callable[[Any], bool] = lambda job: job["status"] in TERMINAL,
    longest_wait: float = _LONGEST_WAIT,
) -> Answer:
    """The last answer: the job over, or as it was when the time (`ends`, of the monotonic clock) was over; `seen` is told each answer.

    `over` says of an answer, which has these `fields`, whether it is the end. What comes and goes at AWS is waited out too.
    """
    while True:
        left = longest_wait if ends is None else min(longest_wait, max(0.0, ends - time.monotonic()))
        try:
            answer = ask(connection, "GET", path, fields, params={"wait": f"{left:.3f}"})
        except Unavailable:
            if ends is not None and time.monotonic() >= ends:
                raise
            time.sleep(1)
            continue
        seen(answer.body)
        if over(answer.body) or (ends is not None and time.monotonic() >= ends):
            return answer
