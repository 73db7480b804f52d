"""`GET /types`: every type that a worker of this repository registers is described whole, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from jobline.definition_files import load
from jobline.local_aws import ROOT
from jobline.registry import Registry

WORKERS = load(ROOT, "local").workers
TYPES = {
    f"{worker}.{name}": described for worker in WORKERS for name, described in Registry.discover(f"functions.{worker}").describe().items()
}
UNLIMITED = {
    ("notifications.send_email", "body"): "as long as a payload may be; the limit of the whole message is SES's",
    ("notifications.send_email", "html"): "as long as a payload may be; the limit of the whole message is SES's",
}
"""Fields without a limit of their own, and why."""


def fields(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of every object in a schema, by its name; a field may be called `properties` itself."""
    if not isinstance(schema, dict):
        return
    yield from schema.get("properties", {}).items()
    inner = [
        *schema.get("properties", {}).values(),
        *schema.get("$defs", {}).values(),
        schema.get("items"),
        schema.get("additionalProperties"),
    ]
    inner += [each for keyword in ("anyOf", "oneOf", "allOf", "prefixItems") for each in schema.get(keyword, ())]
    for each in inner:
        yield from fields(each)


def unlimited(schema: dict[str, Any]) -> list[str]:
    """What of a field's schema may be as long or large as it likes."""
    missing = []
    for each in (schema, *schema.get("anyOf", [])):
        keys = each.keys()
        kind = each.get("type")
        if kind == "string" and not keys & {"maxLength", "pattern", "format", "enum", "const"}:
            missing.append("maxLength, pattern, format or enum")
        if kind == "array" and not keys & {"maxItems", "prefixItems"}:
            missing.append("maxItems")
        if kind in {"integer", "number"}:
            missing += [f"{end}imum" for end in ("min", "max") if not keys & {f"{end}imum", f"exclusive{end.capitalize()}imum"}]
    return missing


def test_there_are_types_of_every_worker() -> None:
    assert {name.partition(".")[0] for name in TYPES} == set(WORKERS)


@pytest.mark.parametrize("name", TYPES)
def test_a_type_has_a_schema_that_is_one_and_a_line_that_says_what_it_does(name: str) -> None:
    Draft202012Validator.check_schema(TYPES[name]["schema"])
    summary = TYPES[name]["summary"]
    assert summary, f"{name}: the handler has no docstring"
    assert (summary.endswith("."), "\n" in summary) == (True, False), f"{name}: {summary!r} is no sentence of one line"


def said_elsewhere(schema: dict[str, Any]) -> bool:
    """Whether the field is another struct, or the tag of a union (its one value), which the field that holds it has a sentence about."""
    return "$ref" in schema or len(schema.get("enum", ())) == 1


@pytest.mark.parametrize("name", TYPES)
def test_every_field_of_a_payload_has_a_sentence(name: str) -> None:
    missing = [field for field, schema in fields(TYPES[name]["schema"]) if not schema.get("description") and not said_elsewhere(schema)]
    assert missing == [], f"{name}: no Meta(description=...) on {', '.join(missing)}"


@pytest.mark.parametrize("name", TYPES)
def test_every_text_list_and_number_of_a_payload_has_limits(name: str) -> None:
    missing = {field: unlimited(schema) for field, schema in fields(TYPES[name]["schema"]) if (name, field) not in UNLIMITED}
    missing = {field: what for field, what in missing.items() if what}
    assert missing == {}, f"{name}: Meta(...) lacks {missing}"


def test_no_exception_is_left_over() -> None:
    assert all(any(unlimited(schema) for name, schema in fields(TYPES[one]["schema"]) if name == field) for one, field in UNLIMITED)
