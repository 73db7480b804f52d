"""What is deployed in one stage: its queues, its workers and how long records are kept.

`queues.toml` and every `functions/<worker>/worker.toml` become one `Definitions` (see `definition_files`); bundling writes it as
`definitions.json` into every function's asset, so that what runs and what was deployed are the same by construction.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from jobline.errors import InvalidDefinitions
from jobline.job import OPERATIONS as OPERATIONS
from jobline.retry import DEFAULT_RETRY, MAX_ATTEMPTS_LIMIT, RetryPolicy
from jobline.transitions import Retention

Lane = Literal["high", "normal", "low"]

FILE_NAME: Final = "definitions.json"
THREE_LANES: Final[tuple[Lane, ...]] = ("high", "normal", "low")
ONE_LANE: Final[tuple[Lane, ...]] = ("normal",)
FEWEST_FOR_THREE_LANES: Final = 6
"""Each lane's mapping needs a `MaximumConcurrency` of at least 2 (ScalingConfig, AWS Lambda API reference)."""
LONGEST_FUNCTION_TIMEOUT: Final = 900
"""Seconds; Lambda's own limit (Lambda quotas)."""
FUNCTION_HEADROOM: Final = 30
"""Seconds of a worker's timeout that no job may use: what is left for the claim, the finish and the lease's margin."""
NEW_KEY: Final = "create"
"""The KMS key that is made with the stack."""
LOG_DAYS: Final = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
"""For how many days CloudWatch keeps log lines: these, and no other number (PutRetentionPolicy, CloudWatch Logs API reference)."""
PUBLISH: Final = "publish"
"""The type of the operations job that a publication is."""
WEEK: Final = 7 * 24 * 3600
MONTH: Final = 30 * 24 * 3600

SHORTEST_RETENTION: Final = LONGEST_FUNCTION_TIMEOUT + 60
"""Seconds: while a worker may still hold a token of a record, the record stays. A job made anew under the same key begins to count
tokens again once the old record is gone, and must not be finished by a worker of the old one."""

KeptSeconds = Annotated[int, Meta(ge=SHORTEST_RETENTION, le=10 * 365 * 24 * 3600)]
SecretArn = Annotated[str, Meta(pattern=r"^arn:[a-z-]+:secretsmanager:.+")]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value that is never changed and takes no field it does not know."""


class Permission(_Strict, frozen=True):
    """Something that a worker's handlers may do on AWS; resources are ARNs, where `{bucket}` stands for the data bucket's and `{table}` for
    that of the table of records.
    """

    actions: Annotated[tuple[Annotated[str, Meta(pattern=r"^[a-z0-9-]+:[A-Za-z*]+$")], ...], Meta(min_length=1)]
    resources: Annotated[tuple[Annotated[str, Meta(pattern=r"^(arn:|\{bucket\}|\{table\}|\*$)")], ...], Meta(min_length=1)]
    reason: str = ""
    """Why an action or a resource has an asterisk, if one has: the security gates ask for it."""


class QueueAlarms(_Strict, frozen=True):
    """From where on a queue's figures ring an alarm; `None`: they ring none."""

    dead: Annotated[int, Meta(ge=1)] | None = None
    """Dead jobs that nobody has retried or purged."""
    depth: Annotated[int, Meta(ge=1)] | None = None
    """Jobs that are pending."""
    age: Annotated[int, Meta(ge=60)] | None = None
    """Seconds since the oldest job that is due and waits was created."""
    run_time: Annotated[int, Meta(ge=1)] | None = None
    """Seconds that attempts took on average over the last hour."""
    error_rate: Annotated[float, Meta(gt=0, le=1)] | None = None
    """The share of the attempts of the last five minutes that failed."""
    workers: Annotated[int, Meta(ge=1, le=1000)] | None = None
    """Fewer workers than this hold a lease while a job is due and waits."""


class Monitoring(_Strict, frozen=True):
    """What CloudWatch watches of the deployment, and who is told."""

    alarms: bool = True
    """Whether the deployment's own parts have alarms; those of queues are asked for queue by queue."""
    dashboard: bool = False
    """Whether there is a dashboard of queues, workers and API."""
    notify: tuple[Annotated[str, Meta(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$")], ...] = ()
    """ARNs of the SNS topics that are told when an alarm rings and when it is over."""


class Queue(_Strict, frozen=True):
    """One queue: who serves it, how many at a time, and what its jobs get that say nothing themselves."""

    name: str
    worker: str
    """Name of the folder under `functions/` whose handlers run this queue's jobs."""
    concurrency: Annotated[int, Meta(ge=2, le=1000)] = 10
    """Invocations at the same time, over all lanes."""
    batch_size: Annotated[int, Meta(ge=1, le=10)] = 1
    """Jobs per invocation at most: 1 is fair, more is cheaper."""
    threads: Annotated[int, Meta(ge=1, le=10)] = 1
    """Jobs of one batch that run at the same time; more than one asks for handlers that threads may share a process with."""
    lanes: Literal[1, 3] = 3
    max_attempts: Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS_LIMIT)] = 3
    retry: RetryPolicy = RetryPolicy()
    """Every field is decided: what the definition left out has `DEFAULT_RETRY`'s value."""
    timeout: Annotated[int, Meta(ge=1, le=LONGEST_FUNCTION_TIMEOUT - FUNCTION_HEADROOM)] = 60
    """Seconds that one attempt may take, unless the type or the job says otherwise."""
    ordered: bool = False
    """Whether jobs with the same `ordering_key` run one after the other, in the order in which they were enqueued."""
    low_latency: bool = False
    """Whether the message of a job is sent with the job's creation, and not only by the relay."""
    stages: tuple[str, ...] | None = None
    """The only stages that have this queue; `None`: every stage."""
    alarms: QueueAlarms = QueueAlarms()
    retention_done_seconds: KeptSeconds = WEEK
    """How long a finished job is kept."""
    retention_seconds: KeptSeconds = MONTH
    """How long a dead, cancelled or expired job is kept."""

    def __post_init__(self) -> None:
        retry = DEFAULT_RETRY.merged(RetryPolicy(max_attempts=self.max_attempts)).merged(self.retry)
        msgspec.structs.force_setattr(self, "retry", retry)
        msgspec.structs.force_setattr(self, "max_attempts", retry.max_attempts)

    @property
    def internal(self) -> bool:
        """Whether the queue is Jobline's own: operators' routes make its jobs, and it cannot be paused."""
        return self.name == OPERATIONS

    @property
    def direct(self) -> bool:
        """Whether who enqueues a job sends its message, too."""
        return self.ordered or self.low_latency

    @property
    def lane_names(self) -> tuple[Lane, ...]:
        """The queue's lanes, most urgent first; one when asked for, when ordered, or when concurrency is too small to share."""
        single = self.lanes == 1 or self.ordered or self.concurrency < FEWEST_FOR_THREE_LANES
        return ONE_LANE if single else THREE_LANES

    @property
    def lane_concurrency(self) -> Mapping[Lane, int]:
        """How many invocations each lane may have at the same time; together they are `concurrency`."""
        return {"normal": self.concurrency} if self.lane_names == ONE_LANE else lane_shares(self.concurrency)


class Vpc(_Strict, frozen=True):
    """Where in a network of the adopter's a worker's handlers run."""

    subnets: Annotated[tuple[Annotated[str, Meta(pattern=r"^subnet-([0-9a-f]{8}|[0-9a-f]{17})$")], ...], Meta(min_length=1, max_length=16)]
    """Private subnets, in several zones if one may fail."""
    security_groups: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^sg-([0-9a-f]{8}|[0-9a-f]{17})$")], ...], Meta(min_length=1, max_length=5)
    ]
    """What they may connect to. (The most of both: VpcConfig, AWS Lambda API reference.)"""


class Worker(_Strict, frozen=True):
    """One worker: a folder under `functions/` that becomes one Lambda function."""

    name: str
    memory: Annotated[int, Meta(ge=128, le=10_240)] = 512
    """MB; CPU grows with it."""
    timeout: Annotated[int, Meta(ge=FUNCTION_HEADROOM + 1, le=LONGEST_FUNCTION_TIMEOUT)] = 300
    """Seconds that one invocation of the function may take; a job may take `longest_job` of them."""
    environment: dict[str, str] = {}
    """Settings that handlers read with `ctx.setting(name)`."""
    secrets: dict[str, SecretArn] = {}
    """Secrets Manager ARN by the name that handlers give to `ctx.secret(name)`."""
    permissions: tuple[Permission, ...] = ()
    vpc: Vpc | None = None
    """`None`: it runs in no network of the adopter's, and reaches the internet."""

    @property
    def longest_job(self) -> int:
        """Seconds that a job on this worker may take at most."""
        return self.timeout - FUNCTION_HEADROOM


class DeclaredSchedule(_Strict, frozen=True):
    """A schedule that `queues.toml` declares; see `declared_schedules`, which reads it."""

    name: str
    cron: str
    """In AWS's dialect."""
    timezone: str
    window_minutes: int
    paused: bool
    job: str
    """JSON text of the enqueue request of each run."""


class Callbacks(_Strict, frozen=True):
    """How ends of jobs are told to URLs."""

    secret: SecretArn | None = None
    """What they are signed with, by the Standard Webhooks specification; `None`: they are not."""
    loopback_ports: tuple[Annotated[int, Meta(ge=1, le=65535)], ...] = ()
    """Ports of this machine that may be told, over plain http too; they count in the local stage only."""

    @property
    def port_list(self) -> str:
        """These ports as `addresses.Rules` takes them."""
        return " ".join(map(str, self.loopback_ports))


class ReplyQueue(_Strict, frozen=True):
    """An SQS queue in which ends of jobs are told."""

    name: str
    """What `reply_to` says."""
    queue: Annotated[str, Meta(pattern=r"^arn:aws[a-z-]*:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,80}(\.fifo)?(?![\s\S])")] | None = None
    """The ARN of one that is there; `None`: it is made with the stack."""


class Encryption(_Strict, frozen=True):
    """With whose key everything is kept."""

    kms_key: str | None = None
    """The ARN of a customer's KMS key, or `NEW_KEY`; `None`: the services' own keys."""


class Jwt(_Strict, frozen=True):
    """Whose tokens the API lets in: an OpenID Connect issuer, whose keys API Gateway fetches and checks them with."""

    issuer: str
    """A URL; a token's `iss` is exactly this."""
    audience: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
    """A token's `aud` (or `client_id`) is one of these."""


class DeclaredTopic(_Strict, frozen=True):
    """A topic that `queues.toml` declares."""

    description: str = ""
    subscriptions: dict[str, str] = {}
    """JSON text of each that is declared with it, by name, as the API takes it."""


class ApiAccess(_Strict, frozen=True):
    """What lets callers in, beside a signature with IAM credentials."""

    jwt: Jwt | None = None
    open_health: bool = False
    """Whether anybody may call `GET /health`."""


class ApiFront(_Strict, frozen=True):
    """How fast the API may be called, and under which names."""

    requests_per_second: Annotated[int, Meta(ge=1)] = 500
    """What the API takes in the long run; more is refused with 429."""
    burst: Annotated[int, Meta(ge=1)] = 1000
    """How many requests it takes at once."""
    domain: str | None = None
    """A host name of the adopter's for requests that are signed."""
    token_domain: str | None = None
    """A host name for requests that carry a token."""
    certificate: str | None = None
    """The ARN of the ACM certificate of these names, in the stack's region."""
    only_domain: bool = False
    """Whether the names that API Gateway gives answer no more."""


class Definitions(_Strict, frozen=True):
    """Everything that the definition files say for one stage."""

    stage: str
    queues: dict[str, Queue] = {}
    workers: dict[str, Worker] = {}
    """Only those that serve a queue of this stage."""
    retention_done_seconds: KeptSeconds = WEEK
    retention_seconds: KeptSeconds = MONTH
    """What queues get that say nothing, and records whose queue is no longer defined."""
    encryption: Encryption = Encryption()
    access: ApiAccess = ApiAccess()
    api: ApiFront = ApiFront()
    tags: dict[str, str] = {}
    """What the adopter's own tags say of every resource."""
    log_days: int = 30
    """For how many days log lines are kept; one of `LOG_DAYS`."""
    monitoring: Monitoring = Monitoring()
    topics: dict[str, DeclaredTopic] = {}
    """Those of this stage."""
    schedules: dict[str, DeclaredSchedule] = {}
    """Those of this stage."""
    callbacks: Callbacks = Callbacks()
    replies: dict[str, ReplyQueue] = {}
    """The reply queues of this stage, by name."""

    @classmethod
    def load(cls, root: Path, stage: str) -> Definitions:
        """What the files under `root` say for `stage`; raises InvalidDefinitions with one sentence that names file and key."""
        # Imported here: functions read what was baked and never need the code that reads TOML.
        from jobline import definition_files

        return definition_files.load(root, stage)

    def keep(self, queue: str) -> Retention:
        """How long this queue's ended jobs are kept; the stage's values for a queue that is no longer defined."""
        found = self.queues.get(queue)
        if found is None:
            return Retention(self.retention_done_seconds, self.retention_seconds)
        return Retention(found.retention_done_seconds, found.retention_seconds)

    def threads(self, queue: str) -> int:
        """How many jobs of one of this queue's batches run at the same time; 1 for a queue that is no longer defined."""
        found = self.queues.get(queue)
        return 1 if found is None else found.threads

    def to_json(self) -> bytes:
        """The same bytes for the same definitions, whatever order the files had."""
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_json(cls, text: bytes | str) -> Definitions:
        """The reverse of `to_json`; raises InvalidDefinitions."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as error:
            raise InvalidDefinitions(f"{FILE_NAME}: {error}") from error

    @classmethod
    def baked(cls) -> Definitions:
        """What was deployed with this function: the file in its asset's root."""
        return cls.from_json((Path(os.environ["LAMBDA_TASK_ROOT"]) / FILE_NAME).read_bytes())


def lane_shares(concurrency: int) -> Mapping[Lane, int]:
    """How three lanes share `concurrency` (6 or more): high three tenths, low two tenths, normal the rest; each at least 2."""
    if concurrency < FEWEST_FOR_THREE_LANES:
        raise ValueError(f"{concurrency} cannot be shared by three lanes of at least 2")
    high = -(-3 * concurrency // 10)
    low = max(2, concurrency // 5)
    return MappingProxyType({"high": high, "normal": concurrency - high - low, "low": low})
