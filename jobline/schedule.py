"""A schedule: when it runs, and the job that each run asks for. What clients write, and what EventBridge Scheduler keeps of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from jobline import strict_json
from jobline.errors import FieldProblem, InvalidJob, InvalidRequest, InvalidSchedule, TooLarge
from jobline.fields import ENQUEUE_FIELDS, Reader, near, read_fields
from jobline.request import EnqueueRequest, parse_request
from jobline.strict_json import Document
from jobline.times import parse_duration
from jobline.timetable import Timetable, exists, read_at, read_cron, read_instant, read_rate, read_timezone

LARGEST_INPUT: Final = 256 * 1024
"""Bytes of what a schedule gives to its target (EventBridge Scheduler quotas, "Invocation payload size")."""
LONGEST_WINDOW: Final = timedelta(minutes=1440)
"""MaximumWindowInMinutes (CreateSchedule, EventBridge Scheduler API reference)."""
RUNS_TOLD: Final = 5
_MINUTE: Final = timedelta(minutes=1)


def _window(value: Any) -> timedelta:
    window = parse_duration(value)
    if window % _MINUTE or window > LONGEST_WINDOW:
        raise ValueError("must be whole minutes, at most a day")
    return window


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


TIME_FIELDS: Final[Mapping[str, Reader]] = {
    "cron": read_cron,
    "rate": read_rate,
    "at": read_at,
    "timezone": read_timezone,
    "start": read_instant,
    "end": read_instant,
    "flexible_window": _window,
    "paused": _flag,
}
NOT_OF_A_SCHEDULE: Final[Mapping[str, str]] = {
    "delay": "is not for a schedule: its cron, rate or at says when",
    "scheduled_at": "is not for a schedule: its cron, rate or at says when",
    "idempotency_key": "is not for a schedule: each run has a key of its own",
    "payload_ref": "is not for a schedule: an upload is kept for a day only; give a payload that says where the data are",
}
JOB_FIELDS: Final[Mapping[str, Reader]] = {name: reader for name, reader in ENQUEUE_FIELDS.items() if name not in NOT_OF_A_SCHEDULE}
SCHEDULE_FIELDS: Final[Mapping[str, Reader]] = {**TIME_FIELDS, **JOB_FIELDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One schedule. What says nothing of times is Scheduler's own: `None` before it was stored."""

    name: str
    timetable: Timetable
    job: str
    """The enqueue request of each run: JSON text, the payload in it as it was written."""
    window: timedelta = timedelta(0)
    """A run may be so much late, at Scheduler's choice."""
    paused: bool = False
    created_at: datetime | None = None
    changed_at: datetime | None = None

    @property
    def request(self) -> EnqueueRequest:
        """What each run asks for. Raises InvalidJob when a later release of the API would not take it any more."""
        return parse_request(strict_json.parse(self.job.encode()))

    @property
    def tag(self) -> str:
        """Its entity tag: of equal schedules the same."""
        timetable = self.timetable
        says = [self.job, timetable.expression, timetable.timezone, timetable.start, timetable.end, self.window, self.paused]
        return hashlib.sha256(msgspec.json.encode(says)).hexdigest()[:32]

    @property
    def input(self) -> str:
        """What Scheduler hands over at each run: its own `<aws.scheduler.…>` filled in, and none in the job, which may say such a thing."""
        # As text: what reads the event as JSON would change numbers.
        job = json.dumps(self.job, ensure_ascii=False).replace("<", "\\u003c")
        filled_in = '"scheduled_at":"<aws.scheduler.scheduled-time>","execution":"<aws.scheduler.execution-id>"'
        return f'{{"schedule":"{self.name}",{filled_in},"job":{job}}}'

    def check_size(self) -> None:
        """Raises TooLarge when Scheduler would not take it."""
        if (size := len(self.input.encode())) > LARGEST_INPUT:
            raise TooLarge(f"The schedule has {size} bytes with its payload; the limit is {LARGEST_INPUT}.", limit=LARGEST_INPUT)


def read_input(text: str) -> str:
    """The job in a schedule's `input`."""
    return str(json.loads(text)["job"])


def parse_schedule(document: Document, name: str) -> tuple[Schedule, EnqueueRequest]:
    """The schedule that a body says, and what each of its runs asks for.

    Raises InvalidRequest when the body is no object, InvalidSchedule with everything that is wrong when anything is wrong with its times,
    and else InvalidJob. `null` is the same as leaving a field out, except for `payload`.
    """
    if not isinstance(document.value, dict):
        raise InvalidRequest("The body must be a JSON object.", problems=(FieldProblem("", "must be an object"),))
    body = {field: value for field, value in document.value.items() if value is not None or field == "payload"}
    times, wrong = read_fields({field: value for field, value in body.items() if field in TIME_FIELDS}, TIME_FIELDS, "")
    wrong += [FieldProblem(f"/{field}", reason) for field, reason in NOT_OF_A_SCHEDULE.items() if field in body]
    unknown = body.keys() - SCHEDULE_FIELDS.keys() - NOT_OF_A_SCHEDULE.keys()
    wrong += [FieldProblem(f"/{field}", "is not a known field" + near(field, SCHEDULE_FIELDS)) for field in sorted(unknown)]
    wrong += _disagreements(body, times)
    job = "{" + ",".join(f"{json.dumps(field)}:{document.source(field)}" for field in body if field in JOB_FIELDS) + "}"
    try:
        request = parse_request(strict_json.parse(job.encode()))
    except InvalidJob as error:
        if not wrong:
            raise
        raise InvalidSchedule.of([*wrong, *error.problems]) from None
    if wrong:
        raise InvalidSchedule.of(wrong)
    schedule = Schedule(
        name=name,
        timetable=_timetable(times),
        job=job,
        window=times.get("flexible_window", timedelta(0)),
        paused=times.get("paused", False),
    )
    return schedule, request


def _disagreements(body: Mapping[str, Any], times: Mapping[str, Any]) -> list[FieldProblem]:
    """What is wrong between fields that are each right by themselves."""
    kinds = [kind for kind in ("cron", "rate", "at") if kind in body]
    wrong = []
    if not kinds:
        wrong.append(FieldProblem("/cron", "is missing; or say rate, or at"))
    wrong += [FieldProblem(f"/{kind}", f"cannot be given together with {kinds[0]}") for kind in kinds[1:]]
    at, start, end = times.get("at"), times.get("start"), times.get("end")
    if "at" in kinds:
        wrong += [FieldProblem(f"/{field}", "is not for a single time") for field in ("start", "end") if field in body]
    if "timezone" in body and "rate" in kinds:
        wrong.append(FieldProblem("/timezone", "is for cron and at: a rate counts minutes, whatever a clock shows"))
    if at is not None and at.tzinfo is not None and "timezone" in body:
        wrong.append(FieldProblem("/timezone", "cannot be given together with an offset in at"))
    elif at is not None and at.tzinfo is None and not exists(at, times.get("timezone", "UTC")):
        wrong.append(FieldProblem("/at", f"is a time that the clocks of {times.get('timezone')} skip"))
    if start is not None and end is not None and end <= start:
        wrong.append(FieldProblem("/end", "must be later than start"))
    return wrong


def _timetable(times: Mapping[str, Any]) -> Timetable:
    at = times.get("at")
    if at is not None and at.tzinfo is not None:
        at = at.astimezone(UTC).replace(tzinfo=None)
    given = {field: times[field] for field in ("cron", "timezone", "start", "end") if field in times}
    return Timetable(every=times.get("rate"), at=at, **given)


def settle(schedule: Schedule, now: datetime, before: Schedule | None = None) -> Schedule:
    """The schedule as it is to be stored now, in place of `before`: a rate without a start keeps its beat, or begins with the next minute.

    Raises InvalidSchedule when there is no run any more.
    """
    timetable = schedule.timetable
    if timetable.every and timetable.start is None:
        kept = before.timetable.start if before and before.timetable.every == timetable.every else None
        timetable = replace(timetable, start=kept or now + (datetime.min.replace(tzinfo=UTC) - now) % _MINUTE)
    timetable = timetable.from_now(now)
    if next(timetable.runs(now - timedelta(microseconds=1)), None) is None:
        field = "at" if timetable.at else "end" if timetable.end else "cron"
        raise InvalidSchedule.of([FieldProblem(f"/{field}", "leaves no run: its time is over")])
    return replace(schedule, timetable=timetable)
