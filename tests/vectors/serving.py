"""A real server on loopback, in this process, for tests of what talks to one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from stillhouse.vectors import VectorStore


@contextmanager
def serving(store: VectorStore, keys: Path | None = None) -> Iterator[str]:
    """Serves a store while the context lasts; gives the address."""
    from stillhouse.web import server
    from stillhouse.web.app import App
    from stillhouse.web.logs import make_log
    from stillhouse.web.options import ServeOptions
    from stillhouse.web.service import Service

    log, options = make_log(StringIO(), console=False), ServeOptions()
    service = Service(store, options, lambda error: None)
    app = App(service, server.make_guard("127.0.0.1", keys, log), log)
    bound = server.bind("127.0.0.1", 0)
    running = server.make_server(app, options)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield server.address_of(bound)
    finally:
        running.should_exit = True
        thread.join()
        service.close()
        bound.close()
