"""What clients do with topics: see them, subscribe to them, publish."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jobline.definitions import OPERATIONS, PUBLISH
from jobline.enqueueing import Enqueued, Enqueueing
from jobline.errors import (
    FieldProblem,
    InvalidJob,
    InvalidRequest,
    SubscriptionChanged,
    SubscriptionConflict,
    SubscriptionNotFound,
    Unavailable,
)
from jobline.expected import ANYHOW, Expected
from jobline.fields import ENQUEUE_FIELDS, Reader, is_name, read_fields
from jobline.request import EnqueueRequest, given_members
from jobline.strict_json import Document
from jobline.topics import MOST_SUBSCRIPTIONS, Kept, Subscription, Topics, parse_subscription

_MOST_TRIES: Final = 8
"""Changes of one topic's subscriptions that come between each other this often in a row: the next try is the client's."""


def _event(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    return value


PUBLISH_FIELDS: Final[Mapping[str, Reader]] = {"event": _event, "idempotency_key": ENQUEUE_FIELDS["idempotency_key"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """The use cases of topics."""

    topics: Topics
    enqueueing: Enqueueing

    def publish(self, topic: str, body: Document, *, key: str | None, op: str, traceparent: str | None = None) -> Enqueued:
        """The publication's job; the one that the same idempotency key made before.

        Raises TopicNotFound, InvalidRequest when the body is no object, InvalidJob with every field that is wrong, IdempotencyKeyReused.
        """
        self.topics.find(topic)
        given = given_members(body, key=key)
        fields, wrong = read_fields(given, PUBLISH_FIELDS, "")
        if "event" not in given:
            wrong.append(FieldProblem("/event", "is missing"))
        if wrong:
            raise InvalidJob.of(wrong)
        key = fields.get("idempotency_key")
        payload = {"topic": topic, "event": fields["event"]}
        request = EnqueueRequest(
            queue=OPERATIONS,
            type=PUBLISH,
            payload=payload,
            payload_text=f'{{"topic":"{topic}","event":{body.source("event")}}}',
            # Apart from other keys of this queue's jobs: a client's own has no blank.
            idempotency_key=None if key is None else f"publish {topic} {key}",
            internal=True,
            traceparent=traceparent,
            hash="" if key is None else _hash(payload),
        )
        return self.enqueueing.enqueue(request, op=op)

    def list(self) -> dict[str, Any]:
        """Every topic, by name."""
        known = sorted(self.topics.definitions.topics.items())
        return {"topics": [{"name": name, "description": topic.description} for name, topic in known]}

    def show(self, topic: str) -> dict[str, Any]:
        """A topic with its subscriptions; raises TopicNotFound."""
        description, found = self.topics.find(topic), self.topics.subscriptions(topic)
        return {"name": topic, "description": description, "subscriptions": [one.document(topic) for one in found.values()]}

    def find(self, topic: str, name: str) -> Subscription:
        """A subscription; raises TopicNotFound and SubscriptionNotFound."""
        found = self.topics.subscriptions(topic).get(name)
        if found is None:
            raise SubscriptionNotFound(f"The topic {topic!r} has no subscription {name[:64]!r}.")
        return found

    def put(self, topic: str, name: str, body: Document, *, expected: Expected = ANYHOW) -> tuple[Subscription, bool]:
        """The subscription as it is from now on, and whether it is new.

        Raises TopicNotFound, what `parse_subscription` and `Subscription.check` raise, SubscriptionConflict for a declared one and for one
        too many, and SubscriptionChanged.
        """
        self.topics.find(topic)
        if not is_name(name):
            raise InvalidRequest("A subscription's name is a lower-case letter and at most 63 of a-z 0-9 _ -.")
        declared = self._refuse_declared(topic, name, "changed")
        subscription = parse_subscription(body, name)
        subscription.check(self.enqueueing.definitions, self.enqueueing.types, self.enqueueing.now)

        def change(kept: Kept) -> Kept:
            before = _read(kept, name)
            expected.check(f"subscription {name!r}", None if before is None else before.tag, SubscriptionChanged)
            others = kept.texts.keys() - declared.keys() - {name}
            if len(others) + len(declared) >= MOST_SUBSCRIPTIONS:
                raise SubscriptionConflict(f"The topic {topic!r} has {MOST_SUBSCRIPTIONS} subscriptions, and that is the most.")
            return kept if before is not None and before.text == subscription.text else kept.with_one(name, subscription.text)

        before = self._change(topic, change)
        return subscription, name not in before.texts

    def delete(self, topic: str, name: str, *, expected: Expected = ANYHOW) -> None:
        """Removes it; jobs that it made go on. Raises TopicNotFound, SubscriptionNotFound, SubscriptionConflict, SubscriptionChanged."""
        self._refuse_declared(topic, name, "deleted")

        def change(kept: Kept) -> Kept:
            before = _read(kept, name)
            if before is None:
                raise SubscriptionNotFound(f"The topic {topic!r} has no subscription {name[:64]!r}.")
            expected.check(f"subscription {name!r}", before.tag, SubscriptionChanged)
            return kept.without(name)

        self._change(topic, change)

    def _change(self, topic: str, change: Callable[[Kept], Kept]) -> Kept:
        """Writes what `change` says of what is kept, and answers what was; asks it again when somebody else wrote meanwhile."""
        for _ in range(_MOST_TRIES):
            kept = self.topics.store.read(topic)
            changed = change(kept)
            if changed is kept or self.topics.store.write(topic, changed):
                return kept
        raise Unavailable(f"the subscriptions of {topic} are being changed by too many requests at once")

    def _refuse_declared(self, topic: str, name: str, what: str) -> Mapping[str, Subscription]:
        """Those that are declared; raises SubscriptionConflict when `name` is one of them."""
        declared = self.topics.declared(topic)
        if name in declared:
            raise SubscriptionConflict(f"The subscription {name!r} is declared in queues.toml: it is {what} there, by a deployment.")
        return declared


def _read(kept: Kept, name: str) -> Subscription | None:
    text = kept.texts.get(name)
    return None if text is None else Subscription(name=name, text=text, fields={})


def _hash(payload: Mapping[str, Any]) -> str:
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{PUBLISH} {text}".encode()).hexdigest()[:32]
