"""SQS in memory: standard queues with the rules that a job queue meets, behind the calls of boto3's SQS client.

Delay of at most 900 seconds, visibility timeout, at most 12 hours hidden, receive counts, the move to a dead-letter queue, expiry,
and receipt handles that only the latest receive makes good. Nothing is random: where SQS promises no order, `shuffle` decides.
Facts are from the Amazon SQS Developer Guide and API Reference unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from jobline.times import to_milliseconds

LONGEST_DELAY: Final = 900
"""`DelaySeconds` at most (SendMessage)."""
LONGEST_HIDING: Final = timedelta(hours=12)
"""Counted from the receive, however often it is changed (ChangeMessageVisibility)."""
RETENTION: Final = timedelta(days=14)
"""Counted from the first send, in the dead-letter queue too ("Setting-up dead-letter queue retention")."""
MOST_ENTRIES: Final = 10


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


@dataclass(slots=True)
class StoredQueue:
    """One queue. `dead_letters` takes what was received `most_receives` times and comes up once more."""

    visibility: timedelta
    most_receives: int | None = None
    dead_letters: str | None = None
    messages: list[StoredMessage] = field(default_factory=list)


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
        self.queues[name] = StoredQueue(visibility, most_receives, dead_letters)

    # ------------------------------------------------------------------------------------------------ the client's calls

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        """Takes up to ten messages; an entry whose delay is out of bounds fails by itself."""
        queue = self._queue(QueueUrl, "SendMessageBatch")
        _check_entries(Entries, "SendMessageBatch")
        taken, failed = [], []
        for entry in Entries:
            delay = entry.get("DelaySeconds", 0)
            if not 0 <= delay <= LONGEST_DELAY:
                reason = f"Value {delay} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900."
                failed.append({"Id": entry["Id"], "SenderFault": True, "Code": "InvalidParameterValue", "Message": reason})
                continue
            self.sent += 1
            now = self.clock()
            message = StoredMessage(f"message-{self.sent}", entry["MessageBody"], now, now + timedelta(seconds=delay))
            queue.messages.append(message)
            taken.append({"Id": entry["Id"], "MessageId": message.id})
        return {"Successful": taken, "Failed": failed}

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int = 1, **_: Any) -> dict[str, Any]:
        """Up to so many visible messages, which are hidden from now on; those out of receives go to the dead-letter queue."""
        queue = self._queue(QueueUrl, "ReceiveMessage")
        now = self.clock()
        queue.messages = [message for message in queue.messages if message.sent_at + self.retention > now]
        visible = [message for message in queue.messages if message.visible_at <= now]
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
        return min((message.visible_at for message in self.queues[name].messages), default=None)

    def _queue(self, url: str, operation: str) -> StoredQueue:
        name = url.rsplit("/", 1)[-1]
        try:
            return self.queues[name]
        except KeyError:
            raise _error("AWS.SimpleQueueService.NonExistentQueue", f"There is no queue {name!r}.", operation) from None


def _shown(message: StoredMessage) -> dict[str, Any]:
    attributes = {"ApproximateReceiveCount": str(message.receives), "SentTimestamp": str(to_milliseconds(message.sent_at))}
    return {"MessageId": message.id, "ReceiptHandle": message.handle, "Body": message.body, "Attributes": attributes}


def _check_entries(entries: list[dict[str, Any]], operation: str) -> None:
    if not entries:
        raise _error("AWS.SimpleQueueService.EmptyBatchRequest", "There are no entries.", operation)
    if len(entries) > MOST_ENTRIES:
        raise _error("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", f"{len(entries)} entries", operation)


def _error(code: str, text: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": 400}}, operation)  # type: ignore[typeddict-item]
