"""JSON from the command line: read from where an option says, checked, and sent in the request or beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer

from jobline import strict_json
from jobline.errors import InvalidJson

if TYPE_CHECKING:
    from jobline.connection import Connection

LARGEST_SENT: Final = 2_400_000
"""Bytes of payload that go into a request, which may have 2.5 MB; a larger one is uploaded."""


def payload_field(connection: Connection, text: bytes) -> dict[str, Any]:
    """The field of the request that says the payload: itself, byte for byte, or the upload that it became."""
    if len(text) > LARGEST_SENT:
        return {"payload_ref": connection.upload(text)}
    # As it was written: 1.0 stays 1.0, and a long number keeps its digits.
    return {"payload": msgspec.Raw(text)}


def read_payload(given: str) -> bytes:
    """The JSON that `--payload` names: itself, a file's (`@file`), or standard input's (`-`). Raises InvalidJson, BadParameter."""
    try:
        if given == "-":
            text = sys.stdin.buffer.read()
        elif given.startswith("@"):
            text = Path(given[1:]).read_bytes()
        else:
            text = given.encode("utf-8", "surrogateescape")
    except OSError as error:
        raise typer.BadParameter(f"{given[1:]!r} cannot be read: {error.strerror}", param_hint="--payload") from error
    return read_json(text, "--payload")


def read_json(text: bytes | str, option: str) -> bytes:
    """The JSON text that an option has; raises BadParameter for what is none."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    try:
        if len(data) > LARGEST_SENT:
            # The gate holds its values in memory; of a large text it is enough to know that it is JSON: the worker reads it strictly.
            msgspec.json.decode(data, type=msgspec.Raw)
        else:
            strict_json.parse(data)
    except (InvalidJson, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise typer.BadParameter(error.detail if isinstance(error, InvalidJson) else str(error), param_hint=option) from error
    return data
