"""What `queues.toml` and the workers' `worker.toml` may say.

Used on the host only (synth, tests, local mode); functions read what bundling baked. `[stages.NAME]` in a file overrides that
file's values for one stage, table by table.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from jobline.addresses import LOCAL_STAGE
from jobline.declared_schedules import QUEUES_FILE, read_schedules
from jobline.declared_topics import SUBSCRIPTION_KEYS, TOPIC_KEYS, read_topics
from jobline.definitions import (
    FUNCTION_HEADROOM,
    LONGEST_FUNCTION_TIMEOUT,
    NEW_KEY,
    OPERATIONS,
    ApiAccess,
    ApiFront,
    Definitions,
    Encryption,
    Jwt,
    KeptSeconds,
    Monitoring,
    Permission,
    Queue,
    QueueAlarms,
    SecretArn,
    Vpc,
    Worker,
)
from jobline.deployment_tables import LOG_KEYS, api_front, log_days, monitoring, queue_alarms, tags, vpc
from jobline.destinations import CALLBACK_KEYS, REPLY_KEYS, operations_worker, read_callbacks, read_replies
from jobline.errors import InvalidDefinitions
from jobline.retry import RetryPolicy
from jobline.toml_file import Table, TomlFile, laid_over, near

OWN_FUNCTIONS: Final = frozenset({"api", "relay", "observer", "ticker", "dead_letters", OPERATIONS})
"""Folders under `functions/` that no queue of an adopter's may name."""

_TABLES: Final = (
    *("queues", "schedules", "topics", "callbacks", "replies", "retention"),
    *("encryption", "access", "api", "logs", "tags", "monitoring"),
)
_QUEUE_KEYS: Final = (
    *("worker", "concurrency", "batch_size", "threads", "lanes", "ordered", "low_latency"),
    *("max_attempts", "retry", "timeout", "stages", "retention", "alarms"),
)
_WORKER_KEYS: Final = ("memory", "timeout", "environment", "secrets", "permissions", "vpc")
_OPERATIONS_QUEUE: Final[Table] = {
    "name": OPERATIONS,
    "worker": OPERATIONS,
    # One slow receiver of callbacks takes ten seconds of each; it must not keep purges and the other callbacks waiting.
    "concurrency": 20,
    "lanes": 1,
    "timeout": LONGEST_FUNCTION_TIMEOUT - FUNCTION_HEADROOM,
    "max_attempts": 5,
}
_RETENTION_FIELDS: Final = {"done": "retention_done_seconds", "others": "retention_seconds"}
KNOWN_KEYS: Final[Mapping[str, Mapping[str, Collection[str]]]] = {
    "queues.toml": {
        "queues.NAME": _QUEUE_KEYS,
        "queues.NAME.retry": RetryPolicy.__struct_fields__,
        "queues.NAME.alarms": QueueAlarms.__struct_fields__,
        "callbacks": CALLBACK_KEYS,
        "replies.NAME": REPLY_KEYS,
        "retention": tuple(_RETENTION_FIELDS),
        "encryption": Encryption.__struct_fields__,
        "access": ApiAccess.__struct_fields__,
        "access.jwt": Jwt.__struct_fields__,
        "api": ApiFront.__struct_fields__,
        "logs": LOG_KEYS,
        "topics.NAME": TOPIC_KEYS,
        "topics.NAME.subscriptions.NAME": SUBSCRIPTION_KEYS,
        "monitoring": Monitoring.__struct_fields__,
    },
    "worker.toml": {"": _WORKER_KEYS, "permissions": Permission.__struct_fields__, "vpc": Vpc.__struct_fields__},
}
"""Every key by file and table, as docs/settings.md lists them; in `tags`, `environment` and `secrets` the names are the adopter's."""
_QUEUE_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_WORKER_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_KEY_ARN: Final = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+")
_STAGE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,19}")
_VARIABLE_NAME: Final = re.compile(r"(?!AWS_|LAMBDA_|JOBLINE_)[A-Za-z][A-Za-z0-9_]+")


_ISSUER: Final = re.compile(r"https://[A-Za-z0-9.-]+(?::\d+)?(?:/[^\s?#]*)?")
_LOCAL_ISSUER: Final = re.compile(r"http://(?:localhost|127\.0\.0\.1):\d+(?:/[^\s?#]*)?")
"""In the local stage tokens may come from this machine."""


def load(root: Path, stage: str) -> Definitions:
    """What the files under `root` say for `stage`; raises InvalidDefinitions.

    Every stage that `queues.toml` mentions is checked, so a mistake in `[stages.prod]` shows before prod is deployed.
    """
    if not _STAGE_NAME.fullmatch(stage):
        raise InvalidDefinitions(f"{stage!r} is no name of a stage: use lower-case letters, digits and dashes, at most 20")
    file = TomlFile(root, QUEUES_FILE)
    document = file.read()
    for other in file.tables(document, "stages").keys() - {stage}:
        _definitions(file, document, other)
    return _definitions(file, document, stage)


def worker_file(name: str) -> str:
    """Path of a worker's definition from the checkout's root."""
    return f"functions/{name}/worker.toml"


def _definitions(file: TomlFile, document: Table, stage: str) -> Definitions:
    table = _for_stage(file, document, stage)
    if stage in document.get("stages", {}):
        file = TomlFile(file.root, file.name, f" (with [stages.{stage}])")
    file.know(table, _TABLES, "")
    access = _access(file, table, stage)
    retention = _retention(file, table, "")
    encryption = _encryption(file, table)
    tables = file.tables(table, "queues")
    if not tables:
        raise file.wrong("queues", "there is no queue; define one with [queues.NAME]")
    queues = {name: _queue(file, name, fields, retention) for name, fields in sorted(tables.items())}
    queues = {name: queue for name, queue in queues.items() if queue.stages is None or stage in queue.stages}
    workers = {queue.worker: _worker(file, queue, stage) for queue in queues.values()}
    for queue in queues.values():
        _check_timeout(file, queue, workers[queue.worker])
    callbacks = read_callbacks(file, table)
    workers[OPERATIONS] = operations_worker(callbacks)
    queues[OPERATIONS] = file.convert(_OPERATIONS_QUEUE | retention, Queue, f"queues.{OPERATIONS}")
    schedules = read_schedules(file, table, stage, queues)
    told = {"callbacks": callbacks, "replies": read_replies(file, table, stage)}
    deployment = {"api": api_front(file, table, access), "tags": tags(file, table), "log_days": log_days(file, table)}
    deployment |= {"monitoring": monitoring(file, table), "topics": read_topics(file, table, stage)}
    fields = {"stage": stage, "queues": queues, "workers": workers, "encryption": encryption, "access": access, "schedules": schedules}
    return file.convert(fields | retention | told | deployment, Definitions, "")


def _access(file: TomlFile, table: Table, stage: str) -> ApiAccess:
    fields = file.table(table, "access")
    file.know(fields, ApiAccess.__struct_fields__, "access")
    if "jwt" in fields:
        jwt = file.table(fields, "jwt", "access")
        file.know(jwt, Jwt.__struct_fields__, "access.jwt")
        for name, what in (("issuer", "the URL of who issues the tokens"), ("audience", "whom they are issued for, a list")):
            if name not in jwt:
                raise file.wrong(f"access.jwt.{name}", f"this is missing: {what}")
        fields = fields | {"jwt": file.convert(jwt, Jwt, "access.jwt")}
    access = file.convert(fields, ApiAccess, "access")
    allowed = (_ISSUER, _LOCAL_ISSUER) if stage == LOCAL_STAGE else (_ISSUER,)
    if access.jwt and not any(form.fullmatch(access.jwt.issuer) for form in allowed):
        raise file.wrong("access.jwt.issuer", "this is no https URL without a query; it is exactly the iss of the tokens")
    return access


def _queue(file: TomlFile, name: str, table: Table, retention: Table) -> Queue:
    key = f"queues.{name}"
    if name == OPERATIONS:
        raise file.wrong(key, "every deployment has this queue already: purge and redrive run there; give yours another name")
    if not _QUEUE_NAME.fullmatch(name) or name in OWN_FUNCTIONS:
        raise file.wrong(key, "a queue's name is a lower-case letter and at most 63 of a-z 0-9 _ -, and none of Jobline's own functions'")
    file.know(table, _QUEUE_KEYS, key)
    if "worker" not in table:
        raise file.wrong(f"{key}.worker", "this is missing; name the folder under functions/ that serves the queue")
    retry = file.table(table, "retry", key)
    file.know(retry, RetryPolicy.__struct_fields__, f"{key}.retry")
    if {"max_attempts"} <= table.keys() & retry.keys() and table["max_attempts"] != retry["max_attempts"]:
        raise file.wrong(f"{key}.max_attempts", "this does not agree with retry.max_attempts; give one of them")
    fields = table | {"name": name, "alarms": queue_alarms(file, table, key)} | retention | _retention(file, table, key)
    fields.pop("retention", None)
    if "timeout" in table:
        fields["timeout"] = file.seconds(table["timeout"], f"{key}.timeout")
    queue = file.convert(fields, Queue, key)
    _check_order(file, queue, table, key)
    return queue


def _check_order(file: TomlFile, queue: Queue, table: Table, key: str) -> None:
    """An ordered queue runs the jobs of a group one by one: settings that would have it otherwise are refused, not passed over."""
    if not queue.ordered:
        return
    if queue.threads > 1:
        raise file.wrong(f"{key}.threads", "an ordered queue runs the jobs of a batch one after the other; leave threads out")
    if table.get("lanes") == 3:
        raise file.wrong(f"{key}.lanes", "an ordered queue has one lane: its jobs run in the order in which they came; leave lanes out")
    if queue.low_latency:
        raise file.wrong(f"{key}.low_latency", "the jobs of an ordered queue are sent at once anyway; leave low_latency out")


def _worker(file: TomlFile, queue: Queue, stage: str) -> Worker:
    key, name = f"queues.{queue.name}.worker", queue.worker
    if not _WORKER_NAME.fullmatch(name) or name in OWN_FUNCTIONS:
        raise file.wrong(key, f"{name!r} is no name of a worker: use a-z 0-9 and _, and none of Jobline's own functions")
    if not (file.root / worker_file(name)).is_file():
        folders = (found.parent.name for found in file.root.glob(worker_file("*")))
        raise file.wrong(key, f"there is no {worker_file(name)}{near(name, folders)}")
    own = TomlFile(file.root, worker_file(name))
    table = _for_stage(own, own.read(), stage)
    own.know(table, _WORKER_KEYS, "")
    if "timeout" in table:
        table["timeout"] = own.seconds(table["timeout"], "timeout")
    for variable, value in own.table(table, "environment").items():
        if not _VARIABLE_NAME.fullmatch(variable):
            raise own.wrong(
                f"environment.{variable}", "a name has two letters, digits or _ at least, and none begins AWS_, LAMBDA_ or JOBLINE_"
            )
        own.convert(value, str, f"environment.{variable}")
    for secret, arn in own.table(table, "secrets").items():
        own.convert(arn, SecretArn, f"secrets.{secret}")
    for index, permission in enumerate(own.array(table, "permissions")):
        if isinstance(permission, dict):
            own.know(permission, Permission.__struct_fields__, f"permissions[{index}]")
    return own.convert(table | {"name": name, "vpc": vpc(own, table)}, Worker, "")


def _check_timeout(file: TomlFile, queue: Queue, worker: Worker) -> None:
    if queue.timeout > worker.longest_job:
        raise file.wrong(
            f"queues.{queue.name}.timeout",
            f"a job may take {queue.timeout} s, but {worker_file(worker.name)} stops after {worker.timeout} s;"
            f" at most {worker.longest_job} s fit",
        )


def _retention(file: TomlFile, parent: Table, key: str) -> Table:
    table = file.table(parent, "retention", key)
    place = f"{key}.retention".lstrip(".")
    file.know(table, _RETENTION_FIELDS, place)
    seconds = {name: file.seconds(value, f"{place}.{name}") for name, value in table.items()}
    return {_RETENTION_FIELDS[name]: file.convert(value, KeptSeconds, f"{place}.{name}") for name, value in seconds.items()}


def _encryption(file: TomlFile, document: Table) -> Encryption:
    table = file.table(document, "encryption")
    file.know(table, Encryption.__struct_fields__, "encryption")
    encryption = file.convert(table, Encryption, "encryption")
    if encryption.kms_key not in {None, NEW_KEY} and not _KEY_ARN.fullmatch(encryption.kms_key or ""):
        raise file.wrong(
            "encryption.kms_key",
            f'this is "{NEW_KEY}" or the ARN of a KMS key, arn:aws:kms:REGION:ACCOUNT:key/ID (an alias will not do: its key may change)',
        )
    return encryption


def _for_stage(file: TomlFile, document: Table, stage: str) -> Table:
    """The document without its `stages`, with what they say of `stage` laid over it."""
    values = {name: value for name, value in document.items() if name != "stages"}
    return laid_over(values, file.tables(document, "stages").get(stage, {}))
