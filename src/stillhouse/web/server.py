"""Runs the service: binds, serves until it is told to stop, finishes what is under way, closes.

The signals SIGTERM and SIGINT end it in order and with exit code 0; a second Ctrl-C does not
wait. Nothing here knows a route.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from prometheus_client import disable_created_metrics

from stillhouse.errors import UsageError
from stillhouse.vectors import VectorStore
from stillhouse.web.app import App
from stillhouse.web.guard import Guard, Keys, Loopback, is_loopback_name
from stillhouse.web.logs import Forward, Log
from stillhouse.web.options import ServeOptions
from stillhouse.web.protocol import bounded
from stillhouse.web.service import Service

_BACKLOG: Final = 512
Listening = Callable[[str], None]
"""Hears the address once connections are accepted."""


def make_guard(host: str, keys: Path | None, log: Log) -> Guard:
    """Who may ask. Raises `UsageError` for a file of keys that cannot be used, and for another
    address than loopback without keys."""
    if keys is not None:
        return Keys(keys, lambda event, words: log.warning(event, message=words))
    if not is_loopback_name(host):
        raise UsageError(
            f"--host {host} can be reached from elsewhere, and there are no keys",
            way_out="Give --api-key-file, or listen on 127.0.0.1.",
        )
    return Loopback()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `UsageError` when it cannot be had."""
    where = f"--host {host} --port {port}"
    try:
        # Of a name with addresses of both kinds, such as localhost, the older is expected.
        family, kind, protocol, _, address = min(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE),
            key=lambda info: info[0] != socket.AF_INET,
        )
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"no such address: {error}", where=where) from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise UsageError(
            f"cannot listen there: {error.strerror}",
            where=where,
            way_out="Give another --port; 0 takes any that is free.",
        ) from None
    return bound


def address_of(bound: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    store: VectorStore,
    bound: socket.socket,
    guard: Guard,
    log: Log,
    options: ServeOptions,
    listening: Listening,
) -> None:
    """Serve until a signal says to stop; the store is left open, and nothing runs in it."""
    # A second series of everything, which nobody asks for.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    service = Service(store, options, lambda error: log.error("late", exc_info=error))
    with closing(service), _uvicorn_says(log), closing(bound):
        server = make_server(App(service, guard, log), options)
        with in_order(server):
            server.config.load()
            listening(address_of(bound))
            server.run(sockets=[bound])
        log.info("stopped")


def make_server(app: App, options: ServeOptions) -> uvicorn.Server:
    """A server of one process: a store has one writer."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=bounded(options),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=max(1, round(options.idle_seconds)),
            timeout_graceful_shutdown=max(1, round(options.grace_seconds)),
        )
    )


@contextmanager
def in_order(server: uvicorn.Server) -> Iterator[None]:
    """Signals end the server and not the process: uvicorn raises them again once it has stopped,
    and then they do nothing."""

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def _uvicorn_says(log: Log) -> Iterator[None]:
    """uvicorn's own words go into our log while it runs."""
    logger = logging.getLogger("uvicorn")
    forward, before = Forward(log), (logger.level, logger.propagate)
    logger.addHandler(forward)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(forward)
        logger.level, logger.propagate = before
