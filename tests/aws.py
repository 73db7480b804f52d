"""AWS for functional tests: what the stack would have made, made directly, with the stack's own names and shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REGION = "eu-central-1"
CREDENTIALS = {"region_name": REGION, "aws_access_key_id": "test", "aws_secret_access_key": "test"}


def client(service: str, **options: Any) -> Any:
    """A low-level client with test credentials."""
    return boto3.client(service, **(CREDENTIALS | options))  # type: ignore[call-overload]


def create_table(dynamodb: DynamoDBClient, name: str = "jobs") -> str:
    """The jobs table with its two indexes and its stream; answers its name."""
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "queue_shard", "AttributeType": "S"},
            {"AttributeName": "created_at", "AttributeType": "N"},
            {"AttributeName": "attention", "AttributeType": "S"},
            {"AttributeName": "attention_at", "AttributeType": "N"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": [{"AttributeName": hash_key, "KeyType": "HASH"}, {"AttributeName": range_key, "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index, hash_key, range_key in (("by_queue", "queue_shard", "created_at"), ("by_attention", "attention", "attention_at"))
        ],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    return name
