"""Many at once, slow ones and large ones: none stops the others, and what is too much is told."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stillhouse.errors import VectorBusyError, VectorFailedError
from stillhouse.vectors import Limits
from stillhouse.vectors.values import Health
from stillhouse.web.calls import Bodies, Call, Gone
from stillhouse.web.lanes import Lane, Pace
from stillhouse.web.options import ServeOptions
from stillhouse.web.problems import Denial
from tests.web.conftest import fill
from tests.web.live import BASE, PATIENCE, Answer, Live, TroubledBackend, running

ONE = [1, 0, 0]


class Gate:
    """Holds calls of some methods until it opens."""

    def __init__(self, *methods: str) -> None:
        self.methods = methods
        self.opened = threading.Event()
        self.reached = threading.Semaphore(0)

    def __call__(self, method: str) -> None:
        if method in self.methods:
            self.reached.release()
            assert self.opened.wait(PATIENCE)

    def wait_for(self, count: int) -> None:
        """Until so many calls are held."""
        for _ in range(count):
            assert self.reached.acquire(timeout=PATIENCE)


def held(gate: Gate, live: Live, count: int, ask: Callable[[], Answer]) -> list[Any]:
    """Threads whose requests are held at the gate."""
    pool = ThreadPoolExecutor(count)
    found = [pool.submit(ask) for _ in range(count)]
    gate.wait_for(count)
    pool.shutdown(wait=False)
    return found


def wait_until(true: Callable[[], bool]) -> None:
    """Until something holds that nobody tells of."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --------------------------------------------------------------- long beside short work


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("merge", "docs/merge", {"dest": "main"}),
        ("add", "docs/add", {"items": [{"id": "x", "vector": ONE}]}),
        ("delete_matching", "docs/delete", {"filter": {"a": 1}}),
    ],
)
def test_slow_work_does_not_stop_searches(method: str, path: str, body: Any) -> None:
    """However many merges or adds hang, searches and probes are answered."""
    gate = Gate(method)
    with running(TroubledBackend(gate if method != "add" else lambda _: None)) as live:
        fill(live)
        live.ask("PUT", f"{BASE}/main", {"dimension": 3})
        assert isinstance(live.store.backend, TroubledBackend)
        live.store.backend.before = gate
        waiting = held(gate, live, 6, lambda: live.post(path, body))
        for _ in range(5):
            assert live.post("docs/search", {"vector": ONE}).status == 200
        assert live.ask("GET", "/readyz").status == 200
        assert live.ask("GET", "/metrics").status == 200
        gate.opened.set()
        assert {one.result(PATIENCE).status for one in waiting} == {200}


def test_slow_searches_do_not_stop_writes() -> None:
    """And the other way round, batch searches among them."""
    gate = Gate("search", "search_many")
    with running(TroubledBackend(gate)) as live:
        fill(live)
        waiting = held(gate, live, 2, lambda: live.post("docs/search", {"vectors": [ONE, ONE]}))
        waiting += held(gate, live, 2, lambda: live.post("docs/search", {"vector": ONE}))
        items = [{"id": "y", "vector": ONE}]
        assert live.post("docs/add", {"items": items}).status == 200
        assert live.ask("DELETE", f"{BASE}/docs/items/y").status == 204
        assert live.ask("GET", "/livez").status == 200
        gate.opened.set()
        assert {one.result(PATIENCE).status for one in waiting} == {200}


def test_batches_do_not_stop_single_searches() -> None:
    """Though there be a single thread for these."""
    gate = Gate("search_many")
    with running(TroubledBackend(gate), options=ServeOptions(search_threads=1)) as live:
        fill(live)
        waiting = held(gate, live, 2, lambda: live.post("docs/search", {"vectors": [ONE, ONE]}))
        for _ in range(3):
            body = {"vector": ONE, "filter": {"lang": "en"}}
            assert live.post("docs/search", body).status == 200
        gate.opened.set()
        assert {one.result(PATIENCE).status for one in waiting} == {200}


def test_what_is_over_capacity_is_told_at_once() -> None:
    """503 with Retry-After, and nothing of it is done later."""
    gate = Gate("add")
    options = ServeOptions(write_threads=1, waiting=1)
    with running(TroubledBackend(), options=options) as live:
        fill(live)
        assert isinstance(live.store.backend, TroubledBackend)
        live.store.backend.before = gate

        def add(name: str) -> Answer:
            return live.post("docs/add", {"items": [{"id": name, "vector": ONE}]})

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(add, "first")
            gate.wait_for(1)
            second = pool.submit(add, "second")
            wait_until(lambda: live.service.writes._within == 2)
            answer = add("third")
            assert (answer.status, answer.code) == (503, "busy")
            assert answer.headers["retry-after"] == "1"
            gate.opened.set()
            assert first.result(PATIENCE).status == second.result(PATIENCE).status == 200
        assert "third" not in live.store.ids("docs")


# ------------------------------------------------------------------------------- timeouts


def test_a_request_that_takes_too_long_frees_its_client() -> None:
    """504 after the time of a request; what was begun goes on, and is told when it fails."""
    gate = Gate("merge")
    with running(TroubledBackend(gate), limits=Limits(request_seconds=0.3)) as live:
        fill(live)
        live.ask("PUT", f"{BASE}/main", {"dimension": 3})
        answer = live.post("docs/merge", {"dest": "main"})
        assert (answer.status, answer.code) == (504, "timeout")
        assert live.ask("GET", "/readyz").status == 200
        gate.opened.set()


def test_work_that_was_given_up_before_it_began_is_never_done() -> None:
    """A request that waits for a thread longer than its time leaves nothing behind."""
    gate = Gate("add")
    options = ServeOptions(write_threads=1)
    with running(TroubledBackend(), limits=Limits(request_seconds=0.3), options=options) as live:
        fill(live)
        assert isinstance(live.store.backend, TroubledBackend)
        live.store.backend.before = gate
        for name in ("runs", "waits"):
            answer = live.post("docs/add", {"items": [{"id": name, "vector": ONE}]})
            assert (answer.status, answer.code) == (504, "timeout")
        gate.opened.set()
        wait_until(lambda: "runs" in live.store.ids("docs"))
        items = [{"id": "last", "vector": ONE}]
        assert live.post("docs/add", {"items": items}).status == 200
        assert "waits" not in live.store.ids("docs")


def test_late_errors_are_heard() -> None:
    """What fails after its request was given up is not lost."""
    heard: list[BaseException] = []
    lane = Lane("test", 1, 1, heard.append)
    release = threading.Event()

    def fail() -> None:
        assert release.wait(PATIENCE)
        raise VectorFailedError("the disk is gone")

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lane.run(fail), 0.05)

    asyncio.run(give_up())
    release.set()
    lane.close()
    assert [str(error) for error in heard] == ["the disk is gone"]


# ------------------------------------------------------------------------------- troubles


def test_a_store_that_does_not_write_is_not_ready() -> None:
    """503 with the reason; the process is alive."""
    backend = TroubledBackend()
    with running(backend) as live:
        backend.state = Health(False, "the disk is full")
        answer = live.ask("GET", "/readyz")
        assert (answer.status, answer.code) == (503, "storage_failed")
        assert "the disk is full" in answer.json["detail"]
        assert live.ask("GET", "/livez").status == 200
        assert "stillhouse_store_writable 0.0" in live.ask("GET", "/metrics").body.decode()


def raising(method: str, error: Exception) -> Callable[[str], None]:
    """Raises in one method."""

    def before(called: str) -> None:
        if called == method:
            raise error

    return before


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (VectorFailedError("no fsync"), 503, "storage_failed"),
        (VectorFailedError("full", code="disk_full"), 507, "disk_full"),
        (VectorBusyError("locked"), 503, "busy"),
        (RuntimeError("secret-path"), 500, "internal"),
        (TimeoutError("secret-path"), 500, "internal"),
        (MemoryError(), 500, "internal"),
    ],
)
@pytest.mark.parametrize("method", ["add", "search"])
def test_what_fails_within_is_answered_and_logged(
    method: str, error: Exception, status: int, code: str
) -> None:
    """The answer says nothing of the inside; the log has all, under the request's id."""
    with running(TroubledBackend()) as live:
        fill(live)
        assert isinstance(live.store.backend, TroubledBackend)
        live.store.backend.before = raising(method, error)
        body: Any = {"items": [{"id": "x", "vector": ONE}]} if method == "add" else {"vector": ONE}
        answer = live.post(f"docs/{method}", body)
        assert (answer.status, answer.code) == (status, code)
        if code == "internal":
            assert "secret" not in answer.body.decode()
        logged = [line for line in live.lines() if line["event"] == "failed"]
        assert [line["request_id"] for line in logged] == (
            [] if code == "busy" else [answer.headers["x-request-id"]]
        )
        assert all("Traceback" in line["exception"] for line in logged)
        live.store.backend.before = lambda method: None
        assert live.post(f"docs/{method}", body).status == 200


def test_a_merge_whose_registry_fails_is_500() -> None:
    """SPEC V4: other than 'not found', a failure is answered 500 and logged."""
    with running(TroubledBackend(lambda method: None)) as live:
        fill(live)
        live.ask("PUT", f"{BASE}/main", {"dimension": 3})
        live.store.backend.before = raising("spec", VectorFailedError("gone"))  # type: ignore[attr-defined]
        answer = live.post("docs/merge", {"dest": "main"})
        assert (answer.status, answer.code) == (500, "internal")
        assert [line["event"] for line in live.lines()].count("failed") == 1


@pytest.mark.parametrize(("code", "status"), [("disk_full", 507), ("storage_failed", 503)])
def test_a_merge_whose_disk_fails_says_so(code: str, status: int) -> None:
    """It is answered as an add is: only a failing registry is 500."""
    with running(TroubledBackend(raising("merge", VectorFailedError("no", code=code)))) as live:
        fill(live)
        live.ask("PUT", f"{BASE}/main", {"dimension": 3})
        answer = live.post("docs/merge", {"dest": "main"})
        assert (answer.status, answer.code) == (status, code)


# ------------------------------------------------------------------------------- bodies


def call(**headers: str) -> Call:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Call({"method": "POST", "raw_path": b"/", "query_string": b"", "headers": raw})


def reading(bodies: Bodies, *parts: bytes, end: bool = True) -> int:
    """What a body of these parts holds."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": at < len(parts) - 1 or not end}
        for at, part in enumerate(parts)
    ]
    messages.append({"type": "http.disconnect"})

    async def receive() -> Any:
        return messages.pop(0)

    return asyncio.run(bodies.read(call(), receive))


def test_bodies_share_a_memory() -> None:
    """What is held counts until it is released; what is refused or torn is not held."""
    bodies = Bodies(most=10, memory=15)
    first = reading(bodies, b"12345", b"67890")
    with pytest.raises(VectorBusyError):
        reading(bodies, b"123", b"456")
    with pytest.raises(Gone):
        reading(bodies, b"12345", end=False)
    with pytest.raises(Denial, match="at most 10"):
        reading(bodies, b"12345", b"678901")
    assert reading(bodies, b"12345") == 5
    bodies.release(first)
    assert reading(bodies, b"1234567890") == 10


def test_bodies_of_requests_are_released(live: Live) -> None:
    """Also of those that are refused: the memory is whole again."""
    free = live.service.bodies._free
    live.post("docs/add", {"items": [{"id": "x", "vector": ONE}]})
    live.post("docs/add", {"items": 3})
    live.post("docs/add", b"{", **{"content-type": "application/json"})
    head = b"POST /v1/vectors/index/docs/add HTTP/1.1\r\nhost: localhost\r\n"
    live.send(head + b"content-type: application/json\r\ncontent-length: 9\r\n\r\n{", end=True)
    wait_until(lambda: live.service.bodies._free == free)


# --------------------------------------------------------------------------------- pace


def busy(seconds: float) -> None:
    """Compute for so long."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_only_quick_indexes_are_searched_without_a_thread() -> None:
    """One that was quick on a thread may run here, one that was slow here may not."""
    pace = Pace(computes=True)
    assert not pace.quick("docs")
    pace.aside("docs", lambda: None)
    assert pace.quick("docs")
    assert not pace.quick("other")
    wait = threading.Event()
    pace.inline("docs", lambda: wait.wait(0.03))
    assert not pace.quick("docs")
    pace.aside("docs", lambda: None)  # its pause is not over
    assert not pace.quick("docs")
    pace.aside("slow", lambda: busy(0.005))
    assert not pace.quick("slow")
    pace.aside("other", lambda: None)
    pace.inline("other", lambda: busy(0.005))
    assert not pace.quick("other")
    waiting = Pace(computes=False)
    waiting.aside("docs", lambda: None)
    assert not waiting.quick("docs")


def test_answers_are_the_same_wherever_they_are_found(live: Live) -> None:
    """On the event loop and on threads, with and without a filter, small and large."""
    body = {"vector": [1, 0.5, 0], "k": 3}
    wanted = live.post("docs/search", body).json["hits"]
    variants: list[dict[str, Any]] = [
        {}, {"filter": {}}, {"k": 2_000}, {"ef": 600}, {"ef": 10},
    ]  # fmt: skip
    for more in variants:
        for _ in range(3):
            assert live.post("docs/search", body | more).json["hits"] == wanted
    padded = json.dumps(body).encode()
    for size in (70_000, 1_100_000):
        answer = live.post(
            "docs/search", padded.ljust(size), **{"content-type": "application/json"}
        )
        assert answer.json["hits"] == wanted


# --------------------------------------------------------------------------------- many


def test_two_hundred_clients_of_all_kinds(live: Live) -> None:
    """Good and bad requests at once: every answer is one of those foreseen, and the sums are
    right at the end."""
    live.ask("PUT", f"{BASE}/main", {"dimension": 3})

    def client(number: int) -> Counter[int]:
        rng = random.Random(number)
        seen: Counter[int] = Counter()
        for step in range(4):
            item = {"id": f"{number}-{step}", "vector": [1, number, step]}
            kinds: list[Callable[[], int]] = [
                lambda: live.post("docs/search", {"vector": ONE, "k": 5}).status,
                lambda: live.post("docs/search", {"vectors": [ONE] * 3}).status,
                lambda: live.post("docs/search", {"vector": "bad"}).status,
                lambda: live.ask("GET", f"{BASE}/docs/ids?limit=2").status,
                lambda: live.post("docs/merge", {"dest": "main"}).status,
                lambda: live.ask("GET", "/nothing").status,
                lambda: live.ask("GET", "/metrics").status,
            ]
            seen[live.post("docs/add", {"items": [item]}).status] += 1
            seen[rng.choice(kinds)()] += 1
        return seen

    with ThreadPoolExecutor(50) as pool:
        seen = sum(pool.map(client, range(200)), Counter())
    assert set(seen) <= {200, 422, 404, 503}
    assert seen[503] == 0
    assert live.ask("GET", f"{BASE}/docs").json["count"] == 803
    answered = live.service.metrics.registry.get_sample_value(
        "stillhouse_requests_total",
        {"route": "/v1/vectors/index/{name}/add", "method": "POST", "status": "200"},
    )
    assert answered == 801


def test_connections_that_break_off_anywhere_do_no_harm(live: Live) -> None:
    """Cut at every place of a request, with and without a reset."""
    body = b'{"vector":[1,0,0]}'
    whole = (
        b"POST /v1/vectors/index/docs/search HTTP/1.1\r\nhost: localhost\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    )
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    for cut in range(0, len(whole) + 1, 3):
        with live.connect() as connection:
            connection.sendall(whole[:cut])
            if cut % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert live.post("docs/search", {"vector": ONE}).status == 200
    assert live.service.metrics.registry.get_sample_value("stillhouse_requests_in_flight") == 0
