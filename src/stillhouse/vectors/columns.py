"""Which rows a filter matches, without looking at every row: columns of metadata by path.

`Columns` stand for the rows of a segment, which never change. The column of a path is made when a
filter first asks for it, by decoding every row's metadata once: the rows where there is a value,
and for strings and numbers the distinct values in order, each with its rows. `GrowingColumns` stand
for a tail: columns that are brought up to date when a filter asks.

The answers are those of `filters.matches`, exactly.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from stillhouse.vectors.filters import (
    COMPARE,
    All,
    Any_,
    Bound,
    Exists,
    Filter,
    Not,
    OneOf,
    Path,
    Range,
    order_kind,
    value_key,
    values_at,
)

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int32]

_COLUMNS: Final = 32
"""Paths whose columns are kept."""


class _Ordered:
    """Values of one kind: distinct, ascending, each with the rows that have it."""

    def __init__(self, pairs: list[tuple[Any, int]]) -> None:
        pairs.sort()
        self.values: list[Any] = []
        starts: list[int] = []
        for at, (value, _) in enumerate(pairs):
            if not self.values or self.values[-1] != value:
                self.values.append(value)
                starts.append(at)
        self._starts = np.array([*starts, len(pairs)], np.int64)
        self._rows = np.array([row for _, row in pairs], np.int32)

    def equal(self, value: Any) -> Positions:
        at = bisect_left(self.values, value)
        if at == len(self.values) or self.values[at] != value:
            return self._rows[:0]
        return self._rows[self._starts[at] : self._starts[at + 1]]

    def beyond(self, bound: Bound, value: Any) -> Positions:
        if bound == "$gt":
            return self._rows[self._starts[bisect_right(self.values, value)] :]
        if bound == "$gte":
            return self._rows[self._starts[bisect_left(self.values, value)] :]
        if bound == "$lt":
            return self._rows[: self._starts[bisect_left(self.values, value)]]
        return self._rows[: self._starts[bisect_right(self.values, value)]]


class _Column:
    """What stands at one path, over all rows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[int] = []
        self._pairs: dict[str, list[tuple[Any, int]]] = {"number": [], "string": []}
        self._listed: dict[object, list[int]] = {}

    def take(self, row: int, metadata: dict[str, Any]) -> None:
        """Look at a row; rows come in order."""
        if not values_at(metadata, self._path, spread=False):
            return
        self._rows.append(row)
        for value in values_at(metadata, self._path):
            kind = order_kind(value)
            if kind:
                self._pairs[kind].append((value, row))
            elif value is None or isinstance(value, bool):
                self._listed.setdefault(value_key(value), []).append(row)

    def finish(self) -> None:
        """There are no more rows."""
        self.present = np.array(self._rows, np.int32)
        self.ordered = {kind: _Ordered(pairs) for kind, pairs in self._pairs.items()}
        self._others = {key: np.array(found, np.int32) for key, found in self._listed.items()}
        self._rows, self._pairs, self._listed = [], {}, {}

    def beyond(self, bound: Bound, value: Any) -> Positions:
        return self.ordered[order_kind(value)].beyond(bound, value)

    def equal(self, value: object) -> Positions:
        kind = order_kind(value)
        if kind:
            return self.ordered[kind].equal(value)
        return self._others.get(value_key(value), self.present[:0])


class _Algebra:
    """Filters over ``count`` rows of some columns."""

    def __init__(self, count: int, column: Callable[[Path], _Column | _Growing]) -> None:
        self._count = count
        self._column = column

    def select(self, filter_: Filter) -> Positions:
        """The rows that match, ascending."""
        found = self._evaluate(filter_)
        if found.dtype == np.bool_:
            return np.flatnonzero(found).astype(np.int32)
        if isinstance(filter_, OneOf) and len(filter_.values) == 1:
            # By row already; a list that has a value twice gives its row twice.
            again = found[1:] == found[:-1]
            once: Positions = np.delete(found, np.flatnonzero(again)).astype(np.int32, copy=False)
            return once
        return np.unique(found).astype(np.int32, copy=False)

    def _evaluate(self, filter_: Filter) -> Mask | Positions:
        """Rows as a mask, or as positions in any order and perhaps twice."""
        match filter_:
            case OneOf(path, values):
                column = self._column(path)
                found = [column.equal(value) for value in values]
                return found[0] if len(found) == 1 else _joined(found)
            case Range(path, bound, value):
                return self._column(path).beyond(bound, value)
            case Exists(path):
                return self._column(path).present
            case Not(clause):
                return ~self._mask(clause)
            case All(clauses):
                mask = np.ones(self._count, np.bool_)
                for clause in clauses:
                    mask &= self._mask(clause)
                return mask
            case Any_(clauses):
                mask = np.zeros(self._count, np.bool_)
                for clause in clauses:
                    mask |= self._mask(clause)
                return mask

    def _mask(self, filter_: Filter) -> Mask:
        found = self._evaluate(filter_)
        if found.dtype == np.bool_:
            return found  # type: ignore[return-value]
        mask = np.zeros(self._count, np.bool_)
        mask[found] = True
        return mask


def _paths(filter_: Filter) -> Iterator[Path]:
    """The paths that a filter looks at."""
    match filter_:
        case OneOf(path) | Range(path) | Exists(path):
            yield path
        case Not(clause):
            yield from _paths(clause)
        case All(clauses) | Any_(clauses):
            for clause in clauses:
                yield from _paths(clause)


class Columns:
    """Rows that never change, for filters. Safe to use from many threads."""

    def __init__(self, count: int, metadata: Callable[[], Iterable[bytes | None]]) -> None:
        """``metadata`` gives every row's JSON in order, each time it is called."""
        self._count = count
        self._metadata = metadata
        self._columns: OrderedDict[Path, _Column] = OrderedDict()
        self._lock = threading.Lock()

    def select(self, filter_: Filter) -> Positions:
        """The rows that match, ascending. Do not write to the array."""
        wanted = set(_paths(filter_))
        with self._lock:
            found = {path: self._columns[path] for path in wanted if path in self._columns}
            for path in found:
                self._columns.move_to_end(path)
        found |= self._made(sorted(wanted - set(found)))
        return _Algebra(self._count, found.__getitem__).select(filter_)

    def _made(self, paths: list[Path]) -> dict[Path, _Column]:
        """New columns, of one reading of all metadata however many they are."""
        if not paths:
            return {}
        columns = {path: _Column(path) for path in paths}
        for row, one in enumerate(self._metadata()):
            if one and (metadata := msgspec.json.decode(one)):
                for column in columns.values():
                    column.take(row, metadata)
        for column in columns.values():
            column.finish()
        with self._lock:
            self._columns.update(columns)
            while len(self._columns) > _COLUMNS:
                self._columns.popitem(last=False)
        return columns


class _Growing:
    """What stands at one path, over the rows so far: each value with its rows, in order."""

    def __init__(self) -> None:
        self.known = 0
        self._present: list[int] = []
        self._values: dict[object, list[int]] = {}

    def extend(self, path: Path, rows: Sequence[dict[str, Any] | None]) -> None:
        for row, metadata in enumerate(rows, self.known):
            if not metadata:
                continue
            whole = values_at(metadata, path, spread=False)
            if not whole:
                continue
            self._present.append(row)
            for value in values_at(metadata, path):
                if value is None or isinstance(value, str | int | float):
                    self._values.setdefault(value_key(value), []).append(row)
        self.known += len(rows)

    @property
    def present(self) -> Positions:
        return np.array(self._present, np.int32)

    def equal(self, value: object) -> Positions:
        return np.array(self._values.get(value_key(value), ()), np.int32)

    def beyond(self, bound: Bound, value: Any) -> Positions:
        kind, compare = order_kind(value), COMPARE[bound]
        found = [
            row
            for key, rows in self._values.items()
            if order_kind(key) == kind and compare(key, value)
            for row in rows
        ]
        return np.array(found, np.int32)


class GrowingColumns:
    """Rows to which more are added, for filters. Safe to use from many threads."""

    def __init__(self, metadata: Sequence[bytes | None]) -> None:
        """``metadata`` is every row's JSON, a list that is only ever appended to."""
        self._metadata = metadata
        self._columns: OrderedDict[Path, _Growing] = OrderedDict()
        self._lock = threading.Lock()

    def select(self, filter_: Filter, count: int) -> Positions:
        """Those of the first ``count`` rows that match, ascending."""
        with self._lock:
            # Rows beyond `count` are in no mask; columns may know of them already.
            longest = max((column.known for column in self._columns.values()), default=0)
            algebra = _Algebra(max(count, longest), lambda path: self._column(path, count))
            found = algebra.select(filter_)
        return found[: int(np.searchsorted(found, count))]

    def _column(self, path: Path, count: int) -> _Growing:
        column = self._columns.setdefault(path, _Growing())
        self._columns.move_to_end(path)
        if column.known < count:
            decode = msgspec.json.decode
            more = self._metadata[column.known : count]
            column.extend(path, [decode(one) if one else None for one in more])
        while len(self._columns) > _COLUMNS:
            self._columns.popitem(last=False)
        return column


def _joined(found: Sequence[Positions]) -> Positions:
    return np.concatenate(found) if found else np.zeros(0, np.int32)
