"""Unique jobs under contention, on a table whose transactions are atomic: moto's are not, between threads."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobline.direct import Direct
from jobline.enqueueing import Enqueued, Enqueueing
from jobline.errors import Unavailable, UniqueConflict
from jobline.local_stack import LocalStack
from jobline.log import Silence
from jobline.payloads import Bodies
from jobline.request import parse_request
from jobline.store import JobStore
from jobline.strict_json import parse
from jobline.wiring import utc_now
from tests.api import DEFINITIONS, TYPES
from tests.e2e.client import Client

AT_ONCE = 10


@pytest.fixture(scope="module")
def enqueueing(stack: LocalStack) -> Enqueueing:
    dynamodb, outputs, no_s3 = stack.client("dynamodb"), stack.outputs(), pytest.fail
    store, bodies = JobStore(dynamodb, outputs["TableName"]), Bodies(dynamodb, outputs["TableName"], no_s3, outputs["BucketName"])
    direct = Direct(queues=pytest.fail, lanes={}, clock=utc_now, log=Silence())
    return Enqueueing(store=store, bodies=bodies, definitions=DEFINITIONS, types=TYPES, now=utc_now, random=os.urandom, direct=direct)


def ask_at_once(enqueueing: Enqueueing, unique: str) -> list[Enqueued | UniqueConflict]:
    """What becomes of requests that differ in their payload alone, all at once, each repeated as a 503 asks; nobody runs the jobs."""

    def ask(number: int) -> Enqueued | UniqueConflict:
        body = f'{{"queue":"images","type":"image_resize","payload":{{"n":{number}}},"delay":"1h","unique":{unique}}}'
        for attempt in range(20):
            try:
                return enqueueing.enqueue(parse_request(parse(body.encode())), op=f"request {number}.{attempt}")
            except UniqueConflict as error:
                return error
            except Unavailable:
                continue
        raise AssertionError("it never settles")

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(ask, range(AT_ONCE)))


def outcomes(answers: list[Enqueued | UniqueConflict]) -> Counter[Any]:
    return Counter("refused" if isinstance(answer, UniqueConflict) else answer.found or "made" for answer in answers)


@pytest.mark.parametrize("round", range(5))
def test_of_requests_at_once_exactly_one_makes_the_job(enqueueing: Enqueueing, round: int) -> None:
    answers = ask_at_once(enqueueing, f'{{"key":"return-{round}"}}')
    assert outcomes(answers) == {"made": 1, "unique": AT_ONCE - 1}
    assert len({answer.job.id for answer in answers if isinstance(answer, Enqueued)}) == 1
    answers = ask_at_once(enqueueing, f'{{"key":"reject-{round}","on_conflict":"reject"}}')
    assert outcomes(answers) == {"made": 1, "refused": AT_ONCE - 1}


def test_of_requests_at_once_that_replace_each_other_one_is_left(enqueueing: Enqueueing) -> None:
    answers = ask_at_once(enqueueing, '{"key":"replace","on_conflict":"replace"}')
    assert outcomes(answers) == {"made": AT_ONCE}
    jobs = enqueueing.store.get_many([answer.job.id for answer in answers if isinstance(answer, Enqueued)])
    assert Counter(job.status.value for job in jobs.values()) == {"scheduled": 1, "cancelled": AT_ONCE - 1}


def test_the_api_may_do_all_that_a_unique_job_needs(client: Client) -> None:
    def ask(**unique: str) -> tuple[int, str]:
        body = {"queue": "diagnostics", "type": "echo", "payload": 1, "delay": "1h", "unique": {"key": "k"} | unique}
        answer = client.call("POST", "/jobs", body)
        return answer.status, answer.body.get("id") or answer.body["job_id"]

    made, first = ask()
    assert (made, ask(), ask(on_conflict="reject")) == (202, (200, first), (409, first))
    status, second = ask(on_conflict="replace")
    assert (status, second != first, client.job(first)["status"]) == (202, True, "cancelled")
