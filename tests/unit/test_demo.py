"""Which jobs `make demo` runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto import mock_aws

from jobline.definition_files import load
from jobline.demo import chosen, every_act
from jobline.demo_integrations import Export, Vendors
from jobline.demo_jobs import Act, NotAsExpected, Receiver
from jobline.demo_scheduled import Website
from jobline.local_aws import ROOT
from jobline.local_crm import LocalCrm
from jobline.local_stripe import LocalStripe
from jobline.registry import Registry
from tests.aws import REGION, client, create_table

ACTS = [Act(request={"type": name}, attempts=1, result=str) for name in ("echo", "fail", "echo")]

JOBLINES_OWN = {"diagnostics", "operations"}
"""Workers whose types try the stack out, or serve its operators; the others do somebody's work."""
TYPES = {
    name
    for worker in load(ROOT, "local").workers
    if worker not in JOBLINES_OWN
    for name in Registry.discover(f"functions.{worker}").describe()
}


@pytest.fixture(scope="module")
def of_the_demo() -> Iterator[list[Act]]:
    """Every act of the demo; what they need is made in an AWS in memory, and nothing is served to them."""
    with mock_aws(), LocalCrm() as crm, LocalStripe() as stripe, Export() as export, Receiver(0) as deliveries, Website() as site:
        client("s3").create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": REGION})
        yield every_act(client, "data", create_table(client("dynamodb")), deliveries, Vendors(crm, stripe, export), site)


def test_every_type_of_job_that_does_somebodys_work_is_shown(of_the_demo: list[Act]) -> None:
    assert {act.request["type"] for act in of_the_demo} - {"echo", "fail"} == TYPES


@pytest.mark.parametrize("name", sorted(TYPES))
def test_each_type_is_shown_alone(of_the_demo: list[Act], name: str) -> None:
    assert {act.request["type"] for act in chosen(of_the_demo, [name])} == {name}


def test_every_act_is_for_a_queue_whose_worker_knows_its_type(of_the_demo: list[Act]) -> None:
    queues = load(ROOT, "local").queues
    for act in of_the_demo:
        assert act.request["type"] in Registry.discover(f"functions.{queues[act.request['queue']].worker}").describe()


def test_all_of_them_when_nothing_is_said() -> None:
    assert chosen(ACTS, []) == ACTS


def test_those_of_the_types_that_are_named() -> None:
    assert chosen(ACTS, ["echo"]) == [ACTS[0], ACTS[2]]


def test_a_type_that_it_has_no_job_of_is_named_with_those_that_it_has() -> None:
    with pytest.raises(NotAsExpected, match=r"no job of type ehco; it has echo, fail\."):
        chosen(ACTS, ["echo", "ehco"])
