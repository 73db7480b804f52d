"""Direct sends: the messages that whoever enqueues a job sends itself, besides the relay.

A job of an ordered queue is answered only when its message is in the queue: then those that a client enqueues one after the other
stand there in this order, whatever the relay does (PROTOCOL.md, R28). A job of a low-latency queue need not wait for the relay; what
the relay then sends is a second copy, which finds the job taken and is dropped (R27).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from jobline.addressing import addressed
from jobline.errors import InvalidSettings, Unavailable
from jobline.job import Job, Status
from jobline.log import Log
from jobline.queue import Queues


class Direct:
    """Sends into the queues whose lanes it is told of; the others are the relay's alone."""

    def __init__(
        self, *, queues: Callable[[], Queues], lanes: Mapping[str, Mapping[str, str]], clock: Callable[[], datetime], log: Log
    ) -> None:
        """`queues()` gives SQS when a message is really sent; `lanes` names the lanes of ordered and low-latency queues."""
        self._queues = queues
        self._lanes = lanes
        self._clock = clock
        self._log = log

    def send(self, job: Job, *, new: bool) -> None:
        """Sends the message of a job that was made (`new`) or found, if it is sent directly and still waits.

        Of an ordered job's message SQS has one copy afterwards, however often this is done; raises Unavailable when SQS did not
        take it. For a low-latency job it is tried once, when it is new and due.
        """
        lanes = self._lanes.get(job.queue)
        if job.ordered and not lanes:
            raise InvalidSettings(f"The ordered queue {job.queue!r} is none of those that this function may send into.")
        if not lanes or job.status not in (Status.PENDING, Status.FAILED):
            return
        if not job.ordered and not (new and job.scheduled_at <= self._clock()):
            return
        name, sending = addressed(job, lanes)
        try:
            [taken] = self._queues().send(name, [sending])
        except Unavailable:
            if job.ordered:
                raise
            taken = False
        if not taken and job.ordered:
            raise Unavailable("the message of an ordered job was not taken by SQS")
        if not taken:
            self._log.warning("low-latency message not sent; the relay sends it", job=job.id)
