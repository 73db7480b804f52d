"""The security gates: what they refuse. `make security` runs them over the stack itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Acknowledgment, Validations
from aws_cdk import aws_s3 as s3

from infra.acknowledgements import acknowledge
from infra.advisories import verdict as verdict_on_packages
from infra.gates import Finding, Synthesized, acknowledged, configurations, nag, synthesize, told_otherwise, verdict, write_template
from jobline.definitions import Definitions, Queue, Worker
from tests.infra.deployment import ROOT, make_stack

SMALL = Definitions(
    stage="dev",
    queues={name: Queue(name=name, worker=name, concurrency=2) for name in ("q", "operations")},
    workers={name: Worker(name=name) for name in ("q", "operations")},
)
SSL, NO_LONGER = "AwsSolutions-S10", "AwsSolutions-S5"


class Changed:
    """A deployment of one queue to which somebody added a bucket that takes plain HTTP, and said so or not."""

    def __init__(self, folder: Path, reasons: dict[str, str]) -> None:
        self.told, self.untold = (self._made(folder, reasons, told=told) for told in (True, False))

    def _made(self, folder: Path, reasons: dict[str, str], *, told: bool) -> Synthesized:
        made = synthesize("changed", SMALL, folder / str(told), told=told)
        bucket = s3.Bucket(made.stack, "Added")
        acknowledge(bucket, reasons)
        write_template(made)
        return made

    def verdict(self) -> list[str]:
        """What cdk-nag has against it."""
        return verdict(nag(self.told), nag(self.untold), acknowledged(self.untold), told_otherwise(self.untold))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for told in ("True", "False"):
        (tmp_path / told).mkdir()
    return tmp_path


def about_the_bucket(lines: list[str]) -> list[str]:
    return [line for line in lines if ": Added" in line]


def test_a_finding_that_nobody_gave_a_reason_for_is_refused(folder: Path) -> None:
    lines = about_the_bucket(Changed(folder, {}).verdict())
    assert any(SSL in line and line.endswith("Mend it, or acknowledge it there with the reason.") for line in lines)


def test_a_finding_with_a_reason_is_accepted_and_a_reason_for_what_is_not_found_is_refused(folder: Path) -> None:
    reasons = {SSL: "For this test.", NO_LONGER: "For what is no longer so."}
    lines = about_the_bucket(Changed(folder, reasons).verdict())
    assert not any(SSL in line for line in lines)
    assert sum(f"acknowledges {NO_LONGER}, which nothing finds there" in line for line in lines) == 1


def test_a_finding_suppressed_for_a_whole_stack_is_refused(folder: Path) -> None:
    made = synthesize("blanket", SMALL, folder, told=False)
    Validations.of(made.stack).acknowledge(Acknowledgment(id=SSL, reason="Everything may."))
    write_template(made)
    [past] = told_otherwise(made)
    assert (past.resource, SSL in past.rule) == ("blanket", True)
    assert "past infra.acknowledgements" in verdict([], [], [], [past])[0]


def test_what_one_configuration_breaks_is_not_acknowledged_by_another() -> None:
    lines = verdict([], [Finding("a", "Table", "CKV_AWS_119")], [Finding("b", "Table", "CKV_AWS_119", "AWS's key.")], [])
    assert len(lines) == 1
    assert lines[0].startswith("b: Table acknowledges CKV_AWS_119")


def test_a_finding_is_acknowledged_on_one_resource_and_with_a_reason() -> None:
    stack = make_stack("dev", SMALL)
    with pytest.raises(ValueError, match="is not one resource"):
        acknowledge(stack, {SSL: "Everything may."})
    with pytest.raises(ValueError, match="why may it break"):
        acknowledge(stack.set_aside, {SSL: " "})


def test_the_tools_are_told_in_their_own_ways(folder: Path) -> None:
    made = synthesize("told", SMALL, folder, told=True)
    metadata = made.app.synth().get_stack_artifact(made.stack.artifact_id).template["Resources"]
    [function] = [one["Metadata"] for name, one in metadata.items() if name.startswith("RelayFunction")]
    assert {skip["id"] for skip in function["checkov"]["skip"]} == {"CKV_AWS_115", "CKV_AWS_116", "CKV_AWS_117", "CKV_AWS_173"}
    assert all(skip["comment"] for skip in function["checkov"]["skip"])
    assert function["cfn-lint"]["config"]["ignore_checks"] == ["W3005"]


def test_the_gates_look_at_every_option_of_the_deployment() -> None:
    every = configurations(ROOT)["every-option"]
    assert every.encryption.kms_key
    assert every.access.jwt and every.api.only_domain and every.api.token_domain and every.tags
    assert all(worker.vpc for name, worker in every.workers.items() if name != "operations")
    assert {(queue.ordered, queue.low_latency) for queue in every.queues.values()} == {(True, False), (False, True)}


def advisory(package: str, **more: Any) -> dict[str, Any]:
    vulnerability = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"]}
    return {"dependencies": [{"name": package, "version": "1.0", "vulns": [vulnerability]} | more]}


def test_a_known_vulnerability_fails_and_says_what_mends_it() -> None:
    assert verdict_on_packages("a.txt", advisory("left-pad"), {}) == (["a.txt: left-pad 1.0: PYSEC-2026-1, mended in 1.1"], [])


@pytest.mark.parametrize("known_as", ["PYSEC-2026-1", "CVE-2026-1"])
def test_a_vulnerability_that_does_no_harm_here_is_accepted_by_any_of_its_names(known_as: str) -> None:
    assert verdict_on_packages("a.txt", advisory("left-pad"), {known_as: "Never called."}) == ([], [])


def test_packages_of_which_nothing_is_known_are_said_aloud_and_fail_nothing() -> None:
    wrong, aside = verdict_on_packages("a.txt", {"dependencies": [{"name": "left-pad", "skip_reason": "not found"}]}, {})
    assert wrong == []
    assert aside == ["a.txt: NOT AUDITED: PyPI said nothing of 1 of 1 packages (left-pad …)"]
