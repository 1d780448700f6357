"""The client of a vector server: what it sends, what it makes of answers, and what it sends again.

The server here is a script: `test_client_server` puts the client before a real one.
"""

from __future__ import annotations

import base64
import json
import pickle
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import numpy as np
import pytest

from stillhouse.errors import (
    StillhouseError,
    UsageError,
    VectorBusyError,
    VectorConflictError,
    VectorDamagedError,
    VectorError,
    VectorFailedError,
    VectorLimitError,
    VectorLockedError,
    VectorNotFoundError,
    VectorRequestError,
)
from stillhouse.vectors import Client, Health, Item, Limits
from stillhouse.vectors.client_link import Retry

KEY = "k3y-that-nobody-may-see"
SPEC = {"name": "docs", "dimension": 2, "metric": "cosine", "metadata": None, "count": 0}
ADDED = {"results": [{"id": "a", "status": "inserted"}], "inserted": 1, "replaced": 0,
         "unchanged": 0}  # fmt: skip

Step = httpx2.Response | Exception | Callable[[httpx2.Request], httpx2.Response]


class Script:
    """A server that answers with one step after another, and keeps what it was asked."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.asked: list[httpx2.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, httpx2.Response) else step(request)

    def client(self, *, tries: int = 3, limits: Limits | None = None) -> Client:
        """A client of this server, whose waiting is written down."""
        retry = Retry(tries=tries, sleep=self.slept.append, chance=lambda: 1.0)
        return Client(
            "http://vectors.example:7700/",
            api_key=KEY,
            limits=limits,
            retry=retry,
            transport=httpx2.MockTransport(self),
        )

    def body(self, at: int = -1) -> Any:
        """What was sent, as JSON."""
        return json.loads(self.asked[at].content)

    def path(self, at: int = -1) -> str:
        """The path that was asked for, as it went over the wire."""
        return self.asked[at].url.raw_path.decode()


def ok(value: object, status: int = 200) -> httpx2.Response:
    """An answer."""
    return httpx2.Response(status, json=value)


def problem(
    status: int,
    code: str,
    detail: str = "it is so",
    errors: list[tuple[str, str]] | None = None,
    **headers: str,
) -> httpx2.Response:
    """Problem details as the service writes them."""
    body: dict[str, Any] = {
        "type": f"urn:stillhouse:error:{code}",
        "title": "off",
        "status": status,
        "detail": detail,
        "instance": "/v1",
        "code": code,
        "request_id": "r-1",
    }
    if errors is not None:
        body["errors"] = [{"field": field, "detail": told} for field, told in errors]
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    content = json.dumps(body).encode()
    return httpx2.Response(
        status, content=content, headers={"Content-Type": "application/problem+json", **names}
    )


def floats(text: str) -> list[float]:
    """Base64 of little-endian float32."""
    return list(np.frombuffer(base64.b64decode(text), "<f4").tolist())


# --------------------------------------------------------------------- what is sent


def test_create_tells_made_from_there_already() -> None:
    """201 is a new index, 200 one that was there; the key goes in the header."""
    server = Script(ok(SPEC, 201), ok(SPEC))
    client = server.client()
    assert client.create("docs", 2, metadata={"b": 1, "a": {}}) is True
    assert server.body() == {"dimension": 2, "metric": "cosine", "metadata": {"a": {}, "b": 1}}
    assert client.create("docs", 2) is False
    assert server.body() == {"dimension": 2, "metric": "cosine"}
    assert (server.asked[0].method, server.path()) == ("PUT", "/v1/vectors/index/docs")
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("name", "path"), [("a b", "a%20b"), ("50%", "50%25"), ("é?#", "%C3%A9%3F%23"), ("a.b", "a.b")]
)
def test_names_and_ids_stay_one_segment(name: str, path: str) -> None:
    """Whatever a name or an id is, it is one segment of the path."""
    server = Script(httpx2.Response(204), ok({"id": name, "vector": [1, 2], "metadata": {}}))
    client = server.client()
    client.drop(name)
    assert server.path() == f"/v1/vectors/index/{path}"
    client.get(name, name)
    assert server.path() == f"/v1/vectors/index/{path}/items/{path}"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", " a", "x" * 129, "\ud800"])
def test_a_name_that_is_none_is_not_sent(name: str) -> None:
    """A name that could lead to another route is refused before anything is sent."""
    server = Script()
    client = server.client()
    calls: list[Callable[[], object]] = [
        lambda: client.create(name, 2),
        lambda: client.drop(name),
        lambda: client.describe(name),
        lambda: client.add(name, []),
        lambda: client.add_columns(name, [], []),
        lambda: client.add_many(name, [Item("a", [1, 2])]),
        lambda: client.get(name, "a"),
        lambda: client.delete(name, ["a"]),
        lambda: client.ids(name),
        lambda: client.count(name),
        lambda: client.search(name, [1, 2]),
        lambda: client.search_many(name, [[1, 2]]),
        lambda: client.merge(name, "docs"),
        lambda: client.snapshot(name),
        lambda: client.snapshots(name),
        lambda: client.restore(name, "s"),
        lambda: client.delete_snapshot(name, "s"),
        lambda: client.restore("docs", "s", name),
    ]
    for call in calls:
        with pytest.raises(VectorRequestError):
            call()
    assert not server.asked


def test_an_id_that_no_item_can_have_is_not_there() -> None:
    """Getting such an id asks only for the index: it is never a path."""
    server = Script(ok(SPEC))
    with pytest.raises(VectorNotFoundError) as found:
        server.client().get("docs", "../../other")
    assert found.value.code == "item_not_found"
    assert server.path() == "/v1/vectors/index/docs"


def test_a_snapshot_that_cannot_be_is_not_there() -> None:
    """Removing what has a path for an id asks nothing: it could be another route."""
    server = Script()
    with pytest.raises(VectorNotFoundError) as found:
        server.client().delete_snapshot("docs", "../../other")
    assert found.value.code == "snapshot_not_found"
    assert not server.asked


def test_items_go_as_base64_of_float32() -> None:
    """Lists and arrays of any kind of number go bit for bit; no metadata is left out."""
    server = Script(ok({**ADDED, "results": [{"id": str(at), "status": "inserted"}
                                             for at in range(4)]}))  # fmt: skip
    items = [
        Item("0", [0.1, 2]),
        Item("1", np.array([1, 2], np.float64), {}),
        Item("2", np.array([3, 4], ">f4"), {"b": 1, "a": None}),
        Item("3", np.array([9, 5, 8, 6], np.float32)[1::2]),
    ]
    server.client().add("docs", iter(items))
    sent = server.body()["items"]
    numbers = [floats(item["vector"]["base64"]) for item in sent]
    assert numbers == [[float(np.float32(0.1)), 2], [1, 2], [3, 4], [5, 6]]
    assert [item.get("metadata", "left out") for item in sent] == [
        "left out", {}, {"a": None, "b": 1}, "left out"]  # fmt: skip


def test_columns_are_rows_on_the_wire() -> None:
    """Columns go like items."""
    server = Script(ok(ADDED))
    server.client().add_columns("docs", ["a"], np.array([[1, 2]]), [{"x": 1}])
    assert server.body()["items"][0]["metadata"] == {"x": 1}


def test_a_search_without_a_filter_goes_raw() -> None:
    """Its vectors are the body, the rest stands in the query."""
    server = Script(ok({"results": [[{"id": "a", "score": 1.0}], []]}))
    found = server.client().search_many("docs", [[1, 2], [3, 4]], 5, ef=9, include=["vector"])
    assert [[hit.id for hit in hits] for hits in found] == [["a"], []]
    (request,) = server.asked
    assert np.frombuffer(request.content, "<f4").tolist() == [1, 2, 3, 4]
    assert request.headers["Content-Type"] == "application/octet-stream"
    assert server.path().partition("?")[2] == "k=5&include=vector&ef=9"


def test_a_search_with_a_filter_goes_as_json() -> None:
    """A filter may be long, so it stands in the body."""
    server = Script(ok({"results": [[{"id": "a", "score": 0.5, "metadata": None}]]}))
    (hit,) = server.client().search("docs", np.array([1, 2]), filter={"n": {"$gte": 1}})
    assert (hit.id, hit.score, hit.metadata) == ("a", 0.5, None)
    sent = server.body()
    assert [floats(one["base64"]) for one in sent.pop("vectors")] == [[1, 2]]
    assert sent == {"k": 10, "include": ["metadata"], "filter": {"n": {"$gte": 1}}}


def test_a_search_of_the_wrong_dimension_is_no_search_of_two() -> None:
    """Numbers end to end tell no dimension; what comes back does, and is never taken for hits."""
    server = Script(ok({"results": [[], []]}), ok(SPEC))
    with pytest.raises(VectorRequestError, match=r"vector\[0\]: has 4 dimensions; the index has 2"):
        server.client().search_many("docs", [[1, 2, 3, 4]])


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"x": float("nan")}, "items[1].metadata: has a number that is not finite"),
        ({"x": 2**70}, "items[1].metadata: has a whole number beyond 64 bits"),
        ({"x": (1,)}, "items[1].metadata: holds a tuple, which is no JSON"),
        ({1: 1}, "items[1].metadata: has a key that is no string"),
    ],
)
def test_metadata_that_json_would_change_is_refused(metadata: Any, told: str) -> None:
    """Nothing is sent that would arrive as something else."""
    server = Script(ok(SPEC))
    with pytest.raises(VectorRequestError) as refused:
        server.client().add("docs", [Item("a", [1, 2]), Item("b", [1, 2], metadata)])
    assert str(refused.value) == told
    assert [request.method for request in server.asked] == ["GET"]


def test_what_no_json_can_say_is_refused() -> None:
    """Text that is no Unicode is refused by field, and not sent."""
    client = Script().client()
    with pytest.raises(VectorRequestError, match=r"filter\.a: has text that is no valid Unicode"):
        client.delete("docs", filter={"a": "\ud800"})
    with pytest.raises(VectorRequestError, match="ids: has text that is no valid Unicode"):
        client.delete("docs", ["\ud800"])


def test_ids_come_page_by_page() -> None:
    """All pages of one state, asked for by the cursor of the one before."""
    server = Script(
        ok({"ids": ["a", "b"], "total": 3, "cursor": "c&1"}),
        ok({"ids": ["c"], "total": 3, "cursor": None}),
    )
    assert server.client(limits=Limits(page=2)).ids("docs") == ["a", "b", "c"]
    assert server.path(0) == "/v1/vectors/index/docs/ids?limit=2"
    assert server.path(1) == "/v1/vectors/index/docs/ids?limit=2&cursor=c%261"


def test_an_expired_cursor_begins_anew_once() -> None:
    """Pages of two states are never put together."""
    first, gone = ok({"ids": ["a"], "total": 2, "cursor": "1"}), problem(410, "cursor_expired")
    whole = ok({"ids": ["b", "c"], "total": 2, "cursor": None})
    assert Script(first, gone, whole).client().ids("docs") == ["b", "c"]
    with pytest.raises(VectorNotFoundError) as refused:
        Script(first, gone, first, gone).client().ids("docs")
    assert refused.value.code == "cursor_expired"


@pytest.mark.parametrize(
    "page",
    [
        {"ids": [], "total": 2, "cursor": "again"},
        {"ids": ["a"], "total": 2, "cursor": None},
        {"ids": ["a", "b", "c"], "total": 2, "cursor": "more"},
    ],
)
def test_pages_that_do_not_add_up_are_refused(page: dict[str, Any]) -> None:
    """A server cannot make the client ask for ever, or take a part for the whole."""
    with pytest.raises(VectorError, match="pages of ids that do not add up"):
        Script(ok(page)).client().ids("docs")


# ------------------------------------------------------------------------ many items


def added(request: httpx2.Request) -> httpx2.Response:
    """An answer to an add that takes all."""
    items = json.loads(request.content)["items"]
    results = [{"id": item["id"], "status": "inserted"} for item in items]
    return ok({"results": results, "inserted": len(items), "replaced": 0, "unchanged": 0})


def test_many_items_are_cut_into_batches() -> None:
    """By number, by bytes, and where an id comes twice; none is lost and the order stays."""
    server = Script(added, added, added, added)
    ids = ["a", "b", "c", "d", "d", "e"]
    done = server.client().add_many("docs", (Item(id_, [1, 2]) for id_ in ids), batch_items=3)
    batches = [[item["id"] for item in server.body(at)["items"]] for at in range(3)]
    assert batches == [["a", "b", "c"], ["d"], ["d", "e"]]
    assert (done.items, done.inserted) == (6, 6)


def test_many_items_fit_the_servers_body() -> None:
    """No body is larger than the limit."""
    limits = Limits(body_bytes=200)
    server = Script(*[added] * 10)
    done = server.client(limits=limits).add_many(
        "docs", [Item(f"item {at}", [1, 2], {"n": at}) for at in range(10)]
    )
    assert done.items == 10
    assert 2 <= len(server.asked) < 10
    assert all(len(request.content) <= 200 for request in server.asked)


def test_an_error_of_many_says_how_many_are_in() -> None:
    """The field counts from the first item of all, whoever found the error."""
    items = [Item("a", [1, 2]), Item("b", [1, 2]), Item("c", [1, 2], {"x": float("inf")})]
    server = Script(added, ok(SPEC))
    with pytest.raises(VectorRequestError) as refused:
        server.client().add_many("docs", items, batch_items=2)
    assert refused.value.problems == (("items[2].metadata", "has a number that is not finite"),)
    assert str(refused.value).startswith("after 2 items: items[2].metadata: has")
    refusal = problem(422, "invalid_request", errors=[("items[0].vector", "is zero")])
    with pytest.raises(VectorRequestError, match=r"items\[1\]\.vector: is zero"):
        Script(added, refusal, ok(SPEC)).client().add_many("docs", items[:2], batch_items=1)
    with pytest.raises(VectorFailedError, match=r"^after 1 item: the disk is full"):
        Script(added, problem(507, "disk_full", "the disk is full")).client().add_many(
            "docs", items[:2], batch_items=1
        )


def test_a_batch_that_is_too_large_is_not_sent() -> None:
    """One add is one request: what exceeds the limits is refused by name."""
    server = Script(ok(SPEC), ok(SPEC))
    with pytest.raises(VectorLimitError, match=r"items: make [0-9,]+ bytes; at most 100"):
        server.client(limits=Limits(body_bytes=100)).add(
            "docs", [Item(str(at), [1, 2]) for at in range(9)]
        )
    with pytest.raises(VectorLimitError, match="items: are 3; at most 2 are allowed at once"):
        server.client(limits=Limits(batch_items=2)).add(
            "docs", [Item(str(at), [1, 2]) for at in range(3)]
        )


# ---------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (problem(404, "index_not_found"), VectorNotFoundError, "index_not_found"),
        (problem(410, "cursor_expired"), VectorNotFoundError, "cursor_expired"),
        (problem(409, "index_exists"), VectorConflictError, "index_exists"),
        (problem(409, "locked"), VectorLockedError, "locked"),
        (problem(500, "damaged"), VectorDamagedError, "damaged"),
        (problem(422, "envelope_damaged"), VectorDamagedError, "envelope_damaged"),
        (problem(503, "storage_failed"), VectorFailedError, "storage_failed"),
        (problem(503, "storage_failed", Retry_After="1"), VectorFailedError, "storage_failed"),
        (problem(503, "busy", Retry_After="1"), VectorBusyError, "busy"),
        (problem(503, "database_busy", Retry_After="1"), VectorBusyError, "database_busy"),
        (problem(504, "timeout"), VectorBusyError, "timeout"),
        (problem(408, "request_timeout"), VectorBusyError, "request_timeout"),
        (problem(507, "disk_full"), VectorFailedError, "disk_full"),
        (problem(422, "limit_exceeded", errors=[("k", "much")]), VectorLimitError,
         "limit_exceeded"),
        (problem(413, "body_too_large"), VectorLimitError, "body_too_large"),
        (problem(400, "merge_into_itself", errors=[("dest", "is it")]), VectorRequestError,
         "merge_into_itself"),
        (problem(401, "unauthorized"), VectorError, "unauthorized"),
        (problem(405, "method_not_allowed"), VectorError, "method_not_allowed"),
        (problem(500, "internal"), VectorError, "internal"),
    ],
)  # fmt: skip
def test_problems_are_the_stores_errors_again(
    answer: httpx2.Response, kind: type[VectorError], code: str
) -> None:
    """Each status and code is the class that a store would have raised, whole over processes."""
    with pytest.raises(VectorError) as refused:
        Script(answer).client(tries=1).describe("docs")
    assert (type(refused.value), refused.value.code) == (kind, code)
    again = pickle.loads(pickle.dumps(refused.value))
    assert (str(again), again.code) == (str(refused.value), code)


def test_problems_with_fields_come_back_with_them() -> None:
    """Every problem with its field; a refusal without any tells its detail."""
    told = [("items[0].id", "is empty"), ("items[3].vector", "is zero")]
    with pytest.raises(VectorRequestError) as refused:
        Script(problem(422, "invalid_request", errors=told)).client().describe("docs")
    assert refused.value.problems == tuple(told)
    with pytest.raises(VectorRequestError, match=r"^request: it is so$"):
        Script(problem(415, "content_type")).client().describe("docs")


def test_a_failing_server_tells_its_request_id() -> None:
    """What the inside of a server did is in its log; the id leads there."""
    with pytest.raises(VectorError, match=r"the server failed: it is so \(request id r-1\)"):
        Script(problem(500, "internal")).client().describe("docs")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (httpx2.Response(200, html="<h1>hello</h1>"), "answered 200 with text/html"),
        (httpx2.Response(404, html="<h1>nothing</h1>"), "answered 404 with text/html"),
        (httpx2.Response(200, content=b"x"), "answered 200 with no media type"),
        (httpx2.Response(204), "answered with JSON of another kind"),
        (httpx2.Response(302, headers={"Location": "http://elsewhere.example"}),
         "answered 302 with a redirect"),
        (ok([1]), "answered with JSON of another kind: Expected `object`, got `array`"),
        (ok({"name": "docs"}), "answered with JSON of another kind: Object missing"),
        (httpx2.Response(200, content=b'{"name": "do', headers={"Content-Type":
                                                                "application/json"}),
         "answered with JSON of another kind: Input data was truncated"),
        (httpx2.Response(200, content=b'{"name": "\xff"}', headers={"Content-Type":
                                                                   "application/json"}),
         "answered with JSON of another kind"),
        (ok({"detail": "Not Found"}, 404), "answered 404 with application/json"),
        (ok({"type": "about:blank", "code": "x"}, 404), "answered 404 with application/json"),
        (httpx2.Response(404, content=b'{"type": "about:blank", "code": "x"}',
                         headers={"Content-Type": "application/problem+json"}),
         "answered 404 with application/problem+json"),
    ],
)  # fmt: skip
def test_what_is_no_stillhouse_is_said(answer: httpx2.Response, told: str) -> None:
    """A foreign or broken server ends in one line with its address, after one try."""
    server = Script(answer)
    with pytest.raises(VectorError) as refused:
        server.client().describe("docs")
    line = str(refused.value)
    assert line.startswith(f"http://vectors.example:7700: {told}")
    assert line.endswith("Is this the address of a Stillhouse server?")
    assert (refused.value.code, "\n" in line) == ("bad_answer", False)


def test_a_foreign_answer_is_not_read() -> None:
    """What is no JSON may be of any size: only its head is looked at."""

    def endless() -> Iterator[bytes]:
        yield b"first"
        raise AssertionError("it was read")

    answer = httpx2.Response(200, content=endless(), headers={"Content-Type": "video/mp4"})
    with pytest.raises(VectorError, match="video/mp4"):
        Script(answer).client().describe("docs")


def test_an_add_that_is_answered_for_others_is_noticed() -> None:
    """An answer that does not fit the question is not passed on."""
    with pytest.raises(VectorError, match="another number of items"):
        Script(ok({**ADDED, "results": []})).client().add("docs", [Item("a", [1, 2])])
    with pytest.raises(VectorError, match="another number of searches"):
        Script(ok({"results": []}), ok(SPEC)).client().search("docs", [1, 2])


# ---------------------------------------------------------------------- sending again

CHANGES: dict[str, Callable[[Client], object]] = {
    "create": lambda client: client.create("docs", 2),
    "drop": lambda client: client.drop("docs"),
    "add": lambda client: client.add("docs", [Item("a", [1, 2])]),
    "add_columns": lambda client: client.add_columns("docs", ["a"], [[1, 2]]),
    "add_many": lambda client: client.add_many("docs", [Item("a", [1, 2])]),
    "delete": lambda client: client.delete("docs", ["a"]),
    "delete_matching": lambda client: client.delete("docs", filter={"a": 1}),
    "merge": lambda client: client.merge("docs", "other"),
    "snapshot": lambda client: client.snapshot("docs"),
    "restore": lambda client: client.restore("docs", "s"),
    "delete_snapshot": lambda client: client.delete_snapshot("docs", "s"),
}
QUESTIONS: dict[str, Callable[[Client], object]] = {
    "indexes": lambda client: client.indexes(),
    "describe": lambda client: client.describe("docs"),
    "get": lambda client: client.get("docs", "a"),
    "ids": lambda client: client.ids("docs"),
    "count": lambda client: client.count("docs", {"a": 1}),
    "search": lambda client: client.search("docs", [1, 2]),
    "search_many": lambda client: client.search_many("docs", [[1, 2]], filter={"a": 1}),
    "snapshots": lambda client: client.snapshots("docs"),
    "health": lambda client: client.health(),
}
NEVER_SENT = [httpx2.ConnectError("refused"), httpx2.ConnectTimeout("slow")]
UNANSWERED: list[Step] = [
    httpx2.ReadTimeout("slow"),
    httpx2.WriteTimeout("slow"),
    httpx2.ReadError("reset"),
    httpx2.WriteError("reset"),
    httpx2.RemoteProtocolError("Server disconnected without sending a response."),
    httpx2.DecodingError("bad gzip"),
    httpx2.Response(502, html="<h1>Bad Gateway</h1>"),
    httpx2.Response(503, html="<h1>no server</h1>", headers={"Retry-After": "1"}),
    httpx2.Response(504),
]
GIVEN_UP = problem(504, "timeout", "it took longer than 60 seconds")


@pytest.mark.parametrize("failure", NEVER_SENT)
@pytest.mark.parametrize("call", [*CHANGES, *QUESTIONS])
def test_what_was_never_sent_is_sent_again(call: str, failure: Exception) -> None:
    """Without a connection nothing can have been done, so everything is tried again, and in the
    end is a plain error."""
    server = Script(*[failure] * 3)
    with pytest.raises(VectorFailedError) as refused:
        (CHANGES | QUESTIONS)[call](server.client())
    assert refused.value.code == "unreachable"
    assert (len(server.asked), server.slept) == (3, [0.1, 0.2])


@pytest.mark.parametrize("call", [*CHANGES, *QUESTIONS])
def test_what_was_turned_away_is_sent_again(call: str) -> None:
    """A busy server says when to come back, and is asked again then."""
    server = Script(*[problem(503, "busy", Retry_After="2") for _ in range(3)])
    client = server.client()
    if call == "health":
        assert client.health() == Health(False, "it is so")
    else:
        with pytest.raises(VectorBusyError, match="it is so"):
            (CHANGES | QUESTIONS)[call](client)
    assert (len(server.asked), server.slept) == (3, [2.0, 2.0])
    assert len({request.headers["X-Request-Id"] for request in server.asked}) == 1


@pytest.mark.parametrize("failure", [*UNANSWERED, GIVEN_UP], ids=str)
@pytest.mark.parametrize("call", CHANGES)
def test_a_change_without_an_answer_is_not_sent_again(call: str, failure: Step) -> None:
    """Nobody knows whether it was made: the error says so, with the id to look for."""
    server = Script(failure)
    with pytest.raises(VectorFailedError) as refused:
        CHANGES[call](server.client())
    assert refused.value.code == "outcome_unknown"
    assert "may have been made or not" in str(refused.value)
    assert server.asked[0].headers["X-Request-Id"] in str(refused.value)
    assert (len(server.asked), server.slept) == (1, [])


@pytest.mark.parametrize("failure", UNANSWERED, ids=str)
@pytest.mark.parametrize("call", QUESTIONS)
def test_a_question_without_an_answer_is_asked_again(call: str, failure: Step) -> None:
    """Asking twice does no harm; after the last try it is a plain error."""
    server = Script(*[failure] * 3)
    with pytest.raises(VectorFailedError) as refused:
        QUESTIONS[call](server.client())
    assert refused.value.code == "no_answer"
    assert (len(server.asked), len(server.slept)) == (3, 2)


def test_a_later_try_may_succeed() -> None:
    """The answer of a later try is the answer."""
    server = Script(httpx2.ConnectError("refused"), problem(503, "busy", Retry_After="0"), added)
    assert server.client().add("docs", [Item("a", [1, 2])]).inserted == 1
    assert server.body(0) == server.body(2)


@pytest.mark.parametrize(
    "answer",
    [
        problem(503, "storage_failed", Retry_After="1"),
        problem(503, "database_busy", Retry_After="1"),
        problem(503, "busy"),
        problem(500, "internal", Retry_After="1"),
        problem(409, "locked"),
        GIVEN_UP,
    ],
)
def test_other_errors_are_not_sent_again(answer: httpx2.Response) -> None:
    """An answer is an answer: a failed disk does not get better by asking."""
    server = Script(answer)
    with pytest.raises(VectorError):
        server.client().describe("docs")
    assert len(server.asked) == 1


def test_an_untrusted_certificate_is_not_asked_again() -> None:
    """It is the same one the next time."""
    failure = httpx2.ConnectError("certificate verify failed: self-signed certificate")
    failure.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    server = Script(failure)
    with pytest.raises(VectorFailedError, match="cannot connect: certificate verify failed"):
        server.client().describe("docs")
    assert len(server.asked) == 1


def test_waiting_grows_and_ends() -> None:
    """Each wait is twice the one before, up to the most, and shortened by chance; a server that
    wants longer is not waited for."""
    retry = Retry(tries=6, first_seconds=1, most_seconds=5, chance=lambda: 0.0)
    waits = [retry.wait(tried, None) for tried in range(1, 7)]
    assert waits == [0.5, 1.0, 2.0, 2.5, 2.5, None]
    assert (retry.wait(1, 3.0), retry.wait(1, 5.5)) == (3.0, None)


def test_a_pool_that_is_used_up_is_busy() -> None:
    """All connections in use: nothing was sent, and one may try again oneself."""
    with pytest.raises(VectorBusyError, match="connections of this client"):
        Script(httpx2.PoolTimeout("")).client().drop("docs")


def test_health_is_what_the_server_says() -> None:
    """Ready, or not and why; that there is no server is an error and no answer."""
    assert Script(ok({})).client().health() == Health(True)
    failing = problem(503, "storage_failed", "the disk fails")
    assert Script(failing).client().health() == Health(False, "the disk fails")
    with pytest.raises(VectorError):
        Script(problem(401, "unauthorized")).client().health()


# ------------------------------------------------------------------------ what is kept


def test_a_key_is_in_no_error_and_no_repr() -> None:
    """Neither the client nor any error that it raises tells the key."""
    steps: list[Step] = [*NEVER_SENT, *UNANSWERED, problem(401, "unauthorized"), ok([])]
    steps += [httpx2.LocalProtocolError(f"Illegal header value {KEY!r}")]
    for step in steps:
        client = Script(*[step] * 3).client()
        assert KEY not in repr(client) + str(vars(client))
        with pytest.raises(StillhouseError) as refused:
            client.create("docs", 2)
        error: BaseException | None = refused.value
        assert error is not None
        assert KEY not in repr(error) + str(error) + str(error.__cause__)


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "é", "a\x00"])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    """It is not quoted, and nothing is sent."""
    with pytest.raises(UsageError, match="the API key is empty, or has a sign in it") as refused:
        Client("http://localhost:1", api_key=key)
    assert not key or key not in str(refused.value).replace("the API key is empty, or", "")


@pytest.mark.parametrize(
    "url",
    ["", "localhost:7700", "ftp://host", "http://", "http://host?x=1", "http://host/#x",
     "http://[::1", "http://me:secret" + "@host.example"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """Only http and https, and no login in it: that would stand in logs."""
    with pytest.raises(UsageError) as refused:
        Client(url)
    assert "secret" not in str(refused.value)


def test_importing_the_package_loads_no_http_client() -> None:
    """Who uses a store pays nothing for the client; without its package one line says so."""
    program = (
        "import sys, stillhouse.vectors as v; print('httpx2' in sys.modules)\n"
        "sys.modules['httpx2'] = None\n"
        "try: v.Client\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "try: v.Clown\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "False",
        "UsageError talking to a server needs the package httpx2. Say pip install "
        "'stillhouse[vectors]'.",
        "module 'stillhouse.vectors' has no attribute 'Clown'",
    ]
