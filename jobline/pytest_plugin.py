"""The pytest plugin: the fixture `jobs`, a trial deployment of the project's own queues and handlers, fresh for each test.

`pip install` registers it; in a checkout, `pytest_plugins = ["jobline.pytest_plugin"]` in the top `conftest.py` does. (Both together
are well, since the entry point has the module's own name.) Override a fixture to change what `jobs` is made of:

@pytest.fixture
def jobline_options():
    with mock_aws():
        yield {"client": partial(boto3.client, region_name="eu-central-1"), "settings": {"SENDER": "us@example.com"}}
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jobline.testing.project import Project
    from jobline.testing.trial import TrialDeployment

# What the fixtures need is imported by them: a run of tests without jobs pays nothing.


@pytest.fixture(scope="session")
def jobline_root(pytestconfig: pytest.Config) -> Path:
    """The folder with `queues.toml` and `functions/`: pytest's rootdir, unless it is overridden."""
    return pytestconfig.rootpath


@pytest.fixture(scope="session")
def jobline_project(jobline_root: Path) -> Project:
    """What that folder defines for the stage `local`; `jobline_project.deploy()` makes one more deployment."""
    from jobline.testing.project import Project

    return Project.discover(jobline_root)


@pytest.fixture
def jobline_options() -> Mapping[str, Any]:
    """What `jobs` is made with (see `TrialDeployment`): `client`, `settings`, `secrets`, `start` and so on. Meant to be overridden."""
    return {}


@pytest.fixture
def jobs(jobline_project: Project, jobline_options: Mapping[str, Any]) -> TrialDeployment:
    """A fresh trial deployment of the project: `enqueue`, `drain`, `advance`, `perform`, `assert_enqueued`, `fail_next` …"""
    return jobline_project.deploy(**jobline_options)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Lists the jobs of a test that failed."""
    report = yield
    if report.failed and call.when == "call":
        from jobline.testing.trial import TrialDeployment

        jobs: Any = getattr(item, "funcargs", {}).get("jobs")
        if isinstance(jobs, TrialDeployment) and (text := jobs.report()):
            report.sections.append(("jobs", text))
    return report
