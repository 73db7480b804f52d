"""Every log line is one JSON object on one line, whatever is logged, and tells no secret."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aws_lambda_powertools.logging.filters import SuppressFilter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobline import Context, job
from jobline.attempt import Failed, attempt
from jobline.log_lines import LONGEST_LINE, Printed, RedactedFormatter, log_line
from jobline.redaction import Redactor
from jobline.registry import Registry
from jobline.testing import make_context
from jobline.wiring import make_log

ROOT = Path(__file__).parents[2]
HOSTILE = (
    *(
        "a\r\nb",
        "\x1b[31mred\x1b[0m",
        "</script><script>alert(1)</script>",
        "\u2028\u2029",
        "\ud800",
        "\x00",
        "\x85\x9b",
        '{"level":"FATAL"}',
    ),
    *("NaN", "1e999", "[" * 100_000, "%s %d %(x)s", "x" * 1_000_000),
)


class Unshowable:
    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__


class Shouting(str):
    def __str__(self) -> str:
        raise ValueError("no")


def circular() -> Any:
    whole: dict[str, Any] = {}
    whole["itself"] = [whole]
    return whole


THINGS = (
    float("nan"),
    float("-inf"),
    10**60,
    b"\xff\n",
    circular(),
    {1: 2, None: 3},
    {"a": {1, 2}},
    object(),
)

texts = st.one_of(st.text(st.characters(exclude_categories=())), st.sampled_from(HOSTILE))
things = st.recursive(
    st.one_of(texts, st.none(), st.booleans(), st.integers(), st.floats(), st.binary(), st.sampled_from(THINGS)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4), st.tuples(inner, inner)),
    max_leaves=8,
)


class Bench:
    """The real logger, writing to where we can read it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", f"test-{uuid4()}")
        monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "INFO")
        self.redactor = Redactor()
        self.out = io.StringIO()
        self.log = make_log(self.redactor, stream=self.out)

    def line(self) -> dict[str, Any]:
        """The only line since the last time."""
        text = self.out.getvalue()
        self.out.seek(0)
        self.out.truncate()
        return one_line(text)


def one_line(text: str) -> dict[str, Any]:
    text.encode()  # no half of a character
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1, text[:500]
    assert not set(text[:-1]) & set("\r\x1b\x00\x9b\x7f")
    assert "</script>" not in text
    assert len(text) <= LONGEST_LINE + 1
    found = json.loads(text, parse_constant=pytest.fail)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(monkeypatch)
    ours, others = SuppressFilter(bench.log.name), list(logging.root.handlers)
    for handler in others:  # pytest's own handlers cannot format everything
        handler.addFilter(ours)
    yield bench
    for handler in others:
        handler.removeFilter(ours)


fixed_bench = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


@fixed_bench
@given(message=things, field=things)
def test_whatever_is_logged_is_one_line_of_json(bench: Bench, message: Any, field: Any) -> None:
    bench.log.warning(message, job=field, error=field)
    assert bench.line()["level"] == "WARNING"


@fixed_bench
@given(message=texts, arguments=st.lists(things, max_size=3))
def test_arguments_that_do_not_fit_the_message_cost_no_line(bench: Bench, message: str, arguments: list[Any]) -> None:
    bench.log.error(message, *arguments)
    assert bench.line()["level"] == "ERROR"


@fixed_bench
@given(message=things)
def test_an_exception_is_one_line_of_json(bench: Bench, message: Any) -> None:
    try:
        raise ValueError(message)
    except ValueError as error:
        bench.log.error("the request failed", exc_info=error)
    line = bench.line()
    assert line["exception_name"] == "ValueError" or "not_formatted" in line


UNSHOWABLE = (
    Unshowable(),
    Shouting("text"),
    10**5000,
    [Unshowable()],
    {"a": Shouting("text")},
    {Unshowable(): 10**5000},
    ValueError(Unshowable()),
)
"""What hypothesis itself cannot show."""


@pytest.mark.parametrize("thing", [*HOSTILE, *THINGS, *UNSHOWABLE], ids=range(len(HOSTILE) + len(THINGS) + len(UNSHOWABLE)))
def test_each_hostile_thing_is_one_line(bench: Bench, thing: Any) -> None:
    bench.log.info(thing, thing=thing)
    bench.line()
    bench.log.error("%s", thing, exc_info=ValueError(thing))
    bench.line()


def test_a_text_stays_the_text_that_it_is(bench: Bench) -> None:
    bench.log.info('{"level":"FATAL"}')
    assert bench.line()["message"] == '{"level":"FATAL"}'
    bench.log.info("Grüße, 世界 </p>")
    assert bench.line()["message"] == "Grüße, 世界 </p>"


def test_a_long_text_is_cut_and_says_so(bench: Bench) -> None:
    bench.log.info("x" * 10_000)
    assert bench.line()["message"].endswith("x… (10000 characters)")


def test_no_line_of_ours_has_a_field_that_logging_keeps_for_itself() -> None:
    """`logging` raises KeyError for a field called `message` or `name`, and the function that wanted to log would fail."""
    reserved = {*vars(logging.makeLogRecord({})), "message", "asctime"} - {"exc_info", "stack_info"}
    found = []
    for file in [*(ROOT / "jobline").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("info", "warning", "error"):
                found += [f"{file.name}:{node.lineno} {each.arg}" for each in node.keywords if each.arg in reserved]
    assert found == []


def test_a_secret_is_nowhere_in_a_line(bench: Bench) -> None:
    with bench.redactor.holding("a job", ["s3cret\n‹pass›word", "4111111111111111", "77"]):
        try:
            raise ValueError("s3cret\n‹pass›word")
        except ValueError as error:
            bench.log.error(
                "no %s", ["s3cret\n‹pass›word"], card=4111111111111111, deep={"s3cret\n‹pass›word": "pin 77, not 775"}, exc_info=error
            )
    line = bench.line()
    assert "pass" not in json.dumps(line)
    assert line["card"] == "***"
    assert line["deep"] == {"***": "pin ***, not 775"}
    bench.log.info("s3cret\n‹pass›word")
    assert "s3cret" in bench.line()["message"], "what no running job has is no secret"


def test_what_is_printed_becomes_lines(bench: Bench) -> None:
    out = io.StringIO()
    printed: Any = Printed(out, bench.redactor)
    bench.redactor.keep("hunter2hunter2")
    print("one hunter2hunter2\x1b[0m\rand", "two", file=printed)
    assert one_line(out.getvalue()) == {"level": "INFO", "message": "one ***\x1b[0m\rand two", "printed": True}
    out.seek(0)
    out.truncate()
    print('{"_aws": {"x": 1}, "queue": "hunter2hunter2"}', file=printed)
    assert one_line(out.getvalue()) == {"_aws": {"x": 1}, "queue": "***"}, "a metric stays a metric"


@fixed_bench
@given(pieces=st.lists(texts, max_size=4))
def test_whatever_is_printed_is_lines_of_json(bench: Bench, pieces: list[str]) -> None:
    out = io.StringIO()
    printed: Any = Printed(out, bench.redactor)
    for piece in pieces:
        print(piece, file=printed)
    for line in out.getvalue().split("\n")[:-1]:
        one_line(line + "\n")


def test_another_formatters_json_stays_json_without_secrets() -> None:
    redactor = Redactor()
    formatter = RedactedFormatter(logging.Formatter('{"message": "%(message)s", "n": 123456}\n'), redactor)
    record = logging.makeLogRecord({"msg": "no secret"})
    assert formatter.format(record) == '{"message": "no secret", "n": 123456}\n'
    redactor.hold("job", ["123456"])
    assert one_line(formatter.format(record)) == {"message": "no secret", "n": "***"}


def test_a_line_that_is_too_long_keeps_its_level() -> None:
    line = log_line({"level": "ERROR", "message": ["x" * 8_000] * 100}, Redactor())
    assert json.loads(line)["level"] == "ERROR"
    assert len(line) < LONGEST_LINE


def test_what_a_handler_writes_names_its_job_and_nothing_else_does(bench: Bench) -> None:
    lines: list[dict[str, Any]] = []

    @job("speak")
    def speak(payload: Any, ctx: Context) -> None:
        bench.log.info("from the handler")
        lines.append(bench.line())
        bench.log.info("about another", job="other")
        lines.append(bench.line())
        Printed(bench.out, Redactor()).write("printed\n")
        lines.append(bench.line())
        raise ValueError("and it ends badly")

    context = make_context("speak")
    ending = attempt(Registry([speak]), lambda: "null", context, 10)
    bench.log.info("afterwards")

    assert isinstance(ending, Failed)
    assert [line.get("job") for line in [*lines, bench.line()]] == [context.id, "other", context.id, None]
