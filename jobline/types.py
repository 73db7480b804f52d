"""The types of job that are deployed: which worker runs which, and what their payloads look like.

Bundling asks every worker what it registers and writes `types.json` into the api's asset; the api knows no handler's code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from jobline.errors import FieldProblem, InvalidDefinitions
from jobline.retry import RetryPolicy
from jobline.schema import misfits
from jobline.secret_fields import holds_secrets

FILE_NAME: Final = "types.json"


class TypeInfo(msgspec.Struct, frozen=True, dict=True):
    """What the api knows of one type (see `job_type.JobType.describe`)."""

    schema: dict[str, Any]
    """JSON Schema of the payload."""
    summary: str = ""
    """The first line of the handler's docstring."""
    timeout: int | None = None
    """Seconds; `None`: the queue decides."""
    max_attempts: int | None = None
    retry: RetryPolicy | None = None
    """What the type says of retries; a field left out is decided by the queue."""

    @cached_property
    def secret(self) -> bool:
        """Whether the payload has fields that its type marks secret."""
        return holds_secrets(self.schema)

    def misfits(self, payload: Any, pointer: str) -> tuple[FieldProblem, ...]:
        """What of a payload (parsed JSON, at `pointer` in the request) does not fit; empty when it fits."""
        return misfits(payload, self.schema, pointer)


class Types(msgspec.Struct, frozen=True):
    """Every type by worker and name."""

    version: Literal[1]
    workers: dict[str, dict[str, TypeInfo]]

    @classmethod
    def from_json(cls, text: bytes | str) -> Types:
        """What `types.json` says; raises InvalidDefinitions."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as error:
            raise InvalidDefinitions(f"{FILE_NAME}: {error}") from error

    @classmethod
    def baked(cls) -> Types:
        """What was deployed with this function: the file in its asset's root."""
        return cls.from_json((Path(os.environ["LAMBDA_TASK_ROOT"]) / FILE_NAME).read_bytes())

    def find(self, worker: str, name: str) -> TypeInfo | None:
        """The type as this worker runs it; `None` when it does not."""
        return self.of_worker(worker).get(name)

    def of_worker(self, worker: str) -> Mapping[str, TypeInfo]:
        """The types that this worker runs; none for a worker that is not deployed."""
        return self.workers.get(worker, {})
