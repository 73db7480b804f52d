"""The template of stage dev as it was last looked at. `JOBLINE_UPDATE_GOLDEN=1` writes it anew; the diff is read in review."""

from __future__ import annotations

import json
import os
from difflib import unified_diff
from pathlib import Path

import pytest

from tests.infra.deployment import template

GOLDEN = Path(__file__).with_name("golden.json")


def test_the_template_is_the_one_that_was_looked_at() -> None:
    now = json.dumps(template("dev"), indent=1, sort_keys=True) + "\n"
    if os.environ.get("JOBLINE_UPDATE_GOLDEN"):
        GOLDEN.write_text(now)
    then = GOLDEN.read_text()
    if now != then:
        diff = list(unified_diff(then.splitlines(), now.splitlines(), "looked at", "now", lineterm="", n=2))
        pytest.fail("\n".join(["JOBLINE_UPDATE_GOLDEN=1 takes this over:", *diff[:80]]), pytrace=False)
