"""What the shell offers when Tab is pressed after a command: queues, types and ids of the deployment, if it answers soon.

Nothing that goes wrong here is said: a shell has no place for it. Names are remembered for a minute, since each Tab is a process.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any, Final

import typer

REMEMBERED_SECONDS: Final = 60


def queue_names(context: typer.Context, incomplete: str) -> list[str]:
    """The queues that begin so."""
    return _offered(context, incomplete, "/queues", lambda body: [each["name"] for each in body["queues"]])


def type_names(context: typer.Context, incomplete: str) -> list[str]:
    """The types that begin so: those of the queue, if the command line says one."""
    queue = context.params.get("queue")

    def names(body: Any) -> list[str]:
        return [each["name"] for each in body["types"] if queue is None or queue in each["queues"]]

    return _offered(context, incomplete, "/types", names)


def worker_functions(context: typer.Context, incomplete: str) -> list[str]:
    """The functions that begin so: Jobline's own, and the workers."""
    from jobline.definition_files import OWN_FUNCTIONS

    workers = _offered(context, incomplete, "/types", lambda body: [each["worker"] for each in body["types"]])
    return sorted({name for name in OWN_FUNCTIONS if name.startswith(incomplete)} | set(workers))


def _offered(context: typer.Context, incomplete: str, path: str, names: Callable[[Any], list[str]]) -> list[str]:
    try:
        body = _answer(context, path)
        return [name for name in names(body) if name.startswith(incomplete)]
    except Exception:  # no deployment, no credentials, no network: then nothing is offered
        return []


def _answer(context: typer.Context, path: str) -> Any:
    from platformdirs import user_cache_path

    from jobline.connection import Connection
    from jobline.discovery import find

    root = context.find_root()
    named = {name: root.params.get(name) for name in ("api_url", "profile", "stack", "region")}
    place = find(**named)
    kept = user_cache_path("jobline") / "names.json"
    try:
        known = json.loads(kept.read_text())
        if known["key"] == f"{place.api_url}{path}" and 0 <= time.time() - known["at"] < REMEMBERED_SECONDS:
            return known["body"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with Connection.to(place) as connection:
        body = connection.request("GET", path).body
    kept.parent.mkdir(parents=True, exist_ok=True)
    fresh = kept.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps({"key": f"{place.api_url}{path}", "at": time.time(), "body": body}))
    os.replace(fresh, kept)
    return body
