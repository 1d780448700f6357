"""The folder backend: what it keeps, across sealing and opening again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stillhouse.vectors import VectorStore
from stillhouse.vectors.local import LocalBackend, LocalOptions
from stillhouse.vectors.search_index import SearchOptions

_SMALL = LocalOptions(search=SearchOptions(seal_rows=256))


def test_items_are_there_after_sealing_and_opening_again(tmp_path: Path) -> None:
    """What was added, replaced and deleted is as it was after sealing, and after opening."""
    made = np.random.default_rng(7)
    vectors = made.normal(size=(2_000, 16)).astype(np.float32)
    backend = LocalBackend(tmp_path / "data", options=_SMALL)
    with VectorStore(backend) as store:
        store.create("docs", 16)
        names = [f"id-{at}" for at in range(2_000)]
        store.add_columns("docs", names, vectors, [{"at": at} for at in range(2_000)])
        store.add_columns("docs", names[:100], -vectors[:100])
        store.delete("docs", names[100:200])
        backend.settle("docs")
        assert store.describe("docs").segments > 0
        assert store.search("docs", -vectors[5], 1)[0].id == "id-5"
    with VectorStore(LocalBackend(tmp_path / "data", options=_SMALL)) as store:
        assert store.ids("docs") == sorted(names[:100] + names[200:])
        assert store.get("docs", "id-7").metadata is None
        found = store.search("docs", vectors[300], 1, filter={"at": {"$gte": 300}})
        assert [(hit.id, hit.metadata) for hit in found] == [("id-300", {"at": 300})]
        assert len(store.search("docs", vectors[0], 1_900)) == 1_900
