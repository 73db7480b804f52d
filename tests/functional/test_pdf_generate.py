"""Documents out of templates and data, into S3 (moto's)."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from pypdf import PdfReader

from functions.documents import pdf_generate as module
from functions.documents import typesetting
from functions.documents.pdf_generate import PdfGenerate, pdf_generate
from jobline import NonRetryable
from jobline.errors import InvalidJob
from jobline.registry import Registry
from jobline.testing import TrialDeployment, make_context
from tests.aws import REGION, client

BUCKET = "data"
REGISTRY = Registry([pdf_generate])
PARTIES = {"seller": {"name": "Babbage & Co", "address": "1 Dorset St\nLondon"}, "buyer": {"name": "Ada", "address": "12 St James's Sq"}}
INVOICE = {
    "number": "2026-0042",
    "date": "2026-11-24",
    "currency": "EUR",
    "tax_rate": 19,
    **PARTIES,
    "items": [{"description": "Cog wheel", "quantity": 3, "unit_price": 33333}, {"description": "Oil", "quantity": 0.5, "unit_price": 999}],
}
LETTER = {
    "sender": PARTIES["seller"],
    "recipient": PARTIES["buyer"],
    "subject": "The engine",
    "body": "It runs.\n\nCome and see.",
    "date": "today",
}
REPORT = {
    "title": "Queues",
    "contents": True,
    "sections": [
        {
            "heading": "Yesterday",
            "text": "All was well.",
            "table": {"columns": ["queue", "done"], "rows": [["emails", 12], ["images", 3.5]]},
        },
        {"heading": "Chart", "chart": [{"label": "emails", "value": 12}, {"label": "images", "value": 0}]},
        {"heading": "Picture", "svg": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'},
    ],
}


@cache
def s3_client() -> Any:
    """Made once: making a client takes longer than a test."""
    return client("s3")


class Documents:
    """The data bucket: `put` templates and data, `make` documents, read what came of it."""

    def __init__(self) -> None:
        self.s3 = s3_client()
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def put(self, key: str, body: bytes | str) -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return key

    def make(self, template: str, *, timeout: int = 60, **payload: Any) -> Any:
        """`template` is the name of one, or Typst."""
        if " " in template or "#" in template:
            template = self.put("templates/own.typ", template)
        ctx = make_context("pdf_generate", client={"s3": self.s3}.__getitem__, bucket=BUCKET, timeout=timeout)
        return pdf_generate(PdfGenerate(template=template, **payload), ctx)

    def body(self, result: Any) -> bytes:
        return bytes(self.s3.get_object(Bucket=result["bucket"], Key=result["key"])["Body"].read())

    def text(self, result: Any) -> str:
        return "\n".join(page.extract_text() for page in PdfReader(BytesIO(self.body(result))).pages)

    @property
    def results(self) -> dict[str, str]:
        """ETag by key."""
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix="results/").get("Contents", [])
        return {item["Key"]: item["ETag"] for item in listed}


@pytest.fixture
def documents() -> Iterator[Documents]:
    with mock_aws():
        yield Documents()


@pytest.fixture
def jobline_options(documents: Documents) -> dict[str, Any]:
    return {"client": {"s3": documents.s3}.__getitem__, "bucket": BUCKET}


# What is made


def test_an_invoice_adds_up_to_the_last_cent(documents: Documents) -> None:
    result = documents.make("invoice", data=INVOICE)
    text = documents.text(result)
    # 3 x 333.33 + 5.00 (half of 9.99, rounded), and 19 % of that.
    for part in ("2026-0042", "Babbage & Co", "Ada", "999.99", "5.00", "1,004.99", "190.95", "1,195.94"):
        assert part in text
    assert (result["pages"], result["warnings"]) == (1, [])


def test_a_letter_has_all_that_was_said(documents: Documents) -> None:
    text = documents.text(documents.make("letter", data=LETTER))
    for part in ("The engine", "It runs.", "Come and see.", "Ada", "London", "Yours sincerely"):
        assert part in text


def test_a_report_has_tables_charts_and_pictures(documents: Documents) -> None:
    result = documents.make("report", data=REPORT)
    text = documents.text(result)
    for part in ("Queues", "Yesterday", "All was well.", "emails", "3.5", "Picture"):
        assert part in text


def test_the_result_says_what_is_stored(documents: Documents) -> None:
    result = documents.make("= Own\n#pagebreak()\n#pagebreak()\nEnd", name="three.pdf")
    body = documents.body(result)
    assert result["key"].endswith("/three.pdf")
    assert (result["pages"], result["bytes"], result["sha256"]) == (3, len(body), hashlib.sha256(body).hexdigest())
    assert documents.s3.head_object(Bucket=BUCKET, Key=result["key"])["ContentType"] == "application/pdf"


def test_data_may_come_from_s3(documents: Documents) -> None:
    source = documents.put("documents/invoice.json", json.dumps(INVOICE))
    assert "1,195.94" in documents.text(documents.make("invoice", data_source=source))


def test_fonts_are_embedded_and_one_that_is_not_there_is_a_warning(documents: Documents) -> None:
    result = documents.make('#set text(font: "Comic Sans MS")\nHello')
    assert "Hello" in documents.text(result)
    assert "comic sans ms" in result["warnings"][0]
    (page,) = PdfReader(BytesIO(documents.body(result))).pages
    fonts = page["/Resources"]["/Font"].values()  # type: ignore[index]
    descriptors = [font.get_object()["/DescendantFonts"][0]["/FontDescriptor"] for font in fonts]
    assert all({"/FontFile2", "/FontFile3"} & set(descriptor) for descriptor in descriptors)


@pytest.mark.parametrize("standard", ["1.7", "2.0", "a-2b", "a-3b", "ua-1"])
def test_every_standard_can_be_asked_for(documents: Documents, standard: str) -> None:
    assert documents.make("letter", data=LETTER, standard=standard)["pages"] == 1


# What the queue asks of a handler


def test_a_worker_that_dies_after_the_work_leaves_one_document_with_the_same_bytes(jobs: TrialDeployment, documents: Documents) -> None:
    jobs.crash_next(pdf_generate)
    job = jobs.enqueue(PdfGenerate(template="invoice", data=INVOICE))
    jobs.drain()
    (before,) = documents.results.items()
    jobs.advance("5m")
    assert (job.status, job.attempts) == ("done", 2)
    assert documents.results == dict([before])
    assert documents.body(job.result)[:5] == b"%PDF-"


# What a template may not


@pytest.mark.parametrize("text", ["#emph[x]", '"); #panic("out")', "\\#{1+1} $x$ */ // @ref <label> `raw`", "\u202e\u0000\x1b"])
def test_data_is_never_code(documents: Documents, text: str) -> None:
    own = "#let data = json(bytes(sys.inputs.data))\n#assert.eq(data.said.len(), int(data.size))\n#data.said.len() bytes"
    size = str(len(text.encode()))
    assert f"{size} bytes" in documents.text(documents.make(own, data={"said": text, "size": size}))


def test_what_looks_like_markup_is_printed_as_it_stands(documents: Documents) -> None:
    said = "#panic(1) *not bold* $x$"
    assert said in documents.text(documents.make("letter", data=LETTER | {"body": said}))


@pytest.mark.parametrize(
    "own",
    [
        '#read("/etc/passwd")',
        '#read("../../../../etc/passwd")',
        '#read("/proc/self/environ")',
        '#image("https://example.com/x.png")',
        '#import "@preview/cetz:0.3.0": canvas',
        '#import "@local/any:1.0.0": it',
        '#include "other.typ"',
    ],
)
def test_a_template_opens_no_file_and_no_connection(documents: Documents, own: str) -> None:
    with pytest.raises(NonRetryable, match="line 1, column"):
        documents.make(own)
    assert documents.results == {}


def test_the_kernel_itself_refuses_any_file(documents: Documents, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Even one inside the folder that Typst may read."""
    (tmp_path / "inside.txt").write_text("secret")

    @contextmanager
    def folder() -> Iterator[str]:
        yield str(tmp_path)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", folder)
    with pytest.raises(NonRetryable, match=r"(?i)too many open files|os error 24|failed to load file"):
        documents.make('#read("inside.txt")')


# What cannot be set


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ("one\n#foo(", "line 2, column 5: unclosed delimiter"),
        ("#let x = (:)\n\n#x.missing", 'line 3, column 4: dictionary does not contain key "missing"'),
        ("#while true { 1 }", "line 1, column 8: condition is always true"),
        ('#panic("no customer")', "line 1, column 2: panicked with: no customer"),
        ("#let f(n) = f(n + 1)\n#f(1)", "maximum function call depth exceeded"),
    ],
)
def test_a_template_that_is_wrong_is_dead_at_once_with_line_and_message(documents: Documents, own: str, reason: str) -> None:
    with pytest.raises(NonRetryable) as refused:
        documents.make(own)
    assert reason in str(refused.value)


def test_data_that_lacks_what_the_template_needs_is_dead_at_once(documents: Documents) -> None:
    with pytest.raises(NonRetryable, match=r'line [0-9]+, column [0-9]+: dictionary does not contain key "buyer"'):
        documents.make("invoice", data={name: value for name, value in INVOICE.items() if name != "buyer"})


def test_a_template_that_never_ends_is_stopped(documents: Documents) -> None:
    with pytest.raises(NonRetryable, match="was not set in 1 s"):
        documents.make("#for i in range(100000) { for j in range(100000) { } }", timeout=6)


def test_a_template_that_takes_all_memory_is_stopped(documents: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typesetting, "MOST_MEMORY", 400 * 2**20)
    with pytest.raises(NonRetryable, match="more memory"):
        documents.make('#let x = "x" * 10000000\n#let y = range(100).map(i => x + str(i))\n#y.len()')


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"template": "novel"}, "there is no template 'novel'; there are daily_report, invoice, letter, report"),
        ({"template": "templates/missing.typ"}, "is not there"),
        ({"template": "s3://other-bucket.typ"}, "is not s3://bucket/key"),
        ({"template": "letter", "data": {}, "data_source": "x.json"}, "data is given together with data_source"),
        ({"template": "letter", "data_source": "missing.json"}, "is not there"),
        ({"template": "letter", "data_source": "documents/broken.json"}, "is no JSON object"),
        ({"template": "letter", "data_source": "documents/list.json"}, "is no JSON object"),
        ({"template": "documents/binary.typ"}, "is no template"),
    ],
)
def test_what_cannot_be_read_is_dead_at_once(documents: Documents, payload: dict[str, Any], reason: str) -> None:
    documents.put("documents/broken.json", "{")
    documents.put("documents/list.json", "[1]")
    documents.put("documents/binary.typ", b"\xff\xfe")
    with pytest.raises(NonRetryable) as refused:
        documents.make(**payload)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("limit", "payload"),
    [("LARGEST_TEMPLATE", {"template": "a.typ"}), ("LARGEST_DATA", {"template": "letter", "data_source": "a.typ"})],
)
def test_what_is_too_large_is_not_even_read(documents: Documents, monkeypatch: pytest.MonkeyPatch, limit: str, payload: Any) -> None:
    documents.put("a.typ", "x" * 101)
    monkeypatch.setattr(module, limit, 100)
    with pytest.raises(NonRetryable, match="101 bytes; at most 100"):
        documents.make(**payload)


def test_a_document_that_is_too_large_is_not_kept(documents: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typesetting, "LARGEST_PDF", 1000)
    with pytest.raises(NonRetryable, match="at most 1000 are kept"):
        documents.make("letter", data=LETTER)
    assert documents.results == {}


@pytest.mark.parametrize(
    "payload",
    [
        '{"template": ""}',
        '{"template": "../etc/passwd"}',
        '{"template": "letter\\n"}',
        '{"template": "Letter"}',
        '{"template": "letter", "data": []}',
        '{"template": "letter", "name": "a/b.pdf"}',
        '{"template": "letter", "name": "a.exe"}',
        '{"template": "letter", "standard": "3.0"}',
        '{"data": {}}',
    ],
)
def test_a_payload_that_does_not_fit_is_refused(payload: str) -> None:
    with pytest.raises(InvalidJob):
        REGISTRY.decode("pdf_generate", payload)
