"""The API's Lambda entry point, loaded in a fresh process as Lambda loads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.api import DEFINITIONS, TYPES, event

ROOT = Path(__file__).parents[2]
MOST_MODULES = 560
"""A cold start's budget; a router with pydantic and boto3's resources needs about 690."""

PROGRAM = """
import json, sys
from functions.api.handler import handler
print(json.dumps({"modules": sorted(sys.modules), "answer": handler(json.load(sys.stdin), None)}))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Which modules a process has after its first request, and the answer."""
    asset = tmp_path_factory.mktemp("asset")
    (asset / "definitions.json").write_bytes(DEFINITIONS.to_json())
    (asset / "types.json").write_bytes(msgspec.json.encode(TYPES))
    environment = {
        "LAMBDA_TASK_ROOT": str(asset),
        "JOBLINE_STAGE": "test",
        "JOBLINE_TABLE": "jobs",
        "JOBLINE_BUCKET": "bodies",
        "JOBLINE_LANES": "{}",
    }
    environment |= {"AWS_DEFAULT_REGION": "eu-central-1", "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    health = event("get_job") | {"rawPath": "/health"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(health), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_entry_point_answers_what_it_is_asked(loaded: dict[str, Any]) -> None:
    assert loaded["answer"]["statusCode"] == 200
    assert json.loads(loaded["answer"]["body"]) == {"status": "ok", "stage": "test"}


def test_a_cold_start_loads_no_more_modules_than_its_budget(loaded: dict[str, Any]) -> None:
    assert len(loaded["modules"]) <= MOST_MODULES


@pytest.mark.parametrize(
    "library", ["pydantic", "boto3", "s3transfer", "jsonschema", "aws_xray_sdk", "infra", "aws_cdk", "jobline.worker", "jobline.stats"]
)
def test_a_cold_start_does_not_load(loaded: dict[str, Any], library: str) -> None:
    assert [name for name in loaded["modules"] if name == library or name.startswith(f"{library}.")] == []
