"""What `jobs doctor` finds on this machine, against a real HTTP server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobline.account import Account
from jobline.connection import Connection
from jobline.discovery import find
from jobline.errors import Conflict
from jobline.findings import Finding, Trouble, Unchecked, Verdict, examine
from jobline.local_checks import LocalChecks
from tests.command_line import Cli


def checks(cli: Cli, *, minutes: float = 0, root: Path | None = None) -> LocalChecks:
    """The checks of a machine whose clock is so many minutes ahead."""
    place = find(api_url=cli.api.url)
    return LocalChecks(Account(place), Connection.to(place), root, now=datetime.now(UTC) + timedelta(minutes=minutes))


@pytest.mark.parametrize(("minutes", "words"), [(0, []), (10, ["600 s ahead"]), (-10, ["600 s behind"])])
def test_a_clock_that_is_wrong_is_found_before_signatures_are_refused(cli: Cli, minutes: float, words: list[str]) -> None:
    found = [trouble.what for trouble in checks(cli, minutes=minutes).clock()]
    assert len(found) == len(words)
    assert all(
        word.split()[2] in told and abs(float(told.split(" s ")[0].split()[-1]) - 600) < 30 for word, told in zip(words, found, strict=True)
    )


def test_a_checkout_without_its_tools_is_told_how_to_get_them(cli: Cli, tmp_path: Path) -> None:
    [trouble] = checks(cli, root=tmp_path).tools()
    assert trouble.mend == "make .venv/.installed"
    with pytest.raises(Unchecked, match="no checkout"):
        list(checks(cli).queues())


def test_a_check_that_cannot_look_keeps_no_other_from_looking() -> None:
    def ill() -> list[Trouble]:
        return [Trouble("It is ill.", "mend it")]

    def refused() -> list[Trouble]:
        raise Conflict("not now")

    assert list(examine([("a", refused), ("b", ill), ("c", list)])) == [
        Finding("a", Verdict.UNCHECKED, "not now"),
        Finding("b", Verdict.WRONG, "It is ill.", "mend it"),
        Finding("c", Verdict.FINE, ""),
    ]
