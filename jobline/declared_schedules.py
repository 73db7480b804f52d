"""The schedules that `queues.toml` declares: read and checked on the host, as the API checks those that are made at run time."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from jobline import ids, strict_json
from jobline.cron import parse_cron
from jobline.definitions import DeclaredSchedule, Definitions
from jobline.errors import InvalidDefinitions, InvalidRequest, JoblineError
from jobline.fields import is_name
from jobline.request import admit, lock_for
from jobline.schedule import JOB_FIELDS, Schedule, parse_schedule
from jobline.timetable import Timetable
from jobline.toml_file import Table, TomlFile
from jobline.types import Types

KEYS: Final = ("cron", "timezone", "flexible_window", "paused", "stages", *JOB_FIELDS)
QUEUES_FILE: Final = "queues.toml"
_ANY_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Nothing that is checked here depends on it."""


def read_schedules(file: TomlFile, table: Table, stage: str, queues: Collection[str]) -> dict[str, DeclaredSchedule]:
    """The schedules of a stage, by name; raises InvalidDefinitions. Payloads are checked later, by `check_jobs`."""
    found = {}
    for name, fields in sorted(file.tables(table, "schedules").items()):
        key = f"schedules.{name}"
        if not is_name(name):
            raise file.wrong(key, "a schedule's name is a lower-case letter and at most 63 of a-z 0-9 _ -")
        file.know(fields, KEYS, key)
        stages = file.convert(fields.get("stages", [stage]), list[str], f"{key}.stages")
        schedule = _read(file, key, name, {field: value for field, value in fields.items() if field != "stages"})
        if stage not in stages:
            continue
        if fields["queue"] not in queues:
            raise file.wrong(f"{key}.queue", f"stage {stage} has no queue {fields['queue']!r}; say stages = […] if only others have it")
        found[name] = schedule
    return found


def _read(file: TomlFile, key: str, name: str, fields: Table) -> DeclaredSchedule:
    if "cron" not in fields:
        raise file.wrong(f"{key}.cron", 'this is missing: when it runs, such as "0 9 * * MON-FRI" (rates and single times are for the API)')
    try:
        text = json.dumps(fields, allow_nan=False, ensure_ascii=False, default=_plain)
        schedule, _ = parse_schedule(strict_json.parse(text.encode()), name)
        schedule.check_size()
    except InvalidRequest as error:
        raise misplaced(file, key, error) from error
    except (JoblineError, ValueError) as error:
        raise file.wrong(key, str(error)) from error
    assert schedule.timetable.cron is not None
    return DeclaredSchedule(
        name=name,
        cron=schedule.timetable.cron.expression,
        timezone=schedule.timetable.timezone,
        window_minutes=schedule.window // timedelta(minutes=1),
        paused=schedule.paused,
        job=schedule.job,
    )


def check_jobs(definitions: Definitions, types: Types) -> None:
    """Raises InvalidDefinitions for a schedule whose jobs would be refused: no such type, or a payload that does not fit it."""
    for name, declared in definitions.schedules.items():
        request = schedule_of(declared).request
        try:
            lock_for(admit(request, definitions, types, id=ids.derived_id(request.queue, name), now=_ANY_TIME), request)
        except InvalidRequest as error:
            raise misplaced(TomlFile(Path(), QUEUES_FILE), f"schedules.{name}", error) from error


def schedule_of(declared: DeclaredSchedule) -> Schedule:
    """The schedule as EventBridge Scheduler is given it."""
    return Schedule(
        name=declared.name,
        timetable=Timetable(cron=parse_cron(declared.cron), timezone=declared.timezone),
        job=declared.job,
        window=timedelta(minutes=declared.window_minutes),
        paused=declared.paused,
    )


def misplaced(file: TomlFile, key: str, error: InvalidRequest) -> InvalidDefinitions:
    """The error by the place in the file: `/payload/to` of `schedules.x` is `schedules.x.payload.to`."""
    if not error.problems:
        return file.wrong(key, error.detail)
    first: Mapping[str, Any] = error.problems[0]
    return file.wrong(f"{key}{first['pointer'].replace('/', '.')}", str(first["detail"]))


def _plain(value: Any) -> str:
    """TOML's dates and times as JSON has them."""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    raise TypeError(f"{value!r} is no JSON")
