"""qdrant-edge, embedded: HNSW over 8-bit codes kept in memory with exact re-ranking, optimised into
one segment after loading; integer indexes on the fields, made before the vectors come, as its
documentation asks for filtered graphs. ``more`` is its oversampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import qdrant_edge as q

from benchmarks.vectors.data import DIMENSION, FIELDS, Floats, K
from benchmarks.vectors.engines import EF_CONSTRUCTION, EFS, THREADS, Engine, M, Setting

# Below this many kilobytes of vectors it does not build a graph, or scans under a filter; its own
# default is 10,000 for both.
_SMALL = 10_000


class QdrantEdge(Engine):
    """See the module."""

    settings: ClassVar[Sequence[Setting]] = tuple(
        {"ef": ef, "more": more} for ef in EFS for more in (1.0, 1.5, 2.0, 3.0)
    )
    shard: Any = None
    count = 1

    def _config(self) -> Any:
        return q.EdgeConfig(
            vectors=q.EdgeVectorParams(size=DIMENSION, distance=q.Distance.Cosine),
            hnsw_config=q.HnswIndexConfig(
                m=M,
                ef_construct=EF_CONSTRUCTION,
                full_scan_threshold=_SMALL,
                max_indexing_threads=THREADS,
            ),
            quantization_config=q.ScalarQuantizationConfig(type=q.ScalarType.Int8, always_ram=True),
            optimizers=q.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=_SMALL),
            max_search_threads=self.count,
        )

    def create(self) -> None:
        self.shard = q.EdgeShard.create(str(self.folder), self._config())
        for field in FIELDS:
            kind = q.PayloadSchemaType.Integer
            self.shard.update(q.UpdateOperation.create_field_index(field, kind))

    def open(self) -> None:
        self.shard = q.EdgeShard.load(str(self.folder), self._config())
        self.use(self.setting)

    def close(self) -> None:
        self.shard.close()

    def threads(self, count: int) -> None:
        changed, self.count = count != self.count, count
        if changed and self.shard is not None:
            self.close()
            self.open()

    def use(self, setting: Setting) -> None:
        super().use(setting)
        codes = q.QuantizationSearchParams(rescore=True, oversampling=setting["more"])
        self.parameters = q.SearchParams(hnsw_ef=setting["ef"], quantization=codes)

    def add(self, first: int, vectors: Floats, metadata: list[dict[str, int]]) -> None:
        points = [
            q.Point(id=first + at, vector=vector, payload=fields)
            for at, (vector, fields) in enumerate(zip(vectors.tolist(), metadata, strict=True))
        ]
        self.shard.update(q.UpdateOperation.upsert_points(points))

    def flush(self) -> bool:
        self.shard.flush()
        return True

    def settle(self) -> None:
        self.shard.optimize()
        self.shard.flush()

    def query(self, vector: Floats) -> Any:
        return q.Query.Nearest(vector.tolist())

    def condition(self, field: str, value: int) -> Any:
        return q.Filter(must=[q.FieldCondition(key=field, match=q.MatchValue(value=value))])

    def _request(self, query: Any, condition: Any) -> Any:
        return q.QueryRequest(
            limit=K,
            query=query,
            filter=condition,
            params=self.parameters,
            with_payload=False,
            with_vector=False,
        )

    def search(self, query: Any, condition: Any) -> Any:
        return self.shard.query(self._request(query, condition))

    def search_many(self, queries: list[Any]) -> list[Any]:
        requests = [self._request(query, None) for query in queries]
        return list(self.shard.query_batch(q.QueryBatchRequest(requests)))

    def numbers(self, answer: Any) -> list[int]:
        return [int(point.id) for point in answer]
