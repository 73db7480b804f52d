"""Text and push messages through SNS (moto's): what is sent, what is not sent twice, and which refusals are worth another try."""

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
from moto.sns.models import sns_backends

from functions.notifications.push_notification import PushNotification, push_notification
from functions.notifications.send_sms import SendSms, send_sms
from jobline import Context, NonRetryable, RetryAfter
from jobline.errors import InvalidJob
from jobline.registry import Registry
from jobline.schema import misfits
from jobline.testing import TrialDeployment, make_context
from tests.aws import REGION, client

BUCKET = "data"
PHONE = "+491701234567"
REGISTRY = Registry([send_sms, push_notification])
ENDPOINT = f"arn:aws:sns:{REGION}:{DEFAULT_ACCOUNT_ID}:endpoint/APNS/app/6e2b3c1a-0000-4000-8000-000000000000"


@cache
def made_once(service: str) -> Any:
    """Making a client takes longer than a test."""
    return client(service, config=Config(retries={"mode": "standard", "total_max_attempts": 1}))


class Sns:
    """SNS with a device of each platform, and the data bucket."""

    def __init__(self) -> None:
        self.clients = {service: made_once(service) for service in ("sns", "s3")}
        self.client = self.clients["sns"]
        self.clients["s3"].create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.said: list[dict[str, Any]] = []
        self.hooks: list[tuple[str, Any]] = []
        self.hook("provide-client-params.sns.Publish", lambda params, **_: self.said.append(params))

    def device(self, platform: str) -> str:
        app = self.client.create_platform_application(Name="app", Platform=platform, Attributes={"PlatformCredential": "key"})
        made = self.client.create_platform_endpoint(PlatformApplicationArn=app["PlatformApplicationArn"], Token="token")
        return str(made["EndpointArn"])

    def context(self, **options: Any) -> Context:
        return make_context(client=self.clients.__getitem__, bucket=BUCKET, **options)

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Number and text of each text message that was sent."""
        return list(sns_backends[DEFAULT_ACCOUNT_ID][REGION].sms_messages.values())

    @property
    def attributes(self) -> dict[str, tuple[str, str]]:
        """Type and value of each attribute of the one message."""
        (request,) = self.said
        return {name: (each["DataType"], each["StringValue"]) for name, each in request["MessageAttributes"].items()}

    def received(self, endpoint: str) -> list[Any]:
        """What a device was sent, as the platform's own message."""
        messages = sns_backends[DEFAULT_ACCOUNT_ID][REGION].platform_endpoints[endpoint].messages.values()
        return [json.loads(json.loads(message)[endpoint.split("/")[1]]) for message in messages]

    def refuse(self, code: str, status: int = 400) -> None:
        """Answers every later publish with the error `code`."""
        body = f"<ErrorResponse><Error><Code>{code}</Code><Message>because of the test</Message></Error></ErrorResponse>".encode()
        raw = SimpleNamespace(read=lambda *_: body, stream=lambda *_: iter([body]))
        self.hook("before-send.sns.Publish", lambda **_: AWSResponse("https://test", status, HTTPHeaders(), raw))

    def hook(self, event: str, handler: Any) -> None:
        self.client.meta.events.register_first(event, handler)
        self.hooks.append((event, handler))

    def close(self) -> None:
        for event, handler in self.hooks:
            self.client.meta.events.unregister(event, handler)


@pytest.fixture
def sns() -> Iterator[Sns]:
    with mock_aws(), closing(Sns()) as sns:
        yield sns


@pytest.fixture
def jobline_options(sns: Sns) -> dict[str, Any]:
    return {"client": sns.clients.__getitem__, "bucket": BUCKET}


@pytest.mark.parametrize(
    ("type", "payload"),
    [
        ("send_sms", {"to": "0170 1234567", "message": "x"}),
        ("send_sms", {"to": "+0170123456", "message": "x"}),
        ("send_sms", {"to": "+1234567890123456", "message": "x"}),
        ("send_sms", {"to": PHONE + "\n", "message": "x"}),
        ("send_sms", {"to": [PHONE], "message": "x"}),
        ("send_sms", {"to": PHONE, "message": ""}),
        ("send_sms", {"to": PHONE, "message": "x" * 1601}),
        ("send_sms", {"to": PHONE, "message": "x", "sender_id": "12345"}),
        ("send_sms", {"to": PHONE, "message": "x", "sender_id": "Twelve456789"}),
        ("send_sms", {"to": PHONE, "message": "x", "sender_id": "Two words"}),
        ("send_sms", {"to": PHONE, "message": "x", "max_price": "a lot"}),
        ("send_sms", {"to": PHONE, "message": "x", "max_price": 0.1}),
        ("send_sms", {"to": PHONE, "message": "x", "kind": "other"}),
        ("push_notification", {"endpoint": "arn:aws:sns:eu-central-1:123456789012:a-topic"}),
        ("push_notification", {"endpoint": ENDPOINT + "\n"}),
        ("push_notification", {"endpoint": ENDPOINT, "data": {"a": 1}}),
        ("push_notification", {"endpoint": ENDPOINT, "ttl": -1}),
        ("push_notification", {"endpoint": ENDPOINT, "ttl": 28 * 24 * 3600 + 1}),
        ("push_notification", {"endpoint": ENDPOINT, "badge": -1}),
        ("push_notification", {"endpoint": ENDPOINT, "collapse_key": "two\nlines"}),
    ],
)
def test_a_payload_that_does_not_fit_is_refused_at_the_gate_and_by_the_worker(type: str, payload: Any) -> None:
    assert misfits(payload, REGISTRY.describe()[type]["schema"]) != ()
    with pytest.raises(InvalidJob):
        REGISTRY.decode(type, json.dumps(payload))


# Text messages


def test_a_text_message_goes_out_and_its_id_is_the_result(sns: Sns, jobs: TrialDeployment) -> None:
    result = jobs.perform(SendSms(to=PHONE, message="Your code is 123456"))
    assert sns.texts == [(PHONE, "Your code is 123456")]
    assert list(result) == ["message_id"]
    assert sns.attributes == {"AWS.SNS.SMS.SMSType": ("String", "Transactional")}


def test_sender_price_and_kind_reach_sns(sns: Sns) -> None:
    send_sms(SendSms(to=PHONE, message="x", kind="promotional", sender_id="Jobline", max_price="0.25"), sns.context())
    assert sns.attributes == {
        "AWS.SNS.SMS.SMSType": ("String", "Promotional"),
        "AWS.SNS.SMS.SenderID": ("String", "Jobline"),
        "AWS.SNS.SMS.MaxPrice": ("Number", "0.25"),
    }


def test_what_a_job_does_not_say_the_worker_says(sns: Sns) -> None:
    send_sms(SendSms(to=PHONE, message="x"), sns.context(settings={"SMS_SENDER_ID": "Ours", "SMS_MAX_PRICE": "0.10"}))
    assert (sns.attributes["AWS.SNS.SMS.SenderID"][1], sns.attributes["AWS.SNS.SMS.MaxPrice"][1]) == ("Ours", "0.10")


def test_a_worker_that_dies_after_the_text_message_sends_no_other(sns: Sns, jobs: TrialDeployment) -> None:
    jobs.crash_next(send_sms)
    job = jobs.enqueue(SendSms(to=PHONE, message="once"))
    jobs.advance("1m")
    assert (job.status, job.attempts) == ("done", 2)
    assert sns.texts == [(PHONE, "once")]


def test_two_jobs_are_two_text_messages(sns: Sns, jobs: TrialDeployment) -> None:
    jobs.crash_next(send_sms, times=2)
    for _ in range(2):
        jobs.enqueue(SendSms(to=PHONE, message="twice"))
    jobs.advance("1m")
    jobs.assert_enqueued(send_sms, status="done", count=2)
    assert sns.texts == [(PHONE, "twice")] * 2


# Push messages


def test_apple_gets_its_own_payload_and_headers(sns: Sns, jobs: TrialDeployment) -> None:
    endpoint = sns.device("APNS")
    push = PushNotification(endpoint=endpoint, title="Order", body="Grüße ☃", data={"order": "4711"}, badge=3, sound="default")
    push.ttl, push.collapse_key = 3600, "order-4711"
    assert list(jobs.perform(push)) == ["message_id"]
    assert sns.received(endpoint) == [
        {"aps": {"alert": {"title": "Order", "body": "Grüße ☃"}, "badge": 3, "sound": "default"}, "order": "4711"}
    ]
    assert sns.attributes == {
        "AWS.SNS.MOBILE.APNS.PUSH_TYPE": ("String", "alert"),
        "AWS.SNS.MOBILE.APNS.PRIORITY": ("String", "10"),
        "AWS.SNS.MOBILE.APNS.TTL": ("String", "3600"),
        "AWS.SNS.MOBILE.APNS.COLLAPSE_ID": ("String", "order-4711"),
    }


def test_a_message_that_shows_nothing_wakes_an_apple_device_quietly(sns: Sns) -> None:
    endpoint = sns.device("APNS_SANDBOX")
    push_notification(PushNotification(endpoint=endpoint, data={"sync": "now"}), sns.context())
    assert sns.received(endpoint) == [{"aps": {"content-available": 1}, "sync": "now"}]
    assert sns.attributes == {
        "AWS.SNS.MOBILE.APNS_SANDBOX.PUSH_TYPE": ("String", "background"),
        "AWS.SNS.MOBILE.APNS_SANDBOX.PRIORITY": ("String", "5"),
    }


def test_firebase_gets_a_message_of_its_http_v1_api(sns: Sns) -> None:
    endpoint = sns.device("GCM")
    push = PushNotification(
        endpoint=endpoint, title="Order", data={"order": "4711"}, ttl=0, collapse_key="o", sound="ping", priority="normal"
    )
    push_notification(push, sns.context())
    assert sns.received(endpoint) == [
        {
            "fcmV1Message": {
                "message": {
                    "android": {"priority": "normal", "ttl": "0s", "collapse_key": "o", "notification": {"sound": "ping"}},
                    "notification": {"title": "Order"},
                    "data": {"order": "4711"},
                }
            }
        }
    ]
    assert sns.attributes == {}


def test_a_worker_that_dies_after_the_push_message_sends_no_other(sns: Sns, jobs: TrialDeployment) -> None:
    endpoint = sns.device("GCM")
    jobs.crash_next(push_notification)
    job = jobs.enqueue(PushNotification(endpoint=endpoint, title="once"))
    jobs.advance("1m")
    assert (job.status, job.attempts, len(sns.received(endpoint))) == ("done", 2, 1)


def test_a_device_that_is_disabled_is_dead_at_once_and_says_what_to_do(sns: Sns, jobs: TrialDeployment) -> None:
    endpoint = sns.device("APNS")
    sns.client.set_endpoint_attributes(EndpointArn=endpoint, Attributes={"Enabled": "false"})
    job = jobs.enqueue(PushNotification(endpoint=endpoint, title="x"))
    assert jobs.drain() == [job]
    assert (job.status, job.attempts) == ("dead", 1)
    assert "delete its endpoint, or register it anew" in str(job.error)


@pytest.mark.parametrize(
    ("push", "reason"),
    [
        (PushNotification(endpoint=ENDPOINT.replace("APNS", "ADM"), title="x"), "platform 'ADM'"),
        (PushNotification(endpoint=ENDPOINT, data={"aps": "x"}), "'aps', which is Apple's own"),
        (PushNotification(endpoint=ENDPOINT.replace("APNS", "GCM"), data={"google.x": "x"}), "'google.x', which is Firebase's own"),
        (PushNotification(endpoint=ENDPOINT, body="ü" * 2050), "4,129 bytes .* at most 4,096"),
    ],
)
def test_what_no_device_takes_is_dead_at_once_and_says_why(sns: Sns, push: PushNotification, reason: str) -> None:
    with pytest.raises(NonRetryable, match=reason):
        push_notification(push, sns.context())
    assert sns.said == []


# SNS's errors


@pytest.mark.parametrize("code", ["InvalidParameter", "ParameterValueInvalid", "ValidationException", "NotFound"])
def test_what_sns_will_never_send_is_dead_at_once(sns: Sns, jobs: TrialDeployment, code: str) -> None:
    sns.refuse(code)
    job = jobs.enqueue(SendSms(to=PHONE, message="x"))
    assert jobs.drain() == [job]
    assert (job.status, job.attempts, code in str(job.error)) == ("dead", 1, True)


@pytest.mark.parametrize(("code", "least", "most"), [("Throttling", 2.5, 7.5), ("PlatformApplicationDisabled", 450, 1350)])
def test_what_sns_takes_later_is_tried_later(sns: Sns, code: str, least: float, most: float) -> None:
    sns.refuse(code)
    waits = []
    for attempt in (1, 1, 1, 3):
        with pytest.raises(RetryAfter) as steering:
            push_notification(PushNotification(endpoint=ENDPOINT, title="x"), sns.context(attempt=attempt))
        waits.append(steering.value.seconds / attempt)
    assert all(least <= wait <= most for wait in waits)
    assert len(set(waits)) > 1, "everybody would come back at the same moment"


def test_a_server_error_of_sns_is_tried_again_by_the_policy_of_the_type(sns: Sns, jobs: TrialDeployment) -> None:
    sns.refuse("InternalError", 500)
    job = jobs.enqueue(SendSms(to=PHONE, message="x"))
    jobs.drain()
    assert (job.status, job.record.max_attempts) == ("failed", 5)
