"""Merges of a folder's indexes, batch by batch: what may come between, and what stops them."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from stillhouse.errors import (
    VectorBusyError,
    VectorConflictError,
    VectorFailedError,
    VectorNotFoundError,
    VectorRegistryError,
    VectorRequestError,
)
from stillhouse.vectors import merging
from stillhouse.vectors.live import Rows
from stillhouse.vectors.local import LocalBackend, LocalOptions
from stillhouse.vectors.registry import Entry, FolderRegistry
from stillhouse.vectors.search_index import SearchIndex
from stillhouse.vectors.values import Batch, IndexSpec, Metric

_BATCH = 10
_WAYS = (("src", "dest"), ("dest", "src"))


class Hook:
    """Does something when the merge has passed a point so many times."""

    def __init__(self, point: str = "merge:batch") -> None:
        self._point = point
        self.passed = 0
        self.then: Callable[[int], object] = lambda passed: None

    def __call__(self, point: str) -> None:
        if point == self._point:
            self.passed += 1
            self.then(self.passed)


class FailingRegistry(FolderRegistry):
    """Looks up indexes until it is told to break."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = ""

    def find(self, name: str) -> Entry:
        if name == self.broken:
            raise VectorFailedError("the registry is out", code="registry_failed")
        return super().find(name)


@contextmanager
def backend(
    folder: Path, hook: Hook | None = None, registry: FolderRegistry | None = None
) -> Iterator[LocalBackend]:
    """A folder with the indexes src, of 35 items, and dest, which is empty."""
    options = LocalOptions(
        merge_batch=_BATCH, faults=hook or (lambda point: None), registry=registry
    )
    made = LocalBackend(folder, options=options)
    try:
        for name in ("src", "dest"):
            made.create(IndexSpec(name, 4))
        made.add("src", items(range(35)))
        yield made
    finally:
        made.close()


def items(numbers: range, value: float = 1.0) -> Batch:
    """Items by their numbers; every second has metadata."""
    vectors = np.full((len(numbers), 4), value, np.float32)
    vectors[:, 0] += np.array(list(numbers), np.float32)
    return Batch(
        [f"id-{at:03d}" for at in numbers], vectors, [None if at % 2 else b"{}" for at in numbers]
    )


def names(numbers: range) -> list[str]:
    """Ids by their numbers."""
    return [f"id-{at:03d}" for at in numbers]


def merge(where: LocalBackend, *, clear_source: bool = True, replace: bool = False) -> list[object]:
    """Merge src into dest; what was told, by number."""
    done = where.merge(
        "src", "dest", clear_source=clear_source, on_conflict="replace" if replace else "skip"
    )
    return [done.merged, done.skipped, len(done.conflicts), done.cleared, done.remaining]


def test_a_merge_goes_in_batches(tmp_path: Path) -> None:
    """Thirty-five items in batches of ten are four, and each is counted once."""
    hook = Hook()
    with backend(tmp_path, hook) as where:
        assert merge(where) == [35, 0, 0, 35, 0]
        assert hook.passed == 4
        assert where.ids("dest") == names(range(35))
        assert where.ids("src") == []
        assert where.get("dest", ["id-001", "id-002"]).metadata == [None, b"{}"]
    with backend(tmp_path / "full", hook) as where:
        where.delete("src", names(range(20, 35)))
        assert merge(where, clear_source=False) == [20, 0, 0, 0, 20]


@pytest.mark.parametrize("gone", ["src", "dest"])
def test_an_index_dropped_midway_ends_the_merge(tmp_path: Path, gone: str) -> None:
    """It is named, and what the batches before it did stays done, whole batches of it."""
    hook = Hook()
    with backend(tmp_path, hook) as where:
        hook.then = lambda passed: where.drop(gone) if passed == 2 else None
        with pytest.raises(VectorNotFoundError, match=gone):
            merge(where)
        kept = {"src": names(range(20, 35)), "dest": names(range(20))}
        del kept[gone]
        assert {name: where.ids(name) for name in where.names()} == kept


def test_an_index_made_anew_midway_is_another(tmp_path: Path) -> None:
    """A merge never goes on into an index that only has the old one's name."""
    hook = Hook()

    def anew(passed: int) -> None:
        if passed == 1:
            where.drop("dest")
            where.create(IndexSpec("dest", 4))

    with backend(tmp_path, hook) as where:
        hook.then = anew
        with pytest.raises(VectorNotFoundError, match="was replaced"):
            merge(where)
        assert where.ids("dest") == []
        assert where.ids("src") == names(range(10, 35))


@pytest.mark.parametrize(("dimension", "metric"), [(5, "cosine"), (4, "l2")])
def test_unlike_indexes_are_refused_here_too(
    tmp_path: Path, dimension: int, metric: Metric
) -> None:
    """An index may have been replaced since the facade looked: nothing moves."""
    with backend(tmp_path) as where:
        where.load(IndexSpec("dest", dimension, metric), [], replace=True)
        with pytest.raises(VectorConflictError):
            merge(where)
        assert len(where.ids("src")) == 35


def test_an_index_is_not_merged_into_itself(tmp_path: Path) -> None:
    """With clear_source it would be emptied."""
    with backend(tmp_path) as where:
        with pytest.raises(VectorRequestError) as caught:
            where.merge("src", "src", clear_source=True, on_conflict="skip")
        assert caught.value.code == "merge_into_itself"
        assert len(where.ids("src")) == 35


@pytest.mark.parametrize("broken", ["src", "dest"])
def test_a_registry_that_fails_ends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    """A failure other than "not found" is logged, and told as one of the registry; nothing is
    touched after it, and the store goes on."""
    hook, registry = Hook(), FailingRegistry()
    with backend(tmp_path, hook, registry) as where:
        hook.then = lambda passed: setattr(registry, "broken", broken if passed == 2 else "")
        with (
            caplog.at_level(logging.ERROR),
            pytest.raises(VectorRegistryError, match="registry is out"),
        ):
            merge(where)
        assert f"looking up index '{broken}' failed" in caplog.text
        caplog.clear()
        with (
            caplog.at_level(logging.ERROR),
            pytest.raises(VectorRegistryError, match="registry is out"),
        ):
            merge(where)
        assert f"looking up index '{broken}' failed" in caplog.text
        registry.broken = ""
        assert where.ids("dest") == names(range(20))
        assert where.ids("src") == names(range(20, 35))
        assert where.health().writable
        hook.then = lambda passed: None
        assert merge(where) == [15, 0, 0, 15, 0]


def test_a_damaged_row_is_refused_and_stays(tmp_path: Path) -> None:
    """An item that is no longer as it was written is not brought over and not cleared; the others
    are."""
    with backend(tmp_path) as where:
        rotten = sqlite3.connect(tmp_path / "truth.db")
        rotten.execute("UPDATE items SET vector = zeroblob(16) WHERE id = 'id-012'")
        rotten.commit()
        rotten.close()
        done = where.merge("src", "dest", clear_source=True, on_conflict="replace")
        assert [(one.id, one.error) for one in done.failed] == [
            ("id-012", "it is not as it was written")
        ]
        assert (done.merged, done.cleared, done.remaining) == (34, 34, 1)
        assert where.ids("src") == ["id-012"]
        assert "id-012" not in where.ids("dest")


def test_conflicts_stay_in_the_source(tmp_path: Path) -> None:
    """Other vectors and other metadata are conflicts, the same bytes are the same."""
    with backend(tmp_path) as where:
        where.add("dest", items(range(5)))
        where.add("dest", items(range(8, 14), value=2.0))
        lone = items(range(20, 21))
        where.add("dest", lone._replace(metadata=[b'{"a":1}']))
        assert merge(where) == [23, 5, 7, 28, 7]
        assert where.ids("src") == [*names(range(8, 14)), "id-020"]
        assert merge(where) == [0, 0, 7, 0, 7]
        assert merge(where, replace=True) == [7, 0, 0, 7, 0]
        assert where.get("dest", ["id-020"]).metadata == [b"{}"]
        assert where.get("dest", ["id-009"]).vectors[0, 1] == 1.0


def test_items_that_come_meanwhile_are_not_lost(tmp_path: Path) -> None:
    """They wait in the source for the next merge, wherever they stand; one that was replaced after
    it moved is a new item there."""
    hook = Hook()

    def come(passed: int) -> None:
        if passed == 2:
            where.add("src", items(range(5, 6), value=9.0))
            where.add("src", items(range(40, 43)))
            where.delete("src", ["id-030"])

    with backend(tmp_path, hook) as where:
        hook.then = come
        assert merge(where) == [34, 0, 0, 34, 4]
        assert where.ids("src") == ["id-005", *names(range(40, 43))]
        assert where.ids("dest") == sorted({*names(range(35))} - {"id-030"})
        assert where.get("dest", ["id-005"]).vectors[0, 1] == 1.0
        hook.then = lambda passed: None
        assert merge(where) == [3, 0, 1, 3, 1]


def test_a_merge_ends_though_others_add(tmp_path: Path) -> None:
    """Ids that grow, as those of time do, are always ahead of the merge's place."""
    hook = Hook()

    def grow(passed: int) -> None:
        first = 100 + passed * 2 * _BATCH
        where.add("src", items(range(first, first + 2 * _BATCH)))
        assert passed < 20, "it goes on and on"

    with backend(tmp_path, hook) as where:
        hook.then = grow
        done = merge(where)
        assert (done[0], done[3]) == (35, 35)
        assert where.ids("dest") == names(range(35))


def test_a_busy_writer_is_waited_for_once_something_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "Busy" says that nothing was done. A merge that has moved items waits, and when that takes
    too long it says how far it came; run again it goes on there."""
    with backend(tmp_path) as where:
        refusing = {"from": 3, "to": 6}
        real, calls = where._writer.do, 0

        def do(run: Any, *, sees_all: bool = False) -> Any:
            nonlocal calls
            calls += 1
            if refusing["from"] <= calls < refusing["to"]:
                raise VectorBusyError("the log is full")
            return real(run, sees_all=sees_all)

        monkeypatch.setattr(where._writer, "do", do)
        monkeypatch.setattr(merging, "_AGAIN", 0.0)
        assert merge(where) == [35, 0, 0, 35, 0]
        where.add("src", items(range(50, 80)))
        monkeypatch.setattr(merging, "_PATIENCE", 0.0)
        calls, refusing = 0, {"from": 3, "to": 1_000}
        with pytest.raises(VectorFailedError, match="stopped after 10 items: the log is full") as e:
            merge(where)
        assert "Run it again" in str(e.value)
        calls, refusing = 0, {"from": 2, "to": 1_000}
        with pytest.raises(VectorBusyError):
            merge(where)
        refusing = {"from": 0, "to": 0}
        assert merge(where) == [20, 0, 0, 20, 0]


def test_both_ways_at_once_ends(tmp_path: Path) -> None:
    """A into B and B into A, again and again at the same time: both end, and each id is on one
    side."""
    with backend(tmp_path) as where:
        where.add("dest", items(range(35, 70)))
        errors: list[BaseException] = []

        def run(src: str, dest: str) -> None:
            try:
                for _ in range(10):
                    where.merge(src, dest, clear_source=True, on_conflict="skip")
            except BaseException as error:
                errors.append(error)
                raise

        threads = [threading.Thread(target=run, args=way) for way in _WAYS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert not errors
        assert sorted(where.ids("src") + where.ids("dest")) == names(range(70))


class WatchedSearch:
    """The search of an index, with a note of who was told of what."""

    def __init__(self, name: str, inner: SearchIndex, told: list[str]) -> None:
        self._name, self._inner, self._told = name, inner, told

    def apply(self, removed: Sequence[int], added: Rows | None) -> None:
        self._told.append(f"{self._name} +{0 if added is None else len(added.ids)} -{len(removed)}")
        self._inner.apply(removed, added)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class WatchedRegistry(FolderRegistry):
    """Has every index's search watched."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def put(self, entry: Entry) -> None:
        watched = WatchedSearch(entry.spec.name, entry.search, self.told)
        super().put(entry._replace(search=cast(SearchIndex, watched)))


def test_no_id_is_ever_in_neither_view(tmp_path: Path) -> None:
    """The destination's view takes a batch before the source's lets go of it."""
    registry = WatchedRegistry()
    with backend(tmp_path, registry=registry) as where:
        where.delete("src", names(range(15, 35)))
        registry.told.clear()
        merge(where)
    assert registry.told == ["dest +10 -0", "src +0 -10", "dest +5 -0", "src +0 -5"]
