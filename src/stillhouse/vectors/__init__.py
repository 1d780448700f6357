"""Vector indexes: durable truth, fast search, exact merges (SPEC section 10).

    caller ── checks ──▶ VectorStore ──▶ Backend ──▶ folder (SQLite, HNSW segments)
                                                ├──▶ memory
                                                └──▶ PostgreSQL, Milvus

`VectorStore` is for use inside a program; the HTTP service puts it on the wire, and `Client` is
the same as a store for who talks to that service. Importing this package loads neither an index
library nor a server nor an HTTP client.
"""

from typing import TYPE_CHECKING, Any

from stillhouse.errors import UsageError
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.service import VectorService
from stillhouse.vectors.store import VectorStore
from stillhouse.vectors.values import (
    AddResult,
    DeleteResult,
    EnvelopeInfo,
    Health,
    Hit,
    IndexInfo,
    Item,
    MergeResult,
    Metric,
    SnapshotInfo,
)

if TYPE_CHECKING:
    from stillhouse.vectors.client import Client

__all__ = [
    "AddResult",
    "Client",
    "DeleteResult",
    "EnvelopeInfo",
    "Health",
    "Hit",
    "IndexInfo",
    "Item",
    "Limits",
    "MergeResult",
    "Metric",
    "SnapshotInfo",
    "VectorService",
    "VectorStore",
]


def __getattr__(name: str) -> Any:
    """`Client` when it is first asked for: it needs the extra ``vectors``."""
    if name != "Client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from stillhouse.vectors.client import Client
    except ModuleNotFoundError as error:
        if error.name != "httpx2":
            raise
        raise UsageError(
            "talking to a server needs the package httpx2",
            way_out="Say pip install 'stillhouse[vectors]'.",
        ) from None
    return Client
