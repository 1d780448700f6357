"""Searching in Milvus. Milvus finds what is near; what matches and what it scores is told here,
by `filters.matches` and `distances`, so that the answers are those of every other backend.

- few items, or more hits asked for than Milvus gives: every match is compared, in one pass;
- no filter: the HNSW index;
- a filter: the HNSW index for several times k, of which those that match are taken. Where that
  leaves too few, every item's metadata is looked at and every match is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import numpy as np

from stillhouse.vectors.checks import decoded
from stillhouse.vectors.distances import better_first, scores
from stillhouse.vectors.filters import Filter, matches
from stillhouse.vectors.milvus_calls import Calls, Row, batch_of, chunk_rows, metadata_of
from stillhouse.vectors.milvus_registry import Index
from stillhouse.vectors.values import Batch, Floats, Hits, Include, Metric

MOST_HITS: Final = 16_384
"""What one search of Milvus gives at most."""
_DEEPER: Final = 10
"""How many times k are looked at for a filter."""
_LEAST: Final = 500
_AT_ONCE: Final = 1_000
"""How many items' metadata are read at once: up to 64 MB, of 100 that Milvus gives."""
_FIELDS: Final = ["id", "metadata", "vector"]


def matching(calls: Calls, index: Index, filter_: Filter) -> list[str]:
    """The primary keys of what a filter matches, by looking at every item."""
    return [
        row["pk"]
        for rows in calls.scan(index.collection, ["metadata"], _AT_ONCE)
        for row in rows
        if matches(filter_, decoded(metadata_of(row)))
    ]


def every(calls: Calls, index: Index, keys: list[str] | None = None) -> Iterator[Batch]:
    """All items, or those of the keys, in batches of no particular order."""
    dimension = index.spec.dimension
    size = chunk_rows(dimension)
    if keys is None:
        for rows in calls.scan(index.collection, _FIELDS, size):
            yield batch_of(rows, dimension)
        return
    for at in range(0, len(keys), size):
        found = calls.rows(index.collection, keys[at : at + size], _FIELDS)
        yield batch_of(list(found.values()), dimension)


def search(
    calls: Calls,
    index: Index,
    queries: Floats,
    k: int,
    filter_: Filter | None,
    ef: int | None,
    include: frozenset[Include],
) -> list[Hits]:
    """See `Backend.search`; nobody writes to the index meanwhile."""
    metric = index.spec.metric
    total = calls.count(index.collection)
    best: list[Batch | None] = [None] * len(queries)
    if total > max(calls.options.scanned_items, k) and k <= MOST_HITS:
        width = ef or calls.options.ef
        best = [_near(calls, index, query, k, filter_, width) for query in queries]
    left = [at for at, found in enumerate(best) if found is None]
    if left:
        keys = None if filter_ is None else matching(calls, index, filter_)
        compared = _compared(metric, queries[left], k, every(calls, index, keys))
        for at, found in zip(left, compared, strict=True):
            best[at] = found
    return [
        _hits(metric, query, k, found, include)
        for query, found in zip(queries, best, strict=True)
        if found is not None
    ]


def _near(
    calls: Calls, index: Index, query: Floats, k: int, filter_: Filter | None, ef: int
) -> Batch | None:
    """The k nearest by the HNSW index; None where it did not give as many that match."""
    dimension = index.spec.dimension
    if filter_ is None and k <= chunk_rows(dimension):
        rows = calls.near(index.collection, query, k, ef, _FIELDS)
        return batch_of(rows, dimension) if len(rows) >= k else None
    depth = k if filter_ is None else min(MOST_HITS, max(_LEAST, _DEEPER * k))
    # Of many only the keys: with their metadata the answer could be more than Milvus gives.
    few = filter_ is not None and depth <= _AT_ONCE
    rows = calls.near(index.collection, query, depth, ef, ["metadata"] if few else [])
    found = iter(rows) if filter_ is None else _those_that_match(calls, index, rows, filter_)
    keys = [row["pk"] for row in islice(found, k)]
    return _joined(*every(calls, index, keys)) if len(keys) == k else None


def _those_that_match(
    calls: Calls, index: Index, rows: list[Row], filter_: Filter
) -> Iterator[Row]:
    """Of those rows, in their order. Where they came without metadata it is fetched in pieces, of
    no more of them than are asked for."""
    for at in range(0, len(rows), _AT_ONCE):
        part = rows[at : at + _AT_ONCE]
        if "metadata" not in part[0]:
            there = calls.rows(index.collection, [row["pk"] for row in part], ["metadata"])
            part = [there[row["pk"]] for row in part if row["pk"] in there]
        yield from (row for row in part if matches(filter_, decoded(metadata_of(row))))


def _compared(metric: Metric, queries: Floats, k: int, batches: Iterable[Batch]) -> list[Batch]:
    """For each query the k nearest of all items, in one pass over them."""
    nothing = Batch([], np.empty((0, queries.shape[1]), np.float32), [])
    best = [nothing] * len(queries)
    for batch in batches:
        best = [
            _nearest(metric, query, k, _joined(kept, batch))
            for query, kept in zip(queries, best, strict=True)
        ]
    return best


def _joined(*batches: Batch) -> Batch:
    return Batch(
        [id_ for batch in batches for id_ in batch.ids],
        np.concatenate([batch.vectors for batch in batches]),
        [metadata for batch in batches for metadata in batch.metadata],
    )


def _nearest(metric: Metric, query: Floats, k: int, items: Batch) -> Batch:
    """The k nearest, nearest first; of what is equally near, the lesser ids."""
    by_id = sorted(range(len(items.ids)), key=items.ids.__getitem__)
    order = np.array(by_id, np.intp)
    near = scores(metric, query, items.vectors)
    order = order[better_first(metric, near[order])[:k]]
    return Batch(
        [items.ids[at] for at in order], items.vectors[order], [items.metadata[at] for at in order]
    )


def _hits(metric: Metric, query: Floats, k: int, found: Batch, include: frozenset[Include]) -> Hits:
    nearest = _nearest(metric, query, k, found)
    told = scores(metric, query, nearest.vectors)
    # Of fewer rows the products may differ in the last digit; the order is that of what is told.
    order = better_first(metric, told)
    return Hits(
        [nearest.ids[at] for at in order],
        told[order],
        [nearest.metadata[at] for at in order] if "metadata" in include else None,
        nearest.vectors[order] if "vector" in include else None,
    )
