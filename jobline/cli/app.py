"""Which commands `jobs` has. A command's module is imported when it is called: `jobs --help` and completion need none of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from jobline.cli.context import Given
from jobline.cli.failures import EXIT_CODES
from jobline.cli.spare import spare

SECTIONS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "Jobs": {
        "enqueue": ("enqueue_command", "Ask for a job, or for many."),
        "batch": ("batch_command", "Make jobs that belong together, and see how they stand."),
        "status": ("job_commands", "Show jobs: state, payload, result and error."),
        "list": ("list_command", "List jobs of a queue."),
        "wait": ("job_commands", "Wait for a job's end and show it."),
        "why": ("job_commands", "Say why a job is not running."),
        "events": ("job_commands", "Show what happened to a job, oldest first."),
        "logs": ("logs_command", "Show what the functions logged, of one job or of all."),
        "retry": ("change_commands", "Run failed, dead, cancelled or expired jobs again now."),
        "cancel": ("change_commands", "Make sure that jobs do not start; of a running job this is a request."),
        "reschedule": ("change_commands", "Move a job that has not started to another time or priority."),
        "replay": ("change_commands", "Make a new job with the request of an old one, in whatever state that is."),
        "run": ("run_command", "Run one handler here, in this process, with no queue."),
    },
    "Queues": {
        "queues": ("queue_commands", "List the queues of the deployment."),
        "types": ("queue_commands", "List the types of job, or show what one of them takes."),
        "stats": ("queue_commands", "Show a queue's numbers."),
        "pause": ("operator_commands", "Keep a queue's jobs from starting; those that run go on to their end."),
        "resume": ("operator_commands", "Let a paused queue's jobs start again."),
        "purge": ("operator_commands", "Cancel what waits in a queue and delete what is over; what runs is left alone."),
        "redrive": ("operator_commands", "Run a queue's dead jobs (or others that ended badly) again, now."),
        "schedules": ("schedule_commands", "List the schedules; create, pause, resume, run and delete them."),
        "topics": ("topic_commands", "List the topics; publish to one, see what subscribes, subscribe, unsubscribe."),
    },
    "Deployment": {
        "doctor": ("doctor_command", "Look for what is wrong with the deployment and with this machine."),
        "open": ("open_command", "Open a page of the deployment in a browser."),
        "config": ("config_command", "Show which deployment is meant and why; keep it in a file."),
    },
}
"""Every command by the section of the help that it stands in: the module under `jobline.cli` that has it, and what it does."""


class Later(TyperCommand):
    """A command whose module is imported when it is called."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name=name, short_help=summary, rich_markup_mode=None)
        self._module = module

    def load(self) -> TyperCommand | TyperGroup:
        """The command itself."""
        group: Any = get_command(import_module(f"jobline.cli.{self._module}").app)
        command: TyperCommand | TyperGroup = group.commands[self.name]
        _spare_all(command)
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self.load().make_context(info_name, args, parent, **extra)


class Commands(TyperGroup):
    """All commands, none of them loaded."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for commands in SECTIONS.values():
            for name, (module, summary) in commands.items():
                self.add_command(Later(name, module, summary))

    def get_params(self, ctx: Any) -> Any:
        parameters = super().get_params(ctx)
        spare(parameters)
        return parameters

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, summary) for name, (_, summary) in commands.items()])
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


def _spare_all(command: Any) -> None:
    """Has all parameters of a command, and of those under it, read by `spare`; the one for help comes with the others only here."""
    typers_own = command.get_params

    def get_params(context: Any) -> Any:
        parameters = typers_own(context)
        spare(parameters)
        return parameters

    command.get_params = get_params
    for each in getattr(command, "commands", {}).values():
        _spare_all(each)


app = typer.Typer(
    name="jobs",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def jobs(
    context: typer.Context,
    api_url: Annotated[str | None, typer.Option(help="The deployment's URL: the stack's output ApiUrl.", metavar="URL")] = None,
    profile: Annotated[str | None, typer.Option(help="A deployment that `jobs config` knows by this name.", metavar="NAME")] = None,
    stack: Annotated[str | None, typer.Option(help="The deployment's stack (Jobline-dev), or its stage (dev).", metavar="STACK")] = None,
    region: Annotated[str | None, typer.Option(help="The region of the stack.", metavar="REGION")] = None,
) -> None:
    """Enqueue jobs and look after them.

    The deployment is the one that --api-url, --profile or --stack names, else JOBS_API_URL, JOBS_PROFILE or JOBS_STACK, else that of
    the `make dev` of this checkout, else the profile in the config file, else the only Jobline stack of the account and region.
    `jobs config` says which it is.
    """
    context.obj = Given(api_url=api_url, profile=profile, stack=stack, region=region)
