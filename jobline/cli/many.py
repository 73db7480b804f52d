"""Many jobs from a file with a payload on each line: sent in chunks, each safe to repeat."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

import msgspec
import typer

from jobline.api_errors import ServerError, Unreachable, error_of
from jobline.cli import screen
from jobline.cli.bar import bar
from jobline.cli.context import ask
from jobline.cli.failures import complain, exit_code
from jobline.cli.output import Output
from jobline.cli.payload import LARGEST_SENT, read_json
from jobline.errors import Unavailable

if TYPE_CHECKING:
    from jobline.connection import Connection

LARGEST_CHUNK: Final = 500
TRIES: Final = 6
FIRST_PAUSE: Final = 0.5
MOST_COMPLAINTS: Final = 20
"""Jobs that are told one by one; of the others their number."""


class Line(NamedTuple):
    """One line of the file, counted from 1."""

    number: int
    payload: bytes


def enqueue_lines(connection: Connection, source: str, request: dict[str, Any], key: str | None, output: Output) -> int:
    """Makes a job of each line; prints them; the exit code, which is that of the first job that was refused.

    `request` has all other fields. A job's key is `key` and its line's number. Raises BadParameter for a file that cannot be read or
    a line that is no JSON: what stands before that line has been sent.
    """
    key = key or f"cli-{uuid4()}"
    made = found = refused = code = 0
    try:
        with _opened(source) as (lines, size), bar(f"enqueue {request['queue']}", size) as advance:
            for chunk in _chunks(_lines(lines, source)):
                body = {
                    "jobs": [request | {"payload": msgspec.Raw(each.payload), "idempotency_key": f"{key}-{each.number}"} for each in chunk]
                }
                answer = _sent(connection, body)
                for line, item in zip(chunk, answer, strict=True):
                    if "job" in item:
                        made, found = made + (item["status"] == 202), found + (item["status"] != 202)
                        _show(output, item["job"])
                        continue
                    refused += 1
                    error = error_of(item["status"], item["problem"], connection.api_url)
                    code = code or exit_code(error)
                    if refused <= MOST_COMPLAINTS:
                        complain(f"line {line.number}: {error.detail}")
                advance(sum(len(each.payload) + 1 for each in chunk))
    except BaseException:
        if made + found:
            complain(f"{made + found} jobs are enqueued. --idempotency-key {key} enqueues the rest of the file and none of them again.")
        raise
    if refused > MOST_COMPLAINTS:
        complain(f"and {refused - MOST_COMPLAINTS} more")
    if output is Output.TABLE:
        told = [f"{made} enqueued"] + [f"{number} {word}" for number, word in ((found, "already there"), (refused, "refused")) if number]
        screen.write(f"{screen.plain(request['type'])} on {screen.plain(request['queue'])}: {', '.join(told)}")
    return code


def read_lines(source: str) -> list[bytes]:
    """The JSON of each line of `@file` or of standard input; raises BadParameter as `enqueue_lines` does."""
    with _opened(source, "@FILE") as (lines, _):
        return [line.payload for line in _lines(lines, source, "@FILE")]


class _opened:
    """The lines of `@file` or of standard input, and how many bytes there are; `None` where nobody knows."""

    def __init__(self, source: str, option: str = "--payloads") -> None:
        if source != "-" and not source.startswith("@"):
            raise typer.BadParameter("say @file, or - for standard input", param_hint=option)
        self._option = option
        self._name = source[1:]
        self._file: IO[bytes] | None = None

    def __enter__(self) -> tuple[IO[bytes], int | None]:
        if not self._name:
            return sys.stdin.buffer, None
        try:
            self._file = Path(self._name).open("rb")
            self._file.peek(1)  # a folder opens, and cannot be read
            return self._file, Path(self._name).stat().st_size
        except OSError as error:
            raise typer.BadParameter(f"{self._name!r} cannot be read: {error.strerror}", param_hint=self._option) from error

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()


def _lines(lines: IO[bytes], source: str, option: str = "--payloads") -> Iterator[Line]:
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        if len(text) > LARGEST_SENT:
            raise typer.BadParameter(f"line {number} is larger than a request may be: enqueue it by --payload", param_hint=option)
        yield Line(number, read_json(text.strip(), f"{option} {source}, line {number}"))


def _chunks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    chunk: list[Line] = []
    size = 0
    for line in lines:
        needed = len(line.payload) + 1000  # the other fields of a job
        if chunk and (len(chunk) == LARGEST_CHUNK or size + needed > LARGEST_SENT):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += needed
    if chunk:
        yield chunk


def _sent(connection: Connection, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What became of each job. What comes and goes at AWS is tried again: the jobs' keys make that safe."""
    pause = FIRST_PAUSE
    for left in reversed(range(TRIES)):
        try:
            items: list[dict[str, Any]] = ask(connection, "POST", "/jobs/batch", ("items",), json=body).body["items"]
        except (Unavailable, Unreachable, ServerError):
            if not left:
                raise
        else:
            if not left or not any(item["status"] in (429, 503) for item in items):
                return items
        time.sleep(pause)
        pause *= 2
    raise AssertionError("the last try returns or raises")


def _show(output: Output, job: dict[str, Any]) -> None:
    if output is Output.NAME:
        screen.write(screen.plain(job["id"]))
    elif output is not Output.TABLE:
        screen.show_line(msgspec.json.encode(job))
