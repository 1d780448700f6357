"""The HNSW graph of a segment, and flat scans of its codes: built once, then only searched.

A graph proposes; keys come from `exact`. Cosine is an inner product of unit vectors; the others are
taken as they are. (For inner products of vectors of different lengths the usual remedy, one more
dimension that makes all equally long, was tried and dropped: recall@10 fell to 0.41 on lengths
spread log-normally, where faiss' own graph over inner products has 0.99.)

Codes are 8-bit by default: measured fastest at equal recall, and a quarter of the memory. For
inner products they are whole numbers on one scale for all dimensions, which are multiplied as such:
the order of products depends on no scale, so queries get their own and nothing of either is kept. A
query of which they cannot tell the answer (`wholes`) is given none, and its rows are scanned. Else,
or where that is too coarse, each dimension has its range. Where codes cannot tell neighbours apart
(a few rows of another magnitude stretch the range), the next finer ones are taken; and where rows
are hard to find, the segment gets a wider beam.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stillhouse.errors import UsageError, VectorDamagedError
from stillhouse.vectors.values import Floats, Metric

try:
    import faiss
except ImportError:  # pragma: no cover – depends on what is installed
    raise UsageError(
        "vector indexes in a folder need faiss",
        way_out="Install it: pip install 'stillhouse[vectors]'.",
    ) from None

from stillhouse.vectors.exact import keys_at, keys_of_all
from stillhouse.vectors.wholes import Told, Wholes

Codes = Literal["int8", "fp16", "float32"]
Labels = npt.NDArray[np.int64]

LINKS: Final = 24
"""Links a node has on each upper layer; twice as many on the lowest (M of the HNSW paper). Beside
16 with a beam of 100, this is built in 1.3 times the time, takes 64 bytes more a row, and answers
a third to a half more queries at equal recall (real embeddings of 384 dimensions)."""
BUILD_BEAM: Final = 150
"""Candidates looked at when a node is linked (efConstruction)."""
BEAM: Final = 64
"""Candidates that a search keeps (efSearch), when neither the caller nor the segment says more."""
_WIDEST: Final = 1_024
"""A graph that needs more is not searched: looking at every row is about as fast, and exact."""
_CHUNK: Final = 2_048
_SAMPLED: Final = 1_000
"""Rows whose codes tell how codes vary."""
_MOST_FP16: Final = 65_000.0
"""Greater numbers are infinite in 16 bits, and their rows equally far from everything."""

_PROBES: Final = 48
_NEAR: Final = 10
_TAKE: Final = 18
_CODES_TELL: Final = 0.98
_GRAPH_FINDS: Final[dict[Metric, float]] = {"cosine": 0.96, "l2": 0.96, "ip": 0.98}
"""Under an inner product the nearest of a row are the longest ones, which are easier to find than
those of other queries: so more is asked."""

_threads = threading.local()


class _Kind(NamedTuple):
    """One way to code vectors: faiss' type of quantiser, None for the vectors themselves."""

    codes: Codes
    type: int | None


_Q: Final = faiss.ScalarQuantizer
_WHOLE: Final = _Kind("int8", _Q.QT_8bit_direct_signed)
_KINDS: Final = (
    _WHOLE,
    _Kind("int8", _Q.QT_8bit),
    _Kind("fp16", _Q.QT_fp16),
    _Kind("float32", None),
)
"""From the coarsest, which is the fastest, to the finest."""


class Built(NamedTuple):
    """A new graph: what codes it came to have, and what beam finds its rows."""

    graph: Graph
    codes: Codes
    beam: int


class Graph:
    """An HNSW graph over the rows of a segment, by position."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._storage = faiss.downcast_index(index.storage)
        self._wholes = _wholes_of(self._storage)
        self._parameters: dict[int, Any] = {}
        self.rows = int(index.ntotal)
        self.code_bytes = int(self._storage.code_size)

    @classmethod
    def from_bytes(cls, data: npt.NDArray[np.uint8]) -> Graph:
        """A graph as `to_bytes` gave it. Only for bytes whose checksum holds. Raises
        `VectorDamagedError` when this version of faiss cannot read it."""
        try:
            return cls(faiss.deserialize_index(data))
        except RuntimeError as error:
            raise VectorDamagedError("its graph cannot be read") from error

    def to_bytes(self) -> npt.NDArray[np.uint8]:
        """The graph with its codes, in faiss' own format."""
        data: npt.NDArray[np.uint8] = faiss.serialize_index(self._index)
        return data

    def nearest(self, queries: Floats, count: int, beam: int) -> Labels:
        """Positions of about the ``count`` nearest rows for each query, as (n, count); -1 where
        fewer were found, and all of them for a query that the codes cannot tell. ``queries`` have
        length 1 under cosine. One query runs on this thread; several may use all cores."""
        parameters = self._parameters.get(beam)
        if parameters is None:
            parameters = self._parameters[beam] = faiss.SearchParametersHNSW(efSearch=beam)
        return _search(self._index, queries, count, parameters, self._wholes)

    def scan_of(self, positions: Labels) -> Scan:
        """The codes of some rows end to end, for `Scan.nearest`."""
        size = self.code_bytes
        codes = faiss.rev_swig_ptr(self._storage.codes.data(), self.rows * size)
        some = codes.reshape(self.rows, size).take(positions, axis=0)
        flat = _flat(self._storage)
        flat.add_sa_codes(some)
        return Scan(flat, self._wholes)


class Scan:
    """Codes of some rows, looked at one and all: 0.02 µs a row of 384 dimensions as whole numbers,
    0.04 µs else; reading the vectors takes four times that."""

    def __init__(self, index: Any, wholes: Wholes | None) -> None:
        self._index = index
        self._wholes = wholes

    def nearest(self, queries: Floats, count: int) -> Labels:
        """Places among those rows of about the ``count`` nearest, as `Graph.nearest`."""
        return _search(self._index, queries, count, None, self._wholes)


def _flat(like: Any) -> Any:
    """An empty flat index with the codes of another."""
    if not isinstance(like, faiss.IndexScalarQuantizer):
        return faiss.IndexFlat(like.d, like.metric_type)
    flat = faiss.IndexScalarQuantizer(like.d, like.sq.qtype, like.metric_type)
    flat.sq = like.sq
    flat.is_trained = True
    return flat


def _wholes_of(storage: Any) -> Wholes | None:
    """What the codes are as whole numbers; None where they are none."""
    if not isinstance(storage, faiss.IndexScalarQuantizer) or storage.sq.qtype != _WHOLE.type:
        return None
    rows = int(storage.ntotal)
    some = np.unique(np.linspace(0, rows - 1, min(_SAMPLED, rows)).astype(np.int64))
    return Wholes(storage.reconstruct_batch(some) if rows else np.zeros((0, storage.d), np.float32))


def _search(
    index: Any, queries: Floats, count: int, parameters: Any, wholes: Wholes | None
) -> Labels:
    set_threads(1 if len(queries) == 1 else cores())
    told: Told = True
    if wholes is not None:
        queries, told = wholes.asked(queries)
    distances = np.empty((len(queries), count), np.float32)
    labels = np.empty((len(queries), count), np.int64)
    # `search` of the Python class checks and allocates again what is right already.
    index.search_c(
        len(queries),
        faiss.swig_ptr(queries),
        count,
        faiss.swig_ptr(distances),
        faiss.swig_ptr(labels),
        parameters,
    )
    if told is not True:
        labels[~np.asarray(told)] = -1
    return labels


def set_threads(threads: int) -> None:
    """How many threads faiss may use for what this thread asks of it."""
    if getattr(_threads, "count", 0) != threads:
        faiss.omp_set_num_threads(threads)
        _threads.count = threads


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# ------------------------------------------------------------------------------ building


def build(
    metric: Metric,
    codes: Codes,
    vectors: Floats,
    inverted: Floats,
    stopped: Callable[[], bool],
    threads: int = 1,
) -> Built | None:
    """A graph over ``vectors`` (n, d) as the user gave them, which may be mapped: they are read
    in order, in blocks. None when ``stopped`` says so meanwhile."""
    set_threads(threads)
    probes = _probes(metric, vectors, inverted)
    coder = _coder(metric, codes, vectors, probes)
    index = coder.empty_graph()
    for block in _blocks(metric, vectors):
        if stopped():
            return None
        index.add(coder.ready(block))
    set_threads(1)
    graph = Graph(index)
    return Built(graph, coder.kind.codes, _beam(graph, probes))


class _Probes(NamedTuple):
    """Some rows as queries, where they stand among ``vectors``, and for each the key of the
    farthest of its nearest rows, itself left out: what is no farther was found rightly."""

    metric: Metric
    vectors: Floats
    inverted: Floats
    queries: Floats
    at: Labels
    nearest: int
    farthest: Floats


def _probes(metric: Metric, vectors: Floats, inverted: Floats) -> _Probes:
    rows = len(vectors)
    at = np.unique(np.linspace(0, rows - 1, min(_PROBES, rows)).astype(np.int64))
    queries = _ready(metric, vectors[at])
    count = min(_NEAR, rows - 1)
    farthest = np.full(len(at), np.inf, np.float32)
    for row, (query, own) in enumerate(zip(queries, at, strict=True) if count else ()):
        keys = keys_of_all(metric, query[None], vectors, inverted)[0]
        keys[own] = np.inf
        farthest[row] = np.partition(keys, count - 1)[count - 1]
    # Equal rows are equally right, whichever is found; their keys may differ in the last bits.
    farthest += np.float32(1e-5) * np.abs(farthest)
    return _Probes(metric, vectors, inverted, queries, at, count, farthest)


def _recall(probes: _Probes, found: Labels) -> float:
    """The share of the nearest rows that is among ``found`` (n, c)."""
    if not probes.nearest:
        return 1.0
    keys = keys_at(
        probes.metric, probes.queries, probes.vectors, probes.inverted, np.ascontiguousarray(found)
    )
    near = (keys <= probes.farthest[:, None]) & (found != probes.at[:, None])
    return float(np.minimum(near.sum(axis=1), probes.nearest).mean()) / probes.nearest


class _Coder:
    """How the vectors of a segment are coded, as `_ready` gives them: dimensions from ``low`` to
    ``high``."""

    def __init__(self, kind: _Kind, metric: Metric, low: Floats, high: Floats) -> None:
        self.kind = kind
        self._dimension = len(low)
        self._metric = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
        self._range = np.stack([low, high])
        greatest = float(np.abs(self._range).max())
        self._scale = np.float32(127.0 / greatest if greatest > 1e-30 else 0.0)
        self.fits = kind.codes != "fp16" or greatest < _MOST_FP16

    def ready(self, vectors: Floats) -> Floats:
        """Vectors as the quantiser takes them."""
        return np.rint(vectors * self._scale) if self.kind == _WHOLE else vectors

    def empty_graph(self) -> Any:
        """A graph that takes them."""
        type_, dimension = self.kind.type, self._dimension
        if type_ is None:
            index = faiss.IndexHNSWFlat(dimension, LINKS, self._metric)
        else:
            index = faiss.IndexHNSWSQ(dimension, type_, LINKS, self._metric)
        index.hnsw.efConstruction = BUILD_BEAM
        if not index.is_trained:
            # The quantiser learns each dimension's range, and nothing else.
            index.train(self._range)
        return index

    def tells(self, probes: _Probes) -> bool:
        """Whether the nearest by codes hold the nearest. Codes of one block are there at a time."""
        graph = self.empty_graph()  # whose storage ends with it
        flat = _flat(faiss.downcast_index(graph.storage))
        if not self.fits:
            return False
        queries = probes.queries
        told: Told = True
        if self.kind == _WHOLE:
            queries, told = self._wholes(probes).asked(queries)
        best = np.zeros((len(queries), 0), np.float32)
        places = np.zeros((len(queries), 0), np.int64)
        start = 0
        for block in _blocks(probes.metric, probes.vectors):
            flat.reset()
            flat.add(self.ready(block))
            found, at = flat.search(queries, min(_TAKE + 1, len(block)))
            best = np.concatenate([best, found if probes.metric == "l2" else -found], axis=1)
            places = np.concatenate([places, np.where(at < 0, -1, at + start)], axis=1)
            order = best.argsort(axis=1, kind="stable")[:, : _TAKE + 1]
            best = np.take_along_axis(best, order, 1)
            places = np.take_along_axis(places, order, 1)
            start += len(block)
        return bool(np.all(told)) and _recall(probes, places) >= _CODES_TELL

    def _wholes(self, probes: _Probes) -> Wholes:
        rows = len(probes.vectors)
        some = np.unique(np.linspace(0, rows - 1, min(_SAMPLED, rows)).astype(np.int64))
        return Wholes(self.ready(_ready(probes.metric, probes.vectors[some])))


def _coder(metric: Metric, codes: Codes, vectors: Floats, probes: _Probes) -> _Coder:
    """The coarsest codes, from ``codes`` on, that tell neighbours apart."""
    low, high = _range(metric, vectors)
    first = [kind.codes for kind in _KINDS].index(codes)
    kinds = [kind for kind in _KINDS[first:] if kind != _WHOLE or metric != "l2"]
    for kind in kinds[:-1]:
        coder = _Coder(kind, metric, low, high)
        if coder.tells(probes):
            return coder
    return _Coder(kinds[-1], metric, low, high)


def _beam(graph: Graph, probes: _Probes) -> int:
    """The beam that finds the probes' neighbours; that of all rows, which is no search of a graph
    any more, where none does."""
    beam = BEAM
    while beam < graph.rows:
        found = graph.nearest(probes.queries, min(_TAKE + 1, graph.rows), beam)
        if _recall(probes, found) >= _GRAPH_FINDS[probes.metric]:
            return beam
        beam = beam * 3 // 2 if beam < _WIDEST else graph.rows
    return max(beam, BEAM)


def _blocks(metric: Metric, vectors: Floats) -> Iterator[Floats]:
    for start in range(0, len(vectors), _CHUNK):
        yield _ready(metric, vectors[start : start + _CHUNK])


def _ready(metric: Metric, vectors: Floats) -> Floats:
    if metric == "cosine":
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors, np.float32)


def _range(metric: Metric, vectors: Floats) -> tuple[Floats, Floats]:
    low = np.full(vectors.shape[1], np.inf, np.float32)
    high = -low
    for block in _blocks(metric, vectors):
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
    return low, high
