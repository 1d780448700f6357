"""Searching in PostgreSQL: three ways, by how many items match.

- few: they are fetched once and scored here, by the definition (`distances`);
- not many, or a dimension that HNSW has no index for: the database compares every match;
- many: the HNSW index, scanned on (`hnsw.iterative_scan`) until k matches are found; where that
  ends too soon, the database compares every match after all.

How many match is counted in a small table and estimated from a sample of a large one: a wrong
estimate costs time and nothing else. So min(k, matches) hits come back whatever the filter, and
recall does not fall as it narrows. Scores are always counted here, from the vectors as they are
kept.
"""

from __future__ import annotations

from typing import Literal

from psycopg import sql

from stillhouse.vectors.distances import better_first, scores
from stillhouse.vectors.filters import Filter
from stillhouse.vectors.pg_filters import Condition, condition
from stillhouse.vectors.pg_pool import Connection, PgOptions
from stillhouse.vectors.pg_schema import HNSW_DIMENSIONS, OPERATORS, Index
from stillhouse.vectors.pg_wire import vectors_of, wired_vector
from stillhouse.vectors.values import Batch, Floats, Hits, Include, Metric

_WIDEST = 1_000
"""The most that ``hnsw.ef_search`` takes."""
_SCANNED = 200_000
"""Tuples after which the HNSW scan gives up."""
_SAMPLED = 100
"""Blocks of a table that are looked at to tell how many match. A table of no more is counted."""

_FETCH = sql.SQL(
    "SELECT id, vector_send(vector), {metadata} FROM {table} WHERE {where} ORDER BY id"
)
# "0 +" keeps the HNSW index out of it: each match is compared.
_EXACT = sql.SQL(
    "SELECT id, vector_send(vector), {metadata} FROM (SELECT * FROM {table} WHERE {where}"
    " ORDER BY 0 + (vector {operator} %s::vector), id LIMIT {k}) AS near"
)
_NEAR = sql.SQL(
    "SELECT id, vector_send(vector), {metadata} FROM (SELECT * FROM {table} WHERE {where}"
    " ORDER BY vector {operator} %s::vector LIMIT {k}) AS near"
)
_BLOCKS = sql.SQL(
    "SELECT pg_relation_size({regclass}::regclass) / current_setting('block_size')::int8"
)
_SAMPLE = sql.SQL("SELECT count(*) FROM {table} TABLESAMPLE SYSTEM ({share}) WHERE {where}")


def search(
    connection: Connection,
    index: Index,
    queries: Floats,
    k: int,
    filter_: Filter | None,
    ef: int | None,
    include: frozenset[Include],
    options: PgOptions,
) -> list[Hits]:
    """See `Backend.search`; within a transaction that sees one state."""
    run = _Search(connection, index, k, condition(filter_), include)
    share = min(1.0, _SAMPLED / max(1, run.blocks()))
    counted = share == 1.0
    # A large table of which all matches needs no sample.
    matching = run.matching(share) if counted or filter_ is not None else None
    if counted and matching is not None and matching <= options.fetched_matches:
        found = run.rows(_FETCH, [])
        return [run.hits(found, query) for query in queries]
    few = options.exact_matches * max(1, k // 10)
    exact = matching is not None and matching <= few
    if exact or index.spec.dimension > HNSW_DIMENSIONS:
        return [run.hits(run.rows(_EXACT, [wired_vector(one)]), one) for one in queries]
    # A filter takes from the farther part of what each step of the scan finds, which is less sure.
    width = ef or (options.ef if filter_ is None else 2 * options.ef)
    _plan(connection, min(_WIDEST, width), "off")
    answers: list[Hits] = []
    for at, query in enumerate(queries):
        near = run.rows(_NEAR, [wired_vector(query)])
        if len(near.ids) < k:  # and so it would be with the other queries
            _plan(connection, _WIDEST, "on")
            left = queries[at:]
            return answers + [run.hits(run.rows(_EXACT, [wired_vector(one)]), one) for one in left]
        answers.append(run.hits(near, query))
    return answers


def _plan(connection: Connection, ef: int, scans: Literal["on", "off"]) -> None:
    """For this transaction. The planner knows little of what a filter on jsonb lets through, and
    would rather look at every match; without ``scans`` it takes the HNSW index."""
    connection.execute(
        "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true),"
        " set_config('hnsw.ef_search', %s, true), set_config('hnsw.max_scan_tuples', %s, true),"
        " set_config('hnsw.scan_mem_multiplier', '8', true),"
        " set_config('enable_seqscan', %s, true), set_config('enable_bitmapscan', %s, true)",
        [str(ef), str(_SCANNED), scans, scans],
    )


class _Search:
    """What all statements of one search have in common."""

    def __init__(
        self,
        connection: Connection,
        index: Index,
        k: int,
        where: Condition,
        include: frozenset[Include],
    ) -> None:
        self.k = k
        self._connection = connection
        self._spec = index.spec
        self._table = index.table
        self._include = include
        self._values = where[1]
        self._parts: dict[str, sql.Composable] = {
            "table": index.table,
            "where": where[0],
            "operator": sql.SQL(OPERATORS[index.spec.metric]),
            "metadata": sql.SQL("metadata" if "metadata" in include else "NULL::text"),
            "k": sql.Literal(k),
        }

    def blocks(self) -> int:
        """How large the table is."""
        name = self._table.as_string(self._connection)
        return self._number(_BLOCKS.format(regclass=sql.Literal(name)), [])

    def matching(self, share: float) -> float:
        """How many items match, counted over a share of the table from 0 to 1."""
        statement = _SAMPLE.format(**self._parts, share=sql.Literal(100.0 * share))
        return self._number(statement, self._values) / share

    def _number(self, statement: sql.Composed, values: list[object]) -> int:
        row = self._connection.execute(statement, values, binary=True).fetchone()
        assert row is not None
        return int(row[0])

    def rows(self, statement: sql.SQL, more: list[object]) -> Batch:
        """The items that a statement finds, by ascending id."""
        rows = self._connection.execute(
            statement.format(**self._parts), [*self._values, *more], binary=True
        ).fetchall()
        return batch_of(sorted(rows, key=lambda row: row[0]), self._spec.dimension)

    def hits(self, found: Batch, query: Floats) -> Hits:
        """The nearest of them, nearest first."""
        metric: Metric = self._spec.metric
        near = scores(metric, query, found.vectors)
        order = better_first(metric, near)[: self.k]
        return Hits(
            [found.ids[at] for at in order],
            near[order],
            [found.metadata[at] for at in order] if "metadata" in self._include else None,
            found.vectors[order] if "vector" in self._include else None,
        )


def batch_of(rows: list[tuple[str, bytes, str | None]], dimension: int) -> Batch:
    """Rows of id, sent vector and metadata, as columns."""
    return Batch(
        [row[0] for row in rows],
        vectors_of([row[1] for row in rows], dimension),
        [None if row[2] is None else row[2].encode() for row in rows],
    )
