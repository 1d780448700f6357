"""Passing over a raw log once: cut into ranges of whole lines, counted, and hashed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from stillhouse.errors import LakeChangedError
from stillhouse.interfaces import Store
from stillhouse.lake import UNIT_BYTES, UNIT_LINES, ByteRange
from stillhouse.receipts import BlockHasher, FileDigest

_BLOCK: Final = 1 << 20


def past_line_end(store: Store, path: str, at: int) -> int | None:
    """The offset past the line end that stands at ``at``; None when something else does.

    A carriage return that ends the file may yet become a line end: it is not one.
    """
    following = store.read(path, at, at + 2)
    if following.startswith(b"\n"):
        return at + 1
    return at + 2 if following == b"\r\n" else None


class RawScan:
    """Cuts a raw file into ranges of whole lines, hashing all it passes over.

    Iterate once. Afterwards ``end`` is the first byte not covered, ``lines`` the number of
    lines up to there and `digest` that of bytes 0 to ``end``. A last line without a
    line end is its own last range, with ``torn`` set. Memory: one block. The file is open
    only while it is read: a lake may have more logs than a process may have files open.
    """

    def __init__(self, store: Store, path: str, size: int) -> None:
        self._store = store
        self._size = size
        self._path = path
        self._hash = BlockHasher()
        self._position = 0
        self.end = 0
        self.lines = 0
        self.torn = False

    @property
    def sha256(self) -> str:
        """The hash of what was passed over so far, in hex."""
        return self._hash.hexdigest()

    def skip(self, end: int, lines: int, sha256: str) -> bool:
        """Pass over what an earlier run read; False when those bytes are not the same."""
        if end > self._size:
            return False
        self.pass_over(end)
        self.lines = lines
        return self.sha256 == sha256

    def pass_over(self, end: int) -> None:
        """Hash up to ``end`` without counting lines."""
        for _ in self._blocks(end):
            pass
        self.end = end

    def ranges(
        self, stops: tuple[int, ...] = (), unit: int = UNIT_BYTES, most: int = UNIT_LINES
    ) -> Iterator[ByteRange]:
        """The ranges from where the scan stands; none crosses an offset in ``stops``.

        A range ends at the first line end after ``unit`` bytes that a block shows, and never
        holds more than ``most`` lines: short lines grow the most when they become records.
        """
        start, line = self.end, self.lines
        position, cut, cut_line = start, start, line
        for limit in [*(stop for stop in stops if stop > start), self._size]:
            for block in self._blocks(limit, min(_BLOCK, unit)):
                ends = _line_ends(block)
                for at in range(most - (cut_line - line) - 1, len(ends), most):
                    yield ByteRange(start, position + int(ends[at]), line)
                    start, line = position + int(ends[at]), cut_line + at + 1
                if len(ends):
                    cut, cut_line = position + int(ends[-1]), cut_line + len(ends)
                position += len(block)
                if cut - start >= unit:
                    yield ByteRange(start, cut, line)
                    start, line = cut, cut_line
            if limit != self._size and cut > start:
                yield ByteRange(start, cut, line)
                start, line = cut, cut_line
        if cut > start:
            yield ByteRange(start, cut, line)
            start, line = cut, cut_line
        self.end, self.lines = start, line
        self.torn = position > start

    def take_torn(self) -> ByteRange:
        """The last line, which has no line end, as a range; the scan then ends after it."""
        torn = ByteRange(self.end, self._size, self.lines)
        self.end, self.lines, self.torn = self._size, self.lines + 1, False
        return torn

    def digest(self) -> FileDigest:
        """The digest of bytes 0 to `end`, with `lines` as its rows."""
        if self.end == self._position:
            return self._hash.digest(self._path, self.lines)
        # A torn tail was hashed along the way: hash again without it. Rare and once a run.
        again = RawScan(self._store, self._path, self._size)
        again.pass_over(self.end)
        return again._hash.digest(self._path, self.lines)

    def _blocks(self, end: int, size: int = _BLOCK) -> Iterator[bytes]:
        if self._position >= end:
            return
        with self._store.open(self._path) as handle:
            handle.seek(self._position)
            while self._position < end:
                block = handle.read(min(size, end - self._position))
                if not block:
                    raise LakeChangedError(
                        f"became shorter while it was read ({self._position:,} of {end:,} bytes)",
                        where=self._path,
                        way_out="Run again when nothing truncates it.",
                    )
                self._position += len(block)
                self._hash.update(block)
                yield block


def _line_ends(block: bytes) -> npt.NDArray[np.intp]:
    """Offsets past each newline of a block."""
    return np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 0x0A) + 1
