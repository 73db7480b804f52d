"""POST /jobs/batch: up to 500 jobs, each with a result of its own, in order; one bad job keeps no other out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from jobline.bulk import LONGEST
from jobline.errors import Unavailable
from jobline.inserts import insert_statement, was_inserted
from jobline.job import Job
from jobline.memory import MemoryStore
from jobline.payloads import INLINE_LIMIT
from jobline.store import Outcome
from tests.api import SEND_EMAIL, Answer, Client
from tests.api_on_aws import on_aws
from tests.factories import make_job
from tests.faults import KINDS, Kind


@pytest.fixture
def api() -> Client:
    return Client()


def email(number: int | str, **fields: Any) -> dict[str, Any]:
    return SEND_EMAIL | {"payload": {"to": f"{number}@example.com"}} | fields


def send(api: Client, *jobs: Any, path: str = "/jobs/batch") -> list[dict[str, Any]]:
    """The items of the answer."""
    answer = api.call("POST", path, {"jobs": list(jobs)})
    assert answer.status == 200, answer
    items = answer.body["items"]
    assert len(items) == len(jobs)
    return list(items)


def statuses(items: list[dict[str, Any]]) -> list[int]:
    return [item["status"] for item in items]


# ---------------------------------------------------------------------------------------------------- what is made


def test_every_job_is_made_and_answered_in_order(api: Client) -> None:
    items = send(api, *(email(number, tags=[str(number)]) for number in range(60)))
    assert statuses(items) == [202] * 60
    assert [item["job"]["payload"]["to"] for item in items] == [f"{number}@example.com" for number in range(60)]
    for item in items:
        assert item.keys() == {"status", "job"}
        assert api.call("GET", f"/jobs/{item['job']['id']}").body == item["job"]
    assert len({item["job"]["id"] for item in items}) == len(api.store.jobs) == 60


def test_jobs_of_several_queues_and_kinds_go_together(api: Client) -> None:
    items = send(
        api,
        email(1, delay="1h"),
        {"queue": "images", "type": "image_resize"},
        email(2, queue="letters"),
        email(3, unique={"key": "k"}),
        email(4, priority=1, idempotency_key="i"),
    )
    assert statuses(items) == [202] * 5
    assert [(item["job"]["queue"], item["job"]["status"]) for item in items] == [
        ("emails", "scheduled"),
        ("images", "pending"),
        ("letters", "pending"),
        ("emails", "pending"),
        ("emails", "pending"),
    ]


@pytest.mark.parametrize("written", ["1.0", '{"b" : 1,  "a":[ ] }', '"\\u00e9]"', "[-0.0, 1E-7]", "null", "123456789012345678901234567890"])
def test_a_payload_comes_out_byte_for_byte_as_it_went_in(api: Client, written: str) -> None:
    job = f'{{"queue":"emails","type":"send_sms","payload": {written} }}'
    answer = api.call("POST", "/jobs/batch", f' {{ "jobs" : [ {job} , {job},{job} ] }} ')
    assert answer.text.count(f'"payload":{written},') == 3
    assert {job.payload for job in api.store.jobs.values()} == {written}


def test_the_same_goes_under_a_queues_own_path(api: Client) -> None:
    items = send(api, {"type": "send_email", "payload": {"to": "x"}}, email(1), email(2, queue="letters"), path="/queues/emails/jobs/batch")
    assert statuses(items) == [202, 202, 400]
    assert items[2]["problem"]["errors"] == [{"pointer": "/jobs/2/queue", "detail": "is not that of the route"}]
    assert api.call("POST", "/queues/nowhere/jobs/batch", {"jobs": []}).status == 404


def test_no_jobs_are_no_items(api: Client) -> None:
    assert send(api) == []


# ---------------------------------------------------------------------------------------------------- what is refused


def test_a_bad_job_is_a_problem_in_its_place_and_the_others_go_in(api: Client) -> None:
    items = send(
        api,
        email(0),
        email(1, payload={"subject": "x"}),
        email(2, queue="nowhere"),
        "no object",
        email(4, priority=0, tags=[""]),
        email(5, unique={"keys": ["nothing"]}),
        email(6, type="nothing"),
        email(7),
    )
    assert statuses(items) == [202, 422, 422, 400, 422, 422, 422, 202]
    places = [[error["pointer"] for error in item["problem"]["errors"]] if "problem" in item else [] for item in items]
    assert places == [
        [],
        ["/jobs/1/payload/to"],
        ["/jobs/2/queue"],
        ["/jobs/3"],
        ["/jobs/4/priority", "/jobs/4/tags/0"],
        ["/jobs/5/unique/keys"],
        ["/jobs/6/type"],
        [],
    ]
    for item in items:
        if "problem" in item:
            assert {"type", "title", "status", "detail", "request_id"} <= item["problem"].keys()
            assert item["problem"]["status"] == item["status"]
    assert len(api.store.jobs) == 2


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ([], "", "must be an object"),
        ({}, "/jobs", "is missing"),
        ({"jobs": {}}, "/jobs", "must be an array of at most 500 jobs"),
        ({"jobs": [SEND_EMAIL] * 501}, "/jobs", "must be an array of at most 500 jobs"),
        ({"jobs": [SEND_EMAIL], "queue": "emails"}, "/queue", "is not a known field; there is jobs"),
    ],
    ids=str,
)
def test_a_body_of_another_shape_makes_nothing(api: Client, body: Any, pointer: str, detail: str) -> None:
    answer = api.call("POST", "/jobs/batch", body)
    assert (answer.status, answer.problems) == (400, [(pointer, detail)])
    assert api.store.jobs == {}


def test_five_hundred_jobs_are_taken(api: Client) -> None:
    assert statuses(send(api, *(email(number) for number in range(500)))) == [202] * 500


def test_a_batch_may_have_two_and_a_half_million_bytes(api: Client) -> None:
    body = json.dumps({"jobs": [email(1)]})
    assert api.call("POST", "/jobs/batch", body + " " * (2_500_000 - len(body))).status == 200
    assert api.call("POST", "/jobs/batch", body + " " * (2_500_001 - len(body))).status == 413


def test_json_that_is_wrong_anywhere_makes_nothing(api: Client) -> None:
    answer = api.call("POST", "/jobs/batch", f'{{"jobs":[{json.dumps(email(1))},{{"queue":NaN}}]}}')
    assert (answer.status, answer.problems[0][0], api.store.jobs) == (400, "/jobs/1/queue", {})


def test_one_key_for_all_jobs_is_refused(api: Client) -> None:
    answer = api.call("POST", "/jobs/batch", {"jobs": [email(1)]}, headers={"idempotency-key": "k"})
    assert (answer.status, "give each of its jobs an idempotency_key" in answer.body["detail"]) == (400, True)


# ---------------------------------------------------------------------------------------------------- keys


def test_a_batch_that_is_sent_again_answers_the_same_jobs(api: Client) -> None:
    jobs = [email(number, idempotency_key=f"k{number}") for number in range(30)]
    first, again = send(api, *jobs), send(api, *jobs, email("new"))
    assert statuses(again) == [200] * 30 + [202]
    assert [item["job"] for item in again[:30]] == [item["job"] for item in first]
    assert {item.get("replayed") for item in again[:30]} == {True}
    assert "replayed" not in again[30]


def test_a_key_that_stands_twice_in_a_batch_is_one_job_or_a_misuse() -> None:
    api = Client(Shaky())
    items = send(api, email(1, idempotency_key="k"), email(1, idempotency_key="k"), email(2, idempotency_key="k"))
    assert statuses(items) == [202, 200, 422]
    assert items[1]["job"]["id"] == items[0]["job"]["id"] == items[2]["problem"]["job_id"]
    assert items[2]["problem"]["errors"][0]["pointer"] == "/jobs/2/idempotency_key"


def test_unique_jobs_of_a_batch_exclude_each_other_too(api: Client) -> None:
    items = send(api, *(email(1, unique=unique) for unique in ({}, {}, {"on_conflict": "reject"}, {"on_conflict": "replace"})))
    assert statuses(items) == [202, 200, 409, 202]
    assert (items[1]["returned"], items[1]["job"]["id"]) == (True, items[0]["job"]["id"])
    assert items[2]["problem"]["job_id"] == items[0]["job"]["id"]


# ---------------------------------------------------------------------------------------------------- faults


class Shaky(MemoryStore):
    """A table whose calls for many jobs end as they are told to, one after the other."""

    def __init__(self, *ends: str) -> None:
        super().__init__()
        self.ends = list(ends)
        self.singles = 0

    def create_many(self, jobs: Sequence[Job]) -> list[bool | None]:
        # What DynamoDB makes of two statements on one item in one call, nobody says: there must be none.
        assert len({job.id for job in jobs}) == len(jobs)
        match self.ends.pop(0) if self.ends else "right":
            case "throttled":
                return [None] * len(jobs)
            case "reply lost":
                super().create_many(jobs)
                return [None] * len(jobs)
            case "every other throttled":
                return [verdict for job in jobs for verdict in (super(Shaky, self).create_many([job]) if hash_of(job) else [None])]
            case _:
                return super().create_many(jobs)

    def create(self, job: Job, *, now: Any) -> Outcome:
        self.singles += 1
        return super().create(job, now=now)


def hash_of(job: Job) -> bool:
    return int(job.id[-1], 16) % 2 == 0


@pytest.mark.parametrize("keys", [False, True])
@pytest.mark.parametrize(
    ("ends", "singles"),
    [
        ([], 0),
        (["throttled"], 0),
        (["every other throttled"], 0),
        (["throttled", "throttled"], 40),
        (["reply lost"], 40),
        (["throttled", "reply lost"], 40),
        (["every other throttled", "throttled"], 20),
    ],
)
def test_what_a_call_does_not_settle_is_settled_once_and_is_new(ends: list[str], singles: int, keys: bool) -> None:
    store = Shaky(*ends)
    api = Client(store)
    jobs = [email(number, **({"idempotency_key": f"{number}"} if keys else {})) for number in range(40)]
    items = send(api, *jobs)
    assert statuses(items) == [202] * 40
    assert [item["job"]["payload"]["to"] for item in items] == [f"{number}@example.com" for number in range(40)]
    assert len(store.jobs) == len(store.changes) == 40
    if not keys:
        assert store.singles == singles


def test_an_outage_is_told_in_each_jobs_place(api: Client) -> None:
    def down(*_: Any, **__: Any) -> Any:
        raise Unavailable("down")

    api.store.create_many, api.store.create = lambda jobs: [None] * len(jobs), down
    items = send(api, email(1), email(2, priority=0), email(3))
    assert statuses(items) == [503, 422, 503]
    assert "with an idempotency key" in items[0]["problem"]["detail"]


def test_a_fault_of_ours_is_logged_and_hides_no_other_jobs_answer(api: Client) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret")

    api.store.create_unique = broken
    items = send(api, email(1), email(2, unique={}))
    assert (statuses(items), "secret" in json.dumps(items)) == ([202, 500], False)
    assert [line[0] for line in api.log.lines] == ["error"]


def test_jobs_for_which_there_is_no_time_left_are_told_so(api: Client) -> None:
    create = api.store.create_unique

    def slow(*arguments: Any, **more: Any) -> Any:
        api.pass_time((LONGEST / 2 + timedelta(seconds=1)).total_seconds())
        return create(*arguments, **more)

    api.store.create_unique = slow
    assert statuses(send(api, *(email(number, unique={}) for number in range(4)))) == [202, 202, 503, 503]
    assert len(api.store.jobs) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_after_one_fault_at_any_call_a_client_repeats_the_batch_and_has_each_job_once(kind: Kind) -> None:
    large = "x" * INLINE_LIMIT
    jobs = [email(0, idempotency_key="0"), email(large, idempotency_key="1"), email(2, idempotency_key="2", unique={})]

    def life(at: int | None) -> tuple[list[str], list[int | None], int]:
        with on_aws(at=at, kind=kind) as api:

            def ask() -> int:
                answer: Answer = api.call("POST", "/jobs/batch", {"jobs": jobs})
                worst = max(item["status"] for item in answer.body["items"])
                return worst if worst > 202 else 202

            answers = api.repeat(ask)
            made = [item for item in api.raw.scan(TableName="jobs")["Items"] if "dispatch" in item]
            assert all(item["rev"]["N"] == "1" for item in made)
            return api.faults.calls, answers, len(made)

    calls, _, _ = life(None)
    for number in range(len(calls)):
        _, answers, made = life(number)
        assert made == 3, (number, answers)
        assert set(answers[:-1]) <= {503, None}


# ---------------------------------------------------------------------------------------------------- statements


def test_a_statement_has_every_field_of_the_record_as_a_parameter() -> None:
    statement = insert_statement("the.table-1", make_job(tags=("it's",), group="g"))
    fields, values = statement["Statement"].partition("VALUE ")[2].strip("{}").split(","), statement["Parameters"]
    assert statement["Statement"].startswith("INSERT INTO \"the.table-1\" VALUE {'id':?,")
    assert len(fields) == len(values)
    assert dict(zip(fields, values, strict=True))["'tags':?"] == {"L": [{"S": "it's"}]}


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ({"TableName": "jobs"}, True),
        ({"Error": {"Code": "DuplicateItem"}}, False),
        ({"Error": {"Code": "ThrottlingError"}}, None),
        ({"Error": {"Code": "ProvisionedThroughputExceeded"}}, None),
        ({"Error": {"Code": "TransactionConflict"}}, None),
        ({"Error": {"Code": "InternalServerError"}}, None),
        (None, None),
    ],
)
def test_only_success_and_a_taken_id_are_verdicts(answer: Any, verdict: bool | None) -> None:
    assert was_inserted(answer) is verdict
