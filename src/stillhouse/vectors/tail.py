"""The newest rows of an index, in no segment yet: kept in memory and searched exactly.

A tail is only ever appended to, by one thread; a view of it is the tail up to a length, so readers
need no lock. When its first rows have been sealed into a segment, a new tail takes the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from stillhouse.vectors.columns import GrowingColumns, Positions
from stillhouse.vectors.distances import lengths_inverted
from stillhouse.vectors.filters import Filter
from stillhouse.vectors.live import Rows
from stillhouse.vectors.values import Floats, Metric

_FIRST: Final = 64


class Tail:
    """Rows by position, ascending by ``seqs``. Only rows before a view's length are for reading."""

    def __init__(self, metric: Metric, dimension: int) -> None:
        self._metric: Metric = metric
        self.count = 0
        self.seqs = np.zeros(0, np.int64)
        self.checks = np.zeros(0, np.uint32)
        self.vectors: Floats = np.zeros((0, dimension), np.float32)
        self.inverted: Floats = np.zeros(0, np.float32)
        self._ids: list[str] = []
        self._metadata: list[bytes | None] = []
        self._columns = GrowingColumns(self._metadata)

    def append(self, rows: Rows) -> None:
        """Take rows whose numbers are greater than all before."""
        end = self.count + len(rows.ids)
        self._grow(end)
        place = slice(self.count, end)
        self.seqs[place] = rows.seqs
        self.checks[place] = rows.checks
        self.vectors[place] = rows.vectors
        if self._metric == "cosine":
            self.inverted[place] = lengths_inverted(self._metric, rows.vectors)
        self._ids += rows.ids
        self._metadata += rows.metadata
        self.count = end

    def _grow(self, end: int) -> None:
        """Room for rows to ``end``. Arrays that views hold stay as they are."""
        room = len(self.seqs)
        if end <= room:
            return
        room = max(end, room + room // 2, _FIRST)
        for name in ("seqs", "checks", "vectors", "inverted"):
            old = getattr(self, name)
            new = np.zeros((room, *old.shape[1:]), old.dtype)
            new[: self.count] = old[: self.count]
            setattr(self, name, new)

    def select(self, filter_: Filter, length: int) -> Positions:
        """The rows before ``length`` that match, ascending."""
        return self._columns.select(filter_, length)

    def ids_at(self, positions: Iterable[int]) -> list[str]:
        """The ids at positions."""
        return [self._ids[at] for at in positions]

    def metadata_at(self, positions: Iterable[int]) -> list[bytes | None]:
        """The metadata at positions."""
        return [self._metadata[at] for at in positions]

    def rest(self, first: int) -> Tail:
        """A new tail of the rows from ``first`` on."""
        tail = Tail(self._metric, self.vectors.shape[1])
        if first < self.count:
            tail.append(self.rows(np.arange(first, self.count)))
        return tail

    def rows(self, positions: npt.NDArray[np.int64]) -> Rows:
        """Rows at ascending positions."""
        at = positions.tolist()
        return Rows(
            self.seqs[positions],
            self.checks[positions],
            self.ids_at(at),
            self.vectors[positions],
            self.metadata_at(at),
        )
