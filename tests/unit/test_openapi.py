"""The OpenAPI document: committed as it is generated, whole, and true of what the code reads and writes."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from jobline import openapi, problems
from jobline.api_examples import EXAMPLES
from jobline.api_routes import ROUTES, Route
from jobline.api_schemas import DURATION, REQUEST_FIELDS, RETRY_FIELDS, SCHEMAS, ref
from jobline.times import parse_duration
from tests.contract import misfits

ROOT = openapi.FILE.parents[1]
NEVER_OVER_HTTP = {"error", "invalid-definitions", "invalid-settings", "invalid-message", "corrupt-record"}
"""Ours: told as `internal`."""
ANYWHERE = {"unavailable", "method-not-allowed"}
"""What does not belong to single routes."""


def every_subschema(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [found for each in schema for found in every_subschema(each)]
    if isinstance(schema, dict):
        return [schema, *(found for each in schema.values() for found in every_subschema(each))]
    return []


def test_the_committed_document_is_the_generated_one() -> None:
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.text(), "run `python -m jobline.openapi`"


def test_what_is_served_is_what_is_committed() -> None:
    assert json.loads(openapi.compact()) == json.loads(openapi.text())


@pytest.mark.slow
def test_an_independent_validator_finds_nothing_wrong_with_it() -> None:
    validator = ROOT / ".schemathesis" / "bin" / "openapi-spec-validator"
    done = subprocess.run([validator, openapi.FILE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_operation_ids_and_routes_are_there_once() -> None:
    assert len({route.name for route in ROUTES}) == len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_is_described_whole(route: Route) -> None:
    operation = openapi.document()["paths"][route.path][route.method.lower()]
    assert (operation["operationId"], operation["x-jobline-access"]) == (route.name, route.access)
    assert [each["name"] for each in operation.get("parameters", []) if each["in"] == "path"] == re.findall("{(.*?)}", route.path)
    assert all(each["description"] for each in operation.get("parameters", []))
    assert {"401", "403", "429", "500", "503"} < operation["responses"].keys()
    for status, response in operation["responses"].items():
        for media_type, content in response.get("content", {}).items():
            assert content.get("examples") or (media_type == "application/json" and int(status) >= 400), (route.name, status)
    if route.takes is not None:
        assert operation["requestBody"]["content"]["application/json"]["examples"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_an_operation_takes_a_signature_or_a_token_with_the_scope_of_its_class_or_a_wider_one(route: Route) -> None:
    enough = {"read": ["jobs:read", "jobs:write", "jobs:admin"], "write": ["jobs:write", "jobs:admin"], "admin": ["jobs:admin"]}
    document = openapi.document()
    assert document["paths"][route.path][route.method.lower()]["security"] == [{"sigv4": []}, *({"jwt": [n]} for n in enough[route.access])]
    assert document["components"]["securitySchemes"].keys() == {"sigv4", "jwt"}


def test_a_new_row_of_the_table_is_in_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROUTES[0]._replace(name="enqueue_elsewhere", path="/elsewhere/{queue}")
    monkeypatch.setattr(openapi, "ROUTES", (*ROUTES, row))
    operation = openapi.document()["paths"]["/elsewhere/{queue}"]["post"]
    assert operation["operationId"] == "enqueue_elsewhere"
    assert operation["responses"]["202"]["headers"].keys() == {"Location", "ETag", "Idempotent-Replayed", "Unique-Returned"}


def test_every_error_that_a_client_can_meet_is_some_routes() -> None:
    # `too-deep` meets handlers that enqueue, which do not come over HTTP.
    everything = openapi.ERRORS.keys() - NEVER_OVER_HTTP - ANYWHERE - {"too-deep"}
    assert {slug for route in ROUTES for slug in route.problems} == everything


@pytest.mark.parametrize("name", REQUEST_FIELDS)
def test_a_request_has_the_fields_that_are_read(name: str) -> None:
    more = {"idempotency_key"} if name in {"PurgeRequest", "RedriveRequest"} else set()
    assert SCHEMAS[name]["properties"].keys() == REQUEST_FIELDS[name].keys() | more
    assert SCHEMAS[name]["additionalProperties"] is False


def test_a_retry_policy_has_its_fields() -> None:
    assert tuple(SCHEMAS["EnqueueRequest"]["properties"]["retry"]["properties"]) == RETRY_FIELDS


@pytest.mark.parametrize("name", sorted(SCHEMAS.keys() - {"Stats", "OpenApi", "GatewayMessage"}))
def test_every_field_has_a_sentence(name: str) -> None:
    for schema in every_subschema(SCHEMAS[name]):
        for field, each in schema.get("properties", {}).items() if isinstance(schema.get("properties"), dict) else ():
            told = "$ref" in each or "enum" in each or "const" in each or each.get("description")
            assert told or each.keys() == {"not"}, (name, field)


@pytest.mark.parametrize(("schema", "name"), [(schema, name) for schema in EXAMPLES for name in EXAMPLES[schema]])
def test_an_example_fits_its_schema(schema: str, name: str) -> None:
    assert misfits(EXAMPLES[schema][name], ref(schema)) == []


def test_a_problem_is_exemplified_with_its_own_name_and_status() -> None:
    examples = openapi.document()["components"]["examples"]
    for route in ROUTES:
        for slug in route.problems:
            told = examples[slug]["value"]
            assert told["type"] == problems.TYPE_PREFIX + slug
            assert misfits(told, ref("Problem")) == []


@pytest.mark.parametrize(
    "text",
    ["", "P", "PT", "P1DT", "P1W2D", "10", "2.5", "10m", "1h30m", "30m1h", "PT10M", "P1DT2H", "P2W", "500ms", "1M", "-1", "m"],
)
def test_the_pattern_of_a_duration_takes_what_is_read_as_one(text: str) -> None:
    try:
        parse_duration(text)
    except ValueError:
        assert not re.search(DURATION, text)
    else:
        assert re.search(DURATION, text)
