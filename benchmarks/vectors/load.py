"""A lean HTTP load generator, and a trivial server to know its own ceiling by.

One thread, plain sockets, keep-alive, one request at a time on each connection (a closed loop):
a connection sends its next request when the last answer is whole. Requests are bytes made
beforehand; of an answer only the status and the length are looked at, so that little more is
measured than the server. With one connection it blocks on the socket, with more it waits in epoll.
"""

from __future__ import annotations

import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

_BLOCK: Final = 1 << 18


class Load(NamedTuple):
    """Requests a second and the latencies, in seconds, of the middle and the slowest hundredth."""

    rate: float
    p50: float
    p99: float
    requests: int


class BadAnswerError(RuntimeError):
    """A server answered with another status than 200, or hung up."""


def request(path: str, body: bytes, kind: str = "application/json") -> bytes:
    """A POST as bytes."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: keep-alive\r\n\r\n"
    )
    return head.encode() + body


class _Answer:
    """Puts together one answer after the other; knows lengths and chunks."""

    def __init__(self) -> None:
        self.data = bytearray()

    def take(self, more: bytes) -> bool:
        """Whether the answer is whole now."""
        if not more:
            raise BadAnswerError("the server hung up")
        self.data += more
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return False
        if self.data[9:12] != b"200":
            raise BadAnswerError(self.data[:300].decode(errors="replace"))
        head = bytes(self.data[:end]).lower()
        at = head.find(b"content-length:")
        if at < 0:
            return self.data.endswith(b"0\r\n\r\n")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        return len(self.data) >= end + 4 + length

    def body(self) -> bytes:
        """What came after the head, chunks put together."""
        head, _, body = bytes(self.data).partition(b"\r\n\r\n")
        if b"content-length:" in head.lower():
            return body
        whole = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            count = int(size, 16)
            whole, body = whole + body[:count], body[count + 2 :]
        return whole


def connect(address: tuple[str, int]) -> socket.socket:
    """A connection that sends at once."""
    made = socket.create_connection(address, timeout=60)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def fetch(address: tuple[str, int], requests: Sequence[bytes]) -> list[bytes]:
    """The bodies of the answers, one request after the other."""
    bodies = []
    with connect(address) as connection:
        for one in requests:
            connection.sendall(one)
            answer = _Answer()
            while not answer.take(connection.recv(_BLOCK)):
                pass
            bodies.append(answer.body())
    return bodies


def run_load(
    address: tuple[str, int], requests: Sequence[bytes], connections: int, seconds: float
) -> Load:
    """Ask, round and round through the requests, for some seconds."""
    fetch(address, requests[: min(20, len(requests))])
    drive = _one if connections == 1 else _several
    began = time.perf_counter()
    took = drive(address, requests, connections, began + seconds)
    spent = time.perf_counter() - began
    ordered = sorted(took)
    slow = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return Load(len(took) / spent, ordered[len(ordered) // 2], slow, len(took))


def _one(
    address: tuple[str, int], requests: Sequence[bytes], connections: int, until: float
) -> list[float]:
    clock = time.perf_counter
    took: list[float] = []
    with connect(address) as connection:
        now = clock()
        while now < until:
            began = clock()
            connection.sendall(requests[len(took) % len(requests)])
            answer = _Answer()
            while not answer.take(connection.recv(_BLOCK)):
                pass
            now = clock()
            took.append(now - began)
    return took


def _several(
    address: tuple[str, int], requests: Sequence[bytes], connections: int, until: float
) -> list[float]:
    clock = time.perf_counter
    took: list[float] = []
    with selectors.DefaultSelector() as ready:
        asked = 0
        for _ in range(connections):
            connection = connect(address)
            ready.register(connection, selectors.EVENT_READ, [_Answer(), clock()])
            connection.sendall(requests[asked % len(requests)])
            asked += 1
        open_ = connections
        while open_:
            for key, _ in ready.select(60) or _stuck():
                asking, state = key.fileobj, key.data
                assert isinstance(asking, socket.socket)
                if not state[0].take(asking.recv(_BLOCK)):
                    continue
                now = clock()
                took.append(now - state[1])
                if now < until:
                    state[0], state[1] = _Answer(), now
                    asking.sendall(requests[asked % len(requests)])
                    asked += 1
                else:
                    ready.unregister(asking)
                    asking.close()
                    open_ -= 1
    return took


def _stuck() -> Any:
    raise BadAnswerError("no answer within 60 s")


def serve_trivially(listening: socket.socket, body: bytes, stopped: Callable[[], bool]) -> None:
    """Answer every request with the same bytes, doing nothing else: what the generator reaches
    against this is its ceiling."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with selectors.DefaultSelector() as ready:
        ready.register(listening, selectors.EVENT_READ)
        waiting: dict[int, bytearray] = {}
        while not stopped():
            for key, _ in ready.select(0.2):
                if key.fileobj is listening:
                    made, _ = listening.accept()
                    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    waiting[made.fileno()] = bytearray()
                    ready.register(made, selectors.EVENT_READ)
                    continue
                asking = key.fileobj
                assert isinstance(asking, socket.socket)
                data = waiting[asking.fileno()]
                more = asking.recv(_BLOCK)
                if not more:
                    ready.unregister(asking)
                    asking.close()
                    continue
                data += more
                end = data.find(b"\r\n\r\n")
                if end < 0:
                    continue
                length = int(data[:end].lower().split(b"content-length:")[1].split()[0])
                if len(data) >= end + 4 + length:
                    data.clear()
                    asking.sendall(answer)


def main() -> int:
    """Serve trivially on a free port, which is printed, until standard input ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    serve_trivially(listening, b"x" * int(sys.argv[1]), ended.is_set)
    return 0


if __name__ == "__main__":
    sys.exit(main())
