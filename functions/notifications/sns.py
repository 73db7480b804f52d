"""One publish through Amazon SNS, to a phone or a device, and what its errors mean for a job."""

from __future__ import annotations

import random
from typing import Any, Final

from jobline import Context, NonRetryable, RetryAfter

_LATER: Final = {
    "Throttling": 5.0,
    "ThrottlingException": 5.0,
    "KMSThrottling": 5.0,
    "PlatformApplicationDisabled": 900.0,  # its certificate or key has run out: somebody must renew it
}
"""Seconds to wait, by SNS's error: errors of the moment. (https://docs.aws.amazon.com/sns/latest/api/API_Publish.html)"""
_NEVER: Final = frozenset({"InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid", "ValidationException", "NotFound"})
"""SNS's errors that the same message meets again, whenever it is sent."""

_NUMBERS: Final = frozenset({"AWS.SNS.SMS.MaxPrice"})
"""Attributes that are numbers; all the others are texts (Amazon SNS developer guide, "Publishing SMS messages")."""

Attributes = dict[str, str]


def publish(ctx: Context, *, attributes: Attributes, **message: Any) -> dict[str, Any]:
    """Publishes a message; answers `{"message_id"}`.

    Raises NonRetryable for what SNS will never take, RetryAfter for what it takes later.
    """
    from botocore.exceptions import ClientError

    said = {name: {"DataType": "Number" if name in _NUMBERS else "String", "StringValue": value} for name, value in attributes.items()}
    try:
        answer = ctx.aws("sns").publish(MessageAttributes=said, **message)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "EndpointDisabled":
            raise NonRetryable(f"the device takes no more messages: delete its endpoint, or register it anew; {error}") from error
        if code in _NEVER:
            raise NonRetryable(str(error)) from error
        if code in _LATER:
            # Spread, for whoever hit the limit with this job will come back with it.
            raise RetryAfter(_LATER[code] * ctx.attempt * random.uniform(0.5, 1.5), str(error)) from error  # noqa: S311  spreads retries
        raise
    return {"message_id": answer["MessageId"]}
