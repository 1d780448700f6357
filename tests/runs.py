"""Lakes for the tests that look at whole runs: small ones, what is in them, and stores that
watch or fail. Everything is counted from files alone, never from what the program says."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from stillhouse.demo import write_demo_lake
from stillhouse.engines import InlineEngine
from stillhouse.exports import ExportOptions
from stillhouse.interfaces import Engine, Entry, Sink, Store, TailCheck
from stillhouse.pipeline import RunReport, run_lake
from stillhouse.storage import LocalStore

FIRST = "2026-04-01T08:00:00Z"
SECOND = "2026-04-02T08:00:00Z"
THIRD = "2026-04-03T08:00:00Z"

DERIVED = ("evidence", "scored-runs", "distilled", "quarantine")


# ------------------------------------------------------------------------------ making


def row(number: int, **fields: Any) -> bytes:
    """A good raw row of any source, one a number, without a line end."""
    day = 1 + number % 3
    body = {
        "timestamp": f"2026-02-{day:02d}T10:{number // 60 % 60:02d}:{number % 60:02d}Z",
        "file": f"src/module_{number}.py",
        "accepted_on_attempt": 1 + number % 4,
        "review": f"The change to module {number} keeps the contract; the tests cover it.",
        **fields,
    }
    return json.dumps(body).encode()


def rows(first: int, end: int) -> bytes:
    """Good raw rows, each with its line end."""
    return b"".join(row(number) + b"\n" for number in range(first, end))


def put(root: Path, stem: str, data: bytes) -> Path:
    """A raw log with these bytes."""
    path = root / "_kb" / f"{stem}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def add(path: Path, data: bytes) -> None:
    """Append to a raw log, as its writer does."""
    with path.open("ab") as handle:
        handle.write(data)


def demo(root: Path, count: int = 120) -> Path:
    """A small example lake, with all its dirt."""
    write_demo_lake(LocalStore(root, create=True), count)
    return root


def run(
    root: Path | Store,
    recorded_at: str = FIRST,
    *,
    engine: Engine | None = None,
    unit_bytes: int = 8 << 20,
    options: ExportOptions | None = None,
) -> RunReport:
    """The whole job over a lake."""
    store = LocalStore(root) if isinstance(root, Path) else root
    return run_lake(
        store,
        engine or InlineEngine(),
        options or ExportOptions(),
        recorded_at,
        unit_bytes=unit_bytes,
    )


def from_scratch(root: Path, elsewhere: Path, recorded_at: str = FIRST) -> Path:
    """The same raw logs in a new lake, run once."""
    shutil.copytree(root / "_kb", elsewhere / "_kb", symlinks=True)
    run(elsewhere, recorded_at)
    return elsewhere


# ------------------------------------------------------------------------------ looking


def files(root: Path, *folders: str) -> dict[str, bytes]:
    """The bytes of every visible file below these folders (default: all that is derived)."""
    found = {}
    for folder in folders or DERIVED:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file():
                found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


def visible(root: Path) -> dict[str, bytes]:
    """What a run made: derived files, index and receipts; not the state, which knows inodes."""
    return files(root, *DERIVED, "receipts", ".stillhouse/index")


def stamps(root: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of change of every file of a lake, but for the lock."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name != "lock":
            status = path.stat()
            found[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def lines(root: Path, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of every file below a folder, with its file; each must be a whole JSON object."""
    for path in sorted((root / folder).rglob("*.jsonl")):
        data = path.read_bytes()
        assert not data or data.endswith(b"\n"), f"{path} ends within a line"
        for line in data.splitlines():
            loaded = json.loads(line)
            assert isinstance(loaded, dict), path
            yield path.relative_to(root).as_posix(), loaded


def refused(root: Path) -> Counter[str]:
    """Rows that the evidence stage refused, by reason."""
    found: Counter[str] = Counter()
    for _, line in lines(root, "quarantine"):
        if line["stage"] == "evidence":
            found[line["reason"]] += 1
    return found


def raw_lines(path: Path) -> list[tuple[int, bytes]]:
    """Number and bytes of every raw line that is not blank, without its line end."""
    found = []
    for number, line in enumerate(path.read_bytes().split(b"\n")):
        line = line.removesuffix(b"\r")
        if line and not line.isspace():
            found.append((number, line))
    return found


def check_accounted(root: Path) -> int:
    """SPEC L1 and L3 from files alone: every raw row is evidence or refused, exactly once,
    under its own number and hash. Returns the number of raw rows."""
    wanted: Counter[tuple[str, int, str]] = Counter()
    for path in sorted((root / "_kb").glob("*.jsonl")):
        if path.is_file():
            for number, line in raw_lines(path):
                wanted[f"_kb/{path.name}", number, hashlib.sha256(line).hexdigest()] += 1
    found: Counter[tuple[str, int, str]] = Counter()
    scored: Counter[str] = Counter(line["sig_hash"] for _, line in lines(root, "scored-runs"))
    for path in sorted((root / "evidence").rglob("*.jsonl")):
        for evidence in path.read_bytes().splitlines():
            origin = json.loads(evidence)["provenance"]
            found[origin["source_file"], origin["line_offset"], origin["sig_hash"]] += 1
            assert scored.pop(hashlib.sha256(evidence).hexdigest(), 0) == 1, "not scored once"
    assert not scored, "scored runs without evidence"
    for _, row in lines(root, "quarantine"):
        if row["stage"] == "evidence":
            found[row["source_file"], row["line_offset"], row["sig_hash"]] += 1
    assert found == wanted
    return wanted.total()


def check_clean(root: Path) -> None:
    """Nothing half-written is visible, and nothing unfinished lies about."""
    for folder in DERIVED:
        for _ in lines(root, folder):
            pass
    for path in root.rglob("*"):
        assert not path.name.startswith(".stillhouse-"), f"{path} was left behind"
    assert not (root / ".stillhouse" / "staging").exists(), "staging was left behind"


# ----------------------------------------------------------------------- watching stores


class WatchedStore:
    """A store that passes everything on and can be told what to do before and after."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        return self.inner.url

    def seen(self, action: str, path: str, size: int = 0) -> None:
        """Called before each operation; writes come once a piece."""

    def list(self, prefix: str) -> Iterator[Entry]:
        return self.inner.list(prefix)

    def stat(self, path: str) -> Entry | None:
        return self.inner.stat(path)

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        data = self.inner.read(path, start, end)
        self.seen("read", path, len(data))
        return data

    def open(self, path: str, **options: Any) -> BinaryIO:
        self.seen("open", path)
        return self.inner.open(path, **options)

    @contextmanager
    def writer(self, path: str, *, durable: bool = True) -> Iterator[Sink]:
        self.seen("begin", path)
        with self.inner.writer(path, durable=durable) as sink:
            yield _WatchedSink(self, sink, path)
            self.seen("end", path)

    def create(self, path: str, data: bytes) -> bool:
        self.seen("create", path, len(data))
        return self.inner.create(path, data)

    def append_line(self, path: str, line: bytes, check_tail: TailCheck) -> None:
        self.seen("append", path, len(line))
        self.inner.append_line(path, line, check_tail)

    def snapshot(self, path: str) -> tuple[Entry, bytes] | None:
        return self.inner.snapshot(path)

    def truncate(self, path: str, size: int, seen: Entry) -> bool:
        self.seen("truncate", path, size)
        return self.inner.truncate(path, size, seen)

    def persist(self, paths: Sequence[str]) -> None:
        self.seen("persist", "", len(paths))
        self.inner.persist(paths)

    def publish(self, staged: str, target: str, *, durable: bool = True) -> None:
        self.seen("publish", target)
        self.inner.publish(staged, target, durable=durable)

    def delete(self, path: str) -> None:
        self.seen("delete", path)
        self.inner.delete(path)

    def lock(self, holder: str) -> AbstractContextManager[None]:
        return self.inner.lock(holder)

    def local_path(self, path: str) -> Path | None:
        return self.inner.local_path(path)

    def check_readable(self) -> None:
        self.inner.check_readable()


class _WatchedSink:
    def __init__(self, store: WatchedStore, sink: Sink, path: str) -> None:
        self._store, self._sink, self._path = store, sink, path

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        # In two halves, so that something can happen in the middle of a write.
        middle = len(data) // 2
        self._sink.write(data[:middle])
        self._store.seen("write", self._path, len(data))
        self._sink.write(data[middle:])


class CountingStore(WatchedStore):
    """Counts operations and bytes by action and the path's first folder."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.bytes: Counter[tuple[str, str]] = Counter()
        self.calls: Counter[tuple[str, str]] = Counter()
        self.paths: dict[str, set[str]] = {}

    def seen(self, action: str, path: str, size: int = 0) -> None:
        self.bytes[action, path.split("/")[0]] += size
        self.calls[action, path.split("/")[0]] += 1
        self.paths.setdefault(action, set()).add(path)


def environment() -> dict[str, str]:
    """What a program that is started by a test sees."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src"), "NO_COLOR": "1"}


# ----------------------------------------------------------------------------- commands


class Told(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """All that was said, in one line."""
        return " ".join(self.err.split())


Command = Callable[..., Told]
"""The program with the words of a command: the fixture `stillhouse`."""
