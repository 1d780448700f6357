"""A lake in this process's memory, for tests and for trying things out.

It keeps to the same rules as the other stores: paths, all-or-nothing writing, order, errors.
It never crosses a process border: a worker would get an empty copy, so it refuses.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stillhouse.errors import LakeLockedError, StorageError
from stillhouse.interfaces import Entry, Sink, TailCheck
from stillhouse.storage.append import with_line
from stillhouse.storage.paths import checked, checked_prefix, range_problem


class MemoryStore:
    """Files in a dictionary."""

    _named: dict[str, MemoryStore] = {}

    def __init__(self, url: str = "memory://") -> None:
        self._url = url
        self._files: dict[str, bytes] = {}
        self._holder: str | None = None
        self._changing = threading.Lock()

    @classmethod
    def named(cls, url: str) -> MemoryStore:
        """The store of that name in this process; made when there is none yet."""
        return cls._named.setdefault(url, cls(url))

    def __reduce__(self) -> tuple[object, ...]:
        raise StorageError(
            "is in the memory of one process, and another cannot see it",
            where=self._url,
            way_out="Use --engine inline, or a lake in a folder.",
        )

    @property
    def url(self) -> str:
        """The address it was opened by."""
        return self._url

    def check_readable(self) -> None:
        """Always readable."""

    def local_path(self, path: str) -> Path | None:
        """``None``: nothing here is on a disk."""
        checked(path, self._url)
        return None

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below a folder, sorted by path."""
        prefix = checked_prefix(prefix, self._url)
        within = f"{prefix}/" if prefix else ""
        found = sorted(path for path in self._files if path.startswith(within))
        entries = (self.stat(path) for path in found)
        return (entry for entry in entries if entry is not None)

    def stat(self, path: str) -> Entry | None:
        """The file's entry, or ``None``."""
        data = self._files.get(checked(path, self._url))
        if data is None:
            return None
        return Entry(path, len(data), hashlib.sha256(data).hexdigest())

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from ``start`` to ``end``, fewer when the file ends before."""
        if range_problem(start, end):
            raise StorageError(f"bytes {start} to {end} are no range", where=path)
        return self._file(path)[start:end]

    def open(self, path: str, *, random: bool = False) -> BinaryIO:
        """The file as it is now, from its start."""
        return io.BytesIO(self._file(path))

    @contextmanager
    def writer(self, path: str, *, durable: bool = True) -> Iterator[Sink]:
        """Write a file whole or not at all."""
        checked(path, self._url)
        sink = io.BytesIO()
        yield sink
        self._files[path] = sink.getvalue()

    def create(self, path: str, data: bytes) -> bool:
        """Write a file only if none is there."""
        if checked(path, self._url) in self._files:
            return False
        self._files[path] = bytes(data)
        return True

    def append_line(self, path: str, line: bytes, check_tail: TailCheck) -> None:
        """Add one line to a file."""
        with self._changing:
            old = self._files.get(checked(path, self._url), b"")
            self._files[path] = with_line(old, line, check_tail)

    def snapshot(self, path: str) -> tuple[Entry, bytes] | None:
        """The whole of a file."""
        with self._changing:
            entry = self.stat(path)
            return None if entry is None else (entry, self._files[path])

    def truncate(self, path: str, size: int, seen: Entry) -> bool:
        """Cut a file that is still the one that was seen."""
        with self._changing:
            if self.stat(path) != seen:
                return False
            self._files[path] = self._files[path][:size]
        return True

    def persist(self, paths: Sequence[str]) -> None:
        """There is no disk: nothing to do."""
        for path in paths:
            checked(path, self._url)

    def publish(self, staged: str, target: str, *, durable: bool = True) -> None:
        """Move a file over another path."""
        checked(target, self._url)
        self._files[target] = self._file(staged)
        if target != staged:
            del self._files[staged]

    def delete(self, path: str) -> None:
        """Remove a file, if it is there."""
        self._files.pop(checked(path, self._url), None)

    @contextmanager
    def lock(self, holder: str) -> Iterator[None]:
        """Hold the lake as its one writer."""
        if self._holder is not None:
            raise LakeLockedError(
                f"is being written by {self._holder}",
                where=self._url,
                way_out="Wait until it ends.",
            )
        self._holder = holder
        try:
            yield
        finally:
            self._holder = None

    def _file(self, path: str) -> bytes:
        data = self._files.get(checked(path, self._url))
        if data is None:
            raise StorageError(
                "cannot read: there is no such file",
                where=f"{self._url}/{path}",
                way_out="Check the path; something may have removed it.",
            )
        return data
