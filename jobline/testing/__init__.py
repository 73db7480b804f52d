"""What an adopter's tests need: handlers run by the real worker, over queues and a table in memory, at a time that only the test moves.

`pytest` users take the fixture `jobs` (see `jobline.pytest_plugin`), a `TrialDeployment` of the project's own definitions; everybody
else makes one with `make_deployment` or `Project.discover(root).deploy()`. `make_context` is for calling a handler directly.
Nothing here needs pytest.
"""

from jobline.testing.contexts import SOME_ID, EnqueuedChild, RecordedChildren, RecordedLease, make_context
from jobline.testing.project import Project, make_deployment
from jobline.testing.trial import TrialDeployment
from jobline.testing.trial_job import TrialJob

__all__ = [
    "SOME_ID",
    "EnqueuedChild",
    "Project",
    "RecordedChildren",
    "RecordedLease",
    "TrialDeployment",
    "TrialJob",
    "make_context",
    "make_deployment",
]
