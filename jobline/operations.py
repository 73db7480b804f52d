"""What operators may do with a whole queue: pause and resume it, purge and redrive its jobs.

Pausing is done by the operations function; purging and redriving are jobs of the queue `operations`, which are made here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jobline.definitions import Queue
from jobline.errors import Conflict

PAUSED: Final = "Jobs stop starting within about a minute; those that run go on to their end. Enqueueing goes on."
RESUMED: Final = "Jobs start again within about a minute."


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """The use cases of operators."""

    switch: Callable[[str, bool], None]
    """Pauses (true) or resumes (false) a queue; see `pausing.ask`."""
    read_paused: Callable[[Sequence[str]], Collection[str]]
    """Those of some queues that are paused."""

    def pause(self, queue: Queue, *, paused: bool) -> dict[str, Any]:
        """Pauses or resumes the queue, and says when that takes effect. Repeating it changes nothing.

        Raises Conflict for the internal queue, which resumes the others.
        """
        if queue.internal:
            raise Conflict("Jobline's own queue cannot be paused: purge and redrive run there.")
        self.switch(queue.name, paused)
        return {"queue": queue.name, "paused": paused, "detail": PAUSED if paused else RESUMED}

    def paused(self, queues: Sequence[Queue]) -> dict[str, bool]:
        """Whether each queue is paused, by name."""
        found = self.read_paused([queue.name for queue in queues])
        return {queue.name: queue.name in found for queue in queues}
