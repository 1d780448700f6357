"""uvicorn's HTTP/1.1 protocol with the bounds that it lacks: the number of connections, the size
of headers, the time that they may take, and readers that never read.

What cannot be read as HTTP is answered with problem details like everything else. Nothing here
knows a route.
"""

from __future__ import annotations

import secrets
import sys
from asyncio import TimerHandle, Transport
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from stillhouse.web.calls import ABORT
from stillhouse.web.options import ServeOptions
from stillhouse.web.problems import MEDIA_TYPE, Denial, body_of, judge

if sys.platform == "linux":
    import fcntl
    from termios import TIOCOUTQ


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
        self._unread = 0
        self._watching: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.options.connections:
            self._refuse("busy", "too many connections; try again")
        else:
            self._hurry_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._calm_down()
        if self._watching is not None:
            self._watching.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        # Also for what comes after an answer: the rest of a body that nobody reads.
        if self._hurry is None and not self._answering():
            self._hurry_up()
        # The parser keeps a header to itself until it is whole: what has come is counted here.
        self._pieces = self._pieces + len(data) if self._in_head else 0
        self._parse(data)
        if self._in_head and self._pieces > self.options.header_bytes:
            self._too_large()

    def _parse(self, data: bytes) -> None:
        """What uvicorn does with what came, but that an offer to upgrade ends no message."""
        self._unset_keepalive_if_required()
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                if self._refused:
                    return
                # To this parser the message ended at its head, and its body would be the next
                # request. No offer is taken up: another one reads the head without it.
                data = self._head_without_offer() + data[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as before
            except httptools.HttpParserError:
                message = "Invalid HTTP request received."
                self.logger.warning(message)
                self.send_400_response(message)
                return
            else:
                return

    def _head_without_offer(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % one for one in self.headers if one[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        if not self._refused:
            self._in_head = True
            self._head = 0
            super().on_message_begin()
            self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}

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
        if problem := _unfit(self.parser.get_method(), self.headers):
            self._refuse(*problem)
            return
        if self.parser.should_upgrade():
            return  # the head is read once more, see _parse
        self._in_head = False
        self._pieces = 0
        self._calm_down()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused or self.parser.should_upgrade():
            return
        self._in_head = True
        self._head = 0
        if self.cycle.response_complete:
            self._calm_down()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse("malformed_request", msg.rstrip(".").lower())

    def pause_writing(self) -> None:
        """From here on uvicorn holds answers back until the reader goes on."""
        super().pause_writing()
        self._watch()

    def timeout_keep_alive_handler(self) -> None:
        """A connection whose last answer is still being read is not idle yet."""
        if _unread(self.transport):
            self._watch()
        else:
            super().timeout_keep_alive_handler()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch()  # closing alone waits for a reader for ever

    def _watch(self) -> None:
        """See to it that what is written is read: an answer that is not holds its memory. One
        watch at a time: a second one would take a reader for slow that the first just saw."""
        if self._watching is None and not self._lost:
            self._unread = _unread(self.transport)
            self._watching = self.loop.call_later(self.timeout_keep_alive, self._look)

    def _look(self) -> None:
        """Whether something was read since the last look; if not, the connection ends."""
        self._watching = None
        held = self.transport.get_write_buffer_size()
        waiting = _unread(self.transport)
        if held and waiting == self._unread:
            self.transport.abort()
        elif waiting and waiting == self._unread and not self._answering():
            self.transport.close()  # the kernel alone holds it, and not for ever
        elif waiting:
            self._watch()
        elif not self._answering() and self._hurry is None and not self.transport.is_closing():
            # All is read, and nothing follows: now it is idle.
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

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
        self._watch()
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


def _unread(transport: Transport) -> int:
    """Bytes that the other side has not taken. Where the kernel tells, with those that it holds:
    it takes more from us only when much of that is gone, which a slow reader needs long for."""
    waiting = transport.get_write_buffer_size()
    if sys.platform == "linux":
        with suppress(OSError):
            told = fcntl.ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4))
            waiting += int.from_bytes(told, sys.byteorder)
    return waiting


def _unfit(method: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[str, str] | None:
    """Why a head is refused, as a code and words: what others on the way could read in another
    way than this service does."""
    if method == b"CONNECT":
        return "malformed_request", "this service is no proxy"
    if sum(name == b"host" for name, _ in headers) > 1:
        return "malformed_request", "there is more than one host header"
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings not in ([], [b"chunked"]):
        return "unsupported_media_type", "of transfer codings only chunked is read"
    return None


def bounded(options: ServeOptions) -> type[BoundedProtocol]:
    """The protocol with these bounds: uvicorn makes connections of a class."""
    return type("Bounded", (BoundedProtocol,), {"options": options})
