"""Replies: the declared SQS queues in which ends of jobs are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from jobline.aws import aws_errors
from jobline.follow_ups import Ended
from jobline.steering import NonRetryable
from jobline.telling import News, message_body, message_text, truncated

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_NO_SUCH_QUEUE: Final = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
_TOO_LARGE: Final = frozenset({"InvalidParameterValue", "InvalidMessageContents"})
"""How SQS refuses a message that is larger than the queue takes, among other things (SendMessage, Amazon SQS API reference)."""


class Replies:
    """The reply queues of this deployment."""

    def __init__(self, sqs: Callable[[], SQSClient], urls: Mapping[str, str]) -> None:
        """`urls` has the queue URL of each name."""
        self._sqs = sqs
        self._urls = urls

    def send(self, name: str, ended: Ended, news: News) -> dict[str, Any]:
        """Tells the news in this queue; answers `{"message_id", "truncated"}`.

        Raises NonRetryable when there is no such queue, or it never takes such a message, and Unavailable.
        """
        url = self._urls.get(name)
        if url is None:
            raise NonRetryable(f"queues.toml declares no reply queue {name!r} any more")
        body = message_body(news.document)
        short = message_text(truncated(news.document))
        try:
            answer = self._send(url, ended, news, body)
        except ClientError as error:
            if body == short or _code(error) not in _TOO_LARGE:
                raise _refusal(name, error) from error
            # The queue may have been made to take less than every queue can.
            body = short
            try:
                answer = self._send(url, ended, news, body)
            except ClientError as again:
                raise _refusal(name, again) from again
        return {"message_id": answer["MessageId"], "truncated": body == short}

    def _send(self, url: str, ended: Ended, news: News, body: str) -> Mapping[str, Any]:
        fifo: dict[str, Any] = {}
        if url.endswith(".fifo"):
            group = news.job and (news.job.ordering_key or news.job.group)
            fifo = {"MessageGroupId": group or ended.job, "MessageDeduplicationId": news.id}
        attributes: Any = {
            "job_id": {"DataType": "String", "StringValue": ended.job},
            "status": {"DataType": "String", "StringValue": ended.status},
        }
        with aws_errors("sending a reply"):
            answer: Mapping[str, Any] = self._sqs().send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes, **fifo)
        return answer


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _refusal(name: str, error: ClientError) -> Exception:
    """What a refusal by SQS means: a queue that is gone, or that never takes it, makes no difference to the next attempt."""
    code = _code(error)
    if code in _NO_SUCH_QUEUE:
        return NonRetryable(f"the reply queue {name!r} is gone")
    if code in _TOO_LARGE:
        return NonRetryable(f"the reply queue {name!r} does not take it: {error}")
    return error
