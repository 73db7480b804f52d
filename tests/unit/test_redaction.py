"""Secrets are found by their values, in the forms in which programs quote them."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobline.redaction import LONGEST_WORD, Redactor


def redacted(text: str, *secrets: str) -> str:
    redactor = Redactor()
    redactor.hold("job", secrets)
    return redactor.redact(text)


WRITERS = {
    "plain": str,
    "repr": repr,
    "ascii": ascii,
    "json": json.dumps,
    "json in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps({"a": text})),
    "repr of json": lambda text: repr(json.dumps([text])),
    "bytes": lambda text: repr(text.encode()),
    "url": quote,
    "whole url": lambda text: quote(text, safe=""),
    "url, small letters": lambda text: quote(text, safe="").lower() if text.islower() else quote(text, safe=""),
    "form": quote_plus,
    "query": lambda text: urlencode({"key": text}),
    "html": html.escape,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
@given(core=st.text(st.characters(exclude_categories=["Cs"]), min_size=LONGEST_WORD + 1, max_size=30))
def test_a_secret_is_found_however_it_is_written(write: object, core: str) -> None:
    assert callable(write)
    secret = f"canary{core}"
    assert "canary" not in redacted(f"failed: {write(secret)} was refused", secret)
    assert base64.b64encode(b"canary").decode() not in redacted(f"failed: {write(secret)}", secret)


def test_a_short_secret_is_hidden_where_it_stands_alone() -> None:
    assert redacted("PIN 7 is wrong after 17 s (7)", "7") == "PIN *** is wrong after 17 s (***)"


def test_the_beginning_of_a_long_secret_is_hidden_too() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln"
    assert redacted(f"bad token {token[:15]}...", token) == "bad token ***..."


def test_each_line_of_a_secret_is_one() -> None:
    assert redacted("cannot read MIIEvQIBADAN", "-----BEGIN-----\nMIIEvQIBADAN\n-----END-----") == "cannot read ***"


def test_a_kept_secret_is_hidden_with_its_parts() -> None:
    redactor = Redactor()
    redactor.keep('{"username": "ada", "password": "correct-horse"}')
    redactor.keep("whsec_firstfirst whsec_secondsecond")
    assert redactor.redact("user ada: correct-horse, whsec_secondsecond; username") == "user ***: ***, ***; username"


def test_what_was_released_is_no_secret_any_more() -> None:
    redactor = Redactor()
    redactor.hold("a", ["alphalpha"])
    redactor.hold("b", ["betabeta"])
    assert redactor.redact("alphalpha betabeta") == "*** ***"
    redactor.release("a")
    assert redactor.redact("alphalpha betabeta") == "alphalpha ***"
    redactor.release("b")
    assert redactor.idle
