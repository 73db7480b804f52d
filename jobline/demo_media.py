"""The demo's jobs that make files: what is asked for, and what has to come of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from jobline.demo_jobs import Act, Json, expect

INVOICE: Final[Json] = {
    "number": "2026-0042",
    "date": "2026-11-24",
    "currency": "EUR",
    "tax_rate": 19,
    "seller": {"name": "Babbage & Co", "address": "1 Dorset Street\nLondon"},
    "buyer": {"name": "Ada Lovelace", "address": "12 St James's Square\nLondon"},
    "items": [{"description": "Cog wheel", "quantity": 3, "unit_price": 33333}],
}


def acts(read_object: Callable[[str], bytes]) -> list[Act]:
    """`read_object` reads an object of the data bucket by its key."""
    return [
        Act(
            request={
                "queue": "documents",
                "type": "pdf_generate",
                "payload": {"template": "invoice", "data": INVOICE, "name": "invoice.pdf"},
            },
            attempts=1,
            result=lambda job: _document_is_there(job, read_object),
        ),
    ]


def _document_is_there(job: Json, read_object: Callable[[str], bytes]) -> str:
    said = job["result"]
    pdf = read_object(said["key"])
    expect(pdf.startswith(b"%PDF-") and hashlib.sha256(pdf).hexdigest() == said["sha256"], f"pdf_generate left something else: {said}")
    return f"invoice.pdf, {said['pages']} page, {said['bytes']:,} bytes"
