"""An index of a folder, against looking at every row: whatever is changed, sealed, joined,
damaged or opened again."""

from __future__ import annotations

import logging
import random
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.vectors.filters import parse_filter
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.search_index import SearchIndex
from stillhouse.vectors.values import METRICS, Metric
from stillhouse.vectors.worker import Worker
from tests.vectors.shelf import NOTHING, WITH_ALL, Shelf, clustered, opened, recall

_EVEN = parse_filter({"at": {"$gte": 0}, "even": True})


def _metadata(at: int) -> dict[str, Any] | None:
    return (
        None if at % 5 == 0 else {"at": at % 50, "even": at % 2 == 0, "tags": ["x", f"t{at % 3}"]}
    )


def _filled(shelf: Shelf, count: int, seed: int = 1, index: SearchIndex | None = None) -> None:
    ids = [f"id-{seed}-{at}" for at in range(count)]
    vectors = clustered(count, shelf.spec.dimension, seed)
    for start in range(0, count, 100):
        place = slice(start, min(start + 100, count))
        metadata = [_metadata(at) for at in range(place.start, place.stop)]
        shelf.put(ids[place], vectors[place], metadata, index)


def _churn(shelf: Shelf, index: SearchIndex, made: random.Random, rounds: int) -> None:
    """Put, replace and drop at random, with the number of items about the same."""
    for _ in range(rounds):
        ids = made.sample(sorted(shelf.numbers), min(len(shelf.numbers), 40))
        shelf.drop(ids[:20], index)
        fresh = [f"new-{made.random()}" for _ in range(20)]
        seed = made.randrange(10_000)
        some = [*ids[20:], *fresh]
        vectors = clustered(len(some), shelf.spec.dimension, seed)
        shelf.put(some, vectors, [_metadata(made.randrange(100)) for _ in some], index)


@pytest.mark.parametrize("metric", METRICS)
def test_an_index_follows_every_change(tmp_path: Path, metric: Metric) -> None:
    """Through churn, sealing, joining and opening again it has exactly the items there are."""
    shelf = Shelf(metric)
    index = opened(shelf, tmp_path / "1")
    made = random.Random(metric)
    shelf.holds(index)
    _filled(shelf, 500, index=index)
    shelf.holds(index)
    for turn in range(6):
        _churn(shelf, index, made, 4)
        shelf.holds(index)
        shelf.holds(index, _EVEN)
        if turn % 2:
            index.settle()
            shelf.holds(index)
            shelf.holds(index, _EVEN)
            assert index.stats().segments > 0
        if turn % 3 == 2:
            index.close()
            index = opened(shelf, tmp_path / "1")
            shelf.holds(index)
    shelf.drop(sorted(shelf.numbers), index)
    shelf.holds(index)
    index.settle()
    shelf.holds(index)
    index.close()


@pytest.mark.parametrize("metric", METRICS)
def test_the_nearest_are_found(tmp_path: Path, metric: Metric) -> None:
    """Recall of ten is at least 0.95 over segments, a tail and the dead, single and as a batch."""
    shelf = Shelf(metric, 24)
    index = opened(shelf, tmp_path, seal_rows=1_000)
    _filled(shelf, 3_000, index=index)
    index.settle()
    shelf.drop([f"id-1-{at}" for at in range(0, 3_000, 9)], index)
    _filled(shelf, 200, seed=2, index=index)
    queries = clustered(40, 24, 3)
    assert recall(shelf, index, queries) >= 0.97
    assert recall(shelf, index, queries, ef=50) >= 0.97
    assert recall(shelf, index, queries, ef=50, together=True) >= 0.97
    batch = index.search(queries, 10, None, None, WITH_ALL)
    for query, found in zip(queries, batch, strict=True):
        shelf.right(found, query)
        one = index.search(query[None], 10, None, None, NOTHING)[0]
        assert len(set(found.ids) & set(one.ids)) >= 9
    index.close()


@pytest.mark.parametrize("beside", [False, True])
def test_a_filter_does_not_cost_recall(tmp_path: Path, beside: bool) -> None:
    """At every selectivity the ten nearest matches are found, be they anywhere or all of them far
    away from the query, one by one and as a batch, through the graph or by scanning."""
    shelf = Shelf("cosine", 16)
    vectors = clustered(8_000, 16, 4)
    queries = clustered(20, 16, 5)
    # What matches is what is farthest from the queries' middle, or anything.
    order = np.argsort(vectors @ queries.mean(axis=0))
    if not beside:
        order = np.random.default_rng(6).permutation(8_000)
    rank = np.empty(8_000, np.int64)
    rank[order] = np.arange(8_000)
    shelf.put([str(at) for at in range(8_000)], vectors, [{"rank": int(at)} for at in rank])
    index = opened(shelf, tmp_path, seal_rows=8_000)
    index.settle()
    for share in (0.9, 0.5, 0.1, 0.01, 0.001):
        filter_ = parse_filter({"rank": {"$lt": int(share * 8_000)}})
        assert recall(shelf, index, queries, filter_) >= 0.95
        assert recall(shelf, index, queries, filter_, ef=20, together=True) >= 0.95
    index.close()


def test_always_as_many_hits_as_there_are_matches(tmp_path: Path) -> None:
    """min(k, matches), for every k, in and between batches, with the dead in the way."""
    shelf = Shelf("l2")
    _filled(shelf, 3_000)
    index = opened(shelf, tmp_path, seal_rows=3_000)
    index.settle()
    # All that is near to the first query is dead.
    queries = clustered(8, 8, 5)
    shelf.drop(shelf.nearest(queries[:1], 150)[0], index)
    for filter_ in (None, _EVEN):
        matching = len(shelf.matching(filter_))
        for k in (1, 2, 17, 400, matching - 1, matching, 5_000):
            for ef in (None, 1, 500):
                for found in index.search(queries, k, filter_, ef, NOTHING):
                    assert len(set(found.ids)) == len(found.ids) == min(k, matching)
                one = index.search(queries[:1], k, filter_, ef, NOTHING)[0]
                assert len(set(one.ids)) == len(one.ids) == min(k, matching)
    assert recall(shelf, index, queries[:1], ef=1) == 1.0
    assert recall(shelf, index, queries, ef=20) >= 0.9
    index.close()


def test_equals_come_in_their_order(tmp_path: Path) -> None:
    """Among equally near items the one that is older comes first, whatever part it is in."""
    shelf = Shelf("cosine")
    same = np.ones((30, 8), np.float32)
    index = opened(shelf, tmp_path, seal_rows=10)
    for at in range(6):
        shelf.put([f"{at}-{one:02}" for one in range(30)], same, None, index)
        if at % 2:
            index.settle()
    for k in (7, 100, 180):
        found = index.search(same[:3], k, None, None, NOTHING)
        for one in found:
            assert one.ids == sorted(one.ids)
            assert len(set(one.ids)) == k
        assert k < 180 or found[0].ids == sorted(shelf.numbers)
    index.close()


@pytest.mark.parametrize("codes", ["int8", "fp16", "float32"])
def test_codes_may_be_mixed(tmp_path: Path, codes: Any) -> None:
    """Segments written with one option are searched with those written with another."""
    shelf = Shelf("cosine", 16)
    first = opened(shelf, tmp_path, codes="int8", seal_rows=400)
    _filled(shelf, 2_500, index=first)
    first.settle()
    first.close()
    index = opened(shelf, tmp_path, codes=codes, seal_rows=200)
    _filled(shelf, 240, seed=2, index=index)
    index.settle()
    kinds = {part.rows.header.codes for part in index._view.segments}  # type: ignore[union-attr]
    assert kinds == {"int8", codes}
    shelf.holds(index)
    assert recall(shelf, index, clustered(30, 16, 3)) >= 0.95
    index.close()


def test_what_is_whole_is_not_built_again(tmp_path: Path) -> None:
    """Opening takes segments as they are: no file changes, and the tail holds the rest alone."""
    shelf = Shelf()
    index = opened(shelf, tmp_path)
    _filled(shelf, 300, index=index)
    index.settle()
    index.close()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    shelf.drop(["id-1-5", "id-1-7"])
    shelf.put(["late"], clustered(1, 8, 9))
    index = opened(shelf, tmp_path)
    stats = index.stats()
    assert (stats.tail, stats.tombstones, stats.segments) == (1, 2, 1)
    shelf.holds(index)
    index.close()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("seed", range(8))
def test_damage_anywhere_is_found_and_mended(tmp_path: Path, seed: int) -> None:
    """After a flipped bit or a truncation of any file the index has exactly the truth's items,
    and settling makes the folder whole again."""
    _damage(tmp_path, random.Random(seed), 4)


@pytest.mark.soak
def test_damage_anywhere_many_times(tmp_path: Path) -> None:
    """The same, for a thousand places."""
    _damage(tmp_path, random.Random(99), 1_000)


def _damage(folder: Path, made: random.Random, times: int) -> None:
    shelf = Shelf("cosine", 4)
    whole = folder / "whole"
    index = opened(shelf, whole, seal_rows=32)
    for seed in (1, 2):
        _filled(shelf, 60 * seed * seed, seed=seed, index=index)
        index.tend(quiet=False)
    shelf.drop(sorted(shelf.numbers)[::7], index)
    index.close()
    files = sorted(path.name for path in whole.iterdir())
    assert len(files) == 3
    for at in range(times):
        broken = folder / str(at)
        shutil.copytree(whole, broken)
        path = broken / made.choice(files)
        data = bytearray(path.read_bytes())
        if made.random() < 0.3:
            del data[made.randrange(len(data)) :]
        else:
            data[made.randrange(len(data))] ^= 1 << made.randrange(8)
        path.write_bytes(data)
        index = opened(shelf, broken, seal_rows=32)
        shelf.holds(index)
        index.settle()
        shelf.holds(index)
        index.close()
        again = opened(shelf, broken, seal_rows=32)
        assert again.stats().tail < 32
        shelf.holds(again)
        again.close()
        shutil.rmtree(broken)


def test_a_segment_of_another_truth_is_built_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A row whose checksum is not the truth's makes its segment stale; a version that the truth
    does not have is merely dead."""
    shelf = Shelf()
    index = opened(shelf, tmp_path)
    _filled(shelf, 200, index=index)
    index.settle()
    index.close()
    number = shelf.numbers["id-1-50"]
    other = clustered(1, 8, 77)[0]
    shelf.items[number] = shelf.items[number]._replace(vector=other)
    with caplog.at_level(logging.WARNING):
        index = opened(shelf, tmp_path)
    assert "does not agree with the truth" in caplog.text
    assert index.stats().segments == 0
    shelf.holds(index)
    assert index.search(other[None], 1, None, None, NOTHING)[0].ids == ["id-1-50"]
    index.close()


def test_missing_and_foreign_files_do_no_harm(tmp_path: Path) -> None:
    """A missing segment or manifest is made again, leftovers are swept, a folder within stays."""
    shelf = Shelf()
    index = opened(shelf, tmp_path)
    _filled(shelf, 200, index=index)
    index.settle()
    index.close()
    for gone in ("*.seg", "manifest.json"):
        next(tmp_path.glob(gone)).unlink()
        (tmp_path / ".1-9.seg.tmp").write_bytes(b"half")
        (tmp_path / "9-10.seg").write_bytes(b"left over")
        index = opened(shelf, tmp_path)
        shelf.holds(index)
        index.settle()
        index.close()
        assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".seg"]
    shutil.rmtree(tmp_path)
    index = opened(shelf, tmp_path)
    shelf.holds(index)
    index.close()


def test_overlapping_segments_give_each_item_once(tmp_path: Path) -> None:
    """Two whole files with the same rows, both named by the manifest, are no two of an item."""
    from stillhouse.vectors.manifest import write_manifest

    shelf = Shelf()
    index = opened(shelf, tmp_path)
    _filled(shelf, 200, index=index)
    index.settle()
    index.close()
    path = next(tmp_path.glob("*.seg"))
    shutil.copy(path, tmp_path / "copy.seg")
    write_manifest(tmp_path, [path.name, "copy.seg"], lambda point: None)
    index = opened(shelf, tmp_path)
    shelf.holds(index)
    index.settle()
    shelf.holds(index)
    index.close()


@pytest.mark.parametrize(
    "point",
    [
        "seal:written",
        "seal:renamed",
        "seal:built",
        "manifest:written",
        "manifest:renamed",
        "compaction:swept",
    ],
)
def test_a_disk_that_fails_hurts_nobody(tmp_path: Path, point: str) -> None:
    """At whatever point it fails: items are found, added and removed all the same, also by who
    opens the folder as it was left; and the next time it goes through."""
    shelf = Shelf()
    broken = True

    def fail(now: str) -> None:
        if broken and now == point:
            raise OSError(28, "no space left")

    index = opened(shelf, tmp_path / "a", faults=fail)
    for seed in (1, 2):
        _filled(shelf, 150, seed=seed, index=index)
        with pytest.raises(OSError, match="no space"):
            index.settle()
        shelf.drop([f"id-{seed}-3"], index)
        shelf.holds(index)
        if (tmp_path / "a").exists():
            shutil.copytree(tmp_path / "a", tmp_path / str(seed))
        after = opened(shelf, tmp_path / str(seed))
        shelf.holds(after)
        after.settle()
        shelf.holds(after)
        after.close()
    broken = False
    index.settle()
    shelf.holds(index)
    assert index.stats().tail < 64
    named = {path.name for path in (tmp_path / "a").iterdir()}
    assert named == {"manifest.json", *index._names()}
    index.close()
    again = opened(shelf, tmp_path / "a")
    assert again.stats().segments == index.stats().segments
    shelf.holds(again)
    again.close()


def test_items_that_die_while_a_segment_is_built_are_dead_in_it(tmp_path: Path) -> None:
    """Changes between the beginning and the end of sealing and joining are not lost."""
    shelf = Shelf()
    index: SearchIndex | None = None
    turn = 0

    def change(point: str) -> None:
        nonlocal turn
        if point == "seal:built" and index is not None and turn < 6:
            turn += 1
            some = sorted(shelf.numbers)
            shelf.drop(some[:: 17 + turn], index)
            some = sorted(shelf.numbers)[::13]
            shelf.put([*some, f"while-{turn}"], clustered(len(some) + 1, 8, turn), None, index)
            # What came while it was built may also be gone again.
            shelf.drop([f"while-{turn}", some[0]], index)
            shelf.holds(index)

    index = opened(shelf, tmp_path, faults=change, seal_rows=50)
    for seed in range(1, 5):
        _filled(shelf, 120, seed=seed, index=index)
        index.tend(quiet=False)
        shelf.holds(index)
    index.settle()
    shelf.holds(index)
    assert turn == 6
    index.close()


def test_the_number_of_segments_memory_and_disk_level_off(tmp_path: Path) -> None:
    """Churn of a constant size, for long, leaves a bounded number of dead, segments and bytes."""
    shelf = Shelf("cosine", 4)
    index = opened(shelf, tmp_path, seal_rows=40)
    _filled(shelf, 400, index=index)
    made = random.Random(5)
    seen = []
    for _ in range(40):
        _churn(shelf, index, made, 2)
        while index.tend(quiet=False):
            pass
        stats = index.stats()
        size = sum(path.stat().st_size for path in tmp_path.iterdir())
        seen.append((stats.segments, stats.tombstones, stats.tail, size))
    segments, tombstones, tails, on_disk = zip(*seen, strict=True)
    assert max(segments) <= 6
    assert max(tombstones) <= 120
    assert max(tails) < 40
    assert max(on_disk[20:]) <= 1.2 * max(on_disk[:20])
    shelf.holds(index)
    index.close()


def test_every_item_is_reached_after_churn(tmp_path: Path) -> None:
    """After twenty rounds each item is found at k = N, and finds itself among ten."""
    shelf = Shelf("cosine", 16)
    index = opened(shelf, tmp_path, seal_rows=200)
    _filled(shelf, 1_500, index=index)
    made = random.Random(8)
    for _ in range(20):
        _churn(shelf, index, made, 3)
        index.tend(quiet=False)
    index.settle()
    shelf.holds(index)
    itself = sum(
        one.id in index.search(one.vector[None], 10, None, None, NOTHING)[0].ids
        for one in shelf.items.values()
    )
    assert itself >= 0.99 * len(shelf.items)
    index.close()


@pytest.mark.parametrize("rounds", [60, pytest.param(3_000, marks=pytest.mark.soak)])
def test_a_search_sees_one_state(tmp_path: Path, rounds: int) -> None:
    """While items are replaced, tails sealed and segments joined, no search misses a live item or
    sees one twice."""
    shelf = Shelf("l2", 4)
    worker = Worker(quiet_seconds=0.001)
    index = opened(shelf, tmp_path, seal_rows=32, worker=worker)
    _filled(shelf, 200, index=index)
    ids = sorted(shelf.numbers)
    wrong: list[str] = []
    ended = threading.Event()

    def look(k: int, filter_: Any) -> None:
        query = np.zeros((1, 4), np.float32)
        while not ended.is_set():
            found = index.search(query, k, filter_, None, NOTHING)[0].ids
            if sorted(found) != ids:
                wrong.append(f"{len(found)} hits, {len(set(found))} ids")
                return

    every = parse_filter({"$not": {"nowhere": 1}})
    lookers = [threading.Thread(target=look, args=(k, f)) for k, f in ((500, None), (200, every))]
    for looker in lookers:
        looker.start()
    made = random.Random(3)
    for turn in range(rounds):
        some = made.sample(ids, 25)
        shelf.put(some, clustered(25, 4, turn), None, index)
    ended.set()
    for looker in lookers:
        looker.join(30)
    assert wrong == []
    shelf.holds(index)
    index.close()
    worker.close()


def test_rebuilding_makes_one_segment(tmp_path: Path) -> None:
    """All rows are in one segment of the truth's own rows; a failure leaves all as it was."""
    shelf = Shelf()
    broken = False

    def fail(now: str) -> None:
        if broken and now == "seal:written":
            raise OSError(28, "no space left")

    index = opened(shelf, tmp_path, faults=fail)
    _filled(shelf, 300, index=index)
    index.settle()
    _filled(shelf, 30, seed=2, index=index)
    shelf.drop(["id-1-1"], index)
    broken = True
    before = index.stats()
    with pytest.raises(OSError, match="no space"):
        index.rebuild(shelf, lambda pin: pin())
    assert index.stats() == before
    shelf.holds(index)
    broken = False
    index.rebuild(shelf, lambda pin: pin())
    stats = index.stats()
    assert (stats.segments, stats.tombstones, stats.tail) == (1, 0, 0)
    shelf.holds(index)
    shelf.drop(sorted(shelf.numbers), index)
    index.rebuild(shelf, lambda pin: pin())
    assert index.stats().segments == 0
    shelf.holds(index)
    index.close()


@pytest.mark.parametrize("metric", ["cosine", "ip"])
@pytest.mark.parametrize("large", [1.0, 100.0, 1_000.0])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_query_that_codes_cannot_tell_is_answered_exactly(
    tmp_path: Path, metric: Metric, large: float, noise: float
) -> None:
    """One number that is very much larger than the others, in a dimension that parts no rows, takes
    nothing away: with a filter or without, alone or among other queries."""
    shelf = Shelf(dimension=32, metric=metric)
    index = opened(shelf, tmp_path)
    vectors = clustered(3_000, 32, 1)
    vectors[:, 0] = noise * vectors[:, 0]
    metadata = [{"half": at % 2} for at in range(3_000)]
    shelf.put([f"id-{at}" for at in range(3_000)], vectors, metadata, index)
    index.settle()
    queries = clustered(20, 32, 2)
    queries[::2, 0] = large
    for filter_ in (None, parse_filter({"half": 1}, Limits())):
        for together in (False, True):
            assert recall(shelf, index, queries, filter_, together=together) >= 0.97
    index.close()


def test_closing_stops_building(tmp_path: Path) -> None:
    """A segment on its way is given up; nothing of it is left, and closing again is nothing."""
    shelf = Shelf()
    reached, go = threading.Event(), threading.Event()

    def hold(point: str) -> None:
        if point == "seal:written":
            reached.set()
            assert go.wait(30)

    worker = Worker(quiet_seconds=0.001)
    index = opened(shelf, tmp_path, faults=hold, worker=worker)
    _filled(shelf, 100, index=index)
    assert reached.wait(30)
    closing = threading.Thread(target=index.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    go.set()
    closing.join(30)
    index.close()
    worker.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_asked_for_comes_with_the_hits(tmp_path: Path) -> None:
    """Metadata and vectors come when asked for, also with nothing found."""
    shelf = Shelf()
    index = opened(shelf, tmp_path)
    query = clustered(1, 8, 1)
    nothing = index.search(query, 3, None, None, WITH_ALL)[0]
    assert nothing.ids == []
    assert nothing.metadata == []
    assert nothing.vectors is not None
    assert nothing.vectors.shape == (0, 8)
    _filled(shelf, 100, index=index)
    index.settle()
    _filled(shelf, 10, seed=2, index=index)
    bare = index.search(query, 3, None, None, NOTHING)[0]
    assert (bare.metadata, bare.vectors) == (None, None)
    for filter_ in (None, parse_filter({"at": 7777})):
        found = index.search(query, 3, filter_, None, WITH_ALL)[0]
        shelf.right(found, query[0])
    index.close()


def test_versions_that_match_are_told_by_number(tmp_path: Path) -> None:
    """`select` gives the numbers of what matches, ascending, over all parts, without the dead."""
    shelf = Shelf()
    index = opened(shelf, tmp_path)
    assert index.select(_EVEN).tolist() == []
    _filled(shelf, 200, index=index)
    index.settle()
    _filled(shelf, 40, seed=2, index=index)
    shelf.drop(["id-1-2", "id-1-4", "id-2-8"], index)
    for filter_ in (_EVEN, parse_filter({}), parse_filter({"tags": "t1"})):
        assert index.select(filter_).tolist() == shelf.matching(filter_)
        assert index.count(filter_) == len(shelf.matching(filter_))
    index.close()
