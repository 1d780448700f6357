"""Opening a data folder: its lock, its database, and whether both are as they were left.

Nothing is repaired here and nothing is dropped: what is not as it was acknowledged is refused,
with the way out. What was half done when a process died is named, for the caller to finish.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from stillhouse.errors import VectorDamagedError, VectorError, VectorFailedError
from stillhouse.storage.disk import make_folders, sync_folder
from stillhouse.vectors import truth
from stillhouse.vectors.folder_lock import FolderLock
from stillhouse.vectors.mark import Mark
from stillhouse.vectors.readers import Readers
from stillhouse.vectors.schema import RESTORE, connect, migrate, told

_TRUTH: Final = "truth.db"
_MARK: Final = "acked"
_TOLD: Final = 3


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
    refuses.
    """
    try:
        make_folders(str(folder))
        lock = FolderLock(folder / "lock")
    except NotADirectoryError:
        raise VectorFailedError("this is no folder", where=str(folder)) from None
    except OSError as error:
        raise _refused(error, folder) from None
    path = folder / _TRUTH
    try:
        return _open(folder, path, lock)
    except sqlite3.Error as error:
        lock.close()
        raise told(error, path) from error
    except OSError as error:
        lock.close()
        raise _refused(error, folder) from error
    except BaseException:
        lock.close()
        raise


def _open(folder: Path, path: Path, lock: FolderLock) -> Opened:
    if not path.exists() and (folder / _MARK).exists():
        raise VectorDamagedError("truth.db is gone", where=str(folder), way_out=RESTORE)
    connection = connect(path, writer=True)
    mark = None
    try:
        migrate(connection, path)
        sync_folder(str(folder))
        commit = int(connection.execute("SELECT last_commit FROM state").fetchone()[0])
        fresh = not (folder / _MARK).exists()
        mark = Mark(folder / _MARK)
        if fresh and commit:
            # Removed by hand, as the message about a damaged mark says one may.
            mark.write(commit)
        _compare(commit, mark.commit, folder)
        indexes, live, wrong = truth.scan(connection, path)
        if wrong:
            raise _damaged(wrong, path)
    except BaseException:
        if mark is not None:
            mark.close()
        connection.close()
        raise
    if commit > mark.commit:
        mark.write(commit)
    named = [kept for kept in indexes if kept.spec.name]
    _sweep(folder, {kept.number for kept in named})
    leftovers = [kept.number for kept in indexes if not kept.spec.name]
    for number in leftovers:
        live.pop(number, None)
    return Opened(path, lock, connection, mark, Readers(path), named, live, leftovers)


def _compare(commit: int, acknowledged: int, folder: Path) -> None:
    if commit < acknowledged:
        raise VectorDamagedError(
            f"acknowledged writes are missing: the database ends with commit {commit:,}, and "
            f"commit {acknowledged:,} was acknowledged",
            where=str(folder),
            way_out="Look for truth.db-wal in a backup, restore a snapshot, or remove the file "
            f"{_MARK} to go on without those writes.",
        )


def _damaged(wrong: list[str], path: Path) -> VectorError:
    more = f" and {len(wrong) - _TOLD:,} more" if len(wrong) > _TOLD else ""
    return VectorDamagedError(f"{'; '.join(wrong[:_TOLD])}{more}", where=str(path), way_out=RESTORE)


def _sweep(folder: Path, numbers: set[int]) -> None:
    """Remove segments of indexes that are gone: a process died between the two."""
    segments = folder / "segments"
    for found in segments.iterdir() if segments.is_dir() else ():
        if not (found.name.isdigit() and int(found.name) in numbers):
            shutil.rmtree(found, ignore_errors=True)


def _refused(error: OSError, folder: Path) -> VectorFailedError:
    return VectorFailedError(
        f"the folder cannot be used: {error.strerror or os.strerror(error.errno or 0)}",
        where=str(error.filename or folder),
        way_out="Check that it is there, is a folder, and may be written.",
    )
