"""A truth in memory, as a search index reads it, that answers searches by looking at every row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stillhouse.vectors.distances import better_first, scores
from stillhouse.vectors.filters import Filter, matches
from stillhouse.vectors.live import Checks, Rows, Seqs, row_check
from stillhouse.vectors.search_index import SearchIndex, SearchOptions
from stillhouse.vectors.values import Floats, Hits, Include, IndexSpec, Metric
from stillhouse.vectors.worker import Tended, Worker

Metadata = dict[str, Any] | None


class Kept(NamedTuple):
    """One version of an item."""

    id: str
    vector: Floats
    metadata: bytes | None

    @property
    def check(self) -> int:
        return row_check(self.id, self.vector.astype("<f4").tobytes(), self.metadata)


class Shelf:
    """Items by the number of their version; an index can follow what changes."""

    def __init__(self, metric: Metric = "cosine", dimension: int = 8) -> None:
        self.spec = IndexSpec("shelf", dimension, metric)
        self.items: dict[int, Kept] = {}
        self.numbers: dict[str, int] = {}
        self._next = 1

    # ------------------------------------------------------------ as `TruthReader` has it

    def versions(self) -> tuple[Seqs, Checks]:
        seqs = np.array(sorted(self.items), np.int64)
        return seqs, np.array([self.items[at].check for at in seqs.tolist()], np.uint32)

    def rows(self, seqs: Seqs, size: int = 100) -> Iterator[Rows]:
        for start in range(0, len(seqs), size):
            yield self._rows(seqs[start : start + size].tolist())

    def _rows(self, seqs: list[int]) -> Rows:
        kept = [self.items[at] for at in seqs]
        return Rows(
            np.array(seqs, np.int64),
            np.array([one.check for one in kept], np.uint32),
            [one.id for one in kept],
            np.array([one.vector for one in kept], np.float32).reshape(-1, self.spec.dimension),
            [one.metadata for one in kept],
        )

    # ------------------------------------------------------------------------- changes

    def put(
        self,
        ids: Sequence[str],
        vectors: Floats,
        metadata: Sequence[Metadata] | None = None,
        index: SearchIndex | None = None,
    ) -> None:
        """Insert or replace items."""
        removed = [self.numbers[id_] for id_ in ids if id_ in self.numbers]
        for number in removed:
            del self.items[number]
        seqs = []
        for at, id_ in enumerate(ids):
            one = metadata[at] if metadata is not None else None
            encoded = None if one is None else msgspec.json.encode(one)
            self.items[self._next] = Kept(id_, vectors[at].copy(), encoded)
            self.numbers[id_] = self._next
            seqs.append(self._next)
            self._next += 1
        if index is not None:
            index.apply(removed, self._rows(seqs))

    def drop(self, ids: Sequence[str], index: SearchIndex | None = None) -> None:
        """Delete items."""
        removed = [self.numbers.pop(id_) for id_ in ids]
        for number in removed:
            del self.items[number]
        if index is not None:
            index.apply(removed, None)

    # ------------------------------------------------------------------------- answers

    def matching(self, filter_: Filter | None) -> list[int]:
        """The numbers of the versions that match, ascending."""
        return [
            seq
            for seq, one in sorted(self.items.items())
            if filter_ is None or matches(filter_, decoded(one.metadata))
        ]

    def nearest(self, queries: Floats, k: int, filter_: Filter | None = None) -> list[list[str]]:
        """For each query (n, d) the ids of the k nearest that match."""
        seqs = self.matching(filter_)
        vectors = np.array([self.items[seq].vector for seq in seqs], np.float32)
        vectors = vectors.reshape(-1, self.spec.dimension)
        found = []
        for query in queries:
            order = better_first(self.spec.metric, scores(self.spec.metric, query, vectors))
            found.append([self.items[seqs[at]].id for at in order[:k]])
        return found

    def holds(self, index: SearchIndex, filter_: Filter | None = None) -> None:
        """Assert that an index has exactly the items that match, each once, with right scores."""
        seqs = self.matching(filter_)
        query = np.linspace(1.0, 2.0, self.spec.dimension, dtype=np.float32)
        for ef in (None, 10):
            found = index.search(query[None], len(seqs) + 5, filter_, ef, WITH_ALL)[0]
            assert sorted(found.ids) == sorted(self.items[seq].id for seq in seqs)
            self.right(found, query)
        assert index.count(filter_) == len(seqs)

    def right(self, found: Hits, query: Floats) -> None:
        """Assert that each hit has its item's vector, metadata and score, the nearest first."""
        assert found.vectors is not None
        assert found.metadata is not None
        kept = [self.items[self.numbers[id_]] for id_ in found.ids]
        assert found.metadata == [one.metadata for one in kept]
        vectors = np.array([one.vector for one in kept], np.float32).reshape(found.vectors.shape)
        assert found.vectors.tobytes() == vectors.tobytes()
        exact = scores(self.spec.metric, query, vectors)
        np.testing.assert_allclose(found.scores, exact, rtol=1e-5, atol=1e-6)
        steps = np.diff(found.scores)
        assert (steps >= 0 if self.spec.metric == "l2" else steps <= 0).all()


WITH_ALL: frozenset[Include] = frozenset(("metadata", "vector"))
NOTHING: frozenset[Include] = frozenset()


def decoded(metadata: bytes | None) -> Metadata:
    return None if metadata is None else msgspec.json.decode(metadata)


class Idle(Worker):
    """A worker that does nothing of its own accord, only what a test settles."""

    def tell(self, index: Tended, *, pressing: bool = False) -> None:
        pass


def opened(shelf: Shelf, folder: Path, **options: Any) -> SearchIndex:
    """An index of the shelf that seals at 64 rows, when the test says so."""
    options.setdefault("worker", Idle())
    options.setdefault("seal_rows", 64)
    return SearchIndex.open(folder, shelf.spec, shelf, SearchOptions(**options))


def clustered(count: int, dimension: int, seed: int, clusters: int = 20) -> Floats:
    """Vectors around some middles, which are the same for every seed."""
    made = np.random.default_rng(seed)
    middles = np.random.default_rng(0).normal(size=(clusters, dimension))
    found = middles[made.integers(0, clusters, count)] + 0.5 * made.normal(size=(count, dimension))
    return found.astype(np.float32)


def recall(
    shelf: Shelf,
    index: SearchIndex,
    queries: Floats,
    filter_: Filter | None = None,
    ef: int | None = None,
    together: bool = False,
) -> float:
    """The share of the ten nearest that an index finds, one query at a time or ``together``."""
    hits = wanted = 0
    right = shelf.nearest(queries, 10, filter_)
    if together:
        found = index.search(queries, 10, filter_, ef, NOTHING)
    else:
        found = [index.search(one[None], 10, filter_, ef, NOTHING)[0] for one in queries]
    for ours, theirs in zip(found, right, strict=True):
        assert len(ours.ids) == len(set(ours.ids)) == len(theirs)
        hits += len(set(ours.ids) & set(theirs))
        wanted += len(theirs)
    return hits / wanted
