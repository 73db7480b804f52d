"""What all tests share: the kinds of test, told by their folder."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytest_plugins = ["jobline.pytest_plugin"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything under tests/e2e is marked `e2e`, so that `-m "not e2e"` leaves it out."""
    for item in items:
        if item.path.is_relative_to(HERE / "e2e"):
            item.add_marker(pytest.mark.e2e)
