"""Rows by category and source over time, from the lake's state alone: no file is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Final, get_args

from stillhouse.records import CATEGORIES
from stillhouse.report.facts import Series, Unit
from stillhouse.state import PartitionState

MOST_BUCKETS: Final = 60
"""Columns that a narrow chart can hold and still be read."""

_UNITS: Final[tuple[Unit, ...]] = get_args(Unit)


def over_time(partitions: Iterable[PartitionState]) -> list[Series]:
    """Each source by the dates of its rows, in the finest unit that gives at most
    `MOST_BUCKETS`; the source with the most rows first."""
    days: dict[str, dict[date, Mapping[str, int]]] = {}
    for part in partitions:
        if (day := _date(part.day)) is not None:
            days.setdefault(part.stem, {})[day] = part.counts
    series = [_series(stem, counts) for stem, counts in days.items()]
    return sorted(series, key=lambda one: (-one.rows, one.stem))


def _series(stem: str, days: Mapping[date, Mapping[str, int]]) -> Series:
    first, last = min(days), max(days)
    unit, starts = _buckets(first, last)
    place = {start: number for number, start in enumerate(starts)}
    counts: dict[str, list[int]] = {name: [0] * len(starts) for name in CATEGORIES}
    for day, found in days.items():
        for name in CATEGORIES:
            counts[name][place[_start(day, unit)]] += found.get(name, 0)
    return Series(
        stem=stem,
        rows=sum(map(sum, counts.values())),
        unit=unit,
        first_day=first.isoformat(),
        last_day=last.isoformat(),
        starts=[start.isoformat() for start in starts],
        counts=counts,
    )


def _date(day: str) -> date | None:
    try:
        return date.fromisoformat(day)
    except ValueError:
        return None  # A folder may be called 2026/02/31; the rows in it have no day.


def _buckets(first: date, last: date) -> tuple[Unit, list[date]]:
    for unit in _UNITS:
        starts = [_start(first, unit)]
        while (following := _next(starts[-1], unit)) is not None and following <= last:
            starts.append(following)
            if len(starts) > MOST_BUCKETS and unit != _UNITS[-1]:
                break
        if len(starts) <= MOST_BUCKETS:
            return unit, starts
    return _UNITS[-1], starts


def _start(day: date, unit: Unit) -> date:
    """The first day of the bucket that a day lies in; weeks begin on Monday."""
    match unit:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=1 + (day.month - 1) // 3 * 3, day=1)
        case "year":
            return day.replace(month=1, day=1)


def _next(start: date, unit: Unit) -> date | None:
    """The first day of the following bucket; None behind the last year that a date can have."""
    try:
        return _start(start + timedelta(days=_AHEAD[unit]), unit)
    except OverflowError:
        return None


_AHEAD: Final[dict[Unit, int]] = {"day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}
"""Days from any bucket's first day into the next bucket, and no further."""
