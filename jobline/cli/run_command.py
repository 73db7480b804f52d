"""`jobs run`: one handler here, in this process, with no queue."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from jobline.api_errors import NotConfigured
from jobline.attempt import Abandoned, Continued, Failed, Returned, Snoozed, Unstarted
from jobline.cli import screen
from jobline.cli.failures import ENDED_OTHERWISE, complain
from jobline.cli.handler_run import check_payload, checkout, find_type, make_context, run_handler
from jobline.cli.output import As, Output, show_one
from jobline.cli.payload import read_payload
from jobline.discovery import Place, find
from jobline.errors import JoblineError
from jobline.settings import BUCKET
from jobline.times import parse_duration

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.callback()
def group() -> None:
    """One command."""


@app.command(no_args_is_help=True)
def run(
    context: typer.Context,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="Name of the registered function that is to run.")],
    payload: Annotated[str, typer.Option(help="The payload: JSON, @file, or - for standard input.", metavar="JSON|@FILE|-")] = "{}",
    stage: Annotated[str, typer.Option(help="Whose settings of queues.toml and worker.toml it gets.", metavar="STAGE")] = "local",
    attempt: Annotated[int, typer.Option(min=1, max=100, help="Which attempt the handler is told that it is.")] = 1,
    timeout: Annotated[
        str | None, typer.Option(help="Stop it after this; default: as the type or its queue says.", metavar="DURATION")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", "--pdb", help="Open a debugger where the handler fails.")] = False,
    step: Annotated[bool, typer.Option("--step", help="Open a debugger at the handler's first line.")] = False,
    output: As = Output.TABLE,
) -> int:
    """Run one handler here, in this process, with no queue.

    The payload is checked, the timeout kept and the context given as in the deployment. Nothing is recorded and no other job is
    enqueued: what the handler reports, logs and would enqueue goes to stderr, its result to stdout. `ctx.aws` speaks to the local AWS
    of `make dev` when that runs, else to AWS. Exit code 6 when the attempt does not end done.
    """
    text = read_payload(payload).decode("utf-8", "surrogateescape")
    found = find_type(checkout(Path.cwd()), stage, type)
    check_payload(found.type, text)
    seconds = _seconds(timeout) if timeout else float(found.type.timeout or found.queue.timeout)
    around = Surroundings(context)
    told = make_context(
        found, stage=stage, bucket=around.bucket(found.worker.permissions), client=around.client, attempt_number=attempt, seconds=seconds
    )
    ending, where = run_handler(found, text, told, seconds, debug="start" if step else "error" if debug else None)
    if isinstance(ending, Returned):
        show_one(output, ending.result, type, lambda: screen.show_json(ending.result))
        return 0
    complain(_words(ending), *([where] if where else []))
    return ENDED_OTHERWISE


class Surroundings:
    """The AWS that a handler run here sees: looked for when the handler asks, and not before."""

    def __init__(self, context: typer.Context) -> None:
        self._given: dict[str, Any] = context.obj._asdict() if context.obj else {}
        self._place: Place | None = None

    def client(self, service: str) -> Any:
        """A boto3 client, as handlers have it on Lambda."""
        try:
            from boto3 import Session
        except ModuleNotFoundError:
            raise NotConfigured("The handler uses AWS through boto3, which is not installed here.") from None
        found = self._noted()
        options: dict[str, Any] = {}
        if found is not None:
            from jobline.local_aws import ACCOUNT, SECRET

            keys = {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": SECRET}
            options = {"region_name": found.region, "endpoint_url": found.endpoint_url, **keys}
        make: Any = Session().client
        return make(service, **options)

    def bucket(self, permissions: Any) -> str:
        """The data bucket: `JOBLINE_BUCKET`, or that of the deployment, if the worker may use it at all; else a name that is none."""
        named = os.environ.get(BUCKET)
        uses_it = any("{bucket}" in resource for permission in permissions for resource in permission.resources)
        if named or not uses_it:
            return named or "no-bucket"
        from jobline.account import Account

        try:
            return Account(self._noted() or find(**self._given)).outputs["BucketName"]
        except (JoblineError, KeyError):
            screen.note(f"No deployment is here: ctx.bucket is no real bucket ({BUCKET} names one).")
            return "no-bucket"

    def _noted(self) -> Place | None:
        """The local deployment of this checkout, when it runs."""
        if self._place is None:
            try:
                found = find(**self._given)
            except JoblineError:
                return None
            self._place = found if found.local else None
        return self._place


def _words(ending: Any) -> str:
    if isinstance(ending, Failed):
        return f"the attempt failed: {ending.error}{'' if ending.retryable else ' (it would not be tried again)'}"
    if isinstance(ending, Snoozed):
        return f"the handler put the job off by {ending.seconds:g} s"
    if isinstance(ending, Continued):
        return "the handler stopped at a checkpoint, to go on from there in another run"
    if isinstance(ending, Abandoned):
        return f"the handler asked for its job to be cancelled: {ending.reason}"
    assert isinstance(ending, Unstarted)
    return f"it was not started: {ending.reason}"


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--timeout") from error
