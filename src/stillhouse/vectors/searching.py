"""A search of one view: every part is asked for its nearest, and the best of all come back.

Each part gives, for every query, exactly min(k, matches) of its rows with their exact keys (see
`exact`). A graph and codes only propose; where they propose too few, all rows that count are
looked at.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stillhouse.vectors.exact import (
    keys_at,
    keys_of_all,
    nearest_first,
    queries_at_once,
    scores_of,
)
from stillhouse.vectors.filters import Filter
from stillhouse.vectors.graph import BEAM, set_threads
from stillhouse.vectors.planner import Plan, plan, spare
from stillhouse.vectors.segment import Chosen, Dead, Segment
from stillhouse.vectors.tail import Tail
from stillhouse.vectors.values import Floats, Hits, Include, Metric
from stillhouse.vectors.view import Part, View

Positions = npt.NDArray[np.int64]

_FEW: Final = 256
"""So few keys are sorted as a whole: faster than to part the nearest from the others first."""


class Asked(NamedTuple):
    """A search: ``queries`` (n, d) are of length 1 under cosine."""

    metric: Metric
    queries: Floats
    k: int
    filter_: Filter | None
    ef: int | None


class Found(NamedTuple):
    """What one part has for each query: positions (n, c) and their keys, nearest first."""

    part: Part
    positions: Positions
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
        queries = _unit(queries)
    if len(queries) == 1:
        set_threads(1)
    asked = Asked(metric, queries, k, filter_, ef)
    found = [_nearest(part, asked) for part in view.parts]
    if len(found) == 1:
        return _of_one(found[0], asked, include)
    return _of_several(found, asked, include)


def _unit(queries: Floats) -> Floats:
    if len(queries) == 1:
        query = queries[0]
        return queries * np.float32(query.dot(query) ** -0.5)
    unit: Floats = queries / np.sqrt(np.einsum("ij,ij->i", queries, queries))[:, None]
    return unit


# -------------------------------------------------------------------------- one part


def _nearest(part: Part, asked: Asked) -> Found:
    """The nearest rows of a part for each query."""
    rows = part.rows
    if not isinstance(rows, Segment):
        if asked.filter_ is None and not part.dead_count:
            return _of_all(part, asked)
        return _of_some(part, asked, _in_tail(part, rows, asked.filter_))
    chosen: Chosen | None = None
    if asked.filter_ is not None:
        chosen = rows.choose(asked.filter_, part.dead)
    matching = part.live_count if chosen is None else len(chosen.positions)
    way = plan(part.length, matching, asked.k, asked.ef or max(rows.beam, BEAM))
    if way.beam:
        return _by_graph(part, rows, asked, way, chosen)
    if chosen is None and not part.dead_count:
        return _of_all(part, asked)
    return _of_chosen(part, asked, chosen or rows.choose(None, part.dead))


def _in_tail(part: Part, rows: Tail, filter_: Filter | None) -> Positions:
    if filter_ is None:
        return part.live()
    found = rows.select(filter_, part.length)
    if part.dead is not None:
        found = found[~part.dead[found]]
    return found.astype(np.int64)


def _by_graph(part: Part, rows: Segment, asked: Asked, way: Plan, chosen: Chosen | None) -> Found:
    """What the graph proposes, ranked; a query that it has too little for is answered by a scan."""
    step = queries_at_once(way.beam)
    if len(asked.queries) > step:
        blocks = [
            _by_graph(part, rows, asked._replace(queries=some), way, chosen)
            for some in np.split(asked.queries, range(step, len(asked.queries), step))
        ]
        return Found(part, *_stacked([(one.positions, one.keys) for one in blocks]))
    if chosen is None and part.dead is None:
        labels = rows.graph.nearest(asked.queries, way.take, way.beam)
        least = way.take
    else:
        labels = rows.graph.nearest(asked.queries, way.beam, way.beam)
        labels = _that_count(labels, part.dead, chosen)[:, : way.take]
        least = asked.k
    last = labels[:, least - 1]
    if last[0] >= 0 and (len(last) == 1 or bool((last >= 0).all())):
        return _ranked(part, asked, labels)
    short = np.flatnonzero(last < 0)
    chosen = chosen or rows.choose(None, part.dead)
    if len(short) == len(labels):
        return _of_chosen(part, asked, chosen)
    found = _ranked(part, asked, labels)
    again = _of_chosen(part, asked._replace(queries=asked.queries[short]), chosen)
    found.positions[short], found.keys[short] = again.positions, again.keys
    return found


def _that_count(labels: Positions, dead: Dead | None, chosen: Chosen | None) -> Positions:
    """Of each row of labels those that live and match, in their order, then -1. Where there is
    none already (-1, at the end) it stays so, whatever the last row is."""
    if chosen is not None:
        counts = chosen.allowed()[labels]
    else:
        assert dead is not None
        counts = ~dead[labels]
    if len(labels) == 1:
        found = labels[counts]
        some = np.full(labels.shape, -1, np.int64)
        some[0, : len(found)] = found
        return some
    order = np.argsort(~counts, axis=1, kind="stable")
    return np.where(np.take_along_axis(counts, order, 1), np.take_along_axis(labels, order, 1), -1)


def _of_chosen(part: Part, asked: Asked, chosen: Chosen) -> Found:
    """The nearest of some rows of a segment, by their codes where they are many; by the vectors of
    each for a query that codes do not tell."""
    take = spare(asked.k)
    count = len(chosen.positions)
    if count <= max(take, 2):
        return _of_some(part, asked, chosen.positions)
    labels = chosen.nearest(asked.queries, take)
    last = labels[:, -1]
    if last[0] >= 0 and (len(last) == 1 or bool((last >= 0).all())):
        return _ranked(part, asked, labels)
    short = np.flatnonzero(last < 0)
    if len(short) == len(labels):
        return _of_some(part, asked, chosen.positions)
    found = _ranked(part, asked, labels)
    exact = _of_some(part, asked._replace(queries=asked.queries[short]), chosen.positions)
    found.positions[short], found.keys[short] = exact.positions, exact.keys
    return found


def _ranked(part: Part, asked: Asked, labels: Positions) -> Found:
    """The k nearest of proposed rows (n, c); -1 is none. There are at least k for each query, or
    all that match."""
    # In the order of their numbers, so that what is equally near comes in that order. Whoever
    # proposed them made the array for this.
    labels = np.ascontiguousarray(labels)
    labels.sort(axis=1)
    rows = part.rows
    keys = keys_at(asked.metric, asked.queries, rows.vectors, rows.inverted, labels)
    return _first(part, labels, keys, asked.k)


def _first(part: Part, labels: Positions, keys: Floats, k: int) -> Found:
    if len(labels) == 1 and keys.shape[1] <= _FEW:
        # Most searches are this, and `take` takes a third of the time of what is below.
        order = keys[0].argsort(kind="stable")[:k]
        return Found(part, labels[0].take(order)[None], keys[0].take(order)[None])
    order = nearest_first(keys, min(k, keys.shape[1]))
    return Found(part, np.take_along_axis(labels, order, 1), np.take_along_axis(keys, order, 1))


def _of_some(part: Part, asked: Asked, positions: Positions) -> Found:
    """The nearest of some rows, by the vectors of each."""
    rows = part.rows
    if len(asked.queries) == 1:
        labels = np.ascontiguousarray(positions, np.int64).reshape(1, -1)
        keys = keys_at(asked.metric, asked.queries, rows.vectors, rows.inverted, labels)
        return _first(part, labels, keys, asked.k)
    step = queries_at_once(len(positions))
    found = []
    for start in range(0, len(asked.queries), step):
        queries = asked.queries[start : start + step]
        labels = np.ascontiguousarray(
            np.broadcast_to(positions, (len(queries), len(positions))), np.int64
        )
        keys = keys_at(asked.metric, queries, rows.vectors, rows.inverted, labels)
        order = nearest_first(keys, min(asked.k, len(positions)))
        found.append((positions[order], np.take_along_axis(keys, order, 1)))
    return Found(part, *_stacked(found))


def _of_all(part: Part, asked: Asked) -> Found:
    """The nearest of all rows of a part, of which none is dead, by the vectors of each."""
    rows = part.rows
    vectors = rows.vectors[: part.length]
    inverted = rows.inverted[: part.length]
    step = queries_at_once(part.length)
    found = []
    for start in range(0, len(asked.queries), step):
        some = asked._replace(queries=asked.queries[start : start + step])
        keys = keys_of_all(asked.metric, some.queries, vectors, inverted)
        order = nearest_first(keys, min(asked.k, part.length))
        # Keys of equal vectors are equal only from one kernel, and other parts use this one.
        best = _ranked(part, some, order.astype(np.int64, copy=False))
        found.append((best.positions, best.keys))
    return Found(part, *_stacked(found))


def _stacked(found: list[tuple[Positions, Floats]]) -> tuple[Positions, Floats]:
    if len(found) == 1:
        return found[0]
    return np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found])


# ------------------------------------------------------------------------- all parts


def _of_one(found: Found, asked: Asked, include: frozenset[Include]) -> list[Hits]:
    """Hits of a view of one part."""
    part, positions, keys = found
    rows = part.rows
    scores = scores_of(asked.metric, keys)
    hits = []
    for row, row_scores in zip(positions, scores, strict=True):
        at = row.tolist()
        hits.append(
            Hits(
                rows.ids_at(at),
                row_scores,
                rows.metadata_at(at) if "metadata" in include else None,
                rows.vectors[row] if "vector" in include else None,
            )
        )
    return hits


def _of_several(found: list[Found], asked: Asked, include: frozenset[Include]) -> list[Hits]:
    """Hits of a view of several parts, or of none."""
    count, dimension = asked.queries.shape
    if not found:
        return [
            Hits(
                [],
                np.zeros(0, np.float32),
                [] if "metadata" in include else None,
                np.zeros((0, dimension), np.float32) if "vector" in include else None,
            )
            for _ in range(count)
        ]
    # By number, so that what is equally near comes in that order, whatever part it is in.
    keys = np.concatenate([one.keys for one in found], axis=1)
    seqs = np.concatenate([one.part.rows.seqs[one.positions] for one in found], axis=1)
    order = np.lexsort((seqs, keys), axis=1)[:, : asked.k]
    owner = np.repeat(np.arange(len(found)), [one.keys.shape[1] for one in found])[order]
    positions = np.concatenate([one.positions for one in found], axis=1)
    positions = np.take_along_axis(positions, order, 1)
    scores = scores_of(asked.metric, np.take_along_axis(keys, order, 1))
    parts = [one.part for one in found]
    return [
        _gathered(parts, owner[at].tolist(), positions[at].tolist(), scores[at], include)
        for at in range(count)
    ]


def _gathered(
    parts: list[Part],
    owner: list[int],
    positions: list[int],
    scores: Floats,
    include: frozenset[Include],
) -> Hits:
    where = list(zip(owner, positions, strict=True))
    ids = [parts[mine].rows.ids_at((at,))[0] for mine, at in where]
    metadata: list[bytes | None] | None = None
    vectors: Floats | None = None
    if "metadata" in include:
        metadata = [parts[mine].rows.metadata_at((at,))[0] for mine, at in where]
    if "vector" in include:
        dimension = parts[0].rows.vectors.shape[1]
        vectors = np.empty((len(where), dimension), np.float32)
        for row, (mine, at) in enumerate(where):
            vectors[row] = parts[mine].rows.vectors[at]
    return Hits(ids, scores, metadata, vectors)
