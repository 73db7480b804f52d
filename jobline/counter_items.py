"""Where counters are kept: one item of the table for each queue, written only over what it was made of."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from jobline.aws import aws_errors
from jobline.counters import Counters
from jobline.errors import CorruptRecord
from jobline.stats import counters_key, decode_counters, encode_counters

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class UnreadableCounters(CorruptRecord):
    """The item does not hold counters."""

    def __init__(self, detail: str = "", *, rev: int = 0) -> None:
        super().__init__(detail)
        self.rev = rev

    def anew(self, now: datetime) -> Counters:
        """Counters to be written in their place, in doubt from the beginning."""
        return Counters(doubt=Counters().doubted(now), rev=self.rev)


class CounterItems:
    """The counters of one deployment's queues."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def read(self, queue: str) -> Counters:
        """The counters now (strongly consistent); raises UnreadableCounters."""
        item = self._get(queue, consistent=True)
        try:
            return decode_counters(item)
        except CorruptRecord as error:
            raise UnreadableCounters(error.detail, rev=int(item["rev"]["N"])) from error

    def peek(self, queue: str) -> Counters | None:
        """The counters as of a moment ago; `None` when they cannot be read: the observer then begins them anew, in doubt."""
        try:
            return decode_counters(self._get(queue, consistent=False))
        except CorruptRecord:
            return None

    def put(self, queue: str, counters: Counters) -> bool:
        """Writes the counters over those they were made of (`rev` less one); false when others were written meanwhile."""
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(id)"}
        if counters.rev > 1:
            condition = {
                "ConditionExpression": "#rev = :rev",
                "ExpressionAttributeNames": {"#rev": "rev"},
                "ExpressionAttributeValues": {":rev": {"N": str(counters.rev - 1)}},
            }
        try:
            with aws_errors("writing counters"):
                self._dynamodb.put_item(TableName=self._table, Item=encode_counters(queue, counters), **condition)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _get(self, queue: str, *, consistent: bool) -> Any:
        with aws_errors("reading counters"):
            answer = self._dynamodb.get_item(TableName=self._table, Key={"id": {"S": counters_key(queue)}}, ConsistentRead=consistent)
        return answer.get("Item", {})
