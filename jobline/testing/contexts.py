"""A `Context` for calling a handler directly, without a queue.

ctx = make_context("image_resize", client=lambda service: boto3.client(service), bucket="pictures")
assert image_resize(ImageResize(source="cat.jpg", sizes=[Size(width=100)]), ctx) == {...}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from jobline.context import Children, Clock, Context, Toolbox
from jobline.errors import InvalidRequest
from jobline.job import Job, Status

SOME_ID = "0197a000-0000-7000-8000-000000000001"


@dataclass
class RecordedLease:
    """Keeps what the handler reported; set `cancel_requested` to play somebody who wants the job cancelled."""

    reports: list[tuple[float, str]] = field(default_factory=list)
    """Every progress report: percent and note."""
    checkpoints: list[Any] = field(default_factory=list)
    """Every cursor that the handler put down."""
    cancel_requested: bool = False

    def progress(self, percent: float, note: str) -> bool:
        self.reports.append((percent, note))
        return self.cancel_requested

    def checkpoint(self, text: str) -> bool | None:
        self.checkpoints.append(json.loads(text))
        return not self.cancel_requested

    def cancelled(self) -> bool:
        return self.cancel_requested


class EnqueuedChild(NamedTuple):
    """A job that a handler enqueued."""

    key: str | None
    """The key that it gave its child, if it did."""
    type: str
    queue: str | None
    fields: Mapping[str, Any]
    """What it said besides: `payload`, `delay` and so on."""


@dataclass
class RecordedChildren:
    """Keeps what the handler enqueued; the ids are `child-1`, `child-2` …"""

    enqueued: list[EnqueuedChild] = field(default_factory=list)

    def enqueue(self, parent: Job, mark: str, type: str, queue: str | None, fields: Mapping[str, Any]) -> str:
        self.enqueued.append(EnqueuedChild(mark[1:] if mark.startswith(":") else None, type, queue, fields))
        return f"child-{len(self.enqueued)}"

    def enqueue_many(
        self, parent: Job, type: str, queue: str | None, children: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, str | InvalidRequest]:
        return {mark: self.enqueue(parent, mark, type, queue, fields) for mark, fields in children.items()}


class GivenToolbox(Toolbox):
    """A toolbox whose secrets are given as texts: `secrets` has the text of each name."""

    def secret(self, name: str) -> str | None:
        text = self._arns.get(name)
        if text is not None:
            self.redactor.keep(text)
        return text


def _no_client(service: str) -> Any:
    raise AssertionError(f"the handler uses {service}: give make_context a client= factory (for example moto's boto3.client)")


def make_context(
    type: str = "test",
    *,
    id: str = SOME_ID,
    attempt: int = 1,
    starts: int | None = None,
    max_attempts: int = 3,
    timeout: int = 60,
    tags: tuple[str, ...] = (),
    cursor: Any = None,
    stage: str = "local",
    bucket: str = "test-bucket",
    client: Callable[[str], Any] = _no_client,
    settings: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    lease: RecordedLease | None = None,
    children: Children | None = None,
    clock: Clock | None = None,
) -> Context:
    """The context of one attempt that began now.

    `secrets` has the text of each name; `starts` is `attempt` when left out; `cursor` is the last checkpoint.
    """
    clock = clock or (lambda: datetime.now(UTC))
    now = clock()
    job = Job(
        id=id,
        queue="test",
        type=type,
        status=Status.RUNNING,
        created_at=now,
        scheduled_at=now,
        max_attempts=max_attempts,
        timeout=timeout,
        tags=tags,
        token=attempt if starts is None else starts,
        checkpoint=None if cursor is None else json.dumps(cursor),
    )
    tools = GivenToolbox(
        client=client,
        stage=stage,
        bucket=bucket,
        settings=settings or {},
        secrets=secrets or {},
        clock=clock,
        children=children or RecordedChildren(),
    )
    return Context(
        job=job,
        attempt=attempt,
        deadline=now + timedelta(seconds=timeout),
        lease=lease or RecordedLease(),
        tools=tools,
        clock=clock,
        logger=logging.getLogger("jobline.test"),
    )
