"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

import pytest

from jobline.cli.app import SECTIONS
from jobline.cli.reference import PAGE, page


def test_the_page_is_what_the_commands_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # a page does not depend on whose terminal it is written at
    assert page() == PAGE.read_text(encoding="utf-8"), "run `python -m jobline.cli.reference`"


def test_every_command_and_exit_code_is_on_the_page() -> None:
    told = PAGE.read_text(encoding="utf-8")
    assert all(f"### jobs {name}\n" in told for commands in SECTIONS.values() for name in commands)
    assert all(f"| {code} | " in told for code in (0, 1, 2, 3, 4, 5, 6, 7, 130))
    assert "### jobs config set\n" in told
