"""Push messages to phones and browsers, through Amazon SNS's platform endpoints."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from functions.notifications.receipts import once
from functions.notifications.sns import Attributes, publish
from jobline import Context, NonRetryable, job

LARGEST: Final = 4096
"""Bytes of what a device is sent: Apple's limit ("Generating a remote notification") and Firebase's ("About FCM messages") are the same."""
FOUR_WEEKS: Final = 28 * 24 * 3600
"""Seconds that Firebase keeps a message at most ("Set the lifespan of a message")."""
_APPLE: Final = ("APNS", "APNS_SANDBOX")
_RESERVED: Final = ("aps",)
"""Apple's own key beside a message's data."""
_OF_FIREBASE: Final = ("from", "message_type")
"""Keys of data that Firebase refuses, with those that begin as these (`google.`, `gcm.`)."""

# The local AWS writes `app/` where AWS writes `endpoint/` (ministack 1.5.33); AWS knows nothing of four parts after `app/` and says so.
EndpointArn = Annotated[
    str, Meta(max_length=512, pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:(endpoint|app)/[A-Za-z_]+/[^/\s]+/[^/\s]+(?![\s\S])")
]
Value = Annotated[str, Meta(max_length=4000)]


class PushNotification(msgspec.Struct, forbid_unknown_fields=True):
    endpoint: Annotated[EndpointArn, Meta(description="ARN of the device's endpoint in SNS: APNs, its sandbox, or Firebase (GCM).")]
    title: Annotated[str, Meta(max_length=200, description="First line; without title and body the app wakes up and shows nothing.")] = ""
    body: Annotated[str, Meta(max_length=4000, description="The text under it.")] = ""
    data: Annotated[dict[str, Value], Meta(max_length=50, description="For the app itself: texts by name; 4 KB with all the rest.")] = {}
    badge: Annotated[
        Annotated[int, Meta(ge=0, le=99_999)] | UnsetType, Meta(description="The number on the app's icon; 0 takes it away (Apple alone).")
    ] = UNSET
    sound: Annotated[
        Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType, Meta(description="A sound of the app, or `default`.")
    ] = UNSET
    ttl: Annotated[
        Annotated[int, Meta(ge=0, le=FOUR_WEEKS)] | UnsetType,
        Meta(description="Seconds for which it is worth delivering, from now; 0: at once or never; without it the platform's own."),
    ] = UNSET
    collapse_key: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[!-~]+(?![\s\S])")] | UnsetType,
        Meta(description="Of messages with the same key a device shows the last one alone."),
    ] = UNSET
    priority: Annotated[Literal["high", "normal"], Meta(description="`high`: at once; `normal`: when it costs the device little.")] = "high"


@job("push_notification", timeout=30, max_attempts=5, retry={"backoff": "exponential", "base_delay": 2000, "max_delay": 300_000})
def push_notification(payload: PushNotification, ctx: Context) -> dict[str, Any]:
    """Sends one push message to a device through SNS; returns its message id.

    A device whose endpoint is disabled (the app is gone, the token has changed) ends the job at once. What SNS took is noted in a receipt
    (see `receipts`), which a later attempt finds.
    """
    platform = payload.endpoint.split("/")[1]
    if platform in _APPLE:
        message, attributes = _for_apple(payload, platform)
    elif platform == "GCM":
        message, attributes = _for_firebase(payload)
    else:
        raise NonRetryable(f"endpoint is of platform {platform!r}; this job knows {', '.join(_APPLE)} and GCM")
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    if (size := len(text.encode())) > LARGEST:
        raise NonRetryable(f"the message has {size:,} bytes with title, body and data; a device takes at most {LARGEST:,}")
    # The platform's own message is a text inside a text (Amazon SNS developer guide, "Publishing with platform-specific payloads").
    whole = json.dumps({"default": payload.body or payload.title, platform: text}, ensure_ascii=False)
    return once(ctx, lambda: publish(ctx, TargetArn=payload.endpoint, Message=whole, MessageStructure="json", attributes=attributes))


def _for_apple(payload: PushNotification, platform: str) -> tuple[dict[str, Any], Attributes]:
    """The message as APNs has it, and what goes into its headers."""
    if taken := [name for name in _RESERVED if name in payload.data]:
        raise NonRetryable(f"data has {taken[0]!r}, which is Apple's own")
    shown = bool(payload.title or payload.body)
    alert = {name: text for name, text in (("title", payload.title), ("body", payload.body)) if text}
    aps: dict[str, Any] = {"alert": alert} if shown else {"content-available": 1}
    aps |= {name: value for name, value in (("badge", payload.badge), ("sound", payload.sound)) if value is not UNSET}
    prefix = f"AWS.SNS.MOBILE.{platform}"
    # Apple takes a message that shows nothing as a background one of normal priority alone ("Sending notification requests to APNs").
    attributes = {
        f"{prefix}.PUSH_TYPE": "alert" if shown else "background",
        f"{prefix}.PRIORITY": "10" if shown and payload.priority == "high" else "5",
    }
    if payload.ttl is not UNSET:
        attributes[f"{prefix}.TTL"] = str(payload.ttl)
    if payload.collapse_key is not UNSET:
        attributes[f"{prefix}.COLLAPSE_ID"] = payload.collapse_key
    return {"aps": aps, **payload.data}, attributes


def _for_firebase(payload: PushNotification) -> tuple[dict[str, Any], Attributes]:
    """The message as FCM's HTTP v1 API has it; everything is said inside, so that there are no attributes."""
    if taken := [name for name in payload.data if name in _OF_FIREBASE or name.startswith(("google.", "gcm."))]:
        raise NonRetryable(f"data has {taken[0]!r}, which is Firebase's own")
    android: dict[str, Any] = {"priority": payload.priority}
    if payload.ttl is not UNSET:
        android["ttl"] = f"{payload.ttl}s"
    if payload.collapse_key is not UNSET:
        android["collapse_key"] = payload.collapse_key
    if payload.sound is not UNSET:
        android["notification"] = {"sound": payload.sound}
    message: dict[str, Any] = {"android": android}
    if shown := {name: text for name, text in (("title", payload.title), ("body", payload.body)) if text}:
        message["notification"] = shown
    if payload.data:
        message["data"] = payload.data
    return {"fcmV1Message": {"message": message}}, {}
