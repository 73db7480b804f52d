"""Text messages, through Amazon SNS."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from functions.notifications.receipts import once
from functions.notifications.sns import Attributes, publish
from jobline import Context, job

PhoneNumber = Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}(?![\s\S])")]
"""E.164: a plus, the country's code and the number, 15 digits at most. (`$` alone lets a line break pass at the end.)"""
SenderId = Annotated[str, Meta(pattern=r"^(?=.*[A-Za-z])[A-Za-z0-9]{1,11}(?![\s\S])")]
Price = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,2})(\.[0-9]{1,5})?(?![\s\S])")]


class SendSms(msgspec.Struct, forbid_unknown_fields=True):
    to: Annotated[PhoneNumber, Meta(description="Phone number in E.164 form: `+491701234567`.")]
    message: Annotated[
        str,
        Meta(
            min_length=1, max_length=1600, description="The text; over 160 letters (70, if not all are of GSM 03.38) it costs as several."
        ),
    ]
    kind: Annotated[
        Literal["transactional", "promotional"],
        Meta(description="`transactional`: delivered as reliably as can be (a code, an alarm); `promotional`: as cheaply as can be."),
    ] = "transactional"
    sender_id: Annotated[
        SenderId | UnsetType,
        Meta(description="Who it seems to come from, where a country allows that: 11 letters and digits at most; without it the worker's."),
    ] = UNSET
    max_price: Annotated[
        Price | UnsetType,
        Meta(description="US dollars, as text (`0.25`): one that costs more is not sent; without it the worker's limit."),
    ] = UNSET


@job("send_sms", timeout=30, max_attempts=5, retry={"backoff": "exponential", "base_delay": 2000, "max_delay": 300_000})
def send_sms(payload: SendSms, ctx: Context) -> dict[str, Any]:
    """Sends one text message through SNS; returns its message id.

    SNS has no idempotency token for a phone number. What it took is noted in a receipt (see `receipts`), which a later attempt finds.
    An id says that SNS took the message, not that a phone has it: spending limit and opted-out numbers show in its delivery log alone.
    """
    attributes: Attributes = {"AWS.SNS.SMS.SMSType": payload.kind.capitalize()}
    sender = ctx.setting("SMS_SENDER_ID", "") if payload.sender_id is UNSET else payload.sender_id
    price = ctx.setting("SMS_MAX_PRICE", "") if payload.max_price is UNSET else payload.max_price
    if sender:
        attributes["AWS.SNS.SMS.SenderID"] = sender
    if price:
        attributes["AWS.SNS.SMS.MaxPrice"] = price
    return once(ctx, lambda: publish(ctx, PhoneNumber=payload.to, Message=payload.message, attributes=attributes))
