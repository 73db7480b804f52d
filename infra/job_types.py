"""`types.json`: what each worker's types are called and what payloads they take, for the api to check requests against.

A worker is imported in a process of its own, on this machine, with this machine's libraries.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from infra.errors import BundlingError
from jobline.definitions import Worker

VERSION: Final = 1


def describe(workers: Iterable[Worker], *, root: Path, sources_key: str, cache: Path) -> bytes:
    """The file's content. `sources_key` stands for all the code that the workers are; what was asked once is kept by it.

    Raises BundlingError: a worker cannot be imported, or one of its types may take longer than its function runs.
    """
    described = {worker.name: _types(worker, root, sources_key, cache) for worker in workers}
    return json.dumps({"version": VERSION, "workers": described}, sort_keys=True, separators=(",", ":")).encode()


def _types(worker: Worker, root: Path, sources_key: str, cache: Path) -> dict[str, Any]:
    key = hashlib.sha256(f"{sources_key}\0{sys.version}".encode()).hexdigest()
    kept = cache / "types" / f"{worker.name}-{key[:32]}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(_ask(worker, root))
        for old in kept.parent.glob(f"{worker.name}-*.json"):
            old.unlink(missing_ok=True)
        os.replace(fresh, kept)
    types: dict[str, Any] = json.loads(kept.read_bytes())
    for name, described in types.items():
        if (described.get("timeout") or 0) > worker.longest_job:
            raise BundlingError(
                f"functions/{worker.name}: {name} may take {described['timeout']} s, but worker.toml stops the function after"
                f" {worker.timeout} s; at most {worker.longest_job} s fit"
            )
    return types


def _ask(worker: Worker, root: Path) -> bytes:
    command = [sys.executable, "-m", "jobline.registry", f"functions.{worker.name}"]
    done = subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True)  # noqa: S603  our own arguments
    if done.returncode:
        raise BundlingError(f"the types of functions/{worker.name} cannot be read: {done.stderr.decode().strip()}")
    return done.stdout
