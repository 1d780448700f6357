"""Vector indexes: durable truth, fast search, exact merges (SPEC section 10).

    caller ── checks ──▶ VectorStore ──▶ Backend ──▶ folder (SQLite, HNSW segments)
                                                ├──▶ memory
                                                └──▶ PostgreSQL, Milvus

`VectorStore` is for use inside a program; the HTTP service puts it on the wire. Importing this
package loads neither an index library nor a server.
"""

from stillhouse.vectors.limits import Limits
from stillhouse.vectors.store import VectorStore
from stillhouse.vectors.values import (
    AddResult,
    DeleteResult,
    Health,
    Hit,
    IndexInfo,
    Item,
    MergeResult,
    Metric,
)

__all__ = [
    "AddResult",
    "DeleteResult",
    "Health",
    "Hit",
    "IndexInfo",
    "Item",
    "Limits",
    "MergeResult",
    "Metric",
    "VectorStore",
]
