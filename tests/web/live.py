"""A service for tests: in this process behind a real socket, or called directly; and backends
that can be told to be slow or to fail."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from uvicorn.server import ServerState

from stillhouse.vectors import Limits, VectorStore
from stillhouse.vectors.filters import Filter
from stillhouse.vectors.memory import MemoryBackend
from stillhouse.vectors.values import (
    Batch,
    Floats,
    Health,
    Hits,
    Include,
    IndexSpec,
    MergeResult,
    OnConflict,
)
from stillhouse.vectors.values import Status as AddStatus
from stillhouse.web import server
from stillhouse.web.app import App
from stillhouse.web.logs import make_log
from stillhouse.web.options import ServeOptions
from stillhouse.web.service import Service

BASE = "/v1/vectors/index"
PATIENCE = 20.0
"""Seconds that anything may take before a test gives up."""


class TroubledBackend(MemoryBackend):
    """Memory that calls ``before`` with a method's name first: to wait there, or to raise."""

    def __init__(self, before: Callable[[str], None] = lambda method: None) -> None:
        super().__init__()
        self.before = before
        self.state = Health(True)

    def spec(self, name: str) -> IndexSpec:
        self.before("spec")
        return super().spec(name)

    def add(self, name: str, batch: Batch) -> list[AddStatus]:
        self.before("add")
        return super().add(name, batch)

    def search(
        self,
        name: str,
        queries: Floats,
        k: int,
        filter_: Filter | None,
        ef: int | None,
        include: frozenset[Include],
    ) -> list[Hits]:
        self.before("search" if len(queries) == 1 else "search_many")
        return super().search(name, queries, k, filter_, ef, include)

    def delete_matching(self, name: str, filter_: Filter) -> int:
        self.before("delete_matching")
        return super().delete_matching(name, filter_)

    def merge(
        self, src: str, dest: str, *, clear_source: bool, on_conflict: OnConflict
    ) -> MergeResult:
        self.before("merge")
        return super().merge(src, dest, clear_source=clear_source, on_conflict=on_conflict)

    def health(self) -> Health:
        self.before("health")
        return self.state


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of a problem, which must look like one."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json
        assert problem["status"] == self.status
        assert problem["type"] == f"urn:stillhouse:error:{problem['code']}"
        assert problem["title"]
        assert problem["detail"]
        assert problem["request_id"] == self.headers["x-request-id"]
        return str(problem["code"])

    @property
    def fields(self) -> list[str]:
        return [one["field"] for one in self.json.get("errors", [])]


class Live:
    """A running service and a client of it."""

    def __init__(
        self, service: Service, address: tuple[str, int], log: StringIO, state: ServerState
    ) -> None:
        self.state = state
        self.service = service
        self.store = service.store
        self.address = address
        self.log = log

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own; a body that is no bytes is sent as JSON."""
        connection = HTTPConnection(*self.address, timeout=PATIENCE)
        given = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            given.setdefault("content-type", "application/json")
        try:
            connection.request(method, path, body, given)
            return _answer(connection.getresponse())
        finally:
            connection.close()

    def post(self, path: str, body: object, **headers: str) -> Answer:
        return self.ask("POST", f"{BASE}/{path}", body, headers)

    def send(self, data: bytes, *, more: Sequence[bytes] = (), end: bool = False) -> bytes:
        """Bytes as they are; everything that comes back until the service closes."""
        with self.connect() as connection:
            for piece in (data, *more):
                connection.sendall(piece)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return received(connection)

    def connect(self) -> socket.socket:
        connection = socket.create_connection(self.address, timeout=PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def received(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    data = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    return data


def parsed(data: bytes) -> Answer:
    """One answer as it stood on the wire."""
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), headers, body)


def _answer(response: HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


@contextmanager
def running(
    backend: MemoryBackend | None = None,
    *,
    limits: Limits | None = None,
    options: ServeOptions | None = None,
    keys: Path | None = None,
    snapshots: Path | None = None,
) -> Iterator[Live]:
    """A service on a free port of loopback, in a thread; stopped and looked over at the end."""
    log = StringIO()
    store = VectorStore(backend or MemoryBackend(), limits=limits, snapshots=snapshots)
    options = options or ServeOptions()
    logger = make_log(log, console=False)
    guard = server.make_guard("127.0.0.1", keys, logger)
    late: list[BaseException] = []
    service = Service(store, options, late.append)
    bound = server.bind("127.0.0.1", 0)
    live = server.make_server(App(service, guard, logger), options)
    thread = threading.Thread(target=live.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield Live(service, bound.getsockname()[:2], log, live.server_state)
    finally:
        live.should_exit = True
        thread.join(PATIENCE)
        service.close()
        store.close()
        bound.close()
        assert not thread.is_alive()


class Direct:
    """The application without a socket."""

    def __init__(self, backend: MemoryBackend | None = None, limits: Limits | None = None) -> None:
        self.log = StringIO()
        self.left: list[dict[str, Any]] = []
        logger = make_log(self.log, console=False)
        store = VectorStore(backend or MemoryBackend(), limits=limits)
        self.service = Service(store, ServeOptions(), lambda error: None)
        self.app = App(self.service, server.make_guard("127.0.0.1", None, logger), logger)

    def ask(self, method: str, path: str, messages: Sequence[dict[str, Any]]) -> Answer | None:
        """What is answered to these messages of a body; None when nothing is."""
        sent: list[Any] = []
        self.left = pending = [*messages, {"type": "http.disconnect"}]
        raw, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }

        async def receive() -> Any:
            return pending.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        if not sent:
            return None
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], headers, b"".join(one["body"] for one in sent[1:]))


def base64(*numbers: float) -> dict[str, str]:
    """Numbers as the wire has them in base64."""
    return {"base64": b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()}


def floats(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def content(store: VectorStore) -> Any:
    """Everything that a store holds."""
    found = {}
    for info in store.indexes():
        with store.backend.export(info.name) as export:
            found[info.name] = (
                msgspec.json.encode(export.spec),
                [(batch.ids, batch.vectors.tobytes(), batch.metadata) for batch in export.batches],
            )
    return found
