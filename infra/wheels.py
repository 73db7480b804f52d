"""A function's third-party libraries as one zip: the wheels of its requirements.txt for the machine that will run them.

The zip is kept under the hash of what it was made from, so that a second synth installs nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra import byte_code
from infra.archive import write_tree
from infra.byte_code import Compiler
from infra.errors import BundlingError

FORMAT: Final = "2"
"""Grows when this module makes another zip of the same requirements."""

KEPT_DAYS: Final = 30
"""How long a zip that nobody asks for is kept."""


@dataclass(frozen=True)
class Target:
    """The machine that functions run on."""

    python: str
    """`major.minor`."""
    platform: str | None
    """uv's name of the platform; `None`: this machine, with the interpreter that runs now."""

    @property
    def uv_options(self) -> list[str]:
        if self.platform is None:
            return ["--python", sys.executable]
        return ["--python", sys.executable, "--python-version", self.python, "--python-platform", self.platform]


@dataclass(frozen=True)
class Libraries:
    """A function's libraries, packed."""

    archive: Path
    identity: str
    """Hash of what is inside: equal for the same versions on the same target, wherever and whenever they were packed."""


def wheels(
    requirements: Path, *, lock: Path, target: Target, compiler: Compiler | None, services: Collection[str] | None, cache: Path
) -> Libraries:
    """Everything that `requirements` names, in the versions of `lock`, byte code included when there is a compiler.

    `lock` pins what the libraries themselves need, so that Lambda runs what the tests ran; it need not exist.
    `services`: the AWS services whose models boto3 keeps; `None`: all. Raises BundlingError, with uv's own words, when a
    library has no wheel for the target or cannot be fetched.
    """
    made_for = [FORMAT, target.python, target.platform or sys.platform, compiler.tag if compiler else "", *sorted(services or ("*",))]
    texts = [path.read_text(encoding="utf-8") if path.exists() else "" for path in (requirements, lock)]
    archive = cache / "wheels" / f"{_digest(*made_for, *texts)[:32]}.zip"
    if archive.exists():
        archive.touch()
    else:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".making-") as made:
            folder = Path(made, "wheels")
            _install(requirements, lock, folder, target)
            _slim(folder, services)
            if compiler:
                byte_code.compile_tree(compiler, folder, whole=False)
            packed = Path(made, "wheels.zip")
            write_tree(packed, folder)
            os.replace(packed, archive)
        _forget_unused(archive.parent)
    return Libraries(archive, _digest(*made_for, *_distributions(archive)))


def _install(requirements: Path, lock: Path, folder: Path, target: Target) -> None:
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-progress", "--only-binary", ":all:"]
    command += ["--target", str(folder), *target.uv_options, "--requirement", str(requirements)]
    if lock.exists():
        command += ["--constraint", str(lock)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # noqa: S603  our own arguments
    if done.returncode:
        where = target.platform or "this machine"
        name = f"functions/{requirements.parent.name}/{requirements.name}"
        raise BundlingError(
            f"{name} cannot be installed for Python {target.python} on {where} (after a change of it: `make lock`):\n{done.stderr.strip()}"
        )
    folder.mkdir(exist_ok=True)


def _distributions(archive: Path) -> list[str]:
    """Name and version of every library inside, for example `boto3-1.44.5.dist-info`."""
    with zipfile.ZipFile(archive) as zipped:
        return sorted({top for name in zipped.namelist() if (top := name.partition("/")[0]).endswith(".dist-info")})


def _forget_unused(folder: Path) -> None:
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for archive in folder.glob("*.zip"):
        if archive.stat().st_mtime < oldest:
            archive.unlink(missing_ok=True)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _slim(folder: Path, services: Collection[str] | None) -> None:
    """Removes what no function reads: scripts, uv's lock, and the models of AWS services that are never called."""
    shutil.rmtree(folder / "bin", ignore_errors=True)
    (folder / ".lock").unlink(missing_ok=True)
    models = folder / "botocore" / "data"
    if services is not None and models.is_dir():
        for model in models.iterdir():
            if model.is_dir() and model.name not in services:
                shutil.rmtree(model)
    if (folder / "awscrt").exists():
        raise BundlingError("awscrt is among the libraries: it adds 100 ms to every cold start and boto3 signs without it")
