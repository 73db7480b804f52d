"""Jobs that enqueue jobs: each child is made once, however often its parent is attempted, and no loop goes on for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from functions.diagnostics.chain import chain
from jobline.context import Context
from jobline.definitions import Definitions, Queue, Worker
from jobline.errors import InvalidJob, InvalidSettings, TooDeep, UnknownType
from jobline.job import Job, Status
from jobline.job_type import JobType, job
from jobline.memory_deployment import MemoryDeployment
from jobline.testing import RecordedChildren, make_context
from tests.factories import NOW


class Note(msgspec.Struct):
    text: str


@job("note")
def note(payload: Note, ctx: Context) -> str:
    return payload.text


def deploy(*types: JobType, **queue: Any) -> MemoryDeployment:
    queues = {name: Queue(name=name, worker="notes", **queue) for name in ("first", "second")}
    return MemoryDeployment(
        Definitions(stage="test", queues=queues, workers={"notes": Worker(name="notes")}), {"notes": [*types, note]}, start=NOW
    )


def children(deployment: MemoryDeployment, parent: Job) -> list[Job]:
    found = [each for each in deployment.store.jobs.values() if each.parent_id == parent.id]
    return sorted(found, key=lambda each: each.id)


def test_a_child_runs_and_names_its_parent() -> None:
    @job("parent")
    def parent(payload: Any, ctx: Context) -> str:
        return ctx.enqueue(note, Note(text="hello"), priority=2, tags=["child"])

    deployment = deploy(parent)
    made = deployment.enqueue("parent", queue="first")
    deployment.run_until_idle()
    (child,) = children(deployment, made)
    assert deployment.result(made.id) == child.id
    assert (child.status, child.queue, child.depth, child.priority, child.tags) == (Status.DONE, "first", 1, 2, ("child",))
    assert deployment.result(child.id) == "hello"


def test_attempts_that_fail_make_no_child_twice() -> None:
    @job("parent", retry={"backoff": "immediate"})
    def parent(payload: Any, ctx: Context) -> None:
        for n in range(5):
            if n == ctx.attempt:
                raise ValueError("half-way")
            ctx.enqueue("note", {"text": f"attempt {ctx.attempt}, child {n}"})

    deployment = deploy(parent)
    made = deployment.enqueue("parent", queue="first", max_attempts=9)
    deployment.advance("10m")
    assert deployment.job(made.id).status is Status.DONE
    # What the first attempt to come that far said is what counts.
    texts = sorted(str(deployment.result(each.id)) for each in children(deployment, made))
    assert texts == ["attempt 1, child 0", "attempt 2, child 1", "attempt 3, child 2", "attempt 4, child 3", "attempt 5, child 4"]


def test_children_of_a_run_that_went_on_from_a_checkpoint_are_its_own() -> None:
    @job("parent", timeout=60)
    def parent(payload: Any, ctx: Context) -> None:
        for piece in range(ctx.cursor or 0, 10):
            ctx.enqueue("note", {"text": f"{piece} a"})
            ctx.enqueue("note", {"text": f"{piece} b"})
            deployment.now += timedelta(seconds=12)
            ctx.checkpoint(piece + 1)

    deployment = deploy(parent)
    made = deployment.enqueue("parent", queue="first")
    deployment.advance("30m")
    assert deployment.job(made.id).continued > 0
    texts = [deployment.result(each.id) for each in children(deployment, made)]
    assert sorted(map(str, texts)) == sorted(f"{piece} {which}" for piece in range(10) for which in "ab")


def test_a_key_names_a_child_whatever_the_order() -> None:
    @job("parent", retry={"backoff": "immediate"})
    def parent(payload: Any, ctx: Context) -> list[str]:
        names = ["x", "y"] if ctx.attempt == 1 else ["y", "x"]
        made = [ctx.enqueue("note", {"text": name}, key=name) for name in names]
        if ctx.attempt == 1:
            raise ValueError("again")
        return made

    deployment = deploy(parent)
    made = deployment.enqueue("parent", queue="first")
    deployment.advance("1m")
    assert [deployment.result(child) for child in deployment.result(made.id)] == ["y", "x"]
    assert len(children(deployment, made)) == 2


def test_a_key_of_the_handlers_own_is_never_taken_for_a_count() -> None:
    @job("parent")
    def parent(payload: Any, ctx: Context) -> list[str]:
        counted = [ctx.enqueue("note", {"text": f"child {n}"}) for n in (1, 2)]
        return [*counted, *(ctx.enqueue("note", {"text": f"key {key}"}, key=key) for key in ("1", "2", "#1"))]

    deployment = deploy(parent)
    made = deployment.enqueue("parent", queue="first")
    deployment.run_until_idle()
    texts = [deployment.result(child) for child in deployment.result(made.id)]
    assert texts == ["child 1", "child 2", "key 1", "key 2", "key #1"]


def test_many_children_at_once_are_each_made_once_however_often_that_is_repeated() -> None:
    @job("parent", retry={"backoff": "immediate"})
    def parent(payload: Any, ctx: Context) -> dict[str, Any]:
        first, last = (0, 40) if ctx.attempt == 1 else (30, 70)
        made = ctx.enqueue_many(note, {f"n-{n}": {"payload": Note(text=f"child {n}"), "priority": 2} for n in range(first, last)})
        if ctx.attempt == 1:
            raise ValueError("again")
        return dict(made)

    deployment = deploy(parent)
    made = deployment.enqueue("parent", queue="first")
    deployment.advance("1m")
    result = deployment.result(made.id)
    assert list(result) == [f"n-{n}" for n in range(30, 70)]
    assert {key: deployment.result(child) for key, child in result.items()} == {f"n-{n}": f"child {n}" for n in range(30, 70)}
    born = children(deployment, made)
    assert len(born) == 70
    assert {(child.status, child.queue, child.depth, child.priority) for child in born} == {(Status.DONE, "first", 1, 2)}


def test_a_key_names_the_same_child_alone_and_among_many() -> None:
    @job("parent")
    def parent(payload: Any, ctx: Context) -> bool:
        alone = ctx.enqueue(note, Note(text="x"), key="k")
        return ctx.enqueue_many(note, {"k": {"payload": {"text": "y"}}}) == {"k": alone}

    deployment = deploy(parent)
    made = deployment.enqueue("parent", queue="first")
    deployment.run_until_idle()
    assert deployment.result(made.id) is True
    assert len(children(deployment, made)) == 1


def test_of_many_children_those_that_can_never_be_made_are_told_and_the_others_made() -> None:
    @job("parent")
    def parent(payload: Any, ctx: Context) -> list[str]:
        made = ctx.enqueue_many("note", {"a": {"payload": {"text": "a"}}, "b": {"payload": {"txt": "b"}}, "c": {"dealy": 1}, "k" * 200: {}})
        return [key[:1] for key, outcome in made.items() if isinstance(outcome, InvalidJob)]

    deployment = deploy(parent)
    made = deployment.enqueue("parent", queue="first")
    deployment.run_until_idle()
    assert deployment.result(made.id) == ["b", "c", "k"]
    assert len(children(deployment, made)) == 1


def test_a_chain_of_forty_jobs_works() -> None:
    deployment = deploy(chain)
    deployment.enqueue("chain", {"links": 39}, queue="first")
    deployment.run_until_idle()
    jobs = list(deployment.store.jobs.values())
    assert len(jobs) == 40
    assert {each.status for each in jobs} == {Status.DONE}
    assert sorted(each.depth for each in jobs) == list(range(40))


def test_a_chain_that_goes_too_deep_is_refused_and_named() -> None:
    deployment = deploy(chain, max_attempts=1)
    deployment.enqueue("chain", {"links": 500}, queue="first")
    deployment.advance("1h")
    deepest = max(deployment.store.jobs.values(), key=lambda each: each.depth)
    assert (deepest.depth, len(deployment.store.jobs)) == (100, 101)
    assert deepest.status is Status.DEAD
    assert (deepest.error or "").startswith("TooDeep")
    assert "limit is 100" in (deepest.error or "")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda ctx: ctx.enqueue("note", {"txt": "?"}), InvalidJob),
        (lambda ctx: ctx.enqueue("nothing", {}), UnknownType),
        (lambda ctx: ctx.enqueue("note", {"text": "x"}, queue="third"), InvalidJob),
        (lambda ctx: ctx.enqueue("note", {"text": "x"}, dealy=5), InvalidJob),
        (lambda ctx: ctx.enqueue("note", {"text": "x"}, key="k" * 200), InvalidJob),
        (lambda ctx: ctx.enqueue("note", {"text": "x"}, idempotency_key="mine"), Exception),
    ],
)
def test_what_the_api_would_refuse_is_an_error_in_the_handler(call: Any, error: type[Exception]) -> None:
    caught: list[Exception] = []

    @job("parent")
    def parent(payload: Any, ctx: Context) -> None:
        try:
            call(ctx)
        except Exception as raised:
            caught.append(raised)
            raise

    deployment = deploy(parent, max_attempts=1)
    made = deployment.enqueue("parent", queue="first")
    deployment.advance("1m")
    assert deployment.job(made.id).status is Status.DEAD
    assert isinstance(caught[0], error)
    assert children(deployment, made) == []


def test_a_type_of_several_other_queues_must_be_told_which() -> None:
    @job("parent")
    def parent(payload: Any, ctx: Context) -> None:
        ctx.enqueue("note", {"text": "x"})

    queues = {"first": Queue(name="first", worker="parents")} | {name: Queue(name=name, worker="notes") for name in ("a", "b")}
    workers = {name: Worker(name=name) for name in ("parents", "notes")}
    deployment = MemoryDeployment(
        Definitions(stage="test", queues=queues, workers=workers), {"parents": [parent], "notes": [note]}, start=NOW
    )
    made = deployment.enqueue("parent", max_attempts=1)
    deployment.advance("1m")
    assert deployment.job(made.id).error == "UnknownType: type 'note' can go to a, b: say queue="


def test_a_handlers_own_test_sees_what_it_enqueued() -> None:
    recorded = RecordedChildren()
    result = chain(msgspec.convert({"links": 3}, chain.payload_type), make_context(children=recorded))
    assert result == {"next": "child-1"}
    make_context(children=recorded).enqueue("note", key="n-1")
    assert [(child.key, child.type, child.fields) for child in recorded.enqueued] == [
        (None, "chain", {"payload": {"links": 2}}),
        ("n-1", "note", {}),
    ]


def test_too_deep_is_a_problem_of_its_own() -> None:
    assert issubclass(TooDeep, InvalidJob)
    context = make_context()
    context.tools.children = None
    with pytest.raises(InvalidSettings):
        context.enqueue("note")
