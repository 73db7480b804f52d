"""Lists of jobs over HTTP: in order, filtered, page by page, on every store alike."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from moto import mock_aws

from jobline import transitions as t
from jobline.ids import new_id
from jobline.job import Job, Status
from jobline.memory import MemoryStore
from jobline.shards import attention_partition
from jobline.store import JobStore
from tests.api import Client
from tests.aws import client, create_table
from tests.factories import NOW, make_job, seconds


@pytest.fixture(params=["memory", "dynamodb"])
def api(request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "memory":
        yield Client(MemoryStore())
        return
    with mock_aws():
        dynamodb = client("dynamodb")
        yield Client(JobStore(dynamodb, create_table(dynamodb)))


CHANCE = count(1)
OPEN = {Status.SCHEDULED, Status.FAILED}
ENDED_BADLY = {Status.DEAD, Status.CANCELLED, Status.EXPIRED}


def put(api: Client, age: int, status: Status = Status.PENDING, **fields: Any) -> str:
    """A job created `age` seconds ago, in the indexes where a job of that status is."""
    created = NOW - seconds(age)
    job = make_job(id=new_id(created, next(CHANCE).to_bytes(10)), created_at=created, status=status, **fields)
    if status in OPEN | ENDED_BADLY:
        kind = "open" if status in OPEN else status.value
        job = make_job(**{**as_fields(job), "attention": attention_partition(job.queue, kind, job.id), "attention_at": created})
    assert api.store.create(job, now=NOW).applied
    return job.id


def as_fields(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in Job.__slots__}


def listed(api: Client, **query: str) -> list[str]:
    answer = api.call("GET", "/jobs", query={"queue": "emails", **query})
    assert answer.status == 200, answer
    return [job["id"] for job in answer.body["jobs"]]


def all_pages(api: Client, **query: str) -> list[list[str]]:
    pages: list[list[str]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = api.call("GET", "/jobs", query={"queue": "emails", **query, **cursor})
        assert answer.status == 200, answer
        pages.append([job["id"] for job in answer.body["jobs"]])
        if answer.body["next"] is None:
            return pages
        cursor = {"cursor": answer.body["next"]}
        assert len(pages) < 100


def test_jobs_are_listed_newest_first_and_only_the_queues_own(api: Client) -> None:
    ids = [put(api, age) for age in range(20)]
    put(api, 5, queue="images")
    assert listed(api) == ids
    assert listed(api, queue="images") != []
    assert listed(api, queue="letters") == []


def test_pages_go_on_where_the_one_before_ended_and_repeat_nothing(api: Client) -> None:
    ids = [put(api, age) for age in range(53)]
    pages = all_pages(api, limit="10")
    assert [id for page in pages for id in page] == ids
    assert [len(page) for page in pages[:5]] == [10] * 5


def test_jobs_that_come_while_somebody_pages_disturb_nothing(api: Client) -> None:
    ids = [put(api, age + 100) for age in range(20)]
    first = api.call("GET", "/jobs", query={"queue": "emails", "limit": "10"}).body
    for age in range(30):
        put(api, age)
    second = api.call("GET", "/jobs", query={"queue": "emails", "limit": "10", "cursor": first["next"]}).body
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == ids


@pytest.fixture
def mixed(api: Client) -> dict[Status, list[str]]:
    """Three jobs of every status, in turns."""
    found: dict[Status, list[str]] = {status: [] for status in Status}
    for round in range(3):
        for number, status in enumerate(Status):
            found[status].append(put(api, round * 10 + number, status))
    return found


@pytest.mark.parametrize("status", ["pending", "running", "done", "dead", "cancelled", "expired"])
def test_a_status_lists_its_jobs_newest_first(api: Client, mixed: dict[Status, list[str]], status: str) -> None:
    assert listed(api, status=status) == mixed[Status(status)]
    assert [id for page in all_pages(api, status=status, limit="1") for id in page] == mixed[Status(status)]


def test_waiting_jobs_are_listed_in_the_order_in_which_they_fall_due(api: Client, mixed: dict[Status, list[str]]) -> None:
    assert listed(api, status="scheduled") == mixed[Status.SCHEDULED][::-1]
    assert listed(api, status="retrying") == mixed[Status.FAILED][::-1]


def test_failed_means_what_went_wrong_the_dead_first(api: Client, mixed: dict[Status, list[str]]) -> None:
    wrong = mixed[Status.DEAD] + mixed[Status.FAILED][::-1]
    assert listed(api, status="failed") == wrong
    for size in range(1, 7):
        assert [id for page in all_pages(api, status="failed", limit=str(size)) for id in page] == wrong


def test_type_tag_and_time_narrow_any_list(api: Client) -> None:
    sms = put(api, 3, type="send_sms", tags=("vip", "a,b"))
    put(api, 2, tags=("vip",))
    put(api, 1, type="send_sms")
    dead = [put(api, age, Status.DEAD, tags=("vip",)) for age in (4, 8)]
    assert listed(api, type="send_sms", tag="vip") == [sms]
    assert listed(api, tag="a,b") == [sms]
    assert listed(api, since="2026-03-01T11:59:57Z", tag="vip", type="send_sms") == [sms]
    assert listed(api, since="2026-03-01T11:59:57.001Z", tag="vip", type="send_sms") == []
    assert listed(api, since="2026-03-01T12:59:56+01:00", status="dead") == dead[:1]


def test_a_page_reads_at_most_200_records_and_may_be_short_or_empty_with_more_to_come(api: Client) -> None:
    for age in range(250):
        put(api, age)
    rare = put(api, 300, tags=("rare",))
    first = api.call("GET", "/jobs", query={"queue": "emails", "tag": "rare"}).body
    assert first["jobs"] == []
    assert first["next"]
    second = api.call("GET", "/jobs", query={"queue": "emails", "tag": "rare", "cursor": first["next"]}).body
    assert [job["id"] for job in second["jobs"]] == [rare]
    assert second["next"] is None


def test_jobs_that_an_index_still_names_but_that_have_moved_on_are_left_out(api: Client) -> None:
    id = put(api, 5, Status.DEAD)
    job = api.store.get(id)
    api.store.apply(id, t.retry(job, now=NOW, op="x"))
    assert listed(api, status="dead") == []
    assert listed(api, status="pending") == [id]
    assert listed(api, status="retrying") == []


def test_records_that_are_no_longer_kept_are_left_out(api: Client) -> None:
    put(api, 5, Status.DONE, ttl=int(NOW.timestamp()))
    kept = put(api, 6, Status.DONE, ttl=int(NOW.timestamp()) + 1)
    assert listed(api) == listed(api, status="done") == [kept]


def test_a_body_that_is_kept_apart_is_named_as_left_out(api: Client) -> None:
    put(api, 1, payload=None, payload_ref='{"sha256":"x","size":5,"item":"y"}')
    put(api, 2, payload="[1.0]")
    apart, whole = api.call("GET", "/jobs", query={"queue": "emails"}).body["jobs"]
    assert (apart["payload"], apart["omitted"]) == (None, ["payload"])
    assert (whole["payload"], "omitted" in whole) == ([1.0], False)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({}, "queue is missing"),
        ({"queue": ""}, "'queue' is empty"),
        ({"queue": "emails", "status": "broken"}, "no status 'broken'"),
        ({"queue": "emails", "status": ""}, "'status' is empty"),
        ({"queue": "emails", "limit": "0"}, "limit must be a whole number from 1 to 200"),
        ({"queue": "emails", "limit": "201"}, "limit must be"),
        ({"queue": "emails", "limit": "\u0661"}, "limit must be"),
        ({"queue": "emails", "limit": "9" * 5000}, "limit must be"),
        ({"queue": "emails", "since": "yesterday"}, "since is not a time"),
        ({"queue": "emails", "tag": "x" * 65}, "at most 64"),
        ({"queue": "emails", "colour": "red"}, "'colour' is not known"),
        ({"queue": "emails", "cursor": "AAAA"}, "cursor"),
        ({"queue": "emails", "cursor": ""}, "cursor"),
    ],
)
def test_a_query_that_is_not_right_is_a_400_that_says_why(query: dict[str, str], says: str) -> None:
    answer = Client().call("GET", "/jobs", query=query)
    assert answer.status == 400
    assert says in answer.body["detail"]
    assert len(answer.body["detail"]) < 200


def test_an_unknown_queue_is_a_404_and_a_path_of_another_queue_a_400() -> None:
    assert Client().call("GET", "/jobs", query={"queue": "email"}).body["detail"] == "There is no queue 'email' (did you mean 'emails'?)."
    assert Client().call("GET", "/queues/nope/jobs").status == 404
    assert Client().call("GET", "/queues/emails/jobs", query={"queue": "images"}).status == 400


def test_a_cursor_is_good_for_its_own_list_only_whatever_the_size_of_a_page(api: Client) -> None:
    for age in range(5):
        put(api, age)
    cursor = api.call("GET", "/jobs", query={"queue": "emails", "limit": "2"}).body["next"]
    assert len(listed(api, cursor=cursor, limit="200")) == 3
    for other in ({"status": "pending"}, {"queue": "images"}, {"tag": "x"}, {"type": "send_sms"}, {"since": "2026-01-01T00:00:00Z"}):
        answer = api.call("GET", "/jobs", query={"queue": "emails", "cursor": cursor} | other)
        assert answer.status == 400, other
