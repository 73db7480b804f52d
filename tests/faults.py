"""AWS calls that go wrong on purpose: one fault at one call, of one kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from botocore.exceptions import ClientError, ConnectionClosedError

Kind = Literal["throttled", "crash_before", "crash_after", "reply_lost", "repeated"]
KINDS: tuple[Kind, ...] = ("throttled", "crash_before", "crash_after", "reply_lost", "repeated")


class Killed(BaseException):
    """The process died here: nothing of it runs any more."""


@dataclass
class Faults:
    """Counts the calls of all clients that it was given to, and spoils the one with number `at`.

    `throttled`: refused without effect. `crash_before`, `crash_after`: the process dies before or after the effect, and whatever
    it still tries dies too. `reply_lost`: it took effect, the answer did not arrive. `repeated`: the same, and the SDK repeated it.
    """

    at: int | None = None
    kind: Kind = "throttled"
    calls: list[str] = field(default_factory=list)
    spoiled: str | None = None
    dead: bool = False
    outage: set[str] = field(default_factory=set)
    """Operations that are refused every time."""

    def new_process(self) -> None:
        """The next invocation runs in a fresh process."""
        self.dead = False

    def call(self, operation: str, method: Any, arguments: dict[str, Any]) -> Any:
        if self.dead:
            raise Killed(operation)
        number = len(self.calls)
        self.calls.append(operation)
        if operation in self.outage:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, operation)
        if number != self.at:
            return method(**arguments)
        self.spoiled = operation
        match self.kind:
            case "throttled":
                raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, operation)
            case "crash_before":
                self.dead = True
                raise Killed(operation)
            case "crash_after":
                self.dead = True
                self._effect(method, arguments)
                raise Killed(operation)
            case "reply_lost":
                self._effect(method, arguments)
                raise ConnectionClosedError(endpoint_url="https://aws")
            case "repeated":
                self._effect(method, arguments)
                return method(**arguments)

    @staticmethod
    def _effect(method: Any, arguments: dict[str, Any]) -> None:
        """Takes effect; what it answers, errors included, is what got lost."""
        try:
            method(**arguments)
        except ClientError:
            return


class FaultyClient:
    """A low-level boto3 client whose calls go through `Faults`."""

    def __init__(self, client: Any, faults: Faults) -> None:
        self._client = client
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if name in ("exceptions", "meta") or not callable(attribute):
            return attribute
        return lambda **arguments: self._faults.call(name, attribute, arguments)
