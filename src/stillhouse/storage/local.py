"""A lake in a folder.

Files appear whole or not at all: a temporary file in the same folder, fsync, rename, fsync
of the folder (and of every folder made on the way). What a crash leaves behind is never
listed, and is swept away by the next writer.

Symbolic links: a link to a file is read when the file it ends at lies under the root, and is
listed under its own name; a link to a folder is not walked into (its files have a path of
their own); a link that is broken or ends outside the root is not listed, and reading it is
refused. Writing over a link replaces the link.

The lock is an advisory `flock`, so the kernel lets go of it when its holder dies, however it
dies. On NFS this holds with Linux clients that map `flock` to the server's byte-range locks
(NFSv4, or v3 with lockd); on a mount with ``local_lock`` or ``nolock`` two machines do not
see each other's lock.

This module never looks into a file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from stillhouse.errors import LakeError, LakeLockedError, StorageError
from stillhouse.interfaces import Entry, Sink, TailCheck
from stillhouse.records import utc_text
from stillhouse.storage.append import append_line, snapshot, truncate
from stillhouse.storage.disk import (
    FileSink,
    make_folders,
    open_new,
    persist,
    read_exactly,
    sweep,
    sync_folder,
)
from stillhouse.storage.paths import (
    LOCK_PATH,
    TEMP_PREFIX,
    TEMP_SUFFIX,
    checked,
    checked_prefix,
    disk_error,
    is_temporary,
    path_problem,
    range_problem,
)

_READ_BUFFER: Final = 1 << 20
_PAGE: Final = 4096


class LocalStore:
    """Files under a root folder. Keeps the root's absolute path, so that it can be pickled."""

    def __init__(self, root: str | os.PathLike[str], *, create: bool = False) -> None:
        self._url = os.fspath(root)
        self._root = os.path.abspath(self._url)
        # Folders seen to lie inside the root: asking the disk each time costs more than the read.
        self._inside: set[str] = set()
        if create:
            try:
                make_folders(self._root)
            except OSError as error:
                raise disk_error(error, "make the folder", self._url) from None

    def __repr__(self) -> str:
        return f"LocalStore({self._url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (_reopen, (self._url, self._root))

    @property
    def url(self) -> str:
        """The root as the user wrote it."""
        return self._url

    def check_readable(self) -> None:
        """Raise `LakeError` when the root is missing, not a folder, or may not be read."""
        try:
            with os.scandir(self._root):
                return
        except FileNotFoundError:
            what = "there is no such lake"
            way_out = "Check the path, or write an example lake with `stillhouse demo DIR`."
        except NotADirectoryError:
            what, way_out = "is a file, not a lake", "Give the folder that holds _kb/."
        except PermissionError:
            what, way_out = "may not be read", "Check the folder's owner and mode."
        except OSError as error:
            what, way_out = f"cannot be read: {error.strerror}", "Check the path and the disk."
        raise LakeError(what, where=self._url, way_out=way_out)

    def local_path(self, path: str) -> Path | None:
        """Where the file is on this machine's disk."""
        return Path(self._root, checked(path, self._url))

    # ------------------------------------------------------------------------- reading

    def list(self, prefix: str) -> Iterator[Entry]:
        """All regular files below a folder, sorted by path; see the module for links."""
        prefix = checked_prefix(prefix, self._url)
        folder = f"{self._root}/{prefix}" if prefix else self._root
        self._stay_inside(folder)
        return self._walk(folder, f"{prefix}/" if prefix else "")

    def _walk(self, folder: str, prefix: str) -> Iterator[Entry]:
        # A folder's key ends in "/": the order is that of the whole paths, as in a bucket.
        found: list[tuple[str, os.DirEntry[str]]] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if is_temporary(name) or path_problem(name):
                        continue
                    is_folder = entry.is_dir(follow_symlinks=False)
                    found.append((f"{name}/" if is_folder else name, entry))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise disk_error(error, "list the folder", folder) from None
        found.sort(key=lambda pair: pair[0])
        for name, entry in found:
            if name.endswith("/"):
                yield from self._walk(entry.path, prefix + name)
                continue
            try:
                status = self._regular(entry.path, entry.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise disk_error(error, "look at the file", entry.path) from None
            if status is not None:
                yield _entry(prefix + name, status)

    def stat(self, path: str) -> Entry | None:
        """The file's entry; ``None`` when there is none, or when it is not a regular file
        of this lake."""
        full = self._at(path)
        try:
            status = self._regular(full, os.lstat(full))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise disk_error(error, "look at the file", full) from None
        return None if status is None else _entry(path, status)

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from ``start`` to ``end``, fewer when the file ends before."""
        if range_problem(start, end):
            raise StorageError(f"bytes {start} to {end} are no range", where=path)
        full = self._readable(path)
        try:
            with open(full, "rb", buffering=0) as handle:
                if start:
                    handle.seek(start)
                if end is None:
                    return handle.readall()
                return read_exactly(handle, end - start)
        except OSError as error:
            raise disk_error(error, "read", full) from None

    def open(self, path: str, *, random: bool = False) -> BinaryIO:
        """The file, buffered, from its start; with ``random`` a page at most is read ahead."""
        full = self._readable(path)
        try:
            # A random reader's buffer would be thrown away at every seek.
            return open(full, "rb", buffering=_PAGE if random else _READ_BUFFER)
        except OSError as error:
            raise disk_error(error, "read", full) from None

    # ------------------------------------------------------------------------- writing

    @contextmanager
    def writer(self, path: str, *, durable: bool = True) -> Iterator[Sink]:
        """Write a file whole or not at all."""
        target = self._at(path)
        with self._temporary(target, durable) as (sink, temporary):
            yield sink
            try:
                sink.finish(durable)
                os.replace(temporary, target)
                if durable:
                    sync_folder(os.path.dirname(target))
            except OSError as error:
                raise disk_error(error, "write", target) from None

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file only if none is there. Needs a file system with hard links."""
        target = self._at(path)
        with self._temporary(target, durable=True) as (sink, temporary):
            sink.write(data)
            try:
                sink.finish(durable=True)
                # Unlike a rename, a link never replaces what is there.
                os.link(temporary, target)
                os.unlink(temporary)
                sync_folder(os.path.dirname(target))
            except FileExistsError:
                os.unlink(temporary)
                return False
            except OSError as error:
                raise disk_error(error, "write", target) from None
        return True

    def append_line(self, path: str, line: bytes, check_tail: TailCheck) -> None:
        """Add one line by one write under a lock on the file, see `stillhouse.storage.append`."""
        full = self._at(path)
        try:
            append_line(self._readable(path) if os.path.lexists(full) else full, line, check_tail)
        except OSError as error:
            raise disk_error(error, "add a line", full) from None

    def snapshot(self, path: str) -> tuple[Entry, bytes] | None:
        """The whole of a file that no writer is adding to."""
        full = self._at(path)
        if not os.path.lexists(full):
            return None
        try:
            status, data = snapshot(self._readable(path))
        except OSError as error:
            raise disk_error(error, "read", full) from None
        return _entry(path, status), data

    def truncate(self, path: str, size: int, seen: Entry) -> bool:
        """Cut a file that is still the one that was seen, in place, under the same lock."""
        full = self._readable(path)
        try:
            return truncate(full, size, lambda status: _entry(path, status) == seen)
        except OSError as error:
            raise disk_error(error, "cut", full) from None

    def persist(self, paths: Sequence[str]) -> None:
        """Many files: the whole file system is told once. Few: each, and its folder."""
        full = [self._at(path) for path in paths]
        try:
            persist(self._root, full)
        except OSError as error:
            raise disk_error(error, f"save {len(full)} files", self._url) from None

    def publish(self, staged: str, target: str, *, durable: bool = True) -> None:
        """Rename a finished file over another path."""
        source, goal = self._at(staged), self._at(target)
        try:
            make_folders(os.path.dirname(goal), durable=durable)
            os.replace(source, goal)
            if durable:
                sync_folder(os.path.dirname(goal))
        except OSError as error:
            where = source if error.errno == errno.ENOENT else goal
            raise disk_error(error, f"publish {staged}", where) from None

    def delete(self, path: str) -> None:
        """Remove a file. A power loss may bring it back until the folder's next fsync."""
        full = self._at(path)
        try:
            os.unlink(full)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise disk_error(error, "delete", full) from None

    @contextmanager
    def lock(self, holder: str) -> Iterator[None]:
        """Hold the lake as its one writer; readers are not held up.

        Raises `LakeLockedError` naming the present holder. Sweeps what killed writers left.
        """
        full = self._at(LOCK_PATH)
        try:
            make_folders(os.path.dirname(full))
            handle = os.open(full, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise disk_error(error, "lock the lake for writing", self._url) from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _locked(os.pread(handle, 4096, 0), self._url) from None
            except OSError as error:
                raise disk_error(error, "lock the lake for writing", self._url) from None
            since = utc_text(datetime.now(UTC).replace(microsecond=0))
            words = f"{holder} (process {os.getpid()} on {socket.gethostname()}, since {since})"
            with suppress(OSError):  # A full disk: the lock holds, only its holder goes unnamed.
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{words}\n".encode(), 0)
            sweep(self._root)
            yield
        finally:
            # Closing lets go of the lock. The file stays: removing it would let a third in.
            os.close(handle)

    # --------------------------------------------------------------------------- parts

    def _at(self, path: str) -> str:
        """The full path, whose folder lies in the root; its last part may be anything."""
        full = f"{self._root}/{checked(path, self._url)}"
        self._stay_inside(os.path.dirname(full))
        return full

    def _stay_inside(self, folder: str) -> None:
        if folder in self._inside:
            return
        if not _within(os.path.realpath(folder), os.path.realpath(self._root)):
            raise StorageError(
                "leaves the lake through a symbolic link",
                where=folder,
                way_out="Put the folder itself there, or make its target the lake.",
            )
        if os.path.isdir(folder):
            self._inside.add(folder)

    def _regular(self, full: str, status: os.stat_result) -> os.stat_result | None:
        """The status of the regular file a path ends at inside the root; None otherwise."""
        if stat.S_ISLNK(status.st_mode):
            if not _within(os.path.realpath(full), os.path.realpath(self._root)):
                return None
            try:
                status = os.stat(full)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR}:
                    return None
                raise
        return status if stat.S_ISREG(status.st_mode) else None

    def _readable(self, path: str) -> str:
        """The full path of a file that may be read: no link out of the root, no pipe."""
        full = self._at(path)
        try:
            status = os.lstat(full)
            if stat.S_ISREG(status.st_mode) or self._regular(full, status) is not None:
                return full
        except OSError as error:
            raise disk_error(error, "read", full) from None
        what = "is not a regular file"
        if stat.S_ISLNK(status.st_mode):
            what = "is a symbolic link that is broken or leaves the lake"
        raise StorageError(
            f"{what}, and is not read", where=full, way_out="Put the file itself there."
        )

    @contextmanager
    def _temporary(self, target: str, durable: bool) -> Iterator[tuple[FileSink, str]]:
        """A fresh temporary file beside the target, removed again when the block fails."""
        folder = os.path.dirname(target)
        temporary = f"{folder}/{TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(8)}{TEMP_SUFFIX}"
        try:
            sink = FileSink(open_new(temporary, durable), target)
        except OSError as error:
            raise disk_error(error, "write", target) from None
        try:
            yield sink, temporary
        except BaseException:
            sink.abandon()
            with suppress(OSError):
                os.unlink(temporary)
            raise


# -------------------------------------------------------------------------------- the disk


def _reopen(url: str, root: str) -> LocalStore:
    store = LocalStore(url)
    store._root = root  # The worker's working folder may be another.
    return store


def _entry(path: str, status: os.stat_result) -> Entry:
    # With the time of status change, which nobody can put back: an edit that keeps size and
    # time shows. A rename sets it too, so a file has its fingerprint from when it is published.
    times = f"{status.st_mtime_ns}-{status.st_ctime_ns}"
    return Entry(path, status.st_size, f"{status.st_size}-{times}-{status.st_ino}")


def _within(real: str, root: str) -> bool:
    return real == root or real.startswith(root.rstrip("/") + "/")


def _locked(content: bytes, url: str) -> LakeLockedError:
    holder = content.decode(errors="replace").strip() or "another process"
    return LakeLockedError(
        f"is being written by {holder}",
        where=url,
        way_out="Wait until it ends, or end it: the lock goes with the process.",
    )
