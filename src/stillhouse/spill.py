"""Grouping more rows than memory holds: rows are dealt into buckets by key, on local disk.

All rows of one group meet in one bucket, and a bucket fits in memory whatever the size of
the lake. Small lakes have a single bucket and touch no disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

ROWS_PER_BUCKET = 1 << 17

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Rows = npt.NDArray[Any]


class Buckets:
    """Rows of one dtype, dealt by the high bits of a 64-bit key that is already a hash.

    ``folder`` must exist; ``expected`` is the number of rows that may come.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        dtype: np.dtype[Any],
        expected: int,
        rows_per_bucket: int = ROWS_PER_BUCKET,
    ) -> None:
        bits = max(0, (max(0, expected - 1) // rows_per_bucket).bit_length())
        self._shift = np.uint64(64 - bits) if bits else None
        self._paths = [folder / f"{name}-{number}" for number in range(1 << bits)]
        self._dtype = dtype
        self._block_rows = rows_per_bucket
        self._held: list[Rows] = []

    def add(self, keys: U64, rows: Rows) -> None:
        """Deal rows into their buckets; ``keys`` has one key a row."""
        if self._shift is None:
            self._held.append(rows)
            return
        numbers = keys >> self._shift
        order = np.argsort(numbers, kind="stable")
        rows, numbers = rows[order], numbers[order]
        edges = np.searchsorted(numbers, np.arange(len(self._paths) + 1, dtype=np.uint64))
        for number, path in enumerate(self._paths):
            start, end = edges[number], edges[number + 1]
            if start < end:
                with path.open("ab") as handle:
                    handle.write(rows[start:end].tobytes())

    def __iter__(self) -> Iterator[Rows]:
        """The buckets, each once; its rows keep the order in which they came."""
        if self._shift is None:
            if self._held:
                held, self._held = np.concatenate(self._held), []
                yield held
            return
        for path in self._paths:
            if path.exists():
                rows = np.fromfile(path, dtype=self._dtype)
                path.unlink()
                yield rows

    @property
    def spilled(self) -> bool:
        """True when there is more than one bucket, and they are on disk."""
        return self._shift is not None

    def in_blocks(self) -> Iterator[Iterator[Rows]]:
        """The buckets, each once and in blocks: however many rows share one key, memory holds a
        block. Each bucket must be read to its end before the next."""
        if not self.spilled:
            yield iter(self)
            return
        for path in self._paths:
            if path.exists():
                yield self._blocks(path)
                path.unlink()

    def _blocks(self, path: Path) -> Iterator[Rows]:
        size = self._dtype.itemsize * self._block_rows
        for offset in range(0, path.stat().st_size, size):
            yield np.fromfile(path, dtype=self._dtype, count=self._block_rows, offset=offset)


class Spill(NamedTuple):
    """Where rows are spilled to: a folder, the rows that may come, and the size of a bucket."""

    folder: Path
    expected: int
    rows_per_bucket: int = ROWS_PER_BUCKET

    def buckets(self, name: str, dtype: np.dtype[Any]) -> Buckets:
        """New buckets of that name."""
        return Buckets(self.folder, name, dtype, self.expected, self.rows_per_bucket)


def group_starts(*keys: U64) -> npt.NDArray[np.intp]:
    """Positions where a new group starts, in arrays sorted by these keys."""
    if not len(keys[0]):
        return np.zeros(0, dtype=np.intp)
    new = np.zeros(len(keys[0]), dtype=bool)
    new[0] = True
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(new)
