"""`jobs open`: pages about the deployment, in a browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import quote

import typer

from jobline.account import Account
from jobline.cli import screen
from jobline.cli.context import place
from jobline.cli.failures import FAILED, complain
from jobline.errors import NotFound

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Page(StrEnum):
    """What can be opened."""

    CONSOLE = "console"
    API = "api"
    STACK = "stack"
    TABLE = "table"
    BUCKET = "bucket"
    QUEUES = "queues"
    FUNCTIONS = "functions"
    LOGS = "logs"
    DASHBOARD = "dashboard"
    ALARMS = "alarms"


@app.callback()
def group() -> None:
    """One command."""


@app.command("open")
def open_(
    context: typer.Context,
    page: Annotated[Page, typer.Argument(metavar="[PAGE]", help=f"One of {', '.join(Page)}.")] = Page.CONSOLE,
    only_print: Annotated[bool, typer.Option("--print", help="Print the address, and open nothing.")] = False,
) -> int:
    """Open a page of the deployment in a browser.

    Pages but api are those of the AWS console, and console is Jobline's own where the deployment has one, else the stack's.
    """
    address = _address(Account(place(context)), page)
    screen.write(screen.plain(address))
    if only_print:
        return 0
    import webbrowser

    if not webbrowser.open(address):
        complain("No browser could be opened here.")
        return FAILED
    return 0


def _address(account: Account, page: Page) -> str:
    found = account.place
    if page is Page.API:
        return found.api_url
    if page is Page.CONSOLE and (found.console_url or found.local):
        if found.console_url is None:
            raise NotFound("This local deployment has no console.")
        return found.console_url
    if found.local:
        raise NotFound(f"A local AWS has no console of its own, so there is no page of the {page}: `jobs open api`.")
    domain = "amazonaws.cn" if found.region.startswith("cn-") else "aws.amazon.com"
    return f"https://{found.region}.console.{domain}/{_PATHS[page](account).replace('REGION', found.region)}"


def _stack(account: Account) -> str:
    return f"cloudformation/home?region=REGION#/stacks/stackinfo?stackId={quote(account.stack_id, safe='')}"


def _dashboard(account: Account) -> str:
    boards = account.resources("AWS::CloudWatch::Dashboard")
    if not boards:
        raise NotFound(f"The stack {account.stack} has no dashboard.")
    return f"cloudwatch/home?region=REGION#dashboards/dashboard/{quote(boards[0].physical_id, safe='')}"


_PATHS: Final[Mapping[Page, Callable[[Account], str]]] = {
    Page.CONSOLE: _stack,
    Page.STACK: _stack,
    Page.TABLE: lambda account: f"dynamodbv2/home?region=REGION#table?name={quote(account.outputs['TableName'], safe='')}",
    Page.BUCKET: lambda account: f"s3/buckets/{quote(account.outputs['BucketName'], safe='')}?region=REGION",
    Page.QUEUES: lambda account: f"sqs/v3/home?region=REGION#/queues?search={quote(account.stack, safe='')}",
    Page.FUNCTIONS: lambda account: f"lambda/home?region=REGION#/functions?f0=true&fo=and&o0=%3A&v0={quote(account.stack, safe='')}",
    Page.LOGS: lambda account: f"cloudwatch/home?region=REGION#logsV2:log-groups?logGroupNameFilter={quote(account.stack, safe='')}",
    Page.DASHBOARD: _dashboard,
    Page.ALARMS: lambda account: f"cloudwatch/home?region=REGION#alarmsV2:?search={quote(account.stack, safe='')}",
}
