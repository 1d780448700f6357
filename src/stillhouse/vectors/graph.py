"""The HNSW graph of a segment: built once, then only searched. The one module that knows faiss.

A graph finds candidates; scores come from `distances`. What the metrics become in it:

    cosine   unit vectors, inner product
    ip       one more dimension, sqrt(M² - |x|²) with M the longest length, and L2: then the nearest
             by L2 are those of the largest inner product (Bachrach et al. 2014, "Speeding up the
             Xbox recommender system using a Euclidean transformation for inner-product spaces")
    l2       as it is

Codes are 8-bit by default: measured fastest at equal recall, and a quarter of the memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from stillhouse.errors import UsageError
from stillhouse.vectors.values import Floats, Metric

try:
    import faiss
except ImportError:  # pragma: no cover – depends on what is installed
    raise UsageError(
        "vector indexes in a folder need faiss",
        way_out="Install it: pip install 'stillhouse[vectors]'.",
    ) from None

Codes = Literal["int8", "fp16", "float32"]
Labels = npt.NDArray[np.int64]

LINKS: Final = 16
"""Links a node has on each upper layer; twice as many on the lowest (M of the HNSW paper)."""
BUILD_BEAM: Final = 128
"""Candidates looked at when a node is linked (efConstruction)."""
_CHUNK: Final = 2_048

_threads = threading.local()


def prepare(metric: Metric, vectors: Floats, longest: float) -> Floats:
    """Vectors (n, d) as the graph holds them; ``longest`` is the greatest length there is."""
    if metric == "l2":
        return vectors
    if metric == "cosine":
        unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    last = np.sqrt(np.maximum(longest * longest - squares, 0.0)).astype(np.float32)
    return np.ascontiguousarray(np.column_stack([vectors, last]))


def prepare_queries(metric: Metric, queries: Floats) -> Floats:
    """Query vectors (n, d) for such a graph. Lengths of queries do not matter to the order but
    under l2, so they stay."""
    if metric != "ip":
        return queries
    return np.ascontiguousarray(
        np.column_stack([queries, np.zeros(len(queries), np.float32)]), np.float32
    )


class Graph:
    """An HNSW graph over the rows of a segment, by position."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._parameters: dict[int, Any] = {}
        self.rows = int(index.ntotal)

    @classmethod
    def build(
        cls,
        metric: Metric,
        codes: Codes,
        chunks: Callable[[], Iterable[Floats]],
        stopped: Callable[[], bool],
        threads: int = 1,
    ) -> Graph | None:
        """A graph over vectors as the user gave them, which ``chunks`` gives anew each time it is
        called, in rows of any number. None when ``stopped`` says so meanwhile."""
        low = high = np.zeros(0, np.float32)
        longest = 0.0
        if metric == "ip":
            longest = max(float(np.linalg.norm(one, axis=1).max()) for one in chunks())
        for one in chunks():
            ready = prepare(metric, one, longest)
            low = np.minimum(low, ready.min(axis=0)) if low.size else ready.min(axis=0)
            high = np.maximum(high, ready.max(axis=0)) if high.size else ready.max(axis=0)
        index = _empty(metric, codes, low.shape[0])
        if codes != "float32":
            # The quantiser learns each dimension's range, and nothing else.
            index.train(np.stack([low, high]))
        faiss.omp_set_num_threads(threads)
        _threads.count = threads
        for one in chunks():
            ready = prepare(metric, one, longest)
            for at in range(0, len(ready), _CHUNK):
                if stopped():
                    return None
                index.add(np.ascontiguousarray(ready[at : at + _CHUNK]))
        return cls(index)

    @classmethod
    def from_bytes(cls, data: npt.NDArray[np.uint8]) -> Graph:
        """A graph as `to_bytes` gave it. Only for bytes whose checksum holds."""
        return cls(faiss.deserialize_index(data))

    def to_bytes(self) -> npt.NDArray[np.uint8]:
        """The graph with its codes, in faiss' own format."""
        data: npt.NDArray[np.uint8] = faiss.serialize_index(self._index)
        return data

    def nearest(
        self, queries: Floats, count: int, beam: int, allowed: npt.NDArray[np.uint8] | None = None
    ) -> Labels:
        """Positions of about the ``count`` nearest rows for each query, as (n, count); -1 where
        there are fewer. ``queries`` are prepared; ``allowed`` is a bitmap of rows, least bit
        first, of which alone some are wanted. One query runs on this thread; several may use all
        cores."""
        threads = 1 if len(queries) == 1 else _cores()
        if getattr(_threads, "count", 0) != threads:
            faiss.omp_set_num_threads(threads)
            _threads.count = threads
        distances = np.empty((len(queries), count), np.float32)
        labels = np.empty((len(queries), count), np.int64)
        if allowed is None:
            parameters = self._parameters.get(beam)
            if parameters is None:
                parameters = self._parameters[beam] = faiss.SearchParametersHNSW(efSearch=beam)
        else:
            selector = faiss.IDSelectorBitmap(allowed)
            parameters = faiss.SearchParametersHNSW(efSearch=beam, sel=selector)
        # `search` of the Python class checks and allocates again what is right already.
        self._index.search_c(
            len(queries),
            faiss.swig_ptr(queries),
            count,
            faiss.swig_ptr(distances),
            faiss.swig_ptr(labels),
            parameters,
        )
        return labels


def _empty(metric: Metric, codes: Codes, dimension: int) -> Any:
    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    if codes == "float32":
        index = faiss.IndexHNSWFlat(dimension, LINKS, kind)
    else:
        quantiser = faiss.ScalarQuantizer
        code = quantiser.QT_8bit if codes == "int8" else quantiser.QT_fp16
        index = faiss.IndexHNSWSQ(dimension, code, LINKS, kind)
    index.hnsw.efConstruction = BUILD_BEAM
    return index


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
