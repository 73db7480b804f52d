"""Typst, in a process of its own that can open nothing: no file, no connection.

This file is both sides: `typeset` is called by the handler; run as a program it reads a request from its input and sets one document.
A template may be anybody's, so that process has no credentials in its environment, a limit of memory and of time, and, once the
library is loaded, not one file descriptor to be had: the kernel refuses whatever would open a file or a socket.
"""

from __future__ import annotations

import importlib.util
import json
import re
import resource
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

MOST_MEMORY: Final = 1024 * 1024 * 1024
"""Bytes of address space of the process that sets a document."""
MOST_WARNINGS: Final = 10
LARGEST_PDF: Final = 100 * 1024 * 1024
_PLACE: Final = re.compile(r"─ .*:(\d+):(\d+)$", re.MULTILINE)
"""Where Typst's diagnostic says the error is: line and column."""


@dataclass(frozen=True)
class Document:
    pdf: bytes
    pages: int
    warnings: list[str]
    """What Typst did otherwise than the template says, a font that is not there for example; ten at most."""


def typeset(template: str, data: str, *, made_at: datetime, standard: str, seconds: float) -> Document:
    """The document. `data` is JSON, which the template finds in `sys.inputs.data`; equal arguments make equal bytes.

    Raises NonRetryable, with line and message, when the template is wrong, or when it takes more memory or time than there is.
    """
    from jobline import NonRetryable

    request = {"template": template, "data": data, "made_at": int(made_at.timestamp()), "standard": standard}
    command = [
        sys.executable,
        "-I",
        "-S",
        "-B",
        str(Path(__file__).resolve()),
        _folder_of("typst"),
        str(int(seconds) + 1),
        str(MOST_MEMORY),
    ]
    try:
        # Its environment is empty: this process's has credentials. `run` kills it when the time is over, whoever says so.
        with tempfile.TemporaryDirectory() as empty:
            text = json.dumps(request).encode()
            done = subprocess.run(command, input=text, capture_output=True, timeout=seconds, env={}, cwd=empty)  # noqa: S603  our own
    except subprocess.TimeoutExpired:
        raise NonRetryable(f"the document was not set in {seconds:.0f} s") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise NonRetryable(f"the document takes more memory ({MOST_MEMORY} bytes) or time than a template may: {name}")
    head, _, pdf = done.stdout.partition(b"\n")
    if done.returncode or not head:
        raise RuntimeError(f"the typesetter failed: {done.stderr.decode(errors='replace')[-1000:]}")
    answer = json.loads(head)
    if "error" in answer:
        raise NonRetryable(f"template: {answer['error']}")
    if len(pdf) > LARGEST_PDF:
        raise NonRetryable(f"the document has {len(pdf)} bytes; at most {LARGEST_PDF} are kept")
    return Document(pdf, _pages(pdf), answer["warnings"])


def _folder_of(library: str) -> str:
    """The folder that a library is imported from."""
    found = importlib.util.find_spec(library)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"No module named {library!r}")
    return str(Path(found.origin).parents[1])


def _pages(pdf: bytes) -> int:
    from pypdf import PdfReader

    return len(PdfReader(BytesIO(pdf)).pages)


def main(libraries: str, *, seconds: int, memory: int) -> None:
    """Sets the document of the request that comes in; goes out: one line of JSON and, if there is one, the PDF."""
    sys.path.insert(0, libraries)
    import typst

    request = json.loads(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    answer: dict[str, Any]
    pdf = b""
    try:
        pdf, warnings = typst.compile_with_warnings(
            request["template"].encode(),
            root=".",
            ignore_system_fonts=True,
            sys_inputs={"data": request["data"]},
            pdf_standards=[request["standard"]],
            timestamp=request["made_at"],
        )
        answer = {"warnings": [warning.message for warning in warnings[:MOST_WARNINGS]]}
    except typst.TypstError as error:
        answer = {"error": _told(error)}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + pdf)
    sys.stdout.buffer.flush()


def _told(error: Any) -> str:
    """An error of Typst's as one sentence: its place, what is wrong, and what may help."""
    place = _PLACE.search(error.diagnostic)
    where = f"line {place[1]}, column {int(place[2]) + 1}: " if place else ""  # it counts columns from 0
    hints = f" ({'; '.join(error.hints)})" if error.hints else ""
    return f"{where}{error.message}{hints}"[:1500]


if __name__ == "__main__":
    main(sys.argv[1], seconds=int(sys.argv[2]), memory=int(sys.argv[3]))
