"""The report of a day: how each queue fared, as a page, as a PDF, and by mail."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from functions.scheduled.figures import Day, Place, Standing, day_figures
from functions.scheduled.report_page import page
from jobline import Context, NonRetryable, Snooze, job
from jobline.errors import InvalidRequest
from jobline.job import Status
from jobline.record_reader import RecordReader
from jobline.store import Key
from jobline.times import format_instant, from_milliseconds, parse_instant, to_milliseconds

SETTLED: Final = timedelta(minutes=15)
"""A day is counted so long after its end: every job of it is in the index by then, whatever the api, the index or a clock took (R6)."""
AT_ONCE: Final = 100
"""Records that one call reads."""
CHECKPOINT_EVERY: Final = timedelta(seconds=2)
PDF_PATIENCE: Final = timedelta(minutes=30)
"""How long the mail waits for the PDF; then it goes without."""
QUEUES_IN_MAIL: Final = 50
PDF_NAME: Final = "daily-report.pdf"

QueueName = Annotated[str, Meta(max_length=64, pattern=r"^[a-z][a-z0-9_-]*(?![\s\S])")]
Address = Annotated[str, Meta(min_length=1, max_length=320)]


class DailyReport(msgspec.Struct, forbid_unknown_fields=True):
    timezone: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            description="The time zone whose day it is, by its name in the tz database, such as `Europe/Berlin`.",
        ),
    ] = "UTC"
    queues: Annotated[list[QueueName], Meta(max_length=200, description="The queues that are told of; without any, all of them.")] = []
    day: Annotated[
        Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}(?![\s\S])")] | UnsetType,
        Meta(
            description="The day, YYYY-MM-DD, which must be over; without it the day before the run of the schedule that this job is, or "
            "before it first runs."
        ),
    ] = UNSET
    to: Annotated[
        list[Address], Meta(max_length=50, description="Addresses that the report is mailed to; without any it is only stored.")
    ] = []
    subject: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^(?![\s\S]*[\r\n])")] | UnsetType,
        Meta(description="Subject line of the mail; without it `Jobline on` and the day."),
    ] = UNSET


@job("daily_report", timeout=570, max_attempts=5, retry={"backoff": "exponential", "base_delay": 5000, "max_delay": 300_000})
def daily_report(payload: DailyReport, ctx: Context) -> dict[str, Any]:
    """Counts a day's jobs, stores the figures as JSON and as a page in S3, and has a PDF and a mail made of them by other jobs.

    Each of them is made once: figures are counted from checkpoint to checkpoint, as of the moment at which that began; objects have keys of
    this job's; PDF and mail are its children. The mail waits for the PDF, and goes without it, and says so, when that cannot be made.
    """
    records = ctx.tools.records
    if records is None:
        raise NonRetryable("this context reads no records: it was made without records=")
    step = Step(**ctx.cursor) if ctx.cursor else Step(day=_day(payload, ctx).on.isoformat())
    if not ctx.cursor:
        step.put_down(ctx)  # every run of this job means the same day
    day = Day(date.fromisoformat(step.day), payload.timezone)
    _wait_for_the_end(day, ctx)
    if not step.counted:
        standing = _count(_queues(payload, records), day, step, records, ctx)
        _store(standing, day, step, records, ctx)
    if not step.asked_at:
        _ask_for_pdf(step, ctx)
    if not step.settled:
        _wait_for_pdf(step, records, ctx)
    if not step.told:
        _mail(payload, step, ctx)
    # Counted, stored and told: nobody needs the tallies any more.
    ctx.aws("s3").delete_object(Bucket=ctx.bucket, Key=_standing_key(ctx))
    return {
        "day": step.day,
        "timezone": payload.timezone,
        **{name: step.total[name] for name in ("enqueued", "done", "dead", "cancelled", "expired", "open")},
        "html": _key(step, ctx, "report.html"),
        "figures": _key(step, ctx, "figures.json"),
        "pdf": step.pdf or None,
        "pdf_job": step.pdf_job or None,
        "mail_job": step.mail_job or None,
        "note": step.note,
    }


class Step(msgspec.Struct):
    """How far the report has come: what its checkpoints keep."""

    day: str
    pages: int = 0
    """Pages of records that were counted: no two checkpoints are equal."""
    counted: bool = False
    total: dict[str, int] = {}
    asked_at: str = ""
    """When the PDF was asked for."""
    pdf_job: str = ""
    settled: bool = False
    pdf: str = ""
    """The PDF's key, when there is one."""
    note: str = ""
    """Why there is none."""
    told: bool = False
    mail_job: str = ""

    def put_down(self, ctx: Context) -> None:
        ctx.checkpoint(msgspec.to_builtins(self))


# ---------------------------------------------------------------------------------------------------- which day


def _day(payload: DailyReport, ctx: Context) -> Day:
    """The day that is meant. Raises NonRetryable for one that does not exist or a zone that does not."""
    from jobline.timetable import read_timezone

    try:
        zone = read_timezone(payload.timezone)
    except ValueError as error:
        raise NonRetryable(f"timezone {error}") from None
    before = Day.before(ctx.occurrence or ctx.clock(), zone)
    if payload.day is UNSET:
        return before
    try:
        day = Day(date.fromisoformat(payload.day), zone)
        day.start, day.end  # noqa: B018  the last day of the calendar has no end
    except (ValueError, OverflowError) as error:
        raise NonRetryable(f"day: {payload.day} is no day: {error}") from None
    if day.start >= ctx.clock():
        raise NonRetryable(f"day: {payload.day} has not begun in {zone}")
    if day.end > ctx.clock():
        raise NonRetryable(f"day: {payload.day} is not over in {zone}; {before.on} is the last day that is")
    return day


def _wait_for_the_end(day: Day, ctx: Context) -> None:
    """Puts the job off until every job of the day is to be found."""
    wait = (day.end + SETTLED - ctx.clock()).total_seconds()
    if wait > 0:
        raise Snooze(wait)


def _queues(payload: DailyReport, records: RecordReader) -> list[str]:
    unknown = [name for name in payload.queues if name not in records.queues]
    if unknown:
        raise NonRetryable(f"queues: there is no queue {unknown[0]!r}; there are {', '.join(records.queues)}")
    return sorted(set(payload.queues)) or list(records.queues)


# ---------------------------------------------------------------------------------------------------- counting


def _count(queues: list[str], day: Day, step: Step, records: RecordReader, ctx: Context) -> Standing:
    """Everything counted: each record of the day is read once, unless a run was killed before its checkpoint."""
    standing = _stored(ctx) or Standing.begin(day, queues, ctx.clock())
    put_down_at = ctx.clock()
    place = standing.place
    while place.queue < len(standing.queues):
        queue = standing.queues[place.queue]
        parts = records.parts(queue)
        after = None if place.after is None else Key(place.after[0], from_milliseconds(place.after[1]))
        until = day.end - timedelta(milliseconds=1)
        keys = records.walk(parts[place.part], after=after, since=day.start, until=until, limit=AT_ONCE)
        for found in records.get_many([key.id for key in keys]).values() if keys else ():
            if not found.gone(standing.began):
                standing.tallies[queue].add(found, day)
        standing.place = place = _next(place, keys, len(parts))
        step.pages += 1
        if ctx.clock() - put_down_at >= CHECKPOINT_EVERY:
            put_down_at = ctx.clock()
            _keep(standing, ctx)
            ctx.progress(90 * place.queue / len(standing.queues), f"counting {queue}")
            step.put_down(ctx)
    return standing


def _next(place: Place, keys: tuple[Key, ...], parts: int) -> Place:
    if len(keys) == AT_ONCE:
        return Place(place.queue, place.part, (keys[-1].id, to_milliseconds(keys[-1].at)))
    return Place(place.queue, place.part + 1) if place.part + 1 < parts else Place(place.queue + 1)


def _standing_key(ctx: Context) -> str:
    return f"temporary/reports/{ctx.id}.json"


def _keep(standing: Standing, ctx: Context) -> None:
    """Writes place and tallies in one: whoever reads them counts on from there, and nothing twice."""
    ctx.aws("s3").put_object(Bucket=ctx.bucket, Key=_standing_key(ctx), Body=msgspec.json.encode(standing))


def _stored(ctx: Context) -> Standing | None:
    from botocore.exceptions import ClientError

    try:
        body = ctx.aws("s3").get_object(Bucket=ctx.bucket, Key=_standing_key(ctx))["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise
    return msgspec.json.decode(body, type=Standing)


# ---------------------------------------------------------------------------------------------------- what comes of it


def _key(step: Step, ctx: Context, name: str) -> str:
    return f"reports/{step.day}/{ctx.id}/{name}"


def _store(standing: Standing, day: Day, step: Step, records: RecordReader, ctx: Context) -> None:
    """Stores figures and page. The tallies are kept first, so that an attempt that comes again stores the same."""
    _keep(standing, ctx)
    kept = {name: records.kept(name) for name in standing.queues}
    figures = day_figures(day, standing.tallies, as_of=standing.began, kept=kept)
    s3 = ctx.aws("s3")
    for name, body, kind in (
        ("figures.json", msgspec.json.encode(figures), "application/json"),
        ("report.html", page(figures).encode(), "text/html; charset=utf-8"),
    ):
        s3.put_object(Bucket=ctx.bucket, Key=_key(step, ctx, name), Body=body, ContentType=kind)
    step.total = {name: count for name, count in figures["total"].items() if isinstance(count, int)}
    step.counted = True
    step.put_down(ctx)


def _ask_for_pdf(step: Step, ctx: Context) -> None:
    queue = ctx.setting("DOCUMENTS_QUEUE", "")
    if queue:
        wanted = {"template": "daily_report", "data_source": _key(step, ctx, "figures.json"), "name": PDF_NAME}
        try:
            step.pdf_job = ctx.enqueue("pdf_generate", wanted, queue=queue, key="pdf")
        except InvalidRequest as error:
            step.note = f"there is no PDF: {error}"[:300]
    else:
        step.note = "there is no PDF: DOCUMENTS_QUEUE names no queue that makes one"
    step.settled = not step.pdf_job
    step.asked_at = format_instant(ctx.clock())
    step.put_down(ctx)


def _wait_for_pdf(step: Step, records: RecordReader, ctx: Context) -> None:
    """Looks what became of the PDF; puts the job off while it is being made."""
    made, waited = records.get(step.pdf_job), ctx.clock() - parse_instant(step.asked_at)
    if made is not None and made.status is Status.DONE:
        step.pdf = f"results/{step.pdf_job}/{PDF_NAME}"
    elif made is not None and not made.over and waited < PDF_PATIENCE:
        raise Snooze(min(max(waited.total_seconds() / 2, 1), 60), "the PDF is being made")
    else:
        became = "is gone" if made is None else f"is {made.status.value}" if made.over else "is not over"
        step.note = f"there is no PDF: job {step.pdf_job}, which makes it, {became}"
    step.settled = True
    step.put_down(ctx)


def _mail(payload: DailyReport, step: Step, ctx: Context) -> None:
    if payload.to:
        figures = _figures(step, ctx)
        data = {
            "subject": f"Jobline on {step.day}" if payload.subject is UNSET else payload.subject,
            **{name: figures[name] for name in ("day", "timezone", "as_of", "total")},
            "queues": figures["queues"][:QUEUES_IN_MAIL],
            "more": max(0, len(figures["queues"]) - QUEUES_IN_MAIL),
            "note": step.note,
            "place": f"s3://{ctx.bucket}/{_key(step, ctx, 'report.html')}",
        }
        mail: dict[str, Any] = {"to": payload.to, "template": "daily_report", "data": data}
        if step.pdf:
            mail["attachments"] = [{"source": step.pdf, "name": f"jobline-{step.day}.pdf"}]
        try:
            step.mail_job = ctx.enqueue("send_email", mail, queue=ctx.setting("EMAILS_QUEUE", "emails"), key="mail")
        except InvalidRequest as error:
            raise NonRetryable(f"the report is stored, and cannot be mailed: {error}") from error
    step.told = True
    step.put_down(ctx)


def _figures(step: Step, ctx: Context) -> Any:
    """The figures as they were stored, without the hours, which no mail shows."""
    body = ctx.aws("s3").get_object(Bucket=ctx.bucket, Key=_key(step, ctx, "figures.json"))["Body"].read()
    figures = msgspec.json.decode(body)
    for one in (figures["total"], *figures["queues"]):
        del one["hours"]
    return figures
