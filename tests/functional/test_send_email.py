"""Mail through SES (moto's): what is sent, what is not sent twice, and which refusals are worth another try."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
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

from functions.notifications.send_email import SendEmail, send_email
from jobline import Context, NonRetryable, RetryAfter
from jobline.errors import InvalidJob, InvalidSettings
from jobline.registry import Registry
from jobline.schema import misfits
from jobline.testing import TrialDeployment, make_context
from tests.aws import REGION, client

SENDER = "jobline@example.com"
BUCKET = "data"
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
    ],
)
def test_what_cannot_be_a_message_reaches_nobody(aws: Aws, jobs: TrialDeployment, payload: SendEmail, reason: str) -> None:
    with pytest.raises(NonRetryable, match=reason):
        jobs.perform(payload)
    assert aws.sent == []


def test_a_worker_without_a_sender_says_what_is_missing(aws: Aws) -> None:
    ctx = make_context("send_email", client=aws.clients.__getitem__)
    with pytest.raises(InvalidSettings, match="SENDER"):
        send_email(SendEmail(to="ada@example.com"), ctx)
