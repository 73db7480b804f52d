"""What SQS carries: which job, and which dispatch of it. Everything else is the record's."""

from __future__ import annotations

from typing import Annotated

import msgspec

from jobline.errors import InvalidMessage

MESSAGE_VERSION = 1


class Message(msgspec.Struct, frozen=True):
    """One message; fields that a newer release adds are passed over."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    queue: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    dispatch: Annotated[int, msgspec.Meta(ge=1)]
    timeout: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Seconds of one attempt, so that a claim knows how long a lease to take before it has read the record; 0: not said."""
    v: int = MESSAGE_VERSION

    def encode(self) -> str:
        """The body of the SQS message."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, body: str) -> Message:
        """The message of an SQS body; raises `InvalidMessage` for one that Jobline did not send."""
        try:
            return _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeEncodeError) as error:
            raise InvalidMessage(f"not a Jobline message: {error}") from error


_decoder = msgspec.json.Decoder(Message)
