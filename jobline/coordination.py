"""Coordination: one run of a batch's job. It makes the members, waits for their ends, and makes the jobs that follow.

It waits by looking, never by counting, so that nothing depends on whoever sees members end (PROTOCOL.md R32): while the member that is
awaited is open, a look is one read. It begins with the last one, since that is usually over last; when it is over, those before it are
read from the end until one is open. Whatever ends a run, the next one finds the checkpoint, and what was made since is found, not made
again. Between looks the job is snoozed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec

from jobline import strict_json
from jobline.batch import (
    CALLBACKS,
    GONE,
    LETTERS,
    NAMES,
    OPEN,
    Batch,
    Callback,
    child_key,
    cursor_of,
    in_seconds,
    member_ids,
    members_of,
    read_standing,
    told_dead,
)
from jobline.context import Context
from jobline.errors import InvalidRequest, Unavailable
from jobline.job import WAITING, Job, Status
from jobline.operator_tools import OperatorTools
from jobline.request import EnqueueRequest, parse_request
from jobline.steering import Snooze
from jobline.sweep import patiently
from jobline.times import from_milliseconds

CHUNK: Final = 100
"""Members made, or read, between two checkpoints."""
SHORTEST_PAUSE: Final = timedelta(seconds=5)
LONGEST_PAUSE: Final = timedelta(hours=6)
GROWTH: Final = 1.25
"""By how much a pause is longer than the one before: so are quarters of an age that grows by them."""
MOST_GROWTHS: Final = 50
"""After which a pause is longer than the longest."""
LONGEST_BLIND: Final = timedelta(days=1)
"""After so long every member is looked at, whichever is awaited."""
FIRST_FULL_LOOK: Final = timedelta(minutes=1)
MAX_SNOOZES: Final = 10_000
"""A look every six hours for five years, and 2,700 more: those of the first day are about 40, and a nudge is one."""


class CannotBeMade(Exception):
    """A job of the batch is no longer taken: its queue or its type has changed since the batch was."""


class Coordination:
    """One run of one batch."""

    def __init__(self, ctx: Context, batch: Batch) -> None:
        self._ctx = ctx
        self._batch = batch
        self._tools = OperatorTools.of(ctx)
        members = members_of(batch)
        self._queues = {member.queue for member in members}
        self._ids = member_ids(ctx.job, members)
        self._standing = read_standing(ctx.job)
        self._found: dict[int, str] = {}
        """What this run has seen of each member: a letter of `LETTERS`, `OPEN` or `GONE`."""
        self._due: dict[int, datetime] = {}
        """When those that wait are due."""

    def run(self) -> dict[str, Any]:
        """The batch's result: `{"counts", "on_success", "on_complete", "on_dead"}`, when every member is over.

        Until then it ends the run by Snooze, also when AWS takes no calls for a while: that costs no attempt. Raises CannotBeMade.
        """
        try:
            self._make_members()
            if not self._standing.counts:
                self._look()
            return self._follow_up()
        except Unavailable as error:
            raise Snooze(self._pause().total_seconds(), f"AWS does not take calls: {error.detail}") from error

    # ------------------------------------------------------------------------------------------------ members and callbacks

    def _make_members(self) -> None:
        total, standing = len(self._ids), self._standing
        while standing.made < total:
            numbers = range(standing.made, min(standing.made + CHUNK, total))
            self._make({f"jobs/{number}": self._member(number) for number in numbers})
            standing.made = numbers.stop
            if standing.made == total:
                standing.at, standing.awaits = total - 1, self._ids[-1]
                standing.looked_at = in_seconds(self._ctx.created_at)
                standing.wants_dead = self._batch.callback("on_dead") is not None
            self._put_down()

    def _member(self, number: int) -> EnqueueRequest:
        request = self._request(f"jobs/{number}", bytes(self._batch.jobs[number]), child_key(self._ctx.job, number))
        if request.delay is not None:  # counted from the request for the batch, whenever we come to it
            request = replace(request, delay=None, scheduled_at=self._ctx.created_at + request.delay)
        return replace(request, batch_id=self._ctx.id)

    def _request(self, place: str, written: bytes, key: str) -> EnqueueRequest:
        try:
            request = parse_request(strict_json.parse(written))
        except InvalidRequest as error:  # it was taken once; a release in between may have changed what is
            raise CannotBeMade(f"{place}: {error.detail}") from error
        # Without the request's hash: whichever run makes it, the key alone says which job it is.
        return replace(request, idempotency_key=key, hash="")

    def _make(self, requests: Mapping[str, EnqueueRequest]) -> list[str]:
        """The ids of these jobs, made now or before. Raises CannotBeMade for the first that is refused, when the others are made."""
        self._hide_secrets(requests.values())
        outcomes = patiently(partial(self._tools.makes.make, self._ctx.job, list(requests.values())), self._tools.sleep)
        made = []
        for place, outcome in zip(requests, outcomes, strict=True):
            if isinstance(outcome, InvalidRequest):
                raise CannotBeMade(f"{place}: {outcome.detail}") from outcome
            made.append(outcome)
        return made

    def _hide_secrets(self, requests: Iterable[EnqueueRequest]) -> None:
        """Until this run is over no log line tells the secrets of these jobs; the worker lets go of them."""
        self._tools.redactor.hold(self._ctx.id, [text for request in requests for text in self._tools.makes.secrets_of(request)])

    def _make_callbacks(self, *names: Callback) -> dict[Callback, str]:
        """The ids of those of these callbacks that were asked for."""
        written = {name: text for name in names if (text := self._batch.callback(name)) is not None}
        if not written:
            return {}
        made = self._make({name: self._request(name, text, child_key(self._ctx.job, name)) for name, text in written.items()})
        return dict(zip(written, made, strict=True))

    def _follow_up(self) -> dict[str, Any]:
        counts = self._standing.counts
        everybody_is_done = counts.get("done", 0) == len(self._ids)
        names: tuple[Callback, ...] = ("on_success", "on_complete") if everybody_is_done else ("on_complete",)
        made = self._make_callbacks(*names)
        if self._standing.on_dead:
            made["on_dead"] = self._standing.on_dead
        return {"counts": counts, **{name: made.get(name) for name in CALLBACKS}}

    # ------------------------------------------------------------------------------------------------ looking

    def _look(self) -> None:
        """Returns when every member is over; else raises Snooze."""
        standing, now = self._standing, self._ctx.clock()
        before = msgspec.structs.replace(standing)
        if now >= self._full_look_at():
            self._read(range(len(self._ids)))
            self._remember(now)
        elif standing.wants_dead:
            self._read_told()
        awaited = self._awaited()
        if standing.wants_dead and LETTERS[Status.DEAD] in self._found.values():
            standing.on_dead = self._make_callbacks("on_dead")["on_dead"]
            standing.wants_dead = False
        if awaited is None:
            standing.counts = self._counts()
            standing.awaits = ""
            if standing.seen:
                standing.seen = self._letters()
            self._put_down()
            return
        standing.at, standing.awaits = awaited, self._ids[awaited]
        if standing != before:
            self._put_down()
        raise Snooze(self._pause(self._due.get(awaited)).total_seconds(), f"waits for job {standing.awaits}")

    def _awaited(self) -> int | None:
        """The last open one of the members up to the one that was awaited, or else of all; `None` when every member is over."""
        # A member behind it that was run again by hand is met when all before it are over.
        behind = range(self._standing.at + 1, len(self._ids))
        at, over = self._standing.at, 0
        while at >= 0:
            # As many as were over so far: of those that are read, half at most are read for nothing.
            numbers = range(at, max(-1, at - min(max(1, over), CHUNK)), -1)
            self._read(numbers)
            for number in numbers:
                if self._found[number] == OPEN:
                    return number
            at, over = numbers[-1] - 1, over + len(numbers)
        self._read(behind)
        return next((number for number in reversed(behind) if self._found[number] == OPEN), None)

    def _read(self, numbers: Iterable[int]) -> None:
        """Sees these members, but for those that this run has seen."""
        unseen = [number for number in numbers if number not in self._found]
        jobs = patiently(partial(self._tools.store.get_many, [self._ids[number] for number in unseen]), self._tools.sleep) if unseen else {}
        for number in unseen:
            self._found[number] = self._letter(number, jobs.get(self._ids[number]))

    def _letter(self, number: int, job: Job | None) -> str:
        if job is None or job.gone(self._ctx.clock()):
            before = self._standing.seen[number : number + 1]
            return before if before in NAMES else GONE
        if job.status in WAITING:
            self._due[number] = job.scheduled_at
        return LETTERS.get(job.status, OPEN)

    def _read_told(self) -> None:
        """Sees the member that a nudge says is dead, if this run comes of such a nudge."""
        told = told_dead(self._ctx.job.last_op)
        if told in self._ids:
            self._read([self._ids.index(told)])

    def _remember(self, now: datetime) -> None:
        """Puts down how all members were found, if the first of their records may be gone before the next time."""
        self._standing.looked_at = in_seconds(now)
        if now - self._ctx.created_at >= self._longest_blind() / 2:
            self._standing.seen = self._letters()

    def _letters(self) -> str:
        """How each member was found; all of them have been looked at."""
        return "".join(self._found[number] for number in range(len(self._ids)))

    def _counts(self) -> dict[str, int]:
        letters = list(self._found.values())
        return {name: letters.count(letter) for letter, name in NAMES.items()}

    # ------------------------------------------------------------------------------------------------ when to look again

    def _pause(self, awaited_due: datetime | None = None) -> timedelta:
        """Until the next look: a quarter of the batch's age at most, and less soon after it was run again by hand.

        Not before the awaited one is due, nor after the next look at everybody.
        """
        now = self._ctx.clock()
        pause = min((now - self._ctx.created_at) / 4, SHORTEST_PAUSE * GROWTH ** min(self._ctx.job.snoozes, MOST_GROWTHS))
        pause = min(max(SHORTEST_PAUSE, pause), LONGEST_PAUSE)
        if awaited_due is not None:
            pause = max(pause, awaited_due - now + SHORTEST_PAUSE)
        return max(SHORTEST_PAUSE, min(pause, self._full_look_at() - now))

    def _full_look_at(self) -> datetime:
        """When every member is to be looked at: a dead one may be any of them, and records do not stay for ever.

        One that waits for a dead one looks again when the batch has become twice as old.
        """
        last = from_milliseconds(1000 * self._standing.looked_at) if self._standing.looked_at else self._ctx.created_at
        pause = self._longest_blind()
        if self._standing.wants_dead:
            pause = min(pause, max(FIRST_FULL_LOOK, last - self._ctx.created_at))
        return last + pause

    def _longest_blind(self) -> timedelta:
        """Half of the time that the first record to go stays, a day at most: so each end is seen before its record is gone."""
        kept = min(min(self._tools.keep(queue)) for queue in self._queues)
        return min(LONGEST_BLIND, timedelta(seconds=kept) / 2)

    def _put_down(self) -> None:
        self._ctx.checkpoint(cursor_of(self._standing))
