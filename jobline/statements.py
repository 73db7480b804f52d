"""A `Write` as a PartiQL statement, so that one call can carry several writes (`BatchExecuteStatement`).

Only what PartiQL can say in the form that DynamoDB and the local AWS both take: several `SET`s and `REMOVE`s, `IN`, `AND` and
`IS MISSING`; neither `OR`, nor appending to a list, nor a default for an attribute that may be absent. The other writes are
made one by one with `UpdateItem` (see `expressions`); both forms pass one conformance suite.
"""

from __future__ import annotations

from typing import Any, Final

from jobline.records import ALWAYS_PRESENT, encode_value
from jobline.transitions import Condition, Write

MOST_STATEMENTS: Final = 25
"""Statements in one call (BatchExecuteStatement, Amazon DynamoDB API reference)."""


def sayable(write: Write) -> bool:
    """Whether the write can be a statement: it appends and makes nothing, and adds only to numbers that every record has."""
    return write.note is None and not write.makes and ALWAYS_PRESENT.issuperset(write.add)


def update_statement(table: str, job_id: str, write: Write) -> dict[str, Any]:
    """One entry of a `BatchExecuteStatement`: it answers the new record, or the one that refused the write.

    A record that does not exist refuses every write. Raises ValueError for a write that is not `sayable`.
    """
    if not sayable(write):
        raise ValueError(f"{write.event} cannot be said in PartiQL")
    parameters: list[dict[str, Any]] = []

    def parameter(field: str, value: Any) -> str:
        parameters.append(encode_value(field, value))
        return "?"

    changes = [f'SET "{field}"={parameter(field, value)}' for field, value in write.set.items()]
    changes += [f'SET "{field}"="{field}"+{parameter(field, amount)}' for field, amount in write.add.items()]
    changes += [f'REMOVE "{field}"' for field in write.remove if field not in write.set]
    conditions = [f'"id"={parameter("id", job_id)}']
    conditions += [_condition(condition, parameter) for condition in write.when]
    return {
        "Statement": f'UPDATE "{table}" {" ".join(changes)} WHERE {" AND ".join(conditions)} RETURNING ALL NEW *',
        "Parameters": parameters,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _condition(condition: Condition, parameter: Any) -> str:
    field, operator, wanted = condition
    if operator == "missing":
        return f'"{field}" IS MISSING'
    if operator == "in":
        return f'"{field}" IN [{",".join(parameter(field, one) for one in wanted)}]'
    return f'"{field}"{operator}{parameter(field, wanted)}'
