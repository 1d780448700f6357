"""Adding one line to a small file on a disk, whole or not at all, beside other writers.

A line is committed by its line end. Writers take turns by an advisory lock on the file
itself; the bytes go out in one `os.write` on ``O_APPEND``, are taken back when the disk took
only some of them, and are on disk when the call returns. Readers share the lock: without it
one may see half of a write that is under way, and take it for a torn line.

Every function raises `OSError` as the system gives it; the store says it in words. This module
never knows what a line means: the caller says whether an unfinished one is whole.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from stillhouse.interfaces import TailCheck
from stillhouse.storage.disk import make_folders, sync_folder

_BLOCK: Final = 1 << 16


def append_line(path: str, line: bytes, check_tail: TailCheck) -> None:
    """Add ``line`` (without its line end) to a file, which is made when it is missing."""
    with _held(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as handle:
        size = os.fstat(handle).st_size
        tail = _tail(handle, size)
        if tail:
            check_tail(tail, size - len(tail))
        data = (b"\n" if tail else b"") + line + b"\n"
        try:
            # One write. Only a disk that refuses takes less; asked for the rest it says why.
            while data:
                data = data[os.write(handle, data) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
        if not size:
            # New, or made by a writer that died before its name was on disk.
            sync_folder(os.path.dirname(path))


def snapshot(path: str) -> tuple[os.stat_result, bytes]:
    """The whole file and its status, while no writer of this module is at it."""
    with (
        _held(path, os.O_RDONLY, fcntl.LOCK_SH) as handle,
        open(handle, "rb", closefd=False) as file,
    ):
        return os.fstat(handle), file.read()


def truncate(path: str, size: int, unchanged: Callable[[os.stat_result], bool]) -> bool:
    """Cut a file to its first ``size`` bytes while it is as ``unchanged`` wants it; False when
    it is not. No writer of this module can be between the question and the cut."""
    with _held(path, os.O_RDWR) as handle:
        if not unchanged(os.fstat(handle)):
            return False
        os.ftruncate(handle, size)
        os.fsync(handle)
    return True


def with_line(old: bytes, line: bytes, check_tail: TailCheck) -> bytes:
    """The whole of a file with a line added: for stores that write files whole."""
    tail = old[old.rfind(b"\n") + 1 :]
    if tail:
        check_tail(tail, len(old) - len(tail))
    return old + (b"\n" if tail else b"") + line + b"\n"


@contextmanager
def _held(path: str, flags: int, lock: int = fcntl.LOCK_EX) -> Iterator[int]:
    """The file, open and locked: that which stands under the path now, not one that somebody
    replaced while we waited for the lock."""
    while True:
        handle = _opened(path, flags)
        try:
            fcntl.flock(handle, lock)
            if _is_at(path, handle):
                yield handle
                return
        finally:
            os.close(handle)


def _opened(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    make_folders(os.path.dirname(path))
    return os.open(path, flags | os.O_CLOEXEC, 0o666)


def _is_at(path: str, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _tail(handle: int, size: int) -> bytes:
    """What follows the last line end; empty when the file ends with one."""
    pieces: list[bytes] = []
    while size:
        start = max(0, size - _BLOCK)
        block = os.pread(handle, size - start, start)
        _, newline, after = block.rpartition(b"\n")
        pieces.append(after)
        if newline:
            break
        size = start
    return b"".join(reversed(pieces))
