"""What Tab offers, by the protocol that the shells' own scripts use, and in bash itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import Cli

PROGRAM = [sys.executable, "-c", "from jobline.cli import main; main()"]


@pytest.fixture
def environment(cli: Cli) -> dict[str, str]:
    """A home of its own, where `jobs` is on PATH."""
    program = cli.folder / "bin" / "jobs"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom jobline.cli import main\nmain()\n")
    program.chmod(0o755)
    return {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(cli.folder),
        "XDG_CACHE_HOME": str(cli.folder / "cache"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


def offered(environment: dict[str, str], folder: Path, shell: str, words: str) -> list[str]:
    """What is offered for the last of these words."""
    asked = {
        "bash": {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": words},
        "fish": {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    done = subprocess.run(
        PROGRAM, env=environment | asked | {"_JOBS_COMPLETE": f"complete_{shell}"}, cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_offered_the_commands(cli: Cli, environment: dict[str, str], shell: str) -> None:
    found = "\n".join(offered(environment, cli.folder, shell, "jobs re"))
    assert all(name in found for name in ("retry", "replay", "reschedule", "resume", "redrive"))
    assert "enqueue" not in found


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("jobs stats em", ["emails"]),
        ("jobs enqueue ", ["emails", "images", "letters", "operations"]),
        ("jobs enqueue images ", ["image_resize"]),
        ("jobs list emails --status re", ["retrying"]),
        ("jobs list emails --type ", ["image_resize", "purge", "redrive", "send_email"]),
        ("jobs types send", ["send_email"]),
        ("jobs stats emails --output j", ["json", "jsonl"]),
        ("jobs open st", ["stack"]),
        ("jobs config s", ["set"]),
        ("jobs list emails --wat", ["--watch"]),
    ],
)
def test_queues_types_states_and_options_are_offered(cli: Cli, environment: dict[str, str], words: str, names: list[str]) -> None:
    assert set(names) <= set(offered(environment, cli.folder, "bash", words))


def test_a_name_is_asked_for_once_a_minute(cli: Cli, environment: dict[str, str]) -> None:
    for _ in range(2):
        assert offered(environment, cli.folder, "bash", "jobs stats em") == ["emails"]
    assert [request.target.rpartition("/")[2] for request in cli.api.received] == ["queues"]


def test_where_no_deployment_answers_nothing_is_offered_and_nothing_said(cli: Cli, environment: dict[str, str]) -> None:
    (cli.folder / ".jobline" / "local.json").write_text("{")
    assert offered(environment, cli.folder, "bash", "jobs stats em") == []
    assert offered(environment, cli.folder, "bash", "jobs st") == ["status", "stats"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_itself_completes_with_the_script_that_is_installed(cli: Cli, environment: dict[str, str]) -> None:
    script = """
        enable -n jobs
        [ "$(jobs --show-completion | head -n 1)" = "_jobs_completion() {" ] || exit 7
        jobs --install-completion >/dev/null || exit 8
        source ~/.bashrc
        COMP_WORDS=(jobs stats em); COMP_CWORD=2
        $(complete -p jobs | sed -n 's/.* -F \\([a-z_]*\\) .*/\\1/p') jobs
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script], env=environment, cwd=cli.folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "emails\n"), done.stderr
