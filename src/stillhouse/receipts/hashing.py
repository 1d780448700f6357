"""Hashes of files, and where a file parts from the one that was hashed.

The SHA-256 of a file proves that it is the same; it cannot tell where it is not. So the
running hash is looked at after every block: the first digits of the digest of everything
up to there are a *mark*. The first mark that differs names the block of the first byte
that differs. Nothing is hashed twice.

This module never opens a file by itself.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO, Final, NamedTuple

import msgspec

BLOCK: Final = 32 << 10
"""Bytes a mark covers. 8 digits in 32 KiB add 0.02 % of a file's size to its receipt."""

MOST_MARKS: Final = 16_384
"""At so many marks every other one is dropped and the block doubles."""

MARK_DIGITS: Final = 8
_PIECE: Final = 1 << 20


class FileDigest(msgspec.Struct, frozen=True):
    """A file, or its first ``bytes`` bytes. ``rows`` is None for what has no rows.

    ``marks`` holds `MARK_DIGITS` hex digits for every ``block`` bytes; both may be left
    out, and then no place in the file can be named.
    """

    path: str
    bytes: int
    rows: int | None
    sha256: str
    block: int = 0
    marks: str = ""


class BlockHasher:
    """SHA-256 of what passes, with a mark at every block, in one pass and bounded memory.

    The block doubles as the file grows (see `MOST_MARKS`), unless it is ``fixed``: who
    compares does so with the block of the one who wrote. A block of 0 leaves no marks.
    """

    def __init__(self, block: int = BLOCK, *, fixed: bool = False) -> None:
        self._hash = hashlib.sha256()
        self._fixed = fixed
        self._block = self._room = block
        self._marks: list[str] = []
        self.bytes = 0

    def copy(self) -> BlockHasher:
        """Another hasher that has taken the same bytes: each goes on by itself."""
        twin = BlockHasher(self._block, fixed=self._fixed)
        twin._hash = self._hash.copy()
        twin._room, twin._marks, twin.bytes = self._room, self._marks.copy(), self.bytes
        return twin

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        size, at = len(data), 0
        self.bytes += size
        if self._block and size >= self._room:
            view = memoryview(data)
            while size - at >= self._room:
                self._hash.update(view[at : at + self._room])
                at += self._room
                self._mark()
            data = view[at:]
        self._hash.update(data)
        self._room -= size - at

    def _mark(self) -> None:
        self._marks.append(self._hash.hexdigest()[:MARK_DIGITS])
        if len(self._marks) == MOST_MARKS and not self._fixed:
            self._marks = self._marks[1::2]
            self._block *= 2
        self._room = self._block

    def hexdigest(self) -> str:
        """The SHA-256 of all bytes so far. More may follow."""
        return self._hash.hexdigest()

    def digest(self, path: str, rows: int | None = None) -> FileDigest:
        """All bytes so far as those of ``path``. More may follow."""
        marks = "".join(self._marks)
        block = self._block if marks else 0
        return FileDigest(path, self.bytes, rows, self.hexdigest(), block, marks)


def hash_prefix(handle: BinaryIO, size: int, path: str, block: int) -> FileDigest:
    """The digest of the next ``size`` bytes, or of fewer when the file ends before."""
    hasher = BlockHasher(block, fixed=True)
    while piece := handle.read(min(_PIECE, size - hasher.bytes)):
        hasher.update(piece)
    return hasher.digest(path)


class Parting(NamedTuple):
    """The first byte that parts is ``start`` or later, and before ``end``."""

    start: int
    end: int


def parting(wanted: FileDigest, found: FileDigest) -> Parting | None:
    """Where a file parts from its digest, as narrowly as the marks allow.

    ``found`` is the digest of its first ``wanted.bytes`` bytes, or of all when it has
    fewer, with the block of ``wanted``. When these agree, what parts is what follows.
    None when no byte can be named: every mark covers the file and agrees.
    """
    if found.sha256 == wanted.sha256:
        return Parting(wanted.bytes, wanted.bytes + 1)
    marks = zip(_split(wanted.marks), _split(found.marks), strict=False)
    agreed = next((at for at, (one, other) in enumerate(marks) if one != other), None)
    if agreed is not None:
        return Parting(agreed * wanted.block, (agreed + 1) * wanted.block)
    start = min(len(wanted.marks), len(found.marks)) // MARK_DIGITS * wanted.block
    if found.bytes < wanted.bytes:
        # A missing byte parts: at the latest, the first one after the end.
        return Parting(start, found.bytes + 1)
    return Parting(start, wanted.bytes) if start < wanted.bytes else None


def _split(marks: str) -> list[str]:
    return [marks[at : at + MARK_DIGITS] for at in range(0, len(marks), MARK_DIGITS)]
