"""Schedules in memory, for tests: what `schedules.Schedules` keeps in EventBridge Scheduler. Nothing runs them but a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from jobline.errors import InvalidRequest
from jobline.schedule import Schedule


class MemorySchedules:
    """The schedules of one trial deployment."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.schedules: dict[str, Schedule] = {}

    def find(self, name: str) -> Schedule | None:
        return self.schedules.get(name)

    def page(self, limit: int, cursor: str | None) -> tuple[list[Schedule], str | None]:
        """Some of the schedules, by name, and the name with which the others begin."""
        if cursor is not None and cursor not in self.schedules:
            raise InvalidRequest("The cursor is not one that this list gave.")
        names = sorted(name for name in self.schedules if cursor is None or name >= cursor)
        return [self.schedules[name] for name in names[:limit]], names[limit] if len(names) > limit else None

    def create(self, schedule: Schedule) -> bool:
        if schedule.name in self.schedules:
            return False
        self.schedules[schedule.name] = replace(schedule, created_at=self._clock(), changed_at=self._clock())
        return True

    def replace(self, schedule: Schedule) -> bool:
        if (before := self.schedules.get(schedule.name)) is None:
            return False
        self.schedules[schedule.name] = replace(schedule, created_at=before.created_at, changed_at=self._clock())
        return True

    def delete(self, name: str) -> bool:
        return self.schedules.pop(name, None) is not None
