"""Jobline: a job queue that a team deploys into its own AWS account and then forgets.

The names below are what handlers and clients use. They are loaded when first asked for, so that a function which needs one module of
this package does not pay for the others.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobline.async_client import AsyncClient
    from jobline.client import Client
    from jobline.context import Context
    from jobline.errors import JoblineError
    from jobline.flows import JobFailed, NewJob, WaitTimedOut
    from jobline.registry import Cancel, NonRetryable, RetryAfter, Snooze, job
    from jobline.secret_fields import SECRET, Secret

__all__ = [
    "SECRET",
    "AsyncClient",
    "Cancel",
    "Client",
    "Context",
    "JobFailed",
    "JoblineError",
    "NewJob",
    "NonRetryable",
    "RetryAfter",
    "Secret",
    "Snooze",
    "WaitTimedOut",
    "job",
]

_HOME = {
    "AsyncClient": "jobline.async_client",
    "Client": "jobline.client",
    "Context": "jobline.context",
    "JobFailed": "jobline.flows",
    "JoblineError": "jobline.errors",
    "NewJob": "jobline.flows",
    "SECRET": "jobline.secret_fields",
    "Secret": "jobline.secret_fields",
    "WaitTimedOut": "jobline.flows",
}
_REGISTRY = "jobline.registry"


class _Package(ModuleType):
    """This package, whose name `job` is always the decorator.

    Importing the module `jobline.job` makes the import system bind that module to the same name; whether `from jobline import job`
    gave the decorator would then depend on what was imported before. `from jobline.job import …` is not affected.
    """

    @property
    def job(self) -> Any:
        return import_module(_REGISTRY).job

    @job.setter
    def job(self, module: ModuleType) -> None:
        """Leaves the name as it is; `sys.modules` has the module."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME.get(name, _REGISTRY)), name)
    globals()[name] = value
    return value


sys.modules[__name__].__class__ = _Package
