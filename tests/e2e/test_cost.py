"""What a job costs, counted on the real stack (DESIGN.md, section 7): never more than the budget."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from jobline.local_stack import LocalStack
from tests.e2e.client import Client
from tests.e2e.meter import Meter

JOBS = 100
WRITE_UNITS_PER_JOB = 4.2
CALLS_PER_JOB = 6.3
CALLS_PER_JOB_IN_BATCHES_OF_TEN = 1.8
CALLS_PER_JOB_IN_BATCHES = 0.75
UNITS_OF_TEN_KILOBYTES = 10
SECONDS_AT_REST = 2.0
PAYLOAD = {"order": 4711, "note": "x" * 100}


@contextmanager
def held_up(stack: LocalStack, function: str, source: str = "dynamodb") -> Iterator[None]:
    """A function's readers wait, so that they find a backlog afterwards: what they do on AWS under load, whatever this machine's speed."""
    lambda_ = stack.client("lambda")
    mappings = [
        mapping["UUID"]
        for mapping in lambda_.list_event_source_mappings()["EventSourceMappings"]
        if f":{source}:" in mapping["EventSourceArn"] and function in mapping["FunctionArn"]
    ]
    assert mappings
    for mapping in mappings:
        lambda_.update_event_source_mapping(UUID=mapping, Enabled=False)
    try:
        yield
    finally:
        for mapping in mappings:
            lambda_.update_event_source_mapping(UUID=mapping, Enabled=True)


def wait_until_done(stack: LocalStack, jobs: list[str]) -> None:
    """Looks into the table itself: asking the API would be metered."""
    dynamodb, table = stack.client("dynamodb"), stack.outputs()["TableName"]
    deadline = time.monotonic() + 60
    for job in jobs:
        while dynamodb.get_item(TableName=table, Key={"id": {"S": job}})["Item"]["status"]["S"] != "done":
            assert time.monotonic() < deadline, "the jobs did not end"
            time.sleep(0.1)


def wait_until_at_rest(meter: Meter) -> None:
    position, since = meter.position(), time.monotonic()
    while time.monotonic() - since < SECONDS_AT_REST:
        time.sleep(0.1)
        if meter.position() != position:
            position, since = meter.position(), time.monotonic()


def test_a_happy_job_costs_no_more_than_its_budget(stack: LocalStack, client: Client, meter: Meter) -> None:
    """At batch size 1. The ticker is left out: its calls are a price of the deployment, each minute, and not of a job."""
    wait_until_done(stack, [client.enqueue("diagnostics", "echo", "so that every function is up")])
    wait_until_at_rest(meter)
    start = meter.position()

    with held_up(stack, "Observer"):
        with held_up(stack, "Relay"):
            jobs = [client.enqueue("diagnostics", "echo", PAYLOAD) for _ in range(JOBS)]
        wait_until_done(stack, jobs)
    wait_until_at_rest(meter)

    reading = meter.since(start, without="Ticker")
    print(f"{reading.write_units / JOBS:.2f} write units and {reading.calls.total() / JOBS:.2f} AWS calls per job: {dict(reading.calls)}")
    assert reading.calls["dynamodb:PutItem"] >= JOBS, "the meter sees nothing"
    assert reading.calls["sqs:ReceiveMessage"] >= JOBS, "the meter sees nothing"
    assert reading.write_units / JOBS <= WRITE_UNITS_PER_JOB, reading
    assert reading.calls.total() / JOBS <= CALLS_PER_JOB, reading


def test_a_happy_job_in_a_batch_of_ten_costs_no_more_than_its_budget(stack: LocalStack, client: Client, meter: Meter) -> None:
    """Saturated: every reader finds a backlog, so that its batches are full."""
    wait_until_done(stack, [client.enqueue("bulk", "echo", "so that every function is up")])
    wait_until_at_rest(meter)
    start = meter.position()

    with held_up(stack, "Observer"):
        with held_up(stack, "Diagnostics", "sqs"), held_up(stack, "Relay"):
            jobs = [client.enqueue("bulk", "echo", PAYLOAD) for _ in range(JOBS)]
        wait_until_done(stack, jobs)
    wait_until_at_rest(meter)

    reading = meter.since(start, without="Ticker")
    print(f"{reading.write_units / JOBS:.2f} write units and {reading.calls.total() / JOBS:.2f} AWS calls per job: {dict(reading.calls)}")
    assert reading.calls["dynamodb:BatchExecuteStatement"] >= 2 * JOBS / 10, "nothing was claimed in batches"
    assert reading.write_units / JOBS <= WRITE_UNITS_PER_JOB, reading
    assert reading.calls.total() / JOBS <= CALLS_PER_JOB_IN_BATCHES_OF_TEN, reading


def test_jobs_that_come_25_to_a_request_and_go_ten_to_a_worker_cost_no_more_than_their_budget(
    stack: LocalStack, client: Client, meter: Meter
) -> None:
    """Saturated: the relay and the worker find a backlog.

    The local AWS counts no index for what PartiQL writes; DynamoDB does, so a unit per job is added for `by_queue`.
    """
    wait_until_done(stack, [client.enqueue("bulk", "echo", "so that every function is up")])
    wait_until_at_rest(meter)
    start = meter.position()

    jobs: list[str] = []
    with held_up(stack, "Observer"):
        with held_up(stack, "Diagnostics", "sqs"), held_up(stack, "Relay"):
            for _ in range(JOBS // 25):
                answer = client.call("POST", "/jobs/batch", {"jobs": [{"queue": "bulk", "type": "echo", "payload": PAYLOAD}] * 25})
                assert {item["status"] for item in answer.body["items"]} == {202}
                jobs += [item["job"]["id"] for item in answer.body["items"]]
        wait_until_done(stack, jobs)
    wait_until_at_rest(meter)

    reading = meter.since(start, without="Ticker")
    write_units = reading.write_units / JOBS + 1
    print(f"{write_units:.2f} write units and {reading.calls.total() / JOBS:.2f} AWS calls per job: {dict(reading.calls)}")
    assert reading.calls["dynamodb:PutItem"] < JOBS / 10
    assert write_units <= WRITE_UNITS_PER_JOB, reading
    assert reading.calls.total() / JOBS <= CALLS_PER_JOB_IN_BATCHES, reading


def test_a_payload_of_ten_kilobytes_costs_its_size_once_and_no_transition_pays_for_it_again(
    stack: LocalStack, client: Client, meter: Meter
) -> None:
    mail = {"to": "ada@example.com", "body": ""}
    mail["body"] = "x" * (10_000 - len(json.dumps(mail)))
    wait_until_done(stack, [client.enqueue("emails", "send_email", {"to": "ada@example.com"})])
    wait_until_at_rest(meter)
    start = meter.position()

    count = JOBS // 5
    with held_up(stack, "Observer"):
        with held_up(stack, "Relay"):
            jobs = [client.enqueue("emails", "send_email", mail) for _ in range(count)]
            wait_until_at_rest(meter)
            enqueued = meter.since(start, without="Ticker").write_units / count
        wait_until_done(stack, jobs)
    wait_until_at_rest(meter)

    whole = meter.since(start, without="Ticker").write_units / count
    print(f"{enqueued:.2f} write units at enqueue and {whole:.2f} in all per job")
    assert enqueued >= UNITS_OF_TEN_KILOBYTES, "the meter sees nothing"
    assert enqueued - 2 <= UNITS_OF_TEN_KILOBYTES, "a record and its place in by_queue are two units; the rest is the payload's"
    assert whole - UNITS_OF_TEN_KILOBYTES <= WRITE_UNITS_PER_JOB
