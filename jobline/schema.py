"""Whether a JSON value fits a JSON Schema, with every misfit named by its place.

It reads what `msgspec.json.schema` writes (2020-12: references, objects, arrays, tuples, unions, limits, formats) and judges as
msgspec's decoder does, which the worker runs later: `1.0` is no integer, an integer is a number, `true` is neither. A keyword that
it does not know constrains nothing, as the specification has it (JSON Schema Core 2020-12, section 6.5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from jobline.errors import FieldProblem
from jobline.secret_fields import MARK, is_secret

Schema = Mapping[str, Any]

MOST_PROBLEMS: Final = 20
"""Misfits told at once; a client that has so many has another problem."""
_LONGEST_NAME: Final = 200

_NAMES: Final = {dict: "object", list: "array", str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_FORMATS: Final[Mapping[str, Any]] = {
    "date-time": Annotated[datetime, msgspec.Meta(tz=True)],
    "date": date,
    "time": time,
    "duration": timedelta,
    "uuid": UUID,
    "decimal": Decimal,
}
_LIMITS: Final[Mapping[str, Any]] = {
    "minimum": (lambda value, limit: value >= limit, "must be at least {}"),
    "exclusiveMinimum": (lambda value, limit: value > limit, "must be more than {}"),
    "maximum": (lambda value, limit: value <= limit, "must be at most {}"),
    "exclusiveMaximum": (lambda value, limit: value < limit, "must be less than {}"),
    "multipleOf": (lambda value, limit: value % limit == 0, "must be a multiple of {}"),
}
_LENGTHS: Final[Mapping[type, tuple[str, str, str]]] = {
    str: ("minLength", "maxLength", "characters"),
    list: ("minItems", "maxItems", "elements"),
    dict: ("minProperties", "maxProperties", "members"),
}


def misfits(value: Any, schema: Schema, pointer: str = "") -> tuple[FieldProblem, ...]:
    """What of `value` does not fit, at most 20 things, in the value's order; `pointer` is where the value itself stands."""
    return tuple(islice(_Check(schema).value(value, schema, pointer), MOST_PROBLEMS))


def place(pointer: str, name: str | int) -> str:
    """The RFC 6901 pointer to a member or element of the value at `pointer`; a name longer than 200 characters is cut, with `…`."""
    text = str(name)
    if len(text) > _LONGEST_NAME:
        text = text[:_LONGEST_NAME] + "…"
    return f"{pointer}/{text.replace('~', '~0').replace('/', '~1')}"


class _Check:
    def __init__(self, root: Schema) -> None:
        self._root = root

    def value(self, value: Any, schema: Schema, at: str) -> Iterator[FieldProblem]:
        if is_secret(schema):
            # What is wrong inside a secret might name what is in it; of the secret itself only the rule is told.
            plain = {name: said for name, said in schema.items() if name not in (MARK, "propertyNames")}
            wrong = next(self.value(value, plain, at), None)
            if wrong is not None:
                yield wrong if wrong["pointer"] == at else FieldProblem(at, "has something in it that does not fit its type")
            return
        schema = self._resolved(schema)
        if "anyOf" in schema:
            yield from self._union(value, schema, at)
        elif "enum" in schema or "const" in schema:
            if not any(value == one and type(value) is type(one) for one in _allowed(schema)):
                yield FieldProblem(at, f"must be {_listed([_shown(one) for one in _allowed(schema)])}")
        elif not _is_of(value, schema.get("type")):
            yield FieldProblem(at, f"must be {_article(schema['type'])}, not {_article(_NAMES[type(value)])}")
        else:
            yield from self._limits(value, schema, at)
            if isinstance(value, dict):
                yield from self._members(value, schema, at)
            elif isinstance(value, list):
                yield from self._elements(value, schema, at)

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            found: Any = self._root
            for name in schema["$ref"].removeprefix("#/").split("/"):
                found = found[name.replace("~1", "/").replace("~0", "~")]
            schema = found
        return schema

    def _union(self, value: Any, schema: Schema, at: str) -> Iterator[FieldProblem]:
        branches = [self._resolved(branch) for branch in schema["anyOf"]]
        if "discriminator" in schema and isinstance(value, dict):
            tag = schema["discriminator"]["propertyName"]
            branches = [branch for branch in branches if not any(self.value(value.get(tag), branch["properties"][tag], ""))] or branches
        if any(next(self.value(value, branch, at), None) is None for branch in branches):
            return
        # The branches of the value's own kind: if there is but one, it is the one that was meant.
        meant = [branch for branch in branches if any(_is_of(value, kind) for kind in self._kinds(branch))]
        if len(meant) == 1:
            yield from self.value(value, meant[0], at)
        elif "discriminator" in schema and meant:
            tags = [_shown(each) for branch in branches for each in _allowed(branch["properties"][tag])]
            yield FieldProblem(place(at, tag), f"must be {_listed(tags)}")
        else:
            kinds = dict.fromkeys(_article(kind) for branch in branches for kind in self._kinds(branch))
            yield FieldProblem(at, f"must be {_listed(list(kinds))}")

    def _kinds(self, schema: Schema) -> list[str]:
        """The kinds of JSON value that a schema takes."""
        schema = self._resolved(schema)
        if "anyOf" in schema:
            return [kind for branch in schema["anyOf"] for kind in self._kinds(branch)]
        return [schema["type"]] if "type" in schema else [_NAMES[type(one)] for one in _allowed(schema)]

    def _limits(self, value: Any, schema: Schema, at: str) -> Iterator[FieldProblem]:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            for keyword, (holds, sentence) in _LIMITS.items():
                if keyword in schema and not holds(value, schema[keyword]):
                    yield FieldProblem(at, sentence.format(schema[keyword]))
        if type(value) in _LENGTHS:
            least, most, what = _LENGTHS[type(value)]
            if len(value) < schema.get(least, 0):
                yield FieldProblem(at, f"must have at least {schema[least]} {what}")
            if most in schema and len(value) > schema[most]:
                yield FieldProblem(at, f"must have at most {schema[most]} {what}")
        if isinstance(value, str):
            if "pattern" in schema and not re.search(schema["pattern"], value):
                yield FieldProblem(at, f"must match {schema['pattern']}")
            kind = bytes if schema.get("contentEncoding") == "base64" else _FORMATS.get(schema.get("format", ""))
            if kind is not None and not _reads_as(value, kind):
                yield FieldProblem(at, f"must be {schema.get('format', 'base64')} text")

    def _members(self, value: dict[str, Any], schema: Schema, at: str) -> Iterator[FieldProblem]:
        declared, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        for name in schema.get("required", ()):
            if name not in value:
                yield FieldProblem(place(at, name), "is missing")
        for name, member in value.items():
            if name in declared:
                yield from self.value(member, declared[name], place(at, name))
            elif others is False:
                yield FieldProblem(place(at, name), "is not a known field" + _listed_fields(declared))
            elif isinstance(others, dict):
                yield from self.value(member, others, place(at, name))
            if "propertyNames" in schema:
                yield from self.value(name, schema["propertyNames"], place(at, name))

    def _elements(self, value: list[Any], schema: Schema, at: str) -> Iterator[FieldProblem]:
        first = schema.get("prefixItems", ())
        for number, element in enumerate(value):
            expected = first[number] if number < len(first) else schema.get("items", {})
            if expected is not False:  # no more elements: maxItems says so already
                yield from self.value(element, expected, place(at, number))


def _is_of(value: Any, kind: str | None) -> bool:
    actual = _NAMES[type(value)]
    return kind is None or actual == kind or (kind == "number" and actual == "integer")


def _reads_as(text: str, kind: Any) -> bool:
    try:
        msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return False
    return True


def _allowed(schema: Schema) -> list[Any]:
    return list(schema["enum"]) if "enum" in schema else [schema["const"]] if "const" in schema else []


def _article(kind: str) -> str:
    return kind if kind == "null" else f"{'an' if kind[0] in 'aio' else 'a'} {kind}"


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _listed_fields(declared: Mapping[str, Any]) -> str:
    return f"; there are {', '.join(declared)}" if declared else ""
