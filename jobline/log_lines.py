"""Log lines: whatever is logged becomes one line that is one JSON object, without the secrets that this process knows of."""

from __future__ import annotations

import io
import json
import logging
import math
import re
from collections.abc import Mapping
from typing import Any, Final, TextIO

from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

from jobline.log import RUNNING_JOB
from jobline.redaction import Redactor
from jobline.secret_fields import HIDDEN

LONGEST_TEXT: Final = 8_000
"""Characters of one text in a line; what is longer is cut, and says so."""
LONGEST_LINE: Final = 100_000
"""Characters of a line (CloudWatch takes 256 KB: "CloudWatch Logs quotas"); of a longer one only the beginning is told, as text."""
MOST_MEMBERS: Final = 200
DEEPEST: Final = 16
_AS_IT_IS: Final = frozenset({"level", "timestamp"})
_RISKY: Final = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What JSON lets stand and readers of lines do not: further line ends, terminals' controls, halves of characters."""


def log_line(fields: Mapping[str, Any], redactor: Redactor) -> str:
    """One line of JSON that says `fields`, whatever they are. Never raises.

    What JSON cannot say is said as text; long texts, long lists and deep structures are cut with a mark.
    """
    plain = {name: value if name in _AS_IT_IS else _plain(value, redactor, DEEPEST) for name, value in fields.items()}
    line = _dump(plain)
    if len(line) > LONGEST_LINE:
        kept = {name: plain[name] for name in ("level", "timestamp", "service") if name in plain}
        line = _dump({**kept, "message": _cut(line, LONGEST_TEXT)})
    return line


def redacted_line(text: str, redactor: Redactor) -> str:
    """A line that somebody else wrote, without secrets; JSON stays JSON."""
    if redactor.idle:
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return redactor.redact(text)
    ending = text[len(text.rstrip()) :]
    return (log_line(found, redactor) if isinstance(found, dict) else redactor.redact(text.rstrip())) + ending


def _dump(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A page that shows the line in a script element must not end it there.
    return _RISKY.sub(_escaped, text).replace("</", "<\\/")


def _escaped(found: re.Match[str]) -> str:
    return "\ufffd" if "\ud800" <= found[0] <= "\udfff" else f"\\u{ord(found[0]):04x}"


def _plain(value: Any, redactor: Redactor, depth: int) -> Any:
    """The value as JSON can say it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _cut(redactor.redact(str.__str__(value)))
    if isinstance(value, (int, float)):
        return _number(value, redactor)
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        if depth == 0:
            return "(deeper than is told)"
        try:
            return _members(value, redactor, depth - 1)
        except Exception as error:  # changed by another thread, or a subclass with ideas of its own
            return f"({type(value).__name__} that cannot be told: {type(error).__name__})"
    return _cut(redactor.redact(_told(value)))


def _number(value: float, redactor: Redactor) -> Any:
    plain = int(value) if isinstance(value, int) else float(value)
    if isinstance(plain, float) and not math.isfinite(plain):
        return repr(plain)
    if isinstance(plain, int) and abs(plain) >= 1 << 128:
        return "(a number of more than 38 digits)"
    return HIDDEN if not redactor.idle and redactor.redact(str(plain)) != str(plain) else plain


def _members(value: Any, redactor: Redactor, depth: int) -> Any:
    if isinstance(value, dict):
        members = list(value.items())
        told: dict[str, Any] = {}
        for name, member in members[:MOST_MEMBERS]:
            told[_cut(redactor.redact(name if type(name) is str else _told(name)), 200)] = _plain(member, redactor, depth)
        return told if len(members) <= MOST_MEMBERS else told | {"…": f"{len(members) - MOST_MEMBERS} more"}
    elements = list(value)
    kept = [_plain(element, redactor, depth) for element in elements[:MOST_MEMBERS]]
    return kept if len(elements) <= MOST_MEMBERS else [*kept, f"… {len(elements) - MOST_MEMBERS} more"]


def _told(value: Any) -> str:
    try:
        return str.__str__(repr(value) if isinstance(value, (bytes, bytearray, memoryview)) else str(value))
    except Exception:
        return f"({type(value).__name__} that cannot be shown)"


def _cut(text: str, most: int = LONGEST_TEXT) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


class LineFormatter(LambdaPowertoolsFormatter):
    """Powertools' fields, written by `log_line`; a text stays a text, even if it could be read as JSON."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__(utc=True, json_deserializer=str)
        self._redactor = redactor

    def serialize(self, log: Any) -> str:
        return log_line(_of_its_job(log), self._redactor)

    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except Exception as error:
            # Arguments that do not fit the message, an exception that cannot be shown: the line is still worth having.
            said = {"level": record.levelname, "location": f"{record.funcName}:{record.lineno}", "message": record.msg}
            return log_line({**said, "arguments": record.args, "not_formatted": error}, self._redactor)


class RedactedFormatter(logging.Formatter):
    """What another formatter writes, without secrets: for the handlers that were there before ours."""

    def __init__(self, inner: logging.Formatter, redactor: Redactor) -> None:
        super().__init__()
        self._inner = inner
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return redacted_line(self._inner.format(record), self._redactor)


class Printed(io.TextIOBase):
    """A standard output whose lines are log lines: what handlers and libraries print is wrapped, one JSON object a line.

    A line that is a JSON object already, such as a metric, stays what it is, without secrets.
    """

    def __init__(self, out: TextIO, redactor: Redactor) -> None:
        super().__init__()
        self._out = out
        self._redactor = redactor
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        if len(self._begun) > LONGEST_LINE:
            lines, self._begun = [*lines, self._begun], ""
        for line in lines:
            self._tell(line)
        return len(text)

    def flush(self) -> None:
        """Passes on what is whole: the rest of a line may come yet."""
        self._out.flush()

    def fileno(self) -> int:
        return self._out.fileno()

    def _tell(self, line: str) -> None:
        if line.strip():
            self._out.write(self._wrapped(line) + "\n")

    def _wrapped(self, line: str) -> str:
        if line.startswith("{") and "\r" not in line:
            try:
                if isinstance(json.loads(line, parse_constant=_refuse), dict):
                    return _RISKY.sub(_escaped, redacted_line(line, self._redactor))
            except (ValueError, RecursionError):
                pass
        return log_line(_of_its_job({"level": "INFO", "message": line, "printed": True}), self._redactor)


def _of_its_job(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields with the job whose handler is writing, if one is and nothing else is said."""
    running = RUNNING_JOB.get()
    return fields if running is None or "job" in fields else {**fields, "job": running}


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
