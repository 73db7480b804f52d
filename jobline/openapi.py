"""The OpenAPI 3.1 document of the API, made from its table of routes, its schemas and its errors.

`python -m jobline.openapi` writes `docs/openapi.json`; every deployment serves the same at `GET /openapi.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from jobline import errors, fields, listing, problems
from jobline.api_examples import EXAMPLES
from jobline.api_routes import OPENAPI_FILE, ROUTES, Answered, Route, scopes
from jobline.api_schemas import DURATION, KEY, NAME, SCHEMAS, Schema, ref
from jobline.long_poll import LONGEST_WAIT

FILE: Final = Path(__file__).resolve().parents[1] / "docs" / OPENAPI_FILE
VERSION: Final = "1"
_JSON: Final = "application/json"
_TAG: Final = r'(W/)?"[!#-~\x80-\xff]*"'
_DESCRIPTION: Final = (
    "A job queue on AWS. Bodies are strict JSON whatever their Content-Type says: no NaN, no duplicate names, nesting of at most 64,"
    " integers of at most 38 digits written without a fraction. What is wrong is an application/problem+json answer (RFC 9457) that names"
    " the place. A method that a path does not take, HEAD and OPTIONS among them, is a 405 with Allow. A query parameter that is not"
    " known, is empty or comes twice is a 400. In a request, null is the same as leaving a field out; times are RFC 3339, bare numbers are"
    " seconds, but for the delays inside retry, which are milliseconds. Answers may get more fields. Every request is signed by AWS"
    " Signature Version 4 or, at the URL for tokens, carries one; what API Gateway refuses (401, 403, 413, 429, 503) it words itself."
)
_TAGS: Final = {
    "jobs": "Single jobs, and many at once.",
    "queues": "Whole queues.",
    "batches": "Jobs that belong together, and what follows from how they end.",
    "schedules": "Jobs that are made by the clock.",
    "topics": "Events, and the jobs that they become.",
    "about": "What is deployed.",
}

_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "wait": {
        "in": "query",
        "description": f"Answer when the job is over, or after so long: seconds, or 20s; at most {LONGEST_WAIT.total_seconds():g} s.",
        "schema": {"type": "string", "pattern": DURATION},
        "example": "20",
    },
    "queue": {"in": "query", "required": True, "description": "The queue's name.", "schema": {"type": "string", "pattern": NAME}},
    "status": {
        "in": "query",
        "description": "Only jobs with this status; failed is what went wrong, retrying and dead.",
        "schema": {"type": "string", "enum": sorted(status for status in listing.FILTERS if status)},
    },
    "type": {"in": "query", "description": "Only jobs of this type.", "schema": {"type": "string", "pattern": NAME}},
    "tag": {
        "in": "query",
        "description": "Only jobs with this tag.",
        "schema": {"type": "string", "minLength": 1, "maxLength": fields.LONGEST_TAG},
    },
    "since": {
        "in": "query",
        "description": "Only jobs created then or later.",
        "schema": {"type": "string", "format": "date-time"},
        "example": "2026-01-31T09:30:00Z",
    },
    "limit": {
        "in": "query",
        "description": "Entries of a page at most; a page may have fewer.",
        "schema": {"type": "integer", "minimum": 1, "maximum": listing.LONGEST_PAGE, "default": listing.DEFAULT_PAGE},
    },
    "cursor": {
        "in": "query",
        "description": "The next of the page before, of the same list and filters, unchanged.",
        "schema": {"type": "string", "minLength": 1},
    },
    "Idempotency-Key": {
        "in": "header",
        "description": "The same key again is the same request: it does nothing twice.",
        "schema": {"type": "string", "pattern": KEY},
    },
    "If-Match": {
        "in": "header",
        "description": "Only if what is meant still has one of these entity tags; a weak one matches nothing, * any.",
        "schema": {"type": "string", "pattern": rf"^(\*|{_TAG}(\s*,\s*{_TAG})*)$"},
        "example": '"3"',
    },
    "If-None-Match": {
        "in": "header",
        "description": "304 when what would be answered has one of these entity tags. With PUT, * alone: only if there is none.",
        "schema": {"type": "string"},
        "example": '"3"',
    },
    "traceparent": {
        "in": "header",
        "description": "The caller's trace context (W3C); one that is none is passed over.",
        "schema": {"type": "string"},
        "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    },
}
_IN_PATH: Final[dict[str, dict[str, Any]]] = {
    "queue": {"description": "The queue's name.", "schema": {"type": "string", "pattern": NAME}, "example": "emails"},
    "name": {"description": "The name of what the path is about.", "schema": {"type": "string", "pattern": NAME}, "example": "nightly"},
    "topic": {"description": "The topic's name.", "schema": {"type": "string", "pattern": NAME}, "example": "orders"},
    "id": {
        "description": "The job's id, or the beginning of it, at least eight characters, that no other job has.",
        "schema": {"type": "string", "pattern": "^[0-9a-fA-F-]{8,36}$"},
        "example": "0197a000-0000-7000-8000-000000000000",
    },
}
_HEADERS: Final[dict[str, Schema]] = {
    "Location": {"type": "string", "format": "uri-reference", "description": "The job, relative to the request's URL."},
    "ETag": {"type": "string", "pattern": '^".*"$', "description": "The entity tag, for If-None-Match and If-Match."},
    "Idempotent-Replayed": {"const": "true", "description": "There when an earlier request with this key made the job."},
    "Unique-Returned": {"const": "true", "description": "There when the job was found by its unique key."},
    "Retry-After": {"type": "integer", "minimum": 0, "description": "Seconds after which to repeat the request."},
    "Allow": {"type": "string", "description": "The methods that the path takes."},
}
_ALWAYS: Final = {"ETag", "Location"}
"""Headers that are there whenever they are listed."""
_GATEWAY: Final = {
    401: "The token is missing or wrong (at the URL for tokens).",
    403: "The signature is missing or wrong, or IAM or the token's scopes do not allow it.",
    429: "Too many requests; come back later.",
}
_NO_SUCH_PATH: Final = ("not-found",)
"""Where the path has parameters: one with characters that no name and no id has."""
_EVERYWHERE: Final = ("unavailable", "internal")


def document() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Jobline", "version": VERSION, "description": _DESCRIPTION},
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": "./", "description": "Where this document is served."}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {"schemas": dict(SCHEMAS), "examples": _examples(), "securitySchemes": _security()},
    }


def text() -> str:
    """The document as it is committed."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def compact() -> str:
    """The document as it is served."""
    return json.dumps(document(), separators=(",", ":"), ensure_ascii=False)


def _security() -> dict[str, Any]:
    return {
        "sigv4": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "AWS Signature Version 4 for the service execute-api.",
            "x-amazon-apigateway-authtype": "awsSigv4",
        },
        # Not openIdConnect: that would name the issuer, which each deployment has of its own, and this document is the same for all.
        "jwt": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": (
                "A token of the OpenID Connect issuer that the deployment names, sent to its TokenApiUrl, if it has one (docs/access.md)."
                " One of the scopes that an operation lists is enough."
            ),
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.name, "tags": [route.tag], "summary": route.summary, "x-jobline-access": route.access}
    operation["security"] = [{"sigv4": []}, *({"jwt": [scope]} for scope in scopes(route.access))]
    parameters = [{"name": name, "in": "path", "required": True, **_IN_PATH[name]} for name in re.findall("{(.*?)}", route.path)]
    parameters += [{"name": name, **_PARAMETERS[name]} for name in route.parameters]
    if parameters:
        operation["parameters"] = parameters
    if route.takes is not None:
        operation["requestBody"] = {"required": route.body_required, "content": {_JSON: _content(route.takes)}}
    operation["responses"] = dict(sorted(_responses(route)))
    return operation


def _responses(route: Route) -> Iterator[tuple[str, dict[str, Any]]]:
    for answered in route.answers:
        yield str(answered.status), _success(answered)
    by_status: dict[int, list[str]] = {status: [] for status in _GATEWAY}
    for slug in dict.fromkeys((*route.problems, *_NO_SUCH_PATH * ("{" in route.path), *_EVERYWHERE)):
        by_status.setdefault(_status(slug), []).append(slug)
    for status, slugs in by_status.items():
        yield str(status), _failure(status, slugs)


def _success(answered: Answered) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(answered.status).phrase}
    if answered.headers:
        response["headers"] = {name: _header(name) for name in answered.headers}
    if answered.schema is not None:
        response["content"] = {_JSON: _content(answered.schema)}
    return response


def _failure(status: int, slugs: list[str]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if slugs:
        types = [problems.TYPE_PREFIX + slug for slug in slugs]
        schema = {"allOf": [ref("Problem"), {"properties": {"type": {"enum": types}, "status": {"const": status}}}]}
        content[problems.MEDIA_TYPE] = {"schema": schema, "examples": {slug: _example(slug) for slug in slugs}}
    if status in _GATEWAY or status in {413, 500, 503}:
        content[_JSON] = {"schema": ref("GatewayMessage")}
    says = _GATEWAY.get(status) or " ".join(_title(slug) for slug in slugs)
    response: dict[str, Any] = {"description": says, "content": content}
    if status == 503:
        response["headers"] = {"Retry-After": _header("Retry-After")}
    return response


def _header(name: str) -> dict[str, Any]:
    schema = dict(_HEADERS[name])
    header = {"description": schema.pop("description"), "schema": schema}
    return header | {"required": True} if name in _ALWAYS else header


def _content(schema: str) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": ref(schema)}
    if schema in EXAMPLES:
        content["examples"] = {name: _example(f"{schema}.{number}") for number, name in enumerate(EXAMPLES[schema])}
    return content


def _example(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/examples/{name}"}


def _examples() -> dict[str, dict[str, Any]]:
    found = {f"{schema}.{number}": {"value": value} for schema in EXAMPLES for number, value in enumerate(EXAMPLES[schema].values())}
    slugs = sorted({slug for route in ROUTES for slug in (*route.problems, *_EVERYWHERE)})
    return found | {slug: {"value": _problem(slug, _status(slug))} for slug in slugs}


ERRORS: Final[dict[str, type[errors.JoblineError]]] = {
    kind.slug: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.JoblineError)
}
"""Every error of the tree by its slug; those that only clients raise are not among them."""


def _status(slug: str) -> int:
    return 500 if slug == "internal" else problems.status_of(ERRORS[slug])


def _title(slug: str) -> str:
    return problems.INTERNAL if slug == "internal" else (ERRORS[slug].__doc__ or "").partition("\n")[0]


def _problem(slug: str, status: int) -> dict[str, Any]:
    """The problem as it is told when nothing more is known of it."""
    return {
        "type": problems.TYPE_PREFIX + slug,
        "title": _title(slug),
        "status": status,
        "detail": _title(slug),
        "request_id": "T9hTfgzmliAEMBA=",
    }


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
