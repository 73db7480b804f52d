"""Where trial deployments come from: the definition files and worker folders of a project, or a few types alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jobline.definitions import LONGEST_FUNCTION_TIMEOUT, Definitions, Queue, Worker
from jobline.job_type import JobType
from jobline.registry import Registry
from jobline.testing.trial import TrialDeployment


class Project(NamedTuple):
    """What a project defines for one stage; read once, good for any number of deployments."""

    definitions: Definitions
    types: Mapping[str, tuple[JobType, ...]]
    """Of each worker."""

    @classmethod
    def discover(cls, root: Path, stage: str = "local") -> Project:
        """What `queues.toml` and the folders under `functions/` in `root` say; `functions` must be importable from there.

        Raises InvalidDefinitions, or InvalidJobType which is one, with a sentence that names the file.
        """
        definitions = Definitions.load(root, stage)
        found = {name: Registry.discover(f"functions.{name}") for name in definitions.workers if (root / "functions" / name).is_dir()}
        return cls(definitions, {name: tuple(registry.types.values()) for name, registry in found.items()})

    def deploy(self, **options: Any) -> TrialDeployment:
        """A fresh deployment of it; `options` are those of `TrialDeployment`."""
        return TrialDeployment(self.definitions, self.types, **options)


def make_deployment(*types: JobType, queue: Mapping[str, Any] | None = None, **options: Any) -> TrialDeployment:
    """A fresh deployment of these types alone, in one queue called `test`.

    `queue` has fields of that queue (`{"max_attempts": 1, "batch_size": 10}`); `options` are those of `TrialDeployment`.
    """
    definitions = Definitions(
        stage="local",
        queues={"test": Queue(name="test", worker="test", **(queue or {}))},
        workers={"test": Worker(name="test", timeout=LONGEST_FUNCTION_TIMEOUT)},
    )
    return Project(definitions, {"test": types}).deploy(**options)
