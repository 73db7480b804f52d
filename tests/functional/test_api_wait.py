"""`?wait=`: an answer that comes when the job is over, or when the time is."""

from __future__ import annotations

from typing import Any

import pytest

from jobline import transitions as t
from jobline.errors import Unavailable
from jobline.ids import new_id
from jobline.job import Job, Status
from jobline.memory import MemoryStore
from tests.api import SEND_EMAIL, Client
from tests.factories import KEEP, NOW, make_claimant, make_job, seconds

ID = new_id(NOW, bytes(10))


class Busy(MemoryStore):
    """A store beside which a worker starts each job at once and is done with it after `takes` seconds by the client's clock."""

    def __init__(self, takes: float) -> None:
        super().__init__()
        self.takes = takes
        self.client: Any = None
        self.reads: list[float] = []
        """Seconds after the beginning at which a job was read."""
        self.down: set[int] = set()
        """Numbers of the reads that AWS does not take."""

    def get(self, job_id: str) -> Job | None:
        self.reads.append((self.client.now - NOW).total_seconds())
        if len(self.reads) in self.down:
            raise Unavailable("reading a job")
        job = super().get(job_id)
        if job is None:
            return None
        if job.status is Status.PENDING:
            job = self.apply(job_id, t.claim(make_claimant(), now=NOW, alone=True)).job
        if job is not None and job.status is Status.RUNNING and self.client.now >= NOW + seconds(self.takes):
            write = t.done(job, now=NOW + seconds(self.takes), result='"sent"', result_ref=None, alone=True, keep=KEEP)
            job = self.apply(job_id, write).job
        return job


def busy(takes: float) -> tuple[Client, Busy]:
    store = Busy(takes)
    store.client = Client(store)
    return store.client, store


def waited(api: Client) -> float:
    return (api.now - NOW).total_seconds()


def test_a_request_that_waits_is_answered_200_as_soon_as_its_job_is_over() -> None:
    api, _ = busy(takes=3)
    answer = api.call("POST", "/jobs", SEND_EMAIL, query={"wait": "20"})
    assert (answer.status, answer.body["status"], answer.body["result"]) == (200, "done", "sent")
    assert answer.headers["Location"] == f"jobs/{answer.body['id']}"
    assert answer.headers["ETag"] == f'"{api.store.jobs[answer.body["id"]].rev}"'
    assert 3 <= waited(api) <= 5


def test_a_request_whose_job_is_not_over_in_time_is_answered_202() -> None:
    api, _ = busy(takes=21)
    answer = api.call("POST", "/queues/emails/jobs", SEND_EMAIL, query={"wait": "20"})
    assert (answer.status, answer.body["status"], waited(api)) == (202, "running", 20)
    again = api.call("GET", f"/jobs/{answer.body['id']}", query={"wait": "20"})
    assert (again.status, again.body["status"]) == (200, "done")
    assert 21 <= waited(api) <= 23


def test_a_job_is_looked_at_often_at_first_and_every_two_seconds_later() -> None:
    api, store = busy(takes=100)
    api.store.create(make_job(id=ID), now=NOW)
    assert api.call("GET", f"/jobs/{ID}", query={"wait": "25"}).status == 202
    pauses = [b - a for a, b in zip(store.reads, store.reads[1:], strict=False)]
    assert pauses[:5] == [0.25, 0.5, 1, 2, 2]
    assert set(pauses[3:-1]) == {2}
    assert (store.reads[-1], len(store.reads)) == (25, 16)


@pytest.mark.parametrize("status", [Status.DONE, Status.DEAD, Status.CANCELLED, Status.EXPIRED])
def test_a_job_that_is_over_is_not_waited_for(status: Status) -> None:
    api = Client()
    api.store.create(make_job(id=ID, status=status), now=NOW)
    assert api.call("GET", f"/jobs/{ID}", query={"wait": "25"}).status == 200
    assert waited(api) == 0


@pytest.mark.parametrize(("text", "length"), [("0", 0), ("0.1", 0.1), ("2", 2), ("25", 25), ("1.5s", 1.5), ("PT25S", 25), ("250ms", 0.25)])
def test_a_wait_is_as_long_as_it_says(text: str, length: float) -> None:
    api = Client()
    api.store.create(make_job(id=ID), now=NOW)
    answer = api.call("GET", f"/jobs/{ID}", query={"wait": text})
    assert (answer.status, answer.body["status"], waited(api)) == (202, "pending", length)


@pytest.mark.parametrize(
    "text",
    ["", " ", "25.001", "26", "1m", "NaN", "nan", "Infinity", "-1", "-0", "1e1", "0x1", "twenty", "9" * 70, "2 0", "20;", "٢", "null"],
)
@pytest.mark.parametrize(("method", "path"), [("GET", f"/jobs/{ID}"), ("POST", "/jobs")])
def test_a_wait_that_is_none_or_too_long_is_a_400_before_anything_is_done(method: str, path: str, text: str) -> None:
    api = Client()
    answer = api.call(method, path, SEND_EMAIL if method == "POST" else None, query={"wait": text})
    assert (answer.status, "wait" in answer.body["detail"]) == (400, True)
    assert api.store.jobs == {}
    assert waited(api) == 0


def test_a_repeated_request_waits_for_the_job_that_it_finds() -> None:
    api, _ = busy(takes=3)
    body = SEND_EMAIL | {"idempotency_key": "k"}
    assert api.call("POST", "/jobs", body).status == 202
    answer = api.call("POST", "/jobs", body, query={"wait": "1"})
    assert (answer.status, answer.headers["Idempotent-Replayed"], answer.body["status"]) == (202, "true", "running")
    answer = api.call("POST", "/jobs", body, query={"wait": "20"})
    assert (answer.status, answer.headers["Idempotent-Replayed"], answer.body["status"]) == (200, "true", "done")


def test_a_read_that_aws_does_not_take_while_waiting_does_not_make_the_enqueued_job_a_failure() -> None:
    api, store = busy(takes=1)
    store.down = {1, 2, 3}
    assert api.call("POST", "/jobs", SEND_EMAIL, query={"wait": "20"}).status == 200
    api, store = busy(takes=1)
    store.down = set(range(100))
    answer = api.call("POST", "/jobs", SEND_EMAIL, query={"wait": "20"})
    assert (answer.status, answer.body["status"]) == (202, "pending")
    assert api.call("GET", f"/jobs/{answer.body['id']}", query={"wait": "20"}).status == 503


def test_a_client_that_has_the_job_as_it_is_gets_no_copy_of_it_after_waiting() -> None:
    api, _ = busy(takes=3)
    id = api.enqueue()["id"]
    tag = api.call("GET", f"/jobs/{id}").headers["ETag"]
    assert api.call("GET", f"/jobs/{id}", query={"wait": "1"}, headers={"if-none-match": tag}).status == 304
    answer = api.call("GET", f"/jobs/{id}", query={"wait": "5"}, headers={"if-none-match": tag})
    assert (answer.status, answer.body["status"]) == (200, "done")


@pytest.mark.parametrize(
    ("given", "status"), [("*", 304), (' W/"1" ', 304), ('"2", "1"', 304), ('"2"', 200), ("1", 200), ("", 200), ('"', 200), ("\u2603", 200)]
)
def test_if_none_match_is_read_as_http_has_it_and_what_is_none_counts_for_nothing(given: str, status: int) -> None:
    api = Client()
    api.store.create(make_job(id=ID), now=NOW)
    assert api.call("GET", f"/jobs/{ID}", headers={"if-none-match": given}).status == status


class Gone(Busy):
    """A store from which the job is removed after the first read."""

    def get(self, job_id: str) -> Job | None:
        job = super().get(job_id)
        self.jobs.pop(job_id, None)
        return job


def test_a_job_that_is_removed_while_it_is_waited_for_ends_the_waiting() -> None:
    store = Gone(takes=100)
    api = store.client = Client(store)
    store.create(make_job(id=ID), now=NOW)
    assert api.call("GET", f"/jobs/{ID}", query={"wait": "20"}).status == 202
    assert waited(api) < 1
    assert api.call("GET", f"/jobs/{ID}", query={"wait": "20"}).status == 404


def test_other_routes_do_not_wait() -> None:
    api = Client()
    api.store.create(make_job(id=ID), now=NOW)
    for method, path in (("DELETE", ""), ("PATCH", ""), ("POST", "/retry"), ("POST", "/replay")):
        assert api.call(method, f"/jobs/{ID}{path}", query={"wait": "1"}).status == 400
