"""The database of a data folder: its tables, its version, how its connections are set.

    state      one row: the number of the last commit, the next version's and the next index's
    indexes    one row an index; `name` is null while it is being loaded or is being removed
    items      one row a live version of an item; `seq` grows and is never used again

Every row has a CRC-32 of its content, and every index the count of its items and the sum of their
checksums, so that what is lost or changed shows when all rows are read (see `truth`).
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from stillhouse.errors import VectorBusyError, VectorDamagedError, VectorFailedError

APPLICATION: Final = 0x53_48_56_31
"""Tells this database from others: "SHV1"."""


def state_check(last_commit: int, next_seq: int, next_index: int) -> int:
    """The CRC-32 of the three numbers of `state`, each as eight bytes, little-endian."""
    return zlib.crc32(struct.pack("<3q", last_commit, next_seq, next_index))


_TABLES: Final = f"""
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    last_commit INTEGER NOT NULL, next_seq INTEGER NOT NULL, next_index INTEGER NOT NULL,
    row_check INTEGER NOT NULL
);
INSERT INTO state VALUES (1, 0, 1, 1, {state_check(0, 1, 1)});
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

_PAGE_BYTES: Final = 8192
"""Five rows of 384 numbers fit into one; with half of it a quarter of the file was air."""
_CACHE_KIBIBYTES: Final = 65_536
BUSY_SECONDS: Final = 10.0
"""How long to wait for another program that writes to the database, which nobody should."""
_WAL_FORMAT: Final = b"\2\2"
"""What the file's header says at byte 18 when it has a write-ahead log."""

Use = Literal["write", "read", "verify"]


def connect(path: Path, use: Use) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time; transactions are begun by hand.

    One to ``verify`` cannot change the folder even by closing: the log of a damaged one is
    evidence. Raises `sqlite3.Error`; see `told`.
    """
    where = f"{path.absolute().as_uri()}?mode={'ro' if use == 'verify' else 'rwc'}"
    connection = sqlite3.connect(
        where,
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_SECONDS,
        cached_statements=64,
    )
    try:
        if use == "write":
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = OFF")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
            # The writer does it, where nobody waits and a failure is seen.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        else:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """The version of a database; 0 for one that is empty.

    Raises `VectorDamagedError` for a database that is not ours or is of a newer version.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if (owner, version, tables) == (0, 0, 0):
        return 0
    if owner != APPLICATION or version < 1:
        raise VectorDamagedError(
            "this is not a database of stillhouse, or its first page is damaged",
            where=str(path),
            way_out="Give another folder, or restore a snapshot into a new one.",
        )
    if version > VERSION:
        raise VectorDamagedError(
            f"this database has version {version}; this stillhouse knows versions to {VERSION}",
            where=str(path),
            way_out="Use the newer stillhouse that wrote it.",
            code="newer_version",
        )
    return version


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a database to this version, each step in a transaction of its own.

    Raises what `version_of` raises.
    """
    for number in range(version_of(connection, path), VERSION):
        _step(connection, number)


def layout_problem(connection: sqlite3.Connection, path: Path, version: int) -> str:
    """How a database of a version differs from what `migrate` made then; empty when it does not.
    A damaged definition may well be one that SQLite takes."""
    with path.open("rb") as file:
        if file.read(20)[18:] != _WAL_FORMAT:
            return "its first page is not as it was written"
    fresh = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for number in range(version):
            _step(fresh, number)
        wanted, found = _definitions(fresh), _definitions(connection)
    finally:
        fresh.close()
    return "" if wanted == found else "its tables are not as they were made"


def _definitions(connection: sqlite3.Connection) -> list[tuple[str, str, str, str | None]]:
    return sorted(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema"))


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


def told(
    error: sqlite3.Error, where: Path
) -> VectorFailedError | VectorDamagedError | VectorBusyError:
    """What SQLite says, as the error that a caller gets."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name == "SQLITE_FULL":
        return VectorFailedError(
            "there is no room left on the disk; nothing of this was kept",
            where=str(where),
            way_out="Make room and try again.",
            code="disk_full",
        )
    if name.startswith(_DAMAGED):
        return VectorDamagedError(
            f"the database is damaged ({error})", where=str(where), way_out=RESTORE
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return VectorBusyError(
            "another program is writing to the database",
            where=str(where),
            way_out="Stop it: a data folder is for one stillhouse alone.",
        )
    return VectorFailedError(
        f"the database fails: {error} ({name or type(error).__name__})",
        where=str(where),
        way_out="See to the disk, then open the store again.",
    )


def is_disk_trouble(error: BaseException) -> bool:
    """Whether this is SQLite saying that what is in memory may now be ahead of what is on disk,
    so that the database has to be opened anew. A full disk is no such thing: SQLite took the write
    back."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.startswith((*_DAMAGED, "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY"))


def is_elsewhere(error: sqlite3.Error) -> bool:
    """Whether an error in reading is no sign of damage, but of the disk, the memory, or another
    program."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_IOERR_SHORT_READ"):
        return False
    return name.startswith(_ELSEWHERE)


_ELSEWHERE: Final = ("SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_NOMEM", "SQLITE_PERM")
_DAMAGED: Final = ("SQLITE_NOTADB", "SQLITE_FORMAT", "SQLITE_CORRUPT")

RESTORE: Final = "Restore a snapshot into a new folder; `stillhouse vectors check` tells more."
