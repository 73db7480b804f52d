"""Jobs of ordered and low-latency queues are sent with their creation: what clients may build on, and what a failed send means."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobline.definitions import Definitions, Queue
from jobline.memory_queues import MemoryQueues
from jobline.message import Message
from tests.api import DEFINITIONS, SEND_EMAIL, Client
from tests.factories import seconds

LETTERS = "letters.fifo"


class Sqs(MemoryQueues):
    """Throttles as many of the next sends as it is told to."""

    throttled = 0

    def send_message_batch(self, **arguments: Any) -> dict[str, Any]:
        if self.throttled:
            self.throttled -= 1
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "not now"}}, "SendMessageBatch")
        return super().send_message_batch(**arguments)


@pytest.fixture
def client() -> Client:
    made = Client()
    made.sqs = sqs = Sqs(lambda: made.now)
    sqs.create(LETTERS)
    return made


def letter(client: Client, *, status: int = 202, **fields: Any) -> Any:
    answer = client.call("POST", "/jobs", SEND_EMAIL | {"queue": "letters"} | fields)
    assert answer.status == status, answer
    return answer.body


def sent(client: Client, queue: str = LETTERS) -> list[tuple[str, str | None]]:
    """Job and group of each message, in their order."""
    return [(Message.decode(message.body).id, message.group) for message in client.sqs.messages(queue)]


def test_a_job_of_an_ordered_queue_is_in_its_place_when_the_answer_comes(client: Client) -> None:
    jobs = [letter(client, ordering_key=key) for key in ("ada", "bob", "ada")]
    assert sent(client) == [(job["id"], job["ordering_key"]) for job in jobs]
    assert [job["ordering_key"] for job in jobs] == ["ada", "bob", "ada"]


def test_without_an_ordering_key_the_queue_is_one_group_and_other_queues_have_none(client: Client) -> None:
    assert letter(client)["ordering_key"] == "letters"
    assert client.enqueue()["ordering_key"] is None


def test_a_send_that_fails_is_answered_503_and_the_repeated_request_sends_the_same_job(client: Client) -> None:
    client.sqs.throttled = 2  # type: ignore[attr-defined]
    for _ in range(2):
        answer = client.call("POST", "/jobs", SEND_EMAIL | {"queue": "letters", "idempotency_key": "one"})
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert sent(client) == []
    job = letter(client, idempotency_key="one", status=200)
    assert sent(client) == [(job["id"], "letters")]
    letter(client, idempotency_key="one", status=200)
    assert len(sent(client)) == 1


def test_without_a_key_a_failed_send_leaves_a_job_that_the_relay_sends(client: Client) -> None:
    client.sqs.throttled = 1  # type: ignore[attr-defined]
    letter(client, status=503)
    [left] = client.store.jobs.values()
    assert (left.status, left.dispatch) == ("pending", 1)
    job = letter(client)
    assert job["id"] != left.id
    assert sent(client) == [(job["id"], "letters")]


def test_a_replay_of_what_is_over_sends_nothing(client: Client) -> None:
    job = letter(client, idempotency_key="one")
    client.call("DELETE", f"/jobs/{job['id']}")
    client.sqs.purge_queue(QueueUrl=LETTERS)
    client.now += seconds(301)
    letter(client, idempotency_key="one", status=200)
    assert sent(client) == []


def test_a_unique_job_that_was_there_is_sent_before_it_is_returned(client: Client) -> None:
    client.sqs.throttled = 1  # type: ignore[attr-defined]
    letter(client, unique={"key": "one"}, status=503)
    job = letter(client, unique={"key": "one"}, status=200)
    assert sent(client) == [(job["id"], "letters")]


def batch(client: Client, *keys: str) -> list[int]:
    """The status of each of these jobs, enqueued in one request."""
    answer = client.call("POST", "/jobs/batch", {"jobs": [SEND_EMAIL | {"queue": "letters", "ordering_key": key} for key in keys]})
    assert answer.status == 200
    return [item["status"] for item in answer.body["items"]]


def test_a_batch_takes_its_places_in_the_order_of_the_request(client: Client) -> None:
    assert batch(client, "ada", "bob", "ada", "ada") == [202] * 4
    ids = [id for id, _ in sent(client)]
    assert [group for _, group in sent(client)] == ["ada", "bob", "ada", "ada"]
    assert ids == sorted(ids, key=lambda id: list(client.store.jobs).index(id))


def test_in_a_batch_nobody_gets_in_front_of_a_job_that_was_not_taken(client: Client) -> None:
    client.sqs.throttled = 1  # type: ignore[attr-defined]
    assert batch(client, "ada", "bob", "ada") == [503, 202, 503]
    assert [group for _, group in sent(client)] == ["bob"]


def fast() -> Client:
    """A client of a deployment whose queue `emails` is of low latency."""
    queues = DEFINITIONS.queues | {"emails": Queue(name="emails", worker="notifications", lanes=1, low_latency=True)}
    definitions = Definitions(stage="test", queues=queues, workers=DEFINITIONS.workers)
    made = Client(definitions=definitions, lanes={"emails": {"normal": "emails-normal"}})
    made.sqs = sqs = Sqs(lambda: made.now)
    sqs.create("emails-normal")
    return made


def test_a_low_latency_job_is_sent_once_with_its_creation() -> None:
    client = fast()
    job = client.enqueue(idempotency_key="one")
    assert client.call("POST", "/jobs", SEND_EMAIL | {"idempotency_key": "one"}).status == 200
    assert sent(client, "emails-normal") == [(job["id"], None)]


def test_a_failed_send_of_a_low_latency_job_is_left_to_the_relay() -> None:
    client = fast()
    client.sqs.throttled = 1  # type: ignore[attr-defined]
    job = client.enqueue()
    assert (job["status"], sent(client, "emails-normal")) == ("pending", [])
    assert [message for _, message, _ in client.log.lines] == ["low-latency message not sent; the relay sends it"]


def test_a_low_latency_job_that_is_not_due_is_the_relay_s() -> None:
    client = fast()
    for delay in (1, 3600):
        client.enqueue(delay=delay)
    assert sent(client, "emails-normal") == []
