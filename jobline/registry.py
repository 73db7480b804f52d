"""Which types of job a worker runs: everything that the modules of one folder declare.

There is no global registry: `Registry.discover` imports the modules of a folder and collects what they declare.
`python -m jobline.registry functions.notifications` prints a worker's types as JSON, which bundling puts into the api's asset.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Final

import msgspec

from jobline.errors import InvalidDefinitions, InvalidJob, UnknownType
from jobline.job_type import InvalidJobType, JobType, job, one_line, short_path
from jobline.steering import Cancel, NonRetryable, RetryAfter, Snooze, Steering

__all__ = ["Cancel", "InvalidJobType", "JobType", "NonRetryable", "Registry", "RetryAfter", "Snooze", "Steering", "job", "main"]

ENTRY_MODULE: Final = "handler"
"""The module of a worker folder that Lambda loads; it declares no jobs and has import-time effects, so it is never discovered."""


class Registry:
    """The types that one worker runs."""

    def __init__(self, types: Iterable[JobType]) -> None:
        """Raises InvalidJobType when two of them have the same name."""
        self.types: dict[str, JobType] = {}
        for found in types:
            known = self.types.setdefault(found.name, found)
            if known.handler is not found.handler:
                raise InvalidJobType(f"two handlers are called {found.name!r}: {known.place} and {found.place}")

    @classmethod
    def discover(cls, package: str) -> Registry:
        """Every type in the modules of `package` (for example `functions.notifications`), its entry module left out.

        Raises InvalidJobType: a module cannot be imported, a handler is declared wrongly, or two share a name.
        """
        folder = _imported(package, package)
        if not hasattr(folder, "__path__"):
            raise InvalidJobType(f"{package} is a module, not a worker's folder")
        names = sorted(found.name for found in iter_modules(folder.__path__) if found.name != ENTRY_MODULE)
        modules = [folder, *(_imported(f"{package}.{name}", package) for name in names)]
        return cls(value for module in modules for value in vars(module).values() if isinstance(value, JobType))

    def get(self, name: str) -> JobType:
        """The type called `name`; raises UnknownType, which says what there is."""
        try:
            return self.types[name]
        except KeyError:
            raise UnknownType(f"no handler is called {name!r}; this worker has {', '.join(sorted(self.types)) or 'none'}") from None

    def decode(self, name: str, payload: str) -> Any:
        """The payload (JSON text) as the handler of `name` takes it.

        Raises UnknownType, or InvalidJob that says what is wrong and where (`$.sizes[0].width`). A number is never taken for
        a string or the other way round.
        """
        found = self.get(name)
        try:
            return found.decoder.decode(payload)
        except msgspec.MsgspecError as error:
            raise InvalidJob(f"the payload does not fit {name}: {error}") from error

    def describe(self) -> dict[str, Any]:
        """`JobType.describe()` of every type by its name, names sorted."""
        return {name: self.types[name].describe() for name in sorted(self.types)}


def _imported(module: str, package: str) -> ModuleType:
    """The module; raises InvalidJobType that says which line of the worker's folder could not be run, and why."""
    try:
        return import_module(module)
    except InvalidJobType:
        raise
    except Exception as error:
        folder = package.replace(".", "/")
        advice = ""
        if isinstance(error, ImportError) and not (error.name or "").startswith(package):
            advice = (
                f". Import a heavy library inside the handler: neither bundling nor a cold start should pay for it. "
                f"On Lambda there are the libraries of {folder}/requirements.txt and no others"
            )
        raise InvalidJobType(f"{_culprit(error, module, folder)}: {one_line(error)}{advice}") from error


def _culprit(error: Exception, module: str, folder: str) -> str:
    """`functions/media/image_resize.py, line 3 (import PIL)`: the last line of the folder that ran, or the module's name."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{short_path(error.filename)}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if folder in Path(frame.filename).as_posix():
            return f"{short_path(frame.filename)}, line {frame.lineno} ({frame.line})"
    return f"{module} cannot be imported"


def main(arguments: list[str]) -> int:
    """Prints the types of the worker package named by the one argument, as JSON; 1 and a sentence when that fails."""
    if len(arguments) != 1:
        print("usage: python -m jobline.registry functions.NAME", file=sys.stderr)
        return 2
    try:
        described = Registry.discover(arguments[0]).describe()
    except InvalidDefinitions as error:
        print(error.detail, file=sys.stderr)
        return 1
    print(msgspec.json.format(msgspec.json.encode(described), indent=2).decode())
    return 0


if __name__ == "__main__":
    # Handlers import `jobline.registry`; run as `__main__` this file is a second copy whose JobType is another class.
    sys.exit(import_module("jobline.registry").main(sys.argv[1:]))
