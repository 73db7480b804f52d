"""The examples of docs/jobs/media.md, run as they stand by the real stack."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from jobline.demo_jobs import PHOTO_KEY, photo
from jobline.demo_media import CLIP_KEY, clip
from jobline.local_aws import ROOT
from jobline.local_stack import LocalStack
from tests.e2e.client import Client

PAGE = (ROOT / "docs" / "jobs" / "media.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("request_", EXAMPLES, ids=lambda example: str(example["type"]))
def test_an_example_makes_what_its_result_says(stack: LocalStack, client: Client, request_: dict[str, Any]) -> None:
    s3, bucket = stack.client("s3"), stack.outputs()["BucketName"]
    for key, original in ((PHOTO_KEY, photo()), (CLIP_KEY, clip())):
        s3.put_object(Bucket=bucket, Key=key, Body=original)
    answer = client.call("POST", "/jobs", request_)
    assert answer.status == 202, answer
    job = client.end_of(answer.body["id"])
    assert (job["status"], job["error"]) == ("done", None), job
    made = files(job["result"])
    assert made
    for file in made:
        assert s3.head_object(Bucket=bucket, Key=file["key"])["ContentLength"] == file["bytes"]


def files(result: Any) -> list[dict[str, Any]]:
    """Everything in a result that has a key and a size."""
    if isinstance(result, list):
        return [file for element in result for file in files(element)]
    if not isinstance(result, dict):
        return []
    own = [result] if {"key", "bytes"} <= set(result) else []
    return own + [file for value in result.values() for file in files(value)]


def test_every_type_of_the_family_has_an_example() -> None:
    assert {example["type"] for example in EXAMPLES} == {"image_resize", "video_transcode", "pdf_generate"}
