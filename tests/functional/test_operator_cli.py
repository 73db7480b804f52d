"""The operators' commands against the real API behind a real HTTP server that checks signatures."""

from __future__ import annotations

import pytest

from tests.command_line import Cli


def test_pause_and_resume_say_what_happens_and_when(cli: Cli) -> None:
    paused = cli("pause", "emails")
    assert (paused.code, paused.err) == (0, "")
    assert paused.out.startswith("paused emails. Jobs stop starting within about a minute")
    assert cli.client.paused == {"emails"}
    assert cli("resume", "emails").out.startswith("resumed emails.")
    assert cli.client.paused == set()
    assert cli("pause", "emails", "-o", "json").json["paused"] is True


@pytest.mark.parametrize(("line", "code"), [("pause operations", 5), ("pause email", 3), ("resume ../jobs", 3), ("pause emails images", 2)])
def test_what_cannot_be_paused_is_one_line_and_one_exit_code(cli: Cli, line: str, code: int) -> None:
    result = cli(*line.split())
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)
