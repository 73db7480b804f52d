"""Declaring types of job, and finding what a worker's folder declares."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest
from msgspec import Meta

import jobline
from jobline import Cancel, Context, NonRetryable, RetryAfter, Snooze, job
from jobline.errors import InvalidDefinitions, InvalidJob, UnknownType
from jobline.registry import InvalidJobType, JobType, Registry, main
from jobline.retry import RetryPolicy
from jobline.testing import make_context

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers

ROOT = Path(__file__).parents[2]
WORKERS = ("notifications", "media", "integrations", "diagnostics")
Folder = Callable[..., str]
_numbers = itertools.count()


class Point(msgspec.Struct, forbid_unknown_fields=True):
    x: Annotated[int, Meta(ge=0, description="Steps to the east.")]
    y: int = 7


Patterned = Annotated[str, Meta(pattern="^a")]


class Nest(msgspec.Struct):
    inside: list[Nest]
    value: Patterned | list[str] | None = None


@job("walk", timeout=30, max_attempts=5, retry={"backoff": "fixed", "base_delay": 1000})
def walk(payload: Point, ctx: Context) -> dict[str, int]:
    """Walks there.

    More that nobody needs in a list.
    """
    return {"x": payload.x, "attempt": ctx.attempt}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """Makes a worker's folder of the given modules and returns its package name."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def make(**modules: str) -> str:
        name = f"trial_{next(_numbers)}"
        (tmp_path / name).mkdir()
        for module, text in {"__init__": "", **modules}.items():
            (tmp_path / name / f"{module}.py").write_text(text)
        return name

    yield make
    for name in set(sys.modules) - before:
        if name.startswith("trial_"):
            del sys.modules[name]


def handler_text(name: str, function: str = "run", head: str = "") -> str:
    return f"{head}\nfrom jobline import job\n@job({name!r})\ndef {function}(payload: dict, ctx: object) -> None:\n    '''Runs.'''\n"


# Declaring


def test_a_declared_handler_can_be_called_like_the_function_it_was() -> None:
    assert walk(Point(x=3), make_context(attempt=2)) == {"x": 3, "attempt": 2}


def test_a_type_keeps_what_its_declaration_said() -> None:
    assert (walk.name, walk.timeout, walk.max_attempts, walk.payload_type) == ("walk", 30, 5, Point)
    assert walk.retry == RetryPolicy(backoff="fixed", base_delay=1000)
    assert walk.summary == "Walks there."


def test_max_attempts_may_be_said_in_the_retry_policy_and_is_kept_in_one_place() -> None:
    @job("a", retry={"max_attempts": 4})
    def declared(payload: dict[str, Any], ctx: Context) -> None: ...

    assert (declared.max_attempts, declared.retry) == (4, None)


def test_a_parameter_after_the_two_may_have_a_default() -> None:
    @job("a")
    def declared(payload: dict[str, Any], ctx: Context, *, http: object = None) -> None: ...

    assert declared.name == "a"


def test_annotations_for_the_type_checker_alone_are_not_evaluated() -> None:
    @job("a")
    def declared(payload: dict[str, Any], ctx: Context) -> OnlyForTypeCheckers: ...  # type: ignore[empty-body]

    assert declared.payload_type == dict[str, Any]


def declare(function: Callable[..., Any], name: Any = "a", **options: Any) -> JobType:
    return job(name, **options)(function)


def good(payload: dict[str, Any], ctx: Context) -> None: ...
def without_annotation(payload, ctx) -> None: ...  # type: ignore[no-untyped-def]
def with_one_parameter(payload: Point) -> None: ...
def with_three_parameters(payload: Point, ctx: Context, more: int) -> None: ...
def with_an_unknown_type(payload: Nowhere, ctx: Context) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def with_an_unreadable_type(payload: dict[int, Point] | Point, ctx: Context) -> None: ...
async def asynchronous(payload: Point, ctx: Context) -> None: ...
def generator(payload: Point, ctx: Context) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "options", "complaint"),
    [
        (good, {"name": "Upper"}, "no name of a type"),
        (good, {"name": "a" * 65}, "no name of a type"),
        (good, {"name": ""}, "no name of a type"),
        (good, {"timeout": 0}, "timeout is a whole number from 1 to 870, not 0"),
        (good, {"timeout": 871}, "timeout is a whole number from 1 to 870, not 871"),
        (good, {"timeout": 1.5}, "timeout is a whole number"),
        (good, {"timeout": True}, "timeout is a whole number"),
        (good, {"max_attempts": 101}, "max_attempts is a whole number from 1 to 100"),
        (good, {"retry": {"backof": "fixed"}}, "backof"),
        (good, {"retry": {"jitter": 2}}, "jitter"),
        (good, {"retry": RetryPolicy(base_delay=-1)}, "base_delay"),
        (good, {"max_attempts": 3, "retry": {"max_attempts": 4}}, "give one of them"),
        (without_annotation, {}, "say the type of 'payload'"),
        (with_one_parameter, {}, "two parameters"),
        (with_three_parameters, {}, "two parameters"),
        (with_an_unknown_type, {}, "Nowhere"),
        (with_an_unreadable_type, {}, "cannot be read from JSON"),
        (asynchronous, {}, "neither async nor a generator"),
        (generator, {}, "neither async nor a generator"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_file_and_function(
    function: Callable[..., Any], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidJobType) as refused:
        declare(function, **options)
    assert complaint in refused.value.detail
    assert f"test_registry.py ({function.__name__})" in refused.value.detail


def test_the_decorator_without_its_name_is_refused() -> None:
    with pytest.raises(InvalidJobType, match=r"test_registry\.py \(good\): write @job\(\"name\"\)"):
        job(good)  # type: ignore[arg-type]


# Steering


@pytest.mark.parametrize("steering", [RetryAfter, Snooze])
@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 366 * 24 * 3600])
def test_a_job_cannot_be_put_off_by_no_real_time(steering: Callable[[float], Exception], seconds: float) -> None:
    with pytest.raises(ValueError, match="a job can be put off"):
        steering(seconds)


def test_steering_says_its_reason() -> None:
    assert str(RetryAfter(90, "they are busy")) == "they are busy"
    assert str(Snooze(1.5)) == "run again after 1.5 s"
    assert (NonRetryable("no such picture").reason, Cancel("not wanted").reason) == ("no such picture", "not wanted")


# The package's names


def test_the_name_job_is_the_decorator_whatever_was_imported_before() -> None:
    code = (
        "import jobline.job; from jobline.job import Job; from jobline import job; assert job('a').__name__ == 'declare', job; print(Job)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_exists() -> None:
    assert all(getattr(jobline, name) is not None for name in jobline.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        jobline.nonsense  # noqa: B018


def test_importing_the_package_loads_nothing_else() -> None:
    code = (
        "import sys; import jobline; print(sorted(name for name in sys.modules if name.split('.')[0] in ('jobline', 'msgspec', 'boto3')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['jobline']"


# Discovery


def test_every_module_of_the_folder_is_found_but_the_entry_module(folder: Folder) -> None:
    package = folder(one=handler_text("one"), two=handler_text("two"), handler="raise RuntimeError('only Lambda may import this')")
    assert sorted(Registry.discover(package).types) == ["one", "two"]


def test_a_type_that_one_module_imports_from_another_is_one_type(folder: Folder) -> None:
    package = folder(one=handler_text("one"), two="from .one import run as again")
    assert sorted(Registry.discover(package).types) == ["one"]


def test_two_handlers_of_one_name_are_refused_with_both_places(folder: Folder) -> None:
    package = folder(one=handler_text("same", "first"), two=handler_text("same", "second"))
    with pytest.raises(InvalidJobType) as refused:
        Registry.discover(package)
    assert refused.value.detail == f"two handlers are called 'same': {package}/one.py (first) and {package}/two.py (second)"


def test_a_missing_library_is_told_with_its_line_and_the_rule(folder: Folder) -> None:
    package = folder(one=handler_text("one", head="\nimport no_such_library"))
    with pytest.raises(InvalidJobType) as refused:
        Registry.discover(package)
    assert refused.value.detail.startswith(f"{package}/one.py, line 2 (import no_such_library): No module named 'no_such_library'")
    assert "Import a heavy library inside the handler" in refused.value.detail


def test_a_file_that_is_no_python_is_told_with_its_line(folder: Folder) -> None:
    package = folder(one="x = 1\ndef broken(:\n")
    with pytest.raises(InvalidJobType, match=rf"{package}/one\.py, line 2"):
        Registry.discover(package)


def test_a_module_is_no_folder() -> None:
    with pytest.raises(InvalidJobType, match="not a worker's folder"):
        Registry.discover("jobline.retry")


def test_a_folder_that_does_not_exist_is_told_so() -> None:
    with pytest.raises(InvalidDefinitions, match=r"No module named 'functions\.nowhere'"):
        Registry.discover("functions.nowhere")


# Decoding and describing

REGISTRY = Registry([walk])


def test_a_payload_arrives_as_its_type_with_its_defaults() -> None:
    assert REGISTRY.decode("walk", '{"x": 3}') == Point(x=3, y=7)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ('{"x": "3"}', "$.x"),
        ('{"x": -1}', "$.x"),
        ('{"x": 1, "z": 1}', "z"),
        ("{}", "x"),
        ("[]", "object"),
        ('{"x": 1', "truncated"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused_with_the_place(payload: str, complaint: str) -> None:
    with pytest.raises(InvalidJob) as refused:
        REGISTRY.decode("walk", payload)
    assert refused.value.detail.startswith("the payload does not fit walk: ")
    assert complaint in refused.value.detail


def test_an_unknown_type_is_told_with_those_there_are() -> None:
    with pytest.raises(UnknownType, match="no handler is called 'run'; this worker has walk"):
        REGISTRY.decode("run", "{}")


def test_the_description_has_what_the_api_needs() -> None:
    described = json.loads(json.dumps(REGISTRY.describe()))["walk"]
    schema = described.pop("schema")
    assert described == {
        "summary": "Walks there.",
        "timeout": 30,
        "max_attempts": 5,
        "retry": {"backoff": "fixed", "base_delay": 1000},
    }
    assert schema["$defs"]["Point"]["properties"]["x"] == {"type": "integer", "minimum": 0, "description": "Steps to the east."}


def test_a_payload_without_a_schema_is_refused_when_it_is_described() -> None:
    @job("a")
    def declared(payload: dict[str, object], ctx: Context) -> None: ...

    with pytest.raises(InvalidJobType, match="has no JSON Schema"):
        declared.describe()


@pytest.mark.parametrize("payload_type", [Patterned | list[int], dict[str, Patterned | dict[str, int]], Nest])
def test_a_type_over_which_msgspec_crashes_is_refused_when_it_is_described(payload_type: Any) -> None:
    described = replace(walk, payload_type=payload_type)
    with pytest.raises(InvalidJobType, match="crashes msgspec"):
        described.describe()


def test_msgspec_still_crashes_over_that_type() -> None:
    """When this fails, `_crashes` in `job_type` can go."""
    code = "import msgspec; from typing import Annotated as A; msgspec.json.Decoder(A[str, msgspec.Meta(pattern='a')] | list[int])"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONMALLOC": "debug"}, capture_output=True)
    assert done.returncode == -signal.SIGSEGV


def test_the_command_prints_a_workers_types(capsys: pytest.CaptureFixture[str], folder: Folder) -> None:
    assert main([folder(one=handler_text("one"))]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "one": {"summary": "Runs.", "schema": {"type": "object"}, "timeout": None, "max_attempts": None, "retry": None}
    }


def test_the_command_fails_with_one_sentence(capsys: pytest.CaptureFixture[str], folder: Folder) -> None:
    assert main([folder(one="import no_such_library")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main([]) == 2


# Our own workers


@pytest.mark.parametrize("worker", WORKERS)
def test_every_worker_can_be_described_by_the_command_without_its_heavy_libraries(worker: str) -> None:
    code = f"""
import sys
for heavy in ("boto3", "botocore", "PIL", "urllib3", "standardwebhooks"):
    sys.modules[heavy] = None
from jobline.registry import main
sys.exit(main(["functions.{worker}"]))
"""
    # The debug allocator ends a process whose memory was corrupted.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, env={**os.environ, "PYTHONMALLOC": "debug"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name, described in json.loads(done.stdout).items():
        assert described["summary"].endswith("."), name
        for struct in described["schema"].get("$defs", {}).values():
            for field, schema in struct["properties"].items():
                assert schema.get("description", "").endswith("."), f"{name}: {field} has no sentence"


def test_the_registry_run_as_a_program_knows_the_handlers_types() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "jobline.registry", "functions.diagnostics"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)) == ["chain", "crash", "echo", "fail", "sleep"]
