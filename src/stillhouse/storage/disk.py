"""The system calls that make a file appear whole, stay after a power loss, and be one's own.

Every function raises `OSError` as the system gives it; the store says it in words. This module
never decides where a file goes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from io import RawIOBase
from typing import Final

from stillhouse.storage.paths import disk_error, is_temporary

_BUFFER: Final = 1 << 18
_FEW: Final = 8
# Not in the standard library's os module; missing outside Linux.
_SYNCFS: Final = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


class FileSink:
    """A buffered file whose refusals are `StorageError`s that name the file to be."""

    def __init__(self, handle: int, target: str) -> None:
        self._file = open(handle, "wb", buffering=_BUFFER)  # noqa: SIM115 – closed by finish
        self._target = target

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            raise disk_error(error, "write", self._target) from None

    def finish(self, durable: bool) -> None:
        self._file.flush()
        if durable:
            os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        with suppress(OSError):  # Closing flushes, which may fail as the write before it did.
            self._file.close()


def read_exactly(handle: RawIOBase, size: int) -> bytes:
    # One system call gives at most 2 GiB, and a network file system may give less.
    pieces: list[bytes] = []
    while size and (data := handle.read(size)):
        pieces.append(data)
        size -= len(data)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def open_new(path: str, durable: bool) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o666)
    except FileNotFoundError:
        make_folders(os.path.dirname(path), durable=durable)
        handle = os.open(path, flags, 0o666)
    # Says that the writer lives: `sweep` takes only what nobody holds.
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def make_folders(folder: str, *, durable: bool = True) -> None:
    """Make a folder and its missing parents; a new folder's entry is on disk as well."""
    try:
        os.mkdir(folder)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise
        return
    except FileNotFoundError:
        make_folders(os.path.dirname(folder) or os.curdir, durable=durable)
        # Once more, not until it works: a file system like /proc never lets it.
        with suppress(FileExistsError):
            os.mkdir(folder)
    if durable:
        sync_folder(os.path.dirname(folder) or os.curdir)


def sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems cannot sync a folder, and say so; then a rename is all there is.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def persist(root: str, paths: Sequence[str]) -> None:
    """Files, their entries in their folders and these folders' own are on disk on return.

    One ``syncfs`` (Linux, see its manual page; it reports write errors since 5.8) instead of
    two ``fsync`` a file: each of those waits for the journal, about a millisecond.
    """
    if len(paths) > _FEW and _SYNCFS is not None:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _SYNCFS(handle) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(handle)
        return
    folders: set[str] = set()
    for path in paths:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        folder = os.path.dirname(path)
        while folder not in folders and len(folder) >= len(root):
            folders.add(folder)
            folder = os.path.dirname(folder)
    for folder in sorted(folders):
        sync_folder(folder)


def sweep(folder: str) -> None:
    """Remove temporary files whose writer is dead. What cannot be removed does no harm."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                sweep(entry.path)
            elif is_temporary(entry.name):
                _remove_unheld(entry.path)


def _remove_unheld(path: str) -> None:
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(handle)
