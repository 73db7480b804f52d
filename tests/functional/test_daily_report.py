"""The report of a day (S3 and SES are moto's, the queue is the trial deployment's): what it says, and that each thing is made once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from html.parser import HTMLParser
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import pytest
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends
from pypdf import PdfReader

from functions.documents.pdf_generate import pdf_generate
from functions.scheduled import daily_report as module
from functions.scheduled.daily_report import DailyReport, daily_report
from functions.scheduled.figures import MOST_KINDS, OTHER_ERRORS, Day, Durations, Standing, Tally, day_figures, kind_of
from functions.scheduled.report_page import page
from jobline import NonRetryable, ids
from jobline.job import Job, Status
from jobline.memory import MemoryStore
from jobline.occurrence import Occurrence
from jobline.record_reader import RecordReader
from jobline.store import JobStore
from jobline.testing import TrialDeployment, TrialJob, make_context
from jobline.testing.mishaps import ProcessDied
from tests.aws import REGION, client, create_table
from tests.infra.deployment import definitions

BUCKET = "data"
YESTERDAY = "2026-03-01"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SENDER = "jobline@example.com"


@cache
def made_once(service: str) -> Any:
    """Making a client takes longer than a test."""
    return client(service)


class Data:
    """The data bucket, and a sender that SES knows."""

    def __init__(self) -> None:
        self.s3 = made_once("s3")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        made_once("sesv2").create_email_identity(EmailIdentity=SENDER)

    def read(self, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    @property
    def keys(self) -> list[str]:
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    @property
    def sent(self) -> list[Any]:
        return list(ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages)


@pytest.fixture
def data() -> Iterator[Data]:
    with mock_aws():
        yield Data()


@pytest.fixture
def jobline_options(data: Data) -> dict[str, Any]:
    return {"client": made_once, "bucket": BUCKET, "start": START, "settings": {"SENDER": SENDER}}


def work_of_a_day(jobs: TrialDeployment) -> None:
    """Two jobs done, one of them at its second attempt, one dead, one cancelled, one still to come; then it is the next morning."""
    jobs.enqueue("echo", {"n": 1}, queue="diagnostics")
    jobs.enqueue("fail", {"times": 1}, queue="diagnostics")
    jobs.enqueue("fail", {"times": 5}, queue="bulk", max_attempts=1)
    jobs.enqueue("echo", 1, queue="bulk", delay="1h").cancel()
    jobs.enqueue("echo", 2, queue="bulk", delay="3d")
    jobs.advance("18h")


def figures(data: Data, job: TrialJob) -> Any:
    return json.loads(data.read(job.result["figures"]))


def of_queue(told: Any, name: str) -> Any:
    return next(queue for queue in told["queues"] if queue["queue"] == name)


# What it says


def test_a_day_is_counted_stored_and_mailed_with_its_pdf(jobs: TrialDeployment, data: Data) -> None:
    work_of_a_day(jobs)
    job = jobs.enqueue(DailyReport(to=["ada@example.com"]))
    jobs.advance("5m")
    assert (job.status, job.attempts, job.error) == ("done", 1, None)
    counts = {name: job.result[name] for name in ("day", "enqueued", "done", "dead", "cancelled", "expired", "open", "note")}
    assert counts == {"day": YESTERDAY, "enqueued": 5, "done": 2, "dead": 1, "cancelled": 1, "expired": 0, "open": 1, "note": ""}

    told = figures(data, job)
    diagnostics, bulk = of_queue(told, "diagnostics"), of_queue(told, "bulk")
    assert (diagnostics["enqueued"], diagnostics["done"], diagnostics["retried"], diagnostics["attempts"]) == (2, 2, 1, 3)
    assert [error["error"] for error in bulk["top_errors"]] == ["FailureOnDemand: failure # of #"]
    assert [hour["enqueued"] for hour in told["total"]["hours"]] == [0] * 12 + [5] + [0] * 11

    text = "\n".join(page.extract_text() for page in PdfReader(BytesIO(data.read(job.result["pdf"]))).pages)
    assert "Jobline on 2026-03-01" in text
    assert "diagnostics" in text
    assert b"Jobline on 2026-03-01" in data.read(job.result["html"])
    (mail,) = data.sent
    assert mail.destinations["ToAddresses"] == ["ada@example.com"]
    jobs.assert_enqueued("send_email", to=["ada@example.com"], count=1)
    (child,) = jobs.all("send_email")
    assert child.payload["attachments"] == [{"source": job.result["pdf"], "name": "jobline-2026-03-01.pdf"}]
    assert not [key for key in data.keys if key.startswith("temporary/")]


def test_without_recipients_it_is_stored_and_nobody_is_mailed(jobs: TrialDeployment, data: Data) -> None:
    job = jobs.enqueue(DailyReport(day="2026-02-27"))
    jobs.advance("5m")
    assert (job.status, job.result["enqueued"], job.result["mail_job"]) == ("done", 0, None)
    assert job.result["pdf"] in data.keys
    assert data.sent == []
    jobs.refute_enqueued("send_email")


def test_only_the_queues_that_are_named_are_told_of(jobs: TrialDeployment, data: Data) -> None:
    work_of_a_day(jobs)
    job = jobs.enqueue(DailyReport(queues=["bulk"]))
    jobs.advance("5m")
    assert [queue["queue"] for queue in figures(data, job)["queues"]] == ["bulk"]
    assert job.result["enqueued"] == 3


def test_a_pdf_that_cannot_be_made_keeps_nobody_from_the_mail_which_says_so(jobs: TrialDeployment, data: Data) -> None:
    jobs.fail_next(pdf_generate, NonRetryable("no paper"))
    job = jobs.enqueue(DailyReport(day="2026-02-27", to=["ada@example.com"]))
    jobs.advance("5m")
    assert (job.status, job.result["pdf"]) == ("done", None)
    assert job.result["note"].endswith("which makes it, is dead")
    (child,) = jobs.all("send_email")
    assert "attachments" not in child.payload
    (mail,) = data.sent
    assert job.result["note"] in str(mail.__dict__)


def test_a_pdf_that_takes_too_long_is_waited_for_for_half_an_hour(jobs: TrialDeployment, data: Data) -> None:
    jobs.fail_next(pdf_generate, "no answer", times=3)
    wanted = DailyReport(day="2026-02-27", to=["ada@example.com"])
    job = jobs.enqueue(wanted)
    jobs.advance("1s")
    pdf = jobs.all("pdf_generate")[0]
    jobs.deployment.store.jobs[pdf.id] = replace(pdf.record, scheduled_at=START + timedelta(days=1))
    jobs.advance("29m")
    assert job.status == "pending"
    assert job.attempts == 0
    jobs.advance("5m")
    assert job.status == "done"
    assert "is not over" in job.result["note"]


def test_without_a_queue_for_documents_there_is_no_pdf(data: Data, jobs: TrialDeployment) -> None:
    ctx = _context(MemoryStore())
    ctx.tools._settings = {"DOCUMENTS_QUEUE": ""}
    result = daily_report(DailyReport(), ctx)
    assert (result["pdf_job"], result["note"]) == (None, "there is no PDF: DOCUMENTS_QUEUE names no queue that makes one")


# Which day


@pytest.mark.parametrize(
    ("day", "timezone", "hours", "first", "twice"),
    [
        ("2026-03-28", "Europe/Berlin", 24, "2026-03-27T23:00:00+00:00", ""),
        ("2026-03-29", "Europe/Berlin", 23, "2026-03-28T23:00:00+00:00", ""),
        ("2026-10-25", "Europe/Berlin", 25, "2026-10-24T22:00:00+00:00", "02:00"),
        ("2026-11-01", "America/New_York", 25, "2026-11-01T04:00:00+00:00", "01:00"),
        ("2026-03-29", "Asia/Beirut", 23, "2026-03-28T22:00:00+00:00", ""),
        ("2026-01-01", "Pacific/Kiritimati", 24, "2025-12-31T10:00:00+00:00", ""),
    ],
)
def test_a_day_has_the_hours_that_the_clocks_of_its_zone_show(day: str, timezone: str, hours: int, first: str, twice: str) -> None:
    of = Day(date.fromisoformat(day), timezone)
    assert (len(of.hours), of.end - of.start, of.start.isoformat()) == (hours, timedelta(hours=hours), first)
    assert {hour for hour in of.hours if of.hours.count(hour) > 1} == ({twice} if twice else set())


def test_every_moment_belongs_to_one_day() -> None:
    first = Day(date(2026, 10, 24), "Europe/Berlin")
    assert first.end == Day(date(2026, 10, 25), "Europe/Berlin").start


def _context(store: Any, now: datetime = START, **options: Any) -> Any:
    ctx = make_context("daily_report", client=made_once, bucket=BUCKET, clock=lambda: now, timeout=570, **options)
    ctx.tools.records = RecordReader(store, definitions("local"))
    return ctx


@pytest.mark.parametrize(
    ("occurrence", "timezone", "day"),
    [
        (None, "UTC", "2026-02-28"),
        (datetime(2026, 2, 20, 6, tzinfo=UTC), "UTC", "2026-02-19"),
        (datetime(2026, 2, 20, 6, tzinfo=UTC), "Pacific/Honolulu", "2026-02-18"),
        (datetime(2026, 2, 20, 20, tzinfo=UTC), "Pacific/Auckland", "2026-02-20"),
    ],
)
def test_yesterday_is_the_day_before_the_schedules_run_wherever_the_clocks_are(occurrence: Any, timezone: str, day: str) -> None:
    ctx = _context(MemoryStore())
    if occurrence is not None:
        ctx.job = replace(ctx.job, occurrence=Occurrence("report", occurrence).text)
    assert module._day(DailyReport(timezone=timezone), ctx).on.isoformat() == day


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (DailyReport(timezone="Europe/Berlim"), "timezone must be a time zone of the tz database"),
        (DailyReport(day="2026-02-30"), "day: 2026-02-30 is no day"),
        (DailyReport(day="9999-12-31"), "day: 9999-12-31 is no day"),
        (DailyReport(day="2026-03-01"), "day: 2026-03-01 is not over in UTC; 2026-02-28 is the last day that is"),
        (DailyReport(day="2026-03-02"), "day: 2026-03-02 has not begun in UTC"),
        (DailyReport(queues=["emails", "emials"]), "queues: there is no queue 'emials'; there are bulk, "),
    ],
)
def test_what_can_be_no_report_is_refused_for_good(data: Data, payload: DailyReport, reason: str) -> None:
    with pytest.raises(NonRetryable, match=reason):
        daily_report(payload, _context(MemoryStore()))


def test_a_report_that_is_asked_for_at_midnight_waits_until_every_job_can_be_found(jobs: TrialDeployment) -> None:
    jobs.advance("12h1s")
    job = jobs.enqueue(DailyReport())
    jobs.advance("10m")
    assert (job.status, job.attempts) == ("pending", 0)
    jobs.advance("10m")
    assert (job.status, job.result["day"]) == ("done", YESTERDAY)


# Once


STEPS = ("_count", "_store", "_ask_for_pdf", "_wait_for_pdf", "_mail")


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_dies_at_any_step_makes_one_report_one_pdf_and_one_mail(
    jobs: TrialDeployment, data: Data, monkeypatch: pytest.MonkeyPatch, step: str, before: bool
) -> None:
    work_of_a_day(jobs)
    dies_once(jobs, monkeypatch, step, before)
    job = jobs.enqueue(DailyReport(to=["ada@example.com"]))
    jobs.advance("2h")
    assert (job.status, job.attempts, job.result["enqueued"], job.result["note"]) == ("done", 2, 5, "")
    made_of(jobs, data, job)


def dies_once(jobs: TrialDeployment, monkeypatch: pytest.MonkeyPatch, step: str, before: bool) -> None:
    """The worker's process ends at this step of a report, the first time that one comes to it."""
    real = getattr(module, step)
    died: list[str] = []

    def dying(*arguments: Any) -> Any:
        if died:
            return real(*arguments)
        if not before:
            real(*arguments)
        died.append(step)
        jobs.deployment.mishaps.dead = True
        raise ProcessDied

    monkeypatch.setattr(module, step, dying)


def made_of(jobs: TrialDeployment, data: Data, job: TrialJob) -> None:
    """There is one report, one PDF and one mail, whatever happened."""
    assert [len(jobs.all(type)) for type in ("pdf_generate", "send_email")] == [1, 1]
    assert len(data.sent) == 1
    assert [key for key in data.keys if key.startswith("reports/")] == [job.result["figures"], job.result["html"]]


def test_a_worker_that_dies_at_the_end_has_reported_once(jobs: TrialDeployment, data: Data) -> None:
    work_of_a_day(jobs)
    jobs.crash_next(daily_report)
    job = jobs.enqueue(DailyReport(to=["ada@example.com"]))
    jobs.advance("2h")
    assert (job.status, job.attempts) == ("done", 2)
    made_of(jobs, data, job)


def test_what_is_stored_by_an_attempt_that_comes_again_is_the_same(
    jobs: TrialDeployment, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_of_a_day(jobs)
    bodies: list[bytes] = []
    real = data.s3.put_object

    def put(**request: Any) -> Any:
        if request["Key"].endswith("figures.json"):
            bodies.append(request["Body"])
            if len(bodies) == 1:
                real(**request)
                jobs.deployment.mishaps.dead = True
                raise ProcessDied
        return real(**request)

    monkeypatch.setattr(data.s3, "put_object", put)
    job = jobs.enqueue(DailyReport())
    jobs.advance("2h")
    assert job.status == "done"
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]


# Counting


def test_counting_goes_on_from_its_checkpoint_and_counts_nothing_twice(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the table itself: 500 jobs in two queues, of which 20 are of the days around; the run is killed after every page."""
    monkeypatch.setattr(module, "AT_ONCE", 25)
    monkeypatch.setattr(module, "CHECKPOINT_EVERY", timedelta())
    dynamodb = made_once("dynamodb")
    store = JobStore(dynamodb, create_table(dynamodb))
    day = Day(date(2026, 2, 28), "Europe/Berlin")
    for number in range(500):
        assert store.create(some_job(number, day), now=day.start).applied
    calls = counted_calls(monkeypatch, dynamodb)

    cursor: Any = None
    lease_of: Any = None
    for _ in range(200):
        ctx = _context(store, cursor=cursor)
        ctx.tools._settings = {"DOCUMENTS_QUEUE": ""}
        lease_of = ctx.lease
        lease_of.cancel_requested = True  # a checkpoint ends the run
        try:
            result = daily_report(DailyReport(queues=["emails", "images"], timezone="Europe/Berlin"), ctx)
            break
        except BaseException as error:
            assert type(error).__name__ == "Continue"  # noqa: PT017  what ends a run at a checkpoint is no Exception
            cursor = lease_of.checkpoints[-1]
    assert result["enqueued"] == 480
    told = json.loads(data.read(result["figures"]))
    assert [queue["enqueued"] for queue in told["queues"]] == [240, 240]
    # Each record was read once, 25 to a call, and each part has one page more at most.
    assert calls["BatchGetItem"] <= 480 / 25 + 16
    assert calls["Query"] <= 480 / 25 + 16 + 1


def some_job(number: int, day: Day) -> Job:
    """One job in 25 is of another day: a millisecond before it, or the moment at which it is over."""
    created_at = day.start + number * (day.end - day.start) / 500
    created_at = created_at.replace(microsecond=created_at.microsecond // 1000 * 1000)
    if number % 25 == 0:
        created_at = day.start - timedelta(milliseconds=1) if number % 2 else day.end
    id = ids.derived_id("emails", str(number))
    queue = "images" if number // 25 % 2 else "emails"
    return Job(id=id, queue=queue, type="send_email", status=Status.PENDING, created_at=created_at, scheduled_at=created_at)


def counted_calls(monkeypatch: pytest.MonkeyPatch, dynamodb: Any) -> dict[str, int]:
    calls: dict[str, int] = {}
    real: Callable[..., Any] = dynamodb._make_api_call

    def call(operation: str, request: Any) -> Any:
        calls[operation] = calls.get(operation, 0) + 1
        return real(operation, request)

    monkeypatch.setattr(dynamodb, "_make_api_call", call)
    return calls


def test_tallies_that_went_to_json_and_back_are_what_they_were() -> None:
    import msgspec

    day = Day(date(2026, 2, 28), "UTC")
    standing = Standing.begin(day, ["emails"], START)
    for number in range(200):
        standing.tallies["emails"].add(ended(number, day, history=('["failed",0,1,"E: 1"]',)), day)
    assert msgspec.json.decode(msgspec.json.encode(standing), type=Standing) == standing


def ended(number: int, day: Day, *, status: Status = Status.DONE, history: tuple[str, ...] = ()) -> Job:
    """A job that waited for its number in milliseconds, and ran for twice as long."""
    at = day.start + timedelta(minutes=number)
    started = at + timedelta(milliseconds=number)
    over = started + timedelta(milliseconds=2 * number)
    return Job(
        id=f"job-{number}",
        queue="emails",
        type="even" if number % 2 == 0 else "odd",
        status=status,
        created_at=at,
        scheduled_at=at,
        started_at=started,
        completed_at=over,
        attempts=1,
        history=history,
    )


def test_waits_and_runs_are_told_in_seconds_with_averages_and_percentiles() -> None:
    day, tally = Day(date(2026, 2, 28), "UTC"), Tally()
    for number in range(1, 101):
        tally.add(ended(number, day), day)
    told = tally.figures(24)
    assert told["wait"] == {"avg": 0.051, "p95": 0.095, "longest": 0.1}  # 50.5 ms, which rounds to the even digit
    assert told["run"] == {"avg": 0.101, "p95": 0.19, "longest": 0.2}
    assert [one["type"] for one in tally.slowest()] == ["even", "odd"]


@pytest.mark.parametrize("longest", [999, 1_000, 86_400_000, 31_622_776])
def test_a_percentile_is_right_to_three_digits(longest: int) -> None:
    durations = Durations()
    for _ in range(10):
        durations.add(longest)
    told = durations.told()
    assert told is not None
    assert abs(told["p95"] * 1000 - longest) <= longest * 0.005
    assert told["longest"] * 1000 == longest


def test_errors_of_one_kind_are_counted_together() -> None:
    one = "Unreachable: order 4711 at 0x7f00: 0197a000-0000-7000-8000-000000000001 did not answer\nTraceback"
    other = "Unreachable: order 12 at 0x1: 0197a000-0000-7000-8000-000000000002 did not answer"
    assert kind_of(one) == kind_of(other) == "Unreachable: order # at #: # did not answer"
    assert kind_of("") == "(no text)"
    assert kind_of("the facade was defaced") == "the facade was defaced"


def test_however_many_kinds_of_errors_there_are_a_tally_stays_small() -> None:
    day, tally = Day(date(2026, 2, 28), "UTC"), Tally()
    for number in range(2 * MOST_KINDS):
        letters = "".join(chr(ord("g") + int(digit)) for digit in str(number))
        tally.add(ended(number, day, status=Status.DEAD, history=(json.dumps(["failed", 0, 1, f"E{letters}"]),)), day)
    assert len(tally.errors) == MOST_KINDS + 1
    assert tally.errors[OTHER_ERRORS] == MOST_KINDS


def test_a_queue_that_forgets_its_jobs_within_the_day_is_named() -> None:
    day = Day(date(2026, 2, 28), "UTC")
    kept = {"short": 3600, "long": 7 * 86_400}
    told = day_figures(day, {"short": Tally(), "long": Tally()}, as_of=START, kept=kept)
    assert [queue["incomplete"] for queue in told["queues"]] == [True, False]
    assert "Not complete:" in page(told)


# The page


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.loads += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "style")]


def told_of(queue: str, error: str) -> dict[str, Any]:
    day, tally = Day(date(2026, 10, 25), "Europe/Berlin"), Tally()
    for number in range(60):
        failed = number % 5 == 0
        history = (json.dumps(["failed", 0, 1, error]),) if failed else ()
        tally.add(ended(number, day, status=Status.DEAD if failed else Status.DONE, history=history), day)
    return day_figures(day, {queue: tally, "idle": Tally()}, as_of=day.end, kept={queue: 10**6, "idle": 10**6})


def test_the_page_is_well_formed_needs_nothing_else_and_tells_charts_to_those_who_do_not_see_them() -> None:
    text = page(told_of("emails", "E: <script>alert(1)</script> & so on"))
    tree = ElementTree.fromstring(text.partition("\n")[2])  # noqa: S314  our own
    html, svg = "{http://www.w3.org/1999/xhtml}", "{http://www.w3.org/2000/svg}"
    charts = list(tree.iter(f"{svg}svg"))
    assert len(charts) == 2
    tags = Tags()
    tags.feed(text)
    assert len(set(tags.ids)) == len(tags.ids)
    assert (tags.loads, "script" in tags.names) == ([], False)
    for chart in charts:
        assert chart.attrib["role"] == "img"
        assert set(chart.attrib["aria-labelledby"].split()) <= set(tags.ids)
    assert all(table.find(f"{html}caption") is not None for table in tree.iter(f"{html}table"))
    assert tree.attrib["lang"] == "en"
    assert "prefers-color-scheme: dark" in text
    assert "E: &lt;script&gt;alert(#)&lt;/script&gt; &amp; so on" in text


def test_the_bars_of_a_chart_are_as_long_as_what_they_tell() -> None:
    figures = told_of("emails", "E")
    tree = ElementTree.fromstring(page(figures).partition("\n")[2])  # noqa: S314  our own
    chart = next(tree.iter("{http://www.w3.org/2000/svg}svg"))
    height: dict[str, float] = {}
    for bar in chart.iter("{http://www.w3.org/2000/svg}rect"):
        title = bar.find("{http://www.w3.org/2000/svg}title")
        if title is not None and title.text and title.text.startswith("00:00"):
            height[bar.attrib["class"]] = float(bar.attrib["height"])
    assert height["done"] == pytest.approx(4 * height["dead"], abs=0.5)
    assert "rest" not in height


def test_equal_figures_make_an_equal_page() -> None:
    assert page(told_of("emails", "E")) == page(told_of("emails", "E"))
