"""The fixture `jobs`: this project's own queues and handlers, fresh for each test."""

from __future__ import annotations

import pytest

from jobline.testing import Project, TrialDeployment


@pytest.mark.parametrize("again", [1, 2])
def test_each_test_begins_with_nothing(jobs: TrialDeployment, again: int) -> None:
    assert jobs.all() == []
    jobs.enqueue("sleep", {"seconds": 0}, queue="diagnostics")
    assert len(jobs.drain()) == 1


def test_it_has_what_the_project_defines(jobs: TrialDeployment, jobline_project: Project) -> None:
    assert jobs.deployment.definitions is jobline_project.definitions
    assert {"emails", "images", "webhooks"} <= jobs.deployment.definitions.queues.keys()
    assert jobs.enqueue("send_email", {"to": "ada@example.com"}).record.max_attempts == 5
