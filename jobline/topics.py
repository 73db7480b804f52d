"""Topics and what subscribes to them: a subscription says which events it takes, and which job each of them becomes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Protocol

import msgspec
from msgspec import Meta

from jobline import ids, queries, strict_json
from jobline.definitions import Definitions
from jobline.errors import FieldProblem, InvalidJob, InvalidRequest, TopicNotFound
from jobline.fields import ENQUEUE_FIELDS, Reader, near, read_fields
from jobline.job import Job
from jobline.request import EnqueueRequest, admit
from jobline.strict_json import Document
from jobline.types import Types

MOST_SUBSCRIPTIONS: Final = 50
"""Of one topic, declared ones included: a publication serves them in one run."""
LARGEST: Final = 5000
"""Bytes of one subscription as it is kept: fifty fit into one item of DynamoDB."""
LONGEST_DESCRIPTION: Final = 200

_UNREAD: Final = "(made of an event)"
"""Stands for a payload that is not there yet: nobody checks it."""


def _query(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= queries.LONGEST:
        raise ValueError(f"must be a JMESPath expression of 1 to {queries.LONGEST} characters")
    queries.compiled(value)
    return value


NOT_OF_A_SUBSCRIPTION: Final[Mapping[str, str]] = {
    "payload": "is not for a subscription: the event is the payload, or what transform makes of it",
    "payload_ref": "is not for a subscription: the event is the payload, or what transform makes of it",
    "scheduled_at": "is not for a subscription: give a delay, which counts from the publication",
    "idempotency_key": "is not for a subscription: each publication makes one job of it",
    "unique": "is not for a subscription: each publication makes one job of it",
}
JOB_FIELDS: Final[Mapping[str, Reader]] = {name: reader for name, reader in ENQUEUE_FIELDS.items() if name not in NOT_OF_A_SUBSCRIPTION}
SUBSCRIPTION_FIELDS: Final[Mapping[str, Reader]] = {"filter": _query, "transform": _query, **JOB_FIELDS}


class Publication(msgspec.Struct, forbid_unknown_fields=True):
    """The payload of the job that a publication is."""

    topic: Annotated[str, Meta(min_length=1, max_length=64, description="Which topic: one that `queues.toml` declares.")]
    event: Annotated[msgspec.Raw, Meta(description="What has happened: a JSON object, given to each subscription as it was written.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One subscription of a topic."""

    name: str
    text: str
    """What the client wrote, as JSON text, without what was null."""
    fields: Mapping[str, Any]
    """The same, read: values by field."""
    declared: bool = False
    """Whether `queues.toml` declares it, so that only a deployment changes it."""

    @property
    def tag(self) -> str:
        """Its entity tag: of equal subscriptions the same."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]

    def takes(self, event: Any) -> bool:
        """Whether an event (parsed JSON) becomes a job of this one. Raises ValueError when the filter cannot be asked of it."""
        filter = self.fields.get("filter")
        try:
            return filter is None or queries.holds(queries.ask(queries.compiled(filter), event))
        except ValueError as error:
            raise ValueError(f"the filter cannot be asked of this event: {error}") from error

    def request(self, event: Document, publication: Job) -> EnqueueRequest:
        """The request for the event's job: the same job for the same publication. Raises ValueError when transform cannot make a payload.

        Without transform the payload is the event byte for byte; with it numbers are written anew, as Python writes them.
        """
        text, value = event.text, event.value
        if (transform := self.fields.get("transform")) is not None:
            try:
                made = queries.ask(queries.compiled(transform), event.value)
                # Through the gate that every payload comes through: no deeper, and no longer number, than a client may send.
                checked = strict_json.parse(json.dumps(made, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode())
            except (ValueError, TypeError, InvalidRequest) as error:
                raise ValueError(f"transform makes no payload of this event: {error}") from error
            text, value = checked.text, checked.value
        key = f"{publication.id}:{self.name}"
        return EnqueueRequest(**self._of_job, payload=value, payload_text=text, idempotency_key=key)

    def check(self, definitions: Definitions, types: Types, clock: Callable[[], datetime]) -> None:
        """Raises UnknownQueue, UnknownType or InvalidJob when its jobs would be refused, whatever is in an event."""
        request = EnqueueRequest(**self._of_job, payload_copy=_UNREAD)
        admit(request, definitions, types, id=ids.derived_id(request.queue, self.name), now=clock())

    @property
    def _of_job(self) -> dict[str, Any]:
        return {name: value for name, value in self.fields.items() if name in JOB_FIELDS}

    def document(self, topic: str) -> dict[str, Any]:
        """The subscription as the API answers it: the fields as they were written, `null` for those that were not."""
        written = strict_json.parse(self.text.encode())
        values = {name: msgspec.Raw(written.source(name).encode()) for name in written.spans}
        head = {"name": self.name, "topic": topic, "declared": self.declared}
        return head | {name: values.get(name) for name in SUBSCRIPTION_FIELDS}


def parse_subscription(document: Document, name: str, *, declared: bool = False) -> Subscription:
    """The subscription that a body says. Raises InvalidRequest when it is no object, InvalidJob with everything that is wrong.

    `null` is the same as leaving a field out.
    """
    if not isinstance(document.value, dict):
        raise InvalidRequest("The body must be a JSON object.", problems=(FieldProblem("", "must be an object"),))
    body = {field: value for field, value in document.value.items() if value is not None}
    wrong = [FieldProblem(f"/{field}", reason) for field, reason in NOT_OF_A_SUBSCRIPTION.items() if field in body]
    known = {field: value for field, value in body.items() if field not in NOT_OF_A_SUBSCRIPTION}
    fields, unreadable = read_fields(known, SUBSCRIPTION_FIELDS, "")
    wrong += unreadable
    wrong += [FieldProblem(f"/{field}", "is missing") for field in ("queue", "type") if field not in body]
    if wrong:
        raise InvalidJob.of(wrong)
    text = "{" + ",".join(f'"{field}":{document.source(field)}' for field in SUBSCRIPTION_FIELDS if field in body) + "}"
    if (size := len(text.encode())) > LARGEST:
        raise InvalidJob.of([FieldProblem("", f"takes {size} bytes; the limit is {LARGEST}")])
    return Subscription(name=name, text=text, fields=fields, declared=declared)


class SubscriptionStore(Protocol):
    """Where subscriptions that are made at run time are kept (`topic_items.TopicItems`)."""

    def read(self, topic: str) -> Kept: ...
    def write(self, topic: str, kept: Kept) -> bool: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """A topic's subscriptions that were made at run time, as one value that is replaced whole."""

    texts: Mapping[str, str]
    """JSON text of each by name."""
    rev: int = 0
    """Grows with each change; 0: there was none yet."""

    def with_one(self, name: str, text: str) -> Kept:
        return Kept({**self.texts, name: text}, self.rev + 1)

    def without(self, name: str) -> Kept:
        return Kept({other: text for other, text in self.texts.items() if other != name}, self.rev + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """The topics of a deployment, with what subscribes to them: declared and made at run time."""

    definitions: Definitions
    store: SubscriptionStore

    def find(self, topic: str) -> str:
        """The description of a topic; raises TopicNotFound."""
        if topic not in self.definitions.topics:
            known = near(topic, self.definitions.topics)
            raise TopicNotFound(f"There is no topic {topic[:64]!r}{known}; [topics.NAME] in queues.toml declares one.")
        return self.definitions.topics[topic].description

    def declared(self, topic: str) -> dict[str, Subscription]:
        """Those that `queues.toml` declares, by name; raises TopicNotFound."""
        self.find(topic)
        texts = self.definitions.topics[topic].subscriptions
        return {name: parse_subscription(strict_json.parse(text.encode()), name, declared=True) for name, text in texts.items()}

    def subscriptions(self, topic: str) -> dict[str, Subscription]:
        """All of them, by name, as they are now (one strongly consistent read); raises TopicNotFound."""
        declared = self.declared(topic)
        made = self.store.read(topic).texts
        # A deployment may have declared one of a name that was taken.
        others = {name: parse_subscription(strict_json.parse(text.encode()), name) for name, text in made.items() if name not in declared}
        return dict(sorted((declared | others).items()))
