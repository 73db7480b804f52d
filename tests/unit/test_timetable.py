"""When a schedule runs: time zones and the nights when their clocks are moved, rates, single times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobline.cron import parse_cron
from jobline.timetable import Timetable, exists, read_at, read_rate, read_timezone, told

BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def runs(cron: str, timezone: str, after: str, count: int = 3, **more: Any) -> list[str]:
    return told(Timetable(cron=parse_cron(cron), timezone=timezone, **more).runs(utc(after)), count)


def test_nine_o_clock_stays_nine_o_clock_when_the_clocks_are_moved() -> None:
    assert runs("0 9 * * *", BERLIN, "2026-03-27 12:00") == ["2026-03-28T08:00:00Z", "2026-03-29T07:00:00Z", "2026-03-30T07:00:00Z"]
    assert runs("0 9 * * *", BERLIN, "2026-10-23 12:00") == ["2026-10-24T07:00:00Z", "2026-10-25T08:00:00Z", "2026-10-26T08:00:00Z"]


def test_a_time_that_the_clocks_skip_has_no_run() -> None:
    # On 29 March 2026 the clocks of Berlin go from 02:00 to 03:00.
    assert runs("30 2 * * *", BERLIN, "2026-03-27 12:00") == ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]
    assert runs("30 * * * *", BERLIN, "2026-03-29 00:00", 3) == ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z"]


def test_a_time_that_comes_twice_has_one_run_the_first() -> None:
    # On 25 October 2026 they go from 03:00 back to 02:00: 02:30 is at 00:30 and at 01:30 UTC.
    assert runs("30 2 * * *", BERLIN, "2026-10-24 12:00") == ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"]
    assert runs("30 2 * * *", BERLIN, "2026-10-25 00:45", 1) == ["2026-10-26T01:30:00Z"]
    assert runs("*/30 * * * *", BERLIN, "2026-10-25 00:10", 3) == ["2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z", "2026-10-25T02:30:00Z"]


def test_start_and_end_bound_the_runs() -> None:
    bounds = {"start": utc("2026-05-02 00:00"), "end": utc("2026-05-04 00:00")}
    assert runs("0 0 * * *", "UTC", "2026-04-01 00:00", 9, **bounds) == ["2026-05-02T00:00:00Z", "2026-05-03T00:00:00Z"]


def test_a_rate_counts_from_its_start_and_keeps_its_beat_when_it_starts_anew() -> None:
    rate = Timetable(every=timedelta(minutes=90), start=utc("2026-03-28 23:00"))
    assert told(rate.runs(utc("2026-03-01 00:00")), 2) == ["2026-03-28T23:00:00Z", "2026-03-29T00:30:00Z"]
    later = utc("2026-03-30 10:10")
    anew = rate.from_now(later)
    assert anew.start is not None and anew.start >= later
    assert list(islice(anew.runs(later), 20)) == list(islice(rate.runs(later), 20))


def test_a_day_of_a_rate_is_24_hours_whatever_the_clocks_do() -> None:
    rate = Timetable(every=timedelta(days=1), start=utc("2026-03-28 08:00"), timezone=BERLIN)
    assert told(rate.runs(utc("2026-03-28 00:00")), 2) == ["2026-03-28T08:00:00Z", "2026-03-29T08:00:00Z"]


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ("rate(5 minutes)", "5 minutes"),
        ("1 minutes", "1 minute"),
        ("1 hour", "1 hour"),
        ("PT90M", "90 minutes"),
        ("120m", "2 hours"),
        (86400, "1 day"),
        ("2d", "2 days"),
    ],
)
def test_a_rate_is_written_as_aws_takes_it(given: Any, rate: str) -> None:
    assert Timetable(every=read_rate(given)).expression == f"rate({rate})"


@pytest.mark.parametrize("given", ["30s", "90s", 0, "0 minutes", "366 days", "5 weeks", "rate()", None, True, "999999999 days", -60])
def test_a_rate_is_whole_minutes_up_to_a_year(given: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the sentence may be that of any duration
        read_rate(given)


def test_a_single_time_is_local_or_exact() -> None:
    local = read_at("at(2026-07-01T09:00:00)")
    assert local == datetime(2026, 7, 1, 9)  # noqa: DTZ001
    assert told(Timetable(at=local, timezone=BERLIN).runs(utc("2026-01-01 00:00")), 2) == ["2026-07-01T07:00:00Z"]
    assert read_at("2026-07-01T09:00:00.5+02:00") == utc("2026-07-01 07:00:01")
    assert Timetable(at=local).expression == "at(2026-07-01T09:00:00)"


@pytest.mark.parametrize("given", ["2026-02-30T09:00:00", "2026-02-30T09:00:00Z", "tomorrow", 9, None, "2026-07-01", "2026-07-01T25:00"])
def test_a_single_time_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="time"):
        read_at(given)


@pytest.mark.parametrize("given", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires", "Asia/Kolkata"])
def test_a_zone_of_the_tz_database_is_taken(given: str) -> None:
    assert read_timezone(given) == given


@pytest.mark.parametrize("given", ["Europe/Atlantis", "europe/berlin", "CEST", "+01:00", "../etc/passwd", "posixrules", "", 1, None])
def test_any_other_zone_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="time zone"):
        read_timezone(given)


ZONES = st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu", "UTC"])


@settings(max_examples=25, deadline=None)
@given(
    zone=ZONES,
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=3),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=4),
    after=st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001
)
def test_runs_are_the_first_moments_at_which_the_zones_clocks_show_a_time_that_is_meant(
    zone: str, minutes: set[int], hours: set[int], after: datetime
) -> None:
    """By a walk over every minute of UTC in two days and a half, with a clock on the wall."""
    begin = after.replace(second=0, microsecond=0, tzinfo=UTC)
    seen: set[datetime] = set()
    walked = []
    for minute in range(-180, 3600):
        moment = begin + timedelta(minutes=minute)
        wall = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        if wall.minute in minutes and wall.hour in hours and wall not in seen:
            seen.add(wall)
            if minute > 0:
                walked.append(moment)
    text = f"{','.join(map(str, minutes))} {','.join(map(str, hours))} * * *"
    timetable = Timetable(cron=parse_cron(text), timezone=zone, end=begin + timedelta(minutes=3600))
    assert list(timetable.runs(begin)) == walked
    assert all(exists(wall, zone) for wall in seen)
