"""Schemathesis against an API: its contract, narrowed to what is deployed there, with every check that it has but one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from jobline import openapi
from jobline.local_aws import ACCOUNT, REGION, ROOT, SECRET

PROGRAM = ROOT / ".schemathesis" / "bin" / "st"
SEED = 4
LEFT_OUT = "use_after_free"
"""It wants a 404 for what was deleted. DELETE cancels a job; the job stays, to be looked at."""
SETTINGS = """
# A purge or a redrive cannot be replayed (422): whether a job is one, no schema of the request can say.
[[operations]]
include-operation-id-regex = "^replay"
checks.positive_data_acceptance.expected-statuses = ["2xx", "403", "404", "409", "422"]

# A made-up entity tag is none that the job has (412), and the job may expire before its new time (422).
[[operations]]
include-operation-id-regex = "^reschedule"
checks.positive_data_acceptance.expected-statuses = ["2xx", "403", "404", "409", "412", "422"]

# What makes a cron expression, a zone or a time that comes is no matter of a pattern (400); tests/functional/test_api_schedules.py has it.
[[operations]]
include-operation-id-regex = "^put_schedule$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "403", "409", "412", "422"]

# Nor is a made-up entity tag one that the subscription has, or one that a PUT may name in If-None-Match (400).
[[operations]]
include-operation-id-regex = "^(put|delete)_subscription$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "403", "404", "409", "412"]
"""


def narrowed(queue: str, type: str, *, longest: int) -> dict[str, Any]:
    """The document with a queue and a type that are there, and the longest timeout (seconds) that the queue's worker allows.

    Of others every request would be refused, whatever else is wrong with it.
    """
    document: dict[str, Any] = json.loads(openapi.compact())
    for name in ("EnqueueRequest", "EnqueueRequestInQueue", "BatchJob", "SubscriptionRequest"):
        properties = document["components"]["schemas"][name]["properties"]
        properties["type"]["enum"] = [type]
        properties["timeout"]["anyOf"][0]["maximum"] = longest
        properties["queue"]["enum"] = [queue, None] if name == "EnqueueRequestInQueue" else [queue]
    for name in ("BulkRequest", "BulkRequestInQueue"):
        # What is wrong with one job is told in its place of a 200, and keeps no other out.
        document["components"]["schemas"][name]["properties"]["jobs"]["items"] = {}
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "queue":
                    parameter["schema"]["enum"] = [queue]
                    parameter["example"] = queue
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content.pop("examples", None)  # of queues that may be elsewhere
    return document


def findings(
    url: str,
    document: dict[str, Any],
    folder: Path,
    *,
    queue: str,
    examples: int,
    phases: str,
    seconds: int,
    key: tuple[str, str] = (ACCOUNT, SECRET),
) -> str:
    """What schemathesis finds, with `examples` generated requests per operation at most; empty when that is nothing.

    `key` is the id and the secret of the access key that signs.
    """
    (folder / "openapi.json").write_text(json.dumps(document))
    # No file but this one decides, wherever the tests are run from.
    (folder / "schemathesis.toml").write_text(SETTINGS)
    command: list[str | Path] = [PROGRAM, "--config-file", folder / "schemathesis.toml", "run", folder / "openapi.json", "--url", url]
    command += [
        "--checks",
        "all",
        "--exclude-checks",
        LEFT_OUT,
        "--phases",
        phases,
        "--max-examples",
        str(examples),
        "--seed",
        str(SEED),
        "--continue-on-failure",
    ]
    command += ["--warnings", "off", "--suppress-health-check", "all", "--request-timeout", "30"]
    environment = {"SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks", "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "CONTRACT_QUEUE": queue}
    environment |= {"AWS_ACCESS_KEY_ID": key[0], "AWS_SECRET_ACCESS_KEY": key[1], "AWS_REGION": REGION, "PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds)
    return "" if done.returncode == 0 else done.stdout + done.stderr
