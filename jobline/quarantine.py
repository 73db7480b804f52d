"""The quarantine: messages that nobody can read, kept in the bucket for people to look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from jobline.aws import aws_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


QUARANTINED: Final = "message quarantined"
"""What the log says of each; an alarm counts these lines."""


class Quarantine:
    """Keeps messages under `quarantine/`."""

    def __init__(self, s3: Callable[[], S3Client], bucket: str) -> None:
        """`s3()` gives the client when a message really goes there, which is hardly ever."""
        self._s3 = s3
        self._bucket = bucket

    def keep(self, record: Mapping[str, Any], reason: str) -> str:
        """Stores the message whole; the key under which it is kept. Raises Unavailable."""
        source = record["eventSourceARN"].rsplit(":", 1)[-1]
        key = f"quarantine/{source}/{record['messageId']}.json"
        body = {
            "reason": reason,
            "source": record["eventSourceARN"],
            "attributes": record.get("attributes", {}),
            "body": record.get("body"),
        }
        with aws_errors("keeping a message in quarantine"):
            self._s3().put_object(Bucket=self._bucket, Key=key, Body=json.dumps(body).encode(), ContentType="application/json")
        return key
