"""Connections that only read the truth, each lent to one thread at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from stillhouse.errors import VectorDamagedError, VectorFailedError
from stillhouse.vectors import truth
from stillhouse.vectors.live import Checks, Rows, Seqs
from stillhouse.vectors.refusals import index_not_found
from stillhouse.vectors.schema import RESTORE, connect, told

_KEPT: Final = 8
_BATCH: Final = 1_000


class Readers:
    """Reading connections of one database; as many as are needed at once, few kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the truth for as long as the context lasts.

        Raises what `schema.told` makes of SQLite's errors.
        """
        try:
            connection = self._lend()
            try:
                connection.execute("BEGIN")
                # The state that is seen is that of the first read.
                connection.execute("SELECT last_commit FROM state").fetchone()
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._give_back(connection)
        except sqlite3.Error as error:
            raise told(error, self.path) from error

    @contextmanager
    def index(self, name: str) -> Iterator[tuple[sqlite3.Connection, truth.Kept]]:
        """The same, with the index that has this name in that state: another may get the name
        and this one's rows go while the context lasts.

        Raises `VectorNotFoundError` as well.
        """
        with self.transaction() as connection:
            kept = truth.named_index(connection, name, self.path)
            if kept is None:
                raise index_not_found(name)
            yield connection, kept

    def _lend(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise VectorFailedError("the store is closed", where=str(self.path.parent))
            if self._idle:
                return self._idle.pop()
        return connect(self.path, "read")

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle now, and what is lent when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def truth(self, number: int, dimension: int, live: truth.Scanned | None) -> FolderTruth:
        """What a search index reads of one index."""
        return FolderTruth(self, number, dimension, live)


class FolderTruth:
    """One index of the database, as `stillhouse.vectors.live.TruthReader`. ``live`` are versions
    that somebody read already, of the state that is meant."""

    def __init__(
        self, readers: Readers, number: int, dimension: int, live: truth.Scanned | None
    ) -> None:
        self._readers = readers
        self._number = number
        self._dimension = dimension
        self._live = live

    def versions(self) -> tuple[Seqs, Checks]:
        """See the protocol."""
        if self._live is None:
            with self._readers.transaction() as connection:
                found = connection.execute(
                    "SELECT seq, row_check FROM items WHERE index_number = ? ORDER BY seq",
                    (self._number,),
                ).fetchall()
            table = np.array(found, np.int64).reshape(-1, 2)
            self._live = truth.Scanned(
                np.ascontiguousarray(table[:, 0]), table[:, 1].astype(np.uint32)
            )
        return self._live

    def rows(self, seqs: Seqs) -> Iterator[Rows]:
        """See the protocol. Raises `VectorDamagedError` for a row that is not as it was written."""
        for at in range(0, len(seqs), _BATCH):
            some = seqs[at : at + _BATCH].tolist()
            with self._readers.transaction() as connection:
                found = list(truth.read(connection, some))
            for _, row in found:
                if not truth.is_sound(row):
                    raise VectorDamagedError(
                        f"item {row.id!r} is not as it was written",
                        where=str(self._readers.path),
                        way_out=RESTORE,
                    )
            if found:
                yield truth.columns_of(found, self._dimension)
