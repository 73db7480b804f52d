"""What the person sees who runs `cdk synth`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.byte_code import Compiler
from infra.idle_cost import idle_cost
from infra.report import report
from jobline.definitions import Definitions, Queue
from tests.infra.deployment import ROOT

QUEUES = {
    "emails": Queue(name="emails", worker="notifications"),
    "imports": Queue(name="imports", worker="data", concurrency=4),
    "reports": Queue(name="reports", worker="data", lanes=1),
}
DEFINITIONS = Definitions(stage="dev", queues=QUEUES)
HERE = Compiler(Path(sys.executable), sys.implementation.cache_tag)


def test_it_says_how_each_queues_lanes_share_and_why_one_has_a_single_lane() -> None:
    said = report(DEFINITIONS, python="3.13", compiler=HERE)
    assert "emails: worker notifications, lanes high 3, normal 5, low 2" in said
    assert "imports: worker data, one lane with concurrency 4; fewer than 6 cannot be shared by three lanes" in said
    assert said.count("reports: worker data, one lane with concurrency 10\n") == 1


def test_it_says_what_the_stack_costs_at_rest() -> None:
    said = report(DEFINITIONS, python="3.13", compiler=HERE)
    bill = idle_cost(DEFINITIONS)
    assert f"idle cost per month: ${sum(item.dollars for item in bill):.2f} (8 SQS queues polled by Lambda $2.07, the ticker" in said


def test_a_polled_queue_costs_26_cents_a_month() -> None:
    [polling] = [item for item in idle_cost(Definitions(stage="dev", queues={"reports": QUEUES["reports"]})) if "polled" in item.what]
    assert polling.dollars / 2 == pytest.approx(0.26, abs=0.005)


def test_an_ordered_queue_costs_one_fifo_queue_polled_and_no_dead_letter_queue() -> None:
    ordered = {"ledger": Queue(name="ledger", worker="data", ordered=True)}
    polled = {item.what: round(item.dollars, 2) for item in idle_cost(Definitions(stage="dev", queues=ordered))}
    assert (polled["1 FIFO queue"], polled["0 SQS queues polled by Lambda"]) == (0.32, 0)
    assert "ledger: worker data, ordered, at most 10 keys at a time" in report(
        Definitions(stage="dev", queues=ordered), python="3.13", compiler=HERE
    )


def test_five_queues_with_three_lanes_cost_no_more_than_twelve_dollars_at_rest() -> None:
    five = {name: Queue(name=name, worker="data") for name in ("a", "b", "c", "d", "e")}
    assert sum(item.dollars for item in idle_cost(Definitions(stage="dev", queues=five))) <= 12


def test_it_says_when_there_is_no_byte_code_and_what_mends_it() -> None:
    assert "`uv python install 3.13`" in report(DEFINITIONS, python="3.13", compiler=None)
    assert "byte code" not in report(DEFINITIONS, python="3.13", compiler=HERE)


def test_a_mistake_in_a_definition_file_is_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_bytes((ROOT / "app.py").read_bytes())
    for package in ("infra", "jobline"):
        (tmp_path / package).symlink_to(ROOT / package)
    (tmp_path / "queues.toml").write_text('[queues.emails]\nworker = "notification"')
    environment = os.environ | {"CDK_CONTEXT_JSON": json.dumps({"stage": "dev"}), "CDK_OUTDIR": str(tmp_path / "out")}
    done = subprocess.run([sys.executable, "app.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "jobline: queues.toml: queues.emails.worker: there is no functions/notification/worker.toml\n"
