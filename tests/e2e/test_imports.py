"""The example of docs/jobs/imports.md, run on the real stack."""

from __future__ import annotations

import json
import re
from typing import Any

from jobline.local_aws import ROOT
from jobline.local_stack import LocalStack
from tests.e2e.client import Client


def examples(page: str) -> dict[str, Any]:
    """The requests of a page of docs/jobs, by type."""
    text = (ROOT / "docs" / "jobs" / page).read_text()
    requests = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    return {request["type"]: request for request in requests}


def test_the_example_of_data_import_imports_people(stack: LocalStack, client: Client) -> None:
    dynamodb, s3, bucket = stack.client("dynamodb"), stack.client("s3"), stack.outputs()["BucketName"]
    dynamodb.create_table(
        TableName="people",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )
    s3.put_object(Bucket=bucket, Key="imports/people.csv", Body=b"id,age,joined\nada,36,2026-01-02\nbob,,2026-01-03\ncyd,x,2026-01-04\n")
    job = client.end_of(client.enqueue(**examples("imports.md")["data_import"]))
    assert (job["status"], job["error"]) == ("done", None)
    assert (job["result"]["read"], job["result"]["imported"], job["result"]["rejected"]) == (3, 2, 1)
    refused = s3.get_object(Bucket=bucket, Key=job["result"]["rejects"])["Body"].read()
    assert json.loads(refused) == {"line": 4, "reason": "age: 'x' is no integer", "row": "cyd,x,2026-01-04"}
    assert {item["id"]["S"] for item in dynamodb.scan(TableName="people")["Items"]} == {"ada", "bob"}
