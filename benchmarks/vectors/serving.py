"""Over HTTP on loopback: `stillhouse serve` beside `chroma run`, each on the folder it built.

Both search at the lowest ``ef`` that reaches a recall of 0.95, checked over HTTP, and answer ids
and scores only. In each round each server is started in turn, warmed, measured at 1 and 16
connections, and stopped. Vectors are JSON numbers as short as float32 allows; ours is measured
with base64 and raw float32 bodies too. Our access log is off: chroma writes none. The load
generator's own ceiling, against a server that does nothing, stands beside the figures; it shares
the processors with the servers, as a client on the same machine does.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.vectors.children import ENVIRONMENT, EngineFailedError
from benchmarks.vectors.data import Floats, K, Set, read_set, recall
from benchmarks.vectors.embedded import (
    Figures,
    Options,
    Session,
    engine_folder,
    ensure_built,
    failed_step,
)
from benchmarks.vectors.engines import EFS, STILLHOUSE, Contender
from benchmarks.vectors.load import BadAnswerError, fetch, request, run_load

CONNECTIONS: Final = (1, 16)
MANY: Final = 100
TARGET: Final = 0.95
SERVERS: Final = (STILLHOUSE, "chromadb")
CEILING: Final = "a server that does nothing"
_SEARCH: Final = "/v1/vectors/index/bench/search"
_CHROMA: Final = "/api/v2/tenants/default_tenant/databases/default_database/collections"
_START_SECONDS: Final = 60.0
_TICK: Final = os.sysconf("SC_CLK_TCK")

Requests = dict[str, list[bytes]]
Address = tuple[str, int]


def run_http(
    vectors: Path,
    contenders: Sequence[Contender],
    options: Options,
    *,
    connections: Sequence[int] = CONNECTIONS,
) -> dict[str, Figures]:
    """Figures by server: ``rounds`` of loads by kind of request and connections."""
    found: dict[str, Figures] = {}
    alive = []
    for contender in contenders:
        if contender.name not in SERVERS:
            continue
        found[contender.name] = {"rounds": [], "failed": {}}
        try:
            ensure_built(contender, vectors, options)
            alive.append(contender)
        except EngineFailedError as error:
            found[contender.name]["failed"][failed_step(error)] = str(error)
    asked = read_set(vectors)
    for contender in list(alive):
        try:
            found[contender.name] |= _tuned(contender, vectors, asked, options)
        except (EngineFailedError, BadAnswerError, OSError) as error:
            found[contender.name]["failed"]["serve"] = str(error)
            alive.remove(contender)
    found[CEILING] = {"rounds": [], "failed": {}}
    for turn in range(options.rounds):
        found[CEILING]["rounds"].append(_ceiling(asked, options, connections))
        for contender in alive:
            figures = found[contender.name]
            try:
                figures["rounds"].append(
                    _round(contender, figures["ef"], vectors, asked, options, connections)
                )
            except (EngineFailedError, BadAnswerError, OSError) as error:
                figures["failed"]["serve"] = str(error)
            options.log(f"{vectors.name}: HTTP, round {turn + 1}: {contender.name}")
    return found


# ----------------------------------------------------------------------------- servers


@contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[int]:
    """A server until the context ends, reachable on the port; its process id. Raises
    `EngineFailedError` with its last words when it does not come up."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT},
        )
    try:
        _await(process, port, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            said = log.read_text(errors="replace").strip().splitlines()
            raise EngineFailedError(said[-1][:300] if said else f"ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise EngineFailedError(f"does not listen after {_START_SECONDS:.0f} s")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def command_for(contender: Contender, folder: Path, port: int, python: str) -> list[str]:
    """What starts a server on a folder."""
    if contender.name == STILLHOUSE:
        ours = [sys.executable, "-m", "stillhouse", "serve", "--data", str(folder / "data")]
        return [*ours, "--port", str(port), "--no-access-log"]
    chroma = Path(python).with_name("chroma")
    return [str(chroma), "run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]


@contextmanager
def _serving(
    contender: Contender, vectors: Path, options: Options
) -> Iterator[tuple[Address, int]]:
    folder, port = engine_folder(contender, vectors, options), _free_port()
    command = command_for(contender, folder, port, options.peer_python)
    with running(command, port, options.work / "server.log") as pid:
        yield ("127.0.0.1", port), pid


# ---------------------------------------------------------------------------- requests


def numbers_as_json(vector: Floats) -> str:
    """A vector as a JSON list, each number as short as float32 allows."""
    return "[" + ",".join(str(number) for number in vector) + "]"


def our_requests(queries: Floats, ef: int | None) -> Requests:
    """Every kind of search request of ours, a query or `MANY` queries each."""
    rest = json.dumps({"k": K, "ef": ef, "include": []} if ef else {"k": K, "include": []})[1:]
    wire = queries.astype("<f4")
    packed = [base64.b64encode(row.tobytes()).decode() for row in wire]
    parts = [wire[at : at + MANY] for at in range(0, len(wire), MANY)]
    query = f"?k={K}&include=" + (f"&ef={ef}" if ef else "")

    def asked(field: str, value: str) -> bytes:
        return request(_SEARCH, f'{{"{field}":{value},{rest}'.encode())

    def raw(rows: Floats) -> bytes:
        return request(_SEARCH + query, rows.tobytes(), "application/octet-stream")

    return {
        "JSON": [asked("vector", numbers_as_json(row)) for row in wire],
        "base64": [asked("vector", f'{{"base64":"{row}"}}') for row in packed],
        "raw float32": [raw(row) for row in wire],
        "JSON, 100 at once": [
            asked("vectors", "[" + ",".join(map(numbers_as_json, part)) + "]") for part in parts
        ],
        "base64, 100 at once": [
            asked("vectors", f'{{"base64":"{base64.b64encode(part.tobytes()).decode()}"}}')
            for part in parts
        ],
        "raw float32, 100 at once": [raw(part) for part in parts],
    }


def chroma_requests(queries: Floats, collection: str) -> Requests:
    """The same of chroma, which knows JSON alone."""
    rest = f'"n_results":{K},"include":[]}}'
    path = f"{_CHROMA}/{collection}/query"
    lists = [numbers_as_json(row) for row in queries]
    parts = [lists[at : at + MANY] for at in range(0, len(lists), MANY)]
    return {
        name: [request(path, f'{{"query_embeddings":[{",".join(p)}],{rest}'.encode()) for p in some]
        for name, some in {"JSON": [[one] for one in lists], "JSON, 100 at once": parts}.items()
    }


def _requests(contender: Contender, address: Address, queries: Floats, ef: int | None) -> Requests:
    if contender.name == STILLHOUSE:
        return our_requests(queries, ef)
    listed = fetch(address, [f"GET {_CHROMA} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()])[0]
    collection = next(one["id"] for one in json.loads(listed) if one["name"] == "bench")
    return chroma_requests(queries, collection)


def answered_ids(contender: Contender, body: bytes) -> list[int]:
    """The numbers of the items in the answer to a single search."""
    answer = json.loads(body)
    if contender.name == STILLHOUSE:
        return [int(hit["id"]) for hit in answer["hits"]]
    return [int(id_) for id_ in answer["ids"][0]]


# ----------------------------------------------------------------------------- figures


def _tuned(contender: Contender, vectors: Path, asked: Set, options: Options) -> Figures:
    """The lowest ``ef`` that reaches the recall, and what it reaches over HTTP. Chroma keeps it in
    the collection; it is set there by the embedded engine."""
    if contender.name != STILLHOUSE:
        _set_chroma(contender, vectors, options)
    point: Figures = {}
    with _serving(contender, vectors, options) as (address, _):
        for ef in EFS if contender.name == STILLHOUSE else (None,):
            asks = _requests(contender, address, asked.queries, ef)["JSON"]
            found = [answered_ids(contender, body) for body in fetch(address, asks)]
            point = {"ef": ef, "recall": recall(asked.exact[""], found)}
            if point["recall"] >= TARGET:
                break
    return point


def _set_chroma(contender: Contender, vectors: Path, options: Options) -> None:
    session = Session(contender, vectors, options)
    for setting in session.open().settings:
        point = session.ask(
            "measure", setting=setting, field="", many=False, seconds=0.0, least=10**3
        )
        if point["recall"] >= TARGET:
            break
    session.end()


def _round(
    contender: Contender,
    ef: int | None,
    vectors: Path,
    asked: Set,
    options: Options,
    connections: Sequence[int],
) -> Figures:
    with _serving(contender, vectors, options) as (address, pid):
        requests = _requests(contender, address, asked.queries, ef)
        return _loads(address, requests, options, connections, pid)


def _ceiling(asked: Set, options: Options, connections: Sequence[int]) -> Figures:
    """What the generator reaches against a server that does nothing."""
    command = [sys.executable, "-m", "benchmarks.vectors.load", "400"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        requests = {"JSON": our_requests(asked.queries, None)["JSON"]}
        done = _loads(("127.0.0.1", port), requests, options, connections, process.pid)
        process.communicate()
    return done


def _loads(
    address: Address, requests: Requests, options: Options, connections: Sequence[int], pid: int
) -> Figures:
    done: Figures = {}
    for kind, asks in requests.items():
        each = MANY if "at once" in kind else 1
        for count in connections:
            worked, began = _processor(pid), time.perf_counter()
            load = run_load(address, asks, count, options.seconds)
            cores = (_processor(pid) - worked) / (time.perf_counter() - began)
            done[f"{kind} × {count}"] = {**load._asdict(), "qps": load.rate * each, "cores": cores}
    return done


def _processor(pid: int) -> float:
    """Processor seconds that a process has taken; 0 where the kernel does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0.0
    fields = stat[stat.rindex(b")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def medians(figures: Figures) -> dict[str, dict[str, Any]]:
    """The medians over the rounds, by kind of request and connections."""
    kinds = list(dict.fromkeys(kind for done in figures["rounds"] for kind in done))
    return {
        kind: {
            part: statistics.median(done[kind][part] for done in figures["rounds"] if kind in done)
            for part in ("qps", "p50", "p99", "cores")
        }
        for kind in kinds
    }
