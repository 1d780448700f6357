"""Bare faiss, what a search library without a database around it reaches: HNSW over float32, and
HNSW over 8-bit codes whose best candidates are ranked again by the exact vectors. The faster of
the two is "bare faiss".

A filter is faiss's own selector within the graph, from a bitmap made outside the timing: faiss
has no metadata to look at. It can neither be searched while adding nor acknowledge anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import faiss as _faiss
import numpy as np

from benchmarks.vectors.data import DIMENSION, FIELDS, Floats, K
from benchmarks.vectors.engines import EF_CONSTRUCTION, EFS, Engine, M, Setting

# Its type stubs do not know half of it.
faiss: Any = _faiss


class Flat(Engine):
    """HNSW over float32."""

    index: Any
    vectors: Floats

    def create(self) -> None:
        self.index = None
        self.batches: list[Floats] = []
        self.metadata: list[dict[str, int]] = []

    def add(self, first: int, vectors: Floats, metadata: list[dict[str, int]]) -> None:
        self.batches.append(np.array(vectors))
        self.metadata += metadata

    def settle(self) -> None:
        self.vectors = np.concatenate(self.batches)
        self.index = self.built()
        values = np.array([list(row.values()) for row in self.metadata], np.int32)
        np.save(self.folder / "values.npy", values)
        np.save(self.folder / "vectors.npy", self.vectors)
        faiss.write_index(self.index, str(self.folder / "index.faiss"))
        self.open()

    def built(self) -> Any:
        index = faiss.IndexHNSWFlat(DIMENSION, M, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.add(self.vectors)
        return index

    def open(self) -> None:
        self.index = faiss.read_index(str(self.folder / "index.faiss"))
        self.values = np.load(self.folder / "values.npy")

    def close(self) -> None:
        self.index = None

    def threads(self, count: int) -> None:
        faiss.omp_set_num_threads(count)

    def query(self, vector: Floats) -> Any:
        return np.ascontiguousarray(vector).reshape(1, -1)

    def condition(self, field: str, value: int) -> Any:
        fits = self.values[:, list(FIELDS).index(field)] == value
        return faiss.IDSelectorBitmap(np.packbits(fits, bitorder="little"))

    def parameters(self, condition: Any) -> Any:
        return faiss.SearchParametersHNSW(efSearch=self.setting["ef"], sel=condition)

    def search(self, query: Any, condition: Any) -> Any:
        return self.index.search(query, K, params=self.parameters(condition))[1][0]

    def search_many(self, queries: list[Any]) -> list[Any]:
        stacked = np.concatenate(queries)
        return list(self.index.search(stacked, K, params=self.parameters(None))[1])

    def numbers(self, answer: Any) -> list[int]:
        return [int(number) for number in answer if number >= 0]


class Codes(Flat):
    """HNSW over 8-bit codes; ``among`` candidates are ranked again."""

    settings: ClassVar[Sequence[Setting]] = tuple(
        {"ef": ef, "among": among} for ef in EFS for among in sorted({min(ef, 16), min(ef, 40)})
    )

    def built(self) -> Any:
        index = faiss.IndexHNSWSQ(
            DIMENSION, faiss.ScalarQuantizer.QT_8bit, M, faiss.METRIC_INNER_PRODUCT
        )
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.train(self.vectors)
        index.add(self.vectors)
        return index

    def open(self) -> None:
        super().open()
        self.vectors = np.load(self.folder / "vectors.npy")

    def search(self, query: Any, condition: Any) -> Any:
        found = self.index.search(query, self.setting["among"], params=self.parameters(condition))
        return self._ranked(query[0], found[1][0])

    def search_many(self, queries: list[Any]) -> list[Any]:
        stacked = np.concatenate(queries)
        found = self.index.search(stacked, self.setting["among"], params=self.parameters(None))
        return [self._ranked(*pair) for pair in zip(stacked, found[1], strict=True)]

    def _ranked(self, query: Any, candidates: Any) -> Any:
        if candidates[-1] < 0:
            candidates = candidates[candidates >= 0]
        order = np.argsort(-(self.vectors[candidates] @ query))[:K]
        return candidates[order]
