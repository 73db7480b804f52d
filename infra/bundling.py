"""One asset per function, made without Docker: its own folder, the runtime part of `jobline`, its libraries and its definitions.

An asset's name is the hash of what it is made from, so that equal input is deployed once, on whatever machine it is made; what
was made before is kept under `.cache/` in the checkout. boto3 is shipped like every other library, pinned by the function's
requirements.txt: Lambda's own copy is older than the API calls we make and changes without us
(https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html#python-sdk-included).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Final

from aws_cdk import AssetHashType
from aws_cdk import aws_lambda as lambda_

from infra import byte_code, job_types
from infra.archive import add
from infra.byte_code import compiler_for
from infra.errors import BundlingError
from infra.wheels import Libraries, Target, wheels
from jobline import openapi
from jobline.api_routes import OPENAPI_FILE
from jobline.definitions import FILE_NAME as DEFINITIONS_FILE
from jobline.definitions import OPERATIONS, Definitions
from jobline.types import FILE_NAME as TYPES_FILE
from jobline.types import Types

FORMAT: Final = "1"
"""Grows when this module makes another asset of the same input."""
OWN_FUNCTIONS: Final = ("api", "relay", "observer", "ticker", "dead_letters", OPERATIONS)
OWN_SERVICES: Final = frozenset({"dynamodb", "lambda", "s3", "scheduler", "sqs"})
"""The AWS services that Jobline's own functions call; workers keep the models of all."""
SECRET_SERVICES: Final = {OPERATIONS: frozenset({"secretsmanager"})}
"""Which of them reads a secret of the adopter's: what ends of jobs are signed with."""
LOCK: Final = "requirements-dev.txt"
"""Compiled from every function's requirements.txt among others (`make lock`): what the tests run with."""
HOST_ONLY: Final = frozenset(
    {
        "account",
        "api_errors",
        "api_examples",
        "api_schemas",
        "async_client",
        "batch_view",
        "cli",
        "client",
        "config_file",
        "connection",
        "declared_schedules",
        "declared_topics",
        "definition_files",
        "deployment_checks",
        "demo",
        "demo_integrations",
        "demo_jobs",
        "demo_media",
        "demo_notifications",
        "demo_scheduled",
        "deployment_tables",
        "destinations",
        "dev",
        "diagram",
        "discovery",
        "findings",
        "flows",
        "local_aws",
        "local_checks",
        "local_crm",
        "local_fixes",
        "local_server",
        "local_stack",
        "local_stripe",
        "memory",
        "memory_deployment",
        "memory_items",
        "memory_queues",
        "memory_schedules",
        "memory_stream",
        "openapi",
        "pytest_plugin",
        "reference",
        "stacks",
        "testing",
        "toml_file",
    }
)
"""Modules and folders of `jobline` that run on a developer's machine and never on Lambda."""
NOT_DEPLOYED: Final = frozenset({"requirements.txt", "worker.toml"})
KEPT: Final = 4
"""Assets kept of one function; older ones are removed."""


class Bundles:
    """The assets of one deployment; each is made when it is asked for."""

    def __init__(self, root: Path, definitions: Definitions, target: Target) -> None:
        self.root = root
        self.cache = root / ".cache"
        self.definitions = definitions
        self.target = target
        self.compiler = compiler_for(target.python)
        """`None`: no Python of the target's version is here, so the assets have no byte code."""

    def code(self, function: str) -> lambda_.Code:
        """The asset of `functions/<function>`, for the CDK. Raises BundlingError."""
        archive = self.archive(function)
        return lambda_.Code.from_asset(str(archive), asset_hash=archive.stem.rpartition("-")[2], asset_hash_type=AssetHashType.CUSTOM)

    def archive(self, function: str) -> Path:
        """The asset of `functions/<function>` as a zip file. Raises BundlingError."""
        files = self._files(function)
        libraries = self._libraries(function)
        made_from = hashlib.sha256(FORMAT.encode())
        for part in (libraries.identity, self.compiler.tag if self.compiler else ""):
            made_from.update(f"\0{part}".encode())
        for name, content in sorted(files.items()):
            made_from.update(f"\0{name}\0{len(content)}\0".encode() + content)
        archive = self.cache / "assets" / f"{function}-{made_from.hexdigest()}.zip"
        if archive.exists():
            archive.touch()
        else:
            self._write(archive, libraries.archive, files | self._byte_code(files))
        return archive

    def _files(self, function: str) -> dict[str, bytes]:
        """What the asset holds beside libraries and byte code, by path."""
        folder = f"functions/{function}/"
        files = {name: content for name, content in self._sources.items() if name.startswith((folder, "jobline/"))}
        if f"{folder}handler.py" not in files:
            raise BundlingError(f"{folder}handler.py is missing: it is what Lambda calls")
        files[DEFINITIONS_FILE] = self.definitions.to_json()
        if function == "api":
            files[OPENAPI_FILE] = openapi.compact().encode()
        if function == "api" or function in self.definitions.workers:  # who enqueues
            files[TYPES_FILE] = self._job_types
        return files

    @cached_property
    def types(self) -> Types:
        """The types that the workers register. Raises BundlingError."""
        return Types.from_json(self._job_types)

    @cached_property
    def _sources(self) -> dict[str, bytes]:
        """Every file that may be deployed, by its path from the checkout's root."""
        found: dict[str, bytes] = {}
        for top in ("functions", "jobline"):
            for path in sorted((self.root / top).rglob("*")):
                host_only = top == "jobline" and Path(path.relative_to(self.root / top).parts[0]).stem in HOST_ONLY
                if path.is_file() and "__pycache__" not in path.parts and path.name not in NOT_DEPLOYED and not host_only:
                    found[path.relative_to(self.root).as_posix()] = path.read_bytes()
        return found

    @cached_property
    def _job_types(self) -> bytes:
        sources_key = hashlib.sha256(repr(sorted(self._sources.items())).encode()).hexdigest()
        workers = self.definitions.workers.values()
        return job_types.describe(workers, root=self.root, sources_key=sources_key, cache=self.cache)

    def _libraries(self, function: str) -> Libraries:
        requirements = self.root / "functions" / function / "requirements.txt"
        if not requirements.is_file():
            raise BundlingError(f"functions/{function}/requirements.txt is missing: it names the function's libraries, and may be empty")
        services = OWN_SERVICES | SECRET_SERVICES.get(function, frozenset()) if function in OWN_FUNCTIONS else None
        lock = self.root / LOCK
        return wheels(requirements, lock=lock, target=self.target, compiler=self.compiler, services=services, cache=self.cache)

    def _byte_code(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """The byte code of those of `files` that are modules, by path."""
        return {name: content for module in files for name, content in self._compiled.get(module, {}).items()}

    @cached_property
    def _compiled(self) -> dict[str, dict[str, bytes]]:
        """Byte code by module: all in one go, since starting the compiler costs more than what it does."""
        if self.compiler is None:
            return {}
        compiled: dict[str, dict[str, bytes]] = {}
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            for name, content in self._sources.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            byte_code.compile_tree(self.compiler, folder, whole=True)
            for path in folder.rglob(f"__pycache__/*.{self.compiler.tag}.pyc"):
                module = path.parent.parent / (path.name.partition(".")[0] + ".py")
                name = path.relative_to(folder).as_posix()
                compiled[module.relative_to(folder).as_posix()] = {name: path.read_bytes()}
        return compiled

    def _write(self, archive: Path, libraries: Path, files: dict[str, bytes]) -> None:
        archive.parent.mkdir(parents=True, exist_ok=True)
        fresh = archive.with_suffix(f".{os.getpid()}")
        # The libraries are compressed already: their zip is copied and added to.
        shutil.copyfile(libraries, fresh)
        with zipfile.ZipFile(fresh, "a") as zipped:
            for name, content in sorted(files.items()):
                add(zipped, name, content)
        os.replace(fresh, archive)
        others = archive.parent.glob(f"{archive.stem.rpartition('-')[0]}-*.zip")
        for old in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
            old.unlink(missing_ok=True)
