"""The API's contract as a test reads it: whether an answer is one that the OpenAPI document has."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from jobline.api_routes import ROUTES, Route
from jobline.openapi import document

NOT_ANY_ROUTES = {404: "not-found", 405: "method-not-allowed"}
"""What is answered where there is no route, which no operation of the document can say."""


@cache
def contract() -> dict[str, Any]:
    """The document, with every object of an answer closed: a field that it does not name is a finding here."""
    strict = copy.deepcopy(document())
    for schema in strict["components"]["schemas"].values():
        _close(schema)
    return strict


def _close(schema: Any) -> None:
    if isinstance(schema, list):
        for each in schema:
            _close(each)
    elif isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
        for each in schema.values():
            _close(each)


@cache
def validator(schema: str) -> Draft202012Validator:
    """Checks against a schema (JSON text) that may refer to the document's components."""
    return Draft202012Validator(json.loads(schema) | {"components": contract()["components"]})


def misfits(value: Any, schema: Any) -> list[str]:
    """What of the value does not fit."""
    found = validator(json.dumps(schema)).iter_errors(value)
    return [f"{error.json_path}: {error.message[:300]}" for error in found]


def route_of(method: str, path: str) -> Route | None:
    """The route that answers; a path without parameters goes before one with them."""
    matching = [one for one in ROUTES if re.fullmatch(re.sub("{.*?}", "[^/]+", one.path), path)]
    fewest = min((one.path.count("{") for one in matching), default=0)
    return next((one for one in matching if one.path.count("{") == fewest and one.method == method), None)


def expect_as_documented(event: Mapping[str, Any], status: int, headers: Mapping[str, str], text: str) -> None:
    """Raises AssertionError unless the document has this answer to this event (payload format 2.0), with these headers and this body."""
    http = event.get("requestContext", {}).get("http")
    if http is None:
        return  # no event of API Gateway's
    stage = event["requestContext"].get("stage", "$default")
    path = event["rawPath"].removeprefix(f"/{stage}") if stage != "$default" else event["rawPath"]
    route = route_of(http["method"], path)
    if route is None or (status == 404 and json.loads(text)["detail"].startswith("There is no route")):
        assert json.loads(text)["type"].rpartition(":")[2] == NOT_ANY_ROUTES[status]
        return
    responses = contract()["paths"][route.path][route.method.lower()]["responses"]
    assert str(status) in responses, f"{route.name} answers {status}: {text[:300]}"
    response = responses[str(status)]
    documented = response.get("headers", {})
    assert headers.keys() - {"Content-Type", "Cache-Control"} <= documented.keys(), f"{route.name}: {headers}"
    missing = {name for name, header in documented.items() if header.get("required")} - headers.keys()
    assert not missing, f"{route.name}: {missing} missing with {status}"
    for name in documented.keys() & headers.keys():
        value: Any = int(headers[name]) if documented[name]["schema"].get("type") == "integer" else headers[name]
        assert misfits(value, documented[name]["schema"]) == []
    if "content" in response:
        content = response["content"][headers["Content-Type"]]
        assert misfits(json.loads(text), content["schema"]) == [], f"{route.name} {status}: {text[:500]}"
    else:
        assert text == ""
