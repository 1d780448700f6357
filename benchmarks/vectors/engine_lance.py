"""lancedb, embedded: an HNSW index over 8-bit codes in one partition, as its documentation advises
for tables of this size, compacted first; scalar indexes on the fields (bitmaps where there are
few values), and filters before the search. ``refine`` ranks so many times K candidates again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import lancedb
import pyarrow as pa
from lancedb.index import Bitmap, BTree, HnswSq

from benchmarks.vectors.data import DIMENSION, FIELDS, Floats, K
from benchmarks.vectors.engines import EF_CONSTRUCTION, EFS, Engine, M, Setting

TABLE = "bench"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("vector", pa.list_(pa.float32(), DIMENSION)),
        *((field, pa.int32()) for field in FIELDS),
    ]
)


class Lance(Engine):
    """See the module."""

    settings: ClassVar[Sequence[Setting]] = tuple(
        {"ef": ef, "refine": refine}
        for ef in EFS
        for refine in (None, 2)
        if ef >= K * (refine or 1)
    )
    table: Any

    def create(self) -> None:
        self.table = lancedb.connect(self.folder).create_table(TABLE, schema=SCHEMA)

    def open(self) -> None:
        self.table = lancedb.connect(self.folder).open_table(TABLE)

    def close(self) -> None:
        self.table = None

    def add(self, first: int, vectors: Floats, metadata: list[dict[str, int]]) -> None:
        columns = [
            pa.array([str(first + at) for at in range(len(vectors))]),
            pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION),
            *(pa.array([row[field] for row in metadata], pa.int32()) for field in FIELDS),
        ]
        self.table.add(pa.table(columns, schema=SCHEMA))

    def settle(self) -> None:
        self.table.optimize()
        graph = HnswSq(
            distance_type="cosine", num_partitions=1, m=M, ef_construction=EF_CONSTRUCTION
        )
        self.table.create_index("vector", config=graph)
        for field, values in FIELDS.items():
            self.table.create_index(field, config=Bitmap() if values < 1000 else BTree())

    def condition(self, field: str, value: int) -> Any:
        return f"{field} = {value}"

    def _asked(self, query: Any) -> Any:
        builder = self.table.search(query, vector_column_name="vector").distance_type("cosine")
        builder = builder.limit(K).nprobes(1).ef(self.setting["ef"]).select(["id", "_distance"])
        refine = self.setting["refine"]
        return builder.refine_factor(refine) if refine else builder

    def search(self, query: Any, condition: Any) -> Any:
        asked = self._asked(query)
        if condition is not None:
            asked = asked.where(condition, prefilter=True)
        return asked.to_arrow()["id"].to_pylist()

    def search_many(self, queries: list[Any]) -> list[Any]:
        found = self._asked(queries).to_arrow().select(["query_index", "id"]).to_pydict()
        answers: list[Any] = [[] for _ in queries]
        for at, id_ in zip(found["query_index"], found["id"], strict=True):
            answers[at].append(id_)
        return answers
