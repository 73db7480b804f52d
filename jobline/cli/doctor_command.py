"""`jobs doctor`: what is wrong with the deployment and with this machine, each thing with the command that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from jobline.account import Account
from jobline.api_errors import NotConfigured
from jobline.cli import screen
from jobline.cli.context import place
from jobline.cli.failures import FAILED
from jobline.cli.handler_run import checkout
from jobline.cli.output import As, Output, show_all
from jobline.connection import Connection
from jobline.deployment_checks import DeploymentChecks
from jobline.findings import Finding, Verdict, examine
from jobline.local_checks import LocalChecks

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_COLOURS = {Verdict.FINE: "green", Verdict.WRONG: "red", Verdict.UNCHECKED: "yellow"}


@app.callback()
def group() -> None:
    """One command."""


@app.command()
def doctor(context: typer.Context, output: As = Output.TABLE) -> int:
    """Look for what is wrong with the deployment and with this machine.

    Visibility against timeouts, receive counts, mappings, concurrency, ticker, relay, dead-letter queues, alarms; clock, credentials,
    tools; and what differs between queues.toml and what is deployed. Each finding comes with the command that mends it. What cannot be
    checked is said with the reason. Exit code 1 when something is wrong. Needs to see the stack and its resources.
    """
    found = place(context)
    account = Account(found)
    _ = account.stack  # without it there is nothing to look at, and that is no finding but an error
    with Connection.to(found) as connection:
        checks = [*DeploymentChecks(account, connection).all(), *LocalChecks(account, connection, _root()).all()]
        findings = list(examine(checks))
    show_all(output, [_document(each) for each in findings], [each.check for each in _wrong(findings)], lambda: _show(findings))
    return FAILED if _wrong(findings) else 0


def _root() -> Path | None:
    try:
        return checkout(Path.cwd())
    except NotConfigured:
        return None


def _wrong(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.verdict is Verdict.WRONG]


def _document(finding: Finding) -> dict[str, Any]:
    return {name: value for name, value in finding._asdict().items() if value}


def _show(findings: list[Finding]) -> None:
    from rich.text import Text

    rows: list[tuple[Any, ...]] = []
    for each in findings:
        rows.append((each.check, Text(each.verdict, style=_COLOURS[each.verdict]), each.what))
        if each.mend:
            rows.append(("", "", f"→ {each.mend}"))
    screen.show(screen.rows_table(("CHECK", "IS", "WHAT"), rows))
    wrong = len(_wrong(findings))
    screen.note("Nothing is wrong." if not wrong else f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong.")
