"""Where subscriptions that are made at run time are kept: one item of the table for each topic, written only over what was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from jobline.aws import aws_errors
from jobline.errors import CorruptRecord
from jobline.topics import Kept

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_EMPTY: Final = Kept({})


def topic_key(topic: str) -> str:
    """The id of the item that holds a topic's subscriptions."""
    return f"topic#{topic}"


class TopicItems:
    """The subscriptions of one deployment's topics, in the jobs table."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def read(self, topic: str) -> Kept:
        """What is kept now (strongly consistent). Raises Unavailable, and CorruptRecord for an item that holds something else."""
        with aws_errors("reading subscriptions"):
            answer = self._dynamodb.get_item(TableName=self._table, Key={"id": {"S": topic_key(topic)}}, ConsistentRead=True)
        item = answer.get("Item")
        if not item:
            return _EMPTY
        try:
            return Kept(msgspec.json.decode(item["subscriptions"]["S"], type=dict[str, str]), int(item["rev"]["N"]))
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            raise CorruptRecord(f"the item {topic_key(topic)} does not hold subscriptions: {error!r}") from error

    def write(self, topic: str, kept: Kept) -> bool:
        """Writes what is to be kept over what it was made of (`rev` less one); false when something else was written meanwhile."""
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(id)"}
        if kept.rev > 1:
            condition = {
                "ConditionExpression": "#rev = :rev",
                "ExpressionAttributeNames": {"#rev": "rev"},
                "ExpressionAttributeValues": {":rev": {"N": str(kept.rev - 1)}},
            }
        item = {
            "id": {"S": topic_key(topic)},
            "rev": {"N": str(kept.rev)},
            "subscriptions": {"S": msgspec.json.encode(dict(kept.texts), order="sorted").decode()},
        }
        try:
            with aws_errors("writing subscriptions"):
                self._dynamodb.put_item(TableName=self._table, Item=item, **condition)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True
