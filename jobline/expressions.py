"""A `Write` as the parameters of DynamoDB's `UpdateItem`."""

from __future__ import annotations

from typing import Any

from jobline.records import ALWAYS_PRESENT, encode_value
from jobline.transitions import Condition, Write


class _Placeholders:
    """Names and values of one request: reserved words and binary safety are DynamoDB's business, not ours."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: dict[str, dict[str, Any]] = {}

    def name(self, field: str) -> str:
        self.names[f"#{field}"] = field
        return f"#{field}"

    def value(self, field: str, given: Any) -> str:
        placeholder = f":{field}{len(self.values)}"
        self.values[placeholder] = encode_value(field, given)
        return placeholder


def update_expression(write: Write) -> dict[str, Any]:
    """Condition, update expression, names and values of one `UpdateItem`; a record that does not exist refuses every write."""
    place = _Placeholders()
    conditions = ["attribute_exists(id)", *(_condition(condition, place) for condition in write.when)]
    sets = [f"{place.name(field)} = {place.value(field, given)}" for field, given in write.set.items()]
    sets += [_addition(field, amount, place) for field, amount in write.add.items()]
    if write.note is not None:
        history, none, one = place.name("history"), place.value("history", ()), place.value("history", (write.note,))
        sets.append(f"{history} = list_append(if_not_exists({history}, {none}), {one})")
    update = f"SET {', '.join(sets)}"
    removed = [place.name(field) for field in write.remove if field not in write.set]
    if removed:
        update += f" REMOVE {', '.join(removed)}"
    return {
        "ConditionExpression": " AND ".join(conditions),
        "UpdateExpression": update,
        "ExpressionAttributeNames": place.names,
        "ExpressionAttributeValues": place.values,
    }


def _addition(field: str, amount: int, place: _Placeholders) -> str:
    name = place.name(field)
    before = name if field in ALWAYS_PRESENT else f"if_not_exists({name}, {place.value(field, 0)})"
    return f"{name} = {before} + {place.value(field, amount)}"


def _condition(condition: Condition, place: _Placeholders) -> str:
    field, operator, wanted = condition
    if operator == "missing":
        return f"attribute_not_exists({place.name(field)})"
    if operator == "in":
        return f"{place.name(field)} IN ({', '.join(place.value(field, one) for one in wanted)})"
    return f"{place.name(field)} {operator} {place.value(field, wanted)}"
