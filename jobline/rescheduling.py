"""Moving a job that has not started to another time or priority: what `PATCH /jobs/{id}` takes, and the write that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from jobline import transitions
from jobline.errors import Conflict, FieldProblem, InvalidJob, InvalidRequest, PreconditionFailed
from jobline.fields import ENQUEUE_FIELDS, LONGEST_DELAY, Reader, read_fields
from jobline.job import WAITING, Job
from jobline.service import Service
from jobline.strict_json import Document
from jobline.times import format_instant
from jobline.transitions import Write

CHANGE_FIELDS: Final[Mapping[str, Reader]] = {name: ENQUEUE_FIELDS[name] for name in ("delay", "scheduled_at", "priority")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a client wants to be otherwise; `None` is what stays. At most one of `delay` and `scheduled_at` is given."""

    delay: timedelta | None = None
    """From now."""
    scheduled_at: datetime | None = None
    priority: int | None = None

    def due(self, job: Job, now: datetime) -> datetime:
        """When the job is to start: a time that has passed means now, and what is due already stays as it is."""
        asked = self.scheduled_at if self.delay is None else now + self.delay
        if asked is None or (asked <= now and job.scheduled_at <= now):
            return job.scheduled_at
        return max(now, asked)

    @property
    def field(self) -> str:
        """The field that says the time."""
        return "scheduled_at" if self.delay is None else "delay"


def parse_changes(document: Document) -> Changes:
    """The changes in a body. `null` is the same as leaving a field out.

    Raises InvalidRequest when the body is no object, and InvalidJob with every field that is wrong.
    """
    if not isinstance(document.value, dict):
        raise InvalidRequest("The body must be a JSON object.", problems=(FieldProblem("", "must be an object"),))
    body = {name: value for name, value in document.value.items() if value is not None}
    fields, wrong = read_fields(body, CHANGE_FIELDS, "")
    if "delay" in body and "scheduled_at" in body:
        wrong.append(FieldProblem("/scheduled_at", "cannot be given together with delay"))
    if wrong:
        raise InvalidJob.of(wrong)
    return Changes(**fields)


def reschedule(service: Service, job: Job, changes: Changes, *, op: str, expected: frozenset[str] | None = None) -> Job:
    """The job, moved by one conditional write, or as it was when the changes change nothing: then it keeps its message too (R24).

    `expected`: the revisions of which the job must have one, if any is named. Raises Conflict when the job has started, is over or
    cannot be moved, PreconditionFailed when its revision is another one, and InvalidJob when the time is none that it can have. The
    same `op` again is a success (R30).
    """
    now = service.now()
    queue = service.definitions.queues.get(job.queue)
    if queue is None:
        raise Conflict(f"The job's queue {job.queue!r} is no longer defined: nothing would run it.", job_status=job.status.value)
    if queue.ordered:
        raise Conflict(f"Queue {queue.name!r} is ordered: its jobs keep the place in which they came.", job_status=job.status.value)

    def write(job: Job) -> Write | None:
        if job.last_op == op:
            return None
        if job.status not in WAITING:
            raise Conflict(f"Only a job that has not started can be moved: it is {job.status}.", job_status=job.status.value)
        if job.expires_at <= now:
            raise Conflict(f"The job cannot start any more: it expired at {format_instant(job.expires_at)}.", job_status=job.status.value)
        if expected is not None and str(job.rev) not in expected:
            raise PreconditionFailed(f'The job has changed since it was read: its ETag is "{job.rev}" now.')
        due, priority = _moved(job, changes, now)
        if (due, priority) == (job.scheduled_at, job.priority):
            return None
        return transitions.reschedule(job, now=now, op=op, scheduled_at=due, priority=priority)

    return service.write(job, write)


def _moved(job: Job, changes: Changes, now: datetime) -> tuple[datetime, int]:
    """The job's new time and priority. Raises InvalidJob."""
    due = changes.due(job, now)
    if due != job.scheduled_at:
        if due - now > LONGEST_DELAY:
            raise InvalidJob.of([FieldProblem(f"/{changes.field}", "must be at most 1 year from now")])
        if due >= job.expires_at:
            raise InvalidJob.of([FieldProblem(f"/{changes.field}", f"must be before the job expires, at {format_instant(job.expires_at)}")])
    return due, changes.priority or job.priority
