"""A new record as a PartiQL statement, so that one call can create many jobs (`BatchExecuteStatement`)."""

from __future__ import annotations

from typing import Any

from jobline.job import Job
from jobline.records import encode


def insert_statement(table: str, job: Job) -> dict[str, Any]:
    """One entry of a `BatchExecuteStatement`: it is refused with `DuplicateItem` when there is an item of that id."""
    item = encode(job)
    fields = ",".join(f"'{name}':?" for name in item)
    return {"Statement": f'INSERT INTO "{table}" VALUE {{{fields}}}', "Parameters": list(item.values())}


def was_inserted(answer: Any) -> bool | None:
    """What the answer to one statement says; only success and a taken id are verdicts, anything else may be either (R16)."""
    if answer is None:
        return None
    error = answer.get("Error")
    if error is None:
        return True
    return False if error.get("Code") == "DuplicateItem" else None
