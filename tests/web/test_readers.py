"""Clients that do not read what they asked for: they are cut off once nothing of it moves, and
those that read, however slowly, are not."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from stillhouse.vectors import Limits
from stillhouse.web.options import ServeOptions
from tests.web.live import BASE, PATIENCE, Live, received, running

BODY = json.dumps({"vector": [1] * 1000, "k": 1000, "include": ["vector"]}).encode()
LARGE = (
    b"POST %b/big/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n" % (BASE.encode(), len(BODY)) + BODY
)
"""A request whose answer fits into no buffer of the kernel."""


@contextmanager
def large(limits: Limits | None = None) -> Iterator[Live]:
    """A service with an index whose vectors make large answers; a second is its patience."""
    with running(options=ServeOptions(idle_seconds=1), limits=limits) as live:
        live.ask("PUT", f"{BASE}/big", {"dimension": 1000})
        items = [{"id": f"{at}", "vector": [at + 1.1] * 1000} for at in range(500)]
        live.post("big/add", {"items": items})
        yield live


def narrow(live: Live, size: int = 4096) -> socket.socket:
    """A connection whose reader takes little at once."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    connection.settimeout(PATIENCE)
    connection.connect(live.address)
    return connection


def wait_until(true: Callable[[], bool]) -> None:
    """Until something holds that nobody tells of."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def in_flight(live: Live) -> float | None:
    """Requests that are not answered yet."""
    return live.service.metrics.registry.get_sample_value("stillhouse_requests_in_flight")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_answers_that_wait_for_a_reader_are_given_up(count: int) -> None:
    """Also those that could not even be begun, since the one before was not read."""
    with large() as live, narrow(live) as connection:
        free = live.service.bodies._free
        connection.sendall(LARGE * count)
        wait_until(lambda: live.service.metrics.searched._value.get() >= min(count, 2))
        wait_until(lambda: not live.state.connections)
        wait_until(lambda: in_flight(live) == 0)
        assert live.service.bodies._free == free
        assert "Traceback" not in live.log.getvalue()


def test_an_answer_has_the_time_of_a_request_to_be_begun() -> None:
    """However slowly the one before is read: the body of its request is held so long."""
    with large(Limits(request_seconds=1.5)) as live, narrow(live) as connection:
        connection.sendall(LARGE * 2)
        wait_until(lambda: live.service.metrics.searched._value.get() == 2)
        began = time.monotonic()
        connection.settimeout(0.02)
        while live.state.connections:  # a drop now and then is progress
            assert time.monotonic() - began < PATIENCE
            try:
                connection.recv(20_000)
            except TimeoutError:
                continue
            except ConnectionResetError:
                break
            time.sleep(0.1)
        wait_until(lambda: in_flight(live) == 0)
        assert [line["status"] for line in live.lines()].count(499) == 1
        assert "Traceback" not in live.log.getvalue()


def whole(connection: socket.socket, pause: float) -> None:
    """Read one answer to its end, in bursts."""
    got = bytearray()
    while b"\r\n\r\n" not in got:
        piece = connection.recv(65536)
        assert piece, "the service closed it"
        got += piece
    head = bytes(got).partition(b"\r\n\r\n")[0]
    left = int(re.findall(rb"content-length: (\d+)", head)[0]) + len(head) + 4 - len(got)
    while left:
        burst = min(left, 1_500_000)
        left -= burst
        time.sleep(pause)
        while burst:
            piece = connection.recv(burst)
            assert piece, "the service closed it"
            burst -= len(piece)


def test_a_slow_reader_gets_all_and_is_idle_afterwards() -> None:
    """Its connection is kept while it reads, one answer after the other, and is closed once it
    has read and asks for nothing more."""
    with large() as live, narrow(live, 1 << 16) as connection:
        for _ in range(2):
            connection.sendall(LARGE)
            whole(connection, 0.6)
        began = time.monotonic()
        assert received(connection) == b""
        assert time.monotonic() - began < PATIENCE / 2
