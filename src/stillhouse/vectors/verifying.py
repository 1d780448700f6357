"""Whether the truth of a data folder is as it was acknowledged. Reads everything, changes nothing.

acked ─── the last commit that was acknowledged ──┐
truth.db ─ its log folded in, as SQLite sees it ──┴──▶ behind it? rows, counts, sums, structure
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from stillhouse.errors import VectorDamagedError
from stillhouse.vectors import schema, truth
from stillhouse.vectors.mark import acknowledged
from stillhouse.vectors.schema import (
    RESTORE,
    connect,
    is_elsewhere,
    layout_problem,
    version_of,
)

TRUTH: Final = "truth.db"
JOURNAL: Final = f"{TRUTH}-journal"
"""What SQLite undoes a change by before there is a write-ahead log: only while it makes one."""
MARK: Final = "acked"


class Problem(NamedTuple):
    """What is not as it was written: in which file, what of it, and what one can do."""

    where: str
    what: str
    way_out: str


class Verified(NamedTuple):
    """What is there. ``commit`` is the last one of the database, ``acked`` the last one that was
    acknowledged (None: nothing says so). ``live`` are the versions of each index by its number."""

    commit: int
    acked: int | None
    indexes: list[truth.Kept]
    live: dict[int, truth.Scanned]
    problems: list[Problem]


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing. Where there is no log SQLite makes an empty one, unless
    it is told that nobody writes: the lock of the folder, which the caller has, sees to that."""
    real = path.resolve()  # Behind a link is where SQLite has the log.
    if any(real.with_name(f"{real.name}{end}").exists() for end in ("-wal", "-journal")):
        return connect(path, "verify")
    where = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(where, uri=True, isolation_level=None)


def is_new(folder: Path) -> bool:
    """Whether nothing was ever acknowledged here: there is no truth, or one that was begun and
    never finished. Raises `VectorDamagedError` and `sqlite3.Error`."""
    path = folder / TRUTH
    if (folder / MARK).exists():
        return False
    if not path.exists() or not path.stat().st_size or (folder / JOURNAL).exists():
        return True
    with _looking(path) as connection:
        return version_of(connection, path) == 0


def is_older(folder: Path) -> bool:
    """Whether the truth is of an older version than this program's, and of its layout. Raises as
    `verify`."""
    path = folder / TRUTH
    if not path.exists():
        return False
    with _looking(path) as connection:
        version = version_of(connection, path)
        if not 0 < version < schema.VERSION:
            return False
        if problem := layout_problem(connection, path, version):
            raise VectorDamagedError(problem, where=str(path), way_out=RESTORE)
        return True


@contextmanager
def _looking(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing; what it cannot read is damage, unless it is the disk."""
    try:
        connection = _connect(path)
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        if is_elsewhere(error):
            raise
        raise VectorDamagedError(
            f"the database is damaged ({error})", where=str(path), way_out=RESTORE
        ) from error


def verify(folder: Path) -> Verified:
    """Look at everything in a folder that `is_new` does not call new, nor `is_older` older.

    Raises `VectorDamagedError` where the damage leaves nothing to look at, or the database is of
    another version; `sqlite3.Error` where the disk does not give the file.
    """
    path = folder / TRUTH
    acked = acknowledged(folder / MARK)
    if not path.exists():
        raise VectorDamagedError("truth.db is gone", where=str(folder), way_out=RESTORE)
    with _looking(path) as connection:
        version = version_of(connection, path)
        if not version:
            raise VectorDamagedError("the database is empty", where=str(path), way_out=RESTORE)
        if problem := layout_problem(connection, path, version):
            raise VectorDamagedError(problem, where=str(path), way_out=RESTORE)
        connection.execute("BEGIN")
        state = truth.get_state(connection, path)
        _refuse_behind(state.last_commit, acked, folder)
        indexes, live, wrong = truth.scan(connection, path)
        wrong += _numbers(state, indexes, live)
    problems = [Problem(str(path), what, RESTORE) for what in wrong]
    return Verified(state.last_commit, acked, indexes, live, problems)


def _refuse_behind(commit: int, acked: int | None, folder: Path) -> None:
    if acked is not None and commit < acked:
        raise VectorDamagedError(
            f"acknowledged writes are missing: the database ends with commit {commit:,}, and "
            f"commit {acked:,} was acknowledged",
            where=str(folder),
            way_out=f"Look for {TRUTH}-wal in a backup, restore a snapshot, or remove the file "
            f"{MARK} to go on without those writes.",
        )


def _numbers(
    state: truth.State, indexes: list[truth.Kept], live: dict[int, truth.Scanned]
) -> list[str]:
    """Numbers that are in use and would be given again."""
    seqs = [int(found.seqs.max()) for found in live.values()]
    numbers = [kept.number for kept in indexes]
    if max(seqs, default=0) >= state.next_seq or max(numbers, default=0) >= state.next_index:
        return ["there are numbers in use that were never given"]
    return []
