"""Keys of rows for a query, exactly: from the vectors as the user gave them, on this thread.

A *key* is smaller the nearer a row is: the squared distance, or the product with its sign turned.
`scores_of` makes of keys what `distances.scores` defines. numpy's matrix product is avoided for one
query, since it wakes a team of threads for what takes microseconds; rows are read where they lie
(mapped from a segment's file), never gathered first.
"""

from __future__ import annotations

from typing import Final

import faiss
import numpy as np
import numpy.typing as npt

from stillhouse.vectors.values import Floats, Metric

Labels = npt.NDArray[np.int64]

_MANY: Final = 8
"""From so many queries on one matrix product is worth its threads."""
_AT_ONCE: Final = 1 << 22
"""Keys of one block of a search for many queries: 16 MiB."""

_pointer = faiss.swig_ptr


def keys_at(
    metric: Metric, queries: Floats, vectors: Floats, inverted: Floats, labels: Labels
) -> Floats:
    """Keys of the rows ``labels`` (n, c) for ``queries`` (n, d), as (n, c); infinite where a label
    is negative. All arrays are C-contiguous; under cosine queries have length 1."""
    keys = np.empty(labels.shape, np.float32)
    kernel = faiss.fvec_L2sqr_by_idx if metric == "l2" else faiss.fvec_inner_products_by_idx
    kernel(
        _pointer(keys),
        _pointer(queries),
        _pointer(vectors),
        _pointer(labels),
        queries.shape[1],
        labels.shape[0],
        labels.shape[1],
    )
    if metric == "cosine":
        # -1 is the last row here; minus infinity times its length stays what it is.
        keys *= inverted.take(labels)
    if metric != "l2":
        np.negative(keys, out=keys)
    return keys


def keys_of_all(metric: Metric, queries: Floats, vectors: Floats, inverted: Floats) -> Floats:
    """Keys of every row for ``queries`` (n, d), as (n, rows)."""
    count = len(vectors)
    keys = np.empty((len(queries), count), np.float32)
    if metric != "l2" and len(queries) >= _MANY:
        np.matmul(queries, vectors.T, out=keys)
    elif count:
        kernel = faiss.fvec_L2sqr_ny if metric == "l2" else faiss.fvec_inner_products_ny
        place = _pointer(vectors)
        for row, query in zip(keys, queries, strict=True):
            kernel(_pointer(row), _pointer(query), place, vectors.shape[1], count)
    if metric == "cosine":
        keys *= inverted
    if metric != "l2":
        np.negative(keys, out=keys)
    return keys


def queries_at_once(rows: int) -> int:
    """How many queries to ask of so many rows at a time, for bounded memory."""
    return max(1, _AT_ONCE // max(rows, 1))


def scores_of(metric: Metric, keys: Floats) -> Floats:
    """The scores that keys stand for."""
    if metric == "l2":
        distances: Floats = np.sqrt(keys)
        return distances
    scores: Floats = np.negative(keys)
    if metric == "cosine":
        np.minimum(scores, 1.0, out=scores)
        np.maximum(scores, -1.0, out=scores)
    return scores


def nearest_first(keys: Floats, k: int) -> npt.NDArray[np.intp]:
    """Columns of the k smallest keys of each row of (n, c), smallest first; among equals the
    first. k is at most c."""
    count = keys.shape[1]
    if count <= 4 * k or count <= 64:
        return keys.argsort(axis=1, kind="stable")[:, :k]
    order = np.empty((len(keys), k), np.intp)
    for at, row in enumerate(keys):
        worst = np.partition(row, k - 1)[k - 1]
        near = np.flatnonzero(row <= worst)
        order[at] = near[row[near].argsort(kind="stable")[:k]]
    return order
