"""Who may ask for what: what grants a class of the table's routes and nothing else, as ARNs of API Gateway."""

from __future__ import annotations

import re
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from jobline.api_routes import ROUTES

HEALTH: Final = "GET /health"
"""The one route that a setting may open."""


class Access(StrEnum):
    """A class of routes; each includes those before it."""

    READ = "read"
    """Look: jobs with their payloads and results, queues, schedules, types."""
    WRITE = "write"
    """And enqueue, upload, cancel, retry, replay, reschedule: what is done to single jobs."""
    ADMIN = "admin"
    """And what is done to whole queues and to schedules."""

    @property
    def included(self) -> frozenset[Access]:
        """The classes whose routes somebody with this one may call."""
        classes = list(Access)
        return frozenset(classes[: classes.index(self) + 1])


def grants(granted: Access) -> list[str]:
    """What follows the stage in the ARNs that grant a class: `METHOD/path` with `*` for each parameter, none inside another.

    API Gateway asks IAM about the path as it was called, with its parameters filled in; IAM's `*` runs over slashes.
    """
    patterns = {f"{route.method}{re.sub('{.*?}', '*', route.path)}" for route in ROUTES if route.access in granted.included}
    return sorted(one for one in patterns if not any(fnmatchcase(one, other) for other in patterns - {one}))
