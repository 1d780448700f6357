"""Every route does what SPEC section 10 says, over a real socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import fill
from tests.web.live import BASE, Live, base64, floats, running


def test_an_index_is_made_once_and_the_same_again_is_no_error(live: Live) -> None:
    """201, then 200 for the same and 409 for another; the answer describes the index."""
    body = {"dimension": 2, "metric": "l2", "metadata": {"owner": "me"}}
    made = live.ask("PUT", f"{BASE}/new", body)
    assert made.status == 201
    assert made.json["dimension"] == 2
    assert (made.json["metric"], made.json["metadata"]) == ("l2", {"owner": "me"})
    assert live.ask("PUT", f"{BASE}/new", body).status == 200
    other = live.ask("PUT", f"{BASE}/new", body | {"dimension": 3})
    assert (other.status, other.code) == (409, "index_exists")


def test_indexes_are_listed_described_and_dropped(live: Live) -> None:
    """The list has every index by name; a dropped one is gone."""
    live.ask("PUT", f"{BASE}/another", {"dimension": 2})
    assert [one["name"] for one in live.ask("GET", BASE).json["indexes"]] == ["another", "docs"]
    assert live.ask("GET", f"{BASE}/docs").json["count"] == 3
    gone = live.ask("DELETE", f"{BASE}/another")
    assert (gone.status, gone.body) == (204, b"")
    assert live.ask("GET", f"{BASE}/another").code == "index_not_found"


def test_items_are_inserted_replaced_or_left(live: Live) -> None:
    """The answer says of each item what became of it, whichever way its vector came."""
    items = [
        {"id": "a", "vector": base64(1, 0, 0), "metadata": {"lang": "en", "year": 2020}},
        {"id": "b", "vector": [0, 2, 0], "metadata": {}},
        {"id": "d", "vector": [0, 0, 1]},
    ]
    answer = live.post("docs/add", {"items": items}).json
    assert [one["status"] for one in answer["results"]] == ["unchanged", "replaced", "inserted"]
    assert (answer["inserted"], answer["replaced"], answer["unchanged"]) == (1, 1, 1)


def test_no_metadata_and_empty_metadata_come_back_as_they_went(shared: Live) -> None:
    """SPEC V2: null and {} are told apart, in items and in hits."""
    got = {id_: shared.ask("GET", f"{BASE}/docs/items/{id_}").json for id_ in "abc"}
    assert got["a"] == {"id": "a", "vector": [1, 0, 0], "metadata": {"lang": "en", "year": 2020}}
    assert (got["b"]["metadata"], got["c"]["metadata"]) == ({}, None)
    hits = shared.post("docs/search", {"vector": [1, 1, 0]}).json["hits"]
    assert {hit["id"]: hit["metadata"] for hit in hits}["c"] is None
    assert {hit["id"]: hit["metadata"] for hit in hits}["b"] == {}


@pytest.mark.parametrize("vector", [[1, 0.1, 0], base64(1, 0.1, 0)], ids=["numbers", "base64"])
def test_one_vector_finds_hits(shared: Live, vector: object) -> None:
    """`vector` is answered with `hits`, nearest first, as many as asked for."""
    answer = shared.post("docs/search", {"vector": vector, "k": 2}).json
    assert [hit["id"] for hit in answer["hits"]] == ["a", "c"]
    assert answer["hits"][0]["score"] == pytest.approx(0.995037, abs=1e-5)


@pytest.mark.parametrize(
    "vectors",
    [
        [[1, 0.1, 0], [0, 1, 0]],
        [base64(1, 0.1, 0), [0, 1, 0]],
        base64(1, 0.1, 0, 0, 1, 0),
    ],
    ids=["numbers", "mixed", "one base64"],
)
def test_several_vectors_find_results(shared: Live, vectors: object) -> None:
    """`vectors` is answered with `results`, in their order."""
    answer = shared.post("docs/search", {"vectors": vectors, "k": 1, "include": []}).json
    assert [[hit["id"] for hit in one] for one in answer["results"]] == [["a"], ["b"]]
    assert set(answer["results"][0][0]) == {"id", "score"}


def test_one_vector_in_a_list_is_answered_as_a_list(shared: Live) -> None:
    """What was asked with `vectors` comes back in `results`, also when it is one."""
    assert len(shared.post("docs/search", {"vectors": [[1, 0, 0]]}).json["results"]) == 1


def test_a_raw_body_searches_with_options_in_the_query(shared: Live) -> None:
    """float32 numbers end to end are vectors; k, ef, include and filter are in the URL."""
    path = f"{BASE}/docs/search?k=1&ef=50&include=vector,metadata&filter=%7B%22year%22%3A2020%7D"
    answer = shared.ask(
        "POST", path, floats(0, 1, 0, 1, 0, 0), {"content-type": "application/octet-stream"}
    )
    hit = {"id": "a", "metadata": {"lang": "en", "year": 2020}, "vector": [1, 0, 0]}
    assert [[one | {"score": 0} for one in found] for found in answer.json["results"]] == [
        [hit | {"score": 0}],
        [hit | {"score": 0}],
    ]


def test_a_filter_narrows_a_search(shared: Live) -> None:
    """Exactly min(k, matches) hits."""
    body = {"vector": [0, 1, 0], "filter": {"year": {"$gte": 2000}}}
    assert [hit["id"] for hit in shared.post("docs/search", body).json["hits"]] == ["a"]


def test_items_are_deleted_by_id(live: Live) -> None:
    """204 when it was there, 404 when it was not; the list form says which were missing."""
    assert live.ask("DELETE", f"{BASE}/docs/items/a").status == 204
    assert live.ask("DELETE", f"{BASE}/docs/items/a").code == "item_not_found"
    assert live.ask("GET", f"{BASE}/docs/items/a").code == "item_not_found"
    answer = live.post("docs/delete", {"ids": ["a", "b"]}).json
    assert answer == {"deleted": 1, "missing": ["a"]}


def test_items_are_deleted_by_filter(live: Live) -> None:
    """Everything that matches goes, and nothing else."""
    answer = live.post("docs/delete", {"filter": {"lang": "en"}})
    assert answer.json == {"deleted": 1, "missing": []}
    assert live.ask("GET", f"{BASE}/docs/ids").json["ids"] == ["b", "c"]


def test_ids_are_paged_over_one_snapshot(live: Live) -> None:
    """Pages show the ids of the moment of the first, whatever is written meanwhile (SPEC V1)."""
    first = live.ask("GET", f"{BASE}/docs/ids?limit=2").json
    assert (first["ids"], first["total"]) == (["a", "b"], 3)
    live.post("docs/add", {"items": [{"id": "bb", "vector": [1, 0, 0]}]})
    live.ask("DELETE", f"{BASE}/docs/items/c")
    path = f"{BASE}/docs/ids?limit=2&cursor={first['cursor']}"
    for _ in range(2):  # a page can be asked for again
        assert live.ask("GET", path).json == {"ids": ["c"], "total": 3, "cursor": None}
    assert live.ask("GET", f"{BASE}/docs/ids").json["ids"] == ["a", "b", "bb"]


def test_a_merge_moves_what_is_new(live: Live) -> None:
    """SPEC V4: merged, skipped, conflicts and what remains; again, it changes nothing."""
    live.ask("PUT", f"{BASE}/main", {"dimension": 3})
    taken = [{"id": "b", "vector": [0, 1, 0], "metadata": {}}, {"id": "c", "vector": [0, 0, 1]}]
    live.post("main/add", {"items": taken})
    body = {"dest": "main", "clear_source": True}
    answer = live.post("docs/merge", body).json
    assert answer == {
        "src": "docs", "dest": "main", "merged": 1, "skipped": 1, "conflicts": ["c"],
        "failed": [], "cleared": 2, "remaining": 1,
    }  # fmt: skip
    assert live.post("docs/merge", body).json["conflicts"] == ["c"]
    assert live.post("docs/merge", body | {"on_conflict": "replace"}).json["merged"] == 1
    assert live.ask("GET", f"{BASE}/docs").json["count"] == 0


def test_refused_merges_move_nothing(live: Live) -> None:
    """Missing ones, other shapes and itself are refused with their own codes."""
    live.ask("PUT", f"{BASE}/wide", {"dimension": 4})
    live.ask("PUT", f"{BASE}/far", {"dimension": 3, "metric": "l2"})
    seen: dict[str, Any] = {}
    for src, dest in (
        ("docs", "wide"), ("docs", "far"), ("docs", "docs"), ("docs", "no"), ("no", "docs"),
        ("docs", "a/b"), ("a%2Fb", "docs"),
    ):  # fmt: skip
        answer = live.post(f"{src}/merge", {"dest": dest})
        seen[f"{src}>{dest}"] = (answer.status, answer.code, answer.fields)
    assert seen == {
        "docs>wide": (409, "dimension_mismatch", []),
        "docs>far": (409, "metric_mismatch", []),
        "docs>docs": (400, "merge_into_itself", ["dest"]),
        "docs>no": (404, "index_not_found", []),
        "no>docs": (404, "index_not_found", []),
        "docs>a/b": (422, "invalid_name", ["dest"]),
        "a%2Fb>docs": (422, "invalid_name", ["src"]),
    }
    assert live.ask("GET", f"{BASE}/docs").json["count"] == 3


@pytest.mark.parametrize("name", ["😀 docs", "ünï", "a:b", "a b", "%", "a?b", "a#b", "~'()*"])
def test_names_and_ids_may_be_what_a_url_can_carry(live: Live, name: str) -> None:
    """Percent-encoded, any name without a path or a control character goes through and back."""
    from urllib.parse import quote

    path = f"{BASE}/{quote(name, safe='')}"
    assert live.ask("PUT", path, {"dimension": 1}).json["name"] == name
    assert live.ask("POST", f"{path}/add", {"items": [{"id": name, "vector": [1]}]}).status == 200
    assert live.ask("GET", f"{path}/items/{quote(name, safe='')}").json["id"] == name
    assert live.ask("DELETE", f"{path}/items/{quote(name, safe='')}").status == 204


def test_metadata_comes_back_as_json(live: Live) -> None:
    """Unicode, numbers and nesting survive an add, a get and a search."""
    metadata = {"ß": ["ä", 1, 2.5, None, True], "n": {"deep": [{"x": -(2**62)}]}, "q": '"\\\n'}
    live.post("docs/add", {"items": [{"id": "m", "vector": [0, 0, 1], "metadata": metadata}]})
    assert live.ask("GET", f"{BASE}/docs/items/m").json["metadata"] == metadata
    hit = live.post("docs/search", {"vector": [0, 0, 1], "k": 1}).json["hits"][0]
    assert hit["metadata"] == metadata


def test_the_operator_s_routes_answer(shared: Live) -> None:
    """Alive, ready, figures and the document."""
    assert shared.ask("GET", "/livez").json == {"status": "alive"}
    assert shared.ask("GET", "/readyz").json == {"status": "ready"}
    assert 'stillhouse_index_items{index="docs"} 3.0' in shared.ask("GET", "/metrics").body.decode()
    assert json.loads(shared.ask("GET", "/openapi.json").body)["openapi"] == "3.1.0"
    assert shared.ask("GET", "/docs").body.startswith(b"<!doctype html>")


def test_an_empty_store_answers() -> None:
    """No index yet is no error."""
    with running() as live:
        assert live.ask("GET", BASE).json == {"indexes": []}
        assert live.ask("GET", "/readyz").status == 200


def test_snapshots_are_taken_listed_and_restored(tmp_path: Path) -> None:
    """Into a new name or over the old one, which is only given up when that is said."""
    with running(snapshots=tmp_path) as live:
        fill(live)
        taken = live.post("docs/snapshot", {})
        assert taken.status == 201
        assert (taken.json["index"], taken.json["items"]) == ("docs", 3)
        assert live.ask("GET", f"{BASE}/docs/snapshot").json == {"snapshots": [taken.json]}
        live.post("docs/delete", {"ids": ["a", "b"]})
        body = {"snapshot": taken.json["id"]}
        refused = live.post("docs/restore", body)
        assert (refused.status, refused.code) == (409, "index_exists")
        copied = live.post("docs/restore", body | {"into": "copy"})
        assert (copied.status, copied.json["items"]) == (200, 3)
        assert (copied.json["index"]["name"], copied.json["index"]["count"]) == ("copy", 3)
        assert live.ask("GET", f"{BASE}/docs").json["count"] == 1
        assert live.post("docs/restore", body | {"replace": True}).json["items"] == 3
        assert live.ask("GET", f"{BASE}/docs/ids").json["ids"] == ["a", "b", "c"]


def test_snapshots_are_removed(tmp_path: Path) -> None:
    """By their ids, or the newest; the index stays, and one that is gone is not found."""
    with running(snapshots=tmp_path) as live:
        fill(live)
        first, second, third = (live.post("docs/snapshot", {}).json["id"] for _ in range(3))
        assert live.ask("DELETE", f"{BASE}/docs/snapshot/{second}").status == 204
        assert live.ask("DELETE", f"{BASE}/docs/snapshot/latest").status == 204
        kept = live.ask("GET", f"{BASE}/docs/snapshot").json["snapshots"]
        assert [one["id"] for one in kept] == [first]
        for gone in (second, third, "..%2Fx", "%00"):
            answer = live.ask("DELETE", f"{BASE}/docs/snapshot/{gone}")
            assert (answer.status, answer.code) == (404, "snapshot_not_found")
        assert live.post("docs/restore", {"snapshot": "latest", "into": "x"}).json["items"] == 3


def test_items_are_counted(live: Live) -> None:
    """All of them, or those that a filter matches."""
    assert live.post("docs/count", {}).json == {"count": 3}
    assert live.post("docs/count", {"filter": None}).json == {"count": 3}
    matching = live.post("docs/search", {"vector": [1, 0, 0], "filter": {"lang": "en"}})
    found = len(matching.json["hits"])
    assert 0 < found < 3
    assert live.post("docs/count", {"filter": {"lang": "en"}}).json == {"count": found}
    off = live.post("docs/count", {"filter": {"lang": {"$like": "x"}}})
    assert (off.status, off.code, off.fields) == (422, "invalid_filter", ["filter.lang.$like"])
    assert live.post("none/count", {}).code == "index_not_found"


def test_snapshots_that_cannot_be_are_refused(tmp_path: Path) -> None:
    """Unknown ones and names, a damaged one, and a service without a place for them."""
    with running(snapshots=tmp_path) as live:
        fill(live)
        assert live.post("none/snapshot", {}).code == "index_not_found"
        unknown = live.post("docs/restore", {"snapshot": "no", "into": "x"})
        assert (unknown.status, unknown.code) == (404, "snapshot_not_found")
        for bad in ("../x", "", "a/b", "\0"):
            assert live.post("docs/restore", {"snapshot": bad, "into": "x"}).status in (404, 422)
        id_ = live.post("docs/snapshot", {}).json["id"]
        named = live.post("docs/restore", {"snapshot": id_, "into": "a/b"})
        assert (named.code, named.fields) == ("invalid_name", ["into"])
        (envelope,) = (path for path in tmp_path.rglob("*") if path.is_file() and id_ in path.name)
        data = bytearray(envelope.read_bytes())
        data[len(data) // 2] ^= 1
        envelope.write_bytes(data)
        damaged = live.post("docs/restore", {"snapshot": id_, "into": "x"})
        assert (damaged.status, damaged.code) == (422, "envelope_damaged")
        assert [one.name for one in live.store.indexes()] == ["docs"]
    with running() as live:
        fill(live)
        answer = live.post("docs/snapshot", {})
        assert (answer.status, answer.fields) == (422, ["snapshots"])
