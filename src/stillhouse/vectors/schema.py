"""The database of a data folder: its tables, its version, how its connections are set.

    state      one row: the number of the last commit, the next version's and the next index's
    indexes    one row an index; `name` is null while it is being loaded or is being removed
    items      one row a live version of an item; `seq` grows and is never used again

Every row of `items` has a CRC-32 of its content, and every index the count and the sum of those, so
that what is lost or changed shows when all rows are read (see `truth`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from stillhouse.errors import VectorDamagedError, VectorFailedError

APPLICATION: Final = 0x53_48_56_31
"""Tells this database from others: "SHV1"."""

_TABLES: Final = """
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    last_commit INTEGER NOT NULL, next_seq INTEGER NOT NULL, next_index INTEGER NOT NULL
);
INSERT INTO state VALUES (1, 0, 1, 1);
CREATE TABLE indexes (
    number INTEGER PRIMARY KEY, name TEXT UNIQUE, dimension INTEGER NOT NULL,
    metric TEXT NOT NULL, metadata TEXT,
    items INTEGER NOT NULL, digest INTEGER NOT NULL, row_check INTEGER NOT NULL
);
CREATE TABLE items (
    seq INTEGER PRIMARY KEY, index_number INTEGER NOT NULL, id TEXT NOT NULL,
    vector BLOB NOT NULL, metadata BLOB, row_check INTEGER NOT NULL
);
CREATE UNIQUE INDEX items_by_id ON items (index_number, id);
"""

_MIGRATIONS: Final[tuple[str | Callable[[sqlite3.Connection], None], ...]] = (_TABLES,)
"""Step n makes version n of version n - 1; version 0 is the empty database. Never edited, only
appended to."""

VERSION: Final = len(_MIGRATIONS)

_CHECKPOINT_PAGES: Final = 4_000
_LOG_BYTES: Final = 64 * 1024 * 1024


def connect(path: Path, *, writer: bool) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time; transactions are begun by hand.

    Raises `sqlite3.Error`; see `told`.
    """
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=30.0, cached_statements=64
    )
    try:
        if writer:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        else:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a database to this version, each step in a transaction of its own.

    Raises `VectorDamagedError` for a database that is not ours or is of a newer version.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if version == 0 and owner == 0:
        others = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    else:
        others = 0
    if others or owner not in (0, APPLICATION):
        raise VectorDamagedError("this is not a database of stillhouse", where=str(path))
    if version > VERSION:
        raise VectorDamagedError(
            f"this database has version {version}; this stillhouse knows versions to {VERSION}",
            where=str(path),
            way_out="Use the newer stillhouse that wrote it.",
            code="newer_version",
        )
    for number in range(version, VERSION):
        _step(connection, number)


def _step(connection: sqlite3.Connection, number: int) -> None:
    step = _MIGRATIONS[number]
    connection.execute("BEGIN IMMEDIATE")
    try:
        if isinstance(step, str):
            for statement in step.split(";"):
                if statement.strip():
                    connection.execute(statement)
        else:
            step(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def told(error: sqlite3.Error, where: Path) -> VectorFailedError | VectorDamagedError:
    """What SQLite says, as the error that a caller gets."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name == "SQLITE_FULL":
        return VectorFailedError(
            "there is no room left on the disk; nothing of this was kept",
            where=str(where),
            way_out="Make room and try again.",
            code="disk_full",
        )
    if name in ("SQLITE_NOTADB", "SQLITE_FORMAT") or name.startswith("SQLITE_CORRUPT"):
        return VectorDamagedError(
            f"the database is damaged ({error})", where=str(where), way_out=RESTORE
        )
    return VectorFailedError(
        f"the database fails: {error} ({name or type(error).__name__})",
        where=str(where),
        way_out="See to the disk, then open the store again.",
    )


RESTORE: Final = "Restore a snapshot into a new folder; `stillhouse vectors check` tells more."
