"""Shards: a queue's jobs are spread so evenly that none of its keys is hot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from jobline import ids
from jobline.shards import attention_partition, queue_partition
from tests.factories import NOW

JOBS = 4000
UNITS_PER_JOB_ON_ONE_KEY = 0.2
"""DESIGN.md section 7: at 1,000 write units per second and partition (DynamoDB quotas) that is 5,000 jobs per second and queue."""


def one_after_the_other(n: int) -> str:
    return ids.new_id(NOW + timedelta(milliseconds=n), n.to_bytes(ids.RANDOM_BYTES))


def by_keys_that_count(n: int) -> str:
    return ids.derived_id("emails", f"order-{n}")


@pytest.mark.parametrize(
    "partition", [lambda job_id: queue_partition("emails", job_id), lambda job_id: attention_partition("emails", "open", job_id)]
)
@pytest.mark.parametrize("make_id", [one_after_the_other, by_keys_that_count])
def test_no_key_of_an_index_takes_more_than_its_share(partition: Callable[[str], str], make_id: Callable[[int], str]) -> None:
    """A job is written into `by_queue` once."""
    written = Counter(partition(make_id(n)) for n in range(JOBS))
    assert max(written.values()) / JOBS <= UNITS_PER_JOB_ON_ONE_KEY
