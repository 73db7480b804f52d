"""The log that Jobline's parts write to: one JSON line per call, facts as fields."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final, Protocol

RUNNING_JOB: Final[ContextVar[str | None]] = ContextVar("RUNNING_JOB", default=None)
"""The id of the job whose handler runs in this context: lines that the handler writes carry it."""


class Log(Protocol):
    """What every part asks of a logger; Powertools' `Logger` is one."""

    def info(self, message: object, /, **fields: Any) -> None: ...
    def warning(self, message: object, /, **fields: Any) -> None: ...
    def error(self, message: object, /, **fields: Any) -> None: ...


class Silence:
    """A log that keeps nothing."""

    def info(self, message: object, /, **fields: Any) -> None: ...
    def warning(self, message: object, /, **fields: Any) -> None: ...
    def error(self, message: object, /, **fields: Any) -> None: ...
