"""A batch: jobs that belong together, its members, and up to three jobs that follow from how they end, its callbacks.

A batch is itself a job, of type `batch` in Jobline's own queue, and this is what its record says: the payload, which is the request as
it was written, and the cursor of its checkpoint. Who runs it is `coordination`, who asks for it and shows it `batches`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

from jobline.definitions import OPERATIONS
from jobline.errors import CorruptRecord
from jobline.ids import derived_id
from jobline.job import Job, Status
from jobline.times import to_milliseconds

BATCH: Final = "batch"
"""The type of the jobs that batches are."""
MOST_MEMBERS: Final = 500
LONGEST_NAME: Final = 128

Callback = Literal["on_success", "on_complete", "on_dead"]
CALLBACKS: Final[tuple[Callback, ...]] = get_args(Callback)

_Written = Annotated[msgspec.Raw, Meta(description="A job as POST /jobs takes it, as it was written.")]


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """The payload of a batch's job."""

    jobs: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MOST_MEMBERS, description="Each as POST /jobs takes it, as written.")]
    on_success: _Written = msgspec.field(default_factory=msgspec.Raw)
    on_complete: _Written = msgspec.field(default_factory=msgspec.Raw)
    on_dead: _Written = msgspec.field(default_factory=msgspec.Raw)
    name: Annotated[str, Meta(max_length=LONGEST_NAME, description="What people call it.")] = ""

    def callback(self, name: Callback) -> bytes | None:
        """The request of that callback as it was written; `None` when none was asked for."""
        return bytes(getattr(self, name)) or None


class Member(msgspec.Struct):
    """What a member's request says of where it goes; the rest of it is not read here."""

    queue: str
    type: str


class Standing(msgspec.Struct, omit_defaults=True):
    """The cursor of a batch's job: how far it has come. Short, since every later write of the record pays for it."""

    made: int = 0
    """So many members have been made, the first ones."""
    at: int = -1
    """The number of the member whose end is awaited; all behind it were over when they were last looked at."""
    awaits: str = ""
    """Its id, for who sees members end (`nudging`)."""
    wants_dead: bool = False
    """Whether there is an `on_dead` that has not been made."""
    on_dead: str = ""
    """The id of the job of `on_dead`, once it is made."""
    looked_at: int = 0
    """Epoch second of the last look at every member."""
    seen: str = ""
    """How each member was found then, a letter of `LETTERS` each; kept only by a batch that outlives its first members' records."""
    counts: dict[str, int] = {}
    """How many members ended how: written once, when all are over, and from then on nothing is looked at any more."""


LETTERS: Final = {Status.DONE: "d", Status.DEAD: "x", Status.CANCELLED: "c", Status.EXPIRED: "e"}
OPEN: Final = "o"
GONE: Final = "g"
"""The record is gone, and nobody saw how it ended: purged, or past its retention."""
NAMES: Final = {letter: status.value for status, letter in LETTERS.items()} | {GONE: "gone"}


def read_batch(text: str) -> Batch:
    """The payload of a batch's job. Raises CorruptRecord."""
    try:
        return msgspec.json.decode(text, type=Batch)
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"a batch's payload cannot be read: {error}") from error


def read_standing(job: Job) -> Standing:
    """How far the batch has come, as its record says. Raises CorruptRecord."""
    if job.checkpoint is None:
        return Standing()
    try:
        return msgspec.json.decode(job.checkpoint, type=Standing)
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"the checkpoint of batch {job.id} cannot be read: {error}") from error


def is_batch(job: Job) -> bool:
    """Whether the job is a batch. Of the type of that name in another queue there may be any number."""
    return job.type == BATCH and job.queue == OPERATIONS


def members_of(batch: Batch) -> list[Member]:
    """Where each member goes."""
    return [msgspec.json.decode(each, type=Member) for each in batch.jobs]


def child_key(batch: Job, which: int | Callback) -> str:
    """The idempotency key of a member, by its number, or of a callback, by its name. No client's key is one: it has blanks.

    With the time of the batch: when a key is used again, long after, the batch has the id of the earlier one, whose members may
    still be there.
    """
    return f"batch {batch.id} {to_milliseconds(batch.created_at)} {which}"


def member_ids(batch: Job, members: list[Member]) -> list[str]:
    """The id of every member, made or not: who belongs to a batch is known before it runs."""
    return [derived_id(member.queue, child_key(batch, number)) for number, member in enumerate(members)]


def dead_nudge(member_id: str) -> str:
    """The `last_op` of a write that wakes a batch because this member is dead."""
    return f"dead {member_id}"


def told_dead(last_op: str | None) -> str | None:
    """The member that such a write told of; `None` for any other."""
    return last_op.removeprefix("dead ") if last_op is not None and last_op.startswith("dead ") else None


def in_seconds(at: datetime) -> int:
    return int(at.timestamp())


def cursor_of(standing: Standing) -> Any:
    """As `Context.checkpoint` takes it."""
    return msgspec.to_builtins(standing)
