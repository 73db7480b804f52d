"""What all tests share: the kinds of test, told by their folder, and which of them one process must run."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

HERE = Path(__file__).parent
AWS_OF_THEIR_OWN: Final = {"test_local_aws.py", "test_local_fixes.py"}
"""Files under tests/e2e that do not use the local AWS that the others share."""
pytest_plugins = ["jobline.pytest_plugin"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything under tests/e2e is marked `e2e`, so that `-m "not e2e"` leaves it out."""
    for item in items:
        if item.path.is_relative_to(HERE / "e2e"):
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """With `--numprocesses 2`: who runs what."""
    return ByWhatTheyShare(config, log)


class ByWhatTheyShare(LoadScopeScheduling):
    """Keeps a file in one process, and in one process all files that share the local AWS, or the CDK app that is synthesized once."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        file = PurePosixPath(path)
        if "e2e" in file.parts and file.name not in AWS_OF_THEIR_OWN:
            return "the local AWS"
        return "the CDK app" if "infra" in file.parts else path
