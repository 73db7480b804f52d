"""A job as a DynamoDB item and back.

Attribute names are the fields' own. Times are numbers of epoch milliseconds, so that conditions can compare them; facts that
are absent, false, empty or zero-by-default take no attribute at all, so that a happy job stays under one write unit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from jobline.errors import CorruptRecord
from jobline.job import Job, Status
from jobline.times import from_milliseconds, to_milliseconds

Item = Mapping[str, Mapping[str, Any]]
"""A low-level DynamoDB item: attribute name → `{"S": …}`, `{"N": …}` …"""

_TIMES = frozenset(
    {"created_at", "scheduled_at", "expires_at", "started_at", "completed_at", "lease_until", "attention_at", "recounted_at"}
)
_NUMBERS = frozenset(
    {"priority", "attempts", "max_attempts", "timeout", "ttl", "dispatch", "resend", "token", "snoozes", "continued", "depth"}
    | {"rev", "expires_in", "v"}
)
_FLAGS = frozenset({"cancel_requested", "solo"})
_LISTS = frozenset({"tags", "history"})
_OMITTED_AT_ZERO = frozenset({"resend", "snoozes", "continued", "depth"})
ALWAYS_PRESENT: Final = frozenset({"rev", "token", "dispatch", "attempts"})
"""Numbers that every record has, so that adding to one needs no default."""
_FIELDS: Final = {field.name: field for field in dataclasses.fields(Job)}


def encode_value(name: str, value: Any) -> dict[str, Any]:
    """One field's value as a DynamoDB attribute value."""
    if name in _TIMES:
        return {"N": str(to_milliseconds(value))}
    if name in _NUMBERS:
        return {"N": str(value)}
    if name in _FLAGS:
        return {"BOOL": value}
    if name in _LISTS:
        return {"L": [{"S": text} for text in value]}
    return {"S": value.value if isinstance(value, Status) else value}


def encode(job: Job) -> dict[str, dict[str, Any]]:
    """The whole item of a job."""
    item = {}
    for name in _FIELDS:
        value = getattr(job, name)
        if value is None or value is False or value == () or (value == 0 and name in _OMITTED_AT_ZERO):
            continue
        item[name] = encode_value(name, value)
    return item


def _decoder(name: str) -> Callable[[Mapping[str, Any]], Any]:
    if name in _TIMES:
        return lambda value: from_milliseconds(int(value["N"]))
    if name in _NUMBERS:
        return lambda value: int(value["N"])
    if name in _FLAGS:
        return lambda value: bool(value["BOOL"])
    if name in _LISTS:
        return lambda value: tuple(element["S"] for element in value["L"])
    if name == "status":
        return lambda value: Status(value["S"])
    return lambda value: value["S"]


_DECODERS: Final = {name: _decoder(name) for name in _FIELDS}


def is_job(item: Item) -> bool:
    """Whether a table item is a job's record (counters, queue states and bodies live in the same table)."""
    return "dispatch" in item


def decode(item: Item) -> Job:
    """The job of an item; attributes that this release does not know are passed over.

    Raises `CorruptRecord` when the item cannot be a job.
    """
    try:
        return Job(**{name: _DECODERS[name](value) for name, value in item.items() if name in _DECODERS})
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        shown = item.get("id", {}).get("S", "without an id") if isinstance(item, Mapping) else "of no shape"
        raise CorruptRecord(f"the record {shown} is not a job: {error!r}") from error
