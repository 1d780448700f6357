"""Opening a data folder: its lock, whether it is as it was left, its database.

Nothing is repaired here and nothing is dropped: what is not as it was acknowledged is refused,
with the way out, and left as it was found. What was half done when a process died is named, for
the caller to finish.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from stillhouse.errors import VectorDamagedError, VectorError, VectorFailedError
from stillhouse.storage.disk import make_folders, sync_folder
from stillhouse.vectors import truth
from stillhouse.vectors.folder_lock import FolderLock
from stillhouse.vectors.mark import NEW, Mark
from stillhouse.vectors.readers import Readers
from stillhouse.vectors.schema import connect, migrate, told
from stillhouse.vectors.verifying import (
    JOURNAL,
    MARK,
    TRUTH,
    Problem,
    Verified,
    is_new,
    is_older,
    verify,
)

_LOCK: Final = "lock"
_AROUND: Final = frozenset({"segments", "snapshots", "lost+found"})
_OURS: Final = _AROUND | {
    _LOCK,
    MARK,
    f"{MARK}{NEW}",
    TRUTH,
    f"{TRUTH}-wal",
    f"{TRUTH}-shm",
    JOURNAL,
}
_TOLD: Final = 3
_EMPTY: Final = Verified(0, None, [], {}, [])


class Opened(NamedTuple):
    """A data folder in use. ``live`` are the versions of each index by its number, ``leftovers``
    the numbers of indexes that were half loaded or half removed."""

    path: Path
    lock: FolderLock
    connection: sqlite3.Connection
    mark: Mark
    readers: Readers
    indexes: list[truth.Kept]
    live: dict[int, truth.Scanned]
    leftovers: list[int]

    def close(self) -> None:
        """Give everything back. The write-ahead log is folded into the database by this."""
        self.readers.close()
        try:
            self.connection.close()
        finally:
            self.mark.close()
            self.lock.close()


def open_folder(folder: Path) -> Opened:
    """Open a data folder, which is made when it is missing.

    Raises `VectorLockedError`, `VectorDamagedError`, or `VectorFailedError` when the system
    refuses or the folder holds other things.
    """
    lock = lock_folder(folder, make=True)
    try:
        with said(folder):
            return _open(folder, lock)
    except BaseException:
        lock.close()
        raise


def lock_folder(folder: Path, *, make: bool) -> FolderLock:
    """Take a data folder for this process. Raises as `open_folder`."""
    with said(folder):
        if make:
            make_folders(str(folder))
        _refuse_strange(folder)
        return FolderLock(folder / _LOCK)


def is_bare(folder: Path) -> bool:
    """Whether no store was ever in a folder, so that there is nothing to lock. Raises as
    `open_folder`, also when there is no folder."""
    with said(folder):
        _refuse_strange(folder)
        return set(os.listdir(folder)) <= _AROUND


def _refuse_strange(folder: Path) -> None:
    if not folder.is_dir():
        raise VectorFailedError("there is no such folder", where=str(folder))
    strange = sorted(set(os.listdir(folder)) - _OURS)
    if strange and not (folder / TRUTH).exists():
        more = f" and {len(strange) - _TOLD:,} more" if len(strange) > _TOLD else ""
        raise VectorFailedError(
            f"this folder holds other things ({', '.join(strange[:_TOLD])}{more})",
            where=str(folder),
            way_out="Give a folder of its own to the vectors; it is made when it is missing.",
        )


@contextmanager
def said(folder: Path) -> Iterator[None]:
    """What SQLite and the system refuse, in words."""
    try:
        yield
    except sqlite3.Error as error:
        raise told(error, folder / TRUTH) from error
    except (NotADirectoryError, FileExistsError):
        raise VectorFailedError("this is no folder", where=str(folder)) from None
    except OSError as error:
        raise VectorFailedError(
            f"the folder cannot be used: {error.strerror or error}",
            where=str(error.filename or folder),
            way_out="Check that it is there, is a folder, and may be written.",
        ) from error


def _open(folder: Path, lock: FolderLock) -> Opened:
    path = folder / TRUTH
    if not (folder / MARK).exists() and (folder / JOURNAL).exists():
        # A process died as it made the database: whoever opens it to write undoes what was begun.
        connect(path, "write").close()
    new = is_new(folder)
    if not new and is_older(folder):
        _migrate(path)
    found = _EMPTY if new else verify(folder)
    if found.problems:
        raise _damaged(found.problems)
    connection = connect(path, "write")
    try:
        migrate(connection, path)
        # What a process left in the log that died of a failing disk may be in memory only, as the
        # system counts it as written. Folding it in writes it anew.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sync_folder(str(folder))
        mark = Mark(folder / MARK, found.commit)
    except BaseException:
        connection.close()
        raise
    named = [kept for kept in found.indexes if kept.spec.name]
    _sweep(folder, {kept.number for kept in named})
    leftovers = [kept.number for kept in found.indexes if not kept.spec.name]
    live = {kept.number: found.live[kept.number] for kept in named if kept.number in found.live}
    return Opened(path, lock, connection, mark, Readers(path), named, live, leftovers)


def _migrate(path: Path) -> None:
    """Bring an older database to this version; what it holds is looked at afterwards."""
    connection = connect(path, "write")
    try:
        migrate(connection, path)
    finally:
        connection.close()


def _damaged(problems: list[Problem]) -> VectorError:
    more = f" and {len(problems) - _TOLD:,} more" if len(problems) > _TOLD else ""
    told_ = "; ".join(problem.what for problem in problems[:_TOLD])
    return VectorDamagedError(
        f"{told_}{more}", where=problems[0].where, way_out=problems[0].way_out
    )


def _sweep(folder: Path, numbers: set[int]) -> None:
    """Remove segments of indexes that are gone: a process died between the two."""
    segments = folder / "segments"
    for found in segments.iterdir() if segments.is_dir() else ():
        if not (found.name.isdecimal() and int(found.name) in numbers):
            shutil.rmtree(found, ignore_errors=True)
