"""Bad input: each gets the right status, code and field; the service lives and the store holds
what it held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stillhouse.vectors import Limits
from tests.web.conftest import fill
from tests.web.live import BASE, Live, base64, content, running

LIMITS = Limits(
    k=50, ef=60, queries=4, batch_items=5, metadata_bytes=64, page=7, body_bytes=300_000
)
ONE = [1, 0, 0]
DEEP = "[" * 10_000 + "]" * 10_000
FLOATS = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def tight() -> Iterator[Live]:
    """A service with small limits, for all of these."""
    with running(limits=LIMITS) as live:
        fill(live)
        live.ask("PUT", f"{BASE}/plain", {"dimension": 3, "metric": "l2"})
        yield live


@pytest.fixture
def unharmed(tight: Live) -> Iterator[Live]:
    """Afterwards it lives, and nothing is half-done."""
    before = content(tight.store)
    yield tight
    assert content(tight.store) == before
    assert tight.ask("GET", "/readyz").status == 200


def _vector(vector: str) -> str:
    return f'{{"items":[{{"id":"x","vector":[1,0,0]}},{{"id":"y","vector":{vector}}}]}}'


ADDS: list[tuple[str, str, int, str, list[str]]] = [
    ("NaN", _vector("[1,NaN,0]"), 400, "malformed_json", ["body"]),
    ("Infinity", _vector("[1,Infinity,0]"), 400, "malformed_json", ["body"]),
    ("1e999", _vector("[1,1e999,0]"), 422, "invalid_request", ["items[1].vector[1]"]),
    ("1e39", _vector("[1,1e39,0]"), 422, "invalid_request", ["items[1].vector"]),
    ("long", _vector("[3e38,3e38,0]"), 422, "invalid_request", ["items[1].vector"]),
    ("zero", _vector("[0,0,0]"), 422, "invalid_request", ["items[1].vector"]),
    ("short", _vector("[1,0]"), 422, "invalid_request", ["items[1].vector"]),
    ("empty", _vector("[]"), 422, "invalid_request", ["items[1].vector"]),
    ("string", _vector('"abc"'), 422, "invalid_request", ["items[1].vector"]),
    ("string in it", _vector('[1,"0",0]'), 422, "invalid_request", ["items[1].vector[1]"]),
    ("true in it", _vector("[1,true,0]"), 422, "invalid_request", ["items[1].vector[1]"]),
    ("nested", _vector("[[1,0,0]]"), 422, "invalid_request", ["items[1].vector[0]"]),
    ("null", _vector("null"), 422, "invalid_request", ["items[1].vector"]),
    ("base64 NaN", _vector(json.dumps(base64(1, float("nan"), 0))), 422, "invalid_request",
     ["items[1].vector"]),
    ("base64 inf", _vector(json.dumps(base64(1, float("inf"), 0))), 422, "invalid_request",
     ["items[1].vector"]),
    ("base64 short", _vector(json.dumps(base64(1, 0))), 422, "invalid_request",
     ["items[1].vector"]),
    ("base64 odd", _vector('{"base64":"AAAA"}'), 400, "bad_base64", ["items[1].vector"]),
    ("base64 none", _vector('{"base64":"?!"}'), 400, "bad_base64", ["items[1].vector"]),
    ("base64 ü", _vector('{"base64":"ü"}'), 400, "bad_base64", ["items[1].vector"]),
    ("base64 padding", _vector('{"base64":"AACAPwAAAAAAAAAA="}'), 400, "bad_base64",
     ["items[1].vector"]),
    ("base64 number", _vector('{"base64":1}'), 422, "invalid_request",
     ["items[1].vector.base64"]),
    ("base64 and more", _vector('{"base64":"","x":1}'), 422, "invalid_request",
     ["items[1].vector.x"]),
    ("truncated", '{"items":[{"id":"x","vec', 400, "malformed_json", ["body"]),
    ("nothing", "", 400, "malformed_json", ["body"]),
    ("trailing", '{"items":[]} {}', 400, "malformed_json", ["body"]),
    ("deep", f'{{"items":{DEEP}}}', 400, "malformed_json", ["body"]),
    ("deep metadata", f'{{"items":[{{"id":"x","vector":[1,0,0],"metadata":{{"a":{DEEP}}}}}]}}',
     400, "malformed_json", ["body"]),
    ("a list", "[]", 422, "invalid_request", ["body"]),
    ("null body", "null", 422, "invalid_request", ["body"]),
    ("no items", "{}", 422, "invalid_request", ["items"]),
    ("items no list", '{"items":{}}', 422, "invalid_request", ["items"]),
    ("unknown field", '{"items":[],"wait":true}', 422, "invalid_request", ["wait"]),
    ("unknown field of an item",
     '{"items":[{"id":"x","vector":[1,0,0],"payload":{}}]}', 422, "invalid_request",
     ["items[0].payload"]),
    ("item no object", '{"items":[1]}', 422, "invalid_request", ["items[0]"]),
    ("no id", '{"items":[{"vector":[1,0,0]}]}', 422, "invalid_request", ["items[0].id"]),
    ("no vector", '{"items":[{"id":"x"}]}', 422, "invalid_request", ["items[0].vector"]),
    ("metadata no object", '{"items":[{"id":"x","vector":[1,0,0],"metadata":[]}]}', 422,
     "invalid_request", ["items[0].metadata"]),
    ("large metadata",
     f'{{"items":[{{"id":"x","vector":[1,0,0],"metadata":{{"a":"{"x" * 64}"}}}}]}}', 422,
     "limit_exceeded", ["items[0].metadata"]),
    ("large number in metadata",
     f'{{"items":[{{"id":"x","vector":[1,0,0],"metadata":{{"a":1{"0" * 30}}}}}]}}', 422,
     "invalid_request", ["items[0].metadata"]),
    ("twice", '{"items":[{"id":"x","vector":[1,0,0]},{"id":"x","vector":[0,1,0]}]}', 422,
     "invalid_request", ["items[1].id"]),
    ("too many", json.dumps({"items": [{"id": str(at), "vector": ONE} for at in range(6)]}), 422,
     "limit_exceeded", ["items"]),
    ("half a pair", '{"items":[{"id":"\\ud800","vector":[1,0,0]}]}', 400, "malformed_json",
     ["body"]),
    ("all at once",
     '{"items":[{"id":"","vector":[1,0,0]},{"id":"y","vector":[1],"z":1},{"id":"c/d","vector":'
     '[1,"2",3],"metadata":7},{"id":"ok","vector":[0,0,0]}]}', 422, "invalid_request",
     ["items[0].id", "items[1].z", "items[1].vector", "items[2].vector[1]", "items[2].id",
      "items[2].metadata", "items[3].vector"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "code", "fields"), [one[1:] for one in ADDS], ids=[one[0] for one in ADDS]
)
def test_a_bad_batch_is_refused_whole(
    unharmed: Live, body: str, status: int, code: str, fields: list[str]
) -> None:
    """Every problem of the batch is told with its field, and nothing of it is taken."""
    answer = unharmed.post("docs/add", body.encode(), **{"content-type": "application/json"})
    assert (answer.status, answer.code) == (status, code)
    assert answer.fields == fields


def test_bytes_that_are_no_utf8_are_refused(unharmed: Live) -> None:
    """JSON is UTF-8."""
    body = b'{"items":[{"id":"\xff","vector":[1,0,0]}]}'
    answer = unharmed.post("docs/add", body, **{"content-type": "application/json"})
    assert (answer.status, answer.code) == (400, "malformed_json")


@pytest.mark.parametrize(
    "id_", ["", "x" * 513, ".", "..", "a/b", "a\\b", "a\0b", "a\nb", " a", "ü" * 257]
)
def test_bad_ids_are_refused(unharmed: Live, id_: str) -> None:
    """Empty, over-long, with a path or a control character in it."""
    answer = unharmed.post("docs/add", {"items": [{"id": id_, "vector": ONE}]})
    assert (answer.status, answer.code, answer.fields) == (422, "invalid_request", ["items[0].id"])


def test_many_problems_are_counted(unharmed: Live) -> None:
    """An answer stays readable, however much is off."""
    items = [{"id": "", "vector": [1, "x"], **{f"f{n}": n for n in range(3)}}] * 5
    answer = unharmed.post("docs/add", {"items": items})
    assert answer.status == 422
    assert len(answer.json["errors"]) <= 21


FILTERED = {"vector": ONE, "filter": None}
SEARCHES: list[tuple[str, Any, int, str, list[str]]] = [
    ("k 0", {"vector": ONE, "k": 0}, 422, "invalid_request", ["k"]),
    ("k negative", {"vector": ONE, "k": -1}, 422, "invalid_request", ["k"]),
    ("k huge", {"vector": ONE, "k": 51}, 422, "limit_exceeded", ["k"]),
    ("k beyond 64 bits", {"vector": ONE, "k": 10**40}, 422, "limit_exceeded", ["k"]),
    ("k float", {"vector": ONE, "k": 1.5}, 422, "invalid_request", ["k"]),
    ("k text", {"vector": ONE, "k": "10"}, 422, "invalid_request", ["k"]),
    ("k true", {"vector": ONE, "k": True}, 422, "invalid_request", ["k"]),
    ("k null", {"vector": ONE, "k": None}, 422, "invalid_request", ["k"]),
    ("ef 0", {"vector": ONE, "ef": 0}, 422, "invalid_request", ["ef"]),
    ("ef huge", {"vector": ONE, "ef": 61}, 422, "limit_exceeded", ["ef"]),
    ("include", {"vector": ONE, "include": ["payload"]}, 422, "invalid_request", ["include"]),
    ("include text", {"vector": ONE, "include": "vector"}, 422, "invalid_request", ["include"]),
    ("neither", {"k": 1}, 422, "invalid_request", ["vector"]),
    ("both", {"vector": ONE, "vectors": [ONE]}, 422, "invalid_request", ["vector"]),
    ("unknown field", {"vector": ONE, "top_k": 1}, 422, "invalid_request", ["top_k"]),
    ("dimension", {"vector": [1, 0]}, 422, "invalid_request", ["vector"]),
    ("zero", {"vector": [0, 0, 0]}, 422, "invalid_request", ["vector"]),
    ("none", {"vector": []}, 422, "invalid_request", ["vector"]),
    ("nested", {"vector": [ONE]}, 422, "invalid_request", ["vector[0]"]),
    ("bad base64", {"vector": {"base64": "AAA"}}, 400, "bad_base64", ["vector"]),
    ("no vectors", {"vectors": []}, 422, "invalid_request", ["vectors"]),
    ("dimension of one", {"vectors": [ONE, [1]]}, 422, "invalid_request", ["vectors[1]"]),
    ("text in one", {"vectors": [ONE, ["x", 0, 0]]}, 422, "invalid_request", ["vectors[1][0]"]),
    ("zero among them", {"vectors": [ONE, [0, 0, 0]]}, 422, "invalid_request", ["vectors[1]"]),
    ("too many vectors", {"vectors": [ONE] * 5}, 422, "limit_exceeded", ["vectors"]),
    ("too many in base64", {"vectors": base64(*ONE * 5)}, 422, "limit_exceeded", ["vectors"]),
    ("no whole vectors", {"vectors": base64(1, 2, 3, 4)}, 422, "invalid_request", ["vectors"]),
    ("vectors a number", {"vectors": 3}, 422, "invalid_request", ["vectors"]),
    ("filter text", {"vector": ONE, "filter": "lang"}, 422, "invalid_request", ["filter"]),
    ("filter list", {"vector": ONE, "filter": []}, 422, "invalid_request", ["filter"]),
    ("unknown operator", {"vector": ONE, "filter": {"a": {"$like": "x"}}}, 422,
     "invalid_filter", ["filter.a.$like"]),
    ("unknown clause", {"vector": ONE, "filter": {"$xor": []}}, 422, "invalid_filter",
     ["filter.$xor"]),
    ("no clauses", {"vector": ONE, "filter": {"$or": []}}, 422, "invalid_filter",
     ["filter.$or"]),
    ("10,000 clauses", {"vector": ONE, "filter": {"$or": [{"a": 1}] * 10_000}}, 422,
     "limit_exceeded", ["filter.$or[999].a"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "code", "fields"),
    [one[1:] for one in SEARCHES],
    ids=[one[0] for one in SEARCHES],
)
def test_a_bad_search_is_refused(
    unharmed: Live, body: Any, status: int, code: str, fields: list[str]
) -> None:
    """The right status, code and field."""
    answer = unharmed.post("docs/search", body)
    assert (answer.status, answer.code, answer.fields) == (status, code, fields)


def test_a_filter_nested_ten_thousand_deep_is_refused(unharmed: Live) -> None:
    """No crash, and no answer of 500."""
    body = '{"vector":[1,0,0],"filter":' + '{"$not":' * 10_000 + "{}" + "}" * 10_000 + "}"
    answer = unharmed.post("docs/search", body.encode(), **{"content-type": "application/json"})
    assert (answer.status, answer.code) == (400, "malformed_json")
    shallower = '{"vector":[1,0,0],"filter":' + '{"$not":' * 40 + '{"a":1}' + "}" * 41
    answer = unharmed.post(
        "docs/search", shallower.encode(), **{"content-type": "application/json"}
    )
    assert (answer.status, answer.code) == (422, "limit_exceeded")


def test_k_above_the_count_gives_all(unharmed: Live) -> None:
    """More hits than there are is no error."""
    assert len(unharmed.post("docs/search", {"vector": ONE, "k": 50}).json["hits"]) == 3


@pytest.mark.parametrize(
    ("query", "body", "status", "code", "fields"),
    [
        ("", b"\0\0\200?\0", 422, "invalid_request", ["body"]),
        ("", b"", 422, "invalid_request", ["body"]),
        ("", b"\0\0\200?" * 4, 422, "invalid_request", ["body"]),
        ("", b"\0" * 12, 422, "invalid_request", ["body[0]"]),
        ("", b"\0\0\300\177" * 3, 422, "invalid_request", ["body[0]"]),
        ("", b"\0\0\200?" * 15, 422, "limit_exceeded", ["body"]),
        ("k=0", b"\0\0\200?" * 3, 422, "invalid_request", ["k"]),
        ("k=abc", b"\0\0\200?" * 3, 422, "invalid_request", ["k"]),
        ("k=1_0", b"\0\0\200?" * 3, 422, "invalid_request", ["k"]),
        ("k=%D9%A3", b"\0\0\200?" * 3, 422, "invalid_request", ["k"]),
        ("k=51", b"\0\0\200?" * 3, 422, "limit_exceeded", ["k"]),
        ("k=1&k=2", b"\0\0\200?" * 3, 422, "invalid_request", ["k"]),
        ("top=1", b"\0\0\200?" * 3, 422, "invalid_request", ["top"]),
        ("%ff=1", b"\0\0\200?" * 3, 422, "invalid_request", ["query"]),
        ("include=id", b"\0\0\200?" * 3, 422, "invalid_request", ["include"]),
        ("filter=%7B", b"\0\0\200?" * 3, 400, "malformed_json", ["filter"]),
        ("filter=1", b"\0\0\200?" * 3, 422, "invalid_filter", ["filter"]),
        ("filter=%7B%22a%22%3A%7B%7D%7D", b"\0\0\200?" * 3, 422, "invalid_filter", ["filter.a"]),
    ],
)
def test_a_bad_raw_search_is_refused(
    unharmed: Live, query: str, body: bytes, status: int, code: str, fields: list[str]
) -> None:
    """The same for float32 bodies, whose options are in the URL."""
    answer = unharmed.ask("POST", f"{BASE}/docs/search?{query}", body, FLOATS)
    assert (answer.status, answer.code, answer.fields) == (status, code, fields)


NAMES = [
    "%2e%2e", "..", ".", "%2E", "a%2Fb", "a%2fb", "%2F", "a%5Cb", "a%00b", "%00", "%0a", "%20a",
    "a%20", "x" * 129, "%F0%9F%98%80" * 33, "%FF", "%C3", "", "%7f",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_bad_names_are_refused(unharmed: Live, method: str, name: str) -> None:
    """No name leads to another route, to a path or to an index of another name."""
    body = {"dimension": 3} if method == "PUT" else None
    answer = unharmed.ask(method, f"{BASE}/{name}", body)
    assert (answer.status, answer.code, answer.fields) == (422, "invalid_name", ["name"])


@pytest.mark.parametrize("rest", ["search", "add", "count", "delete", "snapshot", "restore"])
def test_bad_names_are_refused_below_an_index(unharmed: Live, rest: str) -> None:
    """An encoded slash stays within its part of the path."""
    bodies: dict[str, Any] = {
        "search": {"vector": ONE},
        "add": {"items": []},
        "count": {},
        "delete": {"ids": []},
        "snapshot": {},
        "restore": {"snapshot": "x"},
    }
    answer = unharmed.post(f"docs%2F{rest}/{rest}", bodies[rest])
    assert (answer.status, answer.code, answer.fields) == (422, "invalid_name", ["name"])


CREATES: list[tuple[Any, list[str]]] = [
    ({"dimension": 0}, ["dimension"]),
    ({"dimension": -3}, ["dimension"]),
    ({"dimension": 16_385}, ["dimension"]),
    ({"dimension": 10**30}, ["dimension"]),
    ({"dimension": 3.5}, ["dimension"]),
    ({"dimension": "3"}, ["dimension"]),
    ({"dimension": True}, ["dimension"]),
    ({}, ["dimension"]),
    ({"dimension": 3, "metric": "hamming"}, ["metric"]),
    ({"dimension": 3, "metric": 1}, ["metric"]),
    ({"dimension": 3, "metadata": []}, ["metadata"]),
    ({"dimension": 3, "name": "x"}, ["name"]),
    ({"dimension": 0, "metric": "x", "metadata": {"a": "\0"}},
     ["dimension", "metric", "metadata"]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "fields"), CREATES)
def test_an_index_that_cannot_be_is_refused(unharmed: Live, body: Any, fields: list[str]) -> None:
    """Every problem of its description is told."""
    answer = unharmed.ask("PUT", f"{BASE}/new", body)
    assert (answer.status, answer.code, answer.fields) == (422, "invalid_request", fields)


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "fields"),
    [
        ("docs/delete", {}, 422, "invalid_request", ["ids"]),
        ("docs/delete", {"ids": ["a"], "filter": {}}, 422, "invalid_request", ["ids"]),
        ("docs/delete", {"ids": "a"}, 422, "invalid_request", ["ids"]),
        ("docs/delete", {"ids": [1]}, 422, "invalid_request", ["ids[0]"]),
        ("docs/delete", {"ids": ["x"] * 6}, 422, "limit_exceeded", ["ids"]),
        ("docs/delete", {"filter": {"a": {"$x": 1}}}, 422, "invalid_filter", ["filter.a.$x"]),
        ("docs/delete", {"filter": None}, 422, "invalid_request", ["filter"]),
        ("docs/merge", {}, 422, "invalid_request", ["dest"]),
        ("docs/merge", {"dest": "plain", "on_conflict": "x"}, 422, "invalid_request",
         ["on_conflict"]),
        ("docs/merge", {"dest": "plain", "clear_source": 1}, 422, "invalid_request",
         ["clear_source"]),
        ("docs/merge", {"dest": ""}, 422, "invalid_name", ["dest"]),
        ("docs/count", {"where": {}}, 422, "invalid_request", ["where"]),
        ("docs/count", {"filter": []}, 422, "invalid_request", ["filter"]),
        ("docs/count", [], 422, "invalid_request", ["body"]),
        ("docs/snapshot", {"to": "x"}, 422, "invalid_request", ["to"]),
        ("docs/snapshot", [], 422, "invalid_request", ["body"]),
        ("docs/restore", {}, 422, "invalid_request", ["snapshot"]),
        ("docs/restore", {"snapshot": "x", "replace": "yes"}, 422, "invalid_request",
         ["replace"]),
    ],
)  # fmt: skip
def test_other_bodies_that_are_off_are_refused(
    unharmed: Live, path: str, body: Any, status: int, code: str, fields: list[str]
) -> None:
    """The same everywhere."""
    answer = unharmed.post(path, body)
    assert (answer.status, answer.code, answer.fields) == (status, code, fields)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("limit=0", 422, "invalid_request"),
        ("limit=-1", 422, "invalid_request"),
        ("limit=8", 422, "limit_exceeded"),
        ("limit=x", 422, "invalid_request"),
        ("page=1", 422, "invalid_request"),
        ("cursor=", 410, "cursor_expired"),
        ("cursor=abc.1", 410, "cursor_expired"),
        ("cursor=AAAAAAAAAAAAAAAAAAAAAA.1", 410, "cursor_expired"),
        ("cursor=%00", 410, "cursor_expired"),
    ],
)
def test_bad_pages_are_refused(unharmed: Live, query: str, status: int, code: str) -> None:
    """A limit is from 1 to the limit; a cursor that is not known has expired."""
    answer = unharmed.ask("GET", f"{BASE}/docs/ids?{query}")
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": ""},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
@pytest.mark.parametrize("path", ["docs/add", "docs/search", "docs/merge", "docs/snapshot"])
def test_other_content_types_are_refused(
    unharmed: Live, path: str, headers: dict[str, str]
) -> None:
    """415: a body is JSON, as UTF-8 and not compressed; so no plain form of a web page gets in."""
    answer = unharmed.ask("POST", f"{BASE}/{path}", b"{}", headers)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


def test_a_body_without_a_type_is_refused(unharmed: Live) -> None:
    """A web page can send one to another origin without asking."""
    answer = unharmed.ask("POST", f"{BASE}/docs/add", b"{}")
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON"])
def test_json_may_say_that_it_is_utf8(unharmed: Live, kind: str) -> None:
    """The media type is told without regard to case, with its charset."""
    body = json.dumps({"vector": ONE}).encode()
    assert unharmed.post("docs/search", body, **{"content-type": kind}).status == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/", "not_found"), ("/v1", "not_found"), (f"{BASE}/docs/nope", "not_found"),
        (f"{BASE}/docs/items/a/b", "not_found"), ("/v1/vectors/%69ndex", "not_found"),
        ("//livez", "not_found"), (f"{BASE}/docs/add/", "not_found"),
        (f"{BASE}/missing", "index_not_found"), (f"{BASE}/docs/items/zzz", "item_not_found"),
        (f"{BASE}/docs/items/a%2Fb", "item_not_found"), (f"{BASE}/docs/items/", "item_not_found"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_404(unharmed: Live, path: str, code: str) -> None:
    """Unknown routes, indexes and items."""
    answer = unharmed.ask("GET", path)
    assert (answer.status, answer.code) == (404, code)


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "POST", "FOO"])
def test_other_methods_are_405_with_those_that_are_allowed(unharmed: Live, method: str) -> None:
    """The Allow header lists what the path takes."""
    answer = unharmed.ask(method, f"{BASE}/docs")
    if method == "FOO":  # no HTTP parser takes it
        assert answer.status == 400
        return
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"
