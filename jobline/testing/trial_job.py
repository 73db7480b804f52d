"""A job of a trial deployment, as a test looks at it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jobline.job import Job, Status
from jobline.testing.mishaps import FragileDeployment
from jobline.timeline import Event, timeline


@dataclass(frozen=True, slots=True, repr=False)
class TrialJob:
    """One job; every attribute is read from its record when it is asked for, so it is always as true as the record."""

    id: str
    _deployment: FragileDeployment = field(compare=False)

    @property
    def record(self) -> Job:
        """The record as the table holds it, with every field; its shape may change."""
        return self._deployment.job(self.id)

    @property
    def type(self) -> str:
        return self.record.type

    @property
    def queue(self) -> str:
        return self.record.queue

    @property
    def status(self) -> Status:
        """`pending`, `scheduled`, `running`, `failed`, `done`, `dead`, `cancelled` or `expired`; equal to that text."""
        return self.record.status

    @property
    def payload(self) -> Any:
        """The payload as JSON, as it was enqueued."""
        return _parsed(self._deployment.ports.bodies.load(self.record.payload, self.record.payload_ref))

    @property
    def result(self) -> Any:
        """What the handler returned, as JSON gives it back; `None` while there is no result."""
        return self._deployment.result(self.id)

    @property
    def error(self) -> str | None:
        """`Type: message` of the last failed attempt."""
        return self.record.error

    @property
    def exception(self) -> BaseException | None:
        """What the handler raised in its last run, the object itself; `None` when it returned or did not run."""
        return self._deployment.mishaps.raised.get(self.id)

    @property
    def attempts(self) -> int:
        return self.record.attempts

    @property
    def priority(self) -> int:
        return self.record.priority

    @property
    def tags(self) -> tuple[str, ...]:
        return self.record.tags

    @property
    def parent_id(self) -> str | None:
        """The job whose handler enqueued this one."""
        return self.record.parent_id

    @property
    def created_at(self) -> datetime:
        return self.record.created_at

    @property
    def scheduled_at(self) -> datetime:
        """When the next attempt is due, or the last one was."""
        return self.record.scheduled_at

    @property
    def started_at(self) -> datetime | None:
        return self.record.started_at

    @property
    def completed_at(self) -> datetime | None:
        return self.record.completed_at

    @property
    def progress(self) -> Any:
        """What the handler last reported: `{"percent", "note", "at"}`; `None` before the first report."""
        return _parsed(self.record.progress)

    @property
    def history(self) -> list[Event]:
        """What happened to the job until now, oldest first, as `GET /jobs/{id}/events` tells it: `.event`, `.at`, `.attempt`, `.detail`."""
        return timeline(self.record, now=self._deployment.now)

    def cancel(self) -> None:
        """Cancels it, as `DELETE /jobs/{id}` does. Raises Conflict when it is over."""
        self._deployment.service.cancel(self.record, op=f"cancel-{self.record.rev}")

    def retry(self) -> None:
        """Runs it again, as `POST /jobs/{id}/retry` does. Raises Conflict when it is neither failed, dead, cancelled nor expired."""
        self._deployment.service.retry(self.record, op=f"retry-{self.record.rev}")

    def __repr__(self) -> str:
        return f"<{self.type} {self.id}: {self.status}{f', {self.error}' if self.error else ''}>"


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)
