"""Records of ours, brought into a CRM that speaks HubSpot's batch API."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from functions.integrations.record_lines import LONGEST_LINE, LinesOfAnObject
from jobline import Context, NonRetryable, RetryAfter, Snooze, job
from jobline.context import SECRET_FRESH_FOR
from jobline.objects import place_of
from jobline.outgoing import Answer, Outgoing, Refused, Rules

CHUNK: Final = 100
"""Records of one request at most (https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/guide, "batch")."""
TOKEN: Final = "crm_token"  # noqa: S105  the secret's name
LARGEST_ANSWER: Final = 4 * 1024 * 1024
"""Bytes: a hundred records come back with all that the CRM knows of them."""
SECONDS_TO_ANSWER: Final = 30
LONGEST_WAIT_IN_PLACE: Final = 10.0
"""Seconds that a run waits for the CRM itself; for more than that the job is put off, and nothing runs."""
WAITS_IN_PLACE: Final = 3
A_LIMIT_OF_THE_DAY: Final = 3600.0

_REFUSED: Final = frozenset({400, 409, 413, 422})
"""Statuses that say something of the records: fewer of them may pass."""

Value = str | int | float | bool | None


class Record(msgspec.Struct, forbid_unknown_fields=True):
    id: Annotated[str, Meta(min_length=1, max_length=255, description="Your id of it: the value of `id_property`.")]
    properties: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=100)], Value],
        Meta(max_length=500, description="What to set, by the CRM's own names; what is left out stays as it is, null empties it."),
    ]


class SyncToCrm(msgspec.Struct, forbid_unknown_fields=True):
    object: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9_-]{1,64}(?![\s\S])", description="The CRM's name of what they are: `contacts`, `companies`, `2-3465404`."
        ),
    ]
    id_property: Annotated[
        str,
        Meta(
            pattern=r"^[a-z][a-z0-9_]{0,99}(?![\s\S])",
            description="The property, unique in the CRM, that holds your id: a record whose id is there is updated, any other is created.",
        ),
    ]
    records: Annotated[list[Record], Meta(max_length=1000, description="The records, when they are few; otherwise `source`.")] = []
    source: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1100)] | UnsetType,
        Meta(description="A file with such a record in each line (JSONL): a key under `crm/` in the data bucket, or `s3://bucket/key`."),
    ] = UNSET


class CrmUnavailable(Exception):
    """The CRM did not take the records this time."""


class Item(NamedTuple):
    """One record, or what is no record."""

    line: int
    """From 1 on."""
    end: int
    """Where the next begins, in bytes of the file."""
    record: Record | None
    problem: str = ""


@dataclass
class Done:
    """What a checkpoint puts down."""

    line: int = 0
    end: int = 0
    upserted: int = 0
    rejected: int = 0
    etag: str | None = None
    size: int = 0


@job("sync_to_crm", timeout=240, max_attempts=8, retry={"backoff": "exponential", "base_delay": 5000, "max_delay": 900_000})
def sync_to_crm(payload: SyncToCrm, ctx: Context) -> dict[str, Any]:
    """Creates or updates records in a CRM by your own ids, a hundred at a time; returns how many, and where the refused ones are listed.

    An upsert that is repeated changes nothing more, and after each hundred it is put down how far the work is, so that neither a crash
    nor a long file begins anew. Records that the CRM refuses, and lines that are none, are listed with line number and reason in files
    under `rejects`, and keep no other out. Of two records with the same id the later one wins.
    """
    if bool(payload.records) == (payload.source is not UNSET):
        raise NonRetryable("give either records or source")
    crm, done = _Crm(payload, ctx), Done(**(ctx.cursor or {}))
    items, total = _items(payload, ctx, done)
    prefix = f"crm/rejects/{ctx.idempotency_key}/"
    for chunk in _chunks(items):
        rejects = _upserted(crm, chunk, first=done.line == 0)
        if rejects:
            lines = "".join(json.dumps(reject, ensure_ascii=False) + "\n" for reject in rejects)
            # Under the same name whenever this chunk is done again.
            key = f"{prefix}{chunk[0].line:09}.jsonl"
            ctx.aws("s3").put_object(Bucket=ctx.bucket, Key=key, Body=lines.encode(), ContentType="application/x-ndjson")
        done.line, done.end = chunk[-1].line, chunk[-1].end
        done.upserted += len(chunk) - len(rejects)
        done.rejected += len(rejects)
        ctx.progress(min(100.0, 100 * done.end / total), f"{done.upserted} records are in the CRM, {done.rejected} were refused")
        ctx.checkpoint(asdict(done))
    counts = {"records": done.upserted + done.rejected, "upserted": done.upserted, "rejected": done.rejected}
    return {**counts, "rejects": {"bucket": ctx.bucket, "prefix": prefix} if done.rejected else None}


# ---------------------------------------------------------------------------------------------------- what is to be brought


def _items(payload: SyncToCrm, ctx: Context, done: Done) -> tuple[Iterator[Item], int]:
    """What comes after `done`, and the `end` of the last."""
    if payload.source is UNSET:
        rest = enumerate(payload.records[done.line :], start=done.line + 1)
        return (Item(line, line, record) for line, record in rest), len(payload.records)
    file = LinesOfAnObject(ctx, place_of(payload.source, ctx), etag=done.etag, size=done.size)
    done.etag, done.size = file.etag, file.size
    return _read(file, done), file.size


def _read(file: LinesOfAnObject, done: Done) -> Iterator[Item]:
    decoder = msgspec.json.Decoder(Record)
    for number, line in enumerate(file.read(done.end), start=done.line + 1):
        if line.text is None:
            yield Item(number, line.end, None, f"the line is longer than {LONGEST_LINE} bytes")
            continue
        try:
            record = decoder.decode(line.text) if line.text.strip() else None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            yield Item(number, line.end, None, str(error))
        else:
            if record is not None:
                yield Item(number, line.end, record)


def _chunks(items: Iterator[Item]) -> Iterator[list[Item]]:
    """At most a hundred each; never two records with one id in the same, which the CRM would refuse with all the others."""
    chunk: list[Item] = []
    ids: set[str] = set()
    for item in items:
        if len(chunk) == CHUNK or (item.record is not None and item.record.id in ids):
            yield chunk
            chunk, ids = [], set()
        chunk.append(item)
        if item.record is not None:
            ids.add(item.record.id)
    if chunk:
        yield chunk


# ---------------------------------------------------------------------------------------------------- how it is brought


Reject = dict[str, Any]


def _upserted(crm: _Crm, chunk: list[Item], *, first: bool) -> list[Reject]:
    """Brings a chunk into the CRM; answers what of it was refused. Raises NonRetryable when nothing of a whole first one was taken."""
    bad = [_reject(item, item.problem) for item in chunk if item.record is None]
    good = [item for item in chunk if item.record is not None]
    refused = crm.upsert(good)
    if first and len(good) == CHUNK == len(refused):
        raise NonRetryable(f"the CRM took none of the first {CHUNK} records: {refused[0]['reason']}")
    return sorted(bad + refused, key=lambda reject: int(reject["line"]))


def _reject(item: Item, reason: str) -> Reject:
    return {"line": item.line, "id": None if item.record is None else item.record.id, "reason": reason}


class _Crm:
    """The CRM's batch API, as one job uses it."""

    def __init__(self, payload: SyncToCrm, ctx: Context) -> None:
        self._ctx = ctx
        self._id_property = payload.id_property
        base = ctx.setting("CRM_API_BASE", "https://api.hubapi.com").rstrip("/")
        self._url = f"{base}/crm/v3/objects/{payload.object}/batch/upsert"
        self._headers = {"Authorization": f"Bearer {ctx.secret(TOKEN)}", "Content-Type": "application/json", "Accept": "application/json"}
        self._out = Outgoing(Rules.of(ctx.stage, ctx.setting("ALLOWED_LOOPBACK_PORTS", "")))

    def upsert(self, items: list[Item]) -> list[Reject]:
        """Creates or updates the records; answers those that were refused, each with the CRM's reason."""
        if not items:
            return []
        answer = self._post(items)
        if answer.status in _REFUSED:
            if len(items) == 1:
                return [_reject(items[0], _message(answer))]
            # One record can have the whole batch refused, and the answer need not say which.
            half = len(items) // 2
            return self.upsert(items[:half]) + self.upsert(items[half:])
        return self._refused(items, answer) if answer.status == 207 else []

    def _refused(self, items: list[Item], answer: Answer) -> list[Reject]:
        """What of a batch that was taken in part was not taken (207): whatever is not among the results."""
        document = _document(answer)
        taken = {result.get("objectWriteTraceId") for result in document.get("results", ())}
        reasons = {
            trace: error.get("message", "")
            for error in document.get("errors", ())
            for trace in error.get("context", {}).get("objectWriteTraceId", ())
        }
        return [_reject(item, reasons.get(str(item.line)) or "the CRM did not say why") for item in items if str(item.line) not in taken]

    def _post(self, items: list[Item]) -> Answer:
        """The CRM's answer when it says something of the records. Raises what becomes of the job when it does not."""
        inputs = [
            {
                "idProperty": self._id_property,
                "id": item.record.id,
                "properties": item.record.properties,
                "objectWriteTraceId": str(item.line),  # asks for a 207 that says what became of each
            }
            for item in items
            if item.record is not None
        ]
        body = msgspec.json.encode({"inputs": inputs})
        for waits_left in reversed(range(WAITS_IN_PLACE + 1)):
            try:
                answer = self._out.request(
                    "POST", self._url, body=body, headers=self._headers, timeout=SECONDS_TO_ANSWER, largest=LARGEST_ANSWER
                )
            except Refused as error:
                raise NonRetryable(f"CRM_API_BASE: {error.detail}") from error
            if answer.status in _REFUSED or 200 <= answer.status < 300:
                return answer
            if answer.status not in (423, 429, 477):
                raise self._failure(answer)
            self._wait(answer, in_place=waits_left > 0)
        raise AssertionError("the last wait does not return")

    def _wait(self, answer: Answer, *, in_place: bool) -> None:
        """Waits as long as the CRM asks for; puts the job off when that is long, which spends no attempt."""
        wait = answer.retry_after(self._ctx.clock())
        if wait is None:
            # A lock lasts two seconds and the common limit counts ten (https://developers.hubspot.com/docs/api-reference/error-handling,
            # https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines).
            daily = _document(answer).get("policyName") == "DAILY"
            wait = 2.0 if answer.status == 423 else A_LIMIT_OF_THE_DAY if daily else 10.0
        if not in_place or wait > LONGEST_WAIT_IN_PLACE or wait + SECONDS_TO_ANSWER * 2 > self._ctx.remaining():
            raise Snooze(max(1.0, min(wait, 86_400)), f"the CRM asks for time: {_message(answer)}")
        time.sleep(wait)

    def _failure(self, answer: Answer) -> Exception:
        reason = f"the CRM answered {answer.status}: {_message(answer)}"
        if answer.status == 401:
            return RetryAfter(SECRET_FRESH_FOR.total_seconds(), f"the secret {TOKEN} is no token that the CRM takes: {reason}")
        if answer.status < 500 and answer.status not in (408, 425):
            return NonRetryable(reason)
        wait = answer.retry_after(self._ctx.clock())
        return CrmUnavailable(reason) if wait is None else RetryAfter(min(wait, 86_400), reason)


def _document(answer: Answer) -> dict[str, Any]:
    """The answer's JSON object, empty when it is none."""
    if answer.truncated:
        raise CrmUnavailable(f"the CRM's answer has more than {LARGEST_ANSWER} bytes")
    try:
        document = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _message(answer: Answer) -> str:
    return str(_document(answer).get("message") or answer.text)[:500]
