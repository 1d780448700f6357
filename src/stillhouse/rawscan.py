"""Passing over a raw log once: cut into ranges of whole lines, counted, and hashed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from zlib import crc32

import numpy as np
import numpy.typing as npt

from stillhouse.errors import LakeChangedError
from stillhouse.interfaces import Store
from stillhouse.lake import UNIT_BYTES, UNIT_LINES, ByteRange
from stillhouse.receipts import BlockHasher, FileDigest

_BLOCK: Final = 1 << 20


class RawScan:
    """Cuts a raw file into ranges of whole lines, hashing all it passes over.

    Iterate once. Afterwards ``end`` is the first byte not covered, ``lines`` the number of
    lines up to there and `digest` that of bytes 0 to ``end``. A last line without a
    line end is a range of its own, `tail`, with ``torn`` set. Memory: one block. The file is
    open only while it is read: a lake may have more logs than a process may have files open.

    No byte is read twice: its owner may rewrite the log meanwhile, and a hash must be that of
    the bytes that were cut. Whoever reads a range once more compares its ``check``.
    """

    def __init__(self, store: Store, path: str, size: int) -> None:
        self._store = store
        self._size = size
        self._path = path
        self._hash = BlockHasher()
        self._position = 0
        self._last = b""
        self._cut: _Cut | None = None
        self.end = 0
        self.lines = 0
        self.torn = False

    @property
    def sha256(self) -> str:
        """The hash of what was passed over so far, in hex."""
        return self._hash.hexdigest()

    @property
    def tail(self) -> ByteRange:
        """The last line, which has no line end, as a range; empty when there is none."""
        check = self._cut.rest if self._cut else 0
        return ByteRange(self.end, self._position, self.lines, check)

    def skip(self, end: int, lines: int, sha256: str) -> bool:
        """Pass over what an earlier run read; False when those bytes are not the same."""
        if end > self._size:
            return False
        for block in self._blocks(end):
            self._hash.update(block)
            self._last = block[-1:]
        self.end, self.lines = end, lines
        return self.sha256 == sha256

    def skip_line_end(self) -> bool:
        """Pass over what was written of a line end since the last line skipped was read without
        one. False, and nothing is passed over, when more of the line stands there."""
        at = self.end
        if self._last in (b"", b"\n"):
            return True
        after = self._store.read(self._path, at, min(at + 2, self._size))
        width = line_end_width(self._last, after)
        if width is None:
            return False
        self._hash.update(after[:width])
        self._position += width
        self.end = self._position
        return True

    def last_line_start(self) -> int:
        """Where the last line passed over starts, which has no line end."""
        at = self.end
        while at:
            start = max(0, at - _BLOCK)
            place = self._store.read(self._path, start, at).rfind(b"\n")
            if place >= 0:
                return start + place + 1
            at = start
        return 0

    def ranges(
        self, stops: tuple[int, ...] = (), unit: int = UNIT_BYTES, most: int = UNIT_LINES
    ) -> Iterator[ByteRange]:
        """The ranges from where the scan stands; none crosses an offset in ``stops``.

        A range ends at the first line end after ``unit`` bytes that a block shows, and never
        holds more than ``most`` lines: short lines grow the most when they become records.
        """
        cut = self._cut = _Cut(self.end, self.lines, self._hash)
        for limit in [*(stop for stop in stops if stop > self.end), self._size]:
            for block in self._blocks(limit, min(_BLOCK, unit)):
                ends = _line_ends(block)
                yield from cut.take(block, ends, most)
                if cut.end - cut.start >= unit:
                    yield cut.off()
            if limit != self._size and cut.end > cut.start:
                yield cut.off()
        if cut.end > cut.start:
            yield cut.off()
        self.end, self.lines = cut.end, cut.lines
        self.torn = self._position > cut.end

    def take_torn(self) -> ByteRange:
        """The last line, which has no line end, as a range; the scan then ends after it."""
        torn = self.tail
        self.end, self.lines, self.torn = self._position, self.lines + 1, False
        return torn

    def digest(self) -> FileDigest:
        """The digest of bytes 0 to `end`, with `lines` as its rows."""
        hashed = self._cut.hashed if self.torn and self._cut else self._hash
        return hashed.digest(self._path, self.lines)

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
                yield block


class _Cut:
    """Where a scan stands: a range is open from ``start`` and may be cut off at ``end``, the
    last line end seen. ``hashed`` has taken all up to there."""

    def __init__(self, start: int, line: int, running: BlockHasher) -> None:
        self.start = self.end = start
        self.line = self.lines = line
        self.hashed = running.copy()
        self._running = running
        # CRC-32 of the open range's bytes up to its last line end, and of what follows it.
        self.check = self.rest = 0
        self._all = 0

    def take(self, block: bytes, ends: npt.NDArray[np.intp], most: int) -> Iterator[ByteRange]:
        """Take the next block; ranges that are full by their number of lines come out."""
        view, done, before = memoryview(block), 0, self.lines
        for at in range(most - (before - self.line) - 1, len(ends), most):
            self._go_to(view[done : int(ends[at])], before + at + 1)
            done = int(ends[at])
            yield self.off()
        if len(ends):
            last = int(ends[-1])
            self._go_to(view[done:last], before + len(ends))
            self.hashed, done = self._running.copy(), last
        rest = view[done:]
        self._running.update(rest)
        self.rest, self._all = crc32(rest, self.rest), crc32(rest, self._all)

    def _go_to(self, data: memoryview, lines: int) -> None:
        """Take bytes that end a line, the last of so many lines."""
        self._running.update(data)
        self.end, self.lines = self._running.bytes, lines
        self.check = self._all = crc32(data, self._all)
        self.rest = 0

    def off(self) -> ByteRange:
        """Cut the open range off at its last line end."""
        part = ByteRange(self.start, self.end, self.line, self.check)
        self.start, self.line = self.end, self.lines
        self.check, self._all = 0, self.rest
        return part


def line_end_width(before: bytes, after: bytes) -> int | None:
    """How many bytes of a line end follow a line that was read without one: none yet (0), or
    so many; None when more of the line follows, so that it is another line.

    ``before`` is the line's last byte, ``after`` are the next two, fewer where the file ends.
    A carriage return at the end of what was read counted as part of the line end.
    """
    if not after or after.startswith(b"\n"):
        return min(len(after), 1)
    return len(after) if before != b"\r" and after in (b"\r", b"\r\n") else None


def _line_ends(block: bytes) -> npt.NDArray[np.intp]:
    """Offsets past each newline of a block."""
    return np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 0x0A) + 1
