"""The notifications of `make demo`: a mail made of a template, a text message, a push message and a newsletter."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from jobline.demo_jobs import Act, Json, expect

READERS: Final = 50
LIST_KEY: Final = "recipients/demo.csv"


def notification_acts(client: Callable[[str], Any], bucket: str) -> list[Act]:
    """The acts; what they need besides (a list of recipients, a device) is made here. `client` gives a boto3 client of a service."""
    s3, sns = client("s3"), client("sns")
    rows = "".join(f"reader{number}@example.com,Reader {number}\n" for number in range(1, READERS + 1))
    s3.put_object(Bucket=bucket, Key=LIST_KEY, Body=f"email,name\n{rows}reader1@example.com,Reader 1\nnot an address,Nobody\n".encode())
    app = sns.create_platform_application(Name="demo", Platform="GCM", Attributes={"PlatformCredential": "none"})
    device = sns.create_platform_endpoint(PlatformApplicationArn=app["PlatformApplicationArn"], Token="demo")["EndpointArn"]  # noqa: S106  a made-up device
    welcome = {"to": "Ada <ada@example.com>", "template": "welcome", "data": {"name": "Ada", "link": "https://example.com/start"}}
    letter = {"recipients": LIST_KEY, "subject": "News for {{ name }}", "body": "Hello {{ name }}!", "per_second": 50}
    return [
        _act("send_email", welcome, _was_sent),
        _act("send_sms", {"to": "+491701234567", "message": "Your code is 123456"}, _was_sent),
        _act("push_notification", {"endpoint": device, "title": "On its way", "body": "Order 4711 has left us.", "ttl": 3600}, _was_sent),
        _act("batch_newsletter", letter, lambda job: _newsletter_is_out(job, s3)),
    ]


def _act(type: str, payload: Json, result: Any) -> Act:
    return Act(request={"queue": "emails", "type": type, "payload": payload}, attempts=1, result=result)


def _was_sent(job: Json) -> str:
    message_id = job["result"].get("message_id")
    expect(bool(message_id), f"{job['type']} gave no message id: {job['result']}")
    return f"message {message_id}"


def _newsletter_is_out(job: Json, s3: Any) -> str:
    result = job["result"]
    counts = [result[name] for name in ("rows", "enqueued", "duplicates", "rejected")]
    expect(counts == [READERS + 2, READERS, 1, 1], f"the newsletter counted {result}")
    reject = json.loads(s3.get_object(Bucket=result["rejects"]["bucket"], Key=result["rejects"]["key"])["Body"].read())
    expect(reject["line"] == READERS + 3, f"the bad row is told as line {reject['line']}")
    return f"{READERS} messages enqueued, 1 address twice, line {reject['line']} bad"
