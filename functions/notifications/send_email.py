"""Mail, through Amazon SES."""

from __future__ import annotations

import json
import random
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jobline import Context, NonRetryable, RetryAfter, job

MOST_RECIPIENTS: Final = 50
"""Per message, `to`, `cc` and `bcc` together (Amazon SES service quotas)."""

_ONE_LINE: Final = r"^(?![\s\S]*[\r\n])"
"""A line break in a header would begin another header. (`$` alone lets one pass at the end.)"""

# SES decides what an address is. (A pattern here would crash msgspec, see `jobline.job_type`.)
Address = Annotated[str, Meta(min_length=1, max_length=320)]
Addresses = Address | Annotated[list[Address], Meta(max_length=MOST_RECIPIENTS)]


class SendEmail(msgspec.Struct, forbid_unknown_fields=True):
    to: Annotated[
        Address | Annotated[list[Address], Meta(min_length=1, max_length=MOST_RECIPIENTS)],
        Meta(description="Address, or list of addresses, of the recipients."),
    ]
    subject: Annotated[str, Meta(max_length=900, pattern=_ONE_LINE, description="Subject line.")] = "(no subject)"
    body: Annotated[str, Meta(description="The message as plain text.")] = ""
    html: Annotated[str | UnsetType, Meta(description="The message as HTML, for programs that show it.")] = UNSET
    cc: Annotated[Addresses, Meta(description="Who gets a copy that everybody sees.")] = []
    bcc: Annotated[Addresses, Meta(description="Who gets a copy that nobody else sees.")] = []
    reply_to: Annotated[Addresses, Meta(description="Where answers go; without it to the sender.")] = []


_LATER: Final = {
    "TooManyRequestsException": 5.0,  # the account's sending rate
    "LimitExceededException": 900.0,  # its quota of a day
    "SendingPausedException": 900.0,
}
"""Seconds to wait, by SES's error: errors of the moment. (https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html)"""
_NEVER: Final = frozenset(
    {"MessageRejected", "BadRequestException", "MailFromDomainNotVerifiedException", "AccountSuspendedException", "NotFoundException"}
)
"""SES's errors that the same message meets again, whenever it is sent."""


@job("send_email", timeout=30, max_attempts=5, retry={"backoff": "exponential"})
def send_email(payload: SendEmail, ctx: Context) -> dict[str, Any]:
    """Sends one message through SES; returns its message id.

    SES has no idempotency token. What it took is noted in a receipt, which a later attempt of the job finds; so a message goes out
    twice only when SES's answer is lost, or the worker dies before the receipt is kept. The header `X-Jobline-Job` and the tag `job`
    are the same then.
    """
    if ctx.starts > 1 and (receipt := _receipt(ctx)) is not None:
        return receipt
    result = {"message_id": _send(payload, ctx)}
    _keep_receipt(ctx, result)
    return result


def _send(payload: SendEmail, ctx: Context) -> str:
    from botocore.exceptions import ClientError

    to, cc, bcc, reply_to = (_list(addresses) for addresses in (payload.to, payload.cc, payload.bcc, payload.reply_to))
    if len(to) + len(cc) + len(bcc) > MOST_RECIPIENTS:
        raise NonRetryable(f"{len(to) + len(cc) + len(bcc)} recipients; a message has at most {MOST_RECIPIENTS}")
    if broken := [address for address in (*to, *cc, *bcc, *reply_to) if "\n" in address or "\r" in address]:
        raise NonRetryable(f"{broken[0]!r} is no address: it has a line break")
    try:
        answer = ctx.aws("sesv2").send_email(
            FromEmailAddress=ctx.setting("SENDER"),
            Destination={"ToAddresses": to, "CcAddresses": cc, "BccAddresses": bcc},
            ReplyToAddresses=reply_to,
            Content={
                "Simple": {
                    "Subject": {"Data": payload.subject, "Charset": "UTF-8"},
                    "Body": _body(payload),
                    "Headers": [{"Name": "X-Jobline-Job", "Value": ctx.idempotency_key}],
                }
            },
            EmailTags=[{"Name": "job", "Value": ctx.idempotency_key}],
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _NEVER:
            raise NonRetryable(str(error)) from error
        if code in _LATER:
            # Spread, for whoever hit the limit with this job will come back with it.
            raise RetryAfter(_LATER[code] * ctx.attempt * random.uniform(0.5, 1.5), str(error)) from error  # noqa: S311  spreads retries
        raise
    return answer["MessageId"]


def _body(payload: SendEmail) -> Any:
    texts: dict[str, str] = {} if payload.html is UNSET else {"Html": payload.html}
    if payload.body or not texts:
        texts["Text"] = payload.body
    return {kind: {"Data": text, "Charset": "UTF-8"} for kind, text in texts.items()}


def _list(addresses: str | list[str]) -> list[str]:
    return [addresses] if isinstance(addresses, str) else addresses


def _receipt_key(ctx: Context) -> str:
    return f"receipts/{ctx.idempotency_key}.json"


def _receipt(ctx: Context) -> dict[str, Any] | None:
    """What an earlier attempt sent, if it got as far as that."""
    from botocore.exceptions import ClientError

    try:
        answer = ctx.aws("s3").get_object(Bucket=ctx.bucket, Key=_receipt_key(ctx))
    except ClientError as error:
        # S3 says "access denied" of a missing object to whoever may not list the bucket (GetObject, Amazon S3 API reference).
        if error.response["Error"]["Code"] in ("NoSuchKey", "AccessDenied"):
            return None
        raise
    receipt: dict[str, Any] = json.loads(answer["Body"].read())
    return receipt


def _keep_receipt(ctx: Context, result: dict[str, Any]) -> None:
    """Notes what was sent. When that fails the message is out all the same, so the job goes on to its end."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        ctx.aws("s3").put_object(Bucket=ctx.bucket, Key=_receipt_key(ctx), Body=json.dumps(result).encode(), ContentType="application/json")
    except (BotoCoreError, ClientError) as error:
        ctx.logger.warning("no receipt of the message that was sent: %s", error)
