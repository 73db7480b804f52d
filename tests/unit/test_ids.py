"""Job ids: what they tell, and how a prefix of one is read."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobline.ids import RANDOM_BYTES, canonical_prefix, created_span, derived_id, is_derived, is_job_id, new_id
from jobline.times import from_milliseconds, to_milliseconds

AT = datetime(2026, 1, 31, 9, 30, 0, 250_000, tzinfo=UTC)
instants = st.integers(0, to_milliseconds(datetime(9999, 12, 31, tzinfo=UTC))).map(from_milliseconds)
randoms = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@given(instants, randoms)
def test_a_new_id_is_a_version_7_uuid_that_begins_with_its_time(now: datetime, random: bytes) -> None:
    job_id = new_id(now, random)
    read = uuid.UUID(job_id)
    assert (read.version, read.variant, str(read)) == (7, uuid.RFC_4122, job_id)
    assert read.int >> 80 == round((now - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    assert is_job_id(job_id)
    assert not is_derived(job_id)


def test_a_new_id_is_that_of_the_rfc_for_its_example() -> None:
    # RFC 9562 appendix A.6: 2022-02-22 19:22:22 GMT, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F.
    rand = bytes.fromhex("0cc318c4dc0c0c07398f")
    assert new_id(datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC), rand) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(instants, instants, randoms)
def test_a_later_job_has_a_greater_id(one: datetime, other: datetime, random: bytes) -> None:
    if one != other:
        assert (new_id(one, random) < new_id(other, random)) == (one < other)


@pytest.mark.parametrize("random", [b"", b"123456789", b"12345678901"])
def test_an_id_is_made_of_exactly_ten_random_bytes(random: bytes) -> None:
    with pytest.raises(ValueError, match="random bytes"):
        new_id(AT, random)


def test_the_same_queue_and_key_always_give_the_same_version_8_uuid() -> None:
    job_id = derived_id("emails", "welcome-42")
    # printf 'emails\0welcome-42' | sha256sum, with the version and variant bits put in: it must never change.
    assert job_id == "d00501dd-3fe0-8b50-9bf8-e17c03b53829"
    assert uuid.UUID(job_id).version == 8
    assert is_job_id(job_id)
    assert is_derived(job_id)


@given(st.tuples(st.from_regex("[a-z][a-z0-9_-]{0,9}", fullmatch=True), st.text("abc-", min_size=1, max_size=9)), st.data())
def test_another_queue_or_another_key_gives_another_id(pair: tuple[str, str], data: st.DataObject) -> None:
    other = data.draw(st.tuples(st.from_regex("[a-z][a-z0-9_-]{0,9}", fullmatch=True), st.text("abc-", min_size=1, max_size=9)))
    assert (derived_id(*pair) == derived_id(*other)) == (pair == other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "123e4567-e89b-12d3-a456-426614174000",
        "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
        "017f22e279b07cc398c4dc0c0c07398f",
        "017f22e2-79b0-7cc3-18c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f\n",
        "g17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
    ],
)
def test_what_is_not_a_whole_canonical_job_id_is_told_apart(text: str) -> None:
    assert not is_job_id(text)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("017f22e2", "017f22e2"),
        ("017F22E2-79B0", "017f22e2-79b0"),
        ("123e4567-e89b", "123e4567-e89b"),
        ("017f22e2-", "017f22e2-"),
        ("017f22e2-79b0-8", "017f22e2-79b0-8"),
        ("017f22e", None),
        ("017f22e27", None),
        ("017f22e2-79b0-1", None),
        ("017f22e2-79b0-7cc3-0", None),
        ("017f22e2-79b0-7cc3-98c4-dc0c0c07398f0", None),
        ("zzzzzzzz", None),
        ("017f22e2/79", None),
        ("٠١٢٣٤٥٦٧", None),
    ],
)
def test_a_prefix_of_eight_characters_or_more_is_taken_with_its_hyphens_in_place(text: str, prefix: str | None) -> None:
    assert canonical_prefix(text) == prefix


@given(instants, randoms, st.integers(8, 36))
def test_every_prefix_of_an_id_spans_its_creation_and_no_more_than_it_must(now: datetime, random: bytes, length: int) -> None:
    prefix = new_id(now, random)[:length]
    assert canonical_prefix(prefix) == prefix
    first, last = created_span(prefix)
    assert first <= now <= last
    if length >= 13:
        assert first == last == now
    else:
        assert last - first < timedelta(seconds=66)


@pytest.mark.parametrize("prefix", ["ffffffff", "ffffffff-ffff"])
def test_a_prefix_past_the_last_year_is_an_empty_span_and_not_an_error(prefix: str) -> None:
    first, last = created_span(prefix)
    assert first == last
