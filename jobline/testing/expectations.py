"""Expectations: which enqueued jobs a test means, and a message for people when they are not what it expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from jobline.testing.catalogue import Catalogue, What, fields_of, label
from jobline.testing.trial_job import TrialJob
from jobline.times import format_instant, parse_duration

_MOST_SHOWN: Final = 20
_LONGEST_PAYLOAD: Final = 200
_MISSING: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a test says of a job; what it does not say may be anything."""

    catalogue: Catalogue
    what: What
    queue: str | None = None
    at: datetime | None = None
    delay: timedelta | float | str | None = None
    priority: int | None = None
    tags: Sequence[str] = ()
    status: str | None = None
    payload: Any = None
    fields: Mapping[str, Any]
    """What fields of the payload are; a value matches when it equals what JSON says, so `mock.ANY` and its kin work."""

    def __post_init__(self) -> None:
        """Raises what tells of a mistake in the test itself: UnknownType, TypeError for a field that no such payload has."""
        self.catalogue.check_fields(self.catalogue.names(self.what), self.expected_fields)

    @property
    def expected_fields(self) -> dict[str, Any]:
        """What is said of single fields, by `payload=` or by name."""
        whole = msgspec.to_builtins(self.payload) if isinstance(self.payload, msgspec.Struct) else self.payload
        return {**(whole if isinstance(whole, Mapping) else {}), **self.fields}

    def is_about(self, job: TrialJob) -> bool:
        return job.type in self.catalogue.names(self.what)

    def differences(self, job: TrialJob) -> list[str]:
        """What of the job is otherwise, a line for each thing; empty: the job is meant."""
        said = {
            "queue": (self.queue, job.queue),
            "at": (None if self.at is None else format_instant(self.at), format_instant(job.scheduled_at)),
            "delay": (None if self.delay is None else _seconds(self.delay), _seconds(job.scheduled_at - job.created_at)),
            "priority": (self.priority, job.priority),
            "status": (self.status, str(job.status)),
        }
        found = [f"{name} is {actual}, not {wanted}" for name, (wanted, actual) in said.items() if wanted not in (None, actual)]
        if missing := [tag for tag in self.tags if tag not in job.tags]:
            found.append(f"tags are {list(job.tags)}, without {', '.join(map(repr, missing))}")
        return found + self._payload_differences(job)

    def _payload_differences(self, job: TrialJob) -> list[str]:
        handed = self.catalogue.handed(job.type, job.payload)
        if self.payload is not None and not isinstance(self.payload, (Mapping, msgspec.Struct)):
            actual = msgspec.to_builtins(handed)
            return [] if _equal(self.payload, actual) else [f"the payload is {actual!r}, not {self.payload!r}"]
        fields = fields_of(handed)
        differing = {name: wanted for name, wanted in self.expected_fields.items() if not _equal(wanted, fields.get(name, _MISSING))}
        return [
            f"{name} is {fields[name]!r}, not {wanted!r}" if name in fields else f"{name} is missing, not {wanted!r}"
            for name, wanted in differing.items()
        ]

    def __str__(self) -> str:
        said = {name: getattr(self, name) for name in ("queue", "at", "delay", "priority", "tags", "status", "payload")}
        parts = [f"{name}={value!r}" for name, value in said.items() if value not in (None, ())]
        parts += [f"{name}={value!r}" for name, value in self.fields.items()]
        return " ".join([label(self.what).strip("'"), *(["with", ", ".join(parts)] if parts else [])])


def missed(expectation: Expectation, jobs: Sequence[TrialJob]) -> str:
    """What to say when no job is what was expected: how the nearest differs, and everything that was enqueued."""
    lines = [f"no job was enqueued that is {expectation}"]
    if candidates := [job for job in jobs if expectation.is_about(job)]:
        nearest = min(candidates, key=lambda job: len(expectation.differences(job)))
        lines += [f"nearest is {nearest.type} {nearest.id}:", *(f"  {line}" for line in expectation.differences(nearest))]
    return "\n".join([*lines, *_listed(jobs)])


def miscounted(expectation: Expectation, count: int, found: Sequence[TrialJob], jobs: Sequence[TrialJob]) -> str:
    """What to say when there are more or fewer jobs than expected."""
    return "\n".join([f"{len(found)} and not {count} jobs were enqueued that are {expectation}", *_listed(jobs)])


def unwanted(expectation: Expectation, found: Sequence[TrialJob]) -> str:
    """What to say when there are jobs that should not be."""
    return "\n".join([f"a job was enqueued that is {expectation}", *map(line, found[:_MOST_SHOWN])])


def line(job: TrialJob) -> str:
    """A job in one line: type, payload, queue, state, and when it is due."""
    payload = msgspec.json.encode(job.payload).decode()
    if len(payload) > _LONGEST_PAYLOAD:
        payload = payload[:_LONGEST_PAYLOAD] + "…"
    due = "" if job.scheduled_at == job.created_at else f", due {format_instant(job.scheduled_at)}"
    error = f", {job.error}" if job.error else ""
    return f"  {job.type} {payload} in {job.queue}, {job.status}{due}{error}"


def _listed(jobs: Sequence[TrialJob]) -> list[str]:
    if not jobs:
        return ["nothing was enqueued"]
    more = [f"  and {len(jobs) - _MOST_SHOWN} more"] if len(jobs) > _MOST_SHOWN else []
    return ["enqueued were:", *map(line, jobs[:_MOST_SHOWN]), *more]


def _equal(wanted: Any, actual: Any) -> bool:
    """Whether a value is what JSON says; `wanted` may be anything that compares, or what msgspec turns into JSON."""
    if actual is _MISSING:
        return False
    if isinstance(wanted, bool) is not isinstance(actual, bool) and isinstance(wanted, (bool, int, float)):
        return False  # JSON's true is not 1
    if wanted == actual:
        return True
    try:
        return bool(msgspec.to_builtins(wanted) == actual)
    except TypeError:
        return False


def _seconds(duration: timedelta | float | str) -> str:
    exact = duration if isinstance(duration, timedelta) else parse_duration(duration)
    return f"{exact.total_seconds():.10g} s"
