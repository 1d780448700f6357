"""Data drift of a lake: one field in a reference window against a current one.

    evidence → field's values by window and group → `DistributionDrift` of each

Values are compared by `drift.distribution` and `drift.categorical`; here is decided what is
compared with what, and what must be said beside the figure. Nothing is changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Final, Literal

import msgspec
import numpy as np

from stillhouse.drift.breakdown import DistributionDrift
from stillhouse.drift.categorical import compute_categorical_drift
from stillhouse.drift.distribution import compute_distribution_drift
from stillhouse.drift.fields import Kind, field_named
from stillhouse.drift.pairs import partitions
from stillhouse.drift.reading import MOST, By, Groups, Reading, Values, read_field
from stillhouse.drift.windows import Window
from stillhouse.errors import UsageError
from stillhouse.interfaces import Engine, Store
from stillhouse.lake import EVIDENCE
from stillhouse.records import SCHEMA_VERSION, Record
from stillhouse.redaction import redact

Edges = Literal["equal_width", "quantile"]

Outcome = Literal["empty", "too few values", "within noise", "stable", "minor", "major"]

_MOST_SPANS: Final = 5
"""Runs of days that are named of a lake."""

_VALUES_A_BUCKET: Final = 5
"""Fewer values than this for each occupied bucket, and χ² says nothing of their noise: the rule
of thumb of W. G. Cochran, "Some methods for strengthening the common χ² tests", Biometrics 10
(1954), taken for the smaller side."""

_MISSING_MOVED: Final = 0.10
"""A difference in the share of missing values from which on it is said."""


class DriftQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked: a field (see `drift.fields`), two windows, and how values are put into
    buckets. ``by`` asks the same of each source, model or category by itself."""

    field: str
    reference: Window
    current: Window
    by: By | None = None
    buckets: int = 10
    edges: Edges = "equal_width"


class WindowRows(Record, frozen=True, kw_only=True):
    """A window as it was asked for; its rows, those of them with a value, and the others."""

    window: str
    rows: int
    values: int
    missing: int


class DataDrift(Record, frozen=True, kw_only=True):
    """How a field differs between two windows of a lake.

    ``drift`` is of all rows, ``groups`` of each value of ``by`` that has values in both windows;
    those with values in one alone are listed. ``unreadable`` counts evidence lines that could not
    be read, whatever their window; ``unreadable_rows`` names some. ``notes`` are for people.
    """

    schema_version: int = 0
    field: str
    kind: Kind
    origin: str
    reference: WindowRows
    current: WindowRows
    drift: DistributionDrift
    by: By | None
    groups: dict[str, DistributionDrift]
    only_in_reference: list[str]
    only_in_current: list[str]
    unreadable: int
    unreadable_rows: list[str]
    notes: list[str]

    def has_values(self) -> bool:
        """False when a window has no value of the field: there is nothing to compare."""
        return self.reference.values > 0 and self.current.values > 0


def data_drift(store: Store, engine: Engine, query: DriftQuery) -> DataDrift:
    """Compare a field of the lake's evidence between two windows of time.

    Only partitions whose day can be in a window are read. Raises `UsageError` for an unknown
    field, for a window without rows (naming the days that there are), and for a field of
    categories that has too many to be one; `LakeError` or `StorageError` for a lake that cannot
    be read.
    """
    field_named(query.field)  # refused before anything is read
    store.check_readable()
    found = partitions(store, EVIDENCE)
    reading = read_field(
        store, engine, found, query.field, query.reference, query.current, query.by
    )
    days = sorted({partition.day for partition in found})
    for name, groups, window in (
        ("reference", reading.reference, query.reference),
        ("current", reading.current, query.current),
    ):
        if not groups:
            raise UsageError(f"--{name} {window.text} has no rows", way_out=_days_in_words(days))
    return compare(reading, query)


def compare(reading: Reading, query: DriftQuery) -> DataDrift:
    """The drift of values that were read: pure. Raises `UsageError` for too many categories."""
    field = field_named(query.field)
    reference, current = _merged(reading.reference), _merged(reading.current)
    kind = field.kind or _kind_of(reference, current)
    if kind == "categorical" and len(reference.words.keys() | current.words.keys()) > MOST:
        raise UsageError(
            f"{query.field} has more than {MOST:,} different values, which are no categories",
            way_out="Choose a field whose values repeat.",
        )
    sides = _told(query.reference, reference, kind), _told(query.current, current, kind)
    old, new = (
        {group for group, values in groups.items() if query.by and _size(values, kind)}
        for groups in (reading.reference, reading.current)
    )
    return DataDrift(
        schema_version=SCHEMA_VERSION,
        field=query.field,
        kind=kind,
        origin=field.origin,
        reference=sides[0],
        current=sides[1],
        drift=_drift(reference, current, kind, query),
        by=query.by,
        groups={
            group: _drift(reading.reference[group], reading.current[group], kind, query)
            for group in sorted(old & new)
        },
        only_in_reference=sorted(old - new),
        only_in_current=sorted(new - old),
        unreadable=reading.unreadable,
        unreadable_rows=reading.unreadable_rows,
        notes=[*_notes(query, kind, (reference, current), sides)],
    )


def outcome(drift: DistributionDrift) -> Outcome:
    """What a drift may be called once its noise is counted: its verdict only where PSI is more
    than 99 of 100 such pairs of samples reach without any drift."""
    if drift.verdict == "empty":
        return "empty"
    buckets = drift.degrees_of_freedom + 1
    if min(drift.reference_size, drift.current_size) < _VALUES_A_BUCKET * buckets:
        return "too few values"
    return drift.verdict if drift.psi > drift.noise_floor_99 else "within noise"


def lake_days(store: Store) -> list[str]:
    """The days (UTC) that a lake has evidence of, in order."""
    return sorted({partition.day for partition in partitions(store, EVIDENCE)})


# ----------------------------------------------------------------------------- the parts


def _merged(groups: Groups) -> Values:
    if len(groups) == 1:
        (only,) = groups.values()
        return only
    out = Values()
    for values in groups.values():
        out.merge(values)
    return out


def _kind_of(*sides: Values) -> Kind:
    """What a free field is, by what most of its values are."""
    numbers = sum(len(values.numbers) for values in sides)
    words = sum(sum(values.words.values()) + values.beyond for values in sides)
    return "categorical" if words > numbers else "numeric"


def _size(values: Values, kind: Kind) -> int:
    return len(values.numbers) if kind == "numeric" else sum(values.words.values())


def _drift(reference: Values, current: Values, kind: Kind, query: DriftQuery) -> DistributionDrift:
    if kind == "categorical":
        return compute_categorical_drift(_clean(reference.words), _clean(current.words))
    return compute_distribution_drift(
        np.frombuffer(reference.numbers),
        np.frombuffer(current.numbers),
        query.buckets,
        edges=query.edges,
    )


def _clean(words: Mapping[str, int]) -> Counter[str]:
    """Categories as they may be shown: a free field can hold anything, a key or a password too."""
    out: Counter[str] = Counter()
    for category, rows in words.items():
        out[redact(category, {})] += rows
    return out


def _told(window: Window, values: Values, kind: Kind) -> WindowRows:
    rows, size = values.rows, _size(values, kind)
    return WindowRows(window=window.text, rows=rows, values=size, missing=rows - size)


def _notes(
    query: DriftQuery,
    kind: Kind,
    values: tuple[Values, Values],
    sides: tuple[WindowRows, WindowRows],
) -> Iterator[str]:
    """What a reader of the figure must know beside it."""
    if query.reference.overlaps(query.current):
        yield "the windows overlap: rows in both count on both sides and hide drift"
    other = sum(values.rows - values.missing for values in values) - sum(s.values for s in sides)
    if other and kind == "numeric":
        yield f"{query.field}: {other:,} values are no numbers and count as missing"
    elif other:
        yield f"{query.field}: {other:,} values are numbers among words and count as missing"
    was, now = (side.missing / side.rows if side.rows else 0.0 for side in sides)
    if abs(now - was) >= _MISSING_MOVED:
        yield (
            f"{query.field} is missing in {was:.0%} of the reference and {now:.0%} of the current "
            "rows: that is a change of its own, which the figures leave out"
        )


def _days_in_words(days: Sequence[str]) -> str:
    """The days of a lake as windows that could be asked for, runs of days together."""
    if not days:
        return "The lake has no evidence yet: `stillhouse run` makes it."
    spans: list[list[str]] = []
    for day in days:
        if spans and _follows(spans[-1][-1], day):
            spans[-1][1:] = [day]
        else:
            spans.append([day, day])
    shown = ", ".join("..".join(span) for span in spans[:_MOST_SPANS])
    more = len(spans) - _MOST_SPANS
    rest = f" and {more:,} more up to {days[-1]}" if more > 0 else ""
    return f"The lake has rows in {shown}{rest}."


def _follows(day: str, later: str) -> bool:
    try:
        return date.fromisoformat(day) + timedelta(days=1) == date.fromisoformat(later)
    except (ValueError, OverflowError):
        return False
