"""Vectors in PostgreSQL with pgvector, for those who outgrow one machine or have a database that
is looked after already. Needs the extra ``pgvector``.

Nothing is kept in the process but connections: several processes may use a database at once.
Each change is one transaction, so all or nothing, and durable as the database is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final, TypeVar

from psycopg import ServerCursor, sql

from stillhouse.errors import VectorError, VectorLimitError
from stillhouse.vectors.backend import Export
from stillhouse.vectors.filters import Filter
from stillhouse.vectors.pg_filters import condition, fields_of
from stillhouse.vectors.pg_merge import merge
from stillhouse.vectors.pg_pool import Connection, Moved, PgOptions, Pool, options_of
from stillhouse.vectors.pg_schema import (
    MOST_DIMENSIONS,
    Index,
    enter,
    find,
    give_up,
    look,
    make,
    make_searchable,
    new_table,
    prepare,
    sweep,
    take_over,
)
from stillhouse.vectors.pg_search import batch_of, search
from stillhouse.vectors.pg_wire import wired_vectors
from stillhouse.vectors.refusals import id_twice, index_exists, refuse_batch, refuse_dimension
from stillhouse.vectors.values import (
    Batch,
    Floats,
    Health,
    Hits,
    Include,
    IndexInfo,
    IndexSpec,
    MergeResult,
    OnConflict,
    Status,
)

Answer = TypeVar("Answer")
Rows = Generator[list[tuple[Any, ...]], None, None]

_TRIES: Final = 5
_SENT: Final = 16 * 1024 * 1024
"""Bytes of vectors in one statement or one fetched batch."""
_ROWS: Final = 1_000
_UNFIT: Final = re.compile("[\x00\ud800-\udfff]")

# The index is locked: nobody else writes between what `old` sees and what is put.
_PUT: Final = sql.SQL(
    "WITH new AS (SELECT id, vector, metadata, fields::jsonb FROM"
    " unnest(%s::text[], %s::vector[], %s::text[], %s::text[]) AS n(id, vector, metadata, fields)),"
    " old AS (SELECT id, vector_send(t.vector) = vector_send(new.vector)"
    " AND t.metadata IS NOT DISTINCT FROM new.metadata AS same FROM new JOIN {table} t USING (id)),"
    " put AS (INSERT INTO {table} (id, vector, metadata, fields) SELECT * FROM new"
    " WHERE id NOT IN (SELECT id FROM old WHERE same)"
    " ON CONFLICT (id) DO UPDATE SET vector = excluded.vector, metadata = excluded.metadata,"
    " fields = excluded.fields)"
    " SELECT id, same FROM old"
)
_GET: Final = sql.SQL(
    "SELECT id, vector_send(vector), metadata FROM {table} WHERE id = ANY(%s::text[])"
)
_ALL: Final = sql.SQL("SELECT id, vector_send(vector), metadata FROM {table} ORDER BY id")
_IDS: Final = sql.SQL("SELECT id FROM {table} ORDER BY id")
_COUNT: Final = sql.SQL("SELECT count(*) FROM {table} WHERE {where}")
_DELETE: Final = sql.SQL("DELETE FROM {table} WHERE id = ANY(%s::text[]) RETURNING id")
_DELETE_MATCHING: Final = sql.SQL("DELETE FROM {table} WHERE {where}")


class PgBackend:
    """`Backend` over a database, given by its URL (``postgresql://…``, see `options_of`).

    What differs from the folder backend: vectors have at most 16,000 dimensions
    (`VectorLimitError`), and beyond 2,000 every search compares all that match. Reads never wait
    for writes. Writes to one index wait for one another, at most `PgOptions.wait_seconds`
    (`VectorBusyError`).

    Raises `VectorFailedError` when the database cannot be reached or used.
    """

    def __init__(self, url: str, *, options: PgOptions | None = None) -> None:
        parameters, self._options = options_of(url, options)
        self._pool = Pool(parameters, self._options)
        self._schema = self._options.schema
        try:
            self._vector_type = prepare(self._pool)
        except VectorError:
            self._pool.close()
            raise
        sweep(self._pool)

    # ------------------------------------------------------------------------ indexes

    def create(self, spec: IndexSpec) -> bool:
        _check_dimension(spec)
        with self._pool.writing() as connection:
            return make(connection, self._schema, spec)

    def drop(self, name: str) -> None:
        with self._pool.writing() as connection:
            give_up(connection, find(connection, self._schema, name, lock=True))
        sweep(self._pool)

    def spec(self, name: str) -> IndexSpec:
        with self._pool.connection() as connection:
            return find(connection, self._schema, name).spec

    def describe(self, name: str) -> IndexInfo:
        def work(connection: Connection, index: Index) -> IndexInfo:
            size = connection.execute(
                sql.SQL("SELECT pg_total_relation_size({}::regclass)").format(
                    sql.Literal(index.table.as_string(connection))
                )
            ).fetchone()
            spec = index.spec
            return IndexInfo(
                name=name,
                dimension=spec.dimension,
                metric=spec.metric,
                metadata=spec.metadata,
                count=_count(connection, index, None),
                bytes=size[0] if size and size[0] else 0,
            )

        return self._read(name, work)

    def names(self) -> list[str]:
        with self._pool.connection() as connection:
            rows = connection.execute("SELECT name FROM indexes ORDER BY name", binary=True)
            return [name for (name,) in rows]

    # -------------------------------------------------------------------------- items

    def add(self, name: str, batch: Batch) -> list[Status]:
        with self._pool.writing() as connection:
            index = find(connection, self._schema, name, lock=True)
            same = self._put(connection, index, batch)
        names: dict[bool | None, Status] = {None: "inserted", False: "replaced", True: "unchanged"}
        return [names[same.get(id_)] for id_ in batch.ids]

    def _put(self, connection: Connection, index: Index, batch: Batch) -> dict[str, bool]:
        """Insert or replace; which were there, and whether they were the same."""
        refuse_batch(index.spec, batch)
        same: dict[str, bool] = {}
        step = max(1, _SENT // (4 * index.spec.dimension))
        for at in range(0, len(batch.ids), step):
            part = slice(at, at + step)
            metadata = batch.metadata[part]
            values = [
                batch.ids[part],
                wired_vectors(batch.vectors[part], self._vector_type),
                [None if one is None else one.decode() for one in metadata],
                [fields_of(one) for one in metadata],
            ]
            same |= dict(
                connection.execute(_PUT.format(table=index.table), values, binary=True).fetchall()
            )
        return same

    def get(self, name: str, ids: Sequence[str]) -> Batch:
        def work(connection: Connection, index: Index) -> Batch:
            rows = connection.execute(
                _GET.format(table=index.table), [_fit(ids)], binary=True
            ).fetchall()
            found = {row[0]: row for row in rows}
            return batch_of([found[id_] for id_ in ids if id_ in found], index.spec.dimension)

        return self._read(name, work)

    def delete(self, name: str, ids: Sequence[str]) -> list[bool]:
        with self._pool.writing() as connection:
            index = find(connection, self._schema, name, lock=True)
            rows = connection.execute(
                _DELETE.format(table=index.table), [_fit(ids)], binary=True
            ).fetchall()
        gone = {id_ for (id_,) in rows}
        return [id_ in gone for id_ in ids]

    def delete_matching(self, name: str, filter_: Filter) -> int:
        where, values = condition(filter_)
        with self._pool.writing() as connection:
            index = find(connection, self._schema, name, lock=True)
            return connection.execute(
                _DELETE_MATCHING.format(table=index.table, where=where), values
            ).rowcount

    def ids(self, name: str) -> list[str]:
        def work(connection: Connection, index: Index) -> list[str]:
            rows = _streamed(connection, _IDS.format(table=index.table), 10_000)
            return [id_ for some in rows for (id_,) in some]

        return self._read(name, work)

    def count(self, name: str, filter_: Filter | None) -> int:
        return self._read(name, lambda connection, index: _count(connection, index, filter_))

    # ------------------------------------------------------------ searching and merging

    def search(
        self,
        name: str,
        queries: Floats,
        k: int,
        filter_: Filter | None,
        ef: int | None,
        include: frozenset[Include],
    ) -> list[Hits]:
        def near(connection: Connection, index: Index) -> list[Hits]:
            refuse_dimension(index.spec, queries)
            return search(connection, index, queries, k, filter_, ef, include, self._options)

        return self._read(name, near)

    def merge(
        self, src: str, dest: str, *, clear_source: bool, on_conflict: OnConflict
    ) -> MergeResult:
        with self._pool.writing() as connection:
            return merge(
                connection,
                self._schema,
                src,
                dest,
                clear_source=clear_source,
                on_conflict=on_conflict,
            )

    # --------------------------------------------------------------- whole indexes, life

    @contextmanager
    def export(self, name: str) -> Iterator[Export]:
        stack, connection, index, total = self._opened(name)
        dimension = index.spec.dimension
        size = max(1, min(_ROWS, _SENT // (4 * dimension)))
        with stack:
            rows = _streamed(connection, _ALL.format(table=index.table), size)
            with closing(rows):  # before the connection goes to somebody else
                yield Export(index.spec, total, (batch_of(some, dimension) for some in rows))

    def _opened(self, name: str) -> tuple[ExitStack, Connection, Index, int]:
        """One state of an index with its count, and what ends it. Once the table has been counted
        nobody can remove it."""
        for left in range(_TRIES - 1, -1, -1):
            try:
                with ExitStack() as stack:
                    connection = stack.enter_context(self._pool.reading())
                    index = find(connection, self._schema, name)
                    total = _count(connection, index, None)
                    return stack.pop_all(), connection, index, total
            except Moved:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def load(self, spec: IndexSpec, batches: Iterable[Batch], *, replace: bool) -> int:
        _check_dimension(spec)
        with self._pool.writing() as connection:
            if not replace and look(connection, self._schema, spec.name):
                raise index_exists(spec.name)
            # Until the last step no name leads to the new table, and nobody waits for it.
            new = new_table(connection, self._schema, spec)
            for batch in batches:
                for id_ in self._put(connection, new, batch):
                    raise id_twice(id_)
            make_searchable(connection, new)
            while not enter(connection, new):
                there = look(connection, self._schema, spec.name, lock=True)
                if there is not None and not replace:
                    raise index_exists(spec.name)
                if there is not None:
                    take_over(connection, there, new)
                    break
            total = _count(connection, new, None)
        sweep(self._pool)
        return total

    def health(self) -> Health:
        try:
            with self._pool.connection() as connection:
                row = connection.execute("SHOW transaction_read_only").fetchone()
        except VectorError as error:
            return Health(False, str(error))
        if row == ("off",):
            return Health(True)
        return Health(False, "the database takes no writes: it is a standby, or set to read only")

    def close(self) -> None:
        self._pool.close()

    def _read(self, name: str, work: Callable[[Connection, Index], Answer]) -> Answer:
        """Work on one state of an index. Where the index is replaced while it is looked up, it is
        looked up again."""
        for left in range(_TRIES - 1, -1, -1):
            try:
                with self._pool.reading() as connection:
                    return work(connection, find(connection, self._schema, name))
            except Moved:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")


def _check_dimension(spec: IndexSpec) -> None:
    if spec.dimension > MOST_DIMENSIONS:
        raise VectorLimitError(
            [("dimension", f"is {spec.dimension:,}; pgvector has at most {MOST_DIMENSIONS:,}")]
        )


def _fit(ids: Sequence[str]) -> list[str]:
    """Those of the ids that a text of the database can be; no item has another."""
    return [id_ for id_ in ids if not _UNFIT.search(id_)]


def _count(connection: Connection, index: Index, filter_: Filter | None) -> int:
    where, values = condition(filter_)
    row = connection.execute(
        _COUNT.format(table=index.table, where=where), values, binary=True
    ).fetchone()
    assert row is not None
    return int(row[0])


def _streamed(connection: Connection, query: sql.Composed, size: int) -> Rows:
    """The rows of a query in lists of up to ``size``, by a cursor that the server holds."""
    with ServerCursor(connection, "stream") as cursor:
        cursor.execute(query, binary=True)
        while rows := cursor.fetchmany(size):
            yield rows
