"""Who may ask for what: each route's class, and the ARNs of API Gateway that grant a class and nothing else."""

from __future__ import annotations

import re
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from infra.constructs.http_api import ROUTES

_OF_ONE_QUEUE: Final = re.compile(r"^/queues/\{queue\}(?=/jobs|/uploads)")


class Access(StrEnum):
    """A class of routes; each includes those before it."""

    READ = "read"
    """Look: jobs with their payloads and results, queues, types."""
    WRITE = "write"
    """And enqueue, upload, cancel, retry, replay, reschedule: what is done to single jobs."""
    ADMIN = "admin"
    """And what is done to whole queues."""

    @property
    def included(self) -> frozenset[Access]:
        """The classes whose routes somebody with this one may call."""
        classes = list(Access)
        return frozenset(classes[: classes.index(self) + 1])


def access(method: str, path: str) -> Access:
    """The class of a route; what is not known to be less is for admins."""
    if method == "GET":
        return Access.READ
    of_jobs = _OF_ONE_QUEUE.sub("", path).startswith(("/jobs", "/uploads"))
    return Access.WRITE if of_jobs else Access.ADMIN


def grants(granted: Access) -> list[str]:
    """What follows the stage in the ARNs that grant a class: `METHOD/path` with `*` for each parameter, none inside another.

    API Gateway asks IAM about the path as it was called, with its parameters filled in; IAM's `*` runs over slashes.
    """
    patterns = {f"{method}{re.sub('{.*?}', '*', path)}" for method, path in ROUTES if access(method, path) in granted.included}
    return sorted(one for one in patterns if not any(fnmatchcase(one, other) for other in patterns - {one}))
