"""Durations and instants: what people may write, and the one way in which we write it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobline.times import format_instant, from_milliseconds, parse_duration, parse_instant, to_milliseconds


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (3600, 3600),
        (0, 0),
        (2.5, 2.5),
        (0.1, 0.1),
        ("3600", 3600),
        ("2.5", 2.5),
        ("10m", 600),
        ("1h30m", 5400),
        ("1d12h", 129_600),
        ("2w", 1_209_600),
        ("90s", 90),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("PT10M", 600),
        ("P1DT2H3M4.5S", 93_784.5),
        ("P2W", 1_209_600),
        ("PT0S", 0),
    ],
)
def test_a_duration_may_be_written_in_each_of_these_ways(written: object, seconds: float) -> None:
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "10 m",
        "m",
        "10x",
        "-5",
        "-5m",
        "30m1h",
        "1m1m",
        "P",
        "PT",
        "P1DT",
        "P1H",
        "PT1D",
        "pt10m",
        "10M",
        "1e3",
        "٣m",
        "1_000",
        "NaN",
        "∞",
        "5\n",
        -1,
        -0.5,
        float("nan"),
        float("inf"),
        True,
        None,
        [],
        {},
        10**400,
        "9" * 64,
        "9" * 65,
        "1s" * 40,
    ],
)
def test_anything_else_is_refused_in_one_sentence(written: object) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        parse_duration(written)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("written", ["P1Y", "P2M", "P1Y2M3D", "P1M2DT3H"])
def test_years_and_months_are_refused_by_name(written: str) -> None:
    with pytest.raises(ValueError, match="years or months"):
        parse_duration(written)


def test_a_duration_finer_than_a_millisecond_is_rounded_up_so_that_nothing_starts_early() -> None:
    assert parse_duration(0.0001) == parse_duration("0.0001") == timedelta(milliseconds=1)


@given(st.integers(0, 400 * 86_400_000))
def test_a_number_of_seconds_and_its_text_and_its_units_agree(milliseconds: int) -> None:
    seconds, rest = divmod(milliseconds, 1000)
    expected = timedelta(milliseconds=milliseconds)
    assert parse_duration(milliseconds / 1000) == expected
    assert parse_duration(f"{seconds}.{rest:03}") == expected
    assert parse_duration(f"{seconds}s{rest}ms") == expected
    assert parse_duration(f"PT{seconds}.{rest:03}S") == expected


@given(st.one_of(st.text(max_size=80), st.floats(), st.integers(), st.from_regex(r"P?[0-9.]*[wdhmsWDHMST0-9]*", fullmatch=True)))
def test_no_input_gives_anything_but_a_duration_or_a_value_error(written: object) -> None:
    try:
        duration = parse_duration(written)
    except ValueError:
        return
    assert duration >= timedelta(0)


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-01-31T09:30:00Z", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
        ("2026-01-31t09:30:00z", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
        ("2026-01-31T09:30:00.25Z", datetime(2026, 1, 31, 9, 30, 0, 250_000, tzinfo=UTC)),
        ("2026-01-31T09:30:00.2500001Z", datetime(2026, 1, 31, 9, 30, 0, 251_000, tzinfo=UTC)),
        ("2026-01-31T00:30:00+01:00", datetime(2026, 1, 30, 23, 30, tzinfo=UTC)),
        ("2026-01-31T09:30:00-05:45", datetime(2026, 1, 31, 15, 15, tzinfo=UTC)),
        ("2024-02-29T00:00:00-00:00", datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_from_rfc_3339(written: str, instant: datetime) -> None:
    assert parse_instant(written) == instant


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-31",
        "2026-01-31T09:30:00",
        "2026-01-31 09:30:00Z",
        "2026-01-31T09:30Z",
        "2026-02-29T00:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T09:30:60Z",
        "2026-01-31T09:30:00+24:00",
        "2026-01-31T09:30:00+1:00",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59.9999Z",
        "2026-01-31T09:30:00Z\n",
        "٢٠٢٦-01-31T09:30:00Z",
        "",
        "now",
        1769851800,
        None,
        "2" * 100,
    ],
)
def test_a_time_that_does_not_exist_or_names_no_instant_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_instant(written)


def test_milliseconds_are_written_only_when_there_are_any() -> None:
    assert format_instant(datetime(2026, 1, 31, 9, 30, tzinfo=UTC)) == "2026-01-31T09:30:00Z"
    assert format_instant(datetime(2026, 1, 31, 9, 30, 0, 7_999, tzinfo=UTC)) == "2026-01-31T09:30:00.007Z"


@given(st.integers(to_milliseconds(datetime(1, 1, 1, tzinfo=UTC)), to_milliseconds(datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC))))
@example(0)
@example(-1)
def test_every_millisecond_survives_being_written_and_read(milliseconds: int) -> None:
    instant = from_milliseconds(milliseconds)
    assert to_milliseconds(instant) == milliseconds
    assert parse_instant(format_instant(instant)) == instant
