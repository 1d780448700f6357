"""The client before servers that break: on real sockets, since a fake would break as we think."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from stillhouse.errors import VectorError
from stillhouse.vectors import Client
from stillhouse.vectors.client_link import Retry

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n"
Broken = Callable[..., "Server"]


class Server:
    """Answers every connection with the same bytes, then closes it or keeps it open."""

    def __init__(self, answer: bytes, keep: bool) -> None:
        self.connections = 0
        self._answer, self._keep = answer, keep
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            with suppress(OSError):  # ENOTCONN, too: a peer may be gone before `shutdown`
                connection, _ = self._listening.accept()
                self._open.append(connection)
                self.connections += 1
                if not connection.recv(65_536):
                    return  # the last word: see `close`
                connection.sendall(self._answer)
                if not self._keep:
                    connection.shutdown(socket.SHUT_RDWR)
                    connection.close()

    def close(self) -> None:
        """End the thread and every connection."""
        host, port = self._listening.getsockname()
        socket.create_connection((host, port)).close()
        self._thread.join()
        for one in (*self._open, self._listening):
            one.close()


@pytest.fixture
def broken() -> Iterator[Broken]:
    """Starts broken servers, and stops them."""
    servers: list[Server] = []

    def start(answer: bytes, keep: bool = False) -> Server:
        servers.append(Server(answer, keep))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def refusal(address: str, call: Callable[[Client], object]) -> VectorError:
    """The error that a call ends in, after three quick tries at most."""
    retry = Retry(tries=3, sleep=lambda seconds: None)
    with Client(address, timeout=0.5, retry=retry) as client, pytest.raises(VectorError) as refused:
        call(client)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(f"{address}: ")
    return refused.value


def ask(client: Client) -> object:
    """A question."""
    return client.describe("docs")


def change(client: Client) -> object:
    """A change."""
    return client.delete("docs", ["a"])


BROKEN = {
    "it hangs up": (b"", False),
    "it stops within the head": (b"HTTP/1.1 200 OK\r\nContent-", False),
    "it stops within the body": (HEAD + b'{"name": "do', False),
    "it says nothing": (b"", True),
    "it goes silent within the body": (HEAD + b'{"name": "do', True),
    "it speaks another protocol": (b"SSH-2.0-OpenSSH_9.9\r\n", False),
    "its chunks are none": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nxyz",
        False,
    ),
    "its gzip is none": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: 4\r\n\r\nnope",
        False,
    ),
}


@pytest.mark.parametrize(("answer", "keep"), BROKEN.values(), ids=BROKEN)
def test_a_question_is_asked_again_and_then_given_up(
    broken: Broken, answer: bytes, keep: bool
) -> None:
    """However a server breaks, a question is asked three times and ends in one line."""
    server = broken(answer, keep)
    assert refusal(f"http://{server.address}", ask).code == "no_answer"
    assert server.connections == 3


@pytest.mark.parametrize(("answer", "keep"), BROKEN.values(), ids=BROKEN)
def test_a_change_is_sent_once(broken: Broken, answer: bytes, keep: bool) -> None:
    """However a server breaks, a change is sent once, and said to be unknown."""
    server = broken(answer, keep)
    assert refusal(f"http://{server.address}", change).code == "outcome_unknown"
    assert server.connections == 1


@pytest.mark.parametrize("call", [ask, change])
def test_a_server_without_tls_is_no_server(
    broken: Broken, call: Callable[[Client], object]
) -> None:
    """https to what speaks http: nothing was sent, and it is not tried again."""
    server = broken(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    error = refusal(f"https://{server.address}", call)
    assert error.code == "unreachable"
    assert server.connections == 1


def test_a_page_is_no_answer(broken: Broken) -> None:
    """A web page of whatever length is not read."""
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9999999999\r\n\r\n<html>"
    error = refusal(f"http://{broken(page, keep=True).address}", ask)
    assert error.code == "bad_answer"
    assert "answered 200 with text/html" in str(error)
