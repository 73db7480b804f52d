"""SQS: sending messages to lanes and hiding messages that cannot run yet. The client is an argument; names are the stack's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from jobline.aws import aws_errors, is_transient

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

LONGEST_HIDING = timedelta(hours=11, minutes=30)
"""SQS keeps a message hidden for 12 hours in all, counted from its receive, and refuses more (ChangeMessageVisibility, Amazon SQS API
reference): what the invocation has taken since then must fit in too."""
BATCH = 10
"""Entries per SendMessageBatch (Amazon SQS quotas)."""


FIFO: Final = ".fifo"
"""What the names of FIFO queues, and of no others, end with (CreateQueue, Amazon SQS API reference)."""


class Sending(NamedTuple):
    """One message to send: its body, when it should become visible, and its message group: order in a FIFO queue, else fairness."""

    body: str
    delay_seconds: int = 0
    """A FIFO queue takes none."""
    group: str | None = None
    deduplication_id: str | None = None
    """For a FIFO queue: it takes a message with the same one only once in five minutes."""


class Hiding(NamedTuple):
    """A received message, and until when it is to be hidden."""

    receipt_handle: str
    until: datetime


class Queues:
    """The lanes' queues of one deployment."""

    def __init__(self, sqs: SQSClient, url_base: str) -> None:
        self._sqs = sqs
        self._url_base = url_base

    def url(self, name: str) -> str:
        """The URL of the SQS queue with this name."""
        return self._url_base + name

    def send(self, name: str, sendings: Sequence[Sending]) -> list[bool]:
        """Sends up to ten messages in one request; says of each whether SQS took it.

        Raises `Unavailable` when the request as a whole did not succeed.
        """
        entries: list[Any] = []
        for number, sending in enumerate(sendings):
            entry: dict[str, Any] = {"Id": str(number), "MessageBody": sending.body}
            if sending.group is not None:
                entry["MessageGroupId"] = sending.group
            if name.endswith(FIFO):
                entry["MessageDeduplicationId"] = sending.deduplication_id
            else:
                entry["DelaySeconds"] = sending.delay_seconds
            entries.append(entry)
        with aws_errors("sending to SQS"):
            answer = self._sqs.send_message_batch(QueueUrl=self.url(name), Entries=entries)
        sent = {entry["Id"] for entry in answer.get("Successful", ())}
        return [str(number) in sent for number in range(len(sendings))]

    def hide(self, name: str, receipt_handle: str, until: datetime, now: datetime) -> bool:
        """Hides a received message until a moment (at most 11 ½ hours); whether SQS took it.

        Nothing may depend on it (R29), so a failure is an answer and not an error; a programming error still raises.
        """
        try:
            self._sqs.change_message_visibility(
                QueueUrl=self.url(name), ReceiptHandle=receipt_handle, VisibilityTimeout=_hiding_seconds(until, now)
            )
        except (BotoCoreError, ClientError) as error:
            if is_transient(error) or _message_is_gone(error):
                return False
            raise
        return True

    def hide_many(self, name: str, hidings: Sequence[Hiding], now: datetime) -> None:
        """Hides received messages of one queue, ten per call, as `hide` does; which of them SQS took is not told (R29)."""
        if len(hidings) == 1:
            self.hide(name, hidings[0].receipt_handle, hidings[0].until, now)
            return
        for start in range(0, len(hidings), BATCH):
            entries: list[Any] = [
                {"Id": str(number), "ReceiptHandle": hiding.receipt_handle, "VisibilityTimeout": _hiding_seconds(hiding.until, now)}
                for number, hiding in enumerate(hidings[start : start + BATCH])
            ]
            try:
                self._sqs.change_message_visibility_batch(QueueUrl=self.url(name), Entries=entries)
            except (BotoCoreError, ClientError) as error:
                if not is_transient(error):
                    raise


def _hiding_seconds(until: datetime, now: datetime) -> int:
    if until <= now:
        return 0
    return min(until - now, LONGEST_HIDING) // timedelta(seconds=1) + 1


def _message_is_gone(error: Exception) -> bool:
    """Deleted meanwhile, or hidden for twelve hours already: SQS will show it by itself or never."""
    code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
    return code.removeprefix("AWS.SimpleQueueService.") in {"MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidParameterValue"}
