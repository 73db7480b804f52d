"""Errors over HTTP: each has a status, each says enough, none says too much."""

from __future__ import annotations

import json

import pytest

from jobline import errors
from jobline.problems import is_mapped, problem


def every_error(of: type[errors.JoblineError] = errors.JoblineError) -> list[type[errors.JoblineError]]:
    return [of, *(found for kind in of.__subclasses__() for found in every_error(kind))]


def test_every_error_class_of_the_tree_has_a_status_of_its_own() -> None:
    declared = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.JoblineError)]
    assert len(declared) > 15
    assert [kind.__name__ for kind in declared if not is_mapped(kind)] == []


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_becomes_a_complete_problem_document(kind: type[errors.JoblineError]) -> None:
    answer = problem(kind("the detail"), "request-1")
    json.dumps(answer.document)
    assert answer.document["status"] == answer.status
    assert 400 <= answer.status <= 599
    assert answer.document["type"].startswith("urn:jobline:problem:")
    assert answer.document["title"].endswith(".")
    assert answer.document["detail"]
    assert answer.document["request_id"] == "request-1"


def test_an_error_class_outside_the_tree_is_answered_like_the_nearest_one_inside() -> None:
    class Odd(errors.Conflict):
        """Odd."""

    assert problem(Odd(), "r").status == 409


@pytest.mark.parametrize(
    "error", [KeyError("secret"), errors.CorruptRecord("secret"), errors.InvalidSettings("secret"), errors.JoblineError("secret")]
)
def test_what_is_our_fault_tells_the_request_id_and_nothing_of_the_inside(error: Exception) -> None:
    answer = problem(error, "request-1")
    assert answer.status == 500
    assert answer.ours
    assert "secret" not in json.dumps(answer.document)
    assert "request-1" in answer.document["detail"]


def test_unavailable_asks_to_come_back_and_keeps_the_aws_message_to_itself() -> None:
    answer = problem(errors.Unavailable("creating a job: arn:aws:dynamodb:…"), "r")
    assert answer.status == 503
    assert answer.headers == {"Retry-After": "1"}
    assert not answer.ours
    assert "arn" not in json.dumps(answer.document)


def test_a_refused_method_says_which_are_allowed() -> None:
    answer = problem(errors.MethodNotAllowed("PUT", allow=["DELETE", "GET"]), "r")
    assert answer.headers == {"Allow": "DELETE, GET"}


def test_every_wrong_place_is_named_by_its_pointer() -> None:
    wrong = (errors.FieldProblem("/priority", "must be 1 to 10"), errors.FieldProblem("/queue", "is missing"))
    document = problem(errors.InvalidJob("two things", problems=wrong), "r").document
    assert document["errors"] == [{"pointer": "/priority", "detail": "must be 1 to 10"}, {"pointer": "/queue", "detail": "is missing"}]


def test_facts_of_the_error_are_members_of_the_document_and_never_hide_the_standard_ones() -> None:
    document = problem(errors.AmbiguousId("two jobs", candidates=["a", "b"], status="mine"), "r").document
    assert document["candidates"] == ["a", "b"]
    assert document["status"] == 409
