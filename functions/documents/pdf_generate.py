"""PDF documents, from a template and data."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from functions.documents.typesetting import typeset
from jobline import Context, NonRetryable, job
from jobline.objects import Source, place_of, read_object

TEMPLATES: Final = Path(__file__).with_name("templates")
LARGEST_TEMPLATE: Final = 1024 * 1024
"""Bytes of a template in S3."""
LARGEST_DATA: Final = 10 * 1024 * 1024
"""Bytes of data in S3."""
TO_STORE: Final = 5.0
"""Seconds of the job's time that are kept for what follows the typesetting."""

TemplateName = Annotated[str, Meta(max_length=1100, pattern=r"^([a-z][a-z0-9_-]{0,63}|[^\x00-\x1f]+\.typ)(?![\s\S])")]
FileName = Annotated[str, Meta(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.pdf(?![\s\S])")]


class PdfGenerate(msgspec.Struct, forbid_unknown_fields=True):
    template: Annotated[
        TemplateName,
        Meta(
            description="`invoice`, `letter` or `report`, or a template of yours in S3, written for Typst: a key of the data bucket, or "
            "`s3://bucket/key`, that ends in `.typ`; 1 MiB at most."
        ),
    ]
    data: Annotated[
        dict[str, Any] | UnsetType, Meta(description="What the template tells; it reads it as `json(bytes(sys.inputs.data))`.")
    ] = UNSET
    data_source: Annotated[
        Source | UnsetType,
        Meta(description="Instead of `data`: a JSON object in S3, 10 MiB at most; a key of the data bucket, or `s3://bucket/key`."),
    ] = UNSET
    name: Annotated[FileName, Meta(description="The file's name: the last part of the result's key.")] = "document.pdf"
    standard: Annotated[
        Literal["1.7", "2.0", "a-2b", "a-3b", "ua-1"],
        Meta(description="PDF version, or what the file must conform to: `a-2b` and `a-3b` are for archives, `ua-1` is accessible."),
    ] = "1.7"


@job("pdf_generate", timeout=60, max_attempts=3, retry={"backoff": "exponential"})
def pdf_generate(payload: PdfGenerate, ctx: Context) -> dict[str, Any]:
    """Sets a document from a template and data; returns where the PDF is, its pages and its SHA-256.

    The same job always makes the same bytes (its date is the job's own) at the same key, so an attempt that comes again changes nothing.
    A template can open no file and no connection; data is never part of its code.
    """
    template, data = _template(payload.template, ctx), _data(payload, ctx)
    ctx.progress(10, "template and data are here")
    made = typeset(template, data, made_at=ctx.created_at, standard=payload.standard, seconds=max(1.0, ctx.remaining() - TO_STORE))
    ctx.progress(90, f"{made.pages} pages are set")
    key = f"results/{ctx.id}/{payload.name}"
    ctx.aws("s3").put_object(Bucket=ctx.bucket, Key=key, Body=made.pdf, ContentType="application/pdf")
    return {
        "bucket": ctx.bucket,
        "key": key,
        "pages": made.pages,
        "bytes": len(made.pdf),
        "sha256": hashlib.sha256(made.pdf).hexdigest(),
        "warnings": made.warnings,
    }


def _template(name: str, ctx: Context) -> str:
    if not name.endswith(".typ"):
        # The pattern lets through no path: a name has no dot and no slash.
        path = TEMPLATES / f"{name}.typ"
        if not path.exists():
            known = ", ".join(sorted(path.stem for path in TEMPLATES.glob("*.typ")))
            raise NonRetryable(f"there is no template {name!r}; there are {known}, and those of S3, whose names end in .typ")
        return path.read_text(encoding="utf-8")
    try:
        return read_object(ctx, name, most=LARGEST_TEMPLATE).decode()
    except UnicodeDecodeError as error:
        raise NonRetryable(f"{place_of(name, ctx)} is no template: {error}") from error


def _data(payload: PdfGenerate, ctx: Context) -> str:
    """The data as JSON text."""
    if payload.data_source is UNSET:
        return json.dumps({} if payload.data is UNSET else payload.data, ensure_ascii=False)
    if payload.data is not UNSET:
        raise NonRetryable("data is given together with data_source: one of them is enough")
    text = read_object(ctx, payload.data_source, most=LARGEST_DATA)
    try:
        if not isinstance(json.loads(text), dict):
            raise ValueError("it is no object")
        return text.decode()
    except (ValueError, RecursionError) as error:
        raise NonRetryable(f"data_source: {place_of(payload.data_source, ctx)} is no JSON object: {error}") from error
