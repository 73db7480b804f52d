"""Marks: how a queue's counters know which stretches of the table's stream they have folded already (PROTOCOL.md R20).

The stream repeats a batch until the observer returns, and a repeated batch may be cut differently. Everything before a batch's
first record was folded before that batch was delivered, so one number is enough per stream shard: the last that was folded.
Sequence numbers of two shards cannot be compared, so a mark must know its shard. It is named

- after the shard's id, where the event carries one (the mapping has a tumbling window): then any cut and any overlap of
  observers is folded once;
- else after the number that the batch began with, with which a repetition begins too (the mapping must not bisect): then a
  repetition may be longer, but not shorter, and two observers may overlap on the same batch only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

RETENTION_MINUTES: Final = 15
"""A mark is kept this long after its batch was last seen; a batch that keeps coming back keeps its mark alive."""
LIMIT: Final = 32
"""Marks kept per queue, about 14 bytes each, so that the item of counters stays under one write unit."""

_NAME_BYTES: Final = 6


class Batch(NamedTuple):
    """One delivery of the stream, as far as marks are concerned."""

    name: bytes
    """By what its mark is found."""
    origin: int
    """The number that its mark counts from: the first one, or 0 when the shard gives the name."""
    last: int
    """Its highest sequence number."""

    @classmethod
    def of(cls, numbers: Sequence[int], shard: str | None = None) -> Batch:
        """The batch with these sequence numbers, at least one; `shard` is the shard's id where the event tells it."""
        if shard is not None:
            return cls(_name(shard), 0, max(numbers))
        return cls(_name(str(min(numbers))), min(numbers), max(numbers))


class Mark(NamedTuple):
    """Everything of one shard is folded up to `reach` past the mark's origin."""

    reach: int
    minute: int
    """Epoch minute in which the batch was last seen."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What one queue's counters have folded lately."""

    marks: dict[bytes, Mark]
    """By name, the one written last at the end."""

    def cover(self, batch: Batch) -> int:
        """The highest number of the batch's shard that is known to be folded; -1 when none is."""
        known = self.marks.get(batch.name)
        return -1 if known is None else batch.origin + known.reach

    def after(self, batch: Batch, minute: int) -> Marks:
        """These marks once the batch is folded; `self` when nothing of it was new."""
        mark = Mark(max(batch.last, self.cover(batch)) - batch.origin, minute)
        known = self.marks.get(batch.name)
        if known is not None and known.reach == mark.reach and minute - known.minute <= RETENTION_MINUTES // 2:
            return self
        others = [(name, other) for name, other in self.marks.items() if name != batch.name]
        young = [(name, other) for name, other in others if minute - other.minute <= RETENTION_MINUTES]
        return Marks(dict([*young[1 - LIMIT :], (batch.name, mark)]))

    def pack(self, minute: int) -> bytes:
        """The marks as bytes; ages are counted back from `minute`, which no mark may be younger than."""
        return b"".join(
            name + bytes((min(255, minute - mark.minute), (size := (mark.reach.bit_length() + 7) // 8))) + mark.reach.to_bytes(size, "big")
            for name, mark in self.marks.items()
        )

    @classmethod
    def unpack(cls, data: bytes, minute: int) -> Marks:
        """The marks that `pack` wrote with the same `minute`."""
        marks = {}
        at = 0
        while at < len(data):
            name, (age, size) = data[at : at + _NAME_BYTES], data[at + _NAME_BYTES : at + _NAME_BYTES + 2]
            at += _NAME_BYTES + 2 + size
            marks[name] = Mark(int.from_bytes(data[at - size : at], "big"), minute - age)
        return cls(marks)


def _name(text: str) -> bytes:
    # Six bytes: two batches among the marks share a name once in 10^13.
    return blake2b(text.encode(), digest_size=_NAME_BYTES).digest()
