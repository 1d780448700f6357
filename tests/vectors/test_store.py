"""The store that programs call: it checks everything before a backend is asked to do anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stillhouse.errors import (
    UsageError,
    VectorConflictError,
    VectorError,
    VectorLimitError,
    VectorNotFoundError,
    VectorRequestError,
)
from stillhouse.vectors import Limits, VectorStore
from stillhouse.vectors.memory import MemoryBackend
from stillhouse.vectors.store import hits
from stillhouse.vectors.values import (
    Batch,
    Hit,
    Hits,
    IndexInfo,
    IndexSpec,
    Item,
    MergeResult,
    OnConflict,
    Status,
)


class Watched(MemoryBackend):
    """A backend in memory that keeps a list of the changes it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.gone: set[str] = set()

    def add(self, name: str, batch: Batch) -> list[Status]:
        self.asked.append("add")
        return super().add(name, batch)

    def delete(self, name: str, ids: Sequence[str]) -> list[bool]:
        self.asked.append(f"delete {list(ids)}")
        return super().delete(name, ids)

    def delete_matching(self, name: str, filter_: Any) -> int:
        self.asked.append("delete_matching")
        return super().delete_matching(name, filter_)

    def merge(
        self, src: str, dest: str, *, clear_source: bool, on_conflict: OnConflict
    ) -> MergeResult:
        self.asked.append("merge")
        return super().merge(src, dest, clear_source=clear_source, on_conflict=on_conflict)

    def describe(self, name: str) -> IndexInfo:
        if name in self.gone:
            self.drop(name)
        return super().describe(name)


@pytest.fixture
def backend() -> Watched:
    """Two indexes alike, "docs" with one item, and two that are unlike."""
    backend = Watched()
    for spec in (
        IndexSpec("docs", 2, "l2"),
        IndexSpec("main", 2, "l2"),
        IndexSpec("long", 3, "l2"),
        IndexSpec("ip", 2, "ip"),
    ):
        backend.create(spec)
    backend.add("docs", Batch(["a"], np.ones((1, 2), np.float32), [b'{"n":1}']))
    backend.asked.clear()
    return backend


@pytest.fixture
def store(backend: Watched) -> VectorStore:
    """A store with small limits."""
    return VectorStore(backend, limits=Limits(batch_items=3, k=5, ef=20, queries=2))


REFUSED: tuple[tuple[str, tuple[Any, ...], dict[str, Any], str], ...] = (
    ("add", ("docs", [Item("", [1, 2])]), {}, "items[0].id"),
    ("add", ("docs", [Item("a", [1, 2]), Item("b", [1])]), {}, "items[1].vector"),
    ("add", ("a/b", []), {}, "name"),
    ("add", ("docs", [Item(str(at), [1, 2]) for at in range(4)]), {}, "items"),
    ("add_columns", ("docs", "ab", [[1, 2], [3, 4]]), {}, "ids"),
    ("add_columns", ("docs", ["a", "b"], [[1, 2]]), {}, "items"),
    ("add_columns", ("docs", ["a"], [[1, 2]], []), {}, "items"),
    ("add_columns", ("docs", ["a"], np.ones((1, 3))), {}, "vectors"),
    ("add_columns", ("docs", ["a"], [[1, 2]], [{"a": object()}]), {}, "items[0].metadata"),
    ("delete", ("docs",), {}, "ids"),
    ("delete", ("docs", ["a"]), {"filter": {}}, "ids"),
    ("delete", ("docs", "abc"), {}, "ids"),
    ("delete", ("docs", ["a"] * 4), {}, "ids"),
    ("delete", ("docs",), {"filter": []}, "filter"),
    ("delete", ("..", ["a"]), {}, "name"),
    ("get", ("", "a"), {}, "name"),
    ("count", ("docs", {"$x": 1}), {}, "filter.$x"),
    ("search", ("docs", [1]), {}, "vector"),
    ("search", ("docs", [[1, 2], [3, 4]], 1), {}, "vector"),
    ("search", ("docs", [1, 2], 0), {}, "k"),
    ("search", ("docs", [1, 2], 6), {}, "k"),
    ("search", ("docs", [1, 2]), {"k": 1, "ef": 0}, "ef"),
    ("search", ("docs", [1, 2]), {"k": 1, "ef": 21}, "ef"),
    ("search", ("docs", [1, 2], 1), {"filter": {"a": {}}}, "filter.a"),
    ("search", ("docs", [1, 2], 1), {"include": ["score"]}, "include"),
    ("search_many", ("docs", [[1, 2]] * 3, 1), {}, "vector"),
    ("search_many", ("docs", np.zeros((0, 2)), 1), {}, "vector"),
    ("create", ("docs", 0), {}, "dimension"),
    ("merge", ("docs", "docs"), {}, "dest"),
    ("merge", ("docs", "a/b"), {}, "dest"),
    ("merge", ("", "docs"), {}, "src"),
    ("merge", ("docs", "main"), {"on_conflict": "ask"}, "on_conflict"),
    ("drop", ("\0",), {}, "name"),
    ("describe", (7,), {}, "name"),
    ("ids", (None,), {}, "name"),
)


@pytest.mark.parametrize(("call", "arguments", "options", "field"), REFUSED)
def test_what_is_asked_wrongly_reaches_no_backend(
    store: VectorStore,
    backend: Watched,
    call: str,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    field: str,
) -> None:
    """Each refusal names its field, and nothing was changed."""
    with pytest.raises(VectorRequestError) as refused:
        getattr(store, call)(*arguments, **options)
    assert [told for told, _ in refused.value.problems] == [field]
    assert backend.asked == []
    assert backend.names() == ["docs", "ip", "long", "main"]


def test_a_merge_that_cannot_be_is_refused_before_anything_moves(
    store: VectorStore, backend: Watched
) -> None:
    """Into itself, from or into nothing, and between unlike indexes, each by its code (V4)."""
    codes = {
        ("docs", "docs"): "merge_into_itself",
        ("none", "none"): "index_not_found",
        ("none", "docs"): "index_not_found",
        ("docs", "none"): "index_not_found",
        ("docs", "long"): "dimension_mismatch",
        ("docs", "ip"): "metric_mismatch",
    }
    for (src, dest), code in codes.items():
        with pytest.raises(VectorError) as refused:
            store.merge(src, dest, clear_source=True)
        assert refused.value.code == code
    assert backend.asked == []
    assert store.ids("docs") == ["a"]


def test_limits_are_of_the_store(store: VectorStore) -> None:
    """As much as is allowed is taken, more is a VectorLimitError."""
    assert len(store.search("docs", [1, 2], k=5, ef=20)) == 1
    assert store.add("docs", [Item(str(at), [1, 2]) for at in range(3)]).inserted == 3
    over: list[Callable[[], object]] = [
        lambda: store.search("docs", [1, 2], k=6),
        lambda: store.search("docs", [1, 2], k=1, ef=21),
        lambda: store.search_many("docs", [[1, 2]] * 3, k=1),
        lambda: store.delete("docs", ["a", "b", "c", "d"]),
        lambda: store.add("docs", [Item(str(at), [1, 2]) for at in range(4)]),
    ]
    for call in over:
        with pytest.raises(VectorLimitError) as refused:
            call()
        assert refused.value.code == "limit_exceeded"


def test_hits_and_their_numbers_are_limited_together(backend: Watched) -> None:
    """Many vectors, many hits of each and what comes with each multiply: the product is bounded,
    whatever the index holds."""
    store = VectorStore(backend, limits=Limits(hits=12, hit_numbers=16))
    assert len(store.search_many("docs", [[1, 2]] * 3, k=4)) == 3
    assert len(store.search("docs", [1, 2], k=8, include=("vector",))) == 1
    for call, said in (
        (lambda: store.search_many("docs", [[1, 2]] * 3, k=5), "k: asks for 15 hits in all"),
        (lambda: store.search("docs", [1, 2], k=9, include=("vector",)), "vectors of 18 numbers"),
    ):
        with pytest.raises(VectorLimitError, match=said) as refused:
            call()
        assert refused.value.code == "limit_exceeded"


def test_a_batch_is_counted_and_told_item_by_item(store: VectorStore, backend: Watched) -> None:
    """In its order; an empty one is no change, but of an index that has to be there."""
    told = store.add("docs", [Item("z", [1, 2]), Item("a", [1, 1], {"n": 1}), Item("b", [1, 2])])
    assert [(one.id, one.status) for one in told.results] == [
        ("z", "inserted"),
        ("a", "unchanged"),
        ("b", "inserted"),
    ]
    assert (told.inserted, told.replaced, told.unchanged) == (2, 0, 1)
    again = store.add_columns("docs", ["a", "b"], np.zeros((2, 2), np.float32), [None, {}])
    assert (again.inserted, again.replaced, again.unchanged) == (0, 2, 0)
    backend.asked.clear()
    assert store.add("docs", []).results == []
    assert backend.asked == []
    with pytest.raises(VectorNotFoundError):
        store.add("none", [])


def test_ids_that_no_item_can_have_are_not_there(store: VectorStore, backend: Watched) -> None:
    """A backend does not meet them; the others are deleted; each missing one is told in order."""
    told = store.delete("docs", ["\ud800", "a", "x"])
    assert (told.deleted, told.missing) == (1, ["\ud800", "x"])
    assert store.delete("docs", ["", ".."]).missing == ["", ".."]
    assert backend.asked == ["delete ['a', 'x']", "delete []"]
    store.add("docs", [Item("b", [3, 4], {"n": [1]})])
    item = store.get("docs", "b")
    assert (item.id, list(item.vector), item.metadata) == ("b", [3.0, 4.0], {"n": [1]})
    for id_ in ("a", "", "\ud800", "x" * 600):
        with pytest.raises(VectorNotFoundError) as refused:
            store.get("docs", id_)
        assert refused.value.code == "item_not_found"
    with pytest.raises(VectorNotFoundError) as refused:
        store.get("none", "")
    assert refused.value.code == "index_not_found"


def test_an_index_that_is_dropped_while_all_are_told_is_left_out(
    store: VectorStore, backend: Watched
) -> None:
    """The others are told."""
    backend.gone.add("ip")
    assert [info.name for info in store.indexes()] == ["docs", "long", "main"]


def test_hits_have_what_was_asked_for_and_no_more() -> None:
    """What was not asked for is unset, so that it is not on the wire; null metadata is null."""
    scores = np.array([0.5, 0.25], np.float32)
    vectors = np.array([[1, 2], [3, 4]], np.float32)
    assert hits(Hits(["a", "b"], scores)) == [Hit("a", 0.5), Hit("b", 0.25)]
    full = hits(Hits(["a", "b"], scores, [None, b'{"n":1}'], vectors))
    assert full == [Hit("a", 0.5, None, [1.0, 2.0]), Hit("b", 0.25, {"n": 1}, [3.0, 4.0])]
    assert msgspec.json.encode(hits(Hits(["a"], scores[:1]))) == b'[{"id":"a","score":0.5}]'
    assert b'"metadata":null' in msgspec.json.encode(full[:1])
    assert hits(Hits([], scores[:0])) == []
    with pytest.raises(ValueError, match="zip"):
        hits(Hits(["a"], scores))


def test_a_store_is_opened_by_where_it_is_and_closed_with_its_block(tmp_path: Path) -> None:
    """A folder, memory: or a backend; another kind of URL is refused in one line."""
    with VectorStore("memory:") as store:
        assert store.create("docs", 2) is True
        assert store.health().writable
    with pytest.raises(UsageError, match="ftp://"):
        VectorStore("ftp://somewhere")
    for _ in range(2):
        with VectorStore(tmp_path / "data") as store:
            store.create("docs", 2)
            assert [info.name for info in store.indexes()] == ["docs"]
            with pytest.raises(VectorConflictError):
                store.create("docs", 3)
