"""A job as the API answers it: the bare job, every field of the record that is the client's business, `null` until known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from jobline.job import FAR_FUTURE, Job
from jobline.occurrence import Occurrence
from jobline.payloads import Bodies
from jobline.secret_fields import HIDDEN, hide
from jobline.times import format_instant
from jobline.types import TypeInfo

LARGEST_INLINE: Final = 1_000_000
"""Bytes of payload, and again of result, that an answer carries itself; what is larger is answered as a link."""
LINK_SECONDS: Final = 15 * 60
_NULL: Final = msgspec.Raw(b"null")


class Shown(NamedTuple):
    """A body as an answer carries it: its JSON text, or a link to it."""

    text: str | None = None
    url: str | None = None


def job_document(job: Job, payload: Shown, result: Shown) -> dict[str, Any]:
    """The job with these bodies, ready for `encode`."""
    document: dict[str, Any] = {
        "id": job.id,
        "queue": job.queue,
        "type": job.type,
        "payload": _raw(payload.text),
        "priority": job.priority,
        "status": job.status.value,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "scheduled_at": format_instant(job.scheduled_at),
        "started_at": _instant(job.started_at),
        "completed_at": _instant(job.completed_at),
        "error": job.error,
        "result": _raw(result.text),
        "created_at": format_instant(job.created_at),
        "expires_at": None if job.expires_at == FAR_FUTURE else format_instant(job.expires_at),
        "timeout": job.timeout,
        "retry": _raw(job.retry),
        "group": job.group,
        "ordering_key": job.ordering_key,
        "unique": _raw(job.unique),
        "tags": job.tags,
        "progress": _raw(job.progress),
        "cancel_requested": job.cancel_requested,
        "parent_id": job.parent_id,
        "batch_id": job.batch_id,
        "callback_url": without_query(job.callback_url),
        "reply_to": job.reply_to,
        "occurrence": None if job.occurrence is None else Occurrence.of(job.occurrence).document(),
    }
    if payload.url is not None:
        document["payload_url"] = payload.url
    if result.url is not None:
        document["result_url"] = result.url
    return document


def whole_document(job: Job, bodies: Bodies, kind: TypeInfo | None, *, payload: str | None = None) -> dict[str, Any]:
    """The job with its payload and result, brought from where they are kept; `null` and `payload_url` or `result_url` when large.

    `payload` is its text, if the caller has it, so that it need not be read back. `kind` says which of its fields are secret, and
    so hidden; when nobody knows the type any more (`None`), all are. A large one with secrets is not answered at all: `omitted` says so.
    """
    result = _shown(job.result, job.result_ref, bodies)
    if job.payload_ref is not None and _has_secrets(kind) and bodies.size(job.payload_ref) > LARGEST_INLINE:
        return job_document(job, Shown(), result) | {"omitted": ["payload"]}
    shown = _shown(job.payload, job.payload_ref, bodies, payload)
    return job_document(job, shown._replace(text=without_secrets(shown.text, kind)), result)


def short_document(job: Job, kind: TypeInfo | None) -> dict[str, Any]:
    """The job as lists have it: a body that is kept apart is `null`, and `omitted` names it. `kind` as in `whole_document`."""
    document = job_document(job, Shown(without_secrets(job.payload, kind)), Shown(job.result))
    omitted = [name for name, reference in (("payload", job.payload_ref), ("result", job.result_ref)) if reference is not None]
    return document | {"omitted": omitted} if omitted else document


def encode(document: Mapping[str, Any]) -> str:
    """An answer as JSON text; stored bodies go in byte for byte."""
    return msgspec.json.encode(document).decode()


def _shown(inline: str | None, reference: str | None, bodies: Bodies, known: str | None = None) -> Shown:
    if reference is not None and bodies.size(reference) > LARGEST_INLINE:
        return Shown(url=bodies.link(reference, seconds=LINK_SECONDS))
    return Shown(known or bodies.load(inline, reference))


def _has_secrets(kind: TypeInfo | None) -> bool:
    return kind is None or kind.secret


def without_secrets(text: str | None, kind: TypeInfo | None) -> str | None:
    """A payload's JSON text as it may be shown; of a type that nobody knows, nothing is."""
    if text is None or not _has_secrets(kind):
        return text
    return f'"{HIDDEN}"' if kind is None else hide(text, kind.schema)


def without_query(url: str | None) -> str | None:
    """A URL as it may be shown: what comes after its `?` may be a token."""
    if url is None or "?" not in url:
        return url
    return f"{url.partition('?')[0]}?{HIDDEN}"


def _raw(text: str | None) -> msgspec.Raw:
    return _NULL if text is None else msgspec.Raw(text.encode())


def _instant(at: datetime | None) -> str | None:
    return None if at is None else format_instant(at)
