"""Mail through SES (moto's): what is sent, what is not sent twice, and which refusals are worth another try."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from email.header import decode_header, make_header
from email.utils import parseaddr
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

from functions.notifications import attachments as attachments_module
from functions.notifications.attachments import Attachment
from functions.notifications.send_email import SendEmail, send_email
from jobline import Context, NonRetryable, RetryAfter
from jobline.errors import InvalidJob, InvalidSettings
from jobline.registry import Registry
from jobline.schema import misfits
from jobline.testing import TrialDeployment, make_context
from tests.aws import REGION, client

SENDER = "jobline@example.com"
BUCKET = "data"
PLAIN_ATTACHMENT = {"ContentDisposition": "ATTACHMENT", "ContentTransferEncoding": "BASE64"}
REGISTRY = Registry([send_email])


@cache
def made_once(service: str) -> Any:
    """Making a client takes longer than a test."""
    return client(service, config=Config(retries={"mode": "standard", "total_max_attempts": 1}))


class Aws:
    """SES with a verified sender, and the data bucket."""

    def __init__(self) -> None:
        self.clients = {service: made_once(service) for service in ("sesv2", "s3")}
        self.hooks: list[tuple[Any, str, Any]] = []
        self.clients["sesv2"].create_email_identity(EmailIdentity=SENDER)
        self.clients["s3"].create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def context(self, **options: Any) -> Context:
        return make_context("send_email", client=self.clients.__getitem__, bucket=BUCKET, settings={"SENDER": SENDER}, **options)

    @property
    def sent(self) -> list[Any]:
        return list(ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages)

    def refuse(self, operation: str, code: str, status: int = 400) -> None:
        """Answers every later call of `operation` (for example `sesv2.SendEmail`) with the error `code`."""
        body = json.dumps({"__type": code, "message": "because of the test"}).encode()
        if operation.startswith("s3"):
            body = f"<Error><Code>{code}</Code><Message>because of the test</Message></Error>".encode()

        def answer(**_: Any) -> AWSResponse:
            raw = SimpleNamespace(read=lambda *_: body, stream=lambda *_: iter([body]))
            return AWSResponse("https://test", status, HTTPHeaders.from_dict({"x-amzn-errortype": code}), raw)

        self.hook(operation.partition(".")[0], f"before-send.{operation}", answer)

    def hook(self, service: str, event: str, handler: Any) -> None:
        """Has botocore call `handler` at `event`, before moto, until the end of the test."""
        events = self.clients[service].meta.events
        events.register_first(event, handler)
        self.hooks.append((events, event, handler))

    def close(self) -> None:
        for events, event, handler in self.hooks:
            events.unregister(event, handler)


@pytest.fixture
def aws() -> Iterator[Aws]:
    with mock_aws(), closing(Aws()) as aws:
        yield aws


@pytest.fixture
def jobline_options(aws: Aws) -> dict[str, Any]:
    return {"client": aws.clients.__getitem__, "bucket": BUCKET}


@pytest.mark.parametrize("payload", ['{"to": "user@..."}', '{"to":"..."}'])
def test_the_briefs_own_payloads_are_accepted(payload: str) -> None:
    (schema,) = (described["schema"] for described in REGISTRY.describe().values())
    assert misfits(json.loads(payload), schema) == ()
    decoded = REGISTRY.decode("send_email", payload)
    assert (decoded.subject, decoded.body) == ("(no subject)", "")


@pytest.mark.parametrize(
    "payload",
    [
        "{}",
        '{"to": ""}',
        '{"to": []}',
        '{"to": "a@example.com", "subject": "one\\ntwo"}',
        '{"to": "a@example.com", "subject": "at the end\\n"}',
        '{"to": "a@example.com", "from": "b@example.com"}',
        '{"to": "a@example.com", "html": null}',
        '{"to": "a@example.com", "template": "../../api"}',
        '{"to": "a@example.com", "template": "welcome\\n"}',
        '{"to": "a@example.com", "data": []}',
        '{"to": "a@example.com", "unsubscribe_url": "https://example.com/\\nBcc: b@example.com"}',
        '{"to": "a@example.com", "attachments": ["key"]}',
        '{"to": "a@example.com", "attachments": [{"source": "key", "name": "a/b"}]}',
        '{"to": "a@example.com", "attachments": [{"source": "key", "name": "a.pdf\\n"}]}',
        '{"to": "a@example.com", "attachments": [{"source": "key", "content_type": "text/html\\r\\nX: y"}]}',
        '{"to": "a@example.com", "attachments": [{"source": "key", "content_id": "<x>"}]}',
    ],
)
def test_a_payload_that_does_not_fit_is_refused_at_the_gate_and_by_the_worker(payload: str) -> None:
    (schema,) = (described["schema"] for described in REGISTRY.describe().values())
    assert misfits(json.loads(payload), schema) != ()
    with pytest.raises(InvalidJob):
        REGISTRY.decode("send_email", payload)


def test_a_message_goes_out_and_its_id_is_the_result(aws: Aws, jobs: TrialDeployment) -> None:
    result = jobs.perform(SendEmail(to="ada@example.com", subject="Hello", body="Text", cc=["b@example.com"], bcc="c@example.com"))
    (message,) = aws.sent
    assert result == {"message_id": message.id}
    assert (message.source, message.subject, message.body) == (SENDER, "Hello", "Text")
    assert message.destinations == {"ToAddresses": ["ada@example.com"], "CcAddresses": ["b@example.com"], "BccAddresses": ["c@example.com"]}


def test_what_ses_is_told_names_the_job_and_has_both_bodies(aws: Aws) -> None:
    said: list[dict[str, Any]] = []
    aws.hook("sesv2", "provide-client-params.sesv2.SendEmail", lambda params, **_: said.append(params))
    ctx = aws.context()
    send_email(SendEmail(to="a@example.com", body="Text", html="<p>HTML</p>", reply_to="r@example.com"), ctx)
    (request,) = said
    content = request["Content"]["Simple"]
    assert content["Body"] == {"Html": {"Data": "<p>HTML</p>", "Charset": "UTF-8"}, "Text": {"Data": "Text", "Charset": "UTF-8"}}
    assert content["Headers"] == [{"Name": "X-Jobline-Job", "Value": ctx.id}]
    assert request["EmailTags"] == [{"Name": "job", "Value": ctx.id}]
    assert request["ReplyToAddresses"] == ["r@example.com"]


def test_a_worker_that_dies_after_the_send_does_not_send_again(aws: Aws, jobs: TrialDeployment) -> None:
    jobs.crash_next(send_email)
    job = jobs.enqueue(SendEmail(to="ada@example.com"))
    jobs.advance("1m")
    (message,) = aws.sent
    assert (job.status, job.attempts, job.result) == ("done", 2, {"message_id": message.id})


def test_a_worker_that_dies_before_the_receipt_sends_again(aws: Aws, jobs: TrialDeployment) -> None:
    """The promise is at least once; the receipt only makes twice rare."""
    jobs.crash_next(send_email)
    job = jobs.enqueue(SendEmail(to="ada@example.com"))
    jobs.drain()
    aws.clients["s3"].delete_object(Bucket=BUCKET, Key=f"receipts/{job.id}.json")
    jobs.advance("1m")
    assert (job.status, len(aws.sent)) == ("done", 2)


def test_another_job_with_the_same_payload_is_another_message(aws: Aws, jobs: TrialDeployment) -> None:
    jobs.crash_next(send_email, times=2)
    for _ in range(2):
        jobs.enqueue(SendEmail(to="ada@example.com"))
    jobs.advance("1m")
    jobs.assert_enqueued(send_email, status="done", count=2)
    assert len(aws.sent) == 2


def test_a_worker_that_may_not_list_the_bucket_finds_no_receipt_and_sends(aws: Aws) -> None:
    aws.refuse("s3.GetObject", "AccessDenied", 403)
    send_email(SendEmail(to="ada@example.com"), aws.context(starts=2))
    assert len(aws.sent) == 1


def test_a_receipt_that_cannot_be_kept_does_not_fail_what_was_sent(
    aws: Aws, jobs: TrialDeployment, caplog: pytest.LogCaptureFixture
) -> None:
    aws.refuse("s3.PutObject", "AccessDenied", 403)
    assert jobs.perform(SendEmail(to="ada@example.com"))["message_id"]
    assert "no receipt of the message that was sent" in caplog.text


@pytest.mark.parametrize(
    "code",
    ["MessageRejected", "BadRequestException", "MailFromDomainNotVerifiedException", "AccountSuspendedException", "NotFoundException"],
)
def test_what_ses_will_never_send_is_dead_at_once(aws: Aws, jobs: TrialDeployment, code: str) -> None:
    aws.refuse("sesv2.SendEmail", code)
    job = jobs.enqueue(SendEmail(to="..."))
    assert jobs.drain() == [job]
    assert (job.status, job.attempts, code in str(job.error)) == ("dead", 1, True)


@pytest.mark.parametrize(("code", "least", "most"), [("TooManyRequestsException", 2.5, 7.5), ("SendingPausedException", 450, 1350)])
def test_what_ses_takes_later_is_tried_later(aws: Aws, code: str, least: float, most: float) -> None:
    aws.refuse("sesv2.SendEmail", code)
    waits = []
    for attempt in (1, 1, 1, 3):
        with pytest.raises(RetryAfter) as steering:
            send_email(SendEmail(to="ada@example.com"), aws.context(attempt=attempt))
        waits.append(steering.value.seconds / attempt)
    assert all(least <= wait <= most for wait in waits)
    assert len(set(waits)) > 1, "everybody would come back at the same moment"


def test_an_identity_that_is_not_verified_is_dead_at_once(aws: Aws, jobs: TrialDeployment) -> None:
    aws.clients["sesv2"].delete_email_identity(EmailIdentity=SENDER)
    with pytest.raises(NonRetryable, match="MessageRejected"):
        jobs.perform(SendEmail(to="ada@example.com"))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (SendEmail(to=["a@example.com"] * 30, cc=["b@example.com"] * 21), "51 recipients"),
        (SendEmail(to="a@example.com", bcc="b@example.com\nBcc: everybody@example.com"), "line break"),
        (SendEmail(to="a@example.com", cc="b@example.com\u2028Bcc: everybody@example.com"), "line break"),
        (SendEmail(to="a@example.com", reply_to="b@example.com, c@example.com"), "more than one address"),
        (SendEmail(to="zoë@example.com"), "other letters than ASCII's"),
        (
            SendEmail(to="a@example.com", subject="{{ name }}", data={"name": "Ada\r\nBcc: everybody@example.com"}),
            "subject has a line break",
        ),
        (SendEmail(to="a@example.com", unsubscribe_url="http://example.com/"), "no https URL"),
        (SendEmail(to="a@example.com", unsubscribe_url="https://{{ host }}/", data={"host": "example.com/>, <mailto:x@y"}), "no https URL"),
    ],
)
def test_what_cannot_be_a_message_reaches_nobody(aws: Aws, jobs: TrialDeployment, payload: SendEmail, reason: str) -> None:
    with pytest.raises(NonRetryable, match=reason):
        jobs.perform(payload)
    assert aws.sent == []


def request_of(aws: Aws, payload: SendEmail) -> Any:
    """What SES is told of the message."""
    said: list[Any] = []
    aws.hook("sesv2", "provide-client-params.sesv2.SendEmail", lambda params, **_: said.append(params))
    send_email(payload, aws.context())
    (request,) = said
    return request


def message_of(aws: Aws, payload: SendEmail) -> Any:
    return request_of(aws, payload)["Content"]["Simple"]


def test_a_name_in_other_letters_is_encoded_and_so_is_a_domain(aws: Aws) -> None:
    to = ["Zoë <zoe@example.com>", '"Doe, Jane" <jane@bücher.example>', "Family 👨‍👩‍👧 <f@example.com>"]
    request = request_of(aws, SendEmail(to=to, subject="Grüße 👨‍👩‍👧"))
    assert all(address.isascii() for address in request["Destination"]["ToAddresses"])
    assert [parseaddr(str(make_header(decode_header(address)))) for address in request["Destination"]["ToAddresses"]] == [
        ("Zoë", "zoe@example.com"),
        ("Doe, Jane", "jane@xn--bcher-kva.example"),
        ("Family 👨‍👩‍👧", "f@example.com"),
    ]
    assert request["Content"]["Simple"]["Subject"]["Data"] == "Grüße 👨‍👩‍👧"


def test_one_post_ends_a_subscription(aws: Aws) -> None:
    message = message_of(aws, SendEmail(to="a@example.com", unsubscribe_url="https://example.com/{{ token }}", data={"token": "t-1"}))
    assert message["Headers"][1:] == [
        {"Name": "List-Unsubscribe", "Value": "<https://example.com/t-1>"},
        {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
    ]


# Templates


def test_variables_are_filled_in_and_escaped_in_html_alone(aws: Aws) -> None:
    payload = SendEmail(to="a@example.com", subject="For {{ name }}", body="{{ name }}", html="<p>{{ name }}</p>")
    payload.data = {"name": "<Ada & Co>"}
    message = message_of(aws, payload)
    assert message["Subject"]["Data"] == "For <Ada & Co>"
    assert message["Body"]["Text"]["Data"] == "<Ada & Co>"
    assert message["Body"]["Html"]["Data"] == "<p>&lt;Ada &amp; Co&gt;</p>"


def test_without_data_a_text_is_sent_as_it_is(aws: Aws) -> None:
    message = message_of(aws, SendEmail(to="a@example.com", subject="{{ name }}", body="{% if"))
    assert (message["Subject"]["Data"], message["Body"]["Text"]["Data"]) == ("{{ name }}", "{% if")


def test_a_template_of_the_worker_brings_all_its_texts(aws: Aws) -> None:
    message = message_of(
        aws, SendEmail(to="a@example.com", template="welcome", data={"name": "Ada & Co", "link": "https://example.com/?a=1&b=2"})
    )
    assert message["Subject"]["Data"] == "Welcome, Ada & Co"
    assert message["Body"]["Text"]["Data"].startswith("Hello Ada & Co,\n")
    assert "<!doctype html>" in message["Body"]["Html"]["Data"]
    assert '<a href="https://example.com/?a=1&amp;b=2">' in message["Body"]["Html"]["Data"]


def test_a_template_in_s3_is_as_good(aws: Aws) -> None:
    template = {"subject": "Hello {{ name }}", "html": '{% extends "layout.html" %}{% block content %}{{ name }}{% endblock %}'}
    aws.clients["s3"].put_object(Bucket=BUCKET, Key="templates/hello.json", Body=json.dumps(template).encode())
    message = message_of(aws, SendEmail(to="a@example.com", template="templates/hello.json", data={"name": "Ada"}))
    assert (message["Subject"]["Data"], "Text" in message["Body"]) == ("Hello Ada", False)
    assert "Ada\n</body>" in message["Body"]["Html"]["Data"]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (SendEmail(to="a@example.com", subject="{{ name }}", data={}), "template of subject: 'name' is undefined"),
        (SendEmail(to="a@example.com", html="<p>{{ user.name }}</p>", data={"user": {}}), "template of html: .*has no attribute 'name'"),
        (SendEmail(to="a@example.com", body="{% if gone %}x{% endif %}", data={}), "template of body: 'gone' is undefined"),
        (SendEmail(to="a@example.com", template="welcome"), "'name' is undefined"),
        (SendEmail(to="a@example.com", body="one\n{% if x", data={"x": 1}), "template of body, line 2"),
        (SendEmail(to="a@example.com", body="{{ 1 / zero }}", data={"zero": 0}), "ZeroDivisionError"),
        (SendEmail(to="a@example.com", body="{% include 'no.html' %}", data={}), "there is no 'no.html'"),
        (SendEmail(to="a@example.com", body="{% include '../handler.py' %}", data={}), "there is no"),
        (SendEmail(to="a@example.com", body="{{ ().__class__.__mro__ }}", data={}), "unsafe|undefined"),
        (SendEmail(to="a@example.com", body="{{ x.append(1) }}", data={"x": []}), "SecurityError"),
        (SendEmail(to="a@example.com", body="{% for i in range(99999) %}0123456789012345{% endfor %}", data={}), "more than 1,000,000"),
        (SendEmail(to="a@example.com", template="no-such"), "no template 'no-such'; this worker has daily_report, welcome"),
        (SendEmail(to="a@example.com", template="templates/no.json"), "is not there"),
        (SendEmail(to="a@example.com", template="templates/broken.json"), "is no template"),
        (SendEmail(to="a@example.com", template="welcome", body="x"), "together with"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_dead_at_once_and_says_why(aws: Aws, payload: SendEmail, reason: str) -> None:
    aws.clients["s3"].put_object(Bucket=BUCKET, Key="templates/broken.json", Body=b'{"subjekt": "x"}')
    with pytest.raises(NonRetryable, match=reason):
        send_email(payload, aws.context())
    assert aws.sent == []


# Attachments


def test_files_of_s3_go_along_with_name_and_type(aws: Aws) -> None:
    s3 = aws.clients["s3"]
    s3.put_object(Bucket=BUCKET, Key="results/1/invoice 7.pdf", Body=b"%PDF", ContentType="application/pdf")
    s3.put_object(Bucket=BUCKET, Key="attachments/logo.png", Body=b"\x89PNG")
    attachments = [
        Attachment(source="results/1/invoice 7.pdf"),
        Attachment(source=f"s3://{BUCKET}/attachments/logo.png", content_id="logo"),
        Attachment(source="attachments/logo.png", name="Größe.bin", content_type="application/x-own"),
    ]
    message = message_of(aws, SendEmail(to="a@example.com", html='<img src="cid:logo">', attachments=attachments))
    assert message["Attachments"] == [
        {"RawContent": b"%PDF", "FileName": "invoice 7.pdf", "ContentType": "application/pdf"} | PLAIN_ATTACHMENT,
        {"RawContent": b"\x89PNG", "FileName": "logo.png", "ContentType": "image/png", "ContentId": "logo"}
        | PLAIN_ATTACHMENT
        | {"ContentDisposition": "INLINE"},
        {"RawContent": b"\x89PNG", "FileName": "Größe.bin", "ContentType": "application/x-own"} | PLAIN_ATTACHMENT,
    ]


def test_a_file_name_made_of_a_key_begins_no_other_header(aws: Aws) -> None:
    aws.clients["s3"].put_object(Bucket=BUCKET, Key="attachments/a\nX-Other: b.txt", Body=b"x", ContentType="text/plain; charset=utf-8")
    message = message_of(aws, SendEmail(to="a@example.com", attachments=[Attachment(source="attachments/a\nX-Other: b.txt")]))
    assert (message["Attachments"][0]["FileName"], message["Attachments"][0]["ContentType"]) == ("aX-Other: b.txt", "text/plain")


def test_attachments_that_are_too_large_together_or_not_there_are_dead_at_once(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments_module, "LARGEST_IN_ALL", 1000)
    for key in ("a", "b"):
        aws.clients["s3"].put_object(Bucket=BUCKET, Key=f"attachments/{key}", Body=b"x" * 501)
    both = [Attachment(source="attachments/a"), Attachment(source="attachments/b")]
    with pytest.raises(NonRetryable, match=r"attachments\[1\]: s3://data/attachments/b has 501 bytes; at most 499 .*1,000 for all"):
        send_email(SendEmail(to="a@example.com", attachments=both), aws.context())
    for source in ("attachments/none", "s3://", "s3://no_bucket!/x", "s3://nowhere-at-all/x"):
        with pytest.raises(NonRetryable, match=r"attachments\[0\]"):
            send_email(SendEmail(to="a@example.com", attachments=[Attachment(source=source)]), aws.context())
    assert aws.sent == []


@pytest.mark.parametrize("source", ["bodies/x/payload.json", f"s3://{BUCKET}/bodies/x", "uploads/x", "quarantine/x", "receipts/x.json"])
def test_payloads_of_other_jobs_can_be_neither_attached_nor_be_a_template(aws: Aws, source: str) -> None:
    aws.clients["s3"].put_object(Bucket=BUCKET, Key=source.removeprefix(f"s3://{BUCKET}/"), Body=b"{}")
    for payload in (
        SendEmail(to="a@example.com", attachments=[Attachment(source=source)]),
        SendEmail(to="a@example.com", template=f"{source}.json"),
    ):
        with pytest.raises(NonRetryable, match="Jobline's own"):
            send_email(payload, aws.context())


def test_a_worker_without_a_sender_says_what_is_missing(aws: Aws) -> None:
    ctx = make_context("send_email", client=aws.clients.__getitem__)
    with pytest.raises(InvalidSettings, match="SENDER"):
        send_email(SendEmail(to="ada@example.com"), ctx)
