"""The API over DynamoDB and S3 (moto), each of whose calls can be counted and spoiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moto import mock_aws

from jobline.job import Job
from jobline.payloads import Bodies
from jobline.store import JobStore
from tests.api import Client
from tests.aws import REGION, client, create_table
from tests.cloud import MotoStore
from tests.faults import Faults, FaultyClient, Killed


class OnAws(Client):
    """An API over moto's DynamoDB and S3, each of whose calls can be counted and spoiled."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.ignored: set[str] = set()
        """Jobs that a test does not mean."""
        self.raw = client("dynamodb")
        s3 = client("s3")
        create_table(self.raw)
        s3.create_bucket(Bucket="bodies", CreateBucketConfiguration={"LocationConstraint": REGION})
        dynamodb: Any = FaultyClient(self.raw, faults)
        spoilt_s3: Any = FaultyClient(s3, faults)
        super().__init__(MotoStore(dynamodb, "jobs"), Bodies(dynamodb, "jobs", lambda: spoilt_s3, "bodies"))

    def repeat(self, request: Callable[[], int]) -> list[int | None]:
        """A client that repeats its request until it is answered 2xx: the answers; `None`: no answer at all."""
        answers: list[int | None] = []
        while not answers or answers[-1] not in {200, 202}:
            assert len(answers) < 3, answers
            self.faults.new_process()
            try:
                answers.append(request())
            except Killed:
                answers.append(None)
        return answers

    def job(self) -> Job:
        """The only job there is, read past all faults."""
        items = [item for item in self.raw.scan(TableName="jobs")["Items"] if "dispatch" in item and item["id"]["S"] not in self.ignored]
        assert len(items) == 1, items
        found = JobStore(self.raw, "jobs").get(items[0]["id"]["S"])
        assert found is not None
        return found


@contextmanager
def on_aws(**faults: Any) -> Iterator[OnAws]:
    with mock_aws():
        yield OnAws(Faults(**faults))
