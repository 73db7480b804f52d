"""One handler run in this process: the real type, validation, timeout and context, and no queue, record or other job."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from jobline import strict_json
from jobline.api_errors import NotConfigured
from jobline.attempt import Ending, Unstarted, attempt
from jobline.cli import screen
from jobline.context import Context, Toolbox
from jobline.definitions import Definitions, Queue, Worker
from jobline.errors import InvalidJob, InvalidRequest, JoblineError, UnknownType
from jobline.job import Job, Status
from jobline.job_type import JobType
from jobline.registry import Registry
from jobline.schema import misfits
from jobline.steering import Continue, Steering

QUEUES_FILE: Final = "queues.toml"
WHILE_DEBUGGING: Final = 86_400
"""Seconds: nobody is timed out while they look at a stopped handler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A type, and where the checkout says that it runs."""

    type: JobType
    worker: Worker
    queue: Queue


def checkout(folder: Path) -> Path:
    """The checkout that the folder is in. Raises NotConfigured."""
    for place in (folder, *folder.parents):
        if (place / QUEUES_FILE).is_file() and (place / "functions").is_dir():
            return place
    raise NotConfigured(f"There is no {QUEUES_FILE} beside a folder functions/ here or above: handlers are run from their checkout.")


def find_type(root: Path, stage: str, name: str) -> Found:
    """The type of that name in the checkout. Raises InvalidDefinitions, UnknownType.

    Importing stops at the first worker that has it, so that what is broken elsewhere is in nobody's way.
    """
    definitions = Definitions.load(root, stage)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    known: set[str] = set()
    broken: list[JoblineError] = []
    # A file of that name is imported first: most handlers have one.
    order = sorted(definitions.workers, key=lambda worker: not (root / "functions" / worker / f"{name}.py").exists())
    for worker in order:
        if not (root / "functions" / worker).is_dir():
            continue
        try:
            registry = Registry.discover(f"functions.{worker}")
        except JoblineError as error:
            broken.append(error)
            continue
        known |= registry.types.keys()
        if name in registry.types:
            queue = next(queue for _, queue in sorted(definitions.queues.items()) if queue.worker == worker)
            return Found(type=registry.types[name], worker=definitions.workers[worker], queue=queue)
    if broken:
        raise broken[0]
    raise UnknownType(f"no handler is called {name!r}; there are {', '.join(sorted(known)) or 'none'}")


def check_payload(job_type: JobType, payload: str) -> None:
    """Raises InvalidJob, which names every place of the payload that does not fit, as the API would."""
    problems = misfits(strict_json.parse(payload.encode()).value, job_type.describe()["schema"], "/payload")
    if problems:
        raise InvalidJob.of(problems)
    Registry([job_type]).decode(job_type.name, payload)


@dataclass(slots=True)
class Telling:
    """Says on stderr what the handler reports; there is nobody who could ask for a cancel."""

    def progress(self, percent: float, note: str) -> bool:
        screen.note(f"progress  {percent:g} % {note}".rstrip())
        return False

    def checkpoint(self, text: str) -> bool | None:
        screen.note(f"checkpoint  {text}")
        return True

    def cancelled(self) -> bool:
        return False


@dataclass(slots=True)
class ToldChildren:
    """Says what the handler would have enqueued, and enqueues nothing."""

    count: int = field(default=0)

    def enqueue(self, parent: Job, mark: str, type: str, queue: str | None, fields: Mapping[str, Any]) -> str:
        self.count += 1
        screen.note(f"would enqueue  {type}{f' on {queue}' if queue else ''} {json.dumps(dict(fields), default=str)}")
        return f"not-enqueued-{self.count}"

    def enqueue_many(
        self, parent: Job, type: str, queue: str | None, children: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, str | InvalidRequest]:
        return {mark: self.enqueue(parent, mark, type, queue, fields) for mark, fields in children.items()}


def make_context(found: Found, *, stage: str, bucket: str, client: Callable[[str], Any], attempt_number: int, seconds: float) -> Context:
    """The context of an attempt that begins now."""
    now = _now()
    job = Job(
        id=str(uuid4()),
        queue=found.queue.name,
        type=found.type.name,
        status=Status.RUNNING,
        created_at=now,
        scheduled_at=now,
        max_attempts=found.type.max_attempts or found.queue.max_attempts,
        timeout=int(seconds),
        token=attempt_number,
    )
    settings = {**found.worker.environment, **{name: os.environ[name] for name in found.worker.environment if name in os.environ}}
    tools = Toolbox(
        client=client, stage=stage, bucket=bucket, settings=settings, secrets=found.worker.secrets, clock=_now, children=ToldChildren()
    )
    return Context(
        job=job,
        attempt=attempt_number,
        deadline=now + timedelta(seconds=seconds),
        lease=Telling(),
        tools=tools,
        clock=_now,
        logger=_logger(),
    )


def run_handler(
    found: Found, payload: str, context: Context, seconds: float, *, debug: str | None
) -> tuple[Ending | Unstarted, str | None]:
    """How the attempt ended, and where an exception of the handler came from. `debug`: `error` or `start` says when pdb opens."""
    raised: list[BaseException] = []

    def handler(value: Any, ctx: Context) -> Any:
        try:
            if debug == "start":
                return _debugger().runcall(found.type.handler, value, ctx)
            return found.type.handler(value, ctx)
        except (Steering, Continue):
            raise
        except BaseException as error:
            raised.append(error)
            if debug == "error" and not isinstance(error, KeyboardInterrupt):
                screen.note(f"{type(error).__name__}: {error}  (q leaves the debugger)")
                _debugger().interaction(None, error.__traceback__)
            raise

    registry = Registry([replace(found.type, handler=handler)])
    ending = attempt(registry, lambda: payload, context, WHILE_DEBUGGING if debug else seconds)
    if any(isinstance(error, KeyboardInterrupt) for error in raised):
        raise KeyboardInterrupt
    return ending, _place_of(raised[0]) if raised else None


def _debugger() -> Any:
    import pdb

    return pdb.Pdb(nosigint=True)


def _place_of(error: BaseException) -> str | None:
    """The last line of a worker's folder that ran: `functions/media/image_resize.py, line 30 (...)`."""
    with suppress(Exception):
        frames = traceback.extract_tb(error.__traceback__)
        for frame in reversed(frames):
            path = Path(frame.filename)
            if "functions" in path.parts:
                short = "/".join(path.parts[path.parts.index("functions") :])
                return f"{short}, line {frame.lineno}: {frame.line}"
    return None


def _logger() -> logging.Logger:
    logger = logging.getLogger("jobline.run")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.handlers = [_Notes()]
    return logger


class _Notes(logging.Handler):
    """Each line of a handler's log as a word on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        screen.note(f"{record.levelname.lower()}  {record.getMessage()}")


def _now() -> datetime:
    return datetime.now(UTC)
