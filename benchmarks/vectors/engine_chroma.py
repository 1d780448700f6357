"""chromadb, embedded: its persistent client with an HNSW collection.

``ef_search`` belongs to the collection and takes effect when it is opened again (tried with
1.5.9), so each setting opens it anew, outside the timing. It offers no quantisation here. A write
goes to its log and into the graph at once; nothing is left to settle.
"""

from __future__ import annotations

from typing import Any

import chromadb
from chromadb.api.shared_system_client import SharedSystemClient
from chromadb.config import Settings

from benchmarks.vectors.data import Floats, K
from benchmarks.vectors.engines import EF_CONSTRUCTION, THREADS, Engine, M, Setting

COLLECTION = "bench"


class Chroma(Engine):
    """See the module."""

    collection: Any
    client: Any

    def _client(self) -> Any:
        SharedSystemClient.clear_system_cache()
        self.client = chromadb.PersistentClient(
            str(self.folder), Settings(anonymized_telemetry=False)
        )
        return self.client

    def create(self) -> None:
        graph = {
            "space": "cosine",
            "ef_construction": EF_CONSTRUCTION,
            "max_neighbors": M,
            "num_threads": THREADS,
        }
        self.collection = self._client().create_collection(
            COLLECTION, configuration={"hnsw": graph}, embedding_function=None
        )

    def open(self) -> None:
        self.collection = self._client().get_collection(COLLECTION, embedding_function=None)

    def close(self) -> None:
        self.collection = self.client = None
        SharedSystemClient.clear_system_cache()

    def use(self, setting: Setting) -> None:
        if setting != self.setting or setting == self.settings[0]:
            self.collection.modify(configuration={"hnsw": {"ef_search": setting["ef"]}})
            self.open()
        self.setting = setting

    def add(self, first: int, vectors: Floats, metadata: list[dict[str, int]]) -> None:
        ids = [str(first + at) for at in range(len(vectors))]
        self.collection.add(ids=ids, embeddings=vectors, metadatas=metadata)

    def search(self, query: Any, condition: Any) -> Any:
        found = self.collection.query(
            query_embeddings=[query], n_results=K, where=condition, include=[]
        )
        return found["ids"][0]

    def search_many(self, queries: list[Any]) -> list[Any]:
        found = self.collection.query(query_embeddings=queries, n_results=K, include=[])
        return list(found["ids"])
