"""Times are read in every spelling that logs use, and nothing absurd is believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.records import is_utc_time
from stillhouse.times import END_YEAR, FIRST_YEAR, read_time


@pytest.mark.parametrize(
    ("spelt", "read"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00.250Z", "2026-01-31T12:00:00.250000Z"),
        ("2026-01-31T12:00:00.000Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00.5", "2026-01-31T12:00:00.500000Z"),
        ("2026-01-31T12:00:00.5-00:00", "2026-01-31T12:00:00.500000Z"),
        ("2026-01-31T23:59:59.999+23:59", "2026-01-31T00:00:59.999000Z"),
        ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456Z"),
        ("2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00+05:30", "2026-01-31T06:30:00Z"),
        ("2026-01-31T12:00:00-0800", "2026-01-31T20:00:00Z"),
        ("2026-01-31 12:00:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("20260131", "2026-01-31T00:00:00Z"),
        ("20260131T120000Z", "2026-01-31T12:00:00Z"),
        ("2026-W05-6T12:00:00Z", "2026-01-31T12:00:00Z"),
        (" 2026-01-31t12:00:00z ", "2026-01-31T12:00:00Z"),
        (1769860800, "2026-01-31T12:00:00Z"),
        (1769860800.25, "2026-01-31T12:00:00.250000Z"),
        (1769860800000, "2026-01-31T12:00:00Z"),
        (1769860800123, "2026-01-31T12:00:00.123000Z"),
        (1769860800123.5, "2026-01-31T12:00:00.123500Z"),
        (1769860799.9999999, "2026-01-31T12:00:00Z"),
        ("1769860800", "2026-01-31T12:00:00Z"),
        (" 1769860800123 ", "2026-01-31T12:00:00.123000Z"),
        ("1769860800.5", "2026-01-31T12:00:00.500000Z"),
        ("1612040912345", "2021-01-30T21:08:32.345000Z"),
        ("1990010101234", "2033-01-22T12:35:01.234000Z"),
        ("2026013112000", "2034-03-15T05:25:12Z"),
        (631152000, "1990-01-01T00:00:00Z"),
        ("2099-12-31T23:59:59Z", "2099-12-31T23:59:59Z"),
    ],
)
def test_every_spelling_of_a_time(spelt: str | float, read: str) -> None:
    """ISO 8601 with any offset, and Unix seconds or milliseconds, read as one instant in UTC."""
    assert read_time(spelt) == read


@pytest.mark.parametrize(
    "absurd",
    [
        None,
        "",
        "   ",
        "yesterday",
        "0000-00-00T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "1989-12-31T23:59:59Z",
        "2100-01-01T00:00:00Z",
        "99999-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T25:00:00Z",
        "1990-01-01T00:00:00+01:00",
        "2099-12-31T23:59:59-01:00",
        "-1769860800",
        "1e300",
        "NaN",
        "20260131121",
        "202601311200000",
        "2026-01-31T24:00:01Z",
        0,
        -1,
        631151999,
        4102444800,
        4102444799.9999999,
        99999,
        1e300,
        -1e300,
        float("nan"),
        float("inf"),
        1769860800123456,
        10**40,
        True,
        False,
    ],
)
def test_what_is_no_time_is_not_read(absurd: str | float | None) -> None:
    """Text that is no date, dates outside 1990 to 2099 and booleans are no times."""
    assert read_time(absurd) is None


@given(
    st.datetimes(datetime(FIRST_YEAR, 1, 2), datetime(END_YEAR - 1, 12, 30)),
    st.integers(-14 * 60, 14 * 60),
)
def test_an_offset_never_changes_the_instant(moment: datetime, minutes: int) -> None:
    """Whatever the offset, the text read is in UTC and names the same instant."""
    local = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    read = read_time(local.isoformat())
    assert read is not None
    assert is_utc_time(read)
    assert read.endswith("Z")
    assert datetime.fromisoformat(read) == local


@given(
    st.datetimes(datetime(FIRST_YEAR, 1, 1), datetime(END_YEAR - 1, 12, 31)),
    st.sampled_from(["hours", "minutes", "seconds", "milliseconds", "microseconds", "auto"]),
    st.sampled_from(["", "Z", "+00:00"]),
    st.sampled_from("T "),
)
def test_a_time_in_utc_is_written_in_full(
    moment: datetime, precision: str, zone: str, gap: str
) -> None:
    """However much of it the log spells, it reads as the standard library formats it."""
    text = moment.isoformat(gap, precision) + zone
    assert read_time(text) == datetime.fromisoformat(text).replace(tzinfo=None).isoformat() + "Z"


@given(st.integers(631152000, 4102444799))
def test_seconds_and_milliseconds_agree(seconds: int) -> None:
    """Seconds, milliseconds and either in quotes are told apart by magnitude alone."""
    wanted = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat() + "Z"
    spellings: list[str | float] = [seconds, seconds * 1000, str(seconds), str(seconds * 1000)]
    assert {read_time(spelling) for spelling in spellings} == {wanted}


@given(st.integers(10**8, 10**18 - 1) | st.integers(1_990_010_100_000, 2_099_123_123_599))
def test_a_number_in_quotes_is_the_number(number: int) -> None:
    """Digits are Unix time, also where they could be read as a compact date."""
    assert read_time(str(number)) == read_time(number)
    assert read_time(f" {number}.5") == read_time(number + 0.5)


def test_hour_24_is_never_written() -> None:
    """A Python that reads the end of a day as hour 24 writes the next day; others refuse it."""
    for spelt in ("2026-01-31T24:00:00Z", "2026-01-31T24:00:00", "2026-01-31T24:00:00.000+00:00"):
        assert read_time(spelt) in (None, "2026-02-01T00:00:00Z")


@given(st.text() | st.floats() | st.integers() | st.booleans() | st.none())
def test_reading_a_time_never_fails(anything: str | float | None) -> None:
    """Any value is either a UTC time or not a time; none raises."""
    read = read_time(anything)
    assert read is None or is_utc_time(read)
