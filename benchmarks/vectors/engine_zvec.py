"""zvec, embedded: HNSW over float32 in contiguous memory, inverted indexes on the fields, optimised
after loading. Its INT8 and FP16 codes were tried on the real embeddings (20,000, 0.8): slower
at recall 0.95 and about as fast at 0.99. It has no batches. Its `query_internal_ids` answers
numbers of its own from a collection opened for reading only, which is another service.
"""

from __future__ import annotations

from typing import Any

import zvec

from benchmarks.vectors.data import DIMENSION, FIELDS, Floats, K
from benchmarks.vectors.engines import EF_CONSTRUCTION, THREADS, Engine, M, Setting

_AT_ONCE = 1000


class Zvec(Engine):
    """See the module."""

    collection: Any
    begun = False

    def _begin(self) -> None:
        if not Zvec.begun:  # once a process
            zvec.init(query_threads=1, optimize_threads=THREADS, log_level=zvec.LogLevel.ERROR)
            Zvec.begun = True

    def create(self) -> None:
        self._begin()
        graph = zvec.HnswIndexParam(
            metric_type=zvec.MetricType.COSINE,
            m=M,
            ef_construction=EF_CONSTRUCTION,
            use_contiguous_memory=True,
        )
        schema = zvec.CollectionSchema(
            name="bench",
            fields=[
                zvec.FieldSchema(field, zvec.DataType.INT32, index_param=zvec.InvertIndexParam())
                for field in FIELDS
            ],
            vectors=[
                zvec.VectorSchema("v", zvec.DataType.VECTOR_FP32, DIMENSION, index_param=graph)
            ],
        )
        self.collection = zvec.create_and_open(str(self.folder / "data"), schema)

    def open(self) -> None:
        self._begin()
        self.collection = zvec.open(str(self.folder / "data"))
        self.use(self.setting)

    def close(self) -> None:
        self.collection.close()

    def use(self, setting: Setting) -> None:
        super().use(setting)
        self.parameters = zvec.HnswQueryParam(ef=setting["ef"])

    def add(self, first: int, vectors: Floats, metadata: list[dict[str, int]]) -> None:
        for start in range(0, len(vectors), _AT_ONCE):
            rows = zip(vectors[start : start + _AT_ONCE], metadata[start:], strict=False)
            done = self.collection.insert(
                [
                    zvec.Doc(id=str(first + start + at), vectors={"v": vector}, fields=dict(fields))
                    for at, (vector, fields) in enumerate(rows)
                ]
            )
            if not all(status.ok() for status in done):
                raise RuntimeError(next(str(status) for status in done if not status.ok()))

    def flush(self) -> bool:
        self.collection.flush()
        return True

    def settle(self) -> None:
        self.collection.optimize(zvec.OptimizeOption(concurrency=THREADS))

    def condition(self, field: str, value: int) -> Any:
        return f"{field} = {value}"

    def search(self, query: Any, condition: Any) -> Any:
        asked = zvec.Query("v", vector=query, param=self.parameters)
        return self.collection.query(asked, topk=K, filter=condition, output_fields=[])

    def numbers(self, answer: Any) -> list[int]:
        return [int(document.id) for document in answer]
