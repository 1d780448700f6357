"""The laws of `stillhouse.vectors.backend.Backend` (SPEC V1, V2, V4, V8), on every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from stillhouse.errors import (
    StillhouseError,
    VectorConflictError,
    VectorNotFoundError,
    VectorRequestError,
)
from stillhouse.vectors.filters import parse_filter
from stillhouse.vectors.values import Batch, Floats, IndexSpec, Item, Metric
from tests.vectors.backends import BACKENDS, Place, opened
from tests.vectors.model import Index, check_hits, holds, told_of

METRICS: tuple[Metric, ...] = ("cosine", "ip", "l2")
IDS = (
    "a",
    "B",
    "é",
    "e\u0301",
    "ﬀ",
    "\uffee",
    "😀",
    "\U0010ffff",
    "a b",
    "%_'\"",
    "10",
    "9",
    "\uff21",
)


@pytest.fixture(params=BACKENDS)
def place(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Place]:
    """Each backend, empty."""
    with opened(request.param, request, tmp_path) as place:
        yield place


def _vectors(count: int, dimension: int = 4, seed: int = 3) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def _batch(ids: list[str], metadata: list[bytes | None] | None = None, seed: int = 3) -> Batch:
    return Batch(ids, _vectors(len(ids), seed=seed), metadata or [None] * len(ids))


def _made(place: Place, *names: str, count: int = 3, metric: Metric = "l2") -> None:
    for name in names:
        place.backend.create(IndexSpec(name, 4, metric))
        if count:
            place.backend.add(name, _batch([f"i{at}" for at in range(count)]))


def _content(place: Place, name: str) -> dict[str, tuple[bytes, bytes | None]]:
    with place.backend.export(name) as state:
        rows = [row for batch in state.batches for row in zip(*batch, strict=True)]
    return {id_: (vector.tobytes(), metadata) for id_, vector, metadata in rows}


# ------------------------------------------------------------------------------- indexes


def test_the_same_index_again_is_no_news_and_another_is_refused(place: Place) -> None:
    """Create answers True once, False for the same, and a conflict for each way to be another."""
    spec = IndexSpec("docs", 4, "cosine", {"of": "us", "n": [1, None]})
    assert place.backend.create(spec) is True
    assert place.backend.create(spec) is False
    assert (
        place.backend.create(IndexSpec("docs", 4, "cosine", {"n": [1, None], "of": "us"})) is False
    )
    others = [
        IndexSpec("docs", 5, "cosine", spec.metadata),
        IndexSpec("docs", 4, "ip", spec.metadata),
        IndexSpec("docs", 4, "cosine", {"of": "them"}),
        IndexSpec("docs", 4, "cosine", {}),
        IndexSpec("docs", 4, "cosine"),
    ]
    for other in others:
        with pytest.raises(VectorConflictError) as refused:
            place.backend.create(other)
        assert refused.value.code == "index_exists"
    assert place.backend.spec("docs") == spec
    assert place.reopen().spec("docs") == spec


def test_an_index_without_metadata_is_not_one_with_empty_metadata(place: Place) -> None:
    """Null and {} of an index are two things, also after opening again (V2)."""
    place.backend.create(IndexSpec("null", 4))
    place.backend.create(IndexSpec("empty", 4, metadata={}))
    place.reopen()
    assert place.backend.describe("null").metadata is None
    assert place.backend.describe("empty").metadata == {}
    with pytest.raises(VectorConflictError):
        place.backend.create(IndexSpec("empty", 4))


def test_indexes_are_told_by_name_and_as_they_stand(place: Place) -> None:
    """Names come by code point; describe counts what is there."""
    for name in reversed(IDS):
        place.backend.create(IndexSpec(name, 3, "ip"))
    assert place.backend.names() == sorted(IDS)
    place.backend.add("é", Batch(["x", "y"], np.ones((2, 3), np.float32), [None, b"{}"]))
    for name in IDS:
        info = place.backend.describe(name)
        assert (info.name, info.dimension, info.metric) == (name, 3, "ip")
        assert info.count == (2 if name == "é" else 0)
        assert min(info.segments, info.tombstones, info.tail, info.bytes) >= 0


def test_what_is_dropped_is_gone_and_its_name_free(place: Place) -> None:
    """After drop every call says that there is no such index; one of that name can be made anew,
    with another dimension, and is empty."""
    _made(place, "docs", "other", count=60)
    place.settle("docs")
    place.backend.drop("docs")
    assert place.backend.names() == ["other"]
    assert place.backend.create(IndexSpec("docs", 2, "ip")) is True
    assert place.backend.ids("docs") == []
    assert place.backend.count("docs", None) == 0
    assert (
        place.backend.search("docs", np.ones((1, 2), np.float32), 3, None, None, frozenset())[0].ids
        == []
    )
    assert len(place.backend.ids("other")) == 60
    names = place.backend.names()
    assert place.reopen().names() == names


def test_every_call_for_an_index_that_is_not_there_says_so(place: Place) -> None:
    """Each is a VectorNotFoundError with the code index_not_found."""
    backend = place.backend
    _made(place, "there")
    batch, filter_ = _batch(["x"]), parse_filter({"a": 1})

    def export() -> None:
        with backend.export("none"):
            raise AssertionError("no export of nothing")

    calls = [
        lambda: backend.drop("none"),
        lambda: backend.spec("none"),
        lambda: backend.describe("none"),
        lambda: backend.add("none", batch),
        lambda: backend.get("none", ["x"]),
        lambda: backend.delete("none", ["x"]),
        lambda: backend.delete_matching("none", filter_),
        lambda: backend.ids("none"),
        lambda: backend.count("none", None),
        lambda: backend.count("none", filter_),
        lambda: backend.search("none", batch.vectors, 1, None, None, frozenset()),
        lambda: backend.merge("none", "there", clear_source=False, on_conflict="skip"),
        lambda: backend.merge("there", "none", clear_source=True, on_conflict="replace"),
        export,
    ]
    for call in calls:
        with pytest.raises(VectorNotFoundError) as refused:
            call()
        assert refused.value.code == "index_not_found"
    assert backend.names() == ["there"]
    assert len(backend.ids("there")) == 3


# --------------------------------------------------------------------------------- items


def test_each_item_of_a_batch_is_told_what_became_of_it(place: Place) -> None:
    """Inserted, unchanged, and replaced for each way to differ: a bit of the vector, metadata."""
    place.backend.create(IndexSpec("docs", 4, "l2"))
    ids = ["null", "empty", "full", "sign", "bit"]
    metadata = [None, b"{}", b'{"n":1}', None, None]
    vectors = _vectors(5)
    vectors[3] = 0.0
    assert place.backend.add("docs", Batch(ids, vectors, metadata)) == ["inserted"] * 5
    assert place.backend.add("docs", Batch(ids, vectors, metadata)) == ["unchanged"] * 5
    place.reopen()
    assert place.backend.add("docs", Batch(ids, vectors, metadata)) == ["unchanged"] * 5
    other = vectors.copy()
    other[3, 1] = -0.0
    other[4, 2] = np.nextafter(other[4, 2], np.float32(9), dtype=np.float32)
    changed: list[bytes | None] = [b"{}", None, b'{"n":1.0}', None, None]
    new = Batch([*ids, "new"], np.vstack([other, other[:1]]), [*changed, b"{}"])
    assert place.backend.add("docs", new) == ["replaced"] * 5 + ["inserted"]
    assert place.backend.count("docs", None) == 6
    got = place.backend.get("docs", ids)
    assert got.ids == ids
    assert got.vectors.tobytes() == other.tobytes()
    assert got.metadata == changed


def test_ids_come_by_code_point_whatever_has_metadata(place: Place) -> None:
    """Every id is there as it was given, also after opening again; those above U+FFFF come last
    (UTF-16 would put them before U+FFEE), and what looks alike is not one id (V1, V2)."""
    place.backend.create(IndexSpec("docs", 4))
    metadata = [None if at % 2 else b"{}" for at in range(len(IDS))]
    place.backend.add("docs", _batch(list(IDS), metadata))
    assert place.backend.ids("docs") == sorted(IDS)
    assert list(_content(place, "docs")) == sorted(IDS)
    place.reopen()
    assert place.backend.ids("docs") == sorted(IDS)
    assert [one is None for one in place.backend.get("docs", list(IDS)).metadata] == [
        one is None for one in metadata
    ]


def test_items_are_got_in_the_order_asked_for(place: Place) -> None:
    """Those that are there, as they were given; what is not there is left out."""
    _made(place, "docs", count=60)
    place.settle("docs")
    place.backend.add("docs", _batch(["new"], [b'{"a":"\\u20ac"}'], seed=5))
    asked = ["i9", "none", "new", "i0", "I9", "i59"]
    got = place.backend.get("docs", asked)
    assert got.ids == ["i9", "new", "i0", "i59"]
    vectors = _vectors(60)
    assert got.vectors.dtype == np.float32
    assert np.array_equal(got.vectors[[0, 2, 3]], vectors[[9, 0, 59]])
    assert got.vectors[1].tobytes() == _vectors(1, seed=5).tobytes()
    assert got.metadata == [None, b'{"a":"\\u20ac"}', None, None]
    none = place.backend.get("docs", ["none"])
    assert none.ids == []
    assert none.vectors.shape == (0, 4)


def test_what_is_deleted_stays_so_and_can_come_again(place: Place) -> None:
    """Delete says of each id whether it was there; a deleted item is in no answer, also after
    opening again, and can be added anew."""
    _made(place, "docs", count=60)
    place.settle("docs")
    assert place.backend.delete("docs", ["i1", "none", "i59"]) == [True, False, True]
    assert place.backend.delete("docs", ["i1"]) == [False]
    assert place.backend.delete("docs", []) == []
    place.reopen()
    assert "i1" not in place.backend.ids("docs")
    assert place.backend.get("docs", ["i1", "i2"]).ids == ["i2"]
    found = place.backend.search("docs", _vectors(60)[1:2], 60, None, None, frozenset())[0]
    assert sorted(found.ids) == sorted({f"i{at}" for at in range(60)} - {"i1", "i59"})
    assert place.backend.add("docs", _batch(["i1"])) == ["inserted"]
    assert place.backend.count("docs", None) == 59


def test_an_index_made_anew_with_another_metric_takes_no_vector_of_zeros(place: Place) -> None:
    """Who checked a batch for inner products is refused by an index that is one of cosines now."""
    place.backend.create(IndexSpec("docs", 4, "cosine"))
    zeros = Batch(["x", "y"], np.array([[1, 1, 1, 1], [0, 0, 0, 0]], np.float32), [None] * 2)
    with pytest.raises(VectorConflictError) as refused:
        place.backend.add("docs", zeros)
    assert refused.value.code == "metric_mismatch"
    assert place.backend.ids("docs") == []


def test_metadata_of_an_index_is_compared_as_json(place: Place) -> None:
    """A number is no truth value, whatever Python thinks; the order of keys is nothing."""
    there: dict[str, Any] = {"a": 1, "b": [True, None]}
    assert place.backend.create(IndexSpec("docs", 4, "l2", there)) is True
    same: dict[str, Any] = {"b": [True, None], "a": 1}
    assert place.backend.create(IndexSpec("docs", 4, "l2", same)) is False
    for other in ({"a": True, "b": [True, None]}, {"a": 1, "b": [1, None]}):
        with pytest.raises(VectorConflictError) as refused:
            place.backend.create(IndexSpec("docs", 4, "l2", other))
        assert refused.value.code == "index_exists"


def test_an_index_made_anew_meanwhile_takes_nothing_of_the_old_dimension(place: Place) -> None:
    """Who checked a batch or a query against an index that was dropped and made anew since is
    refused; nothing of it is kept."""
    _made(place, "docs", count=2)
    place.backend.create(IndexSpec("five", 5, "l2"))
    five = Batch(["x"], np.ones((1, 5), np.float32), [None])
    calls: list[Callable[[], object]] = [
        lambda: place.backend.add("docs", five),
        lambda: place.backend.search("docs", five.vectors, 1, None, None, frozenset()),
        lambda: place.backend.merge("five", "docs", clear_source=True, on_conflict="skip"),
        lambda: place.backend.load(IndexSpec("new", 4, "l2"), [five], replace=True),
    ]
    place.backend.add("five", five)
    for call in calls:
        with pytest.raises(VectorConflictError) as refused:
            call()
        assert refused.value.code == "dimension_mismatch"
    assert place.backend.ids("docs") == ["i0", "i1"]
    assert place.backend.ids("five") == ["x"]
    assert place.backend.names() == ["docs", "five"]
    assert place.backend.health().writable


# ------------------------------------------------------------------------------- filters

METADATA: tuple[dict[str, Any] | None, ...] = (
    None,
    {},
    {"a": None},
    {"a": True},
    {"a": 1},
    {"a": 1.0},
    {"a": 0},
    {"a": -0.0},
    {"a": False},
    {"a": ""},
    {"a": "1"},
    {"a": "b"},
    {"a": "é"},
    {"a": "e\u0301"},
    {"a": "\uffee"},
    {"a": "😀"},
    {"a": []},
    {"a": [None]},
    {"a": [1, "b", True]},
    {"a": [[1], {"b": 1}]},
    {"a": {}},
    {"a": {"b": 2}},
    {"a": {"b": {"c": "x"}}},
    {"a": [{"b": 2}]},
    {"a.b": 2},
    {"a\\b": 3, "$a": 1, "a": 2**53 + 1},
    {"a": float(2**53)},
    {"a": 2**64 - 1},
    {"a": -(2**63)},
    {"a": 1.8446744073709552e19},
    {"a": 1e300},
    {"a": 5e-324},
    {"A": 1},
    {"a": 'it\'s "q" \\ %_ $1 {}'},
)
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    *({"a": one} for one in (None, True, False, 1, 1.0, 0, -0.0, "", "1", "b", "é", "😀", 1e300)),
    *({"a": one} for one in (2**53 + 1, float(2**53), 2**64 - 1, 1.8446744073709552e19, -(2**63))),
    {"a": 'it\'s "q" \\ %_ $1 {}'},
    {"a": {"$ne": 1}},
    {"a": {"$ne": None}},
    {"a": {"$in": []}},
    {"a": {"$in": [1, "b", None]}},
    {"a": {"$in": [True]}},
    {"a": {"$nin": []}},
    {"a": {"$nin": [1, "b", None]}},
    {"a": {"$exists": True}},
    {"a": {"$exists": False}},
    {"a.b": {"$exists": True}},
    {"a.b": 2},
    {"a.b.c": "x"},
    {"a\\.b": 2},
    {"a\\b": 3},
    {"a\\\\b": 3},
    {"\\$a": 1},
    {"A": 1},
    *(
        {"a": {bound: value}}
        for bound in ("$gt", "$gte", "$lt", "$lte")
        for value in (1, 0.5, -0.0, 2**53, 2**64 - 1, -1e300, 5e-324, "", "b", "é", "\uffee", "😀")
    ),
    {"a": {"$gte": 0, "$lt": 2}},
    {"a": {"$gt": 0, "$lt": 1}},
    {"a": {"$exists": True, "$ne": "b"}},
    {"$and": [{"a": 1}, {"a": "b"}]},
    {"$or": [{"a": 1}, {"A": 1}, {"a": {"$gt": "e"}}]},
    {"$not": {"a": 1}},
    {"$not": {"a": {"$lt": 5}}},
    {"$not": {}},
    {"$not": {"$or": [{"a": {"$exists": True}}, {"A": 1}]}},
    {"a": 1, "$or": [{}, {"a": 2}]},
)


def test_every_filter_means_the_same_in_every_answer(place: Place) -> None:
    """Each operator on each kind of value: search, count and delete agree with the meaning of the
    filter, for items in a segment as in the tail (V8)."""
    store = place.store
    store.create("docs", 2, "l2")
    rows = [(f"{at}-{turn}", one) for turn in range(3) for at, one in enumerate(METADATA)]
    items = [Item(id_, [1.0, at], metadata) for at, (id_, metadata) in enumerate(rows)]
    store.add("docs", items[: len(METADATA) * 2])
    place.settle("docs")
    store.add("docs", items[len(METADATA) * 2 :])
    for filter_ in FILTERS:
        wanted = sorted(id_ for id_, metadata in rows if holds(filter_, metadata))
        found = store.search("docs", [1.0, 1.0], 1_000, filter=filter_, include=())
        assert sorted(hit.id for hit in found) == wanted, filter_
        assert store.count("docs", filter_) == len(wanted), filter_
    left = dict(rows)
    for filter_ in FILTERS[1::7]:
        gone = [id_ for id_, metadata in left.items() if holds(filter_, metadata)]
        assert store.delete("docs", filter=filter_).deleted == len(gone), filter_
        for id_ in gone:
            del left[id_]
        assert store.ids("docs") == sorted(left)
    assert store.delete("docs", filter={"none": 1}).deleted == 0


# ------------------------------------------------------------------------------ searching


@pytest.mark.parametrize("metric", METRICS)
def test_a_search_gives_the_nearest_of_those_that_match(place: Place, metric: Metric) -> None:
    """Exactly min(k, matches) hits with right scores in order, over segments, tombstones and the
    tail, with and without a filter, for one query and for several."""
    model = Index(4, metric)
    place.store.create("docs", 4, metric)
    items = [
        Item(f"i{at}", vector, {"n": at} if at % 3 else None)
        for at, vector in enumerate(_vectors(120) * 3)
    ]

    def add(some: list[Item]) -> None:
        place.store.add("docs", some)
        model.add(some)

    def delete(ids: list[str]) -> None:
        place.store.delete("docs", ids)
        model.delete(ids)

    add(items[:80])
    place.settle("docs")
    delete([f"i{at}" for at in range(0, 80, 7)])
    add([Item(f"i{at}", -items[at].vector, {"n": -at}) for at in range(1, 40, 5)])  # type: ignore[operator]
    add(items[100:])
    delete(["i101"])
    queries = _vectors(3, seed=8)
    for filter_ in (None, {"n": {"$gte": 10, "$lt": 60}}, {"n": 22}, {"n": "no"}):
        for k in (1, 5, 1_000):
            many = place.store.search_many("docs", queries, k, filter=filter_)
            for query, found in zip(queries, many, strict=True):
                check_hits(model, query, k, filter_, found)
                alone = place.store.search("docs", query, k, filter=filter_)
                check_hits(model, query, k, filter_, alone)


def test_a_hit_brings_what_was_asked_for_and_nothing_else(place: Place) -> None:
    """Metadata and vector come as they were added when asked for, from everywhere alike."""
    _made(place, "docs", count=30)
    place.settle("docs")
    metadata: list[bytes | None] = [b'{"x":[1,{"y":null}]}', b"{}", None]
    place.backend.add("docs", _batch(["full", "empty", "null"], metadata, seed=4))
    known = _content(place, "docs")
    query = _vectors(2, seed=6)
    for include in ([], ["metadata"], ["vector"], ["metadata", "vector"]):
        for found in place.backend.search("docs", query, 99, None, None, frozenset(include)):  # type: ignore[arg-type]
            assert len(found.ids) == len(found.scores) == 33
            assert (found.metadata is not None) == ("metadata" in include)
            assert (found.vectors is not None) == ("vector" in include)
            for at, id_ in enumerate(found.ids):
                if found.metadata is not None:
                    assert found.metadata[at] == known[id_][1]
                if found.vectors is not None:
                    assert found.vectors[at].tobytes() == known[id_][0]


def test_a_search_of_nothing_finds_nothing(place: Place) -> None:
    """An empty index, and a filter that nothing matches, give an empty answer for each query."""
    place.store.create("docs", 4, "l2")
    assert (
        place.store.search_many("docs", _vectors(2), 5, include=["metadata", "vector"]) == [[]] * 2
    )
    place.store.add("docs", [Item("a", [1, 2, 3, 4])])
    place.store.delete("docs", ["a"])
    assert (
        place.store.search_many("docs", _vectors(2), 5, include=["metadata", "vector"]) == [[]] * 2
    )
    place.store.add("docs", [Item("a", [1, 2, 3, 4])])
    found = place.store.search_many("docs", _vectors(2), 5, filter={"a": 1}, include=["vector"])
    assert found == [[], []]


@pytest.mark.parametrize("metric", METRICS)
def test_recall_does_not_fall_as_a_filter_narrows(place: Place, metric: Metric) -> None:
    """At least 0.95 of the ten nearest, from all items to few, with many dead (V8)."""
    count, dimension = 3_000, 16
    vectors = _vectors(count, dimension)
    place.backend.create(IndexSpec("docs", dimension, metric))
    for at in range(0, count, 1_000):
        metadata: list[bytes | None] = [b'{"n":%d}' % n for n in range(at, at + 1_000)]
        ids = [f"i{n}" for n in range(at, at + 1_000)]
        place.backend.add("docs", Batch(ids, vectors[at : at + 1_000], metadata))
    place.settle("docs")
    place.backend.delete("docs", [f"i{n}" for n in range(0, 1_000, 2)])
    live = [n for n in range(count) if n >= 1_000 or n % 2]
    model = Index(dimension, metric)
    model.add(Item(f"i{n}", vectors[n]) for n in live)
    queries = _vectors(20, dimension, seed=9)
    for most in (3_000, 1_500, 300, 30, 3):
        within = [f"i{n}" for n in live if n < most]
        filter_ = None if most == 3_000 else parse_filter({"n": {"$lt": most}})
        found = place.backend.search("docs", queries, 10, filter_, None, frozenset())
        right = 0
        for query, hits in zip(queries, found, strict=True):
            scores = model.scores(query, within) * (1 if metric == "l2" else -1)
            best = {within[at] for at in np.argsort(scores)[:10]}
            assert len(hits.ids) == len(set(hits.ids)) == min(10, len(within))
            assert set(hits.ids) <= set(within)
            right += len(best & set(hits.ids))
        assert right >= 0.95 * len(queries) * min(10, len(within)), most


# -------------------------------------------------------------------------------- merging

ROWS: tuple[tuple[str, Item | None, Item | None], ...] = (
    ("new", Item("", [1, 2], {"a": 1}), None),
    ("new without metadata", Item("", [1, 2]), None),
    ("only there", None, Item("", [3, 4])),
    ("same", Item("", [1, 2], {"a": 1}), Item("", [1, 2], {"a": 1})),
    ("same without metadata", Item("", [1, 2]), Item("", [1, 2])),
    ("other vector", Item("", [1, 2]), Item("", [1, 3])),
    ("other sign of zero", Item("", [1, 0.0]), Item("", [1, -0.0])),
    ("other metadata", Item("", [1, 2], {"a": 1}), Item("", [1, 2], {"a": 2})),
    ("other type of number", Item("", [1, 2], {"a": 1}), Item("", [1, 2], {"a": 1.0})),
    ("null and empty", Item("", [1, 2]), Item("", [1, 2], {})),
    ("empty and null", Item("", [1, 2], {}), Item("", [1, 2])),
)


@pytest.mark.parametrize("clear_source", [False, True])
@pytest.mark.parametrize("on_conflict", ["skip", "replace"])
def test_a_merge_does_as_its_table_says(place: Place, clear_source: bool, on_conflict: Any) -> None:
    """Every row of SPEC V4: what is merged, skipped, listed and cleared; run again it finishes
    with nothing left to do; the answer says what happened, and so does what is there after."""
    models = {"src": Index(2, "l2"), "dest": Index(2, "l2")}
    for at, name in enumerate(models):
        place.store.create(name, 2, "l2")
        items = [
            Item(row + turn, one.vector, one.metadata)
            for turn in ("", "\u00e9", "😀")
            for row, ours, theirs in ROWS
            if (one := (ours, theirs)[at]) is not None
        ]
        place.store.add(name, items)
        models[name].add(items)
    place.settle("dest")
    for again in range(3):
        told = place.store.merge("src", "dest", clear_source=clear_source, on_conflict=on_conflict)
        wanted = models["src"].merge_into(models["dest"], clear_source, on_conflict)
        assert told_of(told) == wanted, again
        assert (told.src, told.dest) == ("src", "dest")
        for name, model in models.items():
            assert place.store.ids(name) == model.ids()
            held = {id_: one.vector for id_, one in model.items.items()}
            assert {id_: one[0] for id_, one in _content(place, name).items()} == held
            check_hits(model, [1, 2], 99, None, place.store.search(name, [1, 2], 99))
        if again == 1:
            place.settle("src")
            place.reopen()


def test_a_merge_of_many_items_is_whole(place: Place) -> None:
    """More items than one step of a merge takes, half of them there already."""
    place.needs("speed")
    ids = [f"i{at:05}" for at in range(2_500)]
    vectors = _vectors(2_500)
    for name, some in (("src", slice(0, 2_500)), ("dest", slice(0, 2_500, 2))):
        place.backend.create(IndexSpec(name, 4, "l2"))
        place.backend.add(name, Batch(ids[some], vectors[some], [None] * len(ids[some])))
    told = place.backend.merge("src", "dest", clear_source=True, on_conflict="skip")
    assert told_of(told) == {
        "merged": 1_250,
        "skipped": 1_250,
        "conflicts": [],
        "cleared": 2_500,
        "failed": [],
        "remaining": 0,
    }
    assert place.backend.ids("src") == []
    assert place.backend.ids("dest") == ids


def test_a_merge_from_or_into_an_empty_index_is_none(place: Place) -> None:
    """Nothing to bring is no error; an empty destination takes all."""
    _made(place, "full", count=40)
    _made(place, "empty", count=0)
    none = place.backend.merge("empty", "full", clear_source=True, on_conflict="replace")
    assert (none.merged, none.skipped, none.cleared, none.remaining) == (0, 0, 0, 0)
    all_ = place.backend.merge("full", "empty", clear_source=True, on_conflict="skip")
    assert (all_.merged, all_.cleared, all_.remaining) == (40, 40, 0)
    back = place.backend.merge("empty", "full", clear_source=True, on_conflict="skip")
    assert (back.merged, back.cleared, back.remaining) == (40, 40, 0)
    assert len(place.backend.ids("full")) == 40


# -------------------------------------------------------------------------- whole indexes


def test_an_export_is_one_state_by_id_whatever_is_written(place: Place) -> None:
    """Each item once by ascending id, as it was when the export began, though items are added,
    replaced, deleted and cleared by a merge meanwhile."""
    ids = sorted(f"{mark}{at}" for mark in ("i", "é", "😀", "\uffee") for at in range(600))
    place.backend.create(IndexSpec("docs", 4, "ip", {"of": "us"}))
    place.backend.create(IndexSpec("other", 4, "ip"))
    for at in range(0, len(ids), 800):
        place.backend.add("docs", _batch(ids[at : at + 800], seed=at))
    before = _content(place, "docs")
    with place.backend.export("docs") as state:
        assert (state.spec, state.total) == (place.backend.spec("docs"), len(ids))
        batches = iter(state.batches)
        seen = [next(batches)]
        place.backend.delete("docs", ids[-5:])
        place.backend.add("docs", _batch([*ids[:3], ids[-1], "zzz"], seed=77))
        place.backend.merge("docs", "other", clear_source=True, on_conflict="skip")
        seen += batches
    assert [id_ for batch in seen for id_ in batch.ids] == ids
    rows = [row for batch in seen for row in zip(*batch, strict=True)]
    assert {id_: (vector.tobytes(), metadata) for id_, vector, metadata in rows} == before
    assert place.backend.ids("docs") == []


def test_an_export_that_is_left_early_holds_nothing(place: Place) -> None:
    """Whoever takes only the first batch, or fails within, leaves the index usable."""
    _made(place, "docs", count=50)
    with place.backend.export("docs") as state:
        next(state.batches)
    with pytest.raises(KeyError), place.backend.export("docs"):
        raise KeyError("mine")
    place.backend.add("docs", _batch(["x"]))
    place.backend.drop("docs")
    assert place.backend.names() == []


def test_a_loaded_index_has_exactly_those_items(place: Place) -> None:
    """Load makes an index of what it is given, and can give an export back, bit for bit."""
    place.backend.create(IndexSpec("docs", 4, "cosine", {"of": "us"}))
    metadata: list[bytes | None] = [None, b"{}", b'{"a":1}']
    place.backend.add("docs", _batch(["a", "é", "😀"], metadata))
    with place.backend.export("docs") as state:
        spec = IndexSpec("copy", state.spec.dimension, state.spec.metric, state.spec.metadata)
        assert place.backend.load(spec, state.batches, replace=False) == 3
    assert place.backend.spec("copy") == spec
    assert _content(place, "copy") == _content(place, "docs")
    assert place.backend.load(IndexSpec("none", 4), [], replace=False) == 0
    assert place.backend.ids("none") == []
    assert place.backend.add("copy", _batch(["a"], seed=9)) == ["replaced"]
    copied = _content(place, "copy")
    place.reopen()
    assert _content(place, "copy") == copied
    assert place.backend.search("copy", _vectors(1), 9, None, None, frozenset())[0].ids


def test_a_load_over_an_index_is_one_step_and_asked_for(place: Place) -> None:
    """Without replace an index of that name is a conflict and stays; with it the new one is there
    whole, whatever the old one was."""
    _made(place, "docs", count=40)
    place.settle("docs")
    before = _content(place, "docs")
    new = IndexSpec("docs", 2, "ip", {})
    batch = Batch(["n"], np.ones((1, 2), np.float32), [b"{}"])
    with pytest.raises(VectorConflictError) as refused:
        place.backend.load(new, [batch], replace=False)
    assert refused.value.code == "index_exists"
    assert _content(place, "docs") == before
    assert place.backend.load(new, [batch], replace=True) == 1
    assert place.backend.spec("docs") == new
    assert place.backend.ids("docs") == ["n"]
    assert place.backend.names() == ["docs"]
    assert place.backend.search("docs", batch.vectors, 5, None, None, frozenset())[0].ids == ["n"]
    assert place.reopen().names() == ["docs"]


@pytest.mark.parametrize("replace", [False, True])
def test_a_load_that_breaks_off_leaves_everything_as_it_was(place: Place, replace: bool) -> None:
    """Whatever the batches raise goes on as it is; nothing of the load is there after."""
    _made(place, "old", count=40)
    before = _content(place, "old")

    def batches() -> Iterator[Batch]:
        yield _batch([f"n{at}" for at in range(50)])
        assert place.backend.ids("old") == sorted(before)
        assert place.backend.names() == ["old"]
        raise ZeroDivisionError("the file ends here")

    for name in ("old", "new") if replace else ("new",):
        with pytest.raises(ZeroDivisionError, match="the file ends here"):
            place.backend.load(IndexSpec(name, 4, "l2"), batches(), replace=replace)
        assert place.backend.names() == ["old"]
        assert _content(place, "old") == before
    assert place.reopen().names() == ["old"]


def test_an_id_that_comes_twice_in_a_load_is_refused(place: Place) -> None:
    """Also in two batches; the store goes on."""
    batches = [_batch(["a", "b"]), _batch(["c", "a"], seed=4)]
    with pytest.raises(VectorRequestError, match="the id 'a' twice"):
        place.backend.load(IndexSpec("docs", 4), batches, replace=False)
    assert place.backend.names() == []
    assert place.backend.health().writable
    assert place.backend.load(IndexSpec("docs", 4), batches[:1], replace=False) == 2


# --------------------------------------------------------------------------------- around


def test_a_store_that_is_well_says_so_and_closes_twice(place: Place) -> None:
    """Health is good; closing again does nothing."""
    health = place.backend.health()
    assert (health.writable, health.reason) == (True, "")
    place.backend.close()
    place.backend.close()


def test_what_a_user_asks_wrongly_is_told_in_the_errors_of_the_tree(place: Place) -> None:
    """Ids that no item can have are not there; nothing else is raised than what a user can read."""
    _made(place, "docs")
    strange = ["", "..", "a/b", "nul\0", "lone \ud800", "x" * 10_000]
    assert place.store.delete("docs", [*strange, "i0"]).missing == strange
    for id_ in strange:
        with pytest.raises(VectorNotFoundError) as refused:
            place.store.get("docs", id_)
        assert refused.value.code == "item_not_found"
    for filter_ in ({"a": "\ud800"}, {"\ud800": 1}, {"a": {"$gt": "\0"}}, {"a": 10**30}):
        with pytest.raises(StillhouseError):
            place.store.count("docs", filter_)
    assert place.store.ids("docs") == ["i1", "i2"]
