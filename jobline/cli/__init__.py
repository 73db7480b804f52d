"""`jobs`: the command line of a deployment. One line on stderr says what went wrong; nobody ever sees a traceback.

Exit codes: 0 it worked, 1 it failed, 2 the command was wrong, 3 there is no such job, queue or type, 4 not allowed, 5 the job's
state does not allow it, 6 the job that was waited for ended otherwise than done, 7 it did not end in time, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import NoReturn

from jobline.cli.failures import FAILED, INTERRUPTED, complain, complain_of, exit_code
from jobline.errors import JoblineError

_NAMES = ("jobs", "jobline")


def main() -> NoReturn:
    """The program `jobs`, or `jobline`, which is the same under a name that no shell has taken."""
    called = PurePath(sys.argv[0]).name
    _speak_any_text()
    try:
        code = run(sys.argv[1:], program=called if called in _NAMES else _NAMES[0])
    except KeyboardInterrupt:  # pressed while the failure was being told
        code = INTERRUPTED
    sys.exit(code)


def run(arguments: Sequence[str], *, program: str = "jobs") -> int:
    """Runs one command; its exit code."""
    try:
        import typer
        from typer.exceptions import TyperException

        from jobline.cli.app import app

        command = typer.main.get_command(app)
    except KeyboardInterrupt:
        return INTERRUPTED
    try:
        code = command.main(args=list(arguments), prog_name=program, standalone_mode=False)
    except TyperException as error:  # what Typer itself says of a wrong command line
        complain(error.format_message())
        return error.exit_code
    except JoblineError as error:
        complain_of(error)
        return exit_code(error)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("JOBS_DEBUG"):
            raise
        complain(f"This is a defect of jobs: {type(error).__name__}: {error} (JOBS_DEBUG=1 shows where)")
        return FAILED
    return code if isinstance(code, int) else 0


def _speak_any_text() -> None:
    """Lets no letter stop a command: where the terminal's encoding lacks one, it is shown as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
