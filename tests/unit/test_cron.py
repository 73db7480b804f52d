"""Cron expressions: each is taken as what it means in its own dialect, or refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from jobline.cron import WEEKDAYS, parse_cron

START = datetime(2026, 1, 1)  # noqa: DTZ001  local times have no zone


def first(text: str, count: int) -> list[str]:
    return [time.isoformat(sep=" ", timespec="minutes") for time in islice(parse_cron(text).times(START), count)]


@pytest.mark.parametrize(
    ("given", "aws"),
    [
        ("0 9 * * 1-5", "0 9 ? * MON-FRI *"),
        ("0 9 * * mon-fri", "0 9 ? * MON-FRI *"),
        ("0 9 * * 0", "0 9 ? * SUN *"),
        ("0 9 * * 7", "0 9 ? * SUN *"),
        ("0 9 * * 5-7", "0 9 ? * SUN,FRI,SAT *"),
        ("0 9 * * 0-6", "0 9 * * ? *"),
        ("*/15 * * * *", "0/15 * * * ? *"),
        ("0 0 1,15 * *", "0 0 1,15 * ? *"),
        ("30 6 * jan-mar *", "30 6 * 1-3 ? *"),
        ("0 0 */2 * *", "0 0 1/2 * ? *"),
        ("0 8-18/2 * * *", "0 8,10,12,14,16,18 * * ? *"),
        ("@daily", "0 0 * * ? *"),
        ("@weekly", "0 0 ? * SUN *"),
        ("0 9 ? * 2-6 *", "0 9 ? * MON-FRI *"),
        ("cron(0 9 ? * MON-FRI *)", "0 9 ? * MON-FRI *"),
        ("0 9 ? * 1 *", "0 9 ? * SUN *"),
        ("0 9 ? * * *", "0 9 * * ? *"),
        ("0 9 L * ? *", "0 9 L * ? *"),
        ("0 9 15W * ? *", "0 9 15W * ? *"),
        ("15 10 ? * 6L 2026-2027", "15 10 ? * 6L 2026,2027"),
        ("15 10 ? * FRIL *", "15 10 ? * 6L *"),
        ("0 9 ? * TUE#2 *", "0 9 ? * 3#2 *"),
        ("0 9 ? * L *", "0 9 ? * SAT *"),
        ("1/10 * * * ? *", "1/10 * * * ? *"),
        ("0 9 29 2 ? *", "0 9 29 2 ? *"),
    ],
)
def test_both_dialects_are_written_in_aws_own(given: str, aws: str) -> None:
    assert parse_cron(given).expression == aws
    assert parse_cron(aws).expression == aws, "written once more, it is the same"


@pytest.mark.parametrize(
    ("given", "because"),
    [
        ("0 9 1 * MON", "make two schedules"),  # unix: either day; AWS: cannot say it
        ("0 9 */2 * MON", "make two schedules"),  # crons differ: both, or either
        ("0 9 1-31 * MON", "make two schedules"),
        ("0 9 1 * MON *", "exactly one"),
        ("0 9 * * * *", "exactly one"),
        ("0 9 ? * ? *", "exactly one"),
        ("0 0 12 * * ?", "stands only for"),  # seconds first, as Quartz has it
        ("0 30 9 * * 1", "exactly one"),
        ("0 30 9 ? * MON", "stands only for"),
        ("0 30 9 * ? *", "hours 30"),
        ("0 9 ? * MON", "six fields"),
        ("0 9 L * *", "six fields"),
        ("0 9 * * 5L", "six fields"),
        ("0 9 * *", "4 fields"),
        ("0 0 9 ? * MON 2026", "7 fields"),
        ("60 9 * * *", "0 to 59"),
        ("0 24 * * *", "0 to 23"),
        ("0 9 0 * *", "1 to 31"),
        ("0 9 * 13 *", "1 to 12 or JAN to DEC"),
        ("0 9 * * 8", "0 to 7"),
        ("0 9 ? * 0 *", "1 to 7"),
        ("0 9 30 2 *", "no day that exists"),
        ("0 9 31 4,6 *", "no day that exists"),
        ("0 9 29 2 ? 2027", "no day that exists"),
        ("5/10 * * * *", "5-59/10"),
        ("0 22-2 * * *", "backwards"),
        ("0 9 * * FRI-MON", "backwards"),
        ("*/0 * * * *", "a step is"),
        ("*/60 * * * *", "a step is"),
        ("*,5 * * * *", "cannot be read"),
        ("0 9 ? * 2/2 *", "no steps"),
        ("0 9 31W * ? *", "1 to 28"),
        ("0 9 L-3 * ? *", "only L"),
        ("0 9 1,L * ? *", "only L"),
        ("0 9 ? * MON#6 *", "1 to 5"),
        ("0 9 ? * MON#1,TUE#1 *", "only a single day"),
        ("0 9 * * ? 1969", "1970 to 2199"),
        ("@reboot", "is not known"),
        ("every day", "2 fields"),
        ("", "0 fields"),
        ("٣ 9 * * *", "must be a cron expression"),
        ("0 9 * * 1-", "cannot be read"),
        (9, "must be a cron expression"),
        ("0 9 * * *" + " " * 300, "must be a cron expression"),
    ],
)
def test_what_would_be_misread_is_refused_with_a_sentence(given: Any, because: str) -> None:
    with pytest.raises(ValueError, match=because) as refused:
        parse_cron(given)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("0 9 L * ? *", ["2026-01-31 09:00", "2026-02-28 09:00", "2026-03-31 09:00"]),
        ("0 9 ? * 6L *", ["2026-01-30 09:00", "2026-02-27 09:00", "2026-03-27 09:00"]),
        ("0 9 ? * 3#2 *", ["2026-01-13 09:00", "2026-02-10 09:00", "2026-03-10 09:00"]),
        ("0 9 ? * 5#5 *", ["2026-01-29 09:00", "2026-04-30 09:00", "2026-07-30 09:00"]),
        ("0 9 1W * ? *", ["2026-01-01 09:00", "2026-02-02 09:00", "2026-03-02 09:00"]),  # 1 February 2026 is a Sunday
        ("0 9 15W * ? *", ["2026-01-15 09:00", "2026-02-16 09:00", "2026-03-16 09:00"]),
        ("0 9 1W 8 ? *", ["2026-08-03 09:00", "2027-08-02 09:00", "2028-08-01 09:00"]),  # a Saturday: not back into July
        ("0 9 28W 2 ? *", ["2026-02-27 09:00", "2027-02-26 09:00", "2028-02-28 09:00"]),  # a Sunday, the last of its month
        ("0 9 29 2 *", ["2028-02-29 09:00", "2032-02-29 09:00", "2036-02-29 09:00"]),
        ("0 9 31 * *", ["2026-01-31 09:00", "2026-03-31 09:00", "2026-05-31 09:00"]),
        ("0 9 1 1 ? 2026", ["2026-01-01 09:00"]),
        ("0 9 1 1 ? 2025", []),
    ],
)
def test_days_of_all_kinds(text: str, times: list[str]) -> None:
    assert first(text, 3) == times


def field(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    span = st.tuples(number, number).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    # cronsim takes 5-5/2 for 5-59/2.
    proper = span.filter(lambda text: len(set(text.split("-"))) == 2)
    steps = st.tuples(st.one_of(st.just("*"), proper), st.integers(1, most)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    return st.one_of(st.just("*"), st.lists(st.one_of(number.map(str), span), min_size=1, max_size=3).map(",".join), steps)


DAYS = st.one_of(st.tuples(field(1, 28), st.just("*")), st.tuples(st.just("*"), field(0, 7)))
SOME_TIME = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)).map(lambda time: time.replace(microsecond=0))  # noqa: DTZ001


@given(minute=field(0, 59), hour=field(0, 23), days=DAYS, month=field(1, 12), after=SOME_TIME)
def test_unix_cron_names_the_times_that_another_implementation_names(
    minute: str, hour: str, days: tuple[str, str], month: str, after: datetime
) -> None:
    text = f"{minute} {hour} {days[0]} {month} {days[1]}"
    cron = parse_cron(text)
    theirs = list(islice(CronSim(text, after), 5))
    assert list(islice(cron.times(after), 5)) == theirs
    assert list(islice(parse_cron(cron.expression).times(after), 5)) == theirs, "and so does what AWS is told"


def matches(text: str, time: datetime) -> bool:
    """Whether an expression in AWS's dialect names a minute: by asking each field alone, and nothing like `jobline.cron`."""
    minute, hour, day, month, weekday, year = text.split()

    def has(field: str, value: int, least: int, most: int) -> bool:
        for part in field.split(","):
            span, _, step = part.partition("/")
            low, _, high = span.partition("-")
            begin = least if low == "*" else int(low)
            end = most if low == "*" or (step and not high) else int(high or low)
            if begin <= value <= end and (value - begin) % int(step or 1) == 0:
                return True
        return False

    length = ((time.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)).day
    today = (time.weekday() + 1) % 7 + 1
    if day == "?":
        if weekday.endswith("L"):
            day_fits = today == int(weekday[0]) and time.day + 7 > length
        elif "#" in weekday:
            day_fits = today == int(weekday[0]) and (time.day - 1) // 7 + 1 == int(weekday[2])
        else:
            day_fits = has(weekday, today, 1, 7)
    else:
        day_fits = time.day == length if day == "L" else has(day, time.day, 1, 31)
    return (
        day_fits
        and has(minute, time.minute, 0, 59)
        and has(hour, time.hour, 0, 23)
        and has(month, time.month, 1, 12)
        and has(year, time.year, 1970, 2199)
    )


AWS_DAYS = st.one_of(
    st.tuples(st.one_of(field(1, 28), st.just("L")), st.just("?")),
    st.tuples(
        st.just("?"),
        st.one_of(
            st.sampled_from([*"1234567", "2-6", "1,7", "*"]),
            st.tuples(st.sampled_from("1234567"), st.sampled_from(["L", "#1", "#3", "#5"])).map("".join),
        ),
    ),
)


@settings(max_examples=50, deadline=None)
@given(minute=field(0, 59), hour=field(0, 23), days=AWS_DAYS, month=field(1, 12), after=SOME_TIME, steps=st.integers(1, 4000))
def test_aws_cron_names_a_minute_exactly_when_each_field_does(
    minute: str, hour: str, days: tuple[str, str], month: str, after: datetime, steps: int
) -> None:
    """Asked of 300 minutes, so many steps apart, as far as the first 20,000 times go."""
    text = f"{minute} {hour} {days[0]} {month} {days[1]} *"
    begin = after.replace(second=0)
    minutes = [begin + timedelta(minutes=number * steps) for number in range(1, 300)]
    named = list(islice(takewhile(lambda time: time <= minutes[-1], parse_cron(text).times(begin)), 20_000))
    found = set(named)
    asked = [time for time in minutes if len(named) < 20_000 or time <= named[-1]]
    assert [time for time in asked if matches(text, time)] == [time for time in asked if time in found]


def test_the_days_of_the_week_begin_with_sunday() -> None:
    assert [parse_cron(f"0 0 ? * {number} *").expression.split()[4] for number in range(1, 8)] == list(WEEKDAYS)
    assert [parse_cron(f"0 0 * * {number}").expression.split()[4] for number in range(7)] == list(WEEKDAYS)
