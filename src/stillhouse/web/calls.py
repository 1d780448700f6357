"""One request as handlers see it: its parts, and its body read within bounds.

Nothing here knows a route or a store.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

from stillhouse.errors import VectorBusyError, VectorRequestError
from stillhouse.web.problems import Denial, Headers

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Scope: TypeAlias = MutableMapping[str, Any]

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
JSON: Final = b"application/json"
FLOATS: Final = b"application/octet-stream"
ABORT: Final = "stillhouse.abort"
"""The extension in a request's scope by which its connection can be cut off."""


class Gone(Exception):
    """The client went away before its request was whole."""


class Reply(NamedTuple):
    """An answer."""

    status: int
    body: bytes = b""
    kind: bytes = JSON
    headers: Headers = ()
    close: bool = False
    """Whether the connection ends with it."""
    code: str = ""
    """Of a problem, for the log."""


class Call:
    """A request. ``route`` is the template it matched, or a fixed word where it matched none:
    logs and metrics never carry a raw path. ``values`` are the path's own parts, decoded."""

    __slots__ = (
        "body",
        "headers",
        "index",
        "method",
        "query",
        "raw_path",
        "request_id",
        "route",
        "values",
    )

    def __init__(self, scope: Scope) -> None:
        self.method: str = scope["method"]
        self.raw_path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(b"x-request-id", b"")
        self.request_id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        self.route = "none"
        self.index = ""
        self.values: tuple[str, ...] = ()
        self.body = b""

    def kind(self) -> bytes:
        """The media type of the body, without its parameters."""
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def check_kind(call: Call, allowed: tuple[bytes, ...]) -> None:
    """Refuse a body of another media type, charset or coding. A body without a type is refused
    too: that is what a web page can send across origins without asking."""
    words = b" or ".join(allowed).decode()
    if call.kind() not in allowed:
        raise Denial("unsupported_media_type", f"the content type must be {words}")
    charset = re.search(rb'charset="?([\w-]+)', call.headers.get(b"content-type", b"").lower())
    if charset and charset[1] not in (b"utf-8", b"utf8"):
        raise Denial("unsupported_media_type", "JSON is read as UTF-8 only")
    if call.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Denial("unsupported_media_type", "compressed bodies are not read")


class Bodies:
    """Reads bodies: no single one beyond ``most`` bytes, and all that are held at once not
    beyond ``memory``. Used from the event loop alone."""

    def __init__(self, most: int, memory: int) -> None:
        self._most = most
        self._free = max(memory, most)

    async def read(self, call: Call, receive: Receive) -> int:
        """The whole body into ``call.body``; the bytes that it holds, for `release`.

        Raises `Denial` (``body_too_large``), `VectorBusyError` and `Gone`; then nothing is held.
        """
        told = call.headers.get(b"content-length")
        if told is not None and int(told) > self._most:
            raise self._too_large(more=True)
        message = await receive()
        parts: list[bytes] = []
        held = 0
        try:
            while True:
                if message["type"] != "http.request":
                    raise Gone
                part: bytes = message.get("body", b"")
                if held + len(part) > self._most:
                    raise self._too_large(more=message.get("more_body", False))
                if len(part) > self._free:
                    raise VectorBusyError("too many bodies at once; try again")
                held += len(part)
                self._free -= len(part)
                parts.append(part)
                if not message.get("more_body", False):
                    call.body = parts[0] if len(parts) == 1 else b"".join(parts)
                    return held
                message = await receive()
        except BaseException:
            self.release(held)
            raise

    def release(self, held: int) -> None:
        """What was read is not needed any more."""
        self._free += held

    def _too_large(self, *, more: bool) -> Denial:
        return Denial("body_too_large", f"a body may have at most {self._most:,} bytes", close=more)


def query_values(call: Call, known: tuple[str, ...]) -> dict[str, str]:
    """The query string's values. Raises `VectorRequestError` for a name that is not known, or
    that stands there twice."""
    try:
        pairs = parse_qsl(
            call.query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=16
        )
    except ValueError:
        raise VectorRequestError([("query", "cannot be read")]) from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise VectorRequestError([(name, "is not known here")])
        if name in values:
            raise VectorRequestError([(name, "is given twice")])
        values[name] = value
    return values


def whole_number(values: dict[str, str], name: str) -> int | None:
    """A query value as a whole number; None when it is not given."""
    text = values.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
        raise VectorRequestError([(name, "must be a whole number")])
    return int(text)
