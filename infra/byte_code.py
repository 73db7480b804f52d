"""Byte code for the Python that functions run on: without it a cold start takes about four times longer.

Byte code is only good for the minor version that made it, so it needs a Python of that version on this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from infra.errors import BundlingError

ON_LAMBDA: Final = "/var/task"
"""Where Lambda unpacks an asset (Lambda runtime environment); tracebacks name files below it."""


@dataclass(frozen=True)
class Compiler:
    """An interpreter that can compile for the target."""

    python: Path
    tag: str
    """Name of its byte code, for example `cpython-313`."""


def compiler_for(version: str) -> Compiler | None:
    """An interpreter of `version` (`major.minor`) on this machine, or `None`: this one, uv's, pyenv's, or one on the PATH."""
    return _found(version)


@cache
def _found(version: str) -> Compiler | None:
    probe = "import sys; print('%d.%d' % sys.version_info[:2], sys.implementation.cache_tag)"
    for python in _candidates(version):
        try:
            # A candidate may be a shim that runs nothing, so each is asked.
            said = subprocess.run([python, "-I", "-c", probe], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)  # noqa: S603  an interpreter found here
        except (OSError, subprocess.TimeoutExpired):
            continue
        if said.returncode == 0 and said.stdout.split()[:1] == [version]:
            return Compiler(python, said.stdout.split()[1])
    return None


def _candidates(version: str) -> Iterator[Path]:
    yield Path(sys.executable)
    if on_path := shutil.which(f"python{version}"):
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)
    uv = [sys.executable, "-m", "uv", "python", "find", "--no-python-downloads", "--no-project", version]
    said = subprocess.run(uv, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # noqa: S603  our own arguments
    if said.returncode == 0:
        yield Path(said.stdout.strip())


def compile_tree(compiler: Compiler, folder: Path, *, whole: bool) -> None:
    """Writes byte code beside every module below `folder`, good whatever the file's time is.

    `whole`: a module that does not compile is an error (BundlingError, with the compiler's own words); libraries may carry
    templates and examples that are no Python, so for them it is not.
    """
    command = [str(compiler.python), "-I", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", ON_LAMBDA, str(folder)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # noqa: S603  our own arguments
    if done.returncode and whole:
        raise BundlingError(f"Python {compiler.tag} cannot compile this:\n{done.stdout.strip() or done.stderr.strip()}")
