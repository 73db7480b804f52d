"""One run of a schedule: which schedule, and when it was due."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple, Self

from jobline.times import format_instant, parse_instant


class Occurrence(NamedTuple):
    """What a schedule and a time that it names make together: one job."""

    schedule: str
    at: datetime

    @property
    def text(self) -> str:
        """As the record has it, and its job's idempotency key: with a space, so that no client can send the same."""
        return f"{self.schedule} {format_instant(self.at)}"

    @classmethod
    def of(cls, text: str) -> Self:
        """The reverse of `text`."""
        schedule, at = text.split(" ")
        return cls(schedule, parse_instant(at))

    def document(self) -> dict[str, Any]:
        """As a job's document has it."""
        return {"schedule": self.schedule, "at": format_instant(self.at)}
