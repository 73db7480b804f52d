"""`jobs`: the command line of a deployment. One line on stderr says what went wrong; nobody ever sees a traceback.

Exit codes: 0 it worked, 1 it failed, 2 the command was wrong, 3 there is no such job, queue or type, 4 not allowed, 5 the job's
state does not allow it, 6 the job that was waited for ended otherwise than done, 7 it did not end in time, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from jobline.cli.failures import FAILED, complain, complain_of, exit_code
from jobline.errors import JoblineError

INTERRUPTED: Final = 130


def main() -> NoReturn:
    """The program `jobs`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command; its exit code."""
    import typer
    from typer.exceptions import TyperException

    from jobline.cli import job_commands, operator_commands  # noqa: F401  their commands are added to the app
    from jobline.cli.commands import app

    try:
        code = app(args=list(arguments), prog_name="jobs", standalone_mode=False)
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
