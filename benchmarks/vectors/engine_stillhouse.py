"""Ours, as a program uses it: `VectorStore` on a folder, searched through the facade, with all its
checks and every hit an object. Nothing is set beyond what it does by itself; the sweep is ``ef``,
and None leaves it to the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from benchmarks.vectors.data import DIMENSION, Floats, K
from benchmarks.vectors.engines import EFS, Engine, Setting
from stillhouse.vectors.store import VectorStore

INDEX = "bench"


class Stillhouse(Engine):
    """See the module."""

    settings: ClassVar[Sequence[Setting]] = ({"ef": None}, *({"ef": ef} for ef in EFS))
    store: VectorStore

    def create(self) -> None:
        self.open()
        self.store.create(INDEX, DIMENSION)

    def open(self) -> None:
        self.store = VectorStore(self.folder / "data")

    def close(self) -> None:
        self.store.close()

    def add(self, first: int, vectors: Floats, metadata: list[dict[str, int]]) -> None:
        ids = [str(first + at) for at in range(len(vectors))]
        self.store.add_columns(INDEX, ids, vectors, metadata)

    def settle(self) -> None:
        self.store.backend.settle(INDEX)  # type: ignore[attr-defined]

    def search(self, query: Any, condition: Any) -> Any:
        return self.store.search(
            INDEX, query, K, filter=condition, ef=self.setting["ef"], include=()
        )

    def search_many(self, queries: list[Any]) -> list[Any]:
        return self.store.search_many(INDEX, queries, K, ef=self.setting["ef"], include=())

    def numbers(self, answer: Any) -> list[int]:
        return [int(hit.id) for hit in answer]
