"""What a publication's job does: makes one job for each subscription that takes its event, whatever happens in between."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from jobline import strict_json
from jobline.context import Context
from jobline.errors import InvalidRequest, TopicNotFound
from jobline.operator_tools import OperatorTools
from jobline.request import EnqueueRequest
from jobline.steering import NonRetryable
from jobline.topics import Publication, Subscription

_DIGITS: Final = 12
"""Of a name's digest in the checkpoint: fifty of them take less than a kilobyte."""
_TOLD: Final = 5
"""Subscriptions that an error names."""


@dataclass(frozen=True, slots=True)
class FanOut:
    """One publication, served."""

    ctx: Context
    publication: Publication

    def run(self) -> dict[str, Any]:
        """What became of it: `{"topic", "matched": 2, "jobs": {subscription: job id}}`.

        A subscription that cannot be served keeps no other from being served: the publication is dead then, and names it. When that is
        mended, a retry serves those that were left, and makes no second job for the others.
        """
        tools = OperatorTools.of(self.ctx)
        topic = self.publication.topic
        try:
            found = tools.topics.subscriptions(topic)
        except TopicNotFound as error:
            raise NonRetryable(error.detail) from error
        event = strict_json.parse(bytes(self.publication.event))
        served: set[str] = set(self.ctx.cursor or ())
        wanted: dict[str, EnqueueRequest] = {}
        refused: dict[str, str] = {}
        for name, subscription in found.items():
            if _digest(name) in served:
                continue
            try:
                if subscription.takes(event.value):
                    wanted[name] = self._request(subscription, event)
            except ValueError as error:
                refused[name] = str(error)
        jobs: dict[str, str] = {}
        outcomes = tools.makes.make(self.ctx.job, list(wanted.values()))
        for number, (name, made) in enumerate(zip(wanted, outcomes, strict=True)):
            if isinstance(made, InvalidRequest):
                refused[name] = _sentence(made, f"/jobs/{number}")
            else:
                jobs[name] = made
        if refused:
            self._give_up(served | {_digest(name) for name in jobs}, refused, len(jobs))
        return {"topic": topic, "matched": len(jobs) + len(served), "jobs": jobs}

    def _request(self, subscription: Subscription, event: strict_json.Document) -> EnqueueRequest:
        return subscription.request(event, self.ctx.job)

    def _give_up(self, served: set[str], refused: dict[str, str], made: int) -> None:
        """Ends the publication as dead. Who was served is put down first: the record of a job may be gone when it is retried."""
        self.ctx.checkpoint(sorted(served))
        told = "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:_TOLD])
        more = f"; and {len(refused) - _TOLD} more" if len(refused) > _TOLD else ""
        raise NonRetryable(f"{len(refused)} of {len(refused) + made} subscriptions could not be served: {told}{more}")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]


def _sentence(error: InvalidRequest, place: str) -> str:
    """What is wrong with a job, in one line; its places are told from `place` on."""
    return "; ".join(f"{each['pointer'].removeprefix(place)} {each['detail']}" for each in error.problems[:3]) or error.detail
