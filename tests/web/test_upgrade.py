"""Offers to speak something else than HTTP/1.1: none is taken up, and the body of a request that
makes one stays its body."""

from __future__ import annotations

import re

import pytest

from tests.web.live import BASE, Live, parsed, received

HOST = b"host: localhost\r\n"
SEARCH = b'{"vector":[1,0,0],"k":1}'
DELETE = b"DELETE " + BASE.encode() + b"/docs/items/a HTTP/1.1\r\nhost: localhost\r\n\r\n"
OFFERS = {
    "h2c": b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
    "websocket": b"connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n",
}


def offering(offer: str, body: bytes, *, chunked: bool = False) -> bytes:
    """A search with a body and an offer."""
    head = b"POST " + BASE.encode() + b"/docs/search HTTP/1.1\r\n" + HOST + OFFERS[offer]
    head += b"content-type: application/json\r\n"
    if chunked:
        return head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def statuses(data: bytes) -> list[bytes]:
    """Of every answer on a connection."""
    return re.findall(rb"HTTP/1.1 (\d+)", data)


LAST = b"GET /livez HTTP/1.1\r\nconnection: close\r\n" + HOST + b"\r\n"


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_body_of_an_offer_is_read(shared: Live, offer: str, chunked: bool, size: int) -> None:
    """However it is cut into segments; and the next requests on the connection, of which one
    makes an offer again, are answered too."""
    data = offering(offer, SEARCH, chunked=chunked) * 2 + LAST
    with shared.connect() as connection:
        for at in range(0, len(data), size):
            connection.sendall(data[at : at + size])
        got = received(connection)
    assert statuses(got) == [b"200", b"200", b"200"]
    assert got.count(b'{"hits":[{"id":"a"') == 2


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("split", [False, True], ids=["at once", "later"])
def test_a_body_behind_an_offer_is_no_request(live: Live, offer: str, split: bool) -> None:
    """Nobody can hide a request from a proxy in the body of another one."""
    whole = offering(offer, DELETE)
    head, body = whole[: -len(DELETE)], DELETE
    with live.connect() as connection:
        connection.sendall(head if split else head + body)
        if split:
            live.ask("GET", "/livez")  # by now the head has been read
            connection.sendall(body)
        connection.sendall(LAST)
        assert statuses(received(connection)) == [b"400", b"200"]
    assert live.ask("GET", f"{BASE}/docs/items/a").status == 200


def test_an_offer_without_a_body_is_answered_as_it_stands(shared: Live) -> None:
    """The request id of the offer comes back: nothing else of the head is lost."""
    head = b"GET /livez HTTP/1.1\r\nx-request-id: mine-7\r\n" + HOST + OFFERS["h2c"] + b"\r\n"
    got = shared.send(head + LAST)
    assert statuses(got) == [b"200", b"200"]
    assert got.count(b"x-request-id: mine-7\r\n") == 1


def test_a_tunnel_is_refused(shared: Live) -> None:
    """CONNECT would end HTTP on the connection: what follows it is not read."""
    data = b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n" + DELETE
    got = shared.send(data)
    assert statuses(got) == [b"400"]
    answer = parsed(got)
    assert (answer.code, answer.headers["connection"]) == ("malformed_request", "close")
    assert shared.ask("GET", f"{BASE}/docs/items/a").status == 200


# ------------------------------------------------- heads that can be read in two ways


def test_two_host_names_are_refused(shared: Live) -> None:
    """A proxy may go by the one and this service by the other."""
    answer = parsed(shared.send(b"GET /livez HTTP/1.1\r\nhost: example.org\r\n" + HOST + b"\r\n"))
    assert (answer.status, answer.code) == (400, "malformed_request")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "headers",
    [
        b"transfer-encoding: gzip, chunked\r\n",
        b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
    ],
    ids=["one", "two"],
)
def test_a_transfer_coding_that_is_not_known_is_refused(shared: Live, headers: bytes) -> None:
    """Compressed bytes are not taken for the body."""
    head = b"POST " + BASE.encode() + b"/docs/search HTTP/1.1\r\n" + HOST + headers
    head += b"content-type: application/json\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(SEARCH), SEARCH)
    answer = parsed(shared.send(head))
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert answer.headers["connection"] == "close"


def test_an_offer_with_a_target_that_cannot_be_read_is_refused(shared: Live) -> None:
    """As the same without an offer is."""
    for offer in (b"", OFFERS["h2c"]):
        got = shared.send(b"GET // HTTP/1.1\r\nconnection: close\r\n" + HOST + offer + b"\r\n")
        assert statuses(got) in ([b"400"], [b"404"])
