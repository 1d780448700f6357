"""The tables in PostgreSQL: how they are made, brought up to date, and found by an index's name.

    schema_version (number)
    indexes        name → number, dimension, metric, metadata
    items_<number> id, vector(d), metadata (JSON as text), fields (jsonb, for filters)
    dropped        numbers whose table waits to be removed

pgvector's columns have one dimension, so each index has a table, by a number that is never used
again. The row in ``indexes`` is the index's lock: who writes holds it to the end of his
transaction, who reads does not need it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from psycopg import errors, sql

from stillhouse.errors import VectorError, VectorFailedError
from stillhouse.vectors.pg_pool import Connection, Pool
from stillhouse.vectors.refusals import index_not_found, refuse_other
from stillhouse.vectors.values import IndexSpec, Metric

VERSION: Final = 1
HNSW_DIMENSIONS: Final = 2_000
"""pgvector has HNSW indexes for ``vector`` up to here; beyond, searches are exact."""
MOST_DIMENSIONS: Final = 16_000
"""pgvector has vectors up to here."""
OPERATORS: Final[dict[Metric, str]] = {"cosine": "<=>", "ip": "<#>", "l2": "<->"}
_CLASSES: Final[dict[Metric, str]] = {
    "cosine": "vector_cosine_ops",
    "ip": "vector_ip_ops",
    "l2": "vector_l2_ops",
}
_CANONICAL: Final = msgspec.json.Encoder(order="sorted")


class Index(NamedTuple):
    """An index and the table of its items."""

    number: int
    spec: IndexSpec
    table: sql.Identifier


# -------------------------------------------------------------------------- migrations


def prepare(pool: Pool) -> int:
    """Make or update the tables; the type number of ``vector``. Several processes may do so at
    once: an advisory lock lets them through one by one. Raises `VectorFailedError`."""
    with pool.connection() as connection:
        # What others have committed while this one waited must be seen, whatever the database's
        # default is. A standby is opened to be read, so nothing is said of writing.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.read_only = None
        with connection.transaction():
            _check_server(connection)
            _alone(connection, f"stillhouse vectors {pool.options.schema}")
            _extension(connection)
            _migrate(connection, pool.options.schema)
        found = connection.execute(
            "SELECT t.oid::int8 FROM pg_type t"
            " JOIN pg_extension e ON e.extnamespace = t.typnamespace"
            " WHERE e.extname = 'vector' AND t.typname = 'vector'"
        ).fetchone()
    pool.forget()  # connections find the extension's schema when they are made
    assert found is not None
    return int(found[0])


def _check_server(connection: Connection) -> None:
    encoding = connection.execute("SHOW server_encoding").fetchone()
    if encoding != ("UTF8",):
        raise VectorFailedError("the database does not keep its texts in UTF8")


def _alone(connection: Connection, key: str) -> None:
    """Let nobody else of this database past here with the same key until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])


def _extension(connection: Connection) -> None:
    version = _extension_version(connection)
    if version is None:
        # One lock for all schemas: they share the extension.
        _alone(connection, "stillhouse vectors extension")
        version = _extension_version(connection) or _make_extension(connection)
    if tuple(int(part) for part in version.split(".")[:2]) < (0, 8):
        raise VectorFailedError(
            f"pgvector {version} is too old; 0.8 is needed",
            way_out="Run ALTER EXTENSION vector UPDATE.",
        )


def _extension_version(connection: Connection) -> str | None:
    found = connection.execute(
        "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    ).fetchone()
    return None if found is None else str(found[0])


def _make_extension(connection: Connection) -> str:
    try:
        with connection.transaction():
            connection.execute("CREATE EXTENSION vector SCHEMA public")
    except errors.LockNotAvailable:
        raise
    except psycopg.Error as error:
        # Another program does not know our lock: then the extension is there after all.
        version = _extension_version(connection)
        if version is None:
            raise VectorFailedError(
                f"the database lacks pgvector: {error.diag.message_primary}",
                way_out="Have its owner install pgvector and run CREATE EXTENSION vector.",
            ) from error
        return version
    version = _extension_version(connection)
    assert version is not None
    return version


def _migrate(connection: Connection, schema: str) -> None:
    name = sql.Identifier(schema)
    there = connection.execute(
        "SELECT to_regclass(format('%%I.schema_version', %s::text)) IS NOT NULL", [schema]
    ).fetchone()
    version = 0
    if there == (True,):
        row = connection.execute(
            sql.SQL("SELECT number FROM {}.schema_version").format(name)
        ).fetchone()
        version = int(row[0]) if row else 0
    if version > VERSION:
        raise VectorFailedError(
            f"the tables have version {version}; this program knows up to {VERSION}",
            way_out="Use a newer Stillhouse.",
        )
    for step in _MIGRATIONS[version:]:
        connection.execute(sql.SQL(step).format(schema=name))


_MIGRATIONS: Final = (
    """
    CREATE SCHEMA IF NOT EXISTS {schema};
    CREATE TABLE {schema}.schema_version (number integer NOT NULL);
    INSERT INTO {schema}.schema_version VALUES (1);
    CREATE SEQUENCE {schema}.numbers;
    CREATE TABLE {schema}.indexes (
        name text COLLATE "C" PRIMARY KEY,
        number bigint NOT NULL UNIQUE,
        dimension integer NOT NULL,
        metric text NOT NULL,
        metadata text
    );
    CREATE TABLE {schema}.dropped (number bigint PRIMARY KEY);
    """,
)
"""From each version to the next; never changed once it was released."""


# ----------------------------------------------------------------------------- indexes


def table(schema: str, number: int) -> sql.Identifier:
    """The table of an index's items."""
    return sql.Identifier(schema, f"items_{number}")


def find(connection: Connection, schema: str, name: str, *, lock: bool = False) -> Index:
    """An index by its name; with ``lock`` nobody else writes to it, drops or replaces it until
    the transaction ends. Raises `VectorNotFoundError`."""
    found = look(connection, schema, name, lock=lock)
    if found is None:
        raise index_not_found(name)
    return found


def look(connection: Connection, schema: str, name: str, *, lock: bool = False) -> Index | None:
    """The same; None when there is none."""
    row = connection.execute(
        "SELECT number, dimension, metric, metadata FROM indexes WHERE name = %s"
        + (" FOR UPDATE" if lock else ""),
        [name],
        binary=True,
    ).fetchone()
    if row is None:
        return None
    number, dimension, metric, metadata = row
    spec = IndexSpec(name, dimension, metric, None if metadata is None else _decoded(metadata))
    return Index(number, spec, table(schema, number))


def _decoded(metadata: str) -> dict[str, Any]:
    return msgspec.json.decode(metadata, type=dict[str, Any])


def make(connection: Connection, schema: str, spec: IndexSpec) -> bool:
    """Enter an index and make its table; False when the same is there. Raises
    `VectorConflictError`."""
    while True:
        there = look(connection, schema, spec.name)
        if there is not None:
            refuse_other(there.spec, spec)
            return False
        new = new_table(connection, schema, spec)
        if enter(connection, new):
            make_searchable(connection, new)
            return True
        # Somebody made one of that name meanwhile, and his transaction has ended.
        connection.execute(sql.SQL("DROP TABLE {}").format(new.table))


def enter(connection: Connection, index: Index) -> bool:
    """Give a table its name; False when there is an index of that name."""
    made = connection.execute(
        "INSERT INTO indexes (number, dimension, metric, metadata, name)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (name) DO NOTHING",
        _row_of(index),
    )
    return made.rowcount == 1


def take_over(connection: Connection, there: Index, index: Index) -> None:
    """Give a table the name of another, which is locked. The row stays and changes: who waits for
    it goes on with what it says then, where a row that was deleted is gone for him, though another
    has its name."""
    connection.execute(
        "UPDATE indexes SET number = %s, dimension = %s, metric = %s, metadata = %s"
        " WHERE name = %s",
        _row_of(index),
    )
    _drop_later(connection, there)


def _row_of(index: Index) -> list[object]:
    spec = index.spec
    metadata = None if spec.metadata is None else _CANONICAL.encode(spec.metadata).decode()
    return [index.number, spec.dimension, spec.metric, metadata, spec.name]


def new_table(connection: Connection, schema: str, spec: IndexSpec) -> Index:
    """A table for items that no name leads to yet."""
    row = connection.execute("SELECT nextval('numbers')", binary=True).fetchone()
    assert row is not None
    index = Index(row[0], spec, table(schema, row[0]))
    connection.execute(
        sql.SQL(
            'CREATE TABLE {} (id text COLLATE "C" PRIMARY KEY, vector vector({}) NOT NULL,'
            " metadata text, fields jsonb NOT NULL)"
        ).format(index.table, sql.Literal(spec.dimension))
    )
    return index


def make_searchable(connection: Connection, index: Index) -> None:
    """What makes searching fast. Of a full table it is made in one go, which is quicker."""
    connection.execute(
        sql.SQL("CREATE INDEX ON {} USING gin (fields jsonb_path_ops)").format(index.table)
    )
    if index.spec.dimension <= HNSW_DIMENSIONS:
        connection.execute(
            sql.SQL("CREATE INDEX ON {} USING hnsw (vector {})").format(
                index.table, sql.SQL(_CLASSES[index.spec.metric])
            )
        )


def give_up(connection: Connection, index: Index) -> None:
    """Take an index's name away. Its table goes when nobody reads it any more (`sweep`)."""
    connection.execute("DELETE FROM indexes WHERE number = %s", [index.number])
    _drop_later(connection, index)


def _drop_later(connection: Connection, index: Index) -> None:
    connection.execute("INSERT INTO dropped VALUES (%s)", [index.number])


def sweep(pool: Pool) -> None:
    """Remove tables of dropped indexes that nobody reads; the others wait for the next time (a
    drop, a load, an opening), as they do when the database fails: dropping has been acknowledged
    already."""
    try:
        with pool.writing() as connection:
            rows = connection.execute(
                "SELECT number FROM dropped FOR UPDATE SKIP LOCKED", binary=True
            ).fetchall()
            for (number,) in rows:
                if _removed(connection, table(pool.options.schema, number)):
                    connection.execute("DELETE FROM dropped WHERE number = %s", [number])
    except VectorError:
        return


def _removed(connection: Connection, name: sql.Identifier) -> bool:
    """Whether the table is gone now. One that cannot be removed, because somebody reads it or made
    something of it, keeps no other."""
    try:
        with connection.transaction():
            connection.execute(
                sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE NOWAIT").format(name)
            )
            connection.execute(sql.SQL("DROP TABLE {}").format(name))
    except errors.UndefinedTable:  # somebody removed it by hand
        return True
    except psycopg.Error:
        return False
    return True
