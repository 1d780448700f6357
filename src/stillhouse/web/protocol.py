"""uvicorn's HTTP/1.1 protocol with the bounds that it lacks: the number of connections, the size
of headers, the time that they may take, and readers that never read.

What cannot be read as HTTP is answered with problem details like everything else. Nothing here
knows a route.
"""

from __future__ import annotations

import secrets
from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from stillhouse.web.options import ServeOptions
from stillhouse.web.problems import MEDIA_TYPE, Denial, body_of, judge


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Before its headers are whole a request has `header_seconds`; the parser's
    callbacks do nothing any more once the connection was refused."""

    options = ServeOptions()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: Any = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._in_head = True
        self._head = 0
        self._pieces = 0
        self._hurry: TimerHandle | None = None
        self._refused = False
        self._lost = False
        self._unread = -1

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.options.connections:
            self._refuse("busy", "too many connections; try again")
        else:
            self._hurry_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._calm_down()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        # Also for what comes after an answer: the rest of a body that nobody reads.
        if self._hurry is None and not self._answering():
            self._hurry_up()
        # The parser keeps a header to itself until it is whole: what has come is counted here.
        self._pieces = self._pieces + len(data) if self._in_head else 0
        super().data_received(data)
        if self._in_head and self._pieces > self.options.header_bytes:
            self._too_large()

    def on_message_begin(self) -> None:
        if not self._refused:
            self._in_head = True
            self._head = 0
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._refused:
            return
        self._head += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._refused:
            return
        self._head += len(name) + len(value) + 4
        if self._head > self.options.header_bytes:
            self._too_large()
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._refused:
            return
        if self._head > self.options.header_bytes:
            self._too_large()
            return
        self._in_head = False
        self._pieces = 0
        self._calm_down()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        self._in_head = True
        self._head = 0
        if self.cycle.response_complete:
            self._calm_down()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse("malformed_request", msg.rstrip(".").lower())

    def timeout_keep_alive_handler(self) -> None:
        """An answer that is not read holds its memory: without progress the connection ends."""
        if self.transport.get_write_buffer_size():
            self._until_read()
        else:
            super().timeout_keep_alive_handler()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._until_read()

    def _until_read(self) -> None:
        """Look again and again; closing alone waits for a reader for ever."""
        if self._lost:
            return
        waiting = self.transport.get_write_buffer_size()
        if waiting and waiting == self._unread:
            self.transport.abort()
            return
        self._unread = waiting
        self.loop.call_later(self.timeout_keep_alive, self._until_read)

    def _answering(self) -> bool:
        """Whether an answer is under way."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _hurry_up(self) -> None:
        self._hurry = self.loop.call_later(
            self.options.header_seconds,
            self._refuse,
            "request_timeout",
            f"the headers were not whole after {self.options.header_seconds:g} s",
        )

    def _calm_down(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None

    def _too_large(self) -> None:
        most = self.options.header_bytes
        self._refuse("headers_too_large", f"headers may have at most {most:,} bytes")

    def _refuse(self, code: str, detail: str) -> None:
        """Answer and end the connection, where no answer is under way; else just end it."""
        self._calm_down()
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._until_read()
        if self._answering():
            self.transport.close()
            return
        judged = judge(Denial(code, detail))
        request_id = secrets.token_hex(8)
        body = body_of(judged, "", request_id)
        lines = [
            *self.server_state.default_headers,
            (b"x-request-id", request_id.encode()),
            *judged.headers,
            (b"content-type", MEDIA_TYPE),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
        self.transport.write(STATUS_LINE[judged.status] + head + b"\r\n" + body)
        self.transport.close()


def bounded(options: ServeOptions) -> type[BoundedProtocol]:
    """The protocol with these bounds: uvicorn makes connections of a class."""
    return type("Bounded", (BoundedProtocol,), {"options": options})
