"""Windows of time: which moments and days are in them, and what is no window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.drift.windows import Window, read_window
from stillhouse.errors import UsageError


def window(text: str) -> Window:
    """The window of a text."""
    return read_window(text, "--reference")


def holds(text: str, moment: str) -> bool:
    """Whether a time is in a window."""
    return window(text).holds(datetime.fromisoformat(moment))


@pytest.mark.parametrize(
    ("text", "moment", "inside"),
    [
        # Dates are whole days, at both ends.
        ("2026-01-01..2026-01-31", "2025-12-31T23:59:59.999999Z", False),
        ("2026-01-01..2026-01-31", "2026-01-01T00:00:00Z", True),
        ("2026-01-01..2026-01-31", "2026-01-31T23:59:59.999999Z", True),
        ("2026-01-01..2026-01-31", "2026-02-01T00:00:00Z", False),
        ("2026-01-31..2026-01-31", "2026-01-31T12:00:00Z", True),
        # Times are instants: the start is in, the end is not.
        ("2026-01-01T12:00:00Z..2026-01-01T13:00:00Z", "2026-01-01T12:00:00Z", True),
        ("2026-01-01T12:00:00Z..2026-01-01T13:00:00Z", "2026-01-01T12:59:59.9Z", True),
        ("2026-01-01T12:00:00Z..2026-01-01T13:00:00Z", "2026-01-01T13:00:00Z", False),
        # An offset is heeded, and no offset is UTC.
        ("2026-01-01T12:00:00+02:00..", "2026-01-01T10:00:00Z", True),
        ("2026-01-01T12:00:00+02:00..", "2026-01-01T09:59:59Z", False),
        ("2026-01-01T12:00..", "2026-01-01T12:00:00Z", True),
        ("2026-01-01T12:00..", "2026-01-01T11:59:59Z", False),
        # Open ends, and blanks around.
        ("..2026-01-31", "1990-01-01T00:00:00Z", True),
        ("..2026-01-31", "2026-02-01T00:00:00Z", False),
        ("2026-01-31..", "2099-01-01T00:00:00Z", True),
        ("..", "2026-01-01T00:00:00Z", True),
        (" 2026-01-01 .. 2026-01-31 ", "2026-01-31T10:00:00Z", True),
        # The calendar's last day has no day behind it.
        ("9999-12-31..9999-12-31", "9999-12-31T10:00:00Z", True),
    ],
)
def test_what_is_in_a_window(text: str, moment: str, inside: bool) -> None:
    """Whole days for dates, the end left out for times."""
    assert holds(text, moment) is inside


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("2026-01-31", "--reference '2026-01-31' is no window of time. Write START..END"),
        ("", "--reference '' is no window of time. Write START..END"),
        ("2026-02-30..", "--reference '2026-02-30..': '2026-02-30' is neither a date nor a time"),
        ("..soon", "--reference '..soon': 'soon' is neither a date nor a time"),
        ("a..b..c", "--reference 'a..b..c': 'a' is neither a date nor a time"),
        (
            "2026-02-01..2026-01-01",
            "--reference '2026-02-01..2026-01-01' ends before it starts. Write the earlier time "
            "first: 2026-01-01..2026-02-01.",
        ),
        ("2026-01-01T12:00:00Z..2026-01-01T12:00:00Z", "--reference '2026-01-01T12:00:00Z..2026"),
        ("0001-01-01T00:00:00+12:00..", "--reference '0001-01-01T00:00:00+12:00..': '0001-01-01"),
    ],
)
def test_what_is_no_window(text: str, line: str) -> None:
    """One line that names the option, what is off, and how it is written."""
    with pytest.raises(UsageError) as caught:
        window(text)
    assert str(caught.value).startswith(line)


_MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


@given(_MOMENTS, _MOMENTS, _MOMENTS)
def test_a_day_is_left_out_only_when_none_of_it_is_inside(
    start: datetime, end: datetime, moment: datetime
) -> None:
    """Choosing files by their day never loses a row of the window."""
    start, end = min(start, end), max(start, end) + timedelta(microseconds=1)
    chosen = window(f"{start.isoformat()}..{end.isoformat()}")
    assert chosen.holds(moment) == (start <= moment < end)
    assert chosen.may_hold(moment.date().isoformat()) or not chosen.holds(moment)


def test_days_outside_are_left_out() -> None:
    """The days next to a window are not in it; a folder that is no day is looked into."""
    january = window("2026-01-01..2026-01-31")
    days = ["2025-12-31", "2026-01-01", "2026-01-31", "2026-02-01", "2026-02-30"]
    assert [january.may_hold(day) for day in days] == [False, True, True, False, True]


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("2026-01-01..2026-01-31", "2026-02-01..2026-02-28", False),
        ("2026-01-01..2026-01-31", "2026-01-31..2026-02-28", True),
        ("..2026-01-31", "2026-02-01..", False),
        ("..", "2026-02-01..", True),
        ("2026-01-01T00:00Z..2026-01-02T00:00Z", "2026-01-02T00:00Z..", False),
    ],
)
def test_windows_that_overlap(one: str, other: str, both: bool) -> None:
    """Windows which only meet share no moment."""
    assert window(one).overlaps(window(other)) is window(other).overlaps(window(one)) is both
