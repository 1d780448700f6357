"""Milvus answers as memory does, as far as it can promise it; tried on milvus-lite."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.errors import (
    UsageError,
    VectorConflictError,
    VectorFailedError,
    VectorLimitError,
    VectorLockedError,
    VectorNotFoundError,
)
from stillhouse.vectors import VectorStore
from stillhouse.vectors.filters import OneOf
from stillhouse.vectors.memory import MemoryBackend
from stillhouse.vectors.places import open_backend
from stillhouse.vectors.values import Batch, IndexSpec, Item, Metric
from tests.vectors.alike import compare, same_items

pytest.importorskip("pymilvus", reason="pymilvus (extra milvus) is not installed")
pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")

from stillhouse.vectors.milvus import MilvusBackend
from stillhouse.vectors.milvus_calls import Calls, MilvusOptions, place_of
from stillhouse.vectors.milvus_registry import Locks

LOGIN = "u:s3cret%40" + "@"
Make = Callable[..., MilvusBackend]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Opens a backend on one file, again when it was closed."""
    opened: list[MilvusBackend] = []

    def open_one(**options: Any) -> MilvusBackend:
        opened.append(
            MilvusBackend(f"milvus:{tmp_path}/store.db", options=MilvusOptions(**options))
        )
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def _batch(ids: list[str], dimension: int = 3, fill: float = 1.0) -> Batch:
    vectors = np.full((len(ids), dimension), fill, np.float32)
    return Batch(ids, vectors, [None] * len(ids))


def _random(count: int, dimension: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_the_same_calls_get_the_same_answers(make: Make, metric: Metric) -> None:
    """A seeded series of all calls, compared with memory after each."""
    compare(make(), seed=21, steps=120, metric=metric)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_the_same_calls_get_the_same_answers_at_length(make: Make, seed: int) -> None:
    """The same with more and longer series."""
    compare(make(), seed=seed, steps=600, metric=("cosine", "ip", "l2")[seed % 3])


def test_vectors_of_one_dimension_are_kept(make: Make) -> None:
    """Milvus has none; they get a second number on the way in and lose it on the way out."""
    compare(make(), seed=22, steps=60, metric="l2", dimension=1)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_hnsw_finds_what_is_near_at_every_selectivity(make: Make, metric: Metric) -> None:
    """Recall of at least 0.95 and exactly min(k, matches) hits, from all items to one."""
    count = 1_000
    vectors = _random(count, 16)
    items = [Item(f"{at:05}", vectors[at], {"half": at % 2, "one": at}) for at in range(count)]
    stores = [VectorStore(make(scanned_items=0)), VectorStore(MemoryBackend())]
    for store in stores:
        store.create("docs", 16, metric)
        store.add("docs", items)
    asked: list[tuple[Any, int]] = [(None, 10), ({"half": 1}, 10), ({"one": 77}, 10)]
    asked += [({"one": {"$lt": 50}}, 20), ({"no": 1}, 5), (None, 999), (None, 1_000)]
    for filter_, k in asked:
        found, right = (
            store.search_many("docs", _random(3, 16, 2), k, filter=filter_) for store in stores
        )
        near = total = 0
        for ours, theirs in zip(found, right, strict=True):
            assert len(ours) == len(theirs) == len({hit.id for hit in ours})
            near += len({hit.id for hit in ours} & {hit.id for hit in theirs})
            total += len(theirs)
        assert near >= 0.95 * total, (filter_, k)


@pytest.mark.parametrize("filter_", [None, {"half": 1}])
def test_no_answer_of_milvus_holds_more_metadata_than_it_can_send(
    make: Make, monkeypatch: pytest.MonkeyPatch, filter_: Any
) -> None:
    """However deep a search looks, at most 1,000 items' metadata come at once (64 MB of 100 that a
    Milvus sends), and the hits are those of memory."""
    count = 2_400
    vectors = _random(count, 16)
    items = [Item(f"{at:05}", vectors[at], {"half": at % 2}) for at in range(count)]
    stores = [VectorStore(make(scanned_items=0)), VectorStore(MemoryBackend())]
    for store in stores:
        store.create("docs", 16)
        store.add("docs", items)
    done = Calls.call
    sizes: list[int] = []

    def call(calls: Calls, method: str, *arguments: Any, **options: Any) -> Any:
        answer = done(calls, method, *arguments, **options)
        if method in ("search", "query") and "metadata" in options["output_fields"]:
            sizes.append(len(answer[0] if method == "search" else answer))
        return answer

    monkeypatch.setattr(Calls, "call", call)
    for k in (5, 1_100):
        ours, theirs = (store.search("docs", vectors[0], k, filter=filter_) for store in stores)
        assert [hit.id for hit in ours][:5] == [hit.id for hit in theirs][:5]
        assert len({hit.id for hit in ours} & {hit.id for hit in theirs}) >= 0.95 * k
        assert len(ours) == len(theirs)
    assert 0 < max(sizes) <= 1_000


def test_what_was_written_is_there_for_the_next(make: Make) -> None:
    """Every bit of a vector, null told from {}, 64-bit numbers, and the index itself are there
    after closing and opening again."""
    metadata = [
        None,
        {},
        {"n": [2**64 - 1, -(2**63), 1e300, 5e-324, -0.0, 1.0, 1]},
        {"é\x01": "😀"},
    ]
    vectors = np.array([[1, -0.0, 1e-38], [3e18, 0, 1], [1e-45, 1, 2], [0.1, 0.2, 0.3]], np.float32)
    first, memory = make(), MemoryBackend()
    for backend in (first, memory):
        store = VectorStore(backend)
        store.create("docs", 3, "l2", {"by": "us"})
        store.add_columns("docs", ["a", "b", "c", "d"], vectors, metadata)
    first.close()
    first.close()
    with pytest.raises(VectorFailedError, match="closed"):
        first.names()
    again = make()
    assert again.spec("docs") == memory.spec("docs")
    same_items(memory, again, "docs")
    assert again.search("docs", vectors[:1], 1, None, None, frozenset())[0].ids == ["a"]


@pytest.mark.parametrize("hostile", ['x"] or pk != ["', "x' or '1'=='1", "a\\", "%s", "{x}"])
def test_hostile_names_ids_and_filters_are_data(make: Make, hostile: str) -> None:
    """No text of a user's ever gets into an expression of Milvus."""
    backend = make()
    for name in (hostile, "other"):
        backend.create(IndexSpec(name, 3))
        backend.add(name, _batch([hostile, "kept"]))
    assert backend.get(hostile, [hostile]).ids == [hostile]
    assert backend.delete(hostile, [hostile, hostile + "x"]) == [True, False]
    assert backend.ids(hostile) == ["kept"]
    backend.drop(hostile)
    assert backend.names() == ["other"]


def test_an_export_is_one_state_whatever_others_do(make: Make) -> None:
    """Adding, deleting, replacing and dropping meanwhile are not seen."""
    backend = make()
    backend.create(IndexSpec("docs", 3))
    backend.add("docs", _batch([f"{at:04}" for at in range(2_500)]))
    with backend.export("docs") as state:
        first = next(state.batches)
        backend.delete("docs", ["2400"])
        backend.add("docs", _batch(["2401", "new"], fill=2.0))
        backend.load(IndexSpec("docs", 2), [_batch(["x"], 2)], replace=True)
        assert backend.ids("docs") == ["x"]
        backend.drop("docs")
        rest = [id_ for batch in state.batches for id_ in batch.ids]
    assert [*first.ids, *rest] == [f"{at:04}" for at in range(2_500)]
    assert state.total == 2_500


def test_a_load_that_fails_leaves_everything_as_it_was(make: Make, tmp_path: Path) -> None:
    """What the batches raise goes on, the index that was to be replaced stays, and no collection
    is left behind."""
    backend = make()
    backend.create(IndexSpec("docs", 3))
    backend.add("docs", _batch(["old"]))

    def batches() -> Iterator[Batch]:
        yield _batch(["a"], 2)
        raise ValueError("no more")

    for name in ("docs", "fresh"):
        with pytest.raises(ValueError, match="no more"):
            backend.load(IndexSpec(name, 2), batches(), replace=True)
    untouched = batches()
    with pytest.raises(VectorConflictError):
        backend.load(IndexSpec("docs", 2), untouched, replace=False)
    assert len(next(untouched).ids) == 1
    assert (backend.names(), backend.ids("docs")) == (["docs"], ["old"])
    collections = tmp_path / "store.db" / "collections"
    assert len(list(collections.iterdir())) == 2
    with backend.export("docs") as state:
        assert backend.load(IndexSpec("docs", 3), state.batches, replace=True) == 1
    assert len(list(collections.iterdir())) == 2


def test_an_index_made_during_a_load_is_not_replaced_unasked(make: Make) -> None:
    """Somebody creates the name while it is being loaded: refused, unless it may be replaced."""
    backend = make()

    def batches() -> Iterator[Batch]:
        yield _batch(["a"])
        backend.create(IndexSpec("docs", 2))

    with pytest.raises(VectorConflictError):
        backend.load(IndexSpec("docs", 3), batches(), replace=False)
    assert backend.spec("docs").dimension == 2
    assert backend.load(IndexSpec("docs", 3), batches(), replace=True) == 1
    assert backend.spec("docs").dimension == 3


def test_the_sign_of_zero_is_part_of_a_vector(make: Make) -> None:
    """-0.0 in place of 0.0 is another vector, to add and to merge; the same bits are the same."""
    backend = make()
    plus, minus = _batch(["a", "b"], fill=0.0), _batch(["a"], fill=-0.0)
    for name in ("src", "dest"):
        backend.create(IndexSpec(name, 3, "l2"))
        backend.add(name, plus)
    assert backend.add("dest", minus) == ["replaced"]
    assert backend.add("dest", minus) == ["unchanged"]
    done = backend.merge("src", "dest", clear_source=False, on_conflict="skip")
    assert (done.conflicts, done.skipped, done.merged) == (["a"], 1, 0)
    done = backend.merge("src", "dest", clear_source=True, on_conflict="replace")
    assert (done.conflicts, done.skipped, done.merged, done.cleared) == ([], 1, 1, 2)


# ------------------------------------------------------------------------- merging


class _Stops:
    """Stands between a merge and Milvus, and fails at the n-th change."""

    def __init__(self, calls: Any, at: int) -> None:
        self._calls, self._left = calls, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._calls, name)

    def _change(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise VectorFailedError("the power went")

    def put(self, *arguments: Any) -> None:
        self._change()
        self._calls.put(*arguments)

    def remove(self, *arguments: Any) -> None:
        self._change()
        self._calls.remove(*arguments)


def test_a_merge_stopped_anywhere_loses_nothing_and_finishes(make: Make) -> None:
    """Before each of its changes in turn: no id is missing from both; running again finishes."""
    from stillhouse.vectors.milvus_merge import merge

    backend = make()
    ids = [f"{n:04}" for n in range(1_100)]
    for at in range(5):
        for name in (f"a{at}", f"b{at}"):
            backend.create(IndexSpec(name, 3))
        backend.add(f"a{at}", _batch(ids))
        source, target = (backend._registry.find(name) for name in (f"a{at}", f"b{at}"))
        stopping: Any = _Stops(backend._calls, at)
        if at < 4:
            with pytest.raises(VectorFailedError, match="the power went"):
                merge(stopping, source, target, clear_source=True, on_conflict="skip")
        else:
            merge(stopping, source, target, clear_source=True, on_conflict="skip")
        assert sorted({*backend.ids(f"a{at}"), *backend.ids(f"b{at}")}) == ids
        backend.merge(f"a{at}", f"b{at}", clear_source=True, on_conflict="skip")
        assert (backend.ids(f"a{at}"), backend.ids(f"b{at}")) == ([], ids)


class _Loses:
    """A destination that says it took what it did not keep."""

    def __init__(self, calls: Any) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._calls, name)

    def put(self, collection: str, rows: list[dict[str, Any]]) -> None:
        other = {**rows[0], "metadata": '{"other":1}'}
        self._calls.put(collection, [other, *rows[2:]])


def test_only_what_is_read_back_the_same_is_deleted(make: Make) -> None:
    """What the destination did not keep, or keeps otherwise, stays in the source and is told."""
    from stillhouse.vectors.milvus_merge import merge

    backend = make()
    for name in ("a", "b"):
        backend.create(IndexSpec(name, 3))
    backend.add("a", _batch(["x", "y", "z"]))
    source, target = (backend._registry.find(name) for name in ("a", "b"))
    losing: Any = _Loses(backend._calls)
    done = merge(losing, source, target, clear_source=True, on_conflict="skip")
    assert (done.merged, done.cleared, done.remaining) == (1, 1, 2)
    assert [one.id for one in done.failed] == backend.ids("a")


def test_merges_in_both_directions_at_once_end(make: Make) -> None:
    """A→B with B→A, clearing, while others add and read: it ends, and no id is lost."""
    backend = make()
    for name in ("a", "b"):
        backend.create(IndexSpec(name, 3))
        backend.add(name, _batch([f"{name}{at}" for at in range(20)]))
    start = threading.Barrier(4)

    def merging(src: str, dest: str) -> None:
        start.wait(30)
        for _ in range(3):
            backend.merge(src, dest, clear_source=True, on_conflict="skip")

    def adding() -> None:
        start.wait(30)
        for at in range(8):
            assert backend.add("a", _batch([f"new{at}"])) == ["inserted"]

    def reading() -> None:
        start.wait(30)
        for _ in range(10):
            found = backend.search("b", np.ones((1, 3), np.float32), 99, None, None, frozenset())
            assert len({*found[0].ids}) == len(found[0].ids)

    with ThreadPoolExecutor(4) as pool:
        works = [
            pool.submit(merging, "a", "b"),
            pool.submit(merging, "b", "a"),
            pool.submit(adding),
            pool.submit(reading),
        ]
        for work in works:
            work.result(60)
    expected = [f"{name}{at}" for name in "ab" for at in range(20)] + [f"new{n}" for n in range(8)]
    assert sorted(backend.ids("a") + backend.ids("b")) == sorted(expected)


def test_writers_and_readers_of_a_name_exclude_one_another() -> None:
    """Many read at once; one writes alone; other names are free; two names in any order end."""
    locks = Locks()
    inside: list[str] = []
    seen: list[list[str]] = []

    def work(kind: str, *names: str) -> None:
        for _ in range(50):
            with locks.writing(*names) if kind == "w" else locks.reading(names[0]):
                inside.append(kind)
                seen.append(list(inside))
                time.sleep(0)
                inside.remove(kind)

    with ThreadPoolExecutor(6) as pool:
        works = [pool.submit(work, "w", "a", "b"), pool.submit(work, "w", "b", "a")]
        works += [pool.submit(work, "r", "a") for _ in range(4)]
        for one in works:
            one.result(60)
    assert all("w" not in state or state == ["w"] for state in seen)
    with locks.writing("a"), locks.reading("b"), locks.reading("b"):
        pass


def test_locks_are_kept_only_while_somebody_has_them() -> None:
    """Names come from users: after any number of them, there or not, nothing is kept, also where
    the work failed; a lock that is had or waited for is the same for all."""
    locks = Locks()
    for at in range(100):
        with locks.reading(f"r{at}"):
            assert len(locks._locks) == 1
        with pytest.raises(KeyError), locks.writing(f"w{at}", f"x{at}"):
            raise KeyError("mine")
    assert locks._locks == {}
    entered: list[str] = []

    def entering() -> None:
        with locks.writing("a"):
            entered.append("writer")

    with ThreadPoolExecutor(1) as pool:
        with locks.reading("a"):
            with locks.reading("a"):
                writing = pool.submit(entering)
            wait([writing], timeout=0.2)
            assert (entered, len(locks._locks)) == ([], 1)
        writing.result(10)
    assert locks._locks == {}


def test_a_store_keeps_no_lock_for_names_that_were_asked_for(make: Make) -> None:
    """Every call for an index that is not there, and for one that is, leaves none behind."""
    backend = make()
    backend.create(IndexSpec("docs", 3))
    backend.add("docs", _batch(["a"]))
    for at in range(3):
        with pytest.raises(VectorNotFoundError):
            backend.ids(f"none{at}")
        with pytest.raises(VectorNotFoundError):
            backend.merge(f"none{at}", "docs", clear_source=True, on_conflict="skip")
    assert backend._locks._locks == {}


def test_a_writer_interrupted_while_it_waits_keeps_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever leaves before his turn has left: those who read go on reading."""
    locks = Locks()
    read = threading.Event()

    def reading() -> None:
        with locks.reading("a"):
            read.set()

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with locks.reading("a"):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Condition, "wait_for", interrupted)
            with pytest.raises(KeyboardInterrupt), locks.writing("a"):
                pass
        threading.Thread(target=reading, daemon=True).start()
        assert read.wait(5)
    with locks.writing("a"):
        pass


def _exported(backend: MilvusBackend) -> int:
    with backend.export("b") as state:
        return state.total


def test_every_call_waits_for_who_writes_to_its_index(make: Make) -> None:
    """While somebody writes to an index, nobody reads it, writes to it or merges it."""
    backend = make()
    for name in ("a", "b"):
        backend.create(IndexSpec(name, 3))
        backend.add(name, _batch([name]))
    query = np.ones((1, 3), np.float32)
    calls: list[Callable[[], object]] = [
        lambda: backend.merge("a", "b", clear_source=False, on_conflict="skip"),
        lambda: backend.merge("b", "a", clear_source=False, on_conflict="skip"),
        lambda: backend.add("b", _batch(["x"])),
        lambda: backend.delete("b", ["x"]),
        lambda: backend.delete_matching("b", OneOf(("x",), (1,))),
        lambda: backend.search("b", query, 1, None, None, frozenset()),
        lambda: backend.ids("b"),
        lambda: backend.get("b", ["b"]),
        lambda: backend.count("b", None),
        lambda: backend.describe("b"),
        lambda: _exported(backend),
        lambda: backend.load(IndexSpec("b", 3), [], replace=True),
        lambda: backend.drop("b"),
        lambda: backend.create(IndexSpec("b", 3)),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        with backend._locks.writing("b"):
            waiting = [pool.submit(call) for call in calls]
            done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            assert not done
        wait(waiting, timeout=60)
    assert all(one.done() for one in waiting)


# ------------------------------------------------------------------ limits and opening


def test_what_milvus_cannot_hold_is_refused_before_anything_is_sent(make: Make) -> None:
    """Too many dimensions, and metadata past 65,535 bytes: the field is named, nothing is taken."""
    backend = make()
    with pytest.raises(VectorLimitError, match="dimension: is 32,769"):
        backend.create(IndexSpec("wide", 32_769))
    backend.create(IndexSpec("docs", 3))
    batch = _batch(["a", "b"])
    batch.metadata[1] = b'{"k":"' + b"x" * 65_528 + b'"}'
    with pytest.raises(VectorLimitError, match=r"items\[1\]\.metadata"):
        backend.add("docs", batch)
    assert backend.ids("docs") == []
    batch.metadata[1] = b'{"k":"' + b"x" * 65_527 + b'"}'
    assert backend.add("docs", batch) == ["inserted"] * 2
    assert backend.get("docs", ["b"]).metadata == batch.metadata[1:]


def test_a_file_is_open_once(make: Make, tmp_path: Path) -> None:
    """A second store on the file of the same process is refused, and a third after closing not."""
    first = make()
    with pytest.raises(VectorLockedError, match="open already"):
        make()
    first.close()
    make().close()


def test_an_opening_that_was_cut_off_is_finished_by_the_next(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making the registry's collection and its index the process is killed: a Milvus
    would not load it, so the next opening makes the index; another one does not."""
    done = Calls.call
    made: list[str] = []

    def call(calls: Calls, method: str, *arguments: Any, **options: Any) -> Any:
        if method == "create_index":
            if not made:
                made.append("cut off")
                raise KeyboardInterrupt
            made.append(arguments[0])
        if method == "load_collection":
            assert done(calls, "list_indexes", arguments[0])
        return done(calls, method, *arguments, **options)

    monkeypatch.setattr(Calls, "call", call)
    with pytest.raises(KeyboardInterrupt):
        make()
    second = make()
    second.create(IndexSpec("docs", 3))
    second.close()
    assert make().names() == ["docs"]
    assert made[:2] == ["cut off", "stillhouse_registry"]
    assert len(made) == 3


def test_a_failing_registry_is_not_a_missing_index(make: Make) -> None:
    """When the registry cannot be read it is a failure; when the name is not in it, a refusal."""
    backend = make()
    backend.create(IndexSpec("a", 3))
    with pytest.raises(VectorNotFoundError):
        backend.merge("a", "none", clear_source=True, on_conflict="skip")
    backend._calls.call("drop_collection", "stillhouse_registry")
    with pytest.raises(VectorFailedError):
        backend.spec("a")
    assert not backend.health().writable


@pytest.mark.parametrize(
    "wrong",
    [
        "milvus:store",
        "milvus://",
        f"milvus://{LOGIN}:1",
        f"milvus://{LOGIN}h:port",
        "milvuss:x.db",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(wrong: str) -> None:
    """The error is one line that says what a URL looks like."""
    with pytest.raises(UsageError, match="It is milvus://<user>") as failed:
        open_backend(wrong)
    assert "s3cret" not in str(failed.value)


def test_a_milvus_that_is_not_there_is_one_line_without_the_password() -> None:
    """Nothing listens at the address."""
    with pytest.raises(VectorFailedError, match=r"Milvus at 127\.0\.0\.1:1") as failed:
        MilvusBackend(f"milvus://{LOGIN}127.0.0.1:1", options=MilvusOptions(timeout_seconds=0.5))
    assert "s3cret" not in str(failed.value)
    assert "\n" not in str(failed.value)


def test_urls_name_a_server_and_a_database() -> None:
    """User, password, port, database and TLS are taken from the URL."""
    assert place_of(f"milvus://{LOGIN}h/db")[1:] == ("http://h:19530", "u:s3cret@", "db", None)
    assert place_of("milvuss://[::1]:1")[1:] == ("https://[::1]:1", "", "", None)
