"""What can be wrong with this machine, and what differs between its checkout and what is deployed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from jobline.account import Account
from jobline.connection import Connection
from jobline.definitions import Definitions, Queue
from jobline.findings import Check, Trouble, Unchecked
from jobline.stacks import aws_trouble

OLDEST_PYTHON: Final = (3, 11)
SKEW: Final = timedelta(minutes=1)
"""Signatures are refused when a clock is five minutes wrong (Signature Version 4)."""
TOOLS: Final = (("node", "20"), ("cdk", "2"))
"""What a deploy needs, and its oldest major version."""
COMPARED: Final = (*("worker", "concurrency", "batch_size", "lanes", "ordered", "low_latency", "max_attempts", "retry", "timeout"),)


class LocalChecks:
    """The checks of this machine against one deployment. `root` is the checkout; `None`: we are in none."""

    def __init__(self, account: Account, connection: Connection, root: Path | None, *, now: datetime | None = None) -> None:
        self._account = account
        self._connection = connection
        self._root = root
        self._now = now or datetime.now(UTC)

    def all(self) -> list[tuple[str, Check]]:
        """Every check, by the name that people see."""
        return [
            ("python", self.python),
            ("tools", self.tools),
            ("clock", self.clock),
            ("credentials", self.credentials),
            ("queues.toml", self.queues),
            ("types", self.types),
        ]

    def python(self) -> Iterator[Trouble]:
        if sys.version_info[:2] < OLDEST_PYTHON:
            yield Trouble(f"This is Python {sys.version.split()[0]}; Jobline needs 3.11 or newer.", "make clean demo")

    def tools(self) -> Iterator[Trouble]:
        if self._root is None:
            raise Unchecked("This is no checkout, and nothing is deployed from here.")
        folder = self._root / ".venv" / "bin"
        if not folder.is_dir():
            yield Trouble("The checkout's tools are not installed.", "make .venv/.installed")
            return
        for tool, oldest in TOOLS:
            program = shutil.which(tool, path=str(folder)) or shutil.which(tool)
            if program is None:
                yield Trouble(f"{tool} is missing, which a deploy needs.", "make .venv/.installed")
                continue
            path = f"{folder}:{Path(program).parent}:/usr/bin:/bin"
            done = subprocess.run(  # noqa: S603  a tool of the checkout
                [program, "--version"], capture_output=True, text=True, timeout=30, env={"PATH": path, "HOME": str(Path.home())}
            )
            version = done.stdout.strip().lstrip("v").split(".")[0]
            if done.returncode or not version.isdigit() or int(version) < int(oldest):
                yield Trouble(f"{tool} is {done.stdout.strip() or 'broken'}; {oldest} or newer is needed.", "make .venv/.installed")

    def clock(self) -> Iterator[Trouble]:
        headers = self._connection.request("GET", "/health").headers
        if "date" not in headers:
            raise Unchecked("The API's answers have no date.")
        ahead = self._now - parsedate_to_datetime(headers["date"])
        if abs(ahead) > SKEW:
            word = "ahead" if ahead > timedelta(0) else "behind"
            yield Trouble(
                f"This machine's clock is {abs(ahead.total_seconds()):.0f} s {word}: at 300 s AWS refuses what it signs.",
                "sudo timedatectl set-ntp true",
            )

    def credentials(self) -> Iterator[Trouble]:
        with aws_trouble("STS"):
            self._account.client("sts").get_caller_identity()
        yield from ()

    # ------------------------------------------------------------------------------------------------ drift

    def queues(self) -> Iterator[Trouble]:
        definitions = self._definitions()
        here = {name: _described(queue) for name, queue in definitions.queues.items()}
        there = {each["name"]: each for each in self._connection.request("GET", "/queues").body["queues"]}
        for name in sorted(here.keys() - there.keys()):
            yield Trouble(f"The queue {name} is in queues.toml and not deployed.", self._deploy)
        for name in sorted(there.keys() - here.keys()):
            yield Trouble(f"The queue {name} is deployed and not in queues.toml.", f"jobs list {name} --limit 1 && {self._deploy}")
        for name in sorted(here.keys() & there.keys()):
            differs = [key for key in COMPARED if key in there[name] and here[name][key] != there[name][key]]
            if differs:
                told = ", ".join(f"{key} is {_short(there[name][key])} and here {_short(here[name][key])}" for key in differs)
                yield Trouble(f"The queue {name} is deployed otherwise: {told}.", self._deploy)

    def types(self) -> Iterator[Trouble]:
        definitions = self._definitions()
        there = {(each["worker"], each["name"]): each for each in self._connection.request("GET", "/types").body["types"]}
        here: dict[tuple[str, str], Any] = {}
        for worker in sorted(definitions.workers):
            for name, described in self._described_types(worker).items():
                here[worker, name] = described
        for worker, name in sorted(here.keys() - there.keys()):
            yield Trouble(f"The type {name} of {worker} is not deployed.", self._deploy)
        for worker, name in sorted(there.keys() - here.keys()):
            yield Trouble(f"The type {name} of {worker} is deployed, and no handler here has that name.", self._deploy)
        for key in sorted(here.keys() & there.keys()):
            differs = [
                each
                for each in ("schema", "timeout", "max_attempts", "retry")
                if each in there[key] and here[key][each] != there[key][each]
            ]
            if differs:
                yield Trouble(f"The type {key[1]} of {key[0]} is deployed with another {' and another '.join(differs)}.", self._deploy)

    def _definitions(self) -> Definitions:
        if self._root is None:
            raise Unchecked("This is no checkout of the deployment: there is no queues.toml here or above.")
        return Definitions.load(self._root, self._account.stage)

    def _described_types(self, worker: str) -> Mapping[str, Any]:
        """What a worker of the checkout registers, asked in a process of its own: importing handlers has effects."""
        done = subprocess.run(  # noqa: S603  this Python, and a folder of the checkout
            [sys.executable, "-m", "jobline.registry", f"functions.{worker}"],
            cwd=self._root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise Unchecked(
                f"functions/{worker} cannot be read: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'it failed'}"
            )
        described: Mapping[str, Any] = json.loads(done.stdout)
        return described

    @property
    def _deploy(self) -> str:
        return "make dev" if self._account.place.local else f"make deploy STAGE={self._account.stage}"


def _described(queue: Queue) -> dict[str, Any]:
    """The queue as the API tells it."""
    fields: dict[str, Any] = {name: getattr(queue, name) for name in COMPARED if name != "lanes"} | {"lanes": queue.lane_names}
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(fields))
    return plain


def _short(value: Any) -> str:
    return json.dumps(value, separators=(", ", ": "))
