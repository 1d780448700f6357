"""What an answer owes its client, whatever it says: that it comes at once, on a connection that
can be used again, and that the document knows it."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest

from stillhouse.vectors import Limits
from stillhouse.vectors.values import Health, IndexSpec
from stillhouse.web.options import ServeOptions
from stillhouse.web.searching import Asked
from tests.web.conftest import fill
from tests.web.live import BASE, PATIENCE, Live, TroubledBackend, parsed, received, running
from tests.web.test_capacity import Gate

ONE = [1, 0, 0]
HOST = b"host: localhost\r\n"


def test_a_refused_media_type_leaves_the_connection(shared: Live) -> None:
    """The body was read: nothing has to be waited for, and the next request is answered."""
    head = b"POST " + BASE.encode() + b"/docs/add HTTP/1.1\r\n" + HOST
    data = head + b"content-type: text/plain\r\ncontent-length: 2\r\n\r\n{}"
    data += b"GET /livez HTTP/1.1\r\nconnection: close\r\n" + HOST + b"\r\n"
    began = time.monotonic()
    assert re.findall(rb"HTTP/1.1 (\d+)", shared.send(data)) == [b"415", b"200"]
    assert time.monotonic() - began < 1.5


def test_a_body_that_is_too_large_with_its_last_chunk_leaves_the_connection() -> None:
    """It has come whole: only what still comes has to be waited for."""
    with running(limits=Limits(body_bytes=10)) as live:
        head = b"POST " + BASE.encode() + b"/docs/add HTTP/1.1\r\n" + HOST
        head += b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        data = head + b"14\r\n" + b"x" * 20 + b"\r\n0\r\n\r\n"
        data += b"GET /livez HTTP/1.1\r\nconnection: close\r\n" + HOST + b"\r\n"
        began = time.monotonic()
        assert re.findall(rb"HTTP/1.1 (\d+)", live.send(data)) == [b"413", b"200"]
        assert time.monotonic() - began < 1.5


def test_an_index_that_becomes_another_meanwhile_is_documented() -> None:
    """Between looking it up and asking it, somebody drops it and makes one of four dimensions."""
    backend = TroubledBackend()
    with running(backend) as live:
        fill(live)
        document = live.ask("GET", "/openapi.json").json
        bodies: dict[str, Any] = {
            "add": {"items": [{"id": "x", "vector": ONE}]},
            "search": {"vector": ONE},
        }
        for route, body in bodies.items():
            backend.before = lambda method: None
            backend.drop("docs")
            backend.create(IndexSpec("docs", 3))

            def another(method: str, wanted: str = route) -> None:
                if method == wanted:
                    backend.before = lambda method: None
                    backend.drop("docs")
                    backend.create(IndexSpec("docs", 4))

            backend.before = another
            answer = live.post(f"docs/{route}", body)
            assert (answer.status, answer.code) == (409, "dimension_mismatch")
            told = document["paths"][f"{BASE}/{{name}}/{route}"]["post"]["responses"]["409"]
            assert "`dimension_mismatch`" in told["description"]


def test_a_count_by_too_many_clauses_is_documented(shared: Live) -> None:
    """422 with the code that the document names."""
    answer = shared.post("docs/count", {"filter": {"a": {"$in": [0] * 2_000}}})
    assert (answer.status, answer.code) == (422, "limit_exceeded")
    document = shared.ask("GET", "/openapi.json").json
    told = document["paths"][f"{BASE}/{{name}}/count"]["post"]["responses"]["422"]
    assert "`limit_exceeded`" in told["description"]


@pytest.mark.parametrize(
    ("include", "small"),
    [(("metadata",), True), ((), True), (("vector",), False), (("metadata", "vector"), False)],
)
def test_answers_with_vectors_are_not_made_on_the_event_loop(
    include: tuple[str, ...], small: bool
) -> None:
    """A hundred vectors of sixteen thousand numbers take a second to write."""
    asked = Asked([], 1, 100, None, None, include, True, "vector")
    assert asked.small is small


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("/srv/data/truth.db: Input/output error", "Input/output error"),
        ("it failed: [Errno 28] No space left: '/srv/my data/truth.db'", "No space left"),
        ("the disk is full", "the disk is full"),
    ],
)
def test_readyz_tells_no_path(reason: str, told: str) -> None:
    """It needs no key, so it shows nothing of the machine; the log has all of it."""
    backend = TroubledBackend()
    with running(backend) as live:
        backend.state = Health(False, reason)
        answer = live.ask("GET", "/readyz")
        assert (answer.status, answer.code) == (503, "storage_failed")
        assert told in answer.json["detail"]
        assert "/srv" not in answer.body.decode()
        assert "truth.db" not in answer.body.decode()
        (logged,) = [line["error"] for line in live.lines() if line["event"] == "failed"]
        assert reason in logged


def test_what_the_grace_ends_is_answered_as_a_problem() -> None:
    """504 for what runs on a thread, 503 for what has not come whole; no plain text."""
    gate = Gate("search_many")
    found: list[bytes] = []
    with running(TroubledBackend(gate), options=ServeOptions(grace_seconds=1)) as live:
        fill(live)
        body = b'{"vectors":[[1,0,0],[0,1,0]]}'
        head = b"POST " + BASE.encode() + b"/docs/search HTTP/1.1\r\n" + HOST
        head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        connections = [live.connect(), live.connect()]
        connections[0].sendall(head + body)
        connections[1].sendall(head + body[:5])
        gate.wait_for(1)
        live.ask("GET", "/livez")  # by now the half request has been read

        def read() -> None:
            found.extend(received(one) for one in connections)
            gate.opened.set()

        reader = threading.Thread(target=read)
        reader.start()
    reader.join(PATIENCE)
    for connection in connections:
        connection.close()
    answers = [parsed(one) for one in found]
    assert [(one.status, one.code) for one in answers] == [(504, "timeout"), (503, "busy")]
    assert "Traceback" not in live.log.getvalue()
