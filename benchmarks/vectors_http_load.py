"""Load on a running vector service: searches over so many connections at once, and what they took.

    stillhouse serve --data DIR --no-access-log &
    python -m benchmarks.vectors_http_load --index docs --dimension 384 --fill 10000

Each connection sends its next search when the last was answered; a raw socket and a few lines of
parsing, so that the loader is not what is measured. It shares the machine with the service, so
its own time is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from base64 import b64encode
from typing import Any, Final
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
_BODIES: Final = 256


class _Connection(asyncio.Protocol):
    """Sends request after request, and notes what each took until the time is over."""

    def __init__(self, requests: list[bytes], until: float, first: int) -> None:
        self.requests, self.until, self.at = requests, until, first
        self.took: list[float] = []
        self.statuses: dict[bytes, int] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._data = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        self._began = time.perf_counter()
        if self._began >= self.until:
            self._transport.close()
            return
        self._transport.write(self.requests[self.at % len(self.requests)])
        self.at += 1

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.took.append(time.perf_counter() - self._began)
        status = head[9:12]
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self._data = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(
    host: str, port: int, requests: list[bytes], connections: int, seconds: float
) -> dict[str, Any]:
    """Figures of one run: searches a second, and percentiles in milliseconds."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = [
        (
            await loop.create_connection(
                lambda at=at: _Connection(requests, began + seconds, at * 7),  # type: ignore[misc]
                host,
                port,
            )
        )[1]
        for at in range(connections)
    ]
    await asyncio.gather(*(one.done for one in made))
    took = np.array([each for one in made for each in one.took]) * 1000
    statuses: dict[str, int] = {}
    for one in made:
        for status, count in one.statuses.items():
            statuses[status.decode()] = statuses.get(status.decode(), 0) + count
    return {
        "connections": connections,
        "requests": len(took),
        "qps": round(len(took) / (time.perf_counter() - began), 1),
        **{f"p{p}_ms": round(float(np.percentile(took, p)), 3) for p in (50, 95, 99, 99.9)},
        "max_ms": round(float(took.max()), 3),
        "statuses": statuses,
    }


def request(host: str, path: str, body: bytes, kind: str, key: str = "") -> bytes:
    """One POST as it stands on the wire."""
    head = [f"POST {path} HTTP/1.1", f"host: {host}", f"content-type: {kind}"]
    head += [f"content-length: {len(body)}"]
    head += [f"api-key: {key}"] if key else []
    return "\r\n".join([*head, "", ""]).encode() + body


def bodies(vectors: Floats, encoding: str, k: int, batch: int) -> list[tuple[bytes, str]]:
    """Search bodies with these vectors, ``batch`` of them in each."""
    made = []
    for at in range(0, len(vectors) - batch + 1, batch):
        some = vectors[at : at + batch]
        if encoding == "raw":
            made.append((some.tobytes(), "application/octet-stream"))
            continue
        packed = {"base64": b64encode(some.tobytes()).decode()}
        asked: dict[str, Any] = {"k": k}
        if batch == 1:
            asked["vector"] = packed if encoding == "base64" else some[0].tolist()
        else:
            asked["vectors"] = packed if encoding == "base64" else some.tolist()
        made.append((json.dumps(asked).encode(), "application/json"))
    return made


def fill(url: str, index: str, vectors: Floats, key: str) -> None:
    """Make the index anew with these vectors."""

    def ask(method: str, path: str, body: object) -> None:
        headers = {"content-type": "application/json"} | ({"api-key": key} if key else {})
        asked = Request(url + path, json.dumps(body).encode(), headers, method=method)
        with urlopen(asked) as answer:  # our own service on loopback
            answer.read()

    path = f"/v1/vectors/index/{quote(index, safe='')}"
    ask("PUT", path, {"dimension": vectors.shape[1]})
    for at in range(0, len(vectors), 1_000):
        items = [
            {"id": f"item-{at + row}", "vector": {"base64": b64encode(vector.tobytes()).decode()}}
            for row, vector in enumerate(vectors[at : at + 1_000])
        ]
        ask("POST", f"{path}/add", {"items": items})


def main(arguments: list[str]) -> int:
    """Print one JSON line a number of connections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:7700")
    parser.add_argument("--index", default="load")
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--fill", type=int, default=0, help="make the index with so many items")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--encoding", choices=("json", "base64", "raw"), default="json")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--key", default="")
    asked = parser.parse_args(arguments)
    rng = np.random.default_rng(7)
    if asked.fill:
        items = rng.standard_normal((asked.fill, asked.dimension)).astype(np.float32)
        fill(asked.url, asked.index, items, asked.key)
    queries = rng.standard_normal((_BODIES * asked.batch, asked.dimension)).astype(np.float32)
    where = urlsplit(asked.url)
    path = f"/v1/vectors/index/{quote(asked.index, safe='')}/search"
    path += f"?k={asked.k}" if asked.encoding == "raw" else ""
    made = [
        request(where.netloc, path, body, kind, asked.key)
        for body, kind in bodies(queries, asked.encoding, asked.k, asked.batch)
    ]
    host, port = where.hostname or "127.0.0.1", where.port or 80
    for connections in asked.connections:
        with asyncio.Runner(loop_factory=_loop()) as runner:
            found = runner.run(load(host, port, made, connections, asked.seconds))
        print(json.dumps({"encoding": asked.encoding, "batch": asked.batch} | found), flush=True)
    return 0


def _loop() -> Any:
    """The faster event loop, where it is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
