"""What clients do with schedules: create, replace, show, list, pause, resume, run and delete them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from jobline import ids, strict_json
from jobline.documents import without_query, without_secrets
from jobline.enqueueing import Enqueued, Enqueueing
from jobline.errors import InvalidRequest, ScheduleChanged, ScheduleConflict, ScheduleNotFound
from jobline.expected import ANYHOW, Expected
from jobline.fields import ENQUEUE_FIELDS, is_name
from jobline.occurrence import Occurrence
from jobline.request import EnqueueRequest, admit, lock_for
from jobline.schedule import JOB_FIELDS, RUNS_TOLD, Schedule, parse_schedule, settle
from jobline.schedule_notes import RunNote
from jobline.strict_json import Document
from jobline.times import format_instant
from jobline.timetable import told
from jobline.types import TypeInfo

LONGEST_PAGE: Final = 50
"""Each schedule of a page is one call."""


class ScheduleStore(Protocol):
    """Where schedules are kept: `schedules.Schedules`, or `memory_schedules.MemorySchedules` in a test."""

    def find(self, name: str) -> Schedule | None: ...
    def page(self, limit: int, cursor: str | None) -> tuple[list[Schedule], str | None]: ...
    def create(self, schedule: Schedule) -> bool: ...
    def replace(self, schedule: Schedule) -> bool: ...
    def delete(self, name: str) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """The use cases of schedules."""

    schedules: ScheduleStore
    enqueueing: Enqueueing
    declared: Collection[str]
    """The names of the schedules that `queues.toml` declares."""
    read_note: Callable[[str], RunNote | None]
    """What became of a schedule's last run."""

    def put(self, name: str, body: Document, *, expected: Expected = ANYHOW) -> tuple[Schedule, bool]:
        """The schedule as it is from now on, and whether it is new. A body that does not say `paused` leaves that as it is.

        Raises what `schedule.parse_schedule` and `request.admit` raise, ScheduleConflict for a declared one, TooLarge, ScheduleChanged.
        """
        if not is_name(name):
            raise InvalidRequest("A schedule's name is a lower-case letter and at most 63 of a-z 0-9 _ -.")
        self._refuse_declared(name, "changed")
        schedule, request = parse_schedule(body, name)
        now = self.enqueueing.now()
        self.check(request, now)
        before = self.schedules.find(name)
        for _ in range(2):
            expected.check(f"schedule {name!r}", None if before is None else before.tag, ScheduleChanged)
            stored = settle(schedule, now, before)
            if before is not None and body.value.get("paused") is None:
                stored = replace(stored, paused=before.paused)
            stored.check_size()
            if self.schedules.create(stored) if before is None else self.schedules.replace(stored):
                return replace(stored, created_at=now if before is None else before.created_at, changed_at=now), before is None
            before = self.schedules.find(name)  # somebody else made or deleted it meanwhile
        raise ScheduleConflict(f"The schedule {name!r} is being changed by other requests. Try again.")

    def check(self, request: EnqueueRequest, now: datetime) -> None:
        """Raises what enqueueing such a job would raise now."""
        lock_for(admit(request, self.enqueueing.definitions, self.enqueueing.types, id=ids.derived_id(request.queue, ""), now=now), request)

    def find(self, name: str) -> Schedule:
        """The schedule; raises ScheduleNotFound."""
        found = self.schedules.find(name) if is_name(name) else None
        if found is None:
            raise ScheduleNotFound(f"There is no schedule {name[:64]!r}.")
        return found

    def page(self, limit: int, cursor: str | None) -> dict[str, Any]:
        """Some schedules, `{"schedules": […], "next": cursor or null}`, without their last runs."""
        found, following = self.schedules.page(min(limit, LONGEST_PAGE), cursor)
        return {"schedules": [self.document(schedule) for schedule in found], "next": following}

    def switch(self, name: str, *, paused: bool) -> Schedule:
        """Pauses or resumes it; again changes nothing. Raises ScheduleNotFound."""
        schedule = self.find(name)
        if schedule.paused is paused:
            return schedule
        now = self.enqueueing.now()
        changed = replace(schedule, timetable=schedule.timetable.from_now(now), paused=paused, changed_at=now)
        if not self.schedules.replace(changed):
            raise ScheduleNotFound(f"There is no schedule {name!r}.")
        return changed

    def delete(self, name: str, *, expected: Expected = ANYHOW) -> None:
        """Removes it: it has no further runs; jobs that it made go on. Raises ScheduleNotFound, ScheduleConflict for a declared one."""
        schedule = self.find(name)
        self._refuse_declared(name, "deleted")
        expected.check(f"schedule {name!r}", schedule.tag, ScheduleChanged)
        if not self.schedules.delete(name):
            raise ScheduleNotFound(f"There is no schedule {name!r}.")

    def run(self, name: str, *, key: str | None, op: str) -> Enqueued:
        """The job of a run out of turn, now; the one that the same idempotency key made before. Raises as enqueueing does."""
        if key is not None:
            try:
                ENQUEUE_FIELDS["idempotency_key"](key)
            except ValueError as error:
                raise InvalidRequest(f"The Idempotency-Key header {error}.") from None
        schedule = self.find(name)
        now = self.enqueueing.now()
        request = replace(schedule.request, occurrence=Occurrence(name, now.replace(microsecond=0)).text)
        if key is not None:
            request = replace(request, idempotency_key=f"{name} run {key}", hash=schedule.tag)
        return self.enqueueing.enqueue(request, op=op)

    def document(self, schedule: Schedule, *, last_run: bool = False) -> dict[str, Any]:
        """The schedule as the API answers it; with what became of its last run, if that is asked for."""
        timetable, now = schedule.timetable, self.enqueueing.now()
        answer: dict[str, Any] = {
            "name": schedule.name,
            "cron": timetable.cron and timetable.cron.expression,
            "rate": timetable.rate,
            "at": timetable.local,
            "timezone": timetable.timezone,
            "start": timetable.start and format_instant(timetable.start),
            "end": timetable.end and format_instant(timetable.end),
            "flexible_window": int(schedule.window.total_seconds()),
            "paused": schedule.paused,
            "declared": schedule.name in self.declared,
            **self._job(schedule),
            "next_runs": [] if schedule.paused else told(timetable.runs(now), RUNS_TOLD),
            "created_at": schedule.created_at and format_instant(schedule.created_at),
            "changed_at": schedule.changed_at and format_instant(schedule.changed_at),
        }
        return answer | {"last_run": self._last_run(schedule)} if last_run else answer

    def _job(self, schedule: Schedule) -> Mapping[str, Any]:
        """The job's fields as they were written, `null` for those that were not; secrets are hidden."""
        job = strict_json.parse(schedule.job.encode())
        written = {name: msgspec.Raw(job.source(name).encode()) for name in JOB_FIELDS if name in job.value}
        if "payload" in written:
            shown = without_secrets(job.source("payload"), self._kind(job.value))
            written["payload"] = msgspec.Raw((shown or "null").encode())
        if isinstance(url := job.value.get("callback_url"), str):
            written["callback_url"] = msgspec.Raw(msgspec.json.encode(without_query(url)))
        return {name: written.get(name) for name in JOB_FIELDS}

    def _kind(self, job: Mapping[str, Any]) -> TypeInfo | None:
        queue = self.enqueueing.definitions.queues.get(job["queue"])
        return None if queue is None else self.enqueueing.types.find(queue.worker, job["type"])

    def _last_run(self, schedule: Schedule) -> dict[str, Any] | None:
        note = self.read_note(schedule.name)
        # An older schedule may have had this name.
        if note is None or (schedule.created_at is not None and note.delivered_at < schedule.created_at):
            return None
        return note.document()

    def _refuse_declared(self, name: str, what: str) -> None:
        if name in self.declared:
            raise ScheduleConflict(
                f"The schedule {name!r} is declared in queues.toml: it is {what} there, by a deployment."
                " Here it can be paused, resumed and run."
            )
