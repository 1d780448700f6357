"""A lake seen through a second store: what is written goes there, the lake stays as it is.

A second run over a lake (`stillhouse.replay`) reads the lake's files and must not touch one.
Its own files may be lost at any time, so nothing here is made durable.

This module never writes to the lake.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from heapq import merge
from pathlib import Path
from typing import BinaryIO

from stillhouse.errors import StorageError
from stillhouse.interfaces import Entry, Sink, Store, TailCheck
from stillhouse.storage.paths import checked, range_problem

_BUFFER = 1 << 20


class OverlayStore:
    """``base`` with ``upper`` over it: a file of the upper store hides the one below.

    ``shown`` says which files of the base are there and how many of their first bytes; without
    it all are there, whole. Files of the base that are deleted are hidden from then on, in
    this process and in those that the store is sent to later.
    """

    def __init__(self, base: Store, upper: Store, shown: Mapping[str, int] | None = None) -> None:
        self._base = base
        self._upper = upper
        self._shown = None if shown is None else dict(shown)
        self._hidden: set[str] = set()

    @property
    def url(self) -> str:
        """The lake's own address: messages are about its files."""
        return self._base.url

    def check_readable(self) -> None:
        """Raise `LakeError` when the lake cannot be read."""
        self._base.check_readable()

    def local_path(self, path: str) -> Path | None:
        """Where a file of the upper store is on this machine's disk; ``None`` for others, since
        what lies there of the lake may be more than is seen here."""
        return self._upper.local_path(path) if self._upper.stat(path) else None

    def changes(self) -> list[str]:
        """Paths at which another file is seen than the base has, or none where it has one."""
        changed = {path for path in self._hidden if self._base.stat(path) and not self.stat(path)}
        for entry in self._upper.list(""):
            if not self._same(entry):
                changed.add(entry.path)
        return sorted(changed)

    def _same(self, entry: Entry) -> bool:
        """Whether the base has the bytes of this file of the upper store."""
        below = self._base.stat(entry.path)
        if below is None or below.size != entry.size:
            return False
        with self._upper.open(entry.path) as new, self._base.open(entry.path) as old:
            while block := new.read(_BUFFER):
                if block != old.read(len(block)):
                    return False
        return True

    # ------------------------------------------------------------------------- reading

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below a folder, of both stores, sorted by path."""
        below = (seen for entry in self._base.list(prefix) if (seen := self._cut(entry)))
        last = ""
        # Of two entries of one path the upper one comes first: `merge` keeps their order.
        for entry in merge(self._upper.list(prefix), below, key=lambda entry: entry.path):
            if entry.path != last:
                yield entry
            last = entry.path

    def stat(self, path: str) -> Entry | None:
        """The file's entry, or ``None``."""
        entry = self._upper.stat(path)
        if entry is None and (below := self._base.stat(path)) is not None:
            entry = self._cut(below)
        return entry

    def _cut(self, entry: Entry) -> Entry | None:
        """A file of the base as it is seen here, if it is."""
        if entry.path in self._hidden:
            return None
        if self._shown is None:
            return entry
        size = self._shown.get(entry.path)
        # A file that is shorter than it was is seen as it is: its reader finds that out.
        return None if size is None else entry._replace(size=min(size, entry.size))

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from ``start`` to ``end``, fewer when the file ends before."""
        if self._upper.stat(path):
            return self._upper.read(path, start, end)
        if range_problem(start, end):
            raise StorageError(f"bytes {start} to {end} are no range", where=path)
        size = self._below(path)
        if size is not None:
            end = size if end is None else min(end, size)
            start = min(start, end)
        return self._base.read(path, start, end)

    def open(self, path: str, *, random: bool = False) -> BinaryIO:
        """The file from its start, up to where it is seen."""
        if self._upper.stat(path):
            return self._upper.open(path, random=random)
        size = self._below(path)
        handle = self._base.open(path, random=random)
        return handle if size is None else io.BufferedReader(_Head(handle, size), _BUFFER)

    def _below(self, path: str) -> int | None:
        """How many bytes of a file of the base are seen; ``None`` for all."""
        checked(path, self.url)
        if path in self._hidden or (self._shown is not None and path not in self._shown):
            raise StorageError(
                "cannot read: there is no such file",
                where=path,
                way_out="A second run reads what its receipts name, and nothing else.",
            )
        return None if self._shown is None else self._shown[path]

    # ------------------------------------------------------------------------- writing

    def writer(self, path: str, *, durable: bool = True) -> AbstractContextManager[Sink]:
        """Write a file whole or not at all, into the upper store."""
        return self._upper.writer(path, durable=False)

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file only if none is there, above or below."""
        return self.stat(path) is None and self._upper.create(path, data)

    def append_line(self, path: str, line: bytes, check_tail: TailCheck) -> None:
        """Add one line; a file of the base is copied above first, by whoever comes first."""
        if not self._upper.stat(path) and (below := self.snapshot(path)):
            self._upper.create(path, below[1])
        self._upper.append_line(path, line, check_tail)

    def snapshot(self, path: str) -> tuple[Entry, bytes] | None:
        """The whole of a file, as far as it is seen."""
        if self._upper.stat(path):
            return self._upper.snapshot(path)
        entry = self.stat(path)
        return None if entry is None else (entry, self.read(path, 0, entry.size))

    def truncate(self, path: str, size: int, seen: Entry) -> bool:
        """Cut a file that is still the one that was seen; one of the base by a copy above."""
        if self._upper.stat(path):
            return self._upper.truncate(path, size, seen)
        if self.stat(path) != seen:
            return False
        data = self.read(path, 0, size)
        with self.writer(path) as sink:
            sink.write(data)
        return True

    def persist(self, paths: Sequence[str]) -> None:
        """Nothing here has to outlive a crash."""
        for path in paths:
            checked(path, self.url)

    def publish(self, staged: str, target: str, *, durable: bool = True) -> None:
        """Move a finished file of the upper store over another path."""
        self._upper.publish(staged, target, durable=False)

    def delete(self, path: str) -> None:
        """Remove a file of the upper store, hide one of the base."""
        self._upper.delete(path)
        self._hidden.add(checked(path, self.url))

    def lock(self, holder: str) -> AbstractContextManager[None]:
        """Hold the upper store: whoever writes to the lake itself is not in the way."""
        return self._upper.lock(holder)


class _Head(io.RawIOBase):
    """The first ``size`` bytes of a file."""

    def __init__(self, inner: BinaryIO, size: int) -> None:
        self._inner = inner
        self._size = size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            offset, whence = max(0, self._size + offset), io.SEEK_SET
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        left = max(0, self._size - self._inner.tell())
        data = self._inner.read(min(len(buffer), left))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()
