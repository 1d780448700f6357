"""The client before a real server on loopback: for every call the answer, or the error, that a
store in memory gives to the same call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stillhouse.errors import VectorError, VectorFailedError, VectorRequestError
from stillhouse.vectors import (
    Client,
    Health,
    Hit,
    IndexInfo,
    Item,
    Limits,
    VectorService,
    VectorStore,
)
from stillhouse.vectors.client_link import Retry
from tests.vectors.backends import BACKENDS, opened
from tests.vectors.serving import serving

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

LIMITS = Limits(page=7, k=50, ef=60, batch_items=300, queries=20, filter_clauses=20)
KEY = "k3y-of-the-test"


@pytest.fixture
def client() -> Iterator[Client]:
    """A client of an empty server."""
    store = VectorStore("memory:", limits=LIMITS)
    with serving(store) as url, Client(url, limits=LIMITS) as client:
        yield client


# -------------------------------------------------------------------------- conformance

ONE = np.array([1, 0, 0], np.float32)
GRID = np.array([[np.cos(at), np.sin(at), at / 40] for at in range(40)], np.float32)
KNOWN: list[dict[str, Any] | None] = [
    None if at % 4 == 0 else {} if at % 4 == 1 else {"n": at, "lang": "en", "tags": ["a", at / 3]}
    for at in range(40)
]
Call = Callable[[Any], object]

wrong: Callable[..., Any] = Item
"""Makes items that their types forbid."""

CALLS: dict[str, Call] = {
    # indexes
    "list nothing": lambda s: s.indexes(),
    "create": lambda s: s.create("docs", 3, metadata={"b": [1, 2.5, None], "a": {"ü": True}}),
    "create again": lambda s: s.create("docs", 3, metadata={"a": {"ü": True}, "b": [1, 2.5, None]}),
    "create another": lambda s: s.create("docs", 4),
    "create l2": lambda s: s.create("far ü%?&", 3, "l2"),
    "create ip": lambda s: s.create("ip", 2, "ip"),
    "create off": lambda s: s.create("", 0, "cosinus", {"x": float("nan")}),
    "create deep": lambda s: s.create("deep", 1, metadata={"x": [[[[{}]]]] * 9}),
    "describe": lambda s: s.describe("docs"),
    "describe none": lambda s: s.describe("none"),
    "describe path": lambda s: s.describe("../docs"),
    "list": lambda s: s.indexes(),
    # adding
    "add": lambda s: s.add(
        "docs", [Item("a", [1, 0, 0], {"n": 1}), Item("b", ONE), Item("c", ONE, {})]
    ),
    "add again": lambda s: s.add(
        "docs", [Item("a", [1, 0, 0], {"n": 1.0}), Item("b", ONE, {}), Item("c", ONE, {})]
    ),
    "add nothing": lambda s: s.add("docs", []),
    "add to none": lambda s: s.add("none", [Item("a", ONE)]),
    "add off to none": lambda s: s.add("none", [Item("", ONE)]),
    "add columns": lambda s: s.add_columns("docs", [f"{at:02}" for at in range(40)], GRID, KNOWN),
    "add columns of lists": lambda s: s.add_columns(
        "far ü%?&", ["x/y"[:1], "ü y"], [[1, 2, 3], (4, 5, 6)]
    ),
    "add float64": lambda s: s.add_columns("ip", ["a", "b"], np.array([[0.1, 1e-30], [3, 4]])),
    "add ints": lambda s: s.add("ip", [Item("i", np.array([2**40, -1]))]),
    "add off": lambda s: s.add(
        "docs",
        [
            Item("", ONE),
            Item("x", [1, 2]),
            Item("x", [1, 2, float("nan")]),
            Item("a/b", [0, 0, 0], {"n": (1,)}),
            wrong("y", ["a", 1, 2]),
            wrong("z", [[1, 2, 3]]),
            wrong("ok", ONE, []),
            Item("q", [1e39, 0, 0]),
            Item("w", [1e20, 1e20, 0]),
            Item("t", ONE, {"x": 2**64}),
            wrong(7, ONE),
        ],
    ),
    "add zero": lambda s: s.add("docs", [Item("ok", ONE), Item("zero", [0, 0, 0])]),
    "add wrong dimension": lambda s: s.add("docs", [Item("w", [1, 2]), Item("v", [1, 2, 3, 4])]),
    "add booleans": lambda s: s.add("docs", [Item("w", [True, False, True])]),
    "add many problems": lambda s: s.add("docs", [Item("w" * 600, [1])] * 30),
    "add too many": lambda s: s.add("docs", [Item(str(at), ONE) for at in range(301)]),
    "add large metadata": lambda s: s.add("docs", [Item("l", ONE, {"x": "y" * 70_000})]),
    "add deep metadata": lambda s: s.add("docs", [Item("l", ONE, _nested(40))]),
    "columns of other lengths": lambda s: s.add_columns("docs", ["a"], GRID),
    "columns without metadata for all": lambda s: s.add_columns("docs", ["a"], [[1, 2, 3]], []),
    "columns of the wrong dimension": lambda s: s.add_columns("docs", ["a", "b"], np.ones((2, 5))),
    "columns of one dimension": lambda s: s.add_columns("docs", ["a", "b", "c"], ONE),
    "columns with an id twice": lambda s: s.add_columns("docs", ["a", "a"], [[1, 2, 3], [1, 2, 3]]),
    "columns with a string for ids": lambda s: s.add_columns("docs", "xyz", GRID[:3]),
    "columns of none": lambda s: s.add_columns("none", ["a"], GRID),
    "nothing was added": lambda s: s.ids("docs"),
    # reading
    "get": lambda s: s.get("docs", "07"),
    "get none": lambda s: s.get("docs", "none"),
    "get path": lambda s: s.get("docs", "../../ids"),
    "get dots": lambda s: s.get("docs", ".."),
    "get of none": lambda s: s.get("none", "/"),
    "get odd": lambda s: s.get("far ü%?&", "ü y"),
    "ids": lambda s: s.ids("docs"),
    "ids of few": lambda s: s.ids("ip"),
    "ids of none": lambda s: s.ids("none"),
    # searching
    "search": lambda s: s.search("docs", [1, 0.5, 0.25]),
    "search array": lambda s: s.search("docs", np.array([1, 0.5, 0.25]), 3, include=["vector"]),
    "search l2": lambda s: s.search("far ü%?&", [1, 2, 2.5], include=["metadata", "vector"]),
    "search ip": lambda s: s.search("ip", (1, 2), 50, include=[]),
    "search filtered": lambda s: s.search(
        "docs", [1, 0.5, 0.25], 50, filter={"n": {"$gte": 7}, "lang": "en"}
    ),
    "search tags": lambda s: s.search(
        "docs", ONE, ef=60, filter={"$or": [{"tags": 2.0}, {"$not": {"n": {"$exists": True}}}]}
    ),
    "search of numpy's numbers": lambda s: s.search(
        "docs", ONE, np.int64(3), ef=np.int64(40), filter={"n": {"$lt": np.float64(9.5)}}
    ),
    "search of numpy's text": lambda s: s.search("docs", ONE, 3, filter={"lang": np.str_("en")}),
    "search of what is no number": lambda s: s.search("docs", ONE, filter={"n": np.int64(7)}),
    "search matches nothing": lambda s: s.search("docs", ONE, filter={"lang": "fr"}),
    "search many": lambda s: s.search_many("docs", GRID[:20], 5, filter={"lang": {"$in": ["en"]}}),
    "search many lists": lambda s: s.search_many("docs", GRID[:3].tolist(), 5),
    "search none": lambda s: s.search("none", ONE),
    "search none off": lambda s: s.search("none", "off"),
    "search several": lambda s: s.search("docs", GRID[:2]),
    "search one as many": lambda s: s.search_many("docs", [1, 0, 0], 2),
    "search of no vectors": lambda s: s.search_many("docs", np.zeros((0, 3), np.float32)),
    "search of nothing": lambda s: s.search_many("docs", []),
    "search of empty": lambda s: s.search("docs", [[]]),
    "search wrong dimension": lambda s: s.search("docs", [1, 2]),
    "search twice the dimension": lambda s: s.search_many("docs", [[1, 2, 3, 4, 5, 6]]),
    "search ragged": lambda s: s.search_many("docs", [[1, 2, 3], [1, 2]]),
    "search words": lambda s: s.search("docs", ["a", "b", "c"]),
    "search booleans": lambda s: s.search("docs", np.array([True, False, True])),
    "search cube": lambda s: s.search("docs", np.zeros((1, 1, 3))),
    "search nan": lambda s: s.search("docs", [1, float("nan"), 0]),
    "search zero": lambda s: s.search_many("docs", [[1, 0, 0], [0, 0, 0]]),
    "search too many": lambda s: s.search_many("docs", np.ones((21, 3))),
    "search k 0": lambda s: s.search("docs", ONE, 0),
    "search k -1": lambda s: s.search("docs", ONE, -1),
    "search k true": lambda s: s.search("docs", ONE, True),
    "search k 51": lambda s: s.search("docs", ONE, 51),
    "search ef 61": lambda s: s.search("docs", ONE, ef=61),
    "search ef 0": lambda s: s.search("docs", ONE, ef=0),
    "search include": lambda s: s.search("docs", ONE, include=["score"]),
    "search filter off": lambda s: s.search("docs", ONE, filter={"n": {"$regex": "x"}}),
    "search filter list": lambda s: s.search("docs", ONE, filter=[1]),
    "search filter nan": lambda s: s.search("docs", ONE, filter={"n": float("nan")}),
    "search filter long": lambda s: s.search("docs", ONE, filter={"n": {"$in": list(range(30))}}),
    "search filter deep": lambda s: s.search("docs", ONE, filter=_nots(40)),
    # counting
    "count": lambda s: s.count("docs"),
    "count filtered": lambda s: s.count("docs", {"n": {"$gte": 7}, "lang": "en"}),
    "count by position": lambda s: s.count("docs", {}),
    "count of numpy's numbers": lambda s: s.count("docs", {"n": {"$gt": np.float64(6.5)}}),
    "count none": lambda s: s.count("docs", {"lang": "fr"}),
    "count of none": lambda s: s.count("none"),
    "count filter off": lambda s: s.count("docs", {"n": {"$regex": "x"}}),
    "count filter list": lambda s: s.count("docs", [1]),
    "count path": lambda s: s.count("a/b"),
    # merging
    "create fresh": lambda s: s.create("fresh", 3),
    "fill fresh": lambda s: s.add(
        "fresh", [Item("07", ONE), Item("new", ONE, {}), Item("a", ONE, {"n": 1.0})]
    ),
    "merge": lambda s: s.merge("fresh", "docs"),
    "merge again": lambda s: s.merge("fresh", "docs", clear_source=True),
    "merge over": lambda s: s.merge("fresh", "docs", clear_source=True, on_conflict="replace"),
    "merge from none": lambda s: s.merge("none", "docs"),
    "merge into none": lambda s: s.merge("docs", "none"),
    "merge into path": lambda s: s.merge("docs", "a/b"),
    "merge into itself": lambda s: s.merge("docs", "docs", on_conflict="x"),
    "merge dimension": lambda s: s.merge("docs", "ip"),
    "merge metric": lambda s: s.merge("docs", "far ü%?&"),
    "merge conflict": lambda s: s.merge("docs", "fresh", on_conflict="overwrite"),
    "merged": lambda s: s.ids("docs"),
    # deleting
    "delete": lambda s: s.delete("docs", ["01", "none", "01", "../x", "02"]),
    "delete nothing": lambda s: s.delete("docs", []),
    "delete a string": lambda s: s.delete("docs", "01"),
    "delete numbers": lambda s: s.delete("docs", [1]),
    "delete too many": lambda s: s.delete("docs", [str(at) for at in range(301)]),
    "delete matching": lambda s: s.delete("docs", filter={"n": {"$lt": 20}}),
    "delete matching numpy's number": lambda s: s.delete("docs", filter={"n": np.float64(21.0)}),
    "delete filter off": lambda s: s.delete("docs", filter={"$n": 1}),
    "delete neither": lambda s: s.delete("docs"),
    "delete both": lambda s: s.delete("docs", ["a"], filter={}),
    "delete of none": lambda s: s.delete("none", ["a"]),
    "deleted": lambda s: s.ids("docs"),
    "delete all": lambda s: s.delete("docs", filter={}),
    "describe empty": lambda s: s.describe("docs"),
    "search empty": lambda s: s.search("docs", ONE),
    "drop": lambda s: s.drop("docs"),
    "drop again": lambda s: s.drop("docs"),
    "list the rest": lambda s: s.indexes(),
    "health": lambda s: s.health(),
}


KEEPING: dict[str, Call] = {
    "keep": lambda s: s.create("kept", 3, metadata={"a": 1}),
    "keep items": lambda s: s.add("kept", [Item("a", ONE, {"n": 1}), Item("b", ONE, {})]),
    "snapshot": lambda s: s.snapshot("kept").items,
    "more": lambda s: s.add("kept", [Item("c", [0, 1, 0])]).inserted,
    "snapshot again": lambda s: s.snapshot("kept").items,
    "snapshots": lambda s: [one.items for one in s.snapshots("kept")],
    "restore over": lambda s: s.restore("kept", "latest"),
    "restore": lambda s: s.restore("kept", s.snapshots("kept")[0].id, replace=True),
    "restore as": lambda s: s.restore("kept", "latest", "other"),
    "remove": lambda s: s.delete_snapshot("kept", "latest"),
    "kept": lambda s: [s.ids("kept"), s.ids("other"), [one.items for one in s.snapshots("kept")]],
    "list all": lambda s: s.indexes(),
}
"""What needs a place for snapshots."""


def _nested(depth: int) -> dict[str, Any]:
    return {"x": _nested(depth - 1)} if depth else {}


def _nots(depth: int) -> dict[str, Any]:
    return {"$not": _nots(depth - 1)} if depth else {"n": 1}


def outcome(call: Call, service: VectorService, form: Callable[[object], object] = repr) -> object:
    """What a call answers, or the error that it raises, in a form that can be compared."""
    try:
        found = call(service)
    except VectorRequestError as error:
        return type(error).__name__, error.code, sorted(error.problems)
    except VectorError as error:
        return type(error).__name__, error.code, error.what
    if isinstance(found, Item):
        assert isinstance(found.vector, np.ndarray)
        return found.id, found.vector.dtype, found.vector.tobytes(), repr(found.metadata)
    return form(found)


def test_a_client_is_a_store(client: Client) -> None:
    """Call by call, one after another: the same answers, the same errors with the same words."""
    store = VectorStore("memory:", limits=LIMITS)
    parted = {
        name: (got, wanted)
        for name, call in CALLS.items()
        if (got := outcome(call, client)) != (wanted := outcome(call, store))
    }
    assert parted == {}


def plain(found: object) -> object:
    """An outcome without that in which backends differ: sizes, and who of the equally near comes
    first, or last of all."""
    if isinstance(found, IndexInfo):
        return found.name, found.dimension, found.metric, found.metadata, found.count
    if not isinstance(found, list):
        return found
    if not found or not isinstance(found[0], Hit):
        return [plain(one) for one in found]
    return _hits(found)


def _hits(found: list[Hit]) -> tuple[list[float], dict[str, object]]:
    last = found[-1].score
    sure: dict[str, object] = {
        hit.id: (hit.metadata, hit.vector) for hit in found if abs(hit.score - last) > 1e-4
    }
    return [hit.score for hit in found], sure


def near(found: object) -> object:
    """The same; what equals it may differ in the last digits of scores."""
    if not isinstance(found, list):
        return plain(found)
    if not found or not isinstance(found[0], Hit):
        return [near(one) for one in found]
    scores, sure = _hits(found)
    return pytest.approx(scores, abs=1e-5), sure


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "memory"])
def test_every_backend_can_be_served(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Call by call, a client of each answers what a store in memory does."""
    wanted = VectorStore("memory:", limits=LIMITS, snapshots=tmp_path / "wanted")
    with opened(backend, request, tmp_path) as place:
        served = VectorStore(place.backend, limits=LIMITS, snapshots=tmp_path / "kept")
        with serving(served) as url, Client(url, limits=LIMITS) as client:
            parted = {
                name: (got, right)
                for name, call in {**CALLS, **KEEPING}.items()
                if (got := outcome(call, client, plain)) != (right := outcome(call, wanted, near))
            }
    assert parted == {}


def test_vectors_arrive_bit_for_bit(client: Client) -> None:
    """Whatever float32 can hold comes back as it went, by get and by search."""
    tiny = np.finfo(np.float32).smallest_subnormal
    numbers = np.array([tiny, -0.0, 1 / 3, 16777217.0, 3e18, -1e-20], np.float32)
    client.create("docs", 6, "l2")
    client.add("docs", [Item("a", numbers)])
    kept = client.get("docs", "a").vector
    assert isinstance(kept, np.ndarray)
    assert kept.tobytes() == numbers.tobytes()
    (hit,) = client.search("docs", numbers, include=["vector"])
    assert np.array(hit.vector, np.float32).tobytes() == numbers.tobytes()
    assert hit.score == 0.0


def test_many_items_arrive_once(client: Client) -> None:
    """More than a request may hold, in order, the later of two with one id standing."""
    client.create("docs", 3)
    items = [Item(f"{at % 900:04}", ONE, {"n": at}) for at in range(1_000)]
    done = client.add_many("docs", iter(items), batch_items=300)
    assert (done.items, done.inserted, done.replaced) == (1_000, 900, 100)
    assert client.ids("docs") == [f"{at:04}" for at in range(900)]
    assert client.get("docs", "0050").metadata == {"n": 950}
    assert client.add_many("docs", items[200:800], batch_items=300).unchanged == 600


def test_a_client_serves_many_threads(client: Client) -> None:
    """Adds and searches from several threads at once all come through."""
    client.create("docs", 3)
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for at in range(10):
                client.add("docs", [Item(f"{number}-{at}", ONE)])
                assert client.search("docs", ONE, 1)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(client.ids("docs")) == 60


def test_a_key_lets_in(tmp_path: Path) -> None:
    """With the key everything works, without it one line says what is missing, and no key."""
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    keys.chmod(0o600)
    with serving(VectorStore("memory:"), keys) as url:
        with Client(url, api_key=KEY) as client:
            assert client.create("docs", 3)
            assert client.health() == Health(True)
        for other in (None, "an-other-key"):
            with Client(url, api_key=other) as client, pytest.raises(VectorError) as refused:
                client.indexes()
            assert refused.value.code == "unauthorized"
            assert "Give the key that the server asks for." in str(refused.value)
            assert KEY not in str(refused.value)
            assert "an-other-key" not in str(refused.value)


def test_a_server_that_is_gone_is_said() -> None:
    """Nobody listens there any more."""
    from stillhouse.web import server as web

    bound = web.bind("127.0.0.1", 0)
    url = web.address_of(bound)
    bound.close()
    retry = Retry(tries=2, sleep=lambda seconds: None)
    with (
        Client(url, retry=retry) as client,
        pytest.raises(VectorFailedError, match=f"^{url}: cannot connect: ") as refused,
    ):
        client.create("docs", 3)
    assert refused.value.code == "unreachable"


def test_answers_keep_their_types(client: Client) -> None:
    """Answers are the structs that a store gives, not what JSON makes of them."""
    client.create("docs", 3)
    added = client.add("docs", [Item("a", ONE, {"n": 1})])
    store = VectorStore("memory:")
    store.create("docs", 3)
    assert type(added) is type(store.add("docs", [Item("a", ONE)]))
    (hit,) = client.search("docs", ONE, include=[])
    assert (hit.metadata, hit.vector) == (msgspec.UNSET, msgspec.UNSET)
