"""Pause and resume: a queue's jobs stop starting because Lambda stops fetching its messages, and nothing is spent meanwhile (R26).

Only the operations function may switch the event source mappings; the api asks it by a direct call and waits for its answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from jobline.aws import aws_errors
from jobline.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

TRIES: Final = 8
WAIT: Final = 1.0
"""Seconds between tries of a mapping that is still being switched by an earlier request."""

REQUEST: Final = "pause"
"""The key by which the operations function tells a request from SQS's batches: `{"pause": true, "queue": "emails"}`."""


class PauseNotes(Protocol):
    """Where it is noted that a queue is paused (`queue_states.QueueStates`)."""

    def pause(self, queue: str, now: datetime) -> None: ...
    def resume(self, queue: str, now: datetime) -> None: ...


class Pausing:
    """Switches queues off and on. Everything here may be repeated, and a repetition completes what was left half-way."""

    def __init__(
        self,
        *,
        client: Callable[[], LambdaClient],
        mappings: Mapping[str, Sequence[str]],
        notes: PauseNotes,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`mappings` has the ids of each queue's event source mappings, one a lane."""
        self._client = client
        self._mappings = mappings
        self._notes = notes
        self._clock = clock
        self._sleep = sleep

    def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Does what a request of `ask` says: the mappings first, then the note. Answers `{"paused": …}`, or `{"unavailable": why}`."""
        queue, paused = str(request["queue"]), bool(request[REQUEST])
        try:
            for mapping in self._mappings[queue]:
                self._switch(mapping, enabled=not paused)
            note = self._notes.pause if paused else self._notes.resume
            note(queue, self._clock())
        except Unavailable as error:
            return {"unavailable": error.detail}
        return {"paused": paused}

    def _switch(self, mapping: str, *, enabled: bool) -> None:
        client = self._client()
        for number in range(TRIES):
            if number:
                self._sleep(WAIT)
            try:
                with aws_errors("switching an event source mapping"):
                    client.update_event_source_mapping(UUID=mapping, Enabled=enabled)
                return
            except (client.exceptions.ResourceInUseException, client.exceptions.ResourceConflictException):
                continue  # an earlier switch is still being carried out
        raise Unavailable("switching an event source mapping: it is still being switched by an earlier request")


def ask(client: LambdaClient, function: str, queue: str, *, paused: bool) -> None:
    """Has the operations function pause or resume a queue, and returns when it has. Raises `Unavailable`; asking again is always safe."""
    with aws_errors("asking for a pause"):
        answer: Any = client.invoke(FunctionName=function, Payload=json.dumps({REQUEST: paused, "queue": queue}))
        said = answer["Payload"].read()
    if "FunctionError" in answer:
        raise RuntimeError(f"the operations function failed: {said[:500]!r}")
    told = json.loads(said)
    if told.get("paused") is not paused:
        raise Unavailable(str(told.get("unavailable", "the operations function did not answer")))
