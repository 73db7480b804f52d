"""What a function is told by its environment. The stack sets these names and functions read them: each exists once, here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from jobline.errors import InvalidSettings

STAGE: Final = "JOBLINE_STAGE"
STACK: Final = "JOBLINE_STACK"
TABLE: Final = "JOBLINE_TABLE"
BUCKET: Final = "JOBLINE_BUCKET"
WORKER: Final = "JOBLINE_WORKER"
QUEUE_URL_BASE: Final = "JOBLINE_QUEUE_URL_BASE"
LANES: Final = "JOBLINE_LANES"
SET_ASIDE_QUEUE: Final = "JOBLINE_SET_ASIDE_QUEUE"
MAPPINGS: Final = "JOBLINE_MAPPINGS"
OPERATIONS_FUNCTION: Final = "JOBLINE_OPERATIONS_FUNCTION"
SCHEDULES: Final = "JOBLINE_SCHEDULES"
REPLIES: Final = "JOBLINE_REPLIES"


@dataclass(frozen=True, slots=True)
class Settings:
    """One function's settings. Reading one that the function was not given raises InvalidSettings with its name."""

    environment: Mapping[str, str]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """The settings in `environment` (`os.environ` on Lambda), read once. Raises InvalidSettings when stage or table is missing."""
        settings = cls({name: value for name, value in environment.items() if name.startswith("JOBLINE_")})
        _ = settings.stage, settings.table
        return settings

    @property
    def stage(self) -> str:
        return self._read(STAGE)

    @property
    def stack(self) -> str:
        """Name of the CloudFormation stack, by which two deployments in one account are told apart."""
        return self._read(STACK)

    @property
    def table(self) -> str:
        """Name of the table of records."""
        return self._read(TABLE)

    @property
    def bucket(self) -> str:
        """Name of the bucket for large bodies and quarantined messages."""
        return self._read(BUCKET)

    @property
    def worker(self) -> str:
        """Name of the worker that this function is."""
        return self._read(WORKER)

    @property
    def queue_url_base(self) -> str:
        """Everything of a queue's URL before its name; ends with a slash."""
        return self._read(QUEUE_URL_BASE)

    @property
    def lanes(self) -> dict[str, dict[str, str]]:
        """SQS queue name by queue and lane (`{"emails": {"high": …, "normal": …, "low": …}}`) of the queues that this function sends to."""
        try:
            return msgspec.json.decode(self._read(LANES), type=dict[str, dict[str, str]])
        except msgspec.MsgspecError as error:
            raise InvalidSettings(f"{LANES}: {error}") from error

    @property
    def set_aside_queue(self) -> str:
        """Name of the queue for stream records that can never be sent."""
        return self._read(SET_ASIDE_QUEUE)

    @property
    def mappings(self) -> dict[str, list[str]]:
        """The ids of the event source mappings that deliver each queue's lanes: `{"emails": ["14e0db71-…", …]}`."""
        try:
            return msgspec.json.decode(self._read(MAPPINGS), type=dict[str, list[str]])
        except msgspec.MsgspecError as error:
            raise InvalidSettings(f"{MAPPINGS}: {error}") from error

    @property
    def operations_function(self) -> str:
        """Name of the function that runs operators' jobs, and that alone may pause a queue."""
        return self._read(OPERATIONS_FUNCTION)

    @property
    def schedules(self) -> dict[str, str]:
        """Where schedules are kept and what they call, as ARNs and names: the fields of `schedules.Place`."""
        try:
            return msgspec.json.decode(self._read(SCHEDULES), type=dict[str, str])
        except msgspec.MsgspecError as error:
            raise InvalidSettings(f"{SCHEDULES}: {error}") from error

    @property
    def replies(self) -> dict[str, str]:
        """The URL of each reply queue, by its name."""
        try:
            return msgspec.json.decode(self._read(REPLIES), type=dict[str, str])
        except msgspec.MsgspecError as error:
            raise InvalidSettings(f"{REPLIES}: {error}") from error

    def _read(self, name: str) -> str:
        value = self.environment.get(name, "")
        if not value:
            raise InvalidSettings(f"The environment variable {name} is not set.")
        return value
