"""The rows of a data folder's database: reading, writing, and whether they are as written.

Statements only. Who may write when is for `writer`; what an operation means is for `local` and
`merging`.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from stillhouse.errors import VectorDamagedError
from stillhouse.vectors.checks import decoded
from stillhouse.vectors.live import Checks, Rows, Seqs, row_check
from stillhouse.vectors.schema import RESTORE, state_check
from stillhouse.vectors.values import Batch, IndexSpec

_CHUNK: Final = 500
"""Values in one statement; SQLite's least limit is 999."""
_TOLD: Final = 3
_MOST_SEQ: Final = 2**63 - 1
_SUMS: Final = 2**64


class Row(NamedTuple):
    """A version of an item before it has a number: what is kept of it, and the checksum of that."""

    id: str
    vector: bytes
    metadata: bytes | None
    check: int


class Kept(NamedTuple):
    """An index as the database has it."""

    number: int
    spec: IndexSpec
    items: int
    digest: int


def rows_of(batch: Batch) -> list[Row]:
    """A batch as rows with their checksums."""
    width = batch.vectors.shape[1] * 4
    data = batch.vectors.astype("<f4", copy=False).tobytes()
    rows = []
    for at, (id_, metadata) in enumerate(zip(batch.ids, batch.metadata, strict=True)):
        vector = data[at * width : (at + 1) * width]
        rows.append(Row(id_, vector, metadata, row_check(id_, vector, metadata)))
    return rows


def columns_of(numbered: Sequence[tuple[int, Row]], dimension: int) -> Rows:
    """Rows with their numbers, by columns."""
    data = b"".join(row.vector for _, row in numbered)
    return Rows(
        np.array([seq for seq, _ in numbered], np.int64),
        np.array([row.check for _, row in numbered], np.uint32),
        [row.id for _, row in numbered],
        np.frombuffer(data, "<f4").astype(np.float32, copy=False).reshape(-1, dimension),
        [row.metadata for _, row in numbered],
    )


def sound_batch(rows: list[tuple[int, Row]], kept: Kept, path: Path) -> Batch:
    """Rows as a batch. Raises `VectorDamagedError` when one is not as it was written."""
    for _, row in rows:
        if not is_sound(row):
            raise VectorDamagedError(
                f"item {row.id!r} of index {kept.spec.name!r} is not as it was written",
                where=str(path),
                way_out=RESTORE,
            )
    columns: Rows = columns_of(rows, kept.spec.dimension)
    return Batch(columns.ids, columns.vectors, columns.metadata)


# -------------------------------------------------------------------------------- indexes


def _index_check(number: int, spec: IndexSpec, items: int, digest: int) -> int:
    words = [number, spec.name, spec.dimension, spec.metric, spec.metadata, items, str(digest)]
    return zlib.crc32(msgspec.json.encode(words, order="sorted"))


def put_index(connection: sqlite3.Connection, kept: Kept) -> None:
    """Write an index's row, new or again."""
    spec = kept.spec
    metadata = None
    if spec.metadata is not None:
        metadata = msgspec.json.encode(spec.metadata, order="sorted").decode()
    signed = kept.digest - _SUMS if kept.digest >= _SUMS // 2 else kept.digest
    connection.execute(
        "INSERT OR REPLACE INTO indexes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            kept.number,
            spec.name or None,
            spec.dimension,
            spec.metric,
            metadata,
            kept.items,
            signed,
            _index_check(*kept),
        ),
    )


def get_index(connection: sqlite3.Connection, number: int, path: Path) -> Kept:
    """An index's row."""
    for kept in _indexes(connection, path, "WHERE number = ?", (number,)):
        return kept
    raise VectorDamagedError(f"index {number} has no row", where=str(path), way_out=RESTORE)


def named_index(connection: sqlite3.Connection, name: str, path: Path) -> Kept | None:
    """The row of the index of that name, if there is one."""
    return next(_indexes(connection, path, "WHERE name = ?", (name,)), None)


def all_indexes(connection: sqlite3.Connection, path: Path) -> list[Kept]:
    """Every index by its number; those without a name are half loaded or half removed."""
    return list(_indexes(connection, path, "ORDER BY number", ()))


def _indexes(
    connection: sqlite3.Connection, path: Path, which: str, values: tuple[object, ...]
) -> Iterator[Kept]:
    for row in connection.execute(f"SELECT * FROM indexes {which}", values):
        number, name, dimension, metric, metadata, items, digest, check = row
        try:
            known = decoded(None if metadata is None else metadata.encode())
            spec = IndexSpec(name or "", dimension, metric, known)
            kept = Kept(number, spec, items, digest % _SUMS)
            sound = _index_check(*kept) == check
        except (AttributeError, TypeError, ValueError):
            sound = False
        if not sound:
            raise VectorDamagedError(
                f"the row of index {name or number!r} is not as it was written",
                where=str(path),
                way_out=RESTORE,
            )
        yield kept


class State(NamedTuple):
    """The numbers that only grow: of the last commit, and the next version's and index's."""

    last_commit: int
    next_seq: int
    next_index: int


def get_state(connection: sqlite3.Connection, path: Path) -> State:
    """The row of `state`. Raises `VectorDamagedError` when it is not as it was written."""
    found = connection.execute(
        "SELECT last_commit, next_seq, next_index, row_check FROM state"
    ).fetchall()
    if len(found) == 1 and all(isinstance(word, int) for word in found[0]):
        state = State(*found[0][:3])
        if state_check(*state) == found[0][3]:
            return state
    raise VectorDamagedError(
        "the row of the last commit is not as it was written", where=str(path), way_out=RESTORE
    )


def put_state(connection: sqlite3.Connection, state: State) -> None:
    """Write the row of `state`."""
    connection.execute(
        "UPDATE state SET last_commit = ?, next_seq = ?, next_index = ?, row_check = ?",
        (*state, state_check(*state)),
    )


# ---------------------------------------------------------------------------------- items


def find(
    connection: sqlite3.Connection, index: int, ids: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """The number and checksum of those of the items that are there."""
    found = {}
    for at in range(0, len(ids), _CHUNK):
        some = ids[at : at + _CHUNK]
        for id_, seq, check in connection.execute(
            "SELECT id, seq, row_check FROM items WHERE index_number = ? AND id IN "
            f"({_marks(some)})",
            (index, *some),
        ):
            found[id_] = (seq, check)
    return found


def read(connection: sqlite3.Connection, seqs: Sequence[int]) -> Iterator[tuple[int, Row]]:
    """Versions by their numbers, in the order given; those that are not there are left out. Rows
    are not checked."""
    for at in range(0, len(seqs), _CHUNK):
        some = seqs[at : at + _CHUNK]
        rows = {
            seq: Row(*rest)
            for seq, *rest in connection.execute(
                "SELECT seq, id, vector, metadata, row_check FROM items WHERE seq IN "
                f"({_marks(some)})",
                tuple(some),
            )
        }
        for seq in some:
            if seq in rows:
                yield seq, rows[seq]


def after(
    connection: sqlite3.Connection, index: int, id_: str, limit: int, before: int = _MOST_SEQ
) -> list[tuple[int, Row]]:
    """The next items by id after one, by code point: those whose version is older than
    ``before``."""
    return [
        (seq, Row(*rest))
        for seq, *rest in connection.execute(
            "SELECT seq, id, vector, metadata, row_check FROM items "
            "WHERE index_number = ? AND id > ? AND seq < ? ORDER BY id LIMIT ?",
            (index, id_, before, limit),
        )
    ]


def every(connection: sqlite3.Connection, index: int) -> Iterator[tuple[int, Row]]:
    """Every version of an index, for reading to the end before anything is written."""
    for seq, *rest in connection.execute(
        "SELECT seq, id, vector, metadata, row_check FROM items WHERE index_number = ?", (index,)
    ):
        yield seq, Row(*rest)


def ids(connection: sqlite3.Connection, index: int) -> list[str]:
    """Every id of an index, by code point."""
    return [
        id_
        for (id_,) in connection.execute(
            "SELECT id FROM items WHERE index_number = ? ORDER BY id", (index,)
        )
    ]


def is_sound(row: Row) -> bool:
    """Whether a row is as it was written."""
    return row.check == row_check(row.id, row.vector, row.metadata)


def insert(connection: sqlite3.Connection, index: int, numbered: Sequence[tuple[int, Row]]) -> None:
    """Write new versions with their numbers."""
    connection.executemany(
        "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", ((seq, index, *row) for seq, row in numbered)
    )


def remove(connection: sqlite3.Connection, seqs: Sequence[int]) -> None:
    """End versions."""
    connection.executemany("DELETE FROM items WHERE seq = ?", ((seq,) for seq in seqs))


def count_change(
    connection: sqlite3.Connection, kept: Kept, added: Sequence[int], removed: Sequence[int]
) -> None:
    """Bring an index's count and digest up to date with the checksums of what came and went."""
    put_index(
        connection,
        kept._replace(
            items=kept.items + len(added) - len(removed),
            digest=(kept.digest + sum(added) - sum(removed)) % _SUMS,
        ),
    )


def purge(connection: sqlite3.Connection, index: int, limit: int) -> int:
    """Remove some rows of an index that has no name any more; how many there were."""
    done = connection.execute(
        "DELETE FROM items WHERE seq IN (SELECT seq FROM items WHERE index_number = ? LIMIT ?)",
        (index, limit),
    )
    return done.rowcount


def forget(connection: sqlite3.Connection, index: int) -> None:
    """Remove the row of an index that has no items any more."""
    connection.execute("DELETE FROM indexes WHERE number = ?", (index,))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


# ------------------------------------------------------------------------------- checking


class Scanned(NamedTuple):
    """What reading every row gave for an index: the live versions by number, their checksums."""

    seqs: Seqs
    checks: Checks


NOTHING: Final = Scanned(np.zeros(0, np.int64), np.zeros(0, np.uint32))


def scan(
    connection: sqlite3.Connection, path: Path
) -> tuple[list[Kept], dict[int, Scanned], list[str]]:
    """Read everything: the indexes, the live versions of each, and what is wrong, in words. To be
    called in a transaction. Half loaded and half removed indexes are looked at as well, but not
    counted: their rows are to go."""
    wrong = [
        f"the database says: {found}"
        for (found,) in connection.execute(f"PRAGMA integrity_check({_TOLD})")
        if found != "ok"
    ]
    indexes = all_indexes(connection, path)
    seqs: dict[int, list[int]] = {}
    checks: dict[int, list[int]] = {}
    bad: dict[int, list[str]] = {}
    # A damaged id may be no text any more; it is to be told, not to end the reading.
    connection.text_factory = lambda data: data.decode(errors="surrogateescape")
    for seq, index, *rest in connection.execute("SELECT * FROM items"):
        if index not in seqs:
            seqs[index], checks[index] = [], []
        seqs[index].append(seq)
        try:
            sound = is_sound(Row(*rest))
        except (AttributeError, TypeError, ValueError):
            sound = False
        checks[index].append(rest[3] if sound else 0)
        if not sound:
            bad.setdefault(index, []).append(ascii(rest[0])[:80])
    connection.text_factory = str
    wrong += _parted(indexes, seqs, checks, bad)
    return indexes, {index: _scanned(seqs[index], checks[index]) for index in seqs}, wrong


def _scanned(seqs: list[int], checks: list[int]) -> Scanned:
    return Scanned(
        np.array(seqs, np.int64), (np.array(checks, np.int64) & 0xFFFF_FFFF).astype(np.uint32)
    )


def _parted(
    indexes: list[Kept],
    seqs: dict[int, list[int]],
    checks: dict[int, list[int]],
    bad: dict[int, list[str]],
) -> list[str]:
    wrong = []
    for kept in indexes:
        if not kept.spec.name:
            continue
        named = f"index {kept.spec.name!r}"
        if found := bad.get(kept.number):
            more = f" and {len(found) - _TOLD:,} more" if len(found) > _TOLD else ""
            wrong.append(
                f"{named} has rows that are not as they were written: "
                f"{', '.join(found[:_TOLD])}{more}"
            )
        here = checks.get(kept.number, [])
        if len(here) != kept.items:
            wrong.append(f"{named} should have {kept.items:,} items, and has {len(here):,}")
        elif sum(here) % _SUMS != kept.digest and not found:
            wrong.append(f"{named} has other items than were written")
    strange = set(seqs) - {kept.number for kept in indexes}
    if strange:
        told = ", ".join(ascii(index) for index in list(strange)[:_TOLD])
        wrong.append(f"there are items of unknown indexes ({told})")
    return wrong
