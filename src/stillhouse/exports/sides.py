"""Reading the rows that a chunk needs: its own, and the partners of its preference pairs."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import BinaryIO, Final

import msgspec

from stillhouse.errors import LakeChangedError
from stillhouse.exports.firewall import Joined, join
from stillhouse.index import SECRET, Rows, read_index
from stillhouse.interfaces import Refusal, Store
from stillhouse.lake import Span

_HELD: Final = 512
"""Runs kept at hand: a task's answers stand in several of its pairs, often near by."""

_HANDLES: Final = 64


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a scored run and its evidence lie (path, start and size of each line), by which
    hash and code they are known, and whether they hold a secret: all that a pair depends on."""

    evidence: Span
    scored: Span
    sig: str
    code: str
    secret: bool


def changed(path: str, refusal: Refusal) -> LakeChangedError:
    """What the index told of a run, its lines do not hold. The index was found to be that of
    these files just before, so only a change that hides itself can do that."""
    return LakeChangedError(
        f"is not as it was indexed: {'; '.join(refusal.detail)}",
        where=path,
        way_out="Run again when nothing else writes there. If it stays so, the file was edited "
        "and given its old time: delete the folder .stillhouse, and run.",
    )


class Runs:
    """The joined runs that a chunk needs, its own and the rejected sides of its pairs, each
    read and checked once while it is at hand. Use as a context manager."""

    def __init__(self, store: Store, evidence: str, scored: str, index: bytes) -> None:
        rows = read_index(index)
        self._store = store
        self._path = evidence
        self._scored = _Window(store, scored, rows, "scored")
        self._evidence = _Window(store, evidence, rows, "evidence")
        self._secret: list[bool] = ((rows["flags"] & SECRET) != 0).tolist()
        self._stack = ExitStack()
        self._handles: dict[str, BinaryIO] = {}
        self._held: dict[tuple[str, int], Joined] = {}

    def __enter__(self) -> Runs:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def own(self, position: int) -> Joined:
        """One of the chunk's own runs. Raises `LakeChangedError` as `partner` does."""
        key = (self._path, self._evidence.starts[position])
        found = self._held.get(key)
        if found is None:
            lines = (self._scored.line(position), self._evidence.line(position))
            found = self._hold(key, *lines, self._secret[position])
        return found

    def partner(self, place: Place) -> Joined:
        """The run at a place anywhere in the lake, joined and checked anew.

        Raises `LakeChangedError` when its lines are not those that were indexed.
        """
        key = (place.evidence.path, place.evidence.start)
        found = self._held.get(key)
        if found is None:
            lines = (self._line(place.scored), self._line(place.evidence))
            found = self._hold(key, *lines, place.secret)
        return found

    def _hold(self, key: tuple[str, int], scored: bytes, evidence: bytes, secret: bool) -> Joined:
        found = join(scored, evidence, secret)
        if isinstance(found, Refusal):
            raise changed(key[0], found)
        if len(self._held) >= _HELD:
            del self._held[next(iter(self._held))]
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


class _Window:
    """The chunk's part of a file, read at once when first needed."""

    def __init__(self, store: Store, path: str, rows: Rows, name: str) -> None:
        self.starts: list[int] = rows[f"{name}_start"].tolist()
        self._sizes: list[int] = rows[f"{name}_size"].tolist()
        ends = [start + size for start, size in zip(self.starts, self._sizes, strict=True)]
        self._first, self._end = min(self.starts, default=0), max(ends, default=0)
        self._store, self._path = store, path
        self._data: bytes | None = None

    def line(self, position: int) -> bytes:
        if self._data is None:
            self._data = self._store.read(self._path, self._first, self._end)
        start = self.starts[position] - self._first
        return self._data[start : start + self._sizes[position]].rstrip(b"\r\n")
