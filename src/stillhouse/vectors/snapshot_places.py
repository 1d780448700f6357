"""Where snapshots are kept: a folder of this machine, or a bucket (see `snapshot_objects`).

A place knows paths and bytes, and never what they mean. It makes a file appear whole, and never
over another.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from stillhouse.errors import UsageError
from stillhouse.interfaces import Entry, Sink
from stillhouse.storage import OBJECT_SCHEMES, LocalStore
from stillhouse.storage.disk import FileSink, make_folders, open_new, sweep, sync_folder
from stillhouse.storage.paths import TEMP_PREFIX, TEMP_SUFFIX, disk_error

Faults = Callable[[str], None]
"""Called at named points of writing; tests of crashes stop there."""


class Draft(Sink, Protocol):
    """A file that nobody sees yet."""

    def publish(self, path: str) -> bool:
        """Let it appear, durable; False, and it stays a draft, when something is there."""
        ...


class Place(Protocol):
    """Raises `StorageError`, or `LakeChangedError` for what is replaced under its reader."""

    @property
    def url(self) -> str:
        """The place as the user wrote it."""
        ...

    @property
    def at_once(self) -> int:
        """How many reads it is worth to have under way together."""
        ...

    def list(self, folder: str) -> list[Entry]:
        """The files of a folder by path; none when it is missing."""
        ...

    def stat(self, path: str) -> Entry | None:
        """A file's entry, or None."""
        ...

    def read(self, path: str, start: int, end: int) -> bytes:
        """Some bytes of a file; fewer when it ends before."""
        ...

    def local(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A file to be read more than once, on this machine's disk."""
        ...

    def draft(self, folder: str) -> AbstractContextManager[Draft]:
        """A new file, gone after the block when it was not published."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file."""
        ...


def nothing(point: str) -> None:
    """What happens at a named point when nobody tests what a crash there would do."""


def open_place(url: str | Path, faults: Faults = nothing) -> Place:
    """The place behind a folder, which is made when it is needed, or ``s3://bucket/prefix``
    (also ``gs://``, ``az://``). Raises `UsageError` for an address that is none."""
    text = str(url)
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if not scheme:
        return FolderPlace(text, faults=faults)
    if scheme not in OBJECT_SCHEMES:
        raise UsageError(
            f"snapshots cannot be kept at {scheme}:// URLs",
            where=text,
            way_out="Give a folder, or an address like s3://bucket/prefix.",
        )
    from stillhouse.vectors.snapshot_objects import ObjectPlace

    return ObjectPlace(text, faults=faults)


class FolderPlace:
    """Files below a folder. What a killed writer left is swept by the next one."""

    at_once: Final = 1

    def __init__(self, root: str | Path, *, faults: Faults = nothing) -> None:
        self._store = LocalStore(root)
        self._faults = faults

    @property
    def url(self) -> str:
        """See `Place`."""
        return self._store.url

    def list(self, folder: str) -> list[Entry]:
        """See `Place`."""
        return list(self._store.list(folder))

    def stat(self, path: str) -> Entry | None:
        """See `Place`."""
        return self._store.stat(path)

    def read(self, path: str, start: int, end: int) -> bytes:
        """See `Place`."""
        return self._store.read(path, start, end)

    @contextmanager
    def local(self, path: str) -> Iterator[BinaryIO]:
        """See `Place`."""
        with self._store.open(path) as file:
            yield file

    def delete(self, path: str) -> None:
        """See `Place`; also the folder's entry is gone for good."""
        self._store.delete(path)
        folder = os.path.dirname(self._full(path))
        try:
            sync_folder(folder)
        except OSError as error:
            raise disk_error(error, "delete a snapshot in", folder) from None

    @contextmanager
    def draft(self, folder: str) -> Iterator[Draft]:
        """See `Place`. The draft lies in the folder itself, so that it can be linked."""
        full = self._full(folder)
        temporary = f"{full}/{TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(8)}{TEMP_SUFFIX}"
        try:
            make_folders(full)
            with _alone(full):
                handle = open_new(temporary, durable=True)
        except OSError as error:
            raise disk_error(error, "write a snapshot into", full) from None
        # The lock that tells sweepers of a living writer outlasts the sink, which closes first.
        lock = os.dup(handle)
        sink = FileSink(handle, full)
        try:
            yield _FolderDraft(sink, temporary, self._full, self._faults)
        finally:
            sink.abandon()
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            os.close(lock)

    def _full(self, path: str) -> str:
        found = self._store.local_path(path)
        return os.path.abspath(found or path)


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Sweep what killed writers left, and let no other sweep before the block ends: until a new
    draft is locked it looks like one of theirs."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # Some network file systems lock no folders: nothing is swept.
            fcntl.flock(handle, fcntl.LOCK_EX)
            sweep(folder)
        yield
    finally:
        os.close(handle)


class _FolderDraft:
    def __init__(
        self, sink: FileSink, temporary: str, full: Callable[[str], str], faults: Faults
    ) -> None:
        self._sink = sink
        self._temporary = temporary
        self._full = full
        self._faults = faults
        self._finished = False

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        return self._sink.write(data)

    def publish(self, path: str) -> bool:
        target = self._full(path)
        linked = False
        try:
            if not self._finished:
                self._sink.finish(durable=True)
                self._finished = True
            self._faults("snapshot:synced")
            # Unlike a rename, a link never replaces what is there.
            os.link(self._temporary, target)
            linked = True
            self._faults("snapshot:linked")
            os.unlink(self._temporary)
            sync_folder(os.path.dirname(target))
        except FileExistsError:
            return False
        except OSError as error:
            if linked:  # What was refused is not to be seen.
                with suppress(OSError):
                    os.unlink(target)
            raise disk_error(error, "write", target) from None
        self._faults("snapshot:put")
        return True
