"""Which stretches of the stream are folded already: every record once, however its batches are repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from jobline.marks import LIMIT, RETENTION_MINUTES, Batch, Marks

QUEUES = ("emails", "images")


@dataclass
class Folded:
    """One queue's item: its marks, and how often each record was folded into it."""

    marks: Marks = field(default_factory=lambda: Marks({}))
    times: dict[int, int] = field(default_factory=dict)

    def fold(self, batch: Batch, records: list[int], minute: int) -> None:
        cover = self.marks.cover(batch)
        for number in records:
            if number > cover:
                self.times[number] = self.times.get(number, 0) + 1
        self.marks = Marks.unpack(self.marks.after(batch, minute).pack(minute), minute)


@dataclass
class Delivery:
    """One observer at work on one batch, queue by queue."""

    shard: int
    start: int
    end: int
    left: list[str]


class Stream:
    """A stream of a few shards, whose numbers interleave, and observers that get in each other's way.

    Where the shard is told, batches overlap and are cut anyhow. Where it is not, a batch is repeated as it was, or longer once
    nobody else works on it.
    """

    def __init__(self, chance: random.Random, *, shards: int, records: int, told: bool) -> None:
        self.chance = chance
        self.told = told
        numbers = [10**27 + 37 * at for at in range(shards * records)]
        owner = {number: chance.randrange(shards) for number in numbers}
        self.shards = [[number for number in numbers if owner[number] == shard] for shard in range(shards)]
        self.queue_of = {number: chance.choice(QUEUES) for number in numbers}
        self.checkpoints = [0] * shards
        self.at_work: list[Delivery] = []
        self.furthest = [0] * shards
        self.items = {queue: Folded() for queue in QUEUES}

    def deliver(self, shard: int, length: int) -> None:
        start = self.checkpoints[shard]
        end = start + length
        if not self.told:
            rivals = [other.end for other in self.at_work if other.shard == shard]
            end = rivals[0] if rivals else max(end, self.furthest[shard])
            if rivals and any(other.start != start for other in self.at_work if other.shard == shard):
                return
        end = min(end, len(self.shards[shard]))
        if end > start:
            self.furthest[shard] = end
            queues = sorted({self.queue_of[number] for number in self.shards[shard][start:end]})
            self.chance.shuffle(queues)
            self.at_work.append(Delivery(shard, start, end, queues))

    def step(self, delivery: Delivery, minute: int) -> None:
        """Folds the next queue of a delivery; the last one's fold is followed by the checkpoint."""
        numbers = self.shards[delivery.shard][delivery.start : delivery.end]
        queue = delivery.left.pop()
        batch = Batch.of(numbers, f"shardId-{delivery.shard}" if self.told else None)
        self.items[queue].fold(batch, [number for number in numbers if self.queue_of[number] == queue], minute)
        if not delivery.left:
            self.checkpoints[delivery.shard] = max(self.checkpoints[delivery.shard], delivery.end)
            self.at_work.remove(delivery)

    def run(self, steps: int) -> None:
        """Deliveries that overlap, die half way and are repeated; at the end each shard is read to its end."""
        for at in range(steps):
            if self.chance.random() < 0.4:
                self.deliver(self.chance.randrange(len(self.shards)), self.chance.randint(1, 6))
            if self.at_work:
                delivery = self.chance.choice(self.at_work)
                if self.chance.random() < 0.2:
                    self.at_work.remove(delivery)
                else:
                    self.step(delivery, at // 20)
        for shard, numbers in enumerate(self.shards):
            self.at_work.clear()
            while self.checkpoints[shard] < len(numbers):
                self.deliver(shard, 4)
                while self.at_work:
                    self.step(self.at_work[0], steps // 20)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), shards=st.integers(1, 3), told=st.booleans())
def test_every_record_is_folded_once_however_batches_are_repeated_cut_and_overlapped(seed: int, shards: int, told: bool) -> None:
    stream = Stream(random.Random(seed), shards=shards, records=15, told=told)
    stream.run(80)
    for queue, item in stream.items.items():
        wanted = {number: 1 for number, of in stream.queue_of.items() if of == queue}
        assert item.times == wanted


def test_a_repeated_batch_is_covered_and_a_longer_one_only_up_to_where_it_was() -> None:
    marks = Marks({}).after(Batch.of([5, 7, 9]), 0)
    assert marks.cover(Batch.of([5, 7, 9])) == 9
    assert marks.cover(Batch.of([5, 7, 9, 12])) == 9
    assert marks.cover(Batch.of([7, 9])) == -1


def test_numbers_of_another_shard_are_never_covered() -> None:
    marks = Marks({}).after(Batch.of([10, 30]), 0)
    assert marks.cover(Batch.of([20, 25])) == -1
    told = Marks({}).after(Batch.of([10, 30], "a"), 0)
    assert (told.cover(Batch.of([20, 25], "b")), told.cover(Batch.of([20, 40], "a"))) == (-1, 30)


def test_numbers_are_compared_as_numbers() -> None:
    """`"9"` is greater than `"10"` as text; AWS's numbers have no fixed width."""
    marks = Marks({}).after(Batch.of([9, 10]), 0)
    assert marks.cover(Batch.of([9, 10, 100])) == 10


def test_marks_are_few_and_young() -> None:
    marks = Marks({})
    for number in range(100):
        marks = marks.after(Batch.of([10 * number]), 0)
    assert len(marks.marks) == LIMIT
    marks = marks.after(Batch.of([5000]), RETENTION_MINUTES + 1)
    assert len(marks.marks) == 1


def test_a_batch_that_keeps_coming_back_keeps_its_mark() -> None:
    stuck = Batch.of([1, 2])
    marks = Marks({}).after(stuck, 0)
    for minute in range(1, 200):
        marks = marks.after(Batch.of([1000 + minute]), minute)
        assert marks.cover(stuck) == 2
        marks = marks.after(stuck, minute)


def test_what_teaches_nothing_new_changes_nothing() -> None:
    batch = Batch.of([1, 2])
    marks = Marks({}).after(batch, 0)
    assert marks.after(batch, 1) is marks


@given(st.dictionaries(st.integers(1, 10**38), st.integers(0, 10**30), max_size=LIMIT), st.integers(0, 10**8))
def test_marks_survive_packing(reaches: dict[int, int], minute: int) -> None:
    marks = Marks({})
    for number, reach in reaches.items():
        marks = marks.after(Batch.of([number, number + reach]), minute)
    assert Marks.unpack(marks.pack(minute), minute) == marks
