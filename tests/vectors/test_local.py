"""The folder backend: what it keeps, across sealing and opening again."""

from __future__ import annotations

import random
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from stillhouse.errors import VectorConflictError, VectorDamagedError, VectorNotFoundError
from stillhouse.vectors import VectorStore
from stillhouse.vectors.check import check_folder
from stillhouse.vectors.filters import OneOf
from stillhouse.vectors.live import row_check
from stillhouse.vectors.local import LocalBackend, LocalOptions
from stillhouse.vectors.search_index import SearchOptions
from stillhouse.vectors.values import Batch, Floats, Include, IndexSpec

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


class Hook:
    """Does something each time a named point is passed."""

    def __init__(self, point: str, then: Callable[[], object] = lambda: None) -> None:
        self._point = point
        self.then = then

    def __call__(self, point: str) -> None:
        if point == self._point:
            self.then()


@contextmanager
def folder(path: Path, hook: Hook | None = None) -> Iterator[LocalBackend]:
    """A folder with an index of thirty items, closed behind."""
    backend = LocalBackend(path, options=LocalOptions(faults=hook or Hook("")))
    try:
        backend.create(_SPEC)
        backend.add("docs", batch(range(30)))
        yield backend
    finally:
        backend.close()


_SPEC = IndexSpec("docs", 4)


def batch(numbers: range, value: float = 1.0) -> Batch:
    """Items by their numbers."""
    vectors = np.full((len(numbers), 4), value, np.float32)
    return Batch(names(numbers), vectors, [None] * len(numbers))


def names(numbers: range) -> list[str]:
    """Ids by their numbers, in order."""
    return [f"{at:05d}" for at in numbers]


def test_an_export_is_one_state(tmp_path: Path) -> None:
    """Whatever is added, replaced, deleted or dropped while it is read: it gives what was there
    when it began."""
    with folder(tmp_path) as backend:
        backend.add("docs", batch(range(30, 2_500)))
        with backend.export("docs") as export:
            first = next(export.batches)
            backend.add("docs", batch(range(2_000, 3_000), value=2.0))
            backend.delete("docs", names(range(1_500, 2_000)))
            backend.drop("docs")
            rest = list(export.batches)
        assert export.total == 2_500
        assert [id_ for one in (first, *rest) for id_ in one.ids] == names(range(2_500))
        assert all((one.vectors == 1.0).all() for one in rest)


def test_a_load_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    """While it runs the old index answers, and from one moment on the new one."""
    hook = Hook("load:batch")
    with folder(tmp_path, hook) as backend:

        def old() -> None:
            assert backend.ids("docs") == names(range(30))
            assert backend.count("docs", None) == 30
            seen.append(1)

        seen: list[int] = []
        hook.then = old
        batches = [batch(range(at, at + 10), value=3.0) for at in range(100, 150, 10)]
        assert backend.load(_SPEC, batches, replace=True) == 50
        assert len(seen) == 5
        assert backend.ids("docs") == names(range(100, 150))


def test_what_is_half_removed_is_never_seen(tmp_path: Path) -> None:
    """While the rows of a replaced index go, its successor answers; while those of a dropped one
    go, there is no such index."""
    hook = Hook("purge:some")
    with folder(tmp_path, hook) as backend:
        seen: list[list[str]] = []
        backend.add("docs", batch(range(12_000)))
        hook.then = lambda: seen.append(backend.ids("docs"))
        backend.load(_SPEC, [batch(range(5))], replace=True)
        assert seen
        assert all(ids == names(range(5)) for ids in seen)

        def none() -> None:
            for read in (backend.ids, backend.spec, lambda name: backend.get(name, ["00001"])):
                with pytest.raises(VectorNotFoundError):
                    read("docs")
            gone.append(1)

        gone: list[int] = []
        hook.then = none
        backend.drop("docs")
        assert gone


def test_a_load_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    """What the stream raises goes on, the old index stays, and no row is left of the new one."""

    def breaks() -> Iterator[Batch]:
        yield batch(range(500, 600))
        raise LookupError("the stream ended early")

    with folder(tmp_path) as backend:
        with pytest.raises(LookupError, match="early"):
            backend.load(_SPEC, breaks(), replace=True)
        with pytest.raises(VectorConflictError):
            backend.load(_SPEC, [batch(range(3))], replace=False)
        assert backend.ids("docs") == names(range(30))
        assert backend.health().writable
    rows = sqlite3.connect(tmp_path / "truth.db")
    assert rows.execute("SELECT count(*), count(DISTINCT index_number) FROM items").fetchall() == [
        (30, 1)
    ]
    rows.close()


def test_a_big_batch_is_one_batch(tmp_path: Path) -> None:
    """Ten thousand items and ten thousand ids at once, in the order asked for."""
    with folder(tmp_path) as backend:
        statuses = backend.add("docs", batch(range(10_000), value=2.0))
        assert statuses == ["replaced"] * 30 + ["inserted"] * 9_970
        assert backend.get("docs", names(range(10_000))[::-1]).ids == names(range(10_000))[::-1]
        assert (
            backend.delete("docs", names(range(5_000, 15_000))) == [True] * 5_000 + [False] * 5_000
        )
        assert backend.ids("docs") == names(range(5_000))


def test_items_with_the_same_checksum_are_not_the_same(tmp_path: Path) -> None:
    """A CRC-32 says what may be unchanged; the bytes decide."""
    made = random.Random(1)
    seen: dict[int, bytes] = {}
    while True:
        metadata = b'{"a":"%032x"}' % made.getrandbits(128)
        other = seen.setdefault(zlib.crc32(metadata), metadata)
        if other != metadata:
            break
    with folder(tmp_path) as backend:
        one = batch(range(1))
        assert row_check("00000", one.vectors.tobytes(), metadata) == row_check(
            "00000", one.vectors.tobytes(), other
        )
        backend.add("docs", one._replace(metadata=[other]))
        assert backend.add("docs", one._replace(metadata=[metadata])) == ["replaced"]
        assert backend.get("docs", ["00000"]).metadata == [metadata]


def test_a_row_that_rots_is_not_given_out(tmp_path: Path) -> None:
    """What is read is checked as it was at opening."""
    with folder(tmp_path) as backend:
        rotten = sqlite3.connect(tmp_path / "truth.db")
        rotten.execute("UPDATE items SET vector = zeroblob(16) WHERE id = '00007'")
        rotten.commit()
        rotten.close()
        with pytest.raises(VectorDamagedError, match="'00007' of index 'docs'"):
            backend.get("docs", ["00007"])
        with backend.export("docs") as export, pytest.raises(VectorDamagedError):
            list(export.batches)
        assert backend.get("docs", ["00008"]).ids == ["00008"]


def rotting(path: Path) -> tuple[LocalBackend, Floats]:
    """A folder whose one segment has rotted since it was opened: in the metadata of an item, the id
    of another and the vector of a third."""
    vectors = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32)
    metadata: list[bytes | None] = [b'{"who":"user-%05d"}' % at for at in range(300)]
    backend = LocalBackend(path, options=LocalOptions(search=SearchOptions(seal_rows=64)))
    backend.create(IndexSpec("docs", 4, "l2"))
    backend.add("docs", Batch(names(range(300)), vectors, metadata))
    backend.settle("docs")
    (file,) = (path / "segments").rglob("*.seg")
    data = file.read_bytes()
    with file.open("r+b") as segment:
        for old, new in (
            (b"user-00250", b"user-00251"),
            (b"0025900260", b"00259\xff0269"),
            (vectors[270].tobytes(), np.full(4, 50, "<f4").tobytes()),
        ):
            segment.seek(data.index(old))
            segment.write(new)
    return backend, vectors


def test_what_rots_in_a_segment_deletes_nothing(tmp_path: Path) -> None:
    """Which items a filter deletes is decided by the truth: a segment only finds them."""
    backend, _ = rotting(tmp_path)
    assert backend.delete_matching("docs", OneOf(("who",), ("user-00251",))) == 1
    assert backend.get("docs", names(range(250, 252))).ids == ["00250"]
    backend.close()


def test_what_rots_in_a_segment_is_not_vouched_for_by_the_next(tmp_path: Path) -> None:
    """Joining and compacting copies rows: what is not as it was written comes from the truth, and
    the new segment is whole."""
    backend, vectors = rotting(tmp_path)
    backend.delete("docs", names(range(100)))  # more than a fifth is dead, so it is compacted
    backend.settle("docs")
    everything: frozenset[Include] = frozenset(("metadata", "vector"))
    for at in (250, 260, 270):
        (found,) = backend.search("docs", vectors[at : at + 1], 1, None, None, everything)
        assert found.ids == names(range(at, at + 1))
        assert found.metadata == [b'{"who":"user-%05d"}' % at]
    (every,) = backend.search("docs", vectors[:1], 300, None, None, frozenset())
    assert sorted(every.ids) == names(range(100, 300))
    backend.close()
    assert check_folder(tmp_path).problems == []


def test_rebuilding_stops_nobody(tmp_path: Path) -> None:
    """While graphs are built anew writes go on, and what they wrote is in the view after it."""
    gate, reached = threading.Event(), threading.Event()

    def faults(point: str) -> None:
        if point == "seal:written" and armed:
            reached.set()
            assert gate.wait(30)

    armed = False
    options = LocalOptions(search=SearchOptions(seal_rows=10_000, faults=faults))
    backend = LocalBackend(tmp_path, options=options)
    backend.create(_SPEC)
    backend.add("docs", batch(range(300)))
    armed = True
    rebuilding = threading.Thread(target=backend.rebuild, args=("docs",))
    rebuilding.start()
    assert reached.wait(30)
    backend.add("docs", batch(range(290, 310), value=2.0))
    backend.delete("docs", names(range(10)))
    gate.set()
    rebuilding.join(30)
    stats = backend.describe("docs")
    assert (stats.segments, stats.tombstones, stats.tail, stats.count) == (1, 20, 20, 300)
    (found,) = backend.search("docs", np.ones((1, 4), np.float32), 400, None, None, frozenset())
    assert sorted(found.ids) == names(range(10, 310))
    backend.close()


def test_numbers_are_never_used_again(tmp_path: Path) -> None:
    """Versions and indexes that are gone leave their numbers unused, also after opening again: a
    segment that outlived them must not come to life."""
    with folder(tmp_path) as backend:
        backend.delete("docs", names(range(30)))
    with folder(tmp_path) as backend:
        backend.drop("docs")
    with folder(tmp_path):
        rows = sqlite3.connect(tmp_path / "truth.db")
        found = rows.execute("SELECT min(seq), min(index_number) FROM items").fetchone()
        rows.close()
    assert found == (61, 2)
