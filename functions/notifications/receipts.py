"""Receipts: what was sent is noted in S3, so that an attempt that comes again does not send it again.

Neither SES nor SNS (to a phone or a device) has an idempotency token. With a receipt a message goes out twice only when the service's
answer is lost, or the worker dies before the receipt is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from jobline import Context


def once(ctx: Context, send: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `send` answers, or what it answered to an earlier start of this job that kept a receipt."""
    if ctx.starts > 1 and (receipt := _receipt(ctx)) is not None:
        return receipt
    result = send()
    _keep(ctx, result)
    return result


def _key(ctx: Context) -> str:
    return f"receipts/{ctx.idempotency_key}.json"


def _receipt(ctx: Context) -> dict[str, Any] | None:
    """What an earlier attempt sent, if it got as far as that."""
    from botocore.exceptions import ClientError

    try:
        answer = ctx.aws("s3").get_object(Bucket=ctx.bucket, Key=_key(ctx))
    except ClientError as error:
        # S3 says "access denied" of a missing object to whoever may not list the bucket (GetObject, Amazon S3 API reference).
        if error.response["Error"]["Code"] in ("NoSuchKey", "AccessDenied"):
            return None
        raise
    receipt: dict[str, Any] = json.loads(answer["Body"].read())
    return receipt


def _keep(ctx: Context, result: dict[str, Any]) -> None:
    """Notes what was sent. When that fails the message is out all the same, so the job goes on to its end."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        ctx.aws("s3").put_object(Bucket=ctx.bucket, Key=_key(ctx), Body=json.dumps(result).encode(), ContentType="application/json")
    except (BotoCoreError, ClientError) as error:
        ctx.logger.warning("no receipt of the message that was sent: %s", error)
