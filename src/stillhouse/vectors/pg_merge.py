"""Bringing one index into another (SPEC V4) in PostgreSQL: one transaction, set by set.

Both indexes are locked, in the order of their names, before anything is looked at; so A→B and
B→A at once end, and what a merge saw is what it moves. It all happens, or nothing does.
"""

from __future__ import annotations

from typing import Final

from psycopg import sql

from stillhouse.vectors.pg_pool import Connection
from stillhouse.vectors.pg_schema import find
from stillhouse.vectors.refusals import refuse_unlike
from stillhouse.vectors.values import MergeResult, OnConflict

# `=` of pgvector takes -0.0 for 0.0; the same is what has the same bits.
_SAME: Final = sql.SQL(
    "(vector_send(s.vector) = vector_send(d.vector) AND s.metadata IS NOT DISTINCT FROM d.metadata)"
)
_CONFLICTS: Final = sql.SQL(
    "SELECT s.id FROM {src} s JOIN {dest} d ON d.id = s.id WHERE NOT {same} ORDER BY s.id"
)
_REPLACE: Final = sql.SQL(
    "UPDATE {dest} d SET vector = s.vector, metadata = s.metadata, fields = s.fields"
    " FROM {src} s WHERE s.id = d.id AND NOT {same}"
)
_INSERT: Final = sql.SQL(
    "INSERT INTO {dest} (id, vector, metadata, fields) SELECT id, vector, metadata, fields"
    " FROM {src} s WHERE NOT EXISTS (SELECT FROM {dest} d WHERE d.id = s.id)"
)
_CLEAR: Final = sql.SQL("DELETE FROM {src} s USING {dest} d WHERE d.id = s.id AND {same}")
_COUNT: Final = sql.SQL("SELECT count(*) FROM {src}")


def merge(
    connection: Connection,
    schema: str,
    src: str,
    dest: str,
    *,
    clear_source: bool,
    on_conflict: OnConflict,
) -> MergeResult:
    """Within a transaction of the caller's. What is deleted from the source is only what the
    destination holds the same at that moment."""
    locked = {name: find(connection, schema, name, lock=True) for name in sorted((src, dest))}
    refuse_unlike(locked[src].spec, locked[dest].spec)
    names = {"src": locked[src].table, "dest": locked[dest].table}

    def run(statement: sql.SQL) -> int:
        return connection.execute(statement.format(**names, same=_SAME)).rowcount

    conflicts: list[str] = []
    replaced = 0
    if on_conflict == "replace":
        replaced = run(_REPLACE)
    else:
        rows = connection.execute(_CONFLICTS.format(**names, same=_SAME), binary=True)
        conflicts = [id_ for (id_,) in rows]
    inserted = run(_INSERT)
    total = _total(connection, names["src"])
    cleared = run(_CLEAR) if clear_source else 0
    return MergeResult(
        src=src,
        dest=dest,
        merged=inserted + replaced,
        skipped=total - inserted - replaced - len(conflicts),
        conflicts=conflicts,
        failed=[],
        cleared=cleared,
        remaining=total - cleared,
    )


def _total(connection: Connection, src: sql.Identifier) -> int:
    row = connection.execute(_COUNT.format(src=src), binary=True).fetchone()
    assert row is not None
    return int(row[0])
