"""The gate for JSON from outside: what it lets through means one thing to everybody, and nothing else passes.

Refused, with the place named: NaN, Infinity, numbers that no float holds (1e400), integers over 38 digits, duplicate keys, lone
surrogates, nesting over 64, invalid UTF-8, a byte order mark, an empty text, anything after the value. Every check is linear
in the text's length and none recurses deeper than 64, whatever the text.

A member's value can be had as it was written (`Document.source`): a payload is stored as that very slice, so numbers, spacing
and order come out byte for byte as they went in.

It works in two steps. Python's C scanner reads the text with its known leniencies closed or searched for beforehand. Only what
that does not accept outright is walked through by hand (`_Inspector`), which alone judges, and knows the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]  # missing in typeshed; the C scanner of one JSON string
from typing import Any, Final, NamedTuple, NoReturn

from jobline.errors import FieldProblem, InvalidJson

DEEPEST: Final = 64
"""Arrays and objects inside each other, in the whole text."""
MOST_DIGITS: Final = 38
"""Digits of an integer: what DynamoDB's numbers and SQL's decimals hold (DynamoDB, data types)."""
_LONGEST_POINTER: Final = 500

_BLANK: Final = " \t\n\r"
_SPACE: Final = re.compile(f"[{_BLANK}]*")
_NUMBER: Final = r"-?(?P<integer>0|[1-9][0-9]*+)(?P<rest>(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
_WORD: Final = r"-?[A-Za-z0-9_+.-]+"
_CONSTANTS: Final = ("true", "false", "null")
_SURROGATE: Final = "[\ud800-\udfff]"
_BRACKET_OR_STRING: Final = r'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{}]'
# What json.loads takes though we may not: long numbers, large exponents, escaped surrogates. A hit only means a closer look.
_SUSPICIOUS: Final = re.compile(r"(?<![0-9])[0-9]{39}|[0-9][eE][+-]?[0-9]{3}|\\u[dD][89a-fA-F]")


class Document(NamedTuple):
    """A JSON text that passed: its value, and where the members of an outermost object stand."""

    text: str
    value: Any
    spans: dict[str, tuple[int, int]]
    """Name of each member of the outermost object → start and end of its value in `text`; empty for other values."""

    def source(self, name: str) -> str:
        """The value of that member exactly as it was written."""
        start, end = self.spans[name]
        return self.text[start:end]

    def member(self, name: str) -> Document:
        """The value of that member as a document of its own; places in it are told from its own beginning."""
        return _scan(self.source(name))

    def elements(self, name: str) -> Iterator[Document]:
        """Each element of the array in that member as a document of its own; places in it are told from its own beginning."""
        at = _skip(self.text, self.spans[name][0] + 1)
        while self.text[at] != "]":
            _, end = _DECODER.raw_decode(self.text, at)
            yield _scan(self.text[at:end])
            at = _skip(self.text, end)
            at = _skip(self.text, at + 1) if self.text[at] == "," else at


def parse(body: bytes) -> Document:
    """The document in `body`, or InvalidJson that names the byte and the JSON pointer at which it stops being one."""
    text = _text(body)
    document = _parse_plain(text)
    if document is None:
        _Inspector(text).inspect()
        document = _scan(text)
    return document


class _Lenient(ValueError):
    """The C scanner met something that it would take and we may not."""


def _text(body: bytes) -> str:
    if body.startswith(b"\xef\xbb\xbf"):
        raise _invalid("a byte order mark is not JSON", 0, "")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _invalid("the text is not valid UTF-8", error.start, _Inspector(body[: error.start].decode()).pointer_at_end()) from None
    if not text.strip(_BLANK):
        raise _invalid("the text is empty", 0, "")
    return text


def _parse_plain(text: str) -> Document | None:
    """The document, if it is certainly fine; `None` if somebody has to look closer."""
    if _SUSPICIOUS.search(text) or not _is_shallow(text):
        return None
    try:
        return _scan(text)
    except ValueError:
        return None


def _is_shallow(text: str) -> bool:
    if text.count("[") + text.count("{") <= DEEPEST:
        return True
    depth = 0
    for match in re.finditer(_BRACKET_OR_STRING, text):
        first = text[match.start()]
        if first in "[{":
            depth += 1
            if depth > DEEPEST:
                return False
        elif first in "]}":
            depth -= 1
        elif match.end() - match.start() == 1:
            # A string without an end: from here on every quote would be searched to the end of the text.
            return False
    return True


def _scan(text: str) -> Document:
    """Reads the text with the C scanner; ValueError for whatever it or we do not take outright."""
    start = _skip(text, 0)
    if text[start : start + 1] != "{":
        value, end = _DECODER.raw_decode(text, start)
        if _skip(text, end) != len(text):
            raise _Lenient
        return Document(text, value, {})
    value, spans, at = {}, {}, _skip(text, start + 1)
    more = text[at : at + 1] != "}"
    while more:
        if text[at : at + 1] != '"':
            raise _Lenient
        name, at = scanstring(text, at + 1, True)
        at = _skip(text, at)
        if text[at : at + 1] != ":" or name in value:
            raise _Lenient
        at = _skip(text, at + 1)
        value[name], end = _DECODER.raw_decode(text, at)
        spans[name] = at, end
        at = _skip(text, end)
        more = text[at : at + 1] == ","
        at = _skip(text, at + 1) if more else at
    if text[at : at + 1] != "}" or _skip(text, at + 1) != len(text):
        raise _Lenient
    return Document(text, value, spans)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _Lenient
    return value


def _constant(_: str) -> NoReturn:
    raise _Lenient


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


class _Inspector:
    """Walks a text by hand and raises InvalidJson at the first thing that is wrong with it."""

    def __init__(self, text: str) -> None:
        self._text = text
        # Compiled when first needed: most texts are never looked at by hand, and a cold start need not pay for it.
        self._number_at, self._word_at, self._surrogate = re.compile(_NUMBER), re.compile(_WORD), re.compile(_SURROGATE)
        self._path: list[str | int] = []
        """Where we are: for each container around us, the member's name or the element's number (-1: before the first)."""

    def inspect(self) -> None:
        end = self._space(self._value(self._space(0)))
        if end != len(self._text):
            self._fail("there is something after the JSON value", end)

    def pointer_at_end(self) -> str:
        """The pointer to where a text that was cut off ends, or to what is wrong before that."""
        try:
            self.inspect()
        except InvalidJson as error:
            return error.problems[0]["pointer"]
        return ""

    def _value(self, at: int) -> int:
        first = self._text[at : at + 1]
        match first:
            case "{" | "[":
                if len(self._path) >= DEEPEST:
                    self._fail(f"nesting is deeper than {DEEPEST}", at)
                return self._members(at + 1) if first == "{" else self._elements(at + 1)
            case '"':
                return self._string(at)[1]
            case "":
                self._fail("the text ends before its value does", at)
            case _:
                return self._scalar(at)

    def _elements(self, at: int) -> int:
        at = self._space(at)
        if self._text[at : at + 1] == "]":
            return at + 1
        self._path.append(0)
        while True:
            at = self._space(self._value(at))
            match self._text[at : at + 1]:
                case ",":
                    self._path[-1] += 1  # type: ignore[operator]  # an element's number
                    at = self._space(at + 1)
                case "]":
                    self._path.pop()
                    return at + 1
                case _:
                    self._fail("expected ',' or ']'", at)

    def _members(self, at: int) -> int:
        at = self._space(at)
        if self._text[at : at + 1] == "}":
            return at + 1
        names: set[str] = set()
        while True:
            if self._text[at : at + 1] != '"':
                self._fail("expected the name of a member in double quotes", at)
            start = at
            name, at = self._string(at)
            self._path.append(name)
            if name in names:
                self._fail("the same name stands twice in one object", start)
            names.add(name)
            at = self._space(at)
            if self._text[at : at + 1] != ":":
                self._fail("expected ':'", at)
            at = self._space(self._value(self._space(at + 1)))
            if self._text[at : at + 1] not in {",", "}"}:
                self._fail("expected ',' or '}'", at)
            self._path.pop()
            if self._text[at] == "}":
                return at + 1
            at = self._space(at + 1)

    def _string(self, at: int) -> tuple[str, int]:
        try:
            value, end = scanstring(self._text, at + 1, True)
        except json.JSONDecodeError as error:
            self._fail(f"a string is not well formed ({error.msg.rstrip(' at').lower()})", error.pos)
        if self._surrogate.search(value):
            self._fail("a string has half of a surrogate pair, which is no character", at)
        return value, end

    def _scalar(self, at: int) -> int:
        number = self._number_at.match(self._text, at)
        word = self._word_at.match(self._text, at)
        end = word.end() if word else at + 1
        if number and number.end() == end:
            self._number(number)
        elif self._text[at:end] not in _CONSTANTS:
            shown = self._text[at : min(end, at + 20)]
            self._fail(f"{shown!r} is not a JSON value" if word else f"unexpected {shown!r}", at)
        return end

    def _number(self, number: re.Match[str]) -> None:
        if not number["rest"]:
            if len(number["integer"]) > MOST_DIGITS:
                self._fail(f"an integer has more than {MOST_DIGITS} digits", number.start())
        elif float(number[0]) in {float("inf"), float("-inf")}:
            self._fail("a number is too large: programs would read it as infinity", number.start())

    def _space(self, at: int) -> int:
        return _skip(self._text, at)

    def _fail(self, what: str, at: int) -> NoReturn:
        raise _invalid(what, len(self._text[:at].encode()), _pointer(self._path))


def _pointer(path: list[str | int]) -> str:
    """The RFC 6901 pointer to this place, or to the nearest one around it whose pointer is of a readable length."""
    pointer = ""
    for part in path:
        name = str(part).replace("~", "~0").replace("/", "~1")
        if len(pointer) + len(name) > _LONGEST_POINTER:
            break
        pointer += f"/{name}"
    return pointer


def _invalid(what: str, offset: int, pointer: str) -> InvalidJson:
    where = f"byte {offset}" + (f" ({pointer})" if pointer else "")
    return InvalidJson(f"Not strict JSON at {where}: {what}.", problems=(FieldProblem(pointer, what),), offset=offset)
