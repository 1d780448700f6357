"""Reading the rows that a chunk needs: its own, and the partners of its preference pairs."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import BinaryIO, Final

import msgspec

from stillhouse.exports.firewall import join
from stillhouse.exports.redacted import Redacted
from stillhouse.index import Rows, read_index
from stillhouse.interfaces import Refusal, Store
from stillhouse.lake import Span

_HELD: Final = 256
"""Partners kept in memory: a task's answers stand in several of its pairs."""

_HANDLES: Final = 64


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a scored run and its evidence lie: path, start and size of each line."""

    evidence: Span
    scored: Span


class OwnRows:
    """The chunk's own lines, each file's part read at once when first needed."""

    def __init__(self, store: Store, evidence: str, scored: str, index: bytes) -> None:
        rows = read_index(index)
        self._files = (
            _Window(store, scored, rows, "scored"),
            _Window(store, evidence, rows, "evidence"),
        )

    def lines(self, position: int) -> tuple[bytes, bytes]:
        """A row's scored and evidence lines, without their line ends."""
        scored, evidence = self._files
        return scored.line(position), evidence.line(position)


class _Window:
    def __init__(self, store: Store, path: str, rows: Rows, name: str) -> None:
        self._starts: list[int] = rows[f"{name}_start"].tolist()
        self._sizes: list[int] = rows[f"{name}_size"].tolist()
        ends = [start + size for start, size in zip(self._starts, self._sizes, strict=True)]
        self._first, self._end = min(self._starts, default=0), max(ends, default=0)
        self._store, self._path = store, path
        self._data: bytes | None = None

    def line(self, position: int) -> bytes:
        if self._data is None:
            self._data = self._store.read(self._path, self._first, self._end)
        start = self._starts[position] - self._first
        return self._data[start : start + self._sizes[position]].rstrip(b"\r\n")


class PartnerRows:
    """The rejected sides of pairs, wherever they lie. Use as a context manager."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stack = ExitStack()
        self._handles: dict[str, BinaryIO] = {}
        self._held: dict[tuple[str, int], Redacted | Refusal] = {}

    def __enter__(self) -> PartnerRows:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def words(self, place: Place) -> Redacted | Refusal:
        """The words of the run at a place, joined and checked anew; or why it cannot be."""
        key = (place.evidence.path, place.evidence.start)
        found = self._held.get(key)
        if found is None:
            joined = join(self._line(place.scored), self._line(place.evidence))
            found = joined if isinstance(joined, Refusal) else Redacted(joined)
            if len(self._held) >= _HELD:
                self._held.clear()
            self._held[key] = found
        return found

    def _line(self, span: Span) -> bytes:
        handle = self._handles.get(span.path)
        if handle is None:
            if len(self._handles) >= _HANDLES:
                self._stack.close()
                self._handles.clear()
            handle = self._stack.enter_context(self._store.open(span.path, random=True))
            self._handles[span.path] = handle
        handle.seek(span.start)
        return handle.read(span.size).rstrip(b"\r\n")
