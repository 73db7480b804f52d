"""Known vulnerabilities of what the lock files name: `python -m infra.advisories` asks PyPI by pip-audit, about each package by itself.

A vulnerability fails, unless `ACCEPTED` says why it does no harm here. What PyPI does not answer is said aloud and fails nothing: a mirror
that has the packages without their advisories must not stop a deploy.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
LOCKS: Final = ("requirements.txt", "requirements-dev.txt", "requirements-emulator.txt", "requirements-gates.txt")
"""What functions ship is in requirements-dev.txt, which is compiled from their own requirements among others."""
ACCEPTED: Final[Mapping[str, str]] = {}
"""Reasons by id of the advisory (`PYSEC-…`, `GHSA-…`, `CVE-…`)."""


def verdict(lock: str, said: Mapping[str, Any], accepted: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What pip-audit `said` of a lock file: what is wrong, and what has to be said beside it; a line each."""
    wrong, aside = [], []
    packages = said["dependencies"]
    for package in packages:
        for one in package.get("vulns", ()):
            if not accepted.keys() & {one["id"], *one.get("aliases", ())}:
                mended = ", ".join(one["fix_versions"]) or "no version yet"
                wrong.append(f"{lock}: {package['name']} {package['version']}: {one['id']}, mended in {mended}")
    silent = [package["name"] for package in packages if "skip_reason" in package]
    if silent:
        aside.append(f"{lock}: NOT AUDITED: PyPI said nothing of {len(silent)} of {len(packages)} packages ({', '.join(silent[:3])} …)")
    return wrong, aside


def main() -> None:
    """Exit status 1, and a line for each known vulnerability."""
    wrong: list[str] = []
    for lock in LOCKS:
        said = _ask(lock)
        if said is None:
            print(f"{lock}: NOT AUDITED: PyPI cannot be reached")
            continue
        found, aside = verdict(lock, said, ACCEPTED)
        wrong += found
        print(*(aside or [f"{lock}: {len(said['dependencies'])} packages, {len(found)} vulnerabilities"]), sep="\n")
    if wrong:
        sys.exit("\n".join(wrong))


def _ask(lock: str) -> Mapping[str, Any] | None:
    """What pip-audit says of a lock file; None where it gets no answer."""
    options = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json", "--desc", "off")
    command = [str(ROOT / ".gates" / "bin" / "pip-audit"), "--requirement", str(ROOT / lock), *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # noqa: S603  our own arguments
    try:
        return dict(json.loads(done.stdout))
    except json.JSONDecodeError:
        print(done.stderr.strip()[-500:], file=sys.stderr)
        return None


if __name__ == "__main__":
    main()
