"""Which rows a filter matches, without looking at every row: columns of metadata by path.

A `Columns` stands for rows that never change: a segment, or a full block of a tail. The column of
a path is made when a filter first asks for it, by decoding every row's metadata once: the rows
where there is a value, and for strings and numbers the distinct values in order, each with its
rows. What filters gave is remembered, for few filters at a time.

The answers are those of `filters.matches`, exactly.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from stillhouse.vectors.filters import (
    All,
    Any_,
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
_ANSWERS: Final = 64
"""Filters whose answers are kept."""


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

    def beyond(self, bound: str, value: Any) -> Positions:
        if bound == "$gt":
            return self._rows[self._starts[bisect_right(self.values, value)] :]
        if bound == "$gte":
            return self._rows[self._starts[bisect_left(self.values, value)] :]
        if bound == "$lt":
            return self._rows[: self._starts[bisect_left(self.values, value)]]
        return self._rows[: self._starts[bisect_right(self.values, value)]]


class _Column:
    """What stands at one path, over all rows."""

    def __init__(self, path: Path, rows: Iterable[dict[str, Any] | None]) -> None:
        present: list[int] = []
        ordered: dict[str, list[tuple[Any, int]]] = {"number": [], "string": []}
        others: dict[object, list[int]] = {}
        for row, metadata in enumerate(rows):
            if not metadata:
                continue
            whole = values_at(metadata, path, spread=False)
            if not whole:
                continue
            present.append(row)
            for value in values_at(metadata, path):
                kind = order_kind(value)
                if kind:
                    ordered[kind].append((value, row))
                elif value is None or isinstance(value, bool):
                    others.setdefault(value_key(value), []).append(row)
        self.present = np.array(present, np.int32)
        self.ordered = {kind: _Ordered(pairs) for kind, pairs in ordered.items()}
        self._others = {key: np.array(found, np.int32) for key, found in others.items()}

    def equal(self, value: object) -> Positions:
        kind = order_kind(value)
        if kind:
            return self.ordered[kind].equal(value)
        return self._others.get(value_key(value), self.present[:0])


class Columns:
    """Rows that never change, for filters. Safe to use from many threads."""

    def __init__(self, count: int, metadata: Callable[[], Iterable[bytes | None]]) -> None:
        """``metadata`` gives every row's JSON in order, each time it is called."""
        self._count = count
        self._metadata = metadata
        self._columns: OrderedDict[Path, _Column] = OrderedDict()
        self._answers: OrderedDict[str, Positions] = OrderedDict()
        self._lock = threading.Lock()

    def select(self, filter_: Filter) -> Positions:
        """The rows that match, ascending. The array is shared: do not write to it."""
        # Equal structs are not equal filters: OneOf(path, (1,)) == OneOf(path, (True,)).
        key = repr(filter_)
        with self._lock:
            known = self._answers.get(key)
            if known is not None:
                self._answers.move_to_end(key)
                return known
        found = self._evaluate(filter_)
        rows = np.flatnonzero(found) if found.dtype == np.bool_ else np.unique(found)
        answer: Positions = rows.astype(np.int32)
        answer.flags.writeable = False
        with self._lock:
            self._answers[key] = answer
            while len(self._answers) > _ANSWERS:
                self._answers.popitem(last=False)
        return answer

    def _evaluate(self, filter_: Filter) -> Mask | Positions:
        """Rows as a mask, or as positions in any order and perhaps twice."""
        match filter_:
            case OneOf(path, values):
                column = self._column(path)
                found = [column.equal(value) for value in values]
                return found[0] if len(found) == 1 else _joined(found)
            case Range(path, bound, value):
                return self._column(path).ordered[order_kind(value)].beyond(bound, value)
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

    def _column(self, path: Path) -> _Column:
        with self._lock:
            column = self._columns.get(path)
            if column is not None:
                self._columns.move_to_end(path)
                return column
        decode = msgspec.json.decode
        column = _Column(path, (decode(one) if one else None for one in self._metadata()))
        with self._lock:
            self._columns[path] = column
            while len(self._columns) > _COLUMNS:
                self._columns.popitem(last=False)
        return column


def _joined(found: Sequence[Positions]) -> Positions:
    return np.concatenate(found) if found else np.zeros(0, np.int32)
