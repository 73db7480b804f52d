"""SQS in memory keeps the rules that a job queue meets."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from jobline.memory_queues import MemoryQueues
from jobline.queue import Queues, Sending
from tests.factories import NOW, seconds

LANE, DEAD = "memory:///lane", "memory:///dead"


class Sqs(MemoryQueues):
    """A lane of 30 s visibility and two receives, its dead-letter queue, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = NOW
        super().__init__(lambda: self.now)
        self.create("dead")
        self.create("lane", visibility=seconds(30), most_receives=2, dead_letters="dead")

    def send(self, *bodies: str, delay: int = 0) -> list[bool]:
        return self.adapter.send("lane", [Sending(body, delay) for body in bodies])

    @property
    def adapter(self) -> Queues:
        return Queues(cast(Any, self), "memory:///")

    def receive(self, url: str = LANE, most: int = 10) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.receive_message(QueueUrl=url, MaxNumberOfMessages=most).get("Messages", [])
        return messages

    def hide(self, message: dict[str, Any], until: datetime) -> bool:
        return self.adapter.hide("lane", message["ReceiptHandle"], until, self.now)


def test_a_delayed_message_comes_when_its_delay_is_over_and_one_of_more_than_900_seconds_is_refused_alone() -> None:
    sqs = Sqs()
    assert sqs.send("soon", delay=900) == [True]
    answer = sqs.send_message_batch(
        QueueUrl=LANE,
        Entries=[{"Id": "0", "MessageBody": "late", "DelaySeconds": 901}, {"Id": "1", "MessageBody": "now"}],
    )
    assert [entry["Id"] for entry in answer["Failed"]] == ["0"]
    assert [message["Body"] for message in sqs.receive()] == ["now"]
    sqs.now += seconds(899)
    assert [message["Body"] for message in sqs.receive() if message["Body"] == "soon"] == []
    sqs.now += seconds(1)
    assert "soon" in [message["Body"] for message in sqs.receive()]


def test_a_received_message_is_hidden_until_its_visibility_timeout_is_over() -> None:
    sqs = Sqs()
    sqs.send("one")
    assert len(sqs.receive()) == 1
    sqs.now += seconds(29.999)
    assert sqs.receive() == []
    sqs.now += seconds(0.001)
    assert [message["Attributes"]["ApproximateReceiveCount"] for message in sqs.receive()] == ["2"]


def test_a_message_out_of_receives_goes_to_the_dead_letter_queue_with_its_id() -> None:
    sqs = Sqs()
    sqs.send("one")
    ids = {sqs.receive()[0]["MessageId"]}
    for _ in range(2):
        sqs.now += seconds(30)
        ids |= {message["MessageId"] for message in sqs.receive()}
    assert (sqs.messages("lane"), len(sqs.messages("dead"))) == ([], 1)
    assert {message["MessageId"] for message in sqs.receive(DEAD)} == ids


def test_only_the_latest_receipt_deletes_a_message() -> None:
    sqs = Sqs()
    sqs.send("one")
    first = sqs.receive()[0]
    sqs.now += seconds(30)
    second = sqs.receive()[0]
    sqs.delete_message(QueueUrl=LANE, ReceiptHandle=first["ReceiptHandle"])
    assert len(sqs.messages("lane")) == 1
    sqs.delete_message(QueueUrl=LANE, ReceiptHandle=second["ReceiptHandle"])
    assert sqs.messages("lane") == []


def test_a_message_is_hidden_for_twelve_hours_in_all_at_most() -> None:
    sqs = Sqs()
    sqs.send("one")
    message = sqs.receive()[0]
    assert sqs.hide(message, NOW + timedelta(hours=11))
    sqs.now += timedelta(hours=10)
    assert sqs.hide(message, NOW + timedelta(hours=11, minutes=59))
    assert not sqs.hide(message, NOW + timedelta(hours=12, minutes=1))
    assert not sqs.hide({"ReceiptHandle": "another"}, NOW)


def test_of_a_batch_of_hidings_each_is_done_or_refused_by_itself() -> None:
    sqs = Sqs()
    sqs.send("one")
    handles = [sqs.receive()[0]["ReceiptHandle"], "of no message"]
    entries = [{"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": 300} for n, handle in enumerate(handles)]
    answer = sqs.change_message_visibility_batch(QueueUrl=LANE, Entries=entries)
    assert [entry["Id"] for entry in answer["Successful"]] == ["0"]
    assert [entry["Code"] for entry in answer["Failed"]] == ["ReceiptHandleIsInvalid"]
    sqs.now += seconds(299)
    assert sqs.receive() == []


def test_hiding_until_now_shows_a_message_at_once() -> None:
    sqs = Sqs()
    sqs.send("one")
    assert sqs.hide(sqs.receive()[0], NOW)
    assert len(sqs.receive()) == 1


def test_a_batch_has_at_most_ten_messages_either_way() -> None:
    sqs = Sqs()
    sqs.send(*"abcdefghij")
    sqs.send("k")
    assert len(sqs.receive(most=10)) == 10
    with pytest.raises(ClientError):
        sqs.send(*"abcdefghijk")


def test_a_message_is_lost_after_fourteen_days_by_purge_or_by_hand_and_may_come_twice() -> None:
    sqs = Sqs()
    sqs.send("old")
    sqs.now += timedelta(days=14)
    assert sqs.receive() == []
    sqs.send("purged", "lost", "twice")
    received = {message["Body"]: message["MessageId"] for message in sqs.receive()}
    sqs.duplicate("lane", received["twice"])
    assert [message["Body"] for message in sqs.receive()] == ["twice"]
    sqs.lose("lane", received["lost"])
    assert [message.body for message in sqs.messages("lane")] == ["purged", "twice"]
    sqs.purge_queue(QueueUrl=LANE)
    assert sqs.messages() == []


class Fifo(Sqs):
    """A FIFO queue of 30 s visibility beside the lane."""

    URL = "memory:///ledger.fifo"

    def __init__(self) -> None:
        super().__init__()
        self.create("ledger.fifo", visibility=seconds(30))

    def put(self, *bodies: str) -> list[bool]:
        """Each body's first letter is its group."""
        return self.adapter.send("ledger.fifo", [Sending(body, group=body[0], deduplication_id=body) for body in bodies])

    def come(self, most: int = 10) -> list[dict[str, Any]]:
        return self.receive(self.URL, most)


def bodies(messages: list[dict[str, Any]]) -> list[str]:
    return [message["Body"] for message in messages]


def test_a_fifo_queue_delivers_nothing_of_a_group_of_which_a_message_is_hidden() -> None:
    sqs = Fifo()
    assert sqs.put("a1", "b1", "a2", "a3", "b2") == [True] * 5
    first, other = sqs.come(2)
    assert (first["Body"], other["Body"]) == ("a1", "b1")
    assert first["Attributes"]["MessageGroupId"] == "a"
    assert sqs.come() == []
    sqs.delete_message(QueueUrl=sqs.URL, ReceiptHandle=other["ReceiptHandle"])
    assert bodies(sqs.come()) == ["b2"]
    sqs.change_message_visibility(QueueUrl=sqs.URL, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=10)
    assert sqs.next_visible_at("ledger.fifo") == sqs.now + seconds(10)
    sqs.now += seconds(9)
    assert sqs.come() == []
    sqs.now += seconds(1)
    assert bodies(sqs.come(2)) == ["a1", "a2"]


def test_a_fifo_queue_takes_a_deduplication_id_once_in_five_minutes_even_if_the_message_is_gone() -> None:
    sqs = Fifo()
    sqs.put("a1")
    [message] = sqs.come()
    sqs.delete_message(QueueUrl=sqs.URL, ReceiptHandle=message["ReceiptHandle"])
    sqs.now += seconds(299)
    assert (sqs.put("a1"), sqs.come()) == ([True], [])
    sqs.now += seconds(1)
    assert (sqs.put("a1"), bodies(sqs.come())) == ([True], ["a1"])


def test_a_fifo_queue_refuses_what_only_a_standard_queue_takes_and_the_other_way_round() -> None:
    sqs = Fifo()
    delayed = {"Id": "0", "MessageBody": "a1", "MessageGroupId": "a", "MessageDeduplicationId": "a1", "DelaySeconds": 1}
    without = {"Id": "1", "MessageBody": "a1", "MessageGroupId": "a"}
    for entry in (delayed, without):
        assert len(sqs.send_message_batch(QueueUrl=sqs.URL, Entries=[entry])["Failed"]) == 1
    marked = {"Id": "0", "MessageBody": "a1", "MessageDeduplicationId": "a1"}
    assert len(sqs.send_message_batch(QueueUrl=LANE, Entries=[marked])["Failed"]) == 1
