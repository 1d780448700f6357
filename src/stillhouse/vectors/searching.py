"""A search of one view: every part is asked for its nearest, and the best of all come back.

Rows are ranked by a *key* that is smaller the nearer they are: the distance, or the score with its
sign turned. Keys always come from the vectors as the user gave them; a graph only proposes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stillhouse.vectors.distances import scores_of
from stillhouse.vectors.filters import Filter
from stillhouse.vectors.graph import prepare_queries
from stillhouse.vectors.planner import EXACT, plan
from stillhouse.vectors.segment import Chosen, Segment
from stillhouse.vectors.values import Floats, Hits, Include, Metric
from stillhouse.vectors.view import Part, View

_AT_ONCE: Final = 1 << 22
"""Numbers of one block of an exact search: 16 MiB."""


class Asked(NamedTuple):
    """A search: ``queries`` (n, d) are of length 1 under cosine."""

    metric: Metric
    queries: Floats
    k: int
    filter_: Filter | None
    ef: int | None


class Found(NamedTuple):
    """What one part has for one query: positions and their keys, nearest first."""

    part: Part
    positions: npt.NDArray[np.int64]
    keys: Floats


def search_view(
    view: View,
    metric: Metric,
    queries: Floats,
    k: int,
    filter_: Filter | None,
    ef: int | None,
    include: frozenset[Include],
) -> list[Hits]:
    """For each row of ``queries`` (n, d) its min(k, matches) nearest rows of the view."""
    if metric == "cosine":
        queries = queries / np.sqrt(np.einsum("ij,ij->i", queries, queries))[:, None]
    asked = Asked(metric, queries, k, filter_, ef)
    each = [_nearest(part, asked) for part in view.parts]
    return [_hits([found[at] for found in each], metric, k, include) for at in range(len(queries))]


def _nearest(part: Part, asked: Asked) -> list[Found]:
    """The nearest rows of a part, for each query."""
    rows = part.rows
    if not isinstance(rows, Segment):
        chosen = None if asked.filter_ is None else rows.select(asked.filter_, part.length)
        if chosen is not None and part.dead is not None:
            chosen = chosen[~part.dead[chosen]]
        return list(_exactly(part, asked, chosen))
    picked = None if asked.filter_ is None else rows.choose(asked.filter_, part.dead)
    matching = part.live_count if picked is None else len(picked.positions)
    way = plan(part.length, matching, asked.k, asked.ef)
    if way == EXACT:
        return list(_exactly(part, asked, None if picked is None else picked.positions))
    proposed = _proposed(part, rows, asked, way.beam, way.take, picked)
    found: list[Found] = []
    for at, labels in enumerate(proposed):
        if len(labels) < (asked.k if picked is None else way.take):
            alone = asked._replace(queries=asked.queries[at : at + 1])
            positions = None if picked is None else picked.positions
            found += _exactly(part, alone, positions)
        else:
            query = asked.queries[at]
            found.append(
                Found(part, *_best(labels, _keys(part, asked.metric, query, labels), asked.k))
            )
    return found


def _proposed(
    part: Part, rows: Segment, asked: Asked, beam: int, take: int, picked: Chosen | None
) -> Iterator[npt.NDArray[np.int64]]:
    """Rows that the graph takes for near, by query; those that live and match alone."""
    ready = prepare_queries(asked.metric, asked.queries)
    if picked is not None:
        labels = rows.graph.nearest(ready, take, beam, picked.bitmap)
    else:
        if part.dead is not None:
            take = min(beam, take * part.length // max(part.live_count, 1) + 1)
        labels = rows.graph.nearest(ready, take, beam)
    for row in labels:
        if row[-1] < 0:
            row = row[row >= 0]
        yield row if picked is not None or part.dead is None else row[~part.dead[row]]


def _keys(part: Part, metric: Metric, query: Floats, positions: npt.NDArray[np.integer]) -> Floats:
    rows = part.rows
    inverted = rows.inverted.take(positions) if metric == "cosine" else rows.inverted
    found = scores_of(metric, query, rows.vectors.take(positions, axis=0), inverted)
    return found if metric == "l2" else np.negative(found, out=found)


def _exactly(part: Part, asked: Asked, chosen: npt.NDArray[np.integer] | None) -> Iterator[Found]:
    """The nearest of all rows that live, or of the chosen ones, by looking at each."""
    rows, metric = part.rows, asked.metric
    if chosen is None and part.dead_count * 2 > part.length:
        chosen = part.live()
    if chosen is None:
        vectors = rows.vectors[: part.length]
        inverted = rows.inverted[: part.length]
    else:
        # Gathered once for all queries, block by block.
        vectors = rows.vectors
        inverted = rows.inverted
    count = part.length if chosen is None else len(chosen)
    keys = np.empty((len(asked.queries), count), np.float32)
    step = max(1, _AT_ONCE // vectors.shape[1])
    for start in range(0, count, step):
        stop = min(count, start + step)
        if chosen is None:
            some, lengths = vectors[start:stop], inverted[start:stop]
        else:
            at = chosen[start:stop]
            some = vectors.take(at, axis=0)
            lengths = inverted.take(at) if metric == "cosine" else inverted
        _fill(keys[:, start:stop], metric, asked.queries, some, lengths)
    if chosen is None and part.dead is not None:
        keys[:, part.dead] = np.inf
    for row in keys:
        positions, best = _best(None, row, min(asked.k, part.live_count))
        if chosen is not None:
            positions = chosen[positions].astype(np.int64)
        yield Found(part, positions, best)


def _fill(keys: Floats, metric: Metric, queries: Floats, vectors: Floats, inverted: Floats) -> None:
    """Keys of some rows for all queries."""
    if metric == "l2" or len(queries) == 1:
        for row, query in zip(keys, queries, strict=True):
            row[:] = scores_of(metric, query, vectors, inverted)
    else:
        np.matmul(queries, vectors.T, out=keys)
        if metric == "cosine":
            keys *= inverted
            np.clip(keys, -1.0, 1.0, out=keys)
    if metric != "l2":
        np.negative(keys, out=keys)


def _best(
    labels: npt.NDArray[np.int64] | None, keys: Floats, k: int
) -> tuple[npt.NDArray[np.int64], Floats]:
    """The k smallest keys with their positions, smallest first; among equals by position."""
    if labels is not None:
        order = np.lexsort((labels, keys))[:k]
        return labels[order], keys[order]
    if k >= len(keys):
        order = np.argsort(keys, kind="stable")[:k]
    else:
        worst = np.partition(keys, k - 1)[k - 1] if k else 0.0
        near = np.flatnonzero(keys <= worst)
        order = near[np.argsort(keys[near], kind="stable")[:k]]
    return order, keys[order]


def _hits(found: list[Found], metric: Metric, k: int, include: frozenset[Include]) -> Hits:
    """The best of all parts, as columns."""
    if len(found) == 1:
        part, positions, keys = found[0]
        return _columns([(part, positions)], [], keys[:k], metric, include)
    if not found:
        return Hits([], np.zeros(0, np.float32), *_nothing(include))
    keys = np.concatenate([one.keys for one in found])
    seqs = np.concatenate([one.part.rows.seqs[one.positions] for one in found])
    order = np.lexsort((seqs, keys))[:k]
    owner = np.repeat(np.arange(len(found)), [len(one.positions) for one in found])[order]
    positions = np.concatenate([one.positions for one in found])[order]
    # Each part tells of its rows at once; `back` puts them into the order of nearness again.
    by_part = [(one.part, positions[owner == at]) for at, one in enumerate(found)]
    back = np.argsort(np.argsort(owner, kind="stable"), kind="stable").tolist()
    return _columns(by_part, back, keys[order], metric, include)


def _columns(
    by_part: list[tuple[Part, npt.NDArray[np.int64]]],
    back: list[int],
    keys: Floats,
    metric: Metric,
    include: frozenset[Include],
) -> Hits:
    ids: list[str] = []
    metadata: list[bytes | None] = []
    vectors = []
    for part, positions in by_part:
        at = positions.tolist()
        ids += part.rows.ids_at(at)
        if "metadata" in include:
            metadata += part.rows.metadata_at(at)
        if "vector" in include:
            vectors.append(part.rows.vectors[positions])
    scores = keys if metric == "l2" else -keys
    told = np.concatenate(vectors) if vectors else None
    if back:
        ids = [ids[at] for at in back]
        metadata = [metadata[at] for at in back] if metadata else metadata
        told = told[back] if told is not None else None
    return Hits(ids, scores, metadata if "metadata" in include else None, told)


def _nothing(include: frozenset[Include]) -> tuple[list[bytes | None] | None, Floats | None]:
    return (
        [] if "metadata" in include else None,
        np.zeros((0, 0), np.float32) if "vector" in include else None,
    )
