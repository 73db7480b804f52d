"""The JSON gate: what passes comes out as it went in, what does not is refused by name and place, and nothing is ever slow or worse."""

from __future__ import annotations

import json
import time
from typing import Any, NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobline.errors import InvalidJson
from jobline.strict_json import DEEPEST, parse

BODY_LIMIT = 2_500_000


def refusal(body: bytes | str) -> tuple[int, str, str]:
    """Byte offset, pointer and reason of the refusal of `body`."""
    with pytest.raises(InvalidJson) as refused:
        parse(body.encode() if isinstance(body, str) else body)
    (problem,) = refused.value.problems
    assert problem["detail"] in refused.value.detail
    return refused.value.extra["offset"], problem["pointer"], problem["detail"]


@pytest.mark.parametrize(
    ("body", "offset", "pointer", "reason"),
    [
        ('{"payload": {"n": NaN}}', 18, "/payload/n", "NaN"),
        ('{"payload": [1, Infinity]}', 16, "/payload/1", "Infinity"),
        ('{"payload": -Infinity}', 12, "/payload", "-Infinity"),
        ('{"payload": 1e400}', 12, "/payload", "infinity"),
        ('{"payload": -1.5E+309}', 12, "/payload", "infinity"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', 23, "/b/c", "twice"),
        ('{"queue": 1, "queue": 1}', 13, "/queue", "twice"),
        ('{"a": 1, "\\u0061": 2}', 9, "/a", "twice"),
        ('{"a": ["x\\ud800"]}', 7, "/a/0", "surrogate"),
        ('{"a": "\\udc00\\ud83d"}', 6, "/a", "surrogate"),
        ('{"\\ud800": 1}', 1, "", "surrogate"),
        ('{"a": 123456789012345678901234567890123456789}', 6, "/a", "38 digits"),
        ('{"a": -123456789012345678901234567890123456789}', 6, "/a", "38 digits"),
        (b'{"a": "\xff"}', 7, "/a", "UTF-8"),
        (b'{"a": {"b": [0, "\xed\xa0\x80"]}}', 17, "/a/b/1", "UTF-8"),
        (b"\xef\xbb\xbf{}", 0, "", "byte order mark"),
        ("", 0, "", "empty"),
        (" \n\t\r", 0, "", "empty"),
        ('{"a": 1} x', 9, "", "after the JSON value"),
        ("{}{}", 2, "", "after the JSON value"),
        ("\u00e9{}", 0, "", "unexpected"),
        ('{"\u00e9": +1}', 7, "/\u00e9", "+1"),
        ('{"a": [1, 2', 11, "/a/1", "expected ',' or ']'"),
        ('{"a": [1,]}', 9, "/a/1", "unexpected"),
        ('{"a": 1,}', 8, "", "name of a member"),
        ("{a: 1}", 1, "", "name of a member"),
        ("{'a': 1}", 1, "", "name of a member"),
        ('{"a" 1}', 5, "/a", "expected ':'"),
        ('{"a": 1 "b": 2}', 8, "/a", "expected ',' or '}'"),
        ('{"a":', 5, "/a", "ends"),
        ('{"a": "b', 6, "/a", "string"),
        ('{"a": "\t"}', 7, "/a", "string"),
        ('{"a": "\\x"}', 7, "/a", "string"),
        ('{"a": "\\u12g4"}', 8, "/a", "string"),
        ('{"a": 01}', 6, "/a", "01"),
        ('{"a": 1.}', 6, "/a", "1."),
        ('{"a": .5}', 6, "/a", ".5"),
        ('{"a": 0x10}', 6, "/a", "0x10"),
        ('{"a": 1_000}', 6, "/a", "1_000"),
        ('{"a": True}', 6, "/a", "True"),
        ('{"a": nul}', 6, "/a", "nul"),
        ('{"a": \u0661}', 6, "/a", "unexpected"),
        ('{"a/b": {"~": NaN}}', 14, "/a~1b/~0", "NaN"),
        ("[" * 65 + "]" * 65, 64, "/0" * 64, "deeper than 64"),
        ('{"a":' * 65 + "1" + "}" * 65, 320, "/a" * 64, "deeper than 64"),
        ('{"a": "\x00"}', 7, "/a", "string"),
        ("// no\n{}", 0, "", "unexpected"),
    ],
)
def test_what_is_not_strict_json_is_refused_by_name_and_place(body: bytes | str, offset: int, pointer: str, reason: str) -> None:
    found_offset, found_pointer, found_reason = refusal(body)
    assert reason in found_reason
    assert (found_offset, found_pointer) == (offset, pointer)


@pytest.mark.parametrize(
    "written",
    [
        "0.1",
        "1.0",
        "1",
        "-0",
        "-0.0",
        "1e2",
        "1E+02",
        "9223372036854775808",
        "99999999999999999999999999999999999999",
        "0." + "1" * 200,
        "1.7976931348623157e308",
        "1e-400",
        '"\\ud83d\\ude00"',
        '"😀"',
        '"\\u0000"',
        '"\\u0041\\/"',
        "[ ]",
        "{ }",
        "[1 , 2]",
        '{"b":1, "a":2}',
        "null",
        "true",
        '"\u2028"',
        '"NaN"',
        '"' + "1" * 50 + '"',
        '"1e999"',
        '"\\\\ud800"',
        "[" * 63 + "]" * 63,
        '"' + "[" * 99 + '"',
    ],
)
def test_a_value_comes_out_byte_for_byte_as_it_was_written(written: str) -> None:
    document = parse(f' {{"queue" : "q",\n "payload" :  {written}\t, "z": 1}} '.encode())
    assert document.source("payload") == written
    assert document.value["payload"] == json.loads(written)


def test_an_outermost_value_that_is_no_object_passes_and_has_no_members() -> None:
    assert parse(b" [1, 2] ").value == [1, 2]
    assert parse(b"null").spans == {}


def test_a_refusal_stays_short_when_names_are_long() -> None:
    _, pointer, _ = refusal('{"a": {"' + "x" * 100_000 + '": NaN}}')
    assert pointer == "/a"
    with pytest.raises(InvalidJson) as refused:
        parse(b'{"a": ' + b"w" * 100_000 + b"}")
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize(
    "body",
    [
        b"[" * BODY_LIMIT,
        b'{"a":' * (BODY_LIMIT // 5),
        b"1" * BODY_LIMIT,
        b"-0." + b"1" * BODY_LIMIT,
        b"1e" + b"1" * BODY_LIMIT,
        b'"' * BODY_LIMIT,
        b"[" * 65 + b'"' + b'\\"' * (BODY_LIMIT // 2),
        b"[[]," * 33 + b'"' + b'\\"' * (BODY_LIMIT // 2),
        b" " * BODY_LIMIT + b"x",
        b'{"a":' + b" " * BODY_LIMIT + b"}",
        b"[" + b"1," * (BODY_LIMIT // 2) + b"NaN]",
        b'["' + (b"1" * 38 + b"x") * (BODY_LIMIT // 39) + b"\\ud800",
        b'["' + b"\\ud83d" * (BODY_LIMIT // 6) + b'"]',
        b"{" + b",".join(b'"%d":1' % number for number in range(BODY_LIMIT // 10)) + b',"0":1}',
        b"1e+" * (BODY_LIMIT // 3),
    ],
    ids=lambda body: body[:12].decode() + "…",
)
def test_the_largest_hostile_body_costs_time_in_proportion(body: bytes) -> None:
    began = time.process_time()
    try:
        parse(body)
        detail = ""
    except InvalidJson as refused:
        detail = refused.detail
    assert len(detail) < 1000
    # About 3 s at worst on a slow core; anything quadratic would take minutes.
    assert time.process_time() - began < 20


# What follows compares the gate with an oracle: Python's own parser with every leniency closed, slowly and recursively.


def oracle(body: bytes) -> Any:
    """The value, or ValueError."""

    def constant(name: str) -> NoReturn:
        raise ValueError(name)

    def integer(digits: str) -> int:
        if len(digits.lstrip("-")) > 38:
            raise ValueError(digits)
        return int(digits)

    def number(text: str) -> float:
        if abs(float(text)) == float("inf"):
            raise ValueError(text)
        return float(text)

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("duplicate")
        return dict(pairs)

    def check(value: Any, depth: int) -> None:
        if isinstance(value, str):
            value.encode()
        elif isinstance(value, (list, dict)):
            if depth == DEEPEST:
                raise ValueError("deep")
            for part in value if isinstance(value, list) else [*value.keys(), *value.values()]:
                check(part, depth + 1)

    value = json.loads(body.decode(), parse_constant=constant, parse_int=integer, parse_float=number, object_pairs_hook=members)
    check(value, 0)
    return value


def verdict(read: Any, body: bytes) -> Any:
    try:
        return repr(read(body))
    except ValueError:
        return "refused"
    except InvalidJson:
        return "refused"


scalars = st.one_of(st.none(), st.booleans(), st.integers(-(10**40), 10**40), st.floats(), st.text(st.characters()))
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)), max_leaves=12
)
spacing = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r ")])


@given(values, spacing, st.booleans())
@example({"a": [1.0, 2**63, "\U0001f600"]}, (",", ":"), True)
def test_whatever_is_written_is_judged_as_the_oracle_judges_it(value: Any, separators: tuple[str, str], ascii_only: bool) -> None:
    body = json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert verdict(lambda text: parse(text).value, body) == verdict(oracle, body)


FRAGMENTS = ["{", "}", "[", "]", ",", ":", '"a"', '"b"', '"', "\\", "\\ud83d", "\\ude00", "1", "-", "0", ".", "e", "E5", "e400", "9" * 39]
FRAGMENTS += [
    "NaN",
    "Infinity",
    "true",
    "null",
    " ",
    "\n",
    "\u00e9",
    "\ufeff",
    "\x00",
    "\x1f",
    "[" * 64,
    "]" * 64,
    '"\\"',
    "{}",
    '{"a":1}',
    "\x85",
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join))
@example("[" * 64 + "]" * 64)
@example('{"a":' + "[" * 63 + "]" * 63 + "}")
@example('{"a":' + "[" * 64 + "]" * 64 + "}")
@example("\x85")
def test_whatever_is_put_together_from_pieces_is_judged_as_the_oracle_judges_it(text: str) -> None:
    body = text.encode()
    assert verdict(lambda text: parse(text).value, body) == verdict(oracle, body)


@given(st.binary(max_size=40))
def test_no_bytes_give_anything_but_a_document_or_a_refusal(body: bytes) -> None:
    assert verdict(lambda text: parse(text).value, body) == verdict(oracle, body)


@given(st.dictionaries(st.text(max_size=5), values, max_size=5), spacing)
def test_every_member_of_an_accepted_body_is_a_slice_that_means_its_value(value: dict[str, Any], separators: tuple[str, str]) -> None:
    body = json.dumps(value, separators=separators, allow_nan=True).encode()
    try:
        document = parse(body)
    except InvalidJson:
        return
    assert document.spans.keys() == value.keys()
    for name in value:
        assert repr(json.loads(document.source(name))) == repr(document.value[name])
        assert document.source(name) == document.source(name).strip()
