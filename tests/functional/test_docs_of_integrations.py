"""The examples of docs/jobs/integrations.md: each is a job that its queue takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jobline.testing import TrialDeployment

PAGE = (Path(__file__).parents[2] / "docs" / "jobs" / "integrations.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


def test_every_type_of_the_worker_has_a_section_with_an_example() -> None:
    types = ["webhook_delivery", "api_polling", "sync_to_crm", "payment_process"]
    assert re.findall(r"^## (\w+)", PAGE, re.MULTILINE) == [example["type"] for example in EXAMPLES] == types


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["type"])
def test_an_example_is_taken_as_it_stands(example: dict[str, Any], jobs: TrialDeployment) -> None:
    assert jobs.enqueue(example["type"], example["payload"], queue=example["queue"]).status == "pending"
