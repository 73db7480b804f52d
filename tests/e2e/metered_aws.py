"""The local AWS with a meter: writes one JSON line for every DynamoDB and SQS call, to the file that JOBLINE_METER names.

Runs inside ministack's own interpreter in place of `jobline/local_fixes.py`, and runs that. A line has `caller` (the role session's ARN
on whose behalf), `call` and `write_units` (indexes included, as `ReturnConsumedCapacity=INDEXES` reports them). The calls that an
SQS event source mapping makes (ReceiveMessage, DeleteMessageBatch) are AWS's to make and ours to pay, so they are counted too.
"""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from typing import Any

from ministack.core import iam_evaluator
from ministack.services import dynamodb, sqs

METER = open(os.environ["JOBLINE_METER"], "a", buffering=1)  # noqa: SIM115  # for as long as the process lives


def note(call: str, write_units: float = 0.0, caller: str = "") -> None:
    METER.write(json.dumps({"caller": caller or iam_evaluator.caller_arn(), "call": call, "write_units": write_units}) + "\n")


WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems", "ExecuteStatement", "BatchExecuteStatement"}
READS = {"GetItem", "BatchGetItem", "Query", "Scan"}


def meter_dynamodb() -> None:
    answer_to = dynamodb.handle_request

    async def metered(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action not in WRITES | READS:
            return await answer_to(method, path, headers, body, query)
        asked = json.dumps(json.loads(body) | {"ReturnConsumedCapacity": "INDEXES"}).encode()
        status, answer_headers, answer_body = await answer_to(method, path, headers, asked, query)
        reads = action in READS or b"SELECT" in body
        note(f"dynamodb:{action}", 0.0 if reads else write_units(json.loads(answer_body or b"{}")))
        return status, answer_headers, answer_body

    dynamodb.handle_request = metered


def write_units(answer: dict[str, Any]) -> float:
    """Units of one write; a refused condition costs one as well (items here are under 1 KB)."""
    if "ConditionalCheckFailedException" in answer.get("__type", ""):
        return 1.0
    consumed = answer.get("ConsumedCapacity") or []
    entries = consumed if isinstance(consumed, list) else [consumed]
    return sum(float(entry.get("WriteCapacityUnits") or entry["CapacityUnits"]) for entry in entries)


def meter_sqs() -> None:
    answer_to, receive, delete = sqs.handle_request, sqs._receive_messages_for_esm, sqs._delete_messages_for_esm

    async def metered(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
        answer = await answer_to(method, path, headers, body, query)
        note(f"sqs:{headers.get('x-amz-target', '').rpartition('.')[2]}")
        return answer

    def received(*arguments: Any) -> Any:
        messages = receive(*arguments)
        if messages:  # an empty poll is the price of an idle queue, not of a job
            note("sqs:ReceiveMessage", caller="event source mapping")
        return messages

    def deleted(*arguments: Any) -> Any:
        note("sqs:DeleteMessageBatch", caller="event source mapping")
        return delete(*arguments)

    sqs.handle_request, sqs._receive_messages_for_esm, sqs._delete_messages_for_esm = metered, received, deleted


meter_dynamodb()
meter_sqs()
runpy.run_path(str(Path(__file__).parents[2] / "jobline" / "local_fixes.py"), run_name="__main__")
