"""What became of a schedule's last run: a note in the jobs table, for people. Nothing depends on it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobline.aws import aws_errors
from jobline.times import format_instant, from_milliseconds, to_milliseconds

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEPT: Final = timedelta(days=800)
"""A schedule that runs once a year still shows its last run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNote:
    """One run, as it was delivered."""

    due_at: datetime
    """When the schedule said."""
    delivered_at: datetime
    job_id: str | None = None
    problem: str | None = None
    """Why there is no job: one sentence."""

    def document(self) -> dict[str, Any]:
        """As the API answers it."""
        return {
            "due_at": format_instant(self.due_at),
            "delivered_at": format_instant(self.delivered_at),
            "job_id": self.job_id,
            "problem": self.problem,
        }


def item_key(schedule: str) -> str:
    return f"schedule#{schedule}"


class ScheduleNotes:
    """The notes of all schedules."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def read(self, schedule: str) -> RunNote | None:
        """The last run that was noted. Raises Unavailable."""
        with aws_errors("reading a schedule's last run"):
            answer = self._dynamodb.get_item(TableName=self._table, Key={"id": {"S": item_key(schedule)}})
        item: Any = answer.get("Item")
        if item is None:
            return None
        return RunNote(
            due_at=from_milliseconds(int(item["due_at"]["N"])),
            delivered_at=from_milliseconds(int(item["delivered_at"]["N"])),
            job_id=item.get("job_id", {}).get("S"),
            problem=item.get("problem", {}).get("S"),
        )

    def write(self, schedule: str, note: RunNote) -> None:
        """Notes a run, unless a later one has been. Raises Unavailable."""
        item: dict[str, Any] = {
            "id": {"S": item_key(schedule)},
            "due_at": {"N": str(to_milliseconds(note.due_at))},
            "delivered_at": {"N": str(to_milliseconds(note.delivered_at))},
            "ttl": {"N": str(to_milliseconds(note.delivered_at + KEPT) // 1000)},
        }
        item |= {name: {"S": text} for name, text in (("job_id", note.job_id), ("problem", note.problem)) if text is not None}
        with aws_errors("noting a schedule's run"), suppress(self._dynamodb.exceptions.ConditionalCheckFailedException):
            self._dynamodb.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression="attribute_not_exists(id) OR due_at <= :due_at",
                ExpressionAttributeValues={":due_at": item["due_at"]},
            )
