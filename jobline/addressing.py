"""Addressing: from a job to the message that tells of it, and the SQS queue that this belongs into."""

from __future__ import annotations

from collections.abc import Mapping

from jobline.job import Job
from jobline.lanes import lane_of
from jobline.message import Message
from jobline.queue import FIFO, Sending


def addressed(job: Job, lanes: Mapping[str, str], delay_seconds: int = 0) -> tuple[str, Sending]:
    """The SQS queue for a job's message and the message itself, where `lanes` names the SQS queues of the job's queue.

    In a FIFO queue the message has no delay, and who sends it twice for one dispatch and one resend has sent it once (R28).
    """
    name = lanes[lane_of(job.priority, tuple(lanes))]
    body = Message(id=job.id, queue=job.queue, dispatch=job.dispatch, timeout=job.timeout).encode()
    if name.endswith(FIFO):
        return name, Sending(body, 0, job.ordering_key or job.queue, f"{job.id}/{job.dispatch}/{job.resend}")
    return name, Sending(body, delay_seconds, job.group)
