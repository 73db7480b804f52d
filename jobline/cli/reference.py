"""`docs/cli.md`: the help of every command, as it is printed, and what the help has no room for.

`python -m jobline.cli.reference` writes it; a test compares it with the commands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from typer.main import get_command

from jobline.cli.app import SECTIONS, Later, app
from jobline.cli.failures import EXIT_CODES

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
_WIDTH: Final = 100
_INTRODUCTION: Final = """\
# The CLI `jobs`

Written by `python -m jobline.cli.reference` from the commands' own help.

bash and zsh have a builtin called `jobs`: inside an activated environment call the CLI `jobline`, which is the same, or `enable -n jobs`
(bash), `disable jobs` (zsh) first.

## Which deployment

The first of these that says so decides, and `jobs config` shows which one it was:

1. `--api-url`, `--profile`, `--stack` on the command line;
2. `JOBS_API_URL`, `JOBS_PROFILE`, `JOBS_STACK` in the environment;
3. `.jobline/local.json`, the note of a running `make dev`, in this folder or above;
4. the config file's default profile: `jobs config set stack Jobline-prod --profile prod`, `jobs config use prod`;
5. the only Jobline stack of the account and region.

The config file is where the system keeps settings (`~/.config/jobline/config.toml` on Linux), or what `JOBS_CONFIG_FILE` names. What is
found by a stack is remembered for an hour. Requests are signed with the credentials that AWS's own tools would use, or carry the bearer
token `JOBS_TOKEN` beside a deployment that was named. The Python clients find their deployment in the same way.

## What is printed

`-o table` is for people; `json` is what the API answered, `jsonl` the same on one line each, `name` ids or names alone, one a line:

    jobs list emails --status failed -o name | jobs retry -
    jobs list emails --status failed -o name | xargs -n1 jobs retry

Only what a command found goes to stdout; words about it, progress and bars go to stderr, bars at a terminal only. Colours are left out
where stdout is no terminal or `NO_COLOR` is set. Control characters in jobs' data are never printed as they are. Verbs that cannot be
undone ask at a terminal and want `--yes` elsewhere. `JOBS_DEBUG=1` shows where a defect of the CLI itself is.

## Tab

`jobs --install-completion` in bash, zsh or fish; `jobs --show-completion` prints the script. Commands, options, states, queues and types
are offered, the last two as the deployment has them.

"""


def page() -> str:
    """The whole page."""
    return _INTRODUCTION + "\n".join(_exit_codes()) + "\n\n" + "\n".join(line for part in _commands() for line in part) + "\n"


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n\n| code | means |\n|---|---|"
    yield from (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())


def _commands() -> Iterator[Iterator[str]]:
    root: Any = get_command(app)
    with root.make_context("jobs", [], resilient_parsing=True, terminal_width=_WIDTH, max_content_width=_WIDTH) as context:
        yield _help("jobs", root.get_help(context))
        for section, commands in SECTIONS.items():
            yield iter([f"## {section}\n"])
            for name, (module, summary) in commands.items():
                yield from _of(f"jobs {name}", Later(name, module, summary).load(), context)


def _of(title: str, command: Any, parent: Any) -> Iterator[Iterator[str]]:
    name = title.rpartition(" ")[2]
    with command.make_context(name, [], parent=parent, resilient_parsing=True) as context:
        yield _help(title, command.get_help(context))
        for below, each in getattr(command, "commands", {}).items():
            yield from _of(f"{title} {below}", each, context)


def _help(title: str, text: str) -> Iterator[str]:
    yield f"### {title}\n\n```text"
    yield from (line.rstrip() for line in text.splitlines())
    yield "```\n"


def main() -> int:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
