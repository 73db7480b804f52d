"""The pages of reference that are made from the code whenever the site is built: `python -m jobline.reference FOLDER` writes them there.

`api.md` comes from the OpenAPI document, `types.md` from the workers' registries; `python.md` names what mkdocstrings is to show.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jobline
from jobline import openapi

ROOT: Final = Path(__file__).resolve().parents[1]
_METHODS: Final = ("get", "put", "post", "patch", "delete")


def pages() -> dict[str, str]:
    """Each page's text by its file's name; raises CalledProcessError when a worker cannot be imported."""
    return {"api.md": api_page(openapi.document()), "types.md": types_page(registered()), "python.md": python_page()}


def registered(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """What every worker under `functions/` registers, by its name; each worker is imported in a process of its own."""
    workers = sorted(path.parent.name for path in root.glob("functions/*/worker.toml"))
    return {worker: _ask(worker, root) for worker in workers}


def _ask(worker: str, root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "jobline.registry", f"functions.{worker}"]
    said = subprocess.run(command, cwd=root, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)  # noqa: S603  our own arguments
    types: dict[str, Any] = json.loads(said.stdout)
    return types


# ---- the HTTP API ----


def api_page(document: Mapping[str, Any]) -> str:
    """A table of all operations, then each: what it is given, what it answers."""
    operations = list(_operations(document))
    head = [
        "# HTTP API",
        "",
        document["info"]["description"],
        "",
        "Every deployment serves this contract as OpenAPI 3.1 at `GET /openapi.json`.",
        "",
    ]
    head += _table(
        ("route", "does", "access"), ((f"[`{name}`](#{op['operationId'].lower()})", op["summary"], _access(op)) for name, op in operations)
    )
    return "\n".join([*head, *(line for name, op in operations for line in _operation(name, op, document)), *_schemas(document)]) + "\n"


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Those of one queue are the same again, and are told once."""
    for path, methods in document["paths"].items():
        if path.startswith(("/queues/{queue}/jobs", "/queues/{queue}/uploads")):
            continue
        yield from ((f"{method.upper()} {path}", methods[method]) for method in _METHODS if method in methods)


def _access(operation: Mapping[str, Any]) -> str:
    return str(operation.get("x-jobline-access", ""))


def _operation(name: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"## {operation['summary']} {{ #{operation['operationId'].lower()} }}", "", f"`{name}`", "")
    if text := operation.get("description"):
        yield from (text, "")
    parameters = [_resolved(parameter, document) for parameter in operation.get("parameters", ())]
    if parameters:
        rows = ((f"`{p['name']}`", p["in"], p.get("description", "")) for p in parameters)
        yield from _table(("parameter", "in", "what it is"), rows)
        yield ""
    if body := operation.get("requestBody"):
        yield from (f"Body: {_named(body)}.", "")
    rows = ((f"{status}", _named(answer), _headers(answer)) for status, answer in operation["responses"].items())
    yield from _table(("answer", "body", "headers"), rows)


def _named(holder: Mapping[str, Any]) -> str:
    """The schema of a body or an answer, as a link; a problem's types by name."""
    for content in holder.get("content", {}).values():
        schema = content["schema"]
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return f"[{name}](#schema-{name.lower()})"
        kinds = [kind for part in schema.get("allOf", ()) for kind in part.get("properties", {}).get("type", {}).get("enum", ())]
        return ", ".join(f"`{kind.rpartition(':')[2]}`" for kind in kinds) or str(holder.get("description", ""))
    return str(holder.get("description", ""))


def _headers(answer: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in answer.get("headers", {}))


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        yield from ("", f"## {name} {{ #schema-{name.lower()} }}", "", schema.get("description", ""), "")
        yield from _fields(schema)


def _resolved(part: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = document
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


# ---- job types ----


def types_page(workers: Mapping[str, Mapping[str, Any]]) -> str:
    """Every type with its payload, a worker at a time."""
    lines = ["# Job types", "", "What the workers of this checkout take; a deployment tells its own by `GET /types` and `jobs types`."]
    for worker, types in workers.items():
        lines += ["", f"## {worker}"]
        for name, described in sorted(types.items()):
            lines += ["", f"### {name}", "", described.get("summary") or "", "", *_fields(described.get("schema", {}))]
    return "\n".join(lines) + "\n"


def _fields(schema: Mapping[str, Any]) -> list[str]:
    """A table of an object's fields; nothing for a schema that has none of its own."""
    found = _object(schema)
    required = found.get("required", ())
    rows = (
        (f"`{name}`", _kind(field), "required" if name in required else _default(field), field.get("description", ""))
        for name, field in found.get("properties", {}).items()
    )
    return list(_table(("field", "type", "default", "what it is"), rows)) if found.get("properties") else []


def _object(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference into its own definitions means."""
    reference = schema.get("$ref", "")
    return schema.get("$defs", {}).get(reference.rpartition("/")[2], schema) if reference.startswith("#/$defs/") else schema


def _default(field: Mapping[str, Any]) -> str:
    return f"`{json.dumps(field['default'], ensure_ascii=False)}`" if "default" in field else ""


def _kind(field: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in field:
        return str(field["$ref"].rpartition("/")[2])
    if "enum" in field:
        return " or ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_kind(choice) for choice in field["anyOf"]))
    kind = field.get("type", "any JSON")
    if kind == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


# ---- Python ----


def python_page() -> str:
    """What `from jobline import …` gives, each by its docstrings."""
    lines = ["# Python", "", "What `from jobline import …` gives; the testing kit is in [Test your jobs](testing.md)."]
    for name in jobline.__all__:
        lines += ["", f"## {name}", "", f"::: jobline.{name}"]
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


def main() -> None:
    """Writes the pages into the folder that is named."""
    (folder,) = map(Path, sys.argv[1:])
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
