"""SQS in memory: standard and FIFO queues with the rules that a job queue meets, behind the calls of boto3's SQS client.

Delay of at most 900 seconds, visibility timeout, at most 12 hours hidden, receive counts, the move to a dead-letter queue, expiry,
and receipt handles that only the latest receive makes good. A queue whose name ends in `.fifo` is a FIFO queue, its deduplication by
group. Nothing is random: where SQS promises no order, `shuffle` decides.
Facts are from the Amazon SQS Developer Guide and API Reference unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from jobline.queue import FIFO
from jobline.times import to_milliseconds

LONGEST_DELAY: Final = 900
"""`DelaySeconds` at most (SendMessage)."""
LONGEST_HIDING: Final = timedelta(hours=12)
"""Counted from the receive, however often it is changed (ChangeMessageVisibility)."""
RETENTION: Final = timedelta(days=14)
"""Counted from the first send, in the dead-letter queue too ("Setting-up dead-letter queue retention")."""
MOST_ENTRIES: Final = 10
LARGEST_MESSAGE: Final = 1_048_576
"""`MaximumMessageSize` of a new queue (SetQueueAttributes)."""
DEDUPLICATION: Final = timedelta(minutes=5)
"""Within which a FIFO queue takes a deduplication id once ("Exactly-once processing in Amazon SQS")."""


@dataclass(slots=True)
class StoredMessage:
    """One message in a queue."""

    id: str
    """SQS's message id; a move to the dead-letter queue keeps it."""
    body: str
    sent_at: datetime
    visible_at: datetime
    received_at: datetime | None = None
    """The last receive."""
    receives: int = 0
    handle: str | None = None
    """The receipt handle of the last receive: no other one deletes the message."""
    group: str | None = None
    deduplication_id: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    """What its sender attached to it."""


@dataclass(slots=True)
class StoredQueue:
    """One queue. `dead_letters` takes what was received `most_receives` times and comes up once more."""

    visibility: timedelta
    most_receives: int | None = None
    dead_letters: str | None = None
    largest: int = LARGEST_MESSAGE
    """Bytes of a message at most."""
    messages: list[StoredMessage] = field(default_factory=list)
    fifo: bool = False
    taken: dict[tuple[str, str], StoredMessage] = field(default_factory=dict)
    """The last message of each group and deduplication id, whether it is still there or not."""

    def unlocked(self, now: datetime) -> list[StoredMessage]:
        """The visible messages; of a FIFO queue not those of a group of which one is hidden ("FIFO queue delivery logic")."""
        locked = {message.group for message in self.messages if message.visible_at > now} if self.fifo else set()
        return [message for message in self.messages if message.visible_at <= now and message.group not in locked]


class MemoryQueues:
    """All queues of a deployment; give it to `queue.Queues` in place of the client. A queue's URL ends with its name."""

    def __init__(self, clock: Callable[[], datetime], *, shuffle: Callable[[list[StoredMessage]], None] = lambda messages: None) -> None:
        """`shuffle` puts the visible messages of a receive in the order in which they come; as sent unless it moves them."""
        self.clock = clock
        self.retention = RETENTION
        self.queues: dict[str, StoredQueue] = {}
        self.sent = 0
        """Messages taken in all."""
        self._shuffle = shuffle
        self._receives = 0

    def create(
        self, name: str, *, visibility: timedelta = timedelta(seconds=30), most_receives: int | None = None, dead_letters: str | None = None
    ) -> None:
        self.queues[name] = StoredQueue(visibility, most_receives, dead_letters, fifo=name.endswith(FIFO))

    # ------------------------------------------------------------------------------------------------ the client's calls

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        """Takes up to ten messages; an entry that the queue cannot take fails by itself."""
        queue = self._queue(QueueUrl, "SendMessageBatch")
        _check_entries(Entries, "SendMessageBatch")
        taken, failed = [], []
        for entry in Entries:
            refused = _refused_in_fifo(entry) if queue.fifo else _refused(entry)
            if refused is not None:
                failed.append({"Id": entry["Id"], "SenderFault": True, "Code": refused[0], "Message": refused[1]})
            else:
                taken.append({"Id": entry["Id"], "MessageId": self._take(queue, entry).id})
        return {"Successful": taken, "Failed": failed}

    def send_message(self, *, QueueUrl: str, MessageBody: str, **more: Any) -> dict[str, Any]:
        """Takes one message; raises ClientError for one that the queue cannot take."""
        queue = self._queue(QueueUrl, "SendMessage")
        entry = {"MessageBody": MessageBody, **more}
        refused = (_refused_in_fifo(entry) if queue.fifo else _refused(entry)) or _too_large(entry, queue.largest)
        if refused is not None:
            raise _error(*refused, "SendMessage")
        return {"MessageId": self._take(queue, entry).id}

    def _take(self, queue: StoredQueue, entry: dict[str, Any]) -> StoredMessage:
        """The message of an entry, or of a FIFO queue the one that it took with this deduplication id lately."""
        now = self.clock()
        group, deduplication_id = entry.get("MessageGroupId"), entry.get("MessageDeduplicationId")
        before = queue.taken.get((group or "", deduplication_id or "")) if queue.fifo else None
        if before is not None and before.sent_at + DEDUPLICATION > now:
            return before
        self.sent += 1
        due = now + timedelta(seconds=entry.get("DelaySeconds", 0))
        message = StoredMessage(
            f"message-{self.sent}",
            entry["MessageBody"],
            now,
            due,
            group=group if queue.fifo else None,
            deduplication_id=deduplication_id,
            attributes=entry.get("MessageAttributes", {}),
        )
        queue.messages.append(message)
        if queue.fifo:
            queue.taken[group or "", deduplication_id or ""] = message
        return message

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int = 1, **_: Any) -> dict[str, Any]:
        """Up to so many visible messages, which are hidden from now on; those out of receives go to the dead-letter queue."""
        queue = self._queue(QueueUrl, "ReceiveMessage")
        now = self.clock()
        queue.messages = [message for message in queue.messages if message.sent_at + self.retention > now]
        visible = queue.unlocked(now)
        if not queue.fifo:
            self._shuffle(visible)
        received: list[dict[str, Any]] = []
        for message in visible:
            if len(received) == MaxNumberOfMessages:
                break
            if queue.most_receives is not None and message.receives >= queue.most_receives and queue.dead_letters is not None:
                queue.messages.remove(message)
                self.queues[queue.dead_letters].messages.append(replace(message, visible_at=now, handle=None))
                continue
            self._receives += 1
            message.receives += 1
            message.received_at = now
            message.visible_at = now + queue.visibility
            message.handle = f"receipt-{self._receives}"
            received.append(_shown(message))
        return {"Messages": received} if received else {}

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> dict[str, Any]:
        refused = self._hide(self._queue(QueueUrl, "ChangeMessageVisibility"), ReceiptHandle, VisibilityTimeout)
        if refused is not None:
            raise _error(*refused, "ChangeMessageVisibility")
        return {}

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        """The same for up to ten messages; each fails by itself."""
        operation = "ChangeMessageVisibilityBatch"
        queue = self._queue(QueueUrl, operation)
        _check_entries(Entries, operation)
        changed, failed = [], []
        for entry in Entries:
            refused = self._hide(queue, entry["ReceiptHandle"], entry["VisibilityTimeout"])
            if refused is None:
                changed.append({"Id": entry["Id"]})
            else:
                failed.append({"Id": entry["Id"], "SenderFault": True, "Code": refused[0], "Message": refused[1]})
        return {"Successful": changed, "Failed": failed}

    def _hide(self, queue: StoredQueue, handle: str, seconds: int) -> tuple[str, str] | None:
        """Hides a message from now on; the code and text of SQS's refusal when it cannot."""
        now = self.clock()
        message = next((message for message in queue.messages if message.handle == handle), None)
        if message is None:
            return "ReceiptHandleIsInvalid", "The receipt handle is that of no message."
        if message.visible_at <= now:
            return "AWS.SimpleQueueService.MessageNotInflight", "The message is not in flight."
        until = now + timedelta(seconds=seconds)
        if seconds < 0 or until > (message.received_at or now) + LONGEST_HIDING:
            return "InvalidParameterValue", "The message would be hidden for more than 12 hours in all."
        message.visible_at = until
        return None

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> dict[str, Any]:
        """Deletes what the latest receive gave this handle; an older handle succeeds and deletes nothing."""
        queue = self._queue(QueueUrl, "DeleteMessage")
        queue.messages = [message for message in queue.messages if message.handle != ReceiptHandle]
        return {}

    def purge_queue(self, *, QueueUrl: str) -> dict[str, Any]:
        self._queue(QueueUrl, "PurgeQueue").messages.clear()
        return {}

    # ------------------------------------------------------------------------------------------------ what SQS may do, and what it holds

    def duplicate(self, name: str, message_id: str) -> None:
        """Makes a message visible once more although it was received or is delayed: delivery is at least once."""
        for message in self.queues[name].messages:
            if message.id == message_id:
                message.visible_at = min(message.visible_at, self.clock())

    def lose(self, name: str, message_id: str) -> None:
        """Takes one message away, as a purge by hand or its expiry does."""
        queue = self.queues[name]
        queue.messages = [message for message in queue.messages if message.id != message_id]

    def messages(self, name: str | None = None) -> list[StoredMessage]:
        """The messages of one queue, or of all: visible, hidden and delayed."""
        names = self.queues if name is None else (name,)
        return [message for each in names for message in self.queues[each].messages]

    def next_visible_at(self, name: str) -> datetime | None:
        """When the next message of a queue can be received; a moment that has passed means now."""
        queue = self.queues[name]
        if not queue.fifo:
            return min((message.visible_at for message in queue.messages), default=None)
        shown: dict[str | None, datetime] = {}  # when nothing of the group is hidden any more
        for message in queue.messages:
            shown[message.group] = max(message.visible_at, shown.get(message.group, message.visible_at))
        return min(shown.values(), default=None)

    def _queue(self, url: str, operation: str) -> StoredQueue:
        name = url.rsplit("/", 1)[-1]
        try:
            return self.queues[name]
        except KeyError:
            raise _error("AWS.SimpleQueueService.NonExistentQueue", f"There is no queue {name!r}.", operation) from None


def _shown(message: StoredMessage) -> dict[str, Any]:
    attributes = {"ApproximateReceiveCount": str(message.receives), "SentTimestamp": str(to_milliseconds(message.sent_at))}
    if message.group is not None:
        attributes |= {"MessageGroupId": message.group, "MessageDeduplicationId": message.deduplication_id or ""}
    shown = {"MessageId": message.id, "ReceiptHandle": message.handle, "Body": message.body, "Attributes": attributes}
    return shown | {"MessageAttributes": message.attributes} if message.attributes else shown


def _refused(entry: dict[str, Any]) -> tuple[str, str] | None:
    """The code and text of a standard queue's refusal of an entry, if it refuses it."""
    delay = entry.get("DelaySeconds", 0)
    if not 0 <= delay <= LONGEST_DELAY:
        reason = "DelaySeconds must be >= 0 and <= 900."
        return "InvalidParameterValue", f"Value {delay} for parameter DelaySeconds is invalid. Reason: {reason}"
    if "MessageDeduplicationId" in entry:
        return "InvalidParameterValue", "The request includes a parameter that is not valid for this queue type."
    return None


def _refused_in_fifo(entry: dict[str, Any]) -> tuple[str, str] | None:
    """The same for a FIFO queue without content-based deduplication."""
    if entry.get("DelaySeconds", 0):
        reason = "The request include parameter that is not valid for this queue type."
        return "InvalidParameterValue", f"Value {entry['DelaySeconds']} for parameter DelaySeconds is invalid. Reason: {reason}"
    for parameter in ("MessageGroupId", "MessageDeduplicationId"):
        if not entry.get(parameter):
            return "MissingParameter", f"The request must contain the parameter {parameter}."
    return None


def _too_large(entry: dict[str, Any], largest: int) -> tuple[str, str] | None:
    """The refusal of a message over the queue's size, its attributes' names, types and values included."""
    attributes = entry.get("MessageAttributes", {})
    size = len(entry["MessageBody"].encode()) + sum(len(f"{name}{''.join(value.values())}".encode()) for name, value in attributes.items())
    reason = f"One or more parameters are invalid. Reason: Message must be shorter than {largest} bytes."
    return ("InvalidParameterValue", reason) if size > largest else None


def _check_entries(entries: list[dict[str, Any]], operation: str) -> None:
    if not entries:
        raise _error("AWS.SimpleQueueService.EmptyBatchRequest", "There are no entries.", operation)
    if len(entries) > MOST_ENTRIES:
        raise _error("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", f"{len(entries)} entries", operation)


def _error(code: str, text: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": 400}}, operation)  # type: ignore[typeddict-item]
