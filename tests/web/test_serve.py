"""The command `stillhouse serve`, as a process of its own and as it refuses to start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from stillhouse.web import server
from stillhouse.web.options import ServeOptions
from tests.runs import Command, environment
from tests.web.live import BASE, PATIENCE

if sys.platform == "win32":
    pytest.skip("signals are those of POSIX", allow_module_level=True)


class Process:
    """A running service, its port, and what it logged."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stillhouse", "serve", "--port", "0", *options],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env=environment(),
        )
        self.lines: list[dict[str, Any]] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == "listening":
                break
        else:
            pytest.fail(f"it ended with {self.process.wait()}")
        self.url = self.lines[-1]["url"]
        self.port = int(self.url.rpartition(":")[2])

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            headers = {"content-type": "application/json"}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Stop it; its exit code."""
        self.process.send_signal(number)
        return self.rest()

    def rest(self) -> int:
        assert self.process.stderr is not None
        self.lines += [json.loads(line) for line in self.process.stderr.read().splitlines()]
        return self.process.wait(PATIENCE)


@contextmanager
def serving(*options: str) -> Iterator[Process]:
    """A service that is gone afterwards, whatever happens."""
    one = Process(*options)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        assert one.process.stderr is not None
        one.process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(number: int) -> None:
    """It says its real port, answers, and ends with exit code 0."""
    with serving("--data", "memory:") as one:
        assert one.port > 0
        assert one.ask("GET", "/readyz") == (200, {"status": "ready"})
        assert one.ask("PUT", f"{BASE}/docs", {"dimension": 2})[0] == 201
        assert one.end(number) == 0
        events = [line["event"] for line in one.lines]
        assert events[0] == "listening"
        assert events[-1] == "stopped"
        assert events.count("request") == 2


def test_a_signal_before_the_server_listens_is_not_lost() -> None:
    """It ends as soon as it has begun, and the process lives to close its store."""
    app: Any = None
    made = server.make_server(app, ServeOptions())
    with server.in_order(made):
        signal.raise_signal(signal.SIGTERM)
    assert made.should_exit


def test_what_is_under_way_is_finished_before_it_stops() -> None:
    """A request whose body is still coming is answered; nobody new gets in."""
    with serving("--data", "memory:") as one:
        body = b'{"dimension":2}'
        head = f"PUT {BASE}/late HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", one.port), PATIENCE) as connection:
            connection.sendall(head.encode() + b"content-length: 15\r\n\r\n" + body[:5])
            one.ask("GET", "/livez")  # by now the half request has been read
            ended: list[int] = []
            waiter = threading.Thread(target=lambda: ended.append(one.end()))
            waiter.start()
            while True:
                try:
                    socket.create_connection(("127.0.0.1", one.port), PATIENCE).close()
                except ConnectionError:
                    break
            connection.sendall(body[5:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 201")
            waiter.join(PATIENCE)
        assert ended == [0]


def test_what_never_ends_does_not_hold_it_up() -> None:
    """After the grace it stops all the same."""
    head = f"PUT {BASE}/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with (
        serving("--data", "memory:", "--grace", "1") as one,
        socket.create_connection(("127.0.0.1", one.port), PATIENCE) as connection,
    ):
        connection.sendall(head.encode() + b"content-length: 15\r\n\r\n")
        one.ask("GET", "/livez")
        assert one.end() == 0


def test_limits_and_logs_are_options() -> None:
    """Each limit that is given is held, and the log is quiet."""
    options = ["--max-k", "3", "--max-body-bytes", "900", "--max-batch", "1", "--no-access-log"]
    with serving("--data", "memory:", *options) as one:
        one.ask("PUT", f"{BASE}/docs", {"dimension": 1})
        answer = one.ask("POST", f"{BASE}/docs/search", {"vector": [1], "k": 4})[1]
        assert answer["code"] == "limit_exceeded"
        items = [{"id": str(at), "vector": [1]} for at in range(2)]
        assert one.ask("POST", f"{BASE}/docs/add", {"items": items})[1]["code"] == "limit_exceeded"
        assert one.ask("POST", f"{BASE}/docs/add", {"items": ["x" * 900]})[0] == 413
        assert one.end() == 0
        assert "request" not in [line["event"] for line in one.lines]


def test_a_port_in_use_is_refused_in_one_line(stillhouse: Command) -> None:
    """And so is an address that is not of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = stillhouse("serve", "--data", "memory:", "--port", port)
    assert told.code == 2
    assert "Address already in use" in told.line
    assert str(port) in told.line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "there are no keys"),
        (["--host", "no.such.host.invalid", "--api-key-file", "KEYS"], "no such address"),
        (["--host", "192.0.2.1", "--api-key-file", "KEYS"], "cannot listen there"),
        (["--api-key-file", "NONE"], "cannot be read"),
        (["--api-key-file", "EMPTY"], "holds no key"),
        (["--port", "70000"], "65535"),
        (["--max-k", "0"], "--max-k"),
        (["--idle-timeout", "inf"], "86,400"),
        (["--grace", "nan"], "--grace"),
        (["--grace", "inf"], "86,400"),
        (["--request-timeout", "1e300"], "86,400"),
        (["--data", "gopher://x"], "gopher"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    stillhouse: Command, tmp_path: Path, options: list[str], words: str
) -> None:
    """Before anything listens."""
    (tmp_path / "KEYS").write_text("key\n")
    (tmp_path / "KEYS").chmod(0o600)
    (tmp_path / "EMPTY").write_text("\n")
    given = [
        str(tmp_path / word) if word in ("KEYS", "NONE", "EMPTY") else word for word in options
    ]
    data = [] if "--data" in given else ["--data", "memory:"]
    told = stillhouse("serve", "--port", 0, *data, *given)
    assert told.code in (2, 3)
    assert words in told.line
    assert told.err.count("error:") == 1


def test_a_folder_is_served_by_one_process(stillhouse: Command, tmp_path: Path) -> None:
    """What was added is there after a restart, and a second server is told who holds it."""
    pytest.importorskip("faiss", reason="faiss is not installed")
    data = str(tmp_path / "vectors")
    items = [{"id": "a", "vector": [1, 0]}, {"id": "b", "vector": [0, 1], "metadata": {}}]
    with serving("--data", data) as one:
        one.ask("PUT", f"{BASE}/docs", {"dimension": 2})
        assert one.ask("POST", f"{BASE}/docs/add", {"items": items})[0] == 200
        told = stillhouse("serve", "--data", data, "--port", 0)
        assert told.code == 3
        assert data in told.line
        assert one.end() == 0
    with serving("--data", data) as one:
        hits = one.ask("POST", f"{BASE}/docs/search", {"vector": [1, 0.1]})[1]["hits"]
        assert [hit["id"] for hit in hits] == ["a", "b"]
        os.kill(one.process.pid, signal.SIGKILL)
    with serving("--data", data) as one:
        assert one.ask("GET", f"{BASE}/docs/ids")[1]["ids"] == ["a", "b"]
        assert one.end() == 0
