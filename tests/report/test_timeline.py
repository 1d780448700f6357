"""Rows over time: nothing is lost between the buckets, and the unit fits the span."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.records import CATEGORIES
from stillhouse.report.timeline import MOST_BUCKETS, over_time
from stillhouse.state import FileState, PartitionState

FILE = FileState("x", 0, 0, "")


def _part(day: str, stem: str = "audits", **counts: int) -> PartitionState:
    return PartitionState(day, stem, FILE, counts=counts or {"accepted": 1})


@pytest.mark.parametrize(
    ("days", "unit", "first", "buckets"),
    [
        (0, "day", "2026-01-31", 1),
        (59, "day", "2026-01-31", 60),
        (60, "week", "2026-01-26", 10),
        (400, "week", "2026-01-26", 58),
        (500, "month", "2026-01-01", 18),
        (3650, "quarter", "2026-01-01", 41),
        (20000, "year", "2026-01-01", 55),
    ],
)
def test_the_unit_fits_the_span(days: int, unit: str, first: str, buckets: int) -> None:
    """The finest unit that a chart can show is taken; weeks begin on Monday."""
    last = date(2026, 1, 31) + timedelta(days=days)
    (series,) = over_time([_part("2026-01-31"), _part(last.isoformat())])
    assert (series.unit, series.starts[0], len(series.starts)) == (unit, first, buckets)
    assert series.counts["accepted"][0] >= 1
    assert series.counts["accepted"][-1] >= 1


@given(
    st.lists(
        st.tuples(
            st.dates(),
            st.sampled_from(["a", "b"]),
            st.dictionaries(st.sampled_from(CATEGORIES), st.integers(0, 9)),
        ),
        max_size=12,
        unique_by=lambda part: part[:2],
    )
)
def test_no_row_is_lost(parts: list[tuple[date, str, dict[str, int]]]) -> None:
    """Whatever the days, each source's buckets add up to its rows, in order and without a gap."""
    found = over_time([PartitionState(d.isoformat(), s, FILE, counts=c) for d, s, c in parts])
    for series in found:
        wanted: Counter[str] = Counter()
        for _, stem, counts in parts:
            if stem == series.stem:
                wanted.update(counts)
        assert {name: sum(series.counts[name]) for name in CATEGORIES} == {
            name: wanted[name] for name in CATEGORIES
        }
        assert series.rows == wanted.total()
        assert series.starts == sorted(set(series.starts))
        assert len(series.starts) <= MOST_BUCKETS or series.unit == "year"
    assert {series.stem for series in found} == {stem for _, stem, _ in parts}


def test_the_largest_source_comes_first() -> None:
    """Charts stand in the order of their rows, then by name."""
    parts = [
        _part("2026-01-01", "b"),
        _part("2026-01-01", "a"),
        _part("2026-01-01", "z", rejected=5),
    ]
    assert [series.stem for series in over_time(parts)] == ["z", "a", "b"]


def test_a_folder_that_is_no_date_has_no_place_in_time() -> None:
    """Days that the calendar does not have are left out, and a lake of none is empty."""
    assert over_time([_part("2026-02-31")]) == []
    (series,) = over_time([_part("2026-02-31"), _part("2026-02-28")])
    assert series.rows == 1
