"""Newsletters: every good row of a list becomes one mail, however often the work is cut off; every bad one is told with its line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

from functions.notifications import batch_newsletter as module
from functions.notifications import recipients as list_module
from functions.notifications.batch_newsletter import BatchNewsletter, batch_newsletter
from functions.notifications.send_email import send_email
from jobline import NonRetryable
from jobline.children import Children
from jobline.testing import TrialDeployment, TrialJob
from jobline.testing.mishaps import MortalStore, ProcessDied
from tests.aws import REGION, client

BUCKET = "data"
SENDER = "jobline@example.com"


@cache
def made_once(service: str) -> Any:
    """Making a client takes longer than a test."""
    return client(service)


class Aws:
    """SES with a verified sender, and the data bucket with a list in it."""

    def __init__(self) -> None:
        self.s3 = made_once("s3")
        made_once("sesv2").create_email_identity(EmailIdentity=SENDER)
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def put(self, text: str | bytes, key: str = "recipients/list.csv") -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=text.encode() if isinstance(text, str) else text)
        return key

    @property
    def mailed(self) -> Counter[str]:
        """How many messages each address got."""
        sent = ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages
        return Counter(address for message in sent for address in message.destinations["ToAddresses"])

    def rejects(self, job: TrialJob) -> list[tuple[int, str]]:
        """Line and reason of each bad row."""
        place = job.result["rejects"]
        text = self.s3.get_object(Bucket=place["bucket"], Key=place["key"])["Body"].read().decode()
        return [(each["line"], each["reason"]) for each in map(json.loads, text.splitlines())]


@pytest.fixture
def aws() -> Iterator[Aws]:
    with mock_aws():
        yield Aws()


@pytest.fixture
def jobline_options(aws: Aws) -> dict[str, Any]:
    return {"client": made_once, "bucket": BUCKET}


def csv_of(count: int) -> str:
    return "email,name\n" + "".join(f"r{n}@example.com,Reader {n}\n" for n in range(count))


def each_once(count: int) -> Counter[str]:
    return Counter(f"r{n}@example.com" for n in range(count))


def run(jobs: TrialDeployment, payload: BatchNewsletter, time: str = "20m") -> TrialJob:
    job = jobs.enqueue(payload)
    jobs.advance(time)
    return job


def children(jobs: TrialDeployment) -> list[TrialJob]:
    return jobs.all(send_email)


def test_every_recipient_gets_one_message_with_the_words_of_its_row(aws: Aws, jobs: TrialDeployment) -> None:
    aws.put("email,name\nada@example.com,Ada\nbob@bücher.example,Bob & Co\n")
    letter = BatchNewsletter(
        recipients="recipients/list.csv", subject="For {{ name }}", html="<p>{{ name }}</p>", reply_to="us@example.com"
    )
    job = run(jobs, letter)
    assert job.status == "done", job.error
    assert {name: job.result[name] for name in ("rows", "enqueued", "duplicates", "rejected", "rejects")} == {
        "rows": 2,
        "enqueued": 2,
        "duplicates": 0,
        "rejected": 0,
        "rejects": None,
    }
    sent = ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages
    assert [(message.subject, message.destinations["ToAddresses"]) for message in sent] == [
        ("For Ada", ["ada@example.com"]),
        ("For Bob & Co", ["bob@xn--bcher-kva.example"]),
    ]
    assert {child.priority for child in children(jobs)} == {9}
    assert {child.tags for child in children(jobs)} == {(f"newsletter:{job.id}",)}
    assert {child.record.parent_id for child in children(jobs)} == {job.id}


def test_json_lines_carry_values_of_any_kind(aws: Aws, jobs: TrialDeployment) -> None:
    rows = [{"mail": "a@example.com", "user": {"name": "Ada"}, "n": 3}, {"mail": "b@example.com", "user": {"name": "Bob"}, "n": 4}]
    aws.put("\ufeff" + "\n\n".join(json.dumps(row) for row in rows), "recipients/list.jsonl")
    job = run(jobs, BatchNewsletter(recipients="recipients/list.jsonl", address_field="mail", subject="{{ user.name }} has {{ n }}"))
    assert (job.status, job.result["enqueued"]) == ("done", 2)
    assert [message.subject for message in ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages] == ["Ada has 3", "Bob has 4"]


def test_bad_rows_are_told_with_their_lines_and_the_counts_add_up(aws: Aws, jobs: TrialDeployment) -> None:
    lines = [
        b"\xef\xbb\xbfemail, name\r",
        b"ada@example.com,Ada\r",
        b"\r",
        b"no address,Bob\r",
        b"too,many,fields\r",
        b'"quoted@example.com","two\nlines"',
        b"ADA@Example.com,Ada again",
        b"latin@example.com,Zo\xeb",
        b"a@localhost,x",
        b"two..dots@example.com,x",
        b"zo\xc3\xab@example.com,x",
        b'"a"b@example.com,x',
        b"a@example.com\xe2\x80\xa8bcc:x@example.com,x",
        b"last@example.com,Last",
    ]
    aws.put(b"\n".join(lines))
    job = run(jobs, BatchNewsletter(recipients="recipients/list.csv", subject="Hello"))
    assert job.status == "done", job.error
    assert set(aws.mailed) == {"ada@example.com", "quoted@example.com", "last@example.com"}
    assert (job.result["rows"], job.result["enqueued"], job.result["duplicates"], job.result["rejected"]) == (12, 3, 1, 8)
    rejects = aws.rejects(job)
    assert [line for line, _ in rejects] == [4, 5, 9, 10, 11, 12, 13, 14]
    reasons = [reason for _, reason in rejects]
    assert reasons[:4] == ["the address has no @", "has 3 fields, not 2", "is not UTF-8", "the address has no domain after its @"]
    assert reasons[6].startswith("is no CSV")


def test_bad_json_lines_are_told_with_their_lines(aws: Aws, jobs: TrialDeployment) -> None:
    deep = '{"email":"a@example.com","x":' + "[" * 62 + "]" * 62 + "}"
    lines = [
        '{"email":"a@example.com"}',
        "[1]",
        '{"email":1}',
        '{"mail":"a@example.com"}',
        '{"email":"b@example.com","n":NaN}',
        deep,
        "{}}},{",
    ]
    aws.put("\n".join(lines), "list")
    job = run(jobs, BatchNewsletter(recipients="list", format="jsonl"))
    assert (job.status, job.result["rows"], job.result["enqueued"], job.result["rejected"]) == ("done", 7, 1, 6)
    assert [line for line, _ in aws.rejects(job)] == [2, 3, 4, 5, 6, 7]


# Cut off


CUT_OFF_AT = range(1, 24)


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize("at", CUT_OFF_AT)
def test_wherever_the_worker_dies_every_recipient_is_mailed_once(
    aws: Aws, jobs: TrialDeployment, monkeypatch: pytest.MonkeyPatch, at: int, effect: str
) -> None:
    """Dies at call number `at` of the table, before or after it took effect; three children between two checkpoints."""
    calls: list[str] = []
    deaths: list[str] = []
    through = MortalStore.__getattr__

    def getattr_(store: MortalStore, name: str) -> Any:
        method = through(store, name)

        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) != at:
                return method(*arguments, **options)
            if effect == "after":
                method(*arguments, **options)
            deaths.append(name)
            jobs.deployment.mishaps.dead = True
            raise ProcessDied(name)

        return call

    monkeypatch.setattr(MortalStore, "__getattr__", getattr_)
    monkeypatch.setattr(module, "AT_ONCE", 3)
    aws.put(csv_of(8))
    letter = BatchNewsletter(recipients="recipients/list.csv", subject="Hello {{ name }}", per_second=100)
    job = jobs.enqueue(letter, timeout=20)
    jobs.advance("45m")  # a worker that dies before its claim leaves the message hidden for half an hour
    assert len(deaths) == 1, f"there are but {len(calls)} calls"
    assert (job.status, job.result["enqueued"]) == ("done", 8)
    assert len(children(jobs)) == 8
    assert {child.status for child in children(jobs)} == {"done"}
    assert aws.mailed == each_once(8)


def test_the_calls_at_which_it_is_cut_off_are_those_that_matter(aws: Aws, jobs: TrialDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    through = MortalStore.__getattr__

    def getattr_(store: MortalStore, name: str) -> Any:
        calls.append(name)
        return through(store, name)

    monkeypatch.setattr(MortalStore, "__getattr__", getattr_)
    monkeypatch.setattr(module, "AT_ONCE", 3)
    aws.put(csv_of(8))
    run(jobs, BatchNewsletter(recipients="recipients/list.csv", per_second=100))
    last_batch = [number for number, name in enumerate(calls, start=1) if name == "create_many"][2]
    assert last_batch + 3 in CUT_OFF_AT, "the finish comes after a checkpoint and a progress report"


def test_a_crash_at_the_end_and_a_retry_by_hand_mail_nobody_again(aws: Aws, jobs: TrialDeployment) -> None:
    aws.put(csv_of(5))
    jobs.crash_next(batch_newsletter, times=2)
    job = run(jobs, BatchNewsletter(recipients="recipients/list.csv"), "45m")
    assert (job.status, job.attempts, aws.mailed) == ("done", 3, each_once(5))


def test_work_longer_than_one_run_goes_on_and_keeps_the_rate(aws: Aws, jobs: TrialDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch takes a minute here, longer than its ten messages are apart: what is late is not made up for by a burst."""
    slow = Children.enqueue_many

    def enqueue_many(children: Children, *arguments: Any) -> Any:
        made = slow(children, *arguments)
        jobs.deployment.now += timedelta(seconds=60)
        return made

    monkeypatch.setattr(Children, "enqueue_many", enqueue_many)
    monkeypatch.setattr(module, "AT_ONCE", 10)
    aws.put(csv_of(100))
    job = run(jobs, BatchNewsletter(recipients="recipients/list.csv", per_second=0.5), "60m")
    assert (job.status, job.attempts, job.result["enqueued"]) == ("done", 1, 100)
    assert job.record.continued > 1
    assert aws.mailed == each_once(100)
    due = sorted(child.record.scheduled_at for child in children(jobs))
    assert min(later - earlier for earlier, later in pairwise(due)) >= timedelta(seconds=2)


def test_messages_fall_due_as_fast_as_asked_for_and_no_faster(aws: Aws, jobs: TrialDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 7)
    aws.put(csv_of(41))
    began = jobs.now
    job = run(jobs, BatchNewsletter(recipients="recipients/list.csv", per_second=4))
    due = sorted((child.record.scheduled_at - began).total_seconds() for child in children(jobs))
    assert due == [2 + number / 4 for number in range(41)]
    assert job.result["last_at"] == "2026-01-01T00:00:12Z"


def test_progress_tells_how_many_are_enqueued(aws: Aws, jobs: TrialDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    aws.put(csv_of(5))
    job = run(jobs, BatchNewsletter(recipients="recipients/list.csv"))
    assert "5 of 5 enqueued" in str(job.record.progress)


# What keeps anybody from being mailed


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("", {}, "no header line"),
        ("email,email\na@example.com,b@example.com\n", {}, "names a column twice"),
        ('email,name\na@example.com,"Ada\nb@example.com,Bob\n', {}, "line 2 of the list opens a quote"),
        ("email\n" + "x" * 70_000, {}, "line 2 of the list has more than 65,536 bytes"),
        (csv_of(3), {"subject": "{{ nmae }}"}, r"nobody was mailed.*line 2.*template of subject: 'nmae' is undefined"),
        (csv_of(3), {"template": "no-such"}, "no template 'no-such'"),
        (csv_of(3), {"template": "welcome", "body": "x"}, "together with"),
        (csv_of(3), {"unsubscribe_url": "http://example.com"}, "no https URL"),
        (csv_of(3), {"reply_to": "a@example.com, b@example.com"}, "more than one address"),
        (csv_of(3), {"format": "jsonl", "address_field": "x" * 10, "recipients": "no-such.jsonl"}, "is not there"),
        (csv_of(3), {"recipients": "recipients/list"}, "say its format"),
    ],
)
def test_what_is_wrong_with_the_whole_is_dead_before_anybody_is_mailed(
    aws: Aws, jobs: TrialDeployment, text: str, options: dict[str, Any], reason: str
) -> None:
    aws.put(text)
    aws.put(text, "recipients/list")
    with pytest.raises(NonRetryable, match=reason):
        jobs.perform(BatchNewsletter(**({"recipients": "recipients/list.csv"} | options)))
    assert children(jobs) == []


def test_a_list_has_limits(aws: Aws, jobs: TrialDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.put(csv_of(4))
    monkeypatch.setattr(module, "MOST_IN_A_LIST", 3)
    with pytest.raises(NonRetryable, match="more than 3 recipients"):
        jobs.perform(BatchNewsletter(recipients="recipients/list.csv"))
    monkeypatch.setattr(list_module, "LARGEST_LIST", 50)
    with pytest.raises(NonRetryable, match="at most 50"):
        jobs.perform(BatchNewsletter(recipients="recipients/list.csv"))
    assert children(jobs) == []


def test_another_list_under_the_same_name_does_not_go_on_where_the_first_one_stopped(aws: Aws, jobs: TrialDeployment) -> None:
    aws.put(csv_of(3))
    jobs.crash_next(batch_newsletter)
    job = jobs.enqueue(BatchNewsletter(recipients="recipients/list.csv"))
    jobs.drain()
    aws.put(csv_of(6))
    jobs.advance("20m")
    assert (job.status, "is not what it was when this job began" in str(job.error)) == ("dead", True)
    assert aws.mailed == each_once(3)


def test_a_list_of_bad_rows_alone_is_done_and_says_so(aws: Aws, jobs: TrialDeployment) -> None:
    aws.put("email\nx\ny\n")
    job = run(jobs, BatchNewsletter(recipients="recipients/list.csv"))
    assert (job.status, job.result["enqueued"], job.result["rejected"], len(aws.rejects(job))) == ("done", 0, 2, 2)
