"""Attachments: files of S3 that go out with a message."""

from __future__ import annotations

import mimetypes
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jobline import Context, NonRetryable
from jobline.objects import Source, open_object, place_of

MOST_ATTACHMENTS: Final = 20
LARGEST_IN_ALL: Final = 15 * 1024 * 1024
"""Bytes of a message's attachments: 20 MB once they are written as text. SES takes 40 MB (SES service quotas), many receivers no more
than 25 MB."""
_UNKNOWN: Final = ("", "binary/octet-stream", "application/octet-stream")
"""What S3 says of an object whose type nobody gave."""


FileName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f/\\]+(?![\s\S])")]
MediaType = Annotated[str, Meta(max_length=78, pattern=r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?![\s\S])")]
ContentId = Annotated[str, Meta(max_length=78, pattern=r"^[A-Za-z0-9_.@-]+(?![\s\S])")]


class Attachment(msgspec.Struct, forbid_unknown_fields=True):
    source: Annotated[Source, Meta(description="The file: a key of the data bucket, or `s3://bucket/key`.")]
    name: Annotated[FileName | UnsetType, Meta(description="File name that the recipients see; without it the last part of the key.")] = (
        UNSET
    )
    content_type: Annotated[
        MediaType | UnsetType,
        Meta(description="Media type, such as `application/pdf`; without it what S3 says, or what the name's ending means."),
    ] = UNSET
    content_id: Annotated[
        ContentId | UnsetType, Meta(description="Shows a picture inside the HTML, which names it as `cid:` and this id.")
    ] = UNSET


def read_attachments(attachments: list[Attachment], ctx: Context) -> list[Any]:
    """The attachments as SES takes them; raises NonRetryable when one is not there or they are too large together."""
    found: list[Any] = []
    left = LARGEST_IN_ALL
    for number, attachment in enumerate(attachments):
        try:
            place = place_of(attachment.source, ctx)
            stored = open_object(ctx, place, most=left)
            data, stored_type = stored["Body"].read(), stored.get("ContentType", "")
        except NonRetryable as error:
            total = f" ({LARGEST_IN_ALL:,} for all attachments together)" if "at most" in error.reason else ""
            raise NonRetryable(f"attachments[{number}]: {error.reason}{total}") from error
        left -= len(data)
        name = _base_name(place.key) if attachment.name is UNSET else attachment.name
        inline = {} if attachment.content_id is UNSET else {"ContentId": attachment.content_id}
        found.append(
            {
                "RawContent": data,
                "FileName": name,
                "ContentType": stored_or_guessed(stored_type, name) if attachment.content_type is UNSET else attachment.content_type,
                "ContentDisposition": "INLINE" if inline else "ATTACHMENT",
                # SES's own default is SEVEN_BIT, which spoils anything but plain text.
                "ContentTransferEncoding": "BASE64",
                **inline,
            }
        )
    return found


def stored_or_guessed(stored: str, name: str) -> str:
    """The media type that S3 has, if it has one, or else what the name's ending means; without what may follow a semicolon."""
    plain = stored.partition(";")[0].strip()
    if plain not in _UNKNOWN and len(plain) <= 78 and plain.isprintable() and " " not in plain:
        return plain
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _base_name(key: str) -> str:
    """The last part of a key, without what no file name may have."""
    name = "".join(character for character in key.rpartition("/")[2] if character.isprintable() and character != "\\")
    return name[-255:] or "attachment"
