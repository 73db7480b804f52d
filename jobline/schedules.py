"""Where schedules are kept: in a group of EventBridge Scheduler, which alone knows them and runs them. The client is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from jobline.aws import aws_errors
from jobline.cron import parse_cron
from jobline.errors import CorruptRecord, InvalidRequest, ScheduleConflict
from jobline.schedule import Schedule, read_input
from jobline.timetable import Timetable, read_at, read_rate

if TYPE_CHECKING:
    from mypy_boto3_scheduler import EventBridgeSchedulerClient

RETRIES: Final = 185
LONGEST_RETRIED: Final = timedelta(days=1)
"""How often and for how long Scheduler tries to call its target: as much as it takes (RetryPolicy, API reference)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The group of one deployment, and what its schedules call."""

    group: str
    function: str
    """ARN of the operations function."""
    role: str
    """ARN of the role under which Scheduler calls it."""
    set_aside: str
    """ARN of the SQS queue for calls that never succeeded."""
    key: str | None = None
    """ARN of the KMS key that encrypts schedules; without one, AWS's own does."""


class Schedules:
    """The schedules of one deployment."""

    def __init__(self, client: Callable[[], EventBridgeSchedulerClient], place: Place) -> None:
        self._client = client
        self._place = place

    def find(self, name: str) -> Schedule | None:
        """The schedule; `None` when there is none. Raises Unavailable."""
        with _scheduler_errors("reading a schedule"):
            client = self._client()
            try:
                found: Any = client.get_schedule(GroupName=self._place.group, Name=name)
            except client.exceptions.ResourceNotFoundException:
                return None
        return decode(found)

    def page(self, limit: int, cursor: str | None) -> tuple[list[Schedule], str | None]:
        """Some of the schedules, by name, and where the others begin. Raises InvalidRequest for a cursor that is none."""
        asked: dict[str, Any] = {"GroupName": self._place.group, "MaxResults": limit} | ({} if cursor is None else {"NextToken": cursor})
        with _scheduler_errors("listing schedules"):
            try:
                answer: Any = self._client().list_schedules(**asked)
            except ClientError as error:
                if cursor is not None and error.response.get("Error", {}).get("Code") in {"ValidationException", "InvalidToken"}:
                    raise InvalidRequest("The cursor is not one that this list gave.") from None
                raise
        found = (self.find(each["Name"]) for each in answer["Schedules"])
        return [schedule for schedule in found if schedule is not None], answer.get("NextToken")

    def create(self, schedule: Schedule) -> bool:
        """Stores a new schedule; False when there is one of this name. Raises ScheduleConflict when there are too many, and Unavailable."""
        with _scheduler_errors("creating a schedule"):
            client = self._client()
            try:
                client.create_schedule(**encode(schedule, self._place))
            except client.exceptions.ConflictException:
                return False
        return True

    def replace(self, schedule: Schedule) -> bool:
        """Puts the schedule in the place of the one of its name; False when there is none. Raises ScheduleConflict, Unavailable."""
        with _scheduler_errors("changing a schedule"):
            client = self._client()
            try:
                client.update_schedule(**encode(schedule, self._place))
            except client.exceptions.ResourceNotFoundException:
                return False
            except client.exceptions.ConflictException:
                raise ScheduleConflict(f"The schedule {schedule.name!r} is being changed by another request. Try again.") from None
        return True

    def delete(self, name: str) -> bool:
        """Removes the schedule; False when there is none. Raises ScheduleConflict, Unavailable."""
        with _scheduler_errors("deleting a schedule"):
            client = self._client()
            try:
                client.delete_schedule(GroupName=self._place.group, Name=name)
            except client.exceptions.ResourceNotFoundException:
                return False
            except client.exceptions.ConflictException:
                raise ScheduleConflict(f"The schedule {name!r} is being changed by another request. Try again.") from None
        return True


def encode(schedule: Schedule, place: Place) -> dict[str, Any]:
    """The arguments of CreateSchedule and UpdateSchedule, which replaces everything."""
    timetable, window = schedule.timetable, schedule.window // timedelta(minutes=1)
    target = {
        "Arn": place.function,
        "RoleArn": place.role,
        "Input": schedule.input,
        "RetryPolicy": {"MaximumRetryAttempts": RETRIES, "MaximumEventAgeInSeconds": LONGEST_RETRIED // timedelta(seconds=1)},
        "DeadLetterConfig": {"Arn": place.set_aside},
    }
    said = {
        "GroupName": place.group,
        "Name": schedule.name,
        "ScheduleExpression": timetable.expression,
        "ScheduleExpressionTimezone": timetable.timezone,
        "StartDate": timetable.start,
        "EndDate": timetable.end,
        "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": window} if window else {"Mode": "OFF"},
        "State": "DISABLED" if schedule.paused else "ENABLED",
        "Target": target,
        "KmsKeyArn": place.key,
    }
    return {name: value for name, value in said.items() if value is not None}


def decode(found: Any) -> Schedule:
    """The schedule that GetSchedule tells of. Raises CorruptRecord for one that nobody here has made."""
    try:
        kind, _, text = found["ScheduleExpression"].rstrip(")").partition("(")
        timetable = Timetable(
            cron=parse_cron(text) if kind == "cron" else None,
            every=read_rate(text) if kind == "rate" else None,
            at=read_at(text) if kind == "at" else None,
            timezone=found.get("ScheduleExpressionTimezone", "UTC"),
            start=_utc(found.get("StartDate")),
            end=_utc(found.get("EndDate")),
        )
        job = read_input(found["Target"]["Input"])
    except (KeyError, ValueError) as error:
        raise CorruptRecord(f"The schedule {found.get('Name')!r} in EventBridge Scheduler was not made by Jobline: {error}") from error
    return Schedule(
        name=found["Name"],
        timetable=timetable,
        job=job,
        window=timedelta(minutes=found["FlexibleTimeWindow"].get("MaximumWindowInMinutes", 0)),
        paused=found["State"] == "DISABLED",
        created_at=_utc(found["CreationDate"]),
        changed_at=_utc(found["LastModificationDate"]),
    )


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.astimezone(UTC)


@contextmanager
def _scheduler_errors(what: str) -> Iterator[None]:
    with aws_errors(what):
        try:
            yield
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ServiceQuotaExceededException":
                raise ScheduleConflict("There are as many schedules as the account may have in EventBridge Scheduler.") from None
            raise
