"""A newsletter: one message to each recipient of a list in S3, by a child job for each."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from typing import IO, Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from functions.notifications.recipients import Format, Recipient, Reject, distinct, opened, read_list
from functions.notifications.send_email import (
    NO_SUBJECT,
    Addresses,
    SendEmail,
    Subject,
    TemplateName,
    Texts,
    request_of,
    send_email,
)
from jobline import Context, NonRetryable, job
from jobline.errors import InvalidRequest
from jobline.objects import Place, Source, place_of
from jobline.times import format_instant

MOST_IN_A_LIST: Final = 500_000
"""Recipients: a worker knows them all by heart, so that it mails nobody twice."""
AT_ONCE: Final = 250
"""Children between two checkpoints: what a crash makes the next run ask for again."""
LEAD: Final = timedelta(seconds=2)
"""How long before the first of a batch falls due it is enqueued: what is due already when it is made would start together."""
LOW: Final = 9
"""Priority of the children: a message that somebody waits for overtakes them."""


class BatchNewsletter(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    recipients: Annotated[
        Source,
        Meta(
            description="The list: a key of the data bucket, or `s3://bucket/key`; UTF-8, CSV with a header line or an object in each line "
            "(JSONL); a row's columns or members are the variables of its message."
        ),
    ]
    format: Annotated[Format | UnsetType, Meta(description="What the list is; without it what its name ends in.")] = UNSET
    address_field: Annotated[str, Meta(min_length=1, max_length=200, description="The column or member that has the address.")] = "email"
    subject: Annotated[Subject, Meta(description="Subject line; a Jinja2 template.")] = NO_SUBJECT
    body: Annotated[str, Meta(max_length=200_000, description="The message as plain text; a Jinja2 template.")] = ""
    html: Annotated[
        Annotated[str, Meta(max_length=500_000)] | UnsetType,
        Meta(description="The message as HTML; a Jinja2 template."),
    ] = UNSET
    template: Annotated[
        TemplateName | UnsetType, Meta(description="Instead of `subject`, `body` and `html`: a template as `send_email` takes it.")
    ] = UNSET
    unsubscribe_url: Annotated[
        Annotated[str, Meta(max_length=900)] | UnsetType,
        Meta(description="Where one POST ends the subscription (RFC 8058); https; a Jinja2 template."),
    ] = UNSET
    reply_to: Annotated[Addresses, Meta(description="Where answers go; without it to the sender.")] = []
    per_second: Annotated[
        float, Meta(ge=0.1, le=1000, description="Messages that fall due in a second: at most what SES lets the account send.")
    ] = 10.0


class State(msgspec.Struct):
    """Where the work stands; what a checkpoint puts down."""

    etag: str
    """Of the list: another one must not go on where this one stopped."""
    base: datetime
    """When the first message falls due, moved on by what the work was late."""
    recipients: int
    duplicates: int
    rejected: int
    enqueued: int = 0


@job("batch_newsletter", timeout=240, max_attempts=10, retry={"backoff": "exponential", "base_delay": 5000, "max_delay": 300_000})
def batch_newsletter(payload: BatchNewsletter, ctx: Context) -> dict[str, Any]:
    """Mails a list of recipients, one child job for each; returns how many there were and where the bad rows are.

    The whole list is read, and the first message tried, before anybody is mailed. Then children are enqueued a few hundred at a time, each
    batch with a checkpoint after it. A child's key is its address, so a batch that comes again finds those it has made, and an address that
    is in the list twice gets one message.
    """
    place = place_of(payload.recipients, ctx)
    state = None if ctx.cursor is None else msgspec.convert(ctx.cursor, State)
    with opened(ctx, place, None if state is None else state.etag) as (file, etag):
        letter = Letter(payload, ctx, _format(payload, place))
        if state is None:
            state = letter.survey(file, etag)
            ctx.checkpoint(msgspec.to_builtins(state))
            file.seek(0)
        letter.enqueue_all(file, state)
    rejects = {"bucket": ctx.bucket, "key": letter.rejects_key} if state.rejected else None
    return {
        "rows": state.recipients + state.duplicates + state.rejected,
        "enqueued": state.enqueued,
        "duplicates": state.duplicates,
        "rejected": state.rejected,
        "rejects": rejects,
        "tag": letter.tag,
        "last_at": format_instant(_due(state, max(0, state.enqueued - 1), payload.per_second)),
    }


class Letter:
    """One newsletter, as one run of its job works on it."""

    def __init__(self, payload: BatchNewsletter, ctx: Context, format: Format) -> None:
        self.payload = payload
        self.ctx = ctx
        self.format = format
        self.rejects_key = f"results/{ctx.id}/rejects.jsonl"
        self.template_key = f"templates/newsletters/{ctx.id}.json"
        self.tag = f"newsletter:{ctx.id}"

    def survey(self, file: IO[bytes], etag: str) -> State:
        """Reads the whole list, keeps its bad rows in S3, and tries the first message without sending it. Raises NonRetryable."""
        self._keep_template()
        state = State(etag=etag, base=self.ctx.clock() + LEAD, recipients=0, duplicates=0, rejected=0)
        with tempfile.TemporaryFile() as rejects:

            def bad(reject: Reject) -> None:
                state.rejected += 1
                rejects.write(json.dumps(reject._asdict()).encode() + b"\n")

            def again(recipient: Recipient) -> None:
                state.duplicates += 1

            for recipient in distinct(read_list(file, self.format, self.payload.address_field), bad, again):
                state.recipients += 1
                if state.recipients == 1:
                    self._try(recipient)
                if state.recipients > MOST_IN_A_LIST:
                    raise NonRetryable(f"the list has more than {MOST_IN_A_LIST:,} recipients: cut it in pieces")
            if state.rejected:
                rejects.seek(0)
                self.ctx.aws("s3").put_object(Bucket=self.ctx.bucket, Key=self.rejects_key, Body=rejects, ContentType="application/jsonl")
        return state

    def enqueue_all(self, file: IO[bytes], state: State) -> None:
        """Enqueues the children that are not yet made, with a checkpoint after each batch."""
        everybody = distinct(read_list(file, self.format, self.payload.address_field), lambda reject: None, lambda recipient: None)
        waiting = islice(everybody, state.enqueued, None)
        while some := list(islice(waiting, AT_ONCE)):
            late = self.ctx.clock() + LEAD - _due(state, state.enqueued, self.payload.per_second)
            state.base += max(late, timedelta())  # or what was missed would all fall due at once
            self._enqueue(some, state)
            state.enqueued += len(some)
            self.ctx.checkpoint(msgspec.to_builtins(state))
            self.ctx.progress(100 * state.enqueued / state.recipients, f"{state.enqueued:,} of {state.recipients:,} enqueued")

    def _enqueue(self, some: Iterable[Recipient], state: State) -> None:
        children = {
            recipient.key: {
                "payload": self._message(recipient),
                "scheduled_at": format_instant(_due(state, state.enqueued + number, self.payload.per_second)),
                "priority": LOW,
                "tags": [self.tag],
            }
            for number, recipient in enumerate(some)
        }
        made = self.ctx.enqueue_many(send_email, children)
        for recipient, outcome in zip(some, made.values(), strict=True):
            if isinstance(outcome, InvalidRequest):
                raise NonRetryable(f"line {recipient.line} of the list makes no job: {outcome}")

    def _message(self, recipient: Recipient) -> dict[str, Any]:
        """The payload of a child; no more than it needs, for it is kept once for each recipient."""
        payload = self.payload
        message: dict[str, Any] = {"to": recipient.address, "template": self.template_key, "data": recipient.row}
        if payload.template is not UNSET:
            message["template"] = payload.template
            if payload.unsubscribe_url is not UNSET:
                message["unsubscribe_url"] = payload.unsubscribe_url
        if payload.reply_to:
            message["reply_to"] = payload.reply_to
        return message

    def _keep_template(self) -> None:
        """Puts the texts where every child finds them, so that no child carries a copy."""
        payload = self.payload
        if payload.template is not UNSET:
            if payload.subject != NO_SUBJECT or payload.body or payload.html is not UNSET:
                raise NonRetryable("template is given together with subject, body or html: they are what the template says")
            return
        texts = Texts(subject=payload.subject, body=payload.body, html=payload.html, unsubscribe_url=payload.unsubscribe_url)
        body = msgspec.json.encode(texts)
        self.ctx.aws("s3").put_object(Bucket=self.ctx.bucket, Key=self.template_key, Body=body, ContentType="application/json")

    def _try(self, recipient: Recipient) -> None:
        try:
            request_of(msgspec.convert(self._message(recipient), SendEmail), self.ctx)
        except NonRetryable as error:
            raise NonRetryable(f"nobody was mailed, for the first message (line {recipient.line}) fails: {error.reason}") from error


def _due(state: State, number: int, per_second: float) -> datetime:
    """When the message to recipient `number` (0 for the first) falls due."""
    return state.base + timedelta(seconds=number / per_second)


def _format(payload: BatchNewsletter, place: Place) -> Format:
    if payload.format is not UNSET:
        return payload.format
    for ending, format in ((".csv", "csv"), (".jsonl", "jsonl"), (".ndjson", "jsonl")):
        if place.key.lower().endswith(ending):
            return "csv" if format == "csv" else "jsonl"
    raise NonRetryable(f"{place} ends neither in .csv nor in .jsonl: say its format")
