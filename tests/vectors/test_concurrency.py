"""Everything at once, on every backend (SPEC V5): no deadlock, nothing lost, nothing seen twice.

Anchors are items that nobody touches: at every moment each is in `ids`, in an export and in a
search of all, once. Other items move between indexes by merges, or come and go, each under one
writer's hand, so that what is there at the end is known.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stillhouse.errors import VectorConflictError, VectorNotFoundError
from stillhouse.vectors.values import Batch, Floats, IndexSpec, Metric
from tests.vectors.backends import BACKENDS, Place, opened

ENOUGH = 120.0
"""Seconds after which threads that have not come to an end are taken for locked up."""
DIMENSION = 4
NAMES = ("a", "b")


@pytest.fixture(params=BACKENDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each backend that may be used by several threads, empty."""
    with opened(request.param, request, tmp_path) as place:
        place.needs("threads")
        yield place


def _vector(id_: str) -> Floats:
    seed = sum(id_.encode()) * 7919 + len(id_)
    return np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)


def _batch(ids: list[str], sign: float = 1.0) -> Batch:
    vectors = np.array([_vector(id_) * sign for id_ in ids], np.float32)
    return Batch(ids, vectors.reshape(len(ids), DIMENSION), [b'{"k":1}' for _ in ids])


class Crew:
    """Threads that do things until the workers among them have done theirs."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.failures: list[BaseException] = []
        self._workers: list[threading.Thread] = []
        self._watchers: list[threading.Thread] = []

    def work(self, task: Callable[[], None]) -> None:
        """Do this to its end."""
        self._workers.append(threading.Thread(target=self._run, args=(task,), daemon=True))

    def watch(self, look: Callable[[], None]) -> None:
        """Do this again and again while there is work."""

        def looking() -> None:
            while not self.over.is_set():
                look()

        self._watchers.append(threading.Thread(target=self._run, args=(looking,), daemon=True))

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            self.failures.append(error)
            self.over.set()

    def go(self) -> None:
        """Start all, wait for all; raises what the first raised."""
        everyone = [*self._workers, *self._watchers]
        for thread in everyone:
            thread.start()
        for thread in self._workers:
            thread.join(ENOUGH)
        self.over.set()
        for thread in self._watchers:
            thread.join(ENOUGH)
        if self.failures:
            raise self.failures[0]
        assert not [thread for thread in everyone if thread.is_alive()], "somebody waits for ever"


def _once(found: list[str], anchors: list[str], where: str) -> None:
    counts = Counter(found)
    twice = [id_ for id_, count in counts.items() if count > 1]
    lost = [id_ for id_ in anchors if id_ not in counts]
    assert not twice, f"{where}: twice {twice[:5]}"
    assert not lost, f"{where}: not there {lost[:5]}"


def _watch(crew: Crew, place: Place, name: str, anchors: list[str]) -> None:
    """Look at an index in every way, as long as the crew works."""
    backend = place.backend
    query = _vector("query").reshape(1, -1)

    def search() -> None:
        many = backend.search(name, np.repeat(query, 2, axis=0), 100_000, None, None, frozenset())
        # All queries of one call see one state.
        assert sorted(many[0].ids) == sorted(many[1].ids)
        _once(many[0].ids, anchors, "search")

    def ids() -> None:
        found = backend.ids(name)
        assert found == sorted(found)
        _once(found, anchors, "ids")

    def export() -> None:
        with backend.export(name) as state:
            found = [id_ for batch in state.batches for id_ in batch.ids]
            assert state.total == len(found)
        assert found == sorted(found)
        _once(found, anchors, "export")

    def get() -> None:
        got = backend.get(name, anchors[:50])
        assert got.ids == anchors[:50]
        assert got.vectors.tobytes() == _batch(got.ids).vectors.tobytes()

    def count() -> None:
        assert backend.count(name, None) >= len(anchors)
        assert backend.describe(name).count >= len(anchors)

    looks = [search, ids, export, get, count]
    turn = iter(range(10**9))
    crew.watch(lambda: looks[next(turn) % len(looks)]())
    crew.watch(search)


def _prepared(place: Place, metric: Metric, anchors: int) -> dict[str, list[str]]:
    there = {}
    for name in NAMES:
        place.backend.create(IndexSpec(name, DIMENSION, metric))
        there[name] = [f"anchor {name}{at:04}" for at in range(anchors)]
        place.backend.add(name, _batch(there[name]))
    return there


@pytest.mark.parametrize("rounds", [30, pytest.param(0, marks=pytest.mark.soak)])
def test_merges_both_ways_with_everything_else_lose_nothing(place: Place, rounds: int) -> None:
    """A→B and B→A, adds, replacements, deletes and every way of looking at once: it ends, nothing
    is in an index twice at any moment, what nobody touches is always there, what moves is at the
    end in exactly one index, the rest is as its last writer left it (``SOAK_EXAMPLES`` rounds,
    default 2000)."""
    rounds = rounds or int(os.environ.get("SOAK_EXAMPLES", "2000"))
    anchors = _prepared(place, "l2", anchors=40)
    movers = [f"mover {at:04}" for at in range(150)]
    place.backend.add("a", _batch(movers))
    crew = Crew()
    moved: list[int] = []

    def merge(src: str, dest: str) -> None:
        for _ in range(rounds):
            told = place.backend.merge(src, dest, clear_source=True, on_conflict="skip")
            assert (told.conflicts, told.failed) == ([], [])
            moved.append(told.merged)

    kept: dict[str, bytes] = {}

    def write(at: int, name: str) -> None:
        chance = random.Random(at)
        mine = [f"writer {at} {name} {n}" for n in range(30)]
        for turn in range(rounds * 2):
            some = chance.sample(mine, 10)
            if chance.random() < 0.6:
                sign = 1.0 if turn % 2 else -1.0
                place.backend.add(name, _batch(some, sign))
                kept.update((id_, (_vector(id_) * sign).tobytes()) for id_ in some)
            else:
                there = place.backend.delete(name, some)
                assert there == [kept.pop(id_, None) is not None for id_ in some]

    # Writers have an index of their own, beside the two that are merged: an item that a merge may
    # take away has no one hand to say where it is.
    place.backend.create(IndexSpec("c", DIMENSION, "l2"))
    own = [f"anchor c{at:04}" for at in range(30)]
    place.backend.add("c", _batch(own))
    crew.work(lambda: merge("a", "b"))
    crew.work(lambda: merge("b", "a"))
    crew.work(lambda: write(1, "c"))
    crew.work(lambda: write(2, "c"))
    everywhere = [*anchors["a"], *anchors["b"], *movers]

    def merged() -> None:
        for name in NAMES:
            (found,) = place.backend.search(
                name, _vector("query").reshape(1, -1), 100_000, None, None, frozenset()
            )
            _once(found.ids, [], name)
            _once(place.backend.ids(name), [], name)

    crew.watch(merged)
    _watch(crew, place, "c", own)
    crew.go()
    at_a, at_b = place.backend.ids("a"), place.backend.ids("b")
    assert sorted([*at_a, *at_b]) == sorted(everywhere)
    place.reopen()
    assert (place.backend.ids("a"), place.backend.ids("b")) == (at_a, at_b)
    assert place.backend.ids("c") == sorted([*kept, *own])
    got = place.backend.get("c", sorted(kept))
    assert [vector.tobytes() for vector in got.vectors] == [kept[id_] for id_ in sorted(kept)]
    _all_found(place, "c", [*kept, *own])
    _all_found(place, "a", at_a)
    _all_found(place, "b", at_b)
    assert sum(moved) >= len(movers)


def test_an_item_on_its_way_is_in_one_of_the_two_at_every_moment(place: Place) -> None:
    """Who looks at the source and then at the destination of a merge that clears meets every item
    that was acknowledged before, by ids as by a search."""
    for name in NAMES:
        place.backend.create(IndexSpec(name, DIMENSION, "ip"))
    crew = Crew()
    known: list[str] = []
    query = _vector("query").reshape(1, -1)

    def move() -> None:
        for turn in range(25):
            fresh = [f"{turn} {at}" for at in range(30)]
            place.backend.add("a", _batch(fresh))
            known.extend(fresh)
            place.backend.merge("a", "b", clear_source=True, on_conflict="skip")

    def searched(name: str) -> list[str]:
        return place.backend.search(name, query, 9_999, None, None, frozenset())[0].ids

    def look(ids: Callable[[str], list[str]]) -> None:
        before = set(known)
        assert before <= {*ids("a"), *ids("b")}

    crew.work(move)
    crew.watch(lambda: look(place.backend.ids))
    crew.watch(lambda: look(searched))
    crew.go()
    assert (len(place.backend.ids("a")), len(place.backend.ids("b"))) == (0, len(known))


def test_no_anchor_is_missed_or_seen_twice_while_others_are_merged_in(place: Place) -> None:
    """While fresh indexes are merged into one, items replaced, deleted, and segments built, every
    search sees each anchor once."""
    anchors = _prepared(place, "cosine", anchors=60)["b"]
    place.settle("b")
    crew = Crew()

    def bring() -> None:
        for turn in range(10):
            fresh = [f"fresh {turn} {at}" for at in range(40)]
            place.backend.add("a", _batch(fresh))
            # The anchors of "b" are in "a" as well, the same: skipped and cleared there.
            place.backend.add("a", _batch(anchors[:20]))
            told = place.backend.merge("a", "b", clear_source=True, on_conflict="replace")
            assert told.remaining == 0
            place.settle("b")

    def churn() -> None:
        for turn in range(20):
            place.backend.add("b", _batch([f"churn {at}" for at in range(20)], 1.0 + turn))
            place.backend.delete("b", [f"churn {at}" for at in range(turn % 20)])

    crew.work(bring)
    crew.work(churn)
    _watch(crew, place, "b", anchors)
    crew.go()
    wanted = {f"anchor {name}{at:04}" for name in NAMES for at in range(60)}
    wanted |= {f"fresh {turn} {at}" for turn in range(10) for at in range(40)}
    left = {f"churn {at}" for at in range(20)} - {f"churn {at}" for at in range(19)}
    assert set(place.backend.ids("b")) == wanted | left
    _all_found(place, "b", sorted(wanted | left))


def test_a_replaced_item_is_there_at_every_moment_once(place: Place) -> None:
    """Who replaces all items again and again, in one batch, hides none: each look sees them all,
    and those of one search are of one batch."""
    ids = [f"i{at:03}" for at in range(50)]
    place.backend.create(IndexSpec("docs", 2, "l2"))

    def batch(turn: int) -> Batch:
        vectors = np.array([[turn, at] for at in range(len(ids))], np.float32)
        return Batch(ids, vectors, [b'{"turn":%d}' % turn] * len(ids))

    place.backend.add("docs", batch(1))
    crew = Crew()

    def replace() -> None:
        for turn in range(2, 40):
            assert place.backend.add("docs", batch(turn)) == ["replaced"] * len(ids)

    def look() -> None:
        query = np.zeros((1, 2), np.float32)
        found = place.backend.search("docs", query, 999, None, None, frozenset(["metadata"]))[0]
        _once(found.ids, ids, "search")
        assert len(found.ids) == len(ids)
        assert len(set(found.metadata or [])) == 1
        got = place.backend.get("docs", ids)
        assert len(set(got.metadata)) == 1
        assert place.backend.ids("docs") == ids

    crew.work(replace)
    crew.watch(look)
    crew.watch(look)
    crew.go()


def test_those_who_make_and_drop_an_index_at_once_get_answers(place: Place) -> None:
    """Create, drop, load, add and read of one name by many: each call ends with an answer or a
    refusal that says what is not there, and nothing half made is left."""
    crew = Crew()
    spec = IndexSpec("docs", DIMENSION, "ip")
    whole = _batch([f"i{at}" for at in range(30)])

    def again(times: int, *calls: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            for turn in range(times):
                code = _refusal(calls[turn % len(calls)])
                assert code in ("", "index_not_found", "index_exists")

        return run

    def read() -> None:
        found = place.backend.ids("docs")
        assert len(found) in (0, 30), len(found)
        with place.backend.export("docs") as state:
            assert state.total == sum(len(batch.ids) for batch in state.batches)
            assert state.total in (0, 30)

    crew.work(again(15, lambda: place.backend.create(spec), lambda: place.backend.drop("docs")))
    crew.work(again(15, lambda: place.backend.add("docs", whole)))
    crew.work(again(10, lambda: place.backend.load(spec, [whole], replace=True)))
    crew.work(again(10, lambda: place.backend.load(spec, [whole], replace=False)))
    crew.watch(again(1, read))
    crew.watch(again(1, lambda: place.store.indexes()))
    crew.go()
    assert place.backend.names() in ([], ["docs"])
    place.backend.create(spec)
    place.backend.add("docs", whole)
    assert place.backend.ids("docs") == sorted(whole.ids)
    place.reopen()
    _all_found(place, "docs", whole.ids)


def _refusal(call: Callable[[], object]) -> str:
    """The code with which a call was refused; empty when it was not."""
    try:
        call()
    except (VectorNotFoundError, VectorConflictError) as error:
        return error.code
    return ""


def _all_found(place: Place, name: str, ids: list[str]) -> None:
    query = _vector("query").reshape(1, -1)
    found = place.backend.search(name, query, 100_000, None, None, frozenset())[0]
    assert sorted(found.ids) == sorted(ids)
