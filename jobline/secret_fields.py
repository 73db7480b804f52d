"""Secret fields: what a payload type marks, and what becomes of it when a payload is shown.

token: Secret[str]

The marker says nothing to msgspec: a handler gets plain text. It stands in the type's JSON Schema (`writeOnly`, and `x-jobline-secret`),
by which the api and the worker find the fields; so it goes wherever an annotation goes, and covers whatever is beneath.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec

MARK: Final = "x-jobline-secret"
HIDDEN: Final = "***"
"""What is shown in a secret's place."""

SECRET: Final = msgspec.Meta(extra_json_schema={"writeOnly": True, MARK: True})
"""Marks a field: `Annotated[str, Meta(min_length=20), SECRET]`."""
T = TypeVar("T")
Secret = Annotated[T, SECRET]
"""`Secret[str]` is a `str` that is shown to its handler alone."""

Schema = Mapping[str, Any]
_KINDS: Final[Mapping[type, str]] = {dict: "object", list: "array"}


def holds_secrets(schema: Any) -> bool:
    """Whether a JSON Schema marks anything, at any depth."""
    if isinstance(schema, Mapping):
        return schema.get(MARK) is True or any(holds_secrets(each) for each in schema.values())
    return isinstance(schema, list) and any(holds_secrets(each) for each in schema)


def is_secret(schema: Schema) -> bool:
    """Whether a value of this very schema is secret; an object is if its members' names are."""
    return schema.get(MARK) is True or schema.get("propertyNames", {}).get(MARK) is True


def hide(text: str, schema: Schema) -> str:
    """A payload (JSON text) with `"***"` in each secret's place; what is no JSON is hidden as a whole.

    The rest keeps its values and its order, not its bytes. A value that is not of the shape that the schema gives it is hidden with
    everything in it, if there are secrets in that shape.
    """
    try:
        shown = _Walk(schema).shown(json.loads(text), [schema])
    except (ValueError, RecursionError):
        shown = HIDDEN
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":"))


def secrets_in(value: Any, schema: Schema) -> list[str]:
    """The texts of every secret of a payload (parsed JSON), such as a message may quote them."""
    walk = _Walk(schema)
    walk.shown(value, [schema])
    return list(dict.fromkeys(walk.found))


def secrets_in_text(text: str, schema: Schema) -> list[str]:
    """The same of a payload's JSON text; none when that cannot be read, for then nobody reads a secret from it."""
    try:
        return secrets_in(json.loads(text), schema)
    except (ValueError, RecursionError):
        return []


class _Walk:
    """One walk through a payload beside its schema; where the schema leaves a choice, every branch has its say."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self.found: list[str] = []

    def shown(self, value: Any, schemas: Sequence[Schema]) -> Any:
        flat = list(self._flat(schemas))
        if any(is_secret(schema) for schema in flat) or self._misplaced(value, flat):
            self.found += self._texts(value, flat)
            return None if value is None else HIDDEN
        if isinstance(value, dict):
            return {name: self.shown(member, self._of_member(name, flat)) for name, member in value.items()}
        if isinstance(value, list):
            return [self.shown(element, self._of_element(number, flat)) for number, element in enumerate(value)]
        return value

    def _flat(self, schemas: Sequence[Schema]) -> Iterator[Schema]:
        """The schemas, and what they refer to or leave a choice of; a marked one covers what it refers to."""
        for schema in schemas:
            yield schema
            if "$ref" in schema:
                found: Any = self._root
                for name in schema["$ref"].removeprefix("#/").split("/"):
                    found = found[name.replace("~1", "/").replace("~0", "~")]
                yield from self._flat([found])
            yield from self._flat(schema.get("anyOf", ()))

    def _misplaced(self, value: Any, flat: Sequence[Schema]) -> bool:
        """Whether a value stands where secrets would be inside a value of another kind: it may well be one of them."""
        kind = _KINDS.get(type(value))
        structured = [schema for schema in flat if schema.get("type") in ("object", "array")]
        if value is None or any(schema.get("type") == kind for schema in structured):
            return False
        return any(self._holds(schema, set()) for schema in structured)

    def _holds(self, schema: Any, seen: set[str]) -> bool:
        if isinstance(schema, list):
            return any(self._holds(each, seen) for each in schema)
        if not isinstance(schema, Mapping):
            return False
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            if any(self._holds(each, seen) for each in self._flat([schema])):
                return True
        return schema.get(MARK) is True or any(self._holds(each, seen) for each in schema.values())

    def _of_member(self, name: str, flat: Sequence[Schema]) -> list[Schema]:
        declared = [schema["properties"][name] for schema in flat if name in schema.get("properties", {})]
        return declared or [schema["additionalProperties"] for schema in flat if isinstance(schema.get("additionalProperties"), dict)]

    def _of_element(self, number: int, flat: Sequence[Schema]) -> list[Schema]:
        found = []
        for schema in flat:
            first = schema.get("prefixItems", ())
            rest = schema.get("items")
            found += [first[number]] if number < len(first) else [rest] if isinstance(rest, dict) else []
        return found

    def _texts(self, value: Any, flat: Sequence[Schema]) -> Iterator[str]:
        """Every text in a secret: values, and names of members that no type declares."""
        if isinstance(value, dict):
            declared = {name for schema in flat for name in schema.get("properties", ())}
            for name, member in value.items():
                if name not in declared:
                    yield name
                yield from self._texts(member, list(self._flat(self._of_member(name, flat))))
        elif isinstance(value, list):
            for number, element in enumerate(value):
                yield from self._texts(element, list(self._flat(self._of_element(number, flat))))
        elif isinstance(value, str):
            yield value
        elif value is not None and not isinstance(value, bool):
            yield str(value)
