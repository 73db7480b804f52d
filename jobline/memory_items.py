"""What a deployment keeps beside jobs, in memory: the table's other items and the data bucket, behind boto3's calls."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

from jobline.queue_states import QueueState


class ConditionalCheckFailed(ClientError):
    """The condition of a put did not hold."""


class NoSuchKey(ClientError):
    """The bucket has no such object."""


class MemoryItems:
    """The items of one table that are no jobs: bodies and counters. Reads and writes by key, as a DynamoDB client does them."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionalCheckFailed)

    def __init__(self) -> None:
        self.items: dict[str, Mapping[str, Any]] = {}

    def get_item(self, *, TableName: str, Key: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        item = self.items.get(Key["id"]["S"])
        return {} if item is None else {"Item": item}

    def put_item(
        self,
        *,
        TableName: str,
        Item: Mapping[str, Any],
        ConditionExpression: str | None = None,
        ExpressionAttributeNames: Mapping[str, str] | None = None,
        ExpressionAttributeValues: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Puts the item; the conditions understood are `attribute_not_exists(id)` and `#name = :value`."""
        name = Item["id"]["S"]
        existing = self.items.get(name)
        if ConditionExpression == "attribute_not_exists(id)":
            holds = existing is None
        elif ConditionExpression is not None:
            left, right = ConditionExpression.split(" = ")
            field, wanted = (ExpressionAttributeNames or {})[left], (ExpressionAttributeValues or {})[right]
            holds = existing is not None and existing.get(field) == wanted
        else:
            holds = True
        if not holds:
            raise ConditionalCheckFailed({"Error": {"Code": "ConditionalCheckFailedException", "Message": "refused"}}, "PutItem")
        self.items[name] = Item
        return {}

    def delete_item(self, *, TableName: str, Key: Mapping[str, Any]) -> dict[str, Any]:
        self.items.pop(Key["id"]["S"], None)
        return {}


class MemoryBucket:
    """One bucket of objects, as an S3 client reads and writes them."""

    exceptions = SimpleNamespace(NoSuchKey=NoSuchKey)

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: Any) -> dict[str, Any]:
        self.objects[Key] = Body
        return {}

    def get_object(self, *, Bucket: str, Key: str, **_: Any) -> dict[str, Any]:
        if Key not in self.objects:
            raise NoSuchKey({"Error": {"Code": "NoSuchKey", "Message": Key}}, "GetObject")
        return {"Body": io.BytesIO(self.objects[Key])}

    def head_object(self, *, Bucket: str, Key: str, **_: Any) -> dict[str, Any]:
        if Key not in self.objects:
            answer: Any = {"Error": {"Code": "404"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
            raise ClientError(answer, "HeadObject")
        data = self.objects[Key]
        return {"ContentLength": len(data), "ChecksumSHA256": base64.b64encode(hashlib.sha256(data).digest()).decode()}

    def copy_object(self, *, Bucket: str, Key: str, CopySource: Mapping[str, str]) -> dict[str, Any]:
        return self.put_object(Bucket=Bucket, Key=Key, Body=self.get_object(**CopySource)["Body"].read())

    def delete_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        self.objects.pop(Key, None)
        return {}

    def generate_presigned_url(self, *, ClientMethod: str, Params: Mapping[str, str], ExpiresIn: int) -> str:
        """A link that names the object and works nowhere."""
        return f"memory://{Params['Bucket']}/{Params['Key']}"


class MemoryStates:
    """Queue states, as `queue_states.QueueStates` keeps them."""

    def __init__(self) -> None:
        self.states: dict[str, QueueState] = {}

    def get(self, queue: str) -> QueueState:
        return self.states.get(queue, QueueState())

    def save_walk(self, queue: str, state: QueueState) -> None:
        now = self.get(queue)
        self.states[queue] = replace(state, paused=now.paused, paused_at=now.paused_at, rest_until=now.rest_until)

    def pause(self, queue: str, now: datetime) -> None:
        self.states[queue] = self.get(queue).pausing(now)

    def resume(self, queue: str, now: datetime) -> None:
        self.states[queue] = self.get(queue).resuming(now)
