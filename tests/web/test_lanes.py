"""What runs where: nothing on the event loop waits for a database, and each kind of work has
threads of its own."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stillhouse.errors import VectorFailedError
from stillhouse.web.logs import make_log
from tests.web.conftest import fill
from tests.web.live import BASE, PATIENCE, Answer, Live, TroubledBackend, floats, running
from tests.web.test_capacity import Gate, held

ONE = [1, 0, 0]


class Remote(TroubledBackend):
    """A store that may wait for a network."""

    in_process = False


def asking(live: Live) -> dict[str, Callable[[], Answer]]:
    """Requests that look up an index before they do anything else."""
    page = live.ask("GET", f"{BASE}/docs/ids?limit=1").json["cursor"]
    raw = {"content-type": "application/octet-stream"}
    return {
        "raw": lambda: live.ask("POST", f"{BASE}/docs/search", floats(*ONE), raw),
        "vectors": lambda: live.post("docs/search", {"vectors": [ONE]}),
        "cursor": lambda: live.ask("GET", f"{BASE}/docs/ids?limit=1&cursor={page}"),
    }


@pytest.mark.parametrize("kind", ["raw", "vectors", "cursor"])
def test_a_database_that_is_slow_to_look_up_stops_nobody(kind: str) -> None:
    """While one request waits for the description of its index, others are answered."""
    gate, backend = Gate("spec"), Remote()
    with running(backend) as live:
        fill(live)
        ask = asking(live)[kind]
        backend.before = gate
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask)
            gate.wait_for(1)
            began = time.monotonic()
            try:
                assert live.ask("GET", "/livez").status == 200
                assert time.monotonic() - began < PATIENCE / 4
            finally:
                gate.opened.set()
            assert waiting.result(PATIENCE).status == 200


def test_batches_stop_neither_lists_nor_writes() -> None:
    """Though all threads for them be taken: also a large body is decoded elsewhere."""
    gate = Gate("search_many")
    with running(TroubledBackend(gate)) as live:
        fill(live)
        waiting = held(gate, live, 2, lambda: live.post("docs/search", {"vectors": [ONE, ONE]}))
        others: list[Callable[[], Answer]] = [
            lambda: live.ask("GET", BASE),
            lambda: live.post("docs/count", {}),
            lambda: live.post("docs/count", {"filter": {"a": "x" * 70_000}}),
            lambda: live.post("docs/delete", {"ids": [f"{at:0500}" for at in range(200)]}),
        ]
        with ThreadPoolExecutor(len(others)) as pool:
            asked = [pool.submit(other) for other in others]
            try:
                assert [one.result(PATIENCE / 4).status for one in asked] == [200] * 4
            finally:
                gate.opened.set()
        assert {one.result(PATIENCE).status for one in waiting} == {200}


class Broken(io.StringIO):
    """A stream behind which nobody reads, or whose disk is full."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("console", [True, False])
@pytest.mark.parametrize("closed", [True, False])
def test_a_log_that_cannot_be_written_is_lost_alone(console: bool, closed: bool) -> None:
    """Whoever says something to it does not fail of that."""
    stream: Any = io.StringIO() if closed else Broken()
    if closed:
        stream.close()
        stream.isatty = lambda: False
    log = make_log(stream, console=console)
    log.error("failed", exc_info=VectorFailedError("why"))
    log.info("request")
