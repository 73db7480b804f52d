"""Follow-ups: the jobs by which the end of a job is told to whoever asked for that, by `callback_url` or `reply_to`.

A follow-up is made by the very write that ends the job (`transitions.Write.makes`), so that neither is ever without the other, and is
then a job of the queue `operations` as any other: it is retried, and ends among the dead letters. What it has to tell it carries
with it as far as must be; the rest it reads from the job's record when it runs (`telling`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from jobline import ids
from jobline.job import OPERATIONS, Job, Status
from jobline.retry import RetryPolicy
from jobline.secret_fields import SECRET
from jobline.times import format_instant, to_milliseconds

CALLBACK: Final = "callback"
REPLY: Final = "reply"
MAX_ATTEMPTS: Final = 12
RETRY: Final = RetryPolicy(max_attempts=MAX_ATTEMPTS, backoff="exponential", base_delay=2000, max_delay=900_000, jitter=0.25)
"""2 s, 4 s, 8 s … at most 15 minutes apart, three quarters of an hour in all."""
TIMEOUT: Final = 60
"""Seconds that one attempt to tell may take."""

_RETRY_TEXT: Final = msgspec.json.encode(RETRY).decode()


class Ended(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which end of which job is to be told. A retry by hand begins another life, which has an end of its own."""

    job: Annotated[str, Meta(max_length=36, description="Id of the job that has ended.")]
    queue: Annotated[str, Meta(max_length=64, description="The queue of that job.")]
    type: Annotated[str, Meta(max_length=64, description="The type of that job.")]
    status: Annotated[str, Meta(max_length=16, description="How it has ended: done, dead, cancelled or expired.")]
    created_at: Annotated[str, Meta(max_length=30, description="When it was created.")]
    completed_at: Annotated[str, Meta(max_length=30, description="When it ended.")]
    dispatch: Annotated[int, Meta(ge=1, le=2**53 - 1, description="Which of its lives has ended: its record's dispatch at that time.")]


class Callback(Ended, kw_only=True):
    """An end that a POST to a URL tells."""

    url: Annotated[str, Meta(min_length=1, max_length=2048, description="Where to; shown to nobody, since it may hold a token."), SECRET]


class Reply(Ended, kw_only=True):
    """An end that a message in an SQS queue tells."""

    to: Annotated[str, Meta(max_length=64, description="The declared reply queue.")]


def asks(job: Job) -> bool:
    """Whether the end of the job is to be told to somebody."""
    return job.callback_url is not None or job.reply_to is not None


def follow_up_id(kind: str, job: Job) -> str:
    """The id of the follow-up of this life of the job: the same however often its end is written.

    `job` is the record as the ending write finds it. A job made anew under the id of one that is gone was created at another time.
    """
    # No client's idempotency key has a space, so none names this job.
    return ids.derived_id(OPERATIONS, f"{kind} of {job.id} {to_milliseconds(job.created_at)} {job.dispatch}")


def follow_ups(job: Job, status: Status, now: datetime) -> tuple[Job, ...]:
    """The jobs that tell that `job` ended as `status`: none, one or two."""
    if not asks(job):
        return ()
    ended: dict[str, Any] = {
        "job": job.id,
        "queue": job.queue,
        "type": job.type,
        "status": status.value,
        "created_at": format_instant(job.created_at),
        "completed_at": format_instant(now),
        "dispatch": job.dispatch,
    }
    made = []
    if job.callback_url is not None:
        made.append(_follow_up(CALLBACK, job, Callback(**ended, url=job.callback_url), now))
    if job.reply_to is not None:
        made.append(_follow_up(REPLY, job, Reply(**ended, to=job.reply_to), now))
    return tuple(made)


def _follow_up(kind: str, job: Job, payload: Ended, now: datetime) -> Job:
    return Job(
        id=follow_up_id(kind, job),
        queue=OPERATIONS,
        type=kind,
        status=Status.PENDING,
        created_at=now,
        scheduled_at=now,
        max_attempts=MAX_ATTEMPTS,
        retry=_RETRY_TEXT,
        timeout=TIMEOUT,
        payload=msgspec.json.encode(payload).decode(),
        parent_id=job.id,
        depth=job.depth + 1,
        traceparent=job.traceparent,
    )
