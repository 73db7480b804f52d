"""`jobs run`: a handler of a checkout in the CLI's own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

HANDLERS = '''
import sys, time
import msgspec
from jobline import Context, NonRetryable, Snooze, job

class Greet(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    how: str = "well"

@job("greet", timeout=30)
def greet(payload: Greet, ctx: Context) -> dict[str, object]:
    """Greet somebody."""
    ctx.progress(50, "half \\x1b[31mred")
    ctx.logger.info("greeting %s", payload.name)
    ctx.enqueue("other", {"a": 1}, delay="1h")
    how = payload.how
    if how == "badly":
        raise ValueError("no \\x1b[31mgreeting")
    if how == "never":
        raise NonRetryable("nobody")
    if how == "later":
        raise Snooze(60)
    if how == "exit":
        sys.exit(3)
    if how == "slowly":
        time.sleep(20)
    if how == "object":
        return object()
    return {"greeting": f"Hello, {payload.name}!", "attempt": ctx.attempt, "sender": ctx.setting("SENDER"), "queue": ctx.queue, "n": 1.0}
'''


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Checkout:
    """A checkout of somebody's, with one worker."""

    def __init__(self, root: Path) -> None:
        self.root = root
        worker = root / "functions" / "greetings"
        worker.mkdir(parents=True)
        (root / "functions" / "__init__.py").touch()
        (root / "queues.toml").write_text('[queues.hellos]\nworker = "greetings"\n')
        (worker / "__init__.py").write_text('"""Greets."""')
        (worker / "worker.toml").write_text('[environment]\nSENDER = "us@example.com"\n')
        (worker / "greet.py").write_text(HANDLERS)

    def run(self, *arguments: str, stdin: str = "", folder: str = ".") -> Ran:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("JOBS_", "AWS_", "JOBLINE_"))}
        done = subprocess.run(
            [sys.executable, "-c", "from jobline.cli import main; main()", "run", *arguments],
            cwd=self.root / folder,
            env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_handler_runs_with_its_context_and_without_any_aws(checkout: Checkout) -> None:
    ran = checkout.run("greet", "--payload", '{"name":"Ada"}', "--attempt", "2", folder="functions/greetings")
    assert ran.code == 0
    greeting = {"greeting": "Hello, Ada!", "attempt": 2, "sender": "us@example.com", "queue": "hellos", "n": 1.0}
    assert json.loads(ran.out) == greeting
    assert ran.err.splitlines() == [
        "progress  50 % half \N{REPLACEMENT CHARACTER}[31mred",
        "info  greeting Ada",
        'would enqueue  other {"payload": {"a": 1}, "delay": "1h"}',
    ]
    assert checkout.run("greet", "--payload", "-", "-o", "jsonl", stdin='{"name":"Ada"}').out.count("\n") == 1


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("badly", 6, ["ValueError: no  [31mgreeting", 'functions/greetings/greet.py, line 18: raise ValueError("no \\x1b[31mgreeting")']),
        ("never", 6, ["NonRetryable: nobody", "would not be tried again"]),
        ("later", 6, ["put the job off by 60 s"]),
        ("exit", 6, ["SystemExit: 3"]),
        ("object", 6, ["TypeError"]),
    ],
)
def test_how_an_attempt_ended_is_said_and_is_no_success(checkout: Checkout, how: str, code: int, words: list[str]) -> None:
    ran = checkout.run("greet", "--payload", json.dumps({"name": "Ada", "how": how}))
    assert (ran.code, ran.out) == (code, "")
    assert all(word in ran.err for word in words), ran.err


def test_a_handler_that_takes_too_long_is_stopped(checkout: Checkout) -> None:
    ran = checkout.run("greet", "--payload", '{"name":"Ada","how":"slowly"}', "--timeout", "0.2")
    assert (ran.code, "took longer than 0.2 s" in ran.err) == (6, True)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["greet"], 2, "payload/name is missing"),
        (["greet", "--payload", '{"name":1}'], 2, "must be a string"),
        (["greet", "--payload", "{"], 2, "--payload"),
        (["greet", "--payload", '{"name":"Ada"}', "--timeout", "soon"], 2, "--timeout"),
        (["meet"], 3, "there are greet"),
        (["greet", "--stage", "P!"], 1, "no name of a stage"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_runs(checkout: Checkout, arguments: list[str], code: int, word: str) -> None:
    ran = checkout.run(*arguments)
    assert (ran.code, ran.out) == (code, "")
    assert word in ran.err
    assert "progress" not in ran.err


def test_outside_a_checkout_there_is_nothing_to_run(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> None:
    checkout.root = tmp_path_factory.mktemp("elsewhere")
    ran = checkout.run("greet")
    assert (ran.code, "queues.toml" in ran.err) == (1, True)


def test_a_module_that_cannot_be_imported_is_named(checkout: Checkout) -> None:
    (checkout.root / "functions" / "greetings" / "broken.py").write_text("import nonesuch")
    ran = checkout.run("greet", "--payload", '{"name":"Ada"}')
    assert (ran.code, "functions/greetings/broken.py, line 1" in ran.err) == (1, True)


def test_a_debugger_opens_where_the_handler_failed_or_where_it_begins(checkout: Checkout) -> None:
    failing = ("greet", "--payload", '{"name":"Ada","how":"badly"}')
    ran = checkout.run(*failing, "--debug", stdin="p 'how is', how\nq\n")
    assert ran.code == 6
    assert "('how is', 'badly')" in ran.out
    stepped = checkout.run("greet", "--payload", '{"name":"Ada"}', "--step", stdin="p payload.name\nc\n")
    assert (stepped.code, "'Ada'" in stepped.out, "Hello, Ada!" in stepped.out) == (0, True, True)
