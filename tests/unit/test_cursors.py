"""Cursors: what goes in comes out, for the same listing, and nothing else is taken."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobline.cursors import Cursor, decode, encode, shard_position
from jobline.errors import InvalidRequest
from jobline.shards import SHARDS
from jobline.store import Key
from jobline.times import from_milliseconds

LISTING = '["GET /jobs","emails",null,null,null,null]'
ALPHABET = string.ascii_letters + string.digits + "-_"

times = st.integers(0, 253_402_300_799_999).map(from_milliseconds)
keys = st.builds(Key, st.uuids().map(str), times)
cursors = st.builds(Cursor, st.integers(0, 1), st.dictionaries(st.integers(0, SHARDS - 1), st.none() | keys), st.none() | times)
SOME = Cursor(1, {0: None, 3: Key("017f22e2-79b0-7cc3-98c4-dc0c0c07398f", from_milliseconds(1_772_366_400_123))}, from_milliseconds(5))


@given(cursors)
def test_a_cursor_comes_back_as_it_was(cursor: Cursor) -> None:
    text = encode(cursor, LISTING)
    assert decode(text, LISTING) == cursor
    assert set(text) <= set(ALPHABET)
    assert len(text) < 320


def test_a_cursor_with_any_character_changed_is_refused() -> None:
    text = encode(SOME, LISTING)
    for at in range(len(text)):
        for other in ALPHABET:
            if other != text[at]:
                with pytest.raises(InvalidRequest):
                    decode(text[:at] + other + text[at + 1 :], LISTING)


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t + "A", lambda t: t + "=", lambda t: t + " ", lambda t: " " + t, lambda t: ""]
)
def test_a_cursor_cut_or_padded_is_refused(change: object) -> None:
    assert callable(change)
    with pytest.raises(InvalidRequest):
        decode(change(encode(SOME, LISTING)), LISTING)


@given(st.text(max_size=60) | st.text(ALPHABET, max_size=60))
def test_no_other_text_is_a_cursor(text: str) -> None:
    with pytest.raises(InvalidRequest):
        decode(text, LISTING)


def test_a_cursor_of_another_listing_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        decode(encode(SOME, LISTING), LISTING.replace("emails", "images"))


def test_an_endless_text_is_refused_unread() -> None:
    with pytest.raises(InvalidRequest):
        decode("A" * 1_000_000, LISTING)


def test_a_stores_position_is_told_by_shard() -> None:
    key = Key("017f22e2-79b0-7cc3-98c4-dc0c0c07398f", from_milliseconds(0))
    assert shard_position({"emails#3": key, "emails#dead#7": None}) == {3: key, 7: None}
