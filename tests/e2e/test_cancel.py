"""Cancel against start, three hundred times: what the API answered agrees with what was done.

The ledger is independent of the records: the receipts that `send_email` puts into the bucket for every message it sent.
"""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from jobline.local_stack import LocalStack
from tests.e2e.client import Answer, Client

ROUNDS = 300
AT_ONCE = 6
LONGEST_WAIT = 0.6
"""Seconds between enqueue and cancel, at most: about as long as a start takes on a busy machine."""


class Round(NamedTuple):
    job_id: str
    answer: Answer


def play(client: Client, number: int) -> Round:
    job_id = client.enqueue("emails", "send_email", {"to": f"round-{number}@example.com"})
    time.sleep(random.Random(number).uniform(0, LONGEST_WAIT))
    return Round(job_id, client.call("DELETE", f"/jobs/{job_id}"))


def receipts(stack: LocalStack) -> set[str]:
    """Ids of the jobs whose message was sent."""
    pages = stack.client("s3").get_paginator("list_objects_v2").paginate(Bucket=stack.outputs()["BucketName"], Prefix="receipts/")
    return {found["Key"].removeprefix("receipts/").removesuffix(".json") for page in pages for found in page.get("Contents", ())}


def test_cancel_and_start_never_disagree(stack: LocalStack, client: Client) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rounds = list(pool.map(lambda number: play(client, number), range(ROUNDS)))
    ends = {played.job_id: client.end_of(played.job_id)["status"] for played in rounds}
    # A job that was cancelled while it waited still has its message somewhere; a start that should not be would come now.
    time.sleep(2)
    sent = receipts(stack)

    outcomes = {"cancelled": 0, "cancel_requested": 0, "over": 0}
    for job_id, answer in rounds:
        if answer.status == 200 and answer.body == {"cancelled": True}:
            outcomes["cancelled"] += 1
            assert ends[job_id] == "cancelled"
            assert job_id not in sent, "cancelled: true, and it ran"
        elif answer.status == 200:
            outcomes["cancel_requested"] += 1
            assert answer.body == {"cancel_requested": True}
            assert ends[job_id] in ("done", "cancelled")
            assert ends[job_id] == "cancelled" or job_id in sent
        else:
            outcomes["over"] += 1
            assert answer.status == 409, answer
            assert ends[job_id] == "done"
            assert job_id in sent
    print(outcomes)
    assert outcomes["cancelled"] and outcomes["over"], f"no contest: {outcomes}"
