"""Mail, through Amazon SES."""

from __future__ import annotations

import random
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from functions.notifications.addresses import UNFIT_FOR_A_HEADER, header_address
from functions.notifications.attachments import MOST_ATTACHMENTS, Attachment, read_attachments
from functions.notifications.receipts import once
from functions.notifications.rendering import FILES, render, render_folder
from jobline import Context, NonRetryable, RetryAfter, job
from jobline.objects import place_of, read_object

MOST_RECIPIENTS: Final = 50
"""Per message, `to`, `cc` and `bcc` together (Amazon SES service quotas)."""
NO_SUBJECT: Final = "(no subject)"
LARGEST_TEMPLATE: Final = 1_000_000
"""Bytes of a template in S3."""

_ONE_LINE: Final = r"^(?![\s\S]*[\r\n])"
"""A line break in a header would begin another header. (`$` alone lets one pass at the end.)"""

# SES decides what an address is. (A pattern here would crash msgspec, see `jobline.job_type`.)
Address = Annotated[str, Meta(min_length=1, max_length=320)]
Addresses = Address | Annotated[list[Address], Meta(max_length=MOST_RECIPIENTS)]
Subject = Annotated[str, Meta(max_length=900, pattern=_ONE_LINE)]
TemplateName = Annotated[str, Meta(max_length=1100, pattern=r"^([a-z0-9][a-z0-9_-]{0,63}|[^\x00-\x1f]+\.json)(?![\s\S])")]


class SendEmail(msgspec.Struct, forbid_unknown_fields=True):
    to: Annotated[
        Address | Annotated[list[Address], Meta(min_length=1, max_length=MOST_RECIPIENTS)],
        Meta(description="Address, or list of addresses, of the recipients."),
    ]
    subject: Annotated[Subject, Meta(description="Subject line; a Jinja2 template when there is `data`.")] = NO_SUBJECT
    body: Annotated[str, Meta(description="The message as plain text; a Jinja2 template when there is `data`.")] = ""
    html: Annotated[
        str | UnsetType,
        Meta(description="The message as HTML, for programs that show it; a Jinja2 template when there is `data`, which is escaped in it."),
    ] = UNSET
    template: Annotated[
        TemplateName | UnsetType,
        Meta(
            description="Instead of `subject`, `body` and `html`: a folder of the worker's `templates/`, or an object of S3 that has these "
            "three, with a name that ends in `.json`."
        ),
    ] = UNSET
    data: Annotated[
        dict[str, Any] | UnsetType, Meta(description="Values of the template's variables; one that is missing is an error.")
    ] = UNSET
    attachments: Annotated[
        list[Attachment], Meta(max_length=MOST_ATTACHMENTS, description="Files of S3 to send along, 15 MiB together at most.")
    ] = []
    cc: Annotated[Addresses, Meta(description="Who gets a copy that everybody sees.")] = []
    bcc: Annotated[Addresses, Meta(description="Who gets a copy that nobody else sees.")] = []
    reply_to: Annotated[Addresses, Meta(description="Where answers go; without it to the sender.")] = []
    unsubscribe_url: Annotated[
        Annotated[str, Meta(max_length=900, pattern=_ONE_LINE)] | UnsetType,
        Meta(
            description="Where one POST ends the subscription (RFC 8058); https; a Jinja2 template when there is `data`.",
        ),
    ] = UNSET


class Texts(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is read in a message; also what a template in S3 holds."""

    subject: Subject = NO_SUBJECT
    body: str = ""
    html: str | UnsetType = UNSET
    unsubscribe_url: str | UnsetType = UNSET


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

    SES has no idempotency token. What it took is noted in a receipt (see `receipts`), which a later attempt of the job finds; the header
    `X-Jobline-Job` and the tag `job` are the same in every attempt.
    """
    return once(ctx, lambda: {"message_id": _send(payload, ctx)})


def _send(payload: SendEmail, ctx: Context) -> str:
    from botocore.exceptions import ClientError

    request = request_of(payload, ctx)
    try:
        answer = ctx.aws("sesv2").send_email(**request)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _NEVER:
            raise NonRetryable(str(error)) from error
        if code in _LATER:
            # Spread, for whoever hit the limit with this job will come back with it.
            raise RetryAfter(_LATER[code] * ctx.attempt * random.uniform(0.5, 1.5), str(error)) from error  # noqa: S311  spreads retries
        raise
    return answer["MessageId"]


def request_of(payload: SendEmail, ctx: Context) -> dict[str, Any]:
    """What SES is told. Raises NonRetryable for what can be no message, whatever SES would make of it."""
    to, cc, bcc, reply_to = (_list(addresses) for addresses in (payload.to, payload.cc, payload.bcc, payload.reply_to))
    if len(to) + len(cc) + len(bcc) > MOST_RECIPIENTS:
        raise NonRetryable(f"{len(to) + len(cc) + len(bcc)} recipients; a message has at most {MOST_RECIPIENTS}")
    texts = texts_of(payload, ctx)
    message: dict[str, Any] = {
        "Subject": {"Data": texts.subject, "Charset": "UTF-8"},
        "Body": _body(texts),
        "Headers": [{"Name": "X-Jobline-Job", "Value": ctx.idempotency_key}, *_unsubscribe_headers(texts)],
    }
    if payload.attachments:
        message["Attachments"] = read_attachments(payload.attachments, ctx)
    return {
        "FromEmailAddress": ctx.setting("SENDER"),
        "Destination": {"ToAddresses": to, "CcAddresses": cc, "BccAddresses": bcc},
        "ReplyToAddresses": reply_to,
        "Content": {"Simple": message},
        "EmailTags": [{"Name": "job", "Value": ctx.idempotency_key}],
    }


def texts_of(payload: SendEmail, ctx: Context) -> Texts:
    """The message's texts, every variable filled in. Raises NonRetryable that names what is missing or wrong."""
    data = {} if payload.data is UNSET else payload.data
    said: dict[str, str] = {name: text for name in FILES if isinstance(text := getattr(payload, name), str)}
    if payload.template is not UNSET:
        if payload.subject != NO_SUBJECT or payload.body or payload.html is not UNSET:
            raise NonRetryable("template is given together with subject, body or html: they are what the template says")
        own = {"unsubscribe_url": said["unsubscribe_url"]} if "unsubscribe_url" in said else {}
        said = _from_template(payload.template, data, ctx) | render(own, data)
    elif payload.data is not UNSET:
        said = render(said, data)
    for name in ("subject", "unsubscribe_url"):
        if UNFIT_FOR_A_HEADER.search(said.get(name, "")):
            raise NonRetryable(f"{name} has a line break or another control character, once its variables are filled in")
    return Texts(**said)


def _from_template(name: str, data: dict[str, Any], ctx: Context) -> dict[str, str]:
    if not name.endswith(".json"):
        return render_folder(name, data)
    try:
        template = msgspec.json.decode(read_object(ctx, name, most=LARGEST_TEMPLATE), type=Texts)
    except msgspec.MsgspecError as error:
        raise NonRetryable(f"{place_of(name, ctx)} is no template: {error}") from error
    return render(msgspec.to_builtins(template), data)


def _unsubscribe_headers(texts: Texts) -> list[dict[str, str]]:
    if texts.unsubscribe_url is UNSET:
        return []
    if (
        not texts.unsubscribe_url.startswith("https://")
        or {" ", "<", ">"} & set(texts.unsubscribe_url)
        or not texts.unsubscribe_url.isascii()
    ):
        raise NonRetryable(f"unsubscribe_url is no https URL: {texts.unsubscribe_url[:200]!r}")
    return [
        {"Name": "List-Unsubscribe", "Value": f"<{texts.unsubscribe_url}>"},
        {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
    ]


def _body(texts: Texts) -> Any:
    bodies: dict[str, str] = {} if texts.html is UNSET else {"Html": texts.html}
    if texts.body or not bodies:
        bodies["Text"] = texts.body
    return {kind: {"Data": text, "Charset": "UTF-8"} for kind, text in bodies.items()}


def _list(addresses: str | list[str]) -> list[str]:
    return [header_address(address) for address in ([addresses] if isinstance(addresses, str) else addresses)]
