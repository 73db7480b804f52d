"""Redaction: takes secrets out of texts that are about to be written where people read: errors, notes and log lines.

It knows secrets by their values, so it finds them wherever a library put them, in the forms in which programs quote texts. It cannot
find what was computed from one (a hash, the second half).
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Final
from urllib.parse import quote, quote_plus

from jobline.secret_fields import HIDDEN

LONGEST_WORD: Final = 5
"""Characters of a secret that is only hidden where it stands alone: shorter ones are parts of any text."""
_PART: Final = 8
"""Characters of a part of a secret (a line, a word, a member of its JSON) that is hidden by itself."""
_LONG: Final = 4_000
"""Characters of a secret of which forms inside other forms are no more looked for: each takes its room."""
_HEAD: Final = 12
_HAS_HEAD: Final = 24
"""A secret of so many characters is also hidden where only its beginning was quoted, `_HEAD` characters or more."""

_FORMS: Final[Sequence[Callable[[str], str]]] = (
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: repr(text)[1:-1],
    lambda text: repr('"' + text)[2:-1],  # inside a longer text that has both kinds of quotes
    lambda text: ascii(text)[1:-1],
    lambda text: ascii('"' + text)[2:-1],
    lambda text: repr(text.encode("utf-8", "surrogatepass"))[2:-1],
    lambda text: repr(b'"' + text.encode("utf-8", "surrogatepass"))[3:-1],
    lambda text: quote(text, safe="", errors="replace"),
    lambda text: quote(text, errors="replace"),
    lambda text: quote_plus(text, errors="replace"),
    html.escape,
)


class Redactor:
    """What one process knows of secrets at this moment. While it knows none, it costs nothing. Safe to use from several threads."""

    def __init__(self) -> None:
        self._kept: dict[str, None] = {}
        self._held: dict[str, Sequence[str]] = {}
        self._whole: re.Pattern[str] | None = None
        self._long: list[str] = []
        self._lock = Lock()
        self._known = True

    def keep(self, secret: str) -> None:
        """Hides a secret of the worker's from now on, with its parts: words, and the values in its JSON."""
        found = [secret, *(word for word in secret.split() if len(word) >= _PART), *_leaves(secret)]
        with self._lock:
            self._kept |= dict.fromkeys(found)
            self._known = False

    def hold(self, key: str, secrets: Sequence[str]) -> None:
        """Hides secrets until `release(key)`."""
        if secrets:
            with self._lock:
                self._held[key] = secrets
                self._known = False

    def release(self, key: str) -> None:
        if key in self._held:
            with self._lock:
                del self._held[key]
                self._known = False

    @contextmanager
    def holding(self, key: str, secrets: Sequence[str]) -> Iterator[None]:
        self.hold(key, secrets)
        try:
            yield
        finally:
            self.release(key)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to hide."""
        return not self._kept and not self._held

    def redact(self, text: str) -> str:
        """The text with `***` in the place of every secret, in whatever form it is quoted."""
        if self.idle:
            return text
        self._learn()
        if self._whole is not None:
            text = self._whole.sub(HIDDEN, text)
        for form in self._long:
            text = _without_head(text, form)
        return text

    def _learn(self) -> None:
        with self._lock:
            if self._known:
                return
            forms = {form for secret in [*self._kept, *(s for held in self._held.values() for s in held)] for form in forms_of(secret)}
            patterns = [_alone(form) if len(form) <= LONGEST_WORD else re.escape(form) for form in sorted(forms, key=len, reverse=True)]
            self._whole = re.compile("|".join(patterns)) if patterns else None
            self._long = [form for form in forms if len(form) >= _HAS_HEAD]
            self._known = True


def forms_of(secret: str) -> set[str]:
    """How programs write a text: as it is, in JSON, as Python's `repr`, in a URL, in HTML, in base64, and one inside another."""
    texts = {secret, *(line for line in secret.splitlines() if len(line) >= _PART)} - {""}
    forms = set(texts)
    for _ in range(2 if len(secret) < _LONG else 1):
        forms |= {write(text) for text in forms for write in _FORMS}
    forms |= {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in forms}
    if len(secret) > LONGEST_WORD:
        data = secret.encode("utf-8", "surrogatepass")
        forms |= {encode(data).decode().rstrip("=") for encode in (base64.b64encode, base64.urlsafe_b64encode)}
    return {form for form in forms if form.strip()}


def _alone(word: str) -> str:
    return rf"(?<![^\W_]){re.escape(word)}(?![^\W_])"


def _without_head(text: str, form: str) -> str:
    at = text.find(form[:_HEAD])
    while at >= 0:
        end = at + _HEAD
        while end < len(text) and end - at < len(form) and text[end] == form[end - at]:
            end += 1
        text = text[:at] + HIDDEN + text[end:]
        at = text.find(form[:_HEAD], at + len(HIDDEN))
    return text


def _leaves(text: str) -> Iterator[str]:
    """The texts in a secret that is JSON, as Secrets Manager keeps pairs; names are no secrets."""
    if not text.lstrip().startswith(("{", "[")):
        return
    try:
        todo = [json.loads(text)]
    except (ValueError, RecursionError):
        return
    while todo:
        value = todo.pop()
        if isinstance(value, (dict, list)):
            todo += value.values() if isinstance(value, dict) else value
        elif value is not None and not isinstance(value, bool):
            yield str(value)
