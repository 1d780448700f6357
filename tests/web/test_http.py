"""HTTP/1.1 as clients and attackers speak it: methods, bodies that stop, crawl or never end,
headers without end, and what comes back on the wire."""

from __future__ import annotations

import json
import re
import socket
import time

import pytest

from stillhouse.vectors import Limits
from stillhouse.web.options import ServeOptions
from tests.web.conftest import fill
from tests.web.live import BASE, PATIENCE, Direct, Live, content, parsed, received, running

HOST = b"host: localhost\r\n"
JSON = b"content-type: application/json\r\n"
SEARCH = b'{"vector":[1,0,0],"k":1}'


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    """A whole request."""
    lines = b"".join(line + b"\r\n" for line in headers)
    length = b"content-length: %d\r\n" % len(body)
    return b"POST %s/%s HTTP/1.1\r\n" % (BASE.encode(), path.encode()) + HOST + JSON + length + (
        lines + b"\r\n" + body
    )  # fmt: skip


# ------------------------------------------------------------------------------- methods


@pytest.mark.parametrize("path", [BASE, f"{BASE}/docs", f"{BASE}/docs/ids", "/livez", "/docs"])
def test_head_is_get_without_the_body(shared: Live, path: str) -> None:
    """The same status and length, and no body."""
    head, get = shared.ask("HEAD", path), shared.ask("GET", path)
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_head_of_what_is_not_there_is_404(shared: Live) -> None:
    """Also without a body."""
    answer = shared.ask("HEAD", f"{BASE}/nothing")
    assert (answer.status, answer.body) == (404, b"")


def test_options_says_what_a_path_takes_and_nothing_of_origins(shared: Live) -> None:
    """204 with Allow; no header lets a web page in."""
    answer = shared.ask("OPTIONS", f"{BASE}/docs/search", headers={"origin": "http://localhost"})
    assert (answer.status, answer.code) == (403, "foreign_origin")
    answer = shared.ask("OPTIONS", f"{BASE}/docs/search")
    assert (answer.status, answer.headers["allow"]) == (204, "OPTIONS, POST")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert shared.ask("OPTIONS", "/nothing").code == "not_found"


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1.2_X", True), ("a" * 64, True), ("a" * 65, False), ("a b", False), ("ü", False)],
)
def test_a_sane_request_id_is_kept(shared: Live, given: str, kept: bool) -> None:
    """Yours where it is a sane token, in answer and problem; else one is made."""
    headers = {"x-request-id": given.encode("utf-8").decode("latin-1")}
    for path in ("/livez", f"{BASE}/nothing"):
        answer = shared.ask("GET", path, headers=headers)
        assert (answer.headers["x-request-id"] == given) is kept
        assert re.fullmatch(r"[\w.-]{1,64}", answer.headers["x-request-id"], re.ASCII)
    assert answer.code == "index_not_found"


def test_requests_may_follow_one_another_on_a_connection(shared: Live) -> None:
    """Pipelined requests are answered in their order; HTTP/1.0 closes."""
    data = post("docs/search", SEARCH) + post("docs/search", b"{") + b"GET /livez HTTP/1.0\r\n"
    got = shared.send(data + HOST + b"\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", got) == [b"200", b"400", b"200"]


# -------------------------------------------------------------------------------- bodies


def test_a_chunked_body_is_read(shared: Live) -> None:
    """Without a length, and in small pieces."""
    pieces = b"".join(b"1\r\n" + SEARCH[at : at + 1] + b"\r\n" for at in range(len(SEARCH)))
    head = b"POST /v1/vectors/index/docs/search HTTP/1.1\r\nconnection: close\r\n" + HOST + JSON
    got = parsed(shared.send(head + b"transfer-encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"))
    assert got.status == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_past_the_limit_is_refused_while_it_comes(chunked: bool) -> None:
    """413 before it is read to its end, and the connection is closed."""
    with running(limits=Limits(body_bytes=1_000)) as live:
        fill(live)
        head = b"POST /v1/vectors/index/docs/add HTTP/1.1\r\n" + HOST + JSON
        with live.connect() as connection:
            if chunked:
                connection.sendall(head + b"transfer-encoding: chunked\r\n\r\n")
                for _ in range(3):
                    connection.sendall(b"1f4\r\n" + b"x" * 500 + b"\r\n")
            else:
                connection.sendall(head + b"content-length: 1001\r\n\r\n")
            data = b""
            while not data.endswith(b"}"):
                data += connection.recv(65536)
            connection.shutdown(socket.SHUT_WR)
            data += received(connection)
        answer = parsed(data)
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert answer.headers["connection"] == "close"
        assert live.ask("GET", "/readyz").status == 200


def test_a_body_of_exactly_the_limit_is_read() -> None:
    """The limit itself is allowed."""
    body = b'{"vector":[1,0,0],"k":1}'
    with running(limits=Limits(body_bytes=400)) as live:
        fill(live)
        exact = body.ljust(400)
        assert live.post("docs/search", exact, **{"content-type": "application/json"}).status == 200
        answer = live.post("docs/search", exact + b" ", **{"content-type": "application/json"})
        assert answer.status == 413


def test_a_client_that_goes_on_sending_still_reads_why(shared: Live) -> None:
    """The refusal of a large body is not lost to a reset connection."""
    with running(limits=Limits(body_bytes=1_000)) as live:
        fill(live)
        answer = live.post("docs/add", b"x" * 3_000_000, **{"content-type": "application/json"})
        assert (answer.status, answer.code) == (413, "body_too_large")


def test_a_body_that_stops_half_way_changes_nothing(live: Live) -> None:
    """The client goes away in the middle of an add."""
    before = content(live.store)
    body = b'{"items":[{"id":"half","vector":[1,0,0]}]}'
    whole = post("docs/add", body)
    for cut in (len(whole) - 1, len(whole) - len(body), len(whole) - 20):
        live.send(whole[:cut], end=True)
    assert live.ask("GET", "/readyz").status == 200
    assert content(live.store) == before


def test_a_body_that_crawls_is_refused() -> None:
    """408 after the time of a request, and the connection is closed."""
    with running(limits=Limits(request_seconds=0.3)) as live:
        fill(live)
        answer = parsed(live.send(post("docs/search", SEARCH)[:-3]))
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert answer.headers["connection"] == "close"


def test_a_request_that_expects_continue_gets_it(shared: Live) -> None:
    """curl asks so before large bodies."""
    whole = post("docs/search", SEARCH, b"expect: 100-continue", b"connection: close")
    with shared.connect() as connection:
        connection.sendall(whole[: -len(SEARCH)])
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(SEARCH)
        assert parsed(received(connection)).status == 200


def test_a_body_of_a_get_is_not_read(shared: Live) -> None:
    """Nobody needs it, and the next request on the connection is found behind it."""
    data = b"GET /livez HTTP/1.1\r\n" + HOST + b"content-length: 5\r\n\r\nhello"
    data += b"GET /livez HTTP/1.1\r\nconnection: close\r\n" + HOST + b"\r\n"
    assert re.findall(rb"HTTP/1.1 (\d+)", shared.send(data)) == [b"200", b"200"]


# ------------------------------------------------------------------------ what is no HTTP


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET /\xc3\xbc HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /livez HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /livez HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /livez HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /livez HTTP/1.1\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_is_refused_as_a_problem(shared: Live, data: bytes) -> None:
    """400 with problem details, and the connection is closed."""
    answer = parsed(shared.send(data))
    assert (answer.status, answer.code) == (400, "malformed_request")
    assert answer.headers["connection"] == "close"
    assert shared.ask("GET", "/livez").status == 200


@pytest.mark.parametrize("target", [b"*", b"http://localhost/v1", b"?x", b"/?", b"/%zz", b"//"])
def test_odd_targets_lead_nowhere(shared: Live, target: bytes) -> None:
    """What is no path of ours is refused, and the service lives."""
    data = b"OPTIONS " + target + b" HTTP/1.1\r\nconnection: close\r\n" + HOST + b"\r\n"
    assert parsed(shared.send(data)).status in (400, 404)
    assert shared.ask("GET", "/livez").status == 200


def test_a_broken_chunk_ends_the_connection(shared: Live) -> None:
    """What is no chunk where one should be."""
    head = b"POST /v1/vectors/index/docs/search HTTP/1.1\r\n" + HOST + JSON
    assert shared.send(head + b"transfer-encoding: chunked\r\n\r\nzz\r\n") == b""
    assert shared.ask("GET", "/livez").status == 200


def test_an_upgrade_that_nobody_offers_is_ignored(shared: Live) -> None:
    """A web socket is not spoken here: the request is answered as one of HTTP."""
    data = b"GET /livez HTTP/1.1\r\n" + HOST + b"connection: upgrade\r\nupgrade: websocket\r\n"
    data += b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
    with shared.connect() as connection:
        connection.sendall(data)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "data",
    [
        b"GET /livez HTTP/1.1\r\nx: " + b"a" * 5_000,
        b"GET /livez HTTP/1.1\r\nx: " + b"a" * 5_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n" * 800,
        b"GET /" + b"a" * 5_000,
        b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["endless value", "large value", "many", "endless path", "long path"],
)
@pytest.mark.parametrize("pieces", [1, 7])
def test_headers_have_a_size(data: bytes, pieces: int) -> None:
    """431, whether they end or not, and however they are cut."""
    with running(options=ServeOptions(header_bytes=4_000)) as live:
        size = -(-len(data) // pieces)
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        with live.connect() as connection:
            for part in parts:
                try:
                    connection.sendall(part)
                except (BrokenPipeError, ConnectionResetError):
                    break
            answer = parsed(received(connection))
        assert (answer.status, answer.code) == (431, "headers_too_large")
        assert live.ask("GET", "/livez").status == 200


def test_a_body_larger_than_headers_may_be_is_no_header(live: Live) -> None:
    """The size of headers does not hold for what comes after them."""
    items = [{"id": f"i{at}", "vector": [1, at, 0]} for at in range(5_000)]
    assert live.post("docs/add", {"items": items}).status == 200


def test_trailers_count_as_headers() -> None:
    """What follows a chunked body is bounded too."""
    with running(options=ServeOptions(header_bytes=2_000)) as live:
        fill(live)
        head = b"POST /v1/vectors/index/docs/search HTTP/1.1\r\n" + HOST + JSON
        data = head + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(SEARCH) + SEARCH
        with live.connect() as connection:
            connection.sendall(data + b"\r\n0\r\n" + b"x: yyyyyyyyyyyyyyyyyyyyyy\r\n" * 200)
            assert received(connection).count(b"HTTP/1.1 2") == 0
        assert live.ask("GET", "/livez").status == 200


# ---------------------------------------------------------------------------------- time


@pytest.mark.parametrize("data", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nx: y\r\n"])
def test_a_request_that_never_ends_is_refused(data: bytes) -> None:
    """408 after the time that headers may take (slowloris), also when nothing comes at all."""
    with running(options=ServeOptions(header_seconds=0.2)) as live, live.connect() as connection:
        connection.sendall(data)
        answer = parsed(received(connection))
        assert (answer.status, answer.code) == (408, "request_timeout")


def test_headers_in_drops_do_not_win_time() -> None:
    """One byte now and then does not keep a connection open."""
    with running(options=ServeOptions(header_seconds=0.3)) as live, live.connect() as connection:
        connection.settimeout(0.02)
        began = time.monotonic()
        data = b""
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        while not data:
            assert time.monotonic() - began < PATIENCE
            try:
                connection.sendall(b"a")
                data = connection.recv(65536)
            except TimeoutError:
                continue
        assert data.startswith(b"HTTP/1.1 408")


def test_the_rest_of_a_body_that_nobody_reads_does_not_win_time() -> None:
    """After its answer a connection may not trickle on for ever."""
    with running(options=ServeOptions(header_seconds=0.3)) as live, live.connect() as connection:
        connection.settimeout(0.02)
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"content-length: 99999\r\n\r\n")
        began = time.monotonic()
        data = b"open"
        while data:
            assert time.monotonic() - began < PATIENCE
            try:
                connection.sendall(b"a")
                data = connection.recv(65536)
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break


def test_an_idle_connection_is_closed() -> None:
    """After an answer, when nothing more comes."""
    options = ServeOptions(idle_seconds=1)
    with running(options=options) as live, live.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
        assert received(connection).count(b"HTTP/1.1 200") == 1


def test_connections_are_counted() -> None:
    """One too many is answered 503 and closed; when one leaves, the next gets in."""
    with running(options=ServeOptions(connections=3)) as live:
        open_ones = [live.connect() for _ in range(3)]
        for one in open_ones:  # answered: it has been accepted
            one.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
            assert one.recv(65536).startswith(b"HTTP/1.1 200")
        with live.connect() as extra:
            answer = parsed(received(extra))
        assert (answer.status, answer.code) == (503, "busy")
        assert answer.headers["retry-after"] == "1"
        for one in open_ones:
            one.close()
        deadline = time.monotonic() + PATIENCE
        while live.ask("GET", "/livez").status != 200:
            assert time.monotonic() < deadline


@pytest.mark.parametrize("headers", [[], [b"connection: close"]], ids=["kept", "closed"])
def test_a_reader_that_never_reads_is_cut_off(headers: list[bytes]) -> None:
    """An answer that is not read does not hold its memory for ever."""
    with running(options=ServeOptions(idle_seconds=1)) as live:
        live.ask("PUT", f"{BASE}/big", {"dimension": 1000})
        items = [{"id": f"{at}", "vector": [at + 1.1] * 1000} for at in range(1_000)]
        live.post("big/add", {"items": items})
        body = json.dumps({"vector": [1] * 1000, "k": 1000, "include": ["vector"]}).encode()
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(PATIENCE)
            connection.connect(live.address)
            connection.sendall(post("big/search", body, *headers))
            deadline = time.monotonic() + PATIENCE
            # The kernel tells a client nothing of it: what counts is that nobody holds it here.
            while live.service.metrics.searched._value.get() == 0 or live.state.connections:
                assert time.monotonic() < deadline
                time.sleep(0.05)


# ------------------------------------------------------------------------ without a socket


def test_messages_of_a_body_may_come_in_any_pieces() -> None:
    """Empty messages, single bytes, and one at the end."""
    direct = Direct()
    body = b'{"dimension":3}'
    messages = [{"type": "http.request", "body": b"", "more_body": True}]
    messages += [
        {"type": "http.request", "body": body[at : at + 1], "more_body": True}
        for at in range(len(body))
    ]
    answer = direct.ask("PUT", f"{BASE}/x", [*messages, {"type": "http.request"}])
    assert answer is not None
    assert answer.status == 201


def test_a_client_that_left_is_not_answered() -> None:
    """Nothing is sent, and the log says 499."""
    direct = Direct()
    messages = [{"type": "http.request", "body": b"{", "more_body": True}]
    assert direct.ask("PUT", f"{BASE}/x", messages) is None
    assert '"status":499' in direct.log.getvalue()
    assert direct.service.store.indexes() == []


def test_what_is_still_sent_after_a_refusal_is_read() -> None:
    """To its end: closing before would reset the connection, and the refusal could be lost."""
    direct = Direct(limits=Limits(body_bytes=10))
    messages = [
        {"type": "http.request", "body": b"x" * 8, "more_body": at < 5, "at": at} for at in range(6)
    ]
    answer = direct.ask("PUT", f"{BASE}/x", messages)
    assert answer is not None
    assert answer.status == 413
    assert direct.left == [{"type": "http.disconnect"}]
