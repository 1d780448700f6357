"""How the client speaks to a server: one request, tried again where that is safe.

| what went wrong | a question (GET, search) | a change (add, delete, merge, …) |
| --- | --- | --- |
| no connection, so nothing was sent | again | again |
| 503 ``busy`` with ``Retry-After``: it was turned away | again | again |
| the connection broke, no answer in time, a gateway's 502, 503 or 504 | again | `outcome_unknown` |
| 504 ``timeout``: the server gave it up | its error | `outcome_unknown` |
| any other answer, a certificate that is not trusted | its error | its error |

What was sent and not answered may have been done, so a change is never sent twice. Nothing
here knows what an index is.
"""

from __future__ import annotations

import ipaddress
import random
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeVar

import httpx2
import msgspec

from stillhouse import __version__
from stillhouse.errors import UsageError, VectorBusyError, VectorError
from stillhouse.vectors.client_errors import (
    PROBLEM,
    Answer,
    broken,
    error_of,
    foreign,
    outcome_unknown,
    timed_out,
    unreachable,
)

T = TypeVar("T")

JSON: Final = "application/json"
_GATEWAY: Final = (502, 503, 504)
_CONNECTIONS: Final = httpx2.Limits(
    # A server closes what is idle, and may do so just as we send. We are first.
    max_connections=64,
    max_keepalive_connections=16,
    keepalive_expiry=3.0,
)
_CONNECT_SECONDS: Final = 5.0


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often and when what is safe to send again is sent again.

    The wait before try n + 1 is ``first_seconds`` · 2ⁿ⁻¹, at most ``most_seconds``, times a number
    from 0.5 to 1 by ``chance``; or as long as the server's ``Retry-After`` says, where that is
    longer. One that asks for more than ``most_seconds`` is not waited for.
    """

    tries: int = 5
    first_seconds: float = 0.1
    most_seconds: float = 10.0
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def wait(self, tried: int, retry_after: float | None) -> float | None:
        """Seconds until the next try after so many; None when there is none."""
        if tried >= self.tries or (retry_after or 0.0) > self.most_seconds:
            return None
        backoff = min(self.first_seconds * 2.0 ** (tried - 1), self.most_seconds)
        return max(backoff * (0.5 + self.chance() / 2), retry_after or 0.0)


class Link:
    """A pool of connections to one server. Safe to use from many threads.

    Raises `UsageError` for an address or a key that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        timeout: float,
        retry: Retry,
        transport: httpx2.BaseTransport | None,
    ) -> None:
        parsed = _checked_url(url)
        self.url = url.rstrip("/")
        self._retry = retry
        headers = {"User-Agent": f"stillhouse/{__version__}", "Accept": f"{JSON}, {PROBLEM}"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {_checked_key(api_key)}"
        self._http = httpx2.Client(
            headers=headers,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
            limits=_CONNECTIONS,
            # What this machine serves itself is not asked for through somebody's proxy.
            trust_env=not _is_loopback(parsed.host),
            transport=transport,
        )

    def close(self) -> None:
        """Close the connections. Calling it again does nothing."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        changes: bool,
        content: bytes | None = None,
        kind: str = JSON,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """What the server answers to a request, with a status below 300; ``changes`` says
        whether doing it twice could matter. Raises the error that any other answer stands for."""
        headers = {"X-Request-Id": uuid.uuid4().hex}
        if content is not None:
            headers["Content-Type"] = kind
        request = self._http.build_request(
            method, self.url + path, content=content, headers=headers, params=params
        )
        tried = 0
        while True:
            tried += 1
            answer, error, again = self._try(request, changes)
            if error is None:
                return answer
            wait = self._retry.wait(tried, answer.retry_after) if again else None
            if wait is None:
                raise error
            self._retry.sleep(wait)

    def decode(self, answer: Answer, kind: type[T]) -> T:
        """An answer's JSON as a type. Raises `VectorError` when it is something else."""
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.foreign(f"answered with JSON of another kind: {error}")

    def foreign(self, did: str) -> NoReturn:
        """Raise that the server did what no Stillhouse does."""
        raise foreign(did, self.url)

    def _try(
        self, request: httpx2.Request, changes: bool
    ) -> tuple[Answer, VectorError | None, bool]:
        """One try: the answer, the error that it is, and whether to try again."""
        nothing, where = Answer(0, "", b""), self.url
        try:
            answer = self._once(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            again = not (_is_tls(error) or isinstance(error, httpx2.ProxyError))
            return nothing, unreachable(_words(error), where), again
        except httpx2.PoolTimeout:
            return nothing, timed_out("all connections of this client are in use", where), False
        except httpx2.LocalProtocolError:
            # Its words may quote a header.
            return nothing, VectorError("the request cannot be sent", where=where), False
        except httpx2.RequestError as error:
            return nothing, *self._unanswered(request, changes, _words(error))
        if answer.status < 300:
            return answer, None, False
        failed = error_of(answer, where)
        if failed.code == "bad_answer" and answer.status in _GATEWAY:
            said = f"a gateway answered {answer.status}"
            return nothing, *self._unanswered(request, changes, said)
        if failed.code == "timeout" and changes:
            # The server gave the request up, not what it had begun.
            return nothing, *self._unanswered(request, changes, failed.what)
        busy = failed.code == VectorBusyError.code and answer.retry_after is not None
        return answer, failed, busy

    def _unanswered(
        self, request: httpx2.Request, changes: bool, why: str
    ) -> tuple[VectorError, bool]:
        if changes:
            return outcome_unknown(why, self.url, request.headers["X-Request-Id"]), False
        return broken(why, self.url), True

    def _once(self, request: httpx2.Request) -> Answer:
        response = self._http.send(request, stream=True)
        try:
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if response.is_redirect:
                self.foreign(f"answered {response.status_code} with a redirect")
            known = kind in (JSON, PROBLEM)
            if not known and response.status_code not in (204, *_GATEWAY):
                # Not read: it may be anything, of any size.
                self.foreign(f"answered {response.status_code} with {kind or 'no media type'}")
            body = response.read() if known else b""
            return Answer(response.status_code, kind, body, _seconds(response.headers))
        finally:
            response.close()


def _checked_url(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise UsageError(f"this is no address of a server: {error}") from None
    if parsed.userinfo:
        raise UsageError(
            "an address may hold no login: it would stand in logs", way_out="Give an API key."
        )
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError(f"{url!r} is no address of a server", way_out="Write http://HOST:PORT.")
    if parsed.query or parsed.fragment:
        raise UsageError(f"the address {url!r} goes on after its path")
    return parsed


def _checked_key(key: str) -> str:
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError("the API key is empty, or has a sign in it that no key has")
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _words(error: httpx2.RequestError) -> str:
    """What went wrong on the way, for people."""
    if isinstance(error, httpx2.ConnectTimeout):
        return "it took too long"
    if isinstance(error, httpx2.TimeoutException):
        return "it did not come in time"
    return str(error).strip().removesuffix(".") or type(error).__name__


def _seconds(headers: Mapping[str, Any]) -> float | None:
    text = str(headers.get("Retry-After", "")).strip()
    return float(text) if text.isascii() and text.isdigit() else None
