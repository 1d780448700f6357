"""The ASGI application: from a request to an answer, whatever happens in between.

Every error becomes problem details in one place (`_refused`), every answer a line of the log and
a figure. What fails beyond all that is foreseen is answered 500, logged with its traceback, and
the next request is served.
"""

from __future__ import annotations

import asyncio
from typing import Final

from stillhouse.config import seconds
from stillhouse.web import openapi
from stillhouse.web.calls import (
    ABORT,
    Call,
    Gone,
    Message,
    Receive,
    Reply,
    Scope,
    Send,
    query_values,
)
from stillhouse.web.guard import Guard
from stillhouse.web.logs import Log
from stillhouse.web.problems import MEDIA_TYPE, Denial, body_of, judge
from stillhouse.web.routes import ROUTES, Route, Table
from stillhouse.web.service import Service

_GONE: Final = 499
"""The status in log and metrics of a request that nobody waits for any more."""
_LINGER: Final = 2.0
"""Seconds for a client that still sends to read why its body is refused."""
_END: Final[Message] = {"type": "http.response.body", "body": b"", "more_body": False}


class App:
    """See the module. Make it within or without an event loop; it keeps nothing of one."""

    def __init__(self, service: Service, guard: Guard, log: Log) -> None:
        self._service = service
        self._guard = guard
        self._log = log
        routes = (*ROUTES, *openapi.routes(ROUTES, service.limits))
        self._table = Table(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"this service speaks HTTP only, not {scope['type']}")
        began = seconds()
        call = Call(scope)
        metrics = self._service.metrics
        metrics.in_flight.inc()
        held = 0
        reply = Reply(_GONE)
        try:
            reply, held = await self._answer(call, receive)
            async with asyncio.timeout(self._service.limits.request_seconds):
                await _send(reply, call, receive, send)
        except Gone:
            pass
        except TimeoutError:
            # The answers before this one are not read, and what it holds is needed by others.
            reply = Reply(_GONE)
            await _cut_off(scope, receive)
        finally:
            self._service.bodies.release(held)
            metrics.in_flight.dec()
            took = seconds() - began
            metrics.answered(call.route, call.method, reply.status, took)
            if self._service.options.access_log:
                self._log_line(call, reply, took)

    async def _answer(self, call: Call, receive: Receive) -> tuple[Reply, int]:
        """The answer, and how many bytes of body are held until it is sent."""
        held = 0
        whole = False
        try:
            async with asyncio.timeout(self._service.limits.request_seconds) as deadline:
                found = self._find(call)
                if isinstance(found, str):
                    return Reply(204, headers=((b"allow", found.encode()),)), 0
                if call.query and found.path.startswith("/v1/"):
                    query_values(call, tuple(one.name for one in found.query))
                if found.body is not None:
                    held = await self._service.bodies.read(call, receive)
                whole = True
                return await found.handler(self._service, call), held
        except Gone:
            raise
        except asyncio.CancelledError:  # the server stops, and its grace is over
            return self._refused(call, _stopping(whole)), held
        except Exception as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                error = _too_late(whole, self._service.limits.request_seconds)
            return self._refused(call, error), held

    def _find(self, call: Call) -> Route | str:
        """The route of a call, or what may be done with a path; who asks without a key learns
        nothing of routes."""
        try:
            found = self._table.find(call.method, call.raw_path)
        except Exception:
            self._guard.admit(call)
            raise
        if isinstance(found, str):
            self._guard.admit(call)
            return found
        route = found.route
        call.route, call.values = route.path, found.values
        if route.open:
            self._guard.admit_open(call)
        else:
            self._guard.admit(call)
        return route

    def _refused(self, call: Call, error: Exception) -> Reply:
        judged = judge(error)
        if judged.status >= 500 and judged.code not in ("busy", "timeout"):
            self._log.error(
                "failed",
                request_id=call.request_id,
                route=call.route,
                code=judged.code,
                error=str(error),
                exc_info=error,
            )
        body = body_of(judged, call.raw_path.decode("ascii", "replace"), call.request_id)
        return Reply(judged.status, body, MEDIA_TYPE, judged.headers, judged.close, judged.code)

    def _log_line(self, call: Call, reply: Reply, took: float) -> None:
        fields = {"code": reply.code} if reply.code else {}
        self._log.info(
            "request",
            request_id=call.request_id,
            method=call.method,
            route=call.route,
            status=reply.status,
            ms=round(took * 1000, 3),
            bytes_in=len(call.body),
            bytes_out=len(reply.body),
            **fields,
        )


def _too_late(whole: bool, limit: float) -> Denial:
    if whole:
        return Denial(
            "timeout",
            f"it took longer than {limit:g} s; what was begun may still be done",
        )
    return Denial("request_timeout", f"the body was not whole after {limit:g} s", close=True)


def _stopping(whole: bool) -> Denial:
    if whole:
        return Denial("timeout", "the service stops; what was begun may still be done")
    return Denial("busy", "the service stops; the request had not come whole")


async def _send(reply: Reply, call: Call, receive: Receive, send: Send) -> None:
    headers = [
        (b"x-request-id", call.request_id.encode()),
        *reply.headers,
    ]
    if reply.status != 204:
        headers.append((b"content-type", reply.kind))
        headers.append((b"content-length", str(len(reply.body)).encode()))
    if reply.close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if not reply.close:
        await send({"type": "http.response.body", "body": reply.body, "more_body": False})
        return
    await send({"type": "http.response.body", "body": reply.body, "more_body": True})
    await _drain(receive)
    await send(_END)


async def _cut_off(scope: Scope, receive: Receive) -> None:
    """End the connection at once, and wait until the server knows."""
    extensions = scope.get("extensions") or {}
    if ABORT in extensions:
        extensions[ABORT]["abort"]()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _drain(receive: Receive) -> None:
    """Read what the client still sends, for a while: closing at once would reset the connection,
    and the answer could be lost with it."""
    try:
        async with asyncio.timeout(_LINGER):
            more = True
            while more:
                message = await receive()
                more = message["type"] == "http.request" and message.get("more_body", False)
    except TimeoutError:
        return
