"""What a handler is given beside its payload: its job, its time, its settings and secrets, and a way to report back."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar, overload

import msgspec

from jobline.errors import InvalidRequest, InvalidSettings
from jobline.job import Job
from jobline.occurrence import Occurrence
from jobline.redaction import Redactor
from jobline.steering import Continue

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sesv2 import SESV2Client

    from jobline.job_type import JobType
    from jobline.record_reader import RecordReader

SECRET_FRESH_FOR: Final = timedelta(minutes=5)
"""How long a secret is kept before it is read again: a rotated one is in use everywhere after this time."""
LARGEST_CURSOR: Final = 2048
"""Bytes of JSON that a checkpoint's cursor may take: it rides in the record, and every later write pays for it."""
ROOM_FOR_A_PIECE: Final = timedelta(seconds=1)
LONGEST_NOTE: Final = 200
"""Characters of a progress note that are kept."""
_REQUIRED: Final = object()

T = TypeVar("T")

Clock = Callable[[], datetime]
"""Tells the time, aware UTC."""
Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


class Lease(Protocol):
    """The one thing a running job may say to its record; the worker runtime gives it."""

    def progress(self, percent: float, note: str) -> bool:
        """Stores the progress; true when somebody has asked for the job to be cancelled."""
        ...

    def checkpoint(self, text: str) -> bool | None:
        """Stores where the work stands. True: go on; false: stop; `None`: it could not be stored now."""
        ...

    def cancelled(self) -> bool:
        """Whether somebody has asked for the job to be cancelled."""
        ...


class Children(Protocol):
    """Enqueues jobs on behalf of running ones (`children.Children`)."""

    def enqueue(self, parent: Job, mark: str, type: str, queue: str | None, fields: Mapping[str, Any]) -> str:
        """The child's id; the same for the same parent and mark (`:` and a key, or `#` and a count), however often it is asked."""
        ...

    def enqueue_many(
        self, parent: Job, type: str, queue: str | None, children: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, str | InvalidRequest]:
        """For each mark the child's id, or why there can be none."""
        ...


class Toolbox:
    """What one worker process keeps for all its jobs: AWS clients, settings, secrets, the data bucket."""

    def __init__(
        self,
        *,
        client: Callable[[str], Any],
        stage: str,
        bucket: str,
        settings: Mapping[str, str],
        secrets: Mapping[str, str],
        clock: Clock,
        children: Children | None = None,
        redactor: Redactor | None = None,
        records: RecordReader | None = None,
    ) -> None:
        """`client` makes a low-level boto3 client of a service; `settings` is the environment; `secrets` has the ARN of each name.

        `records` reads the records of all queues, as far as the worker's permissions let it.
        `redactor` is told every secret that is read; it should be the one of the log.
        """
        self.stage = stage
        self.redactor = redactor or Redactor()
        self.children = children
        self.records = records
        self.bucket = bucket
        self._make_client = client
        self._settings = settings
        self._arns = secrets
        self._clock = clock
        self._clients: dict[str, Any] = {}
        self._secrets: dict[str, tuple[datetime, str]] = {}
        self._lock = Lock()

    def aws(self, service: str) -> Any:
        """The client of `service`, made when it is first asked for."""
        with (
            self._lock
        ):  # boto3's session is not thread-safe while it makes a client (boto3 guide, "Multithreading or multiprocessing with clients")
            if service not in self._clients:
                self._clients[service] = self._make_client(service)
            return self._clients[service]

    def secret(self, name: str) -> str | None:
        """The secret's text, at most five minutes old; `None` when the worker declares no such secret."""
        if name not in self._arns:
            return None
        read_at, text = self._secrets.get(name, (None, ""))
        now = self._clock()
        if read_at is None or now - read_at >= SECRET_FRESH_FOR:
            # Imported here: botocore is the dearest import of a worker, and few handlers have secrets.
            from jobline.aws import aws_errors

            with aws_errors(f"secret {name}"):
                text = self.aws("secretsmanager").get_secret_value(SecretId=self._arns[name])["SecretString"]
            self._secrets[name] = (now, text)
            self.redactor.keep(text)
        return text

    def setting(self, name: str) -> str | None:
        """The setting's value; `None` when there is no such setting."""
        return self._settings.get(name)


@dataclass(slots=True, kw_only=True)
class Context:
    """One attempt of one job, as its handler sees it. `jobline.testing.make_context` makes one for a handler's own tests."""

    job: Job = field(repr=False)
    """The record as it was claimed. Handlers use the attributes below; the record's shape may change."""
    attempt: int
    """1 for the first, and again after a retry by hand."""
    deadline: datetime
    """When this attempt is stopped."""
    lease: Lease = field(repr=False)
    tools: Toolbox = field(repr=False)
    clock: Clock = field(repr=False)
    logger: Log = field(repr=False)
    _cancelled: bool = field(init=False, default=False)
    _enqueued: int = field(init=False, default=0)
    _cursor: str | None = field(init=False)
    _last_checkpoint_at: datetime = field(init=False)
    _longest_piece: timedelta = field(init=False, default=timedelta())

    def __post_init__(self) -> None:
        self._cursor = self.job.checkpoint
        self._last_checkpoint_at = self.clock()

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def queue(self) -> str:
        return self.job.queue

    @property
    def type(self) -> str:
        return self.job.type

    @property
    def tags(self) -> tuple[str, ...]:
        return self.job.tags

    @property
    def created_at(self) -> datetime:
        """When the job was enqueued: the same on every attempt."""
        return self.job.created_at

    @property
    def max_attempts(self) -> int:
        return self.job.max_attempts

    @property
    def starts(self) -> int:
        """How often the job was started in its whole life, this start included; unlike `attempt` it is never reset."""
        return self.job.token

    @property
    def idempotency_key(self) -> str:
        """The same on every attempt of this job, and no other job's: what makes an effect happen once."""
        return self.job.id

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context of whoever enqueued this job, or of who enqueued its parent; `None` when there was none."""
        return self.job.traceparent

    @property
    def parent_id(self) -> str | None:
        """The job whose handler enqueued this one; of a batch's members and callbacks, the batch."""
        return self.job.parent_id

    @property
    def occurrence(self) -> datetime | None:
        """When the schedule was due whose run this job is, on every attempt the same; `None` for a job that no schedule made."""
        return None if self.job.occurrence is None else Occurrence.of(self.job.occurrence).at

    @property
    def stage(self) -> str:
        return self.tools.stage

    @property
    def bucket(self) -> str:
        """Name of the deployment's data bucket."""
        return self.tools.bucket

    def remaining(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        return max(0.0, (self.deadline - self.clock()).total_seconds())

    def progress(self, percent: float, note: str = "") -> None:
        """Reports how far the work is, 0 to 100, with a few words; every report is one write of the record.

        Raises ValueError when `percent` is no such number. Only the first 200 characters of `note` are kept, and no secret in it.
        """
        if not math.isfinite(percent) or not 0 <= percent <= 100:
            raise ValueError(f"progress is a number from 0 to 100, not {percent!r}")
        if self.lease.progress(percent, self.tools.redactor.redact(note)[:LONGEST_NOTE]):
            self._cancelled = True

    def enqueue(self, type: str | JobType, payload: Any = None, *, queue: str | None = None, key: str | None = None, **fields: Any) -> str:
        """Enqueues another job and answers its id; however often this job is attempted, the other is made once.

        `payload` is what JSON can say, or a `msgspec.Struct`; left out, an empty object. `fields` are those of `POST /jobs`: `delay`,
        `priority`, `tags` and so on. Without `queue`: this job's own, if that has the type, else the only one that has it.
        `key` says which of this job's children it is; without it, the count of children since the last checkpoint does, which is
        enough where every attempt enqueues the same ones in the same order from there (and no two checkpoints are equal).
        Raises what the API would answer as an error (`InvalidJob` and its kin), and TooDeep for the hundred-and-first in a chain.
        """
        if self.tools.children is None:
            raise InvalidSettings("this context cannot enqueue: it was made without children=")
        self._enqueued += 1
        if payload is not None:
            fields = {"payload": msgspec.to_builtins(payload), **fields}
        if key is None:
            since = "" if self._cursor is None else f"@{hashlib.sha256(self._cursor.encode()).hexdigest()[:16]}"
            mark = f"#{self._enqueued}{since}"
        else:
            mark = f":{key}"  # never taken for a count
        name = type if isinstance(type, str) else type.name
        return self.tools.children.enqueue(self.job, mark, name, queue, fields)

    def enqueue_many(
        self, type: str | JobType, children: Mapping[str, Mapping[str, Any]], *, queue: str | None = None
    ) -> dict[str, str | InvalidRequest]:
        """Enqueues many jobs of one type, 25 to a call of DynamoDB; answers each one's id, or why it can never be made, by its key.

        `children` has for each key what `enqueue` takes besides: `payload`, `delay` and so on; `key` and `queue` mean what they mean there,
        so however often this is repeated each child is made once. A few hundred at a time, with a checkpoint after them, can be repeated
        cheaply. Raises what kept some of them from being made now (Unavailable); others may be made then, and are found the next time.
        """
        if self.tools.children is None:
            raise InvalidSettings("this context cannot enqueue: it was made without children=")
        name = type if isinstance(type, str) else type.name
        marked = {f":{key}": {field: msgspec.to_builtins(value) for field, value in fields.items()} for key, fields in children.items()}
        made = self.tools.children.enqueue_many(self.job, name, queue, marked)
        return {mark[1:]: outcome for mark, outcome in made.items()}

    @property
    def cursor(self) -> Any:
        """What `checkpoint` was last given, in this run or an earlier one of this job; `None` before the first."""
        return None if self._cursor is None else json.loads(self._cursor)

    def checkpoint(self, cursor: Any) -> None:
        """Puts down how far the work has come; whatever ends this run, the next one finds it as `cursor`.

        `cursor` is anything JSON can say in 2 KB; what was done before it must not have to be done again. When the
        time that is left may not be enough for another piece as long as the longest so far, or the job is to be cancelled, this run
        ends here (by an exception that is no `Exception`) and another one goes on at once: no attempt is used, so that work may take
        longer than one run can. Every checkpoint is one write of the record.
        Raises ValueError or TypeError for what is not JSON or too long.
        """
        text = json.dumps(cursor, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        if (size := len(text.encode())) > LARGEST_CURSOR:
            raise ValueError(f"a cursor takes at most {LARGEST_CURSOR:,} bytes of JSON, not {size:,}: keep the rest in S3")
        go_on = self.lease.checkpoint(text)
        now = self.clock()
        self._longest_piece = max(self._longest_piece, now - self._last_checkpoint_at)
        self._last_checkpoint_at = now
        if go_on is None:
            return  # the next checkpoint tells more; work that was done twice is what a crash would cost too
        self._cursor, self._enqueued = text, 0
        if not go_on or self.deadline - now < self._longest_piece * 1.5 + ROOM_FOR_A_PIECE:
            raise Continue

    @property
    def cancelled(self) -> bool:
        """Whether somebody has asked for the job to be cancelled; a handler that can stop half-way then raises `Cancel`."""
        self._cancelled = self._cancelled or self.lease.cancelled()
        return self._cancelled

    @overload
    def aws(self, service: Literal["s3"]) -> S3Client: ...
    @overload
    def aws(self, service: Literal["sesv2"]) -> SESV2Client: ...
    @overload
    def aws(self, service: str) -> Any: ...
    def aws(self, service: str) -> Any:
        """The low-level boto3 client of `service`; made once per process. `worker.toml` must permit what it is used for."""
        return self.tools.aws(service)

    @overload
    def secret(self, name: str) -> str: ...
    @overload
    def secret(self, name: str, default: T) -> str | T: ...
    def secret(self, name: str, default: Any = _REQUIRED) -> Any:
        """The text of a secret that `worker.toml` declares under `[secrets]`, at most five minutes old.

        One that is not declared: `default` when that was given, else InvalidSettings. Raises Unavailable when it cannot be read now.
        """
        return _found(self.tools.secret(name), default, f"[secrets] of worker.toml has no {name!r}")

    @overload
    def setting(self, name: str) -> str: ...
    @overload
    def setting(self, name: str, default: T) -> str | T: ...
    def setting(self, name: str, default: Any = _REQUIRED) -> Any:
        """A value that `worker.toml` declares under `[environment]`.

        One that is not declared: `default` when that was given, else InvalidSettings.
        """
        return _found(self.tools.setting(name), default, f"[environment] of worker.toml has no {name!r}")


def _found(value: str | None, default: Any, missing: str) -> Any:
    if value is not None:
        return value
    if default is _REQUIRED:
        raise InvalidSettings(missing)
    return default
