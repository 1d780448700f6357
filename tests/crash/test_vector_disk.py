"""A disk that is full, fails, or gives back something else than was written to it."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import VectorDamagedError
from stillhouse.vectors.local import LocalBackend
from stillhouse.vectors.memory import MemoryBackend
from tests.crash.vector_life import State, apply, state_of
from tests.runs import environment

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(sys.platform != "linux", reason="the shim reads /proc"),
]

_HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim, compiled."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to build the shim of the disk with")
    made = tmp_path_factory.mktemp("shim") / "shim.so"
    source = _HERE / "disk_shim.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    return made


class Process:
    """A store in a process of its own, with a disk that can be made to fail."""

    def __init__(self, tmp_path: Path, shim: Path | None, **extra: str) -> None:
        self.log, self._fault = tmp_path / "disk.log", tmp_path / "fault"
        self.log.touch()
        folder = tmp_path / "data"
        disk = {
            "DISK_FOLDER": str(folder),
            "DISK_LOG": str(self.log),
            "DISK_FAULT": str(self._fault),
        }
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from tests.crash.vector_disk import main; main()",
                folder,
                self.log,
            ],
            cwd=_HERE.parents[1],
            env={
                **environment(),
                **disk,
                **extra,
                **({} if shim is None else {"LD_PRELOAD": str(shim)}),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready\n"

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()

    def do(self, *operation: Any) -> Any:
        """One operation, and what came of it."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(operation) + "\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def fail(self, what: str, name: str, error: int) -> None:
        """From now on these calls fail."""
        self._fault.with_suffix(".new").write_text(f"{what} {name} {error}")
        self._fault.with_suffix(".new").rename(self._fault)

    def work(self) -> None:
        """From now on all calls work again."""
        self._fault.unlink()

    def end(self, *, kill: bool = False) -> None:
        """Close the store, or kill its process."""
        assert self._process.stdin
        assert self._process.stdout
        if kill:
            self._process.send_signal(signal.SIGKILL)
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(30) == (-signal.SIGKILL if kill else 0)


@contextmanager
def process(tmp_path: Path, shim: Path | None, **extra: str) -> Iterator[Process]:
    """A process with an index and three items, that ends with the context."""
    running = Process(tmp_path, shim, **extra)
    try:
        assert running.do("create", "docs") == ["done", True]
        assert running.do("add", "docs", items(3))[0] == "done"
        yield running
    finally:
        running.end()


def items(count: int, version: int = 0, start: int = 0) -> list[list[Any]]:
    """Some items, in a version."""
    return [[f"id-{at:05d}", version] for at in range(start, start + count)]


def left(folder: Path) -> list[str]:
    """The ids that are there after opening again."""
    backend = LocalBackend(folder)
    try:
        return backend.ids("docs")
    finally:
        backend.close()


def test_nothing_is_acknowledged_before_it_is_synced(tmp_path: Path, shim: Path) -> None:
    """Each write goes to the log, which is synced, then to the mark, which is synced, and only
    then somebody is told."""
    with process(tmp_path, shim) as running:
        running.log.write_text("")
        assert running.do("add", "docs", items(5, start=10))[0] == "done"
        assert running.do("delete", "docs", ["id-00010"]) == ["done", [True]]
        lines = [line for line in running.log.read_text().splitlines() if not line.endswith("-shm")]
    for said in ("told add", "told delete"):
        end = lines.index(said)
        done, lines = lines[:end], lines[end + 1 :]
        assert set(done) == {
            "write truth.db-wal",
            "sync truth.db-wal",
            "write acked",
            "sync acked",
        }
        last = {line: at for at, line in enumerate(done)}
        first = {line: at for at, line in reversed(list(enumerate(done)))}
        assert last["write truth.db-wal"] < last["sync truth.db-wal"] < first["write acked"]
        assert last["write acked"] < last["sync acked"]


def test_what_changes_nothing_is_not_written(tmp_path: Path, shim: Path) -> None:
    """Items that are there as they are, and a delete of nothing, cost no write and no sync."""
    with process(tmp_path, shim) as running:
        running.log.write_text("")
        assert running.do("add", "docs", items(3)) == ["done", ["unchanged"] * 3]
        assert running.do("delete", "docs", ["nobody"]) == ["done", [False]]
        lines = [line for line in running.log.read_text().splitlines() if "-shm" not in line]
    assert lines == ["told add", "told delete"]


@pytest.mark.parametrize("name", ["truth.db-wal", "acked"])
def test_a_failing_sync_ends_acknowledging(tmp_path: Path, shim: Path, name: str) -> None:
    """A sync that fails is an error for its caller and for everyone after, also when the disk
    works again; reading goes on, and opening again is a new start with all that was promised."""
    with process(tmp_path, shim) as running:
        running.fail("sync", name, errno.EIO)
        assert running.do("add", "docs", items(1, start=50)) == ["refused", "storage_failed"]
        running.work()
        assert running.do("add", "docs", items(1, start=60)) == ["refused", "storage_failed"]
        writable, reason = running.do("health")
        assert not writable
        assert "fails" in reason
        assert set(running.do("ids", "docs")) >= {"id-00000", "id-00001", "id-00002"}
    found = left(tmp_path / "data")
    assert set(found) - {"id-00050"} == {"id-00000", "id-00001", "id-00002"}


def test_a_failing_sync_of_the_database_ends_acknowledging(tmp_path: Path, shim: Path) -> None:
    """The same when the log cannot be folded into the database, which is done after a write was
    acknowledged: that write stays."""
    with process(tmp_path, shim, FOLD_BYTES="400000") as running:
        running.fail("sync", "truth.db", errno.EIO)
        assert running.do("add", "docs", items(5_000, start=3))[0] == "done"
        assert running.do("delete", "docs", ["id-00000"]) == ["refused", "storage_failed"]
        running.work()
    assert left(tmp_path / "data") == [id_ for id_, _ in items(5_003)]


def test_a_full_disk_refuses_and_goes_on(tmp_path: Path, shim: Path) -> None:
    """A write that finds no room is refused whole with code disk_full, and when there is room
    again the next one is taken."""
    with process(tmp_path, shim) as running:
        running.fail("write", "truth.db-wal", errno.ENOSPC)
        assert running.do("add", "docs", items(500, start=50)) == ["refused", "disk_full"]
        assert running.do("health")[0]
        assert running.do("delete", "docs", ["id-00000"]) == ["refused", "disk_full"]
        running.work()
        assert running.do("delete", "docs", ["id-00000"]) == ["done", [True]]
    assert left(tmp_path / "data") == ["id-00001", "id-00002"]


def test_no_room_for_the_mark_ends_acknowledging(tmp_path: Path, shim: Path) -> None:
    """What is committed and cannot be marked is not acknowledged, and nothing after it."""
    with process(tmp_path, shim) as running:
        running.fail("write", "acked", errno.ENOSPC)
        assert running.do("delete", "docs", ["id-00000"]) == ["refused", "storage_failed"]
        running.work()
        assert running.do("delete", "docs", ["id-00001"]) == ["refused", "storage_failed"]
    assert set(left(tmp_path / "data")) - {"id-00000"} == {"id-00001", "id-00002"}


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """A limit of file sizes, in the middle of a large batch: nothing of it is kept."""
    with process(tmp_path, None) as running:
        running.do("limit", 200_000)
        told, code = running.do("add", "docs", items(9_000, start=50))
        assert (told, code) in (("refused", "storage_failed"), ("refused", "disk_full"))
        assert len(running.do("ids", "docs")) == 3
        running.do("limit", -1)
    assert left(tmp_path / "data") == ["id-00000", "id-00001", "id-00002"]


# --------------------------------------------------------------- what comes back otherwise


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], State]:
    """A folder that was closed, one whose process was killed, and what both hold."""
    made, model = [], MemoryBackend()
    for kill in (False, True):
        tmp_path = tmp_path_factory.mktemp("killed" if kill else "closed")
        running = Process(tmp_path, None)
        for operation in _STORY:
            running.do(*operation)
        running.end(kill=kill)
        made.append(tmp_path / "data")
    for operation in _STORY:
        apply(model, operation)
    return made, state_of(model)


_STORY: list[list[Any]] = [
    ["create", "docs"],
    ["add", "docs", items(150)],
    ["add", "docs", items(20, version=1, start=40)],
    ["delete", "docs", [id_ for id_, _ in items(30, start=80)]],
    ["create", "fresh"],
    ["add", "fresh", items(40, start=140)],
    ["merge", "fresh", "docs", True, "replace"],
    ["add", "fresh", items(3, version=3)],
]


def opened(folder: Path) -> State | None:
    """What a folder holds; None when it is refused as damaged."""
    try:
        backend = LocalBackend(folder)
    except VectorDamagedError:
        return None
    try:
        return state_of(backend)
    finally:
        backend.close()


def damage(folder: Path, chance: random.Random) -> str:
    """Flip a bit of some file, or cut it; what was done."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    path = chance.choice(paths)
    data = bytearray(path.read_bytes())
    # Half of them where headers and the newest writes are.
    at = chance.choice([chance.randrange(len(data)), chance.randrange(min(len(data), 400))])
    if chance.random() < 0.2:
        del data[at:]
    else:
        data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return f"{path.name} at {at}, {len(data)} bytes left"


def trial(folders: tuple[list[Path], State], tmp_path: Path, seed: int) -> bool:
    """Damage one folder; whether it was refused. Otherwise all must be there as it was."""
    made, state = folders
    chance = random.Random(seed)
    folder = tmp_path / f"data-{seed}"
    shutil.copytree(chance.choice(made), folder)
    what = damage(folder, chance)
    before = contents(folder)
    found = opened(folder)
    assert found in (None, state), what
    if found is None:
        assert contents(folder) == before, f"{what}: what was refused was changed"
    shutil.rmtree(folder)
    return found is None


def contents(folder: Path) -> dict[str, bytes]:
    """What can be found out from a damaged folder; the shared memory is made by whoever looks."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.stat().st_size and path.name not in ("lock", "truth.db-shm")
    }


def test_damage_is_found_or_harmless(folders: tuple[list[Path], State], tmp_path: Path) -> None:
    """A flipped bit or a lost end of any file: opening refuses it and leaves it as it is, or
    everything is there (free pages, an older mark, the lock, files that are made anew)."""
    refused = sum(trial(folders, tmp_path, seed) for seed in range(120))
    assert refused > 10


@pytest.mark.soak
def test_damage_is_found_or_harmless_often(
    folders: tuple[list[Path], State], tmp_path: Path
) -> None:
    """The same with three thousand."""
    assert sum(trial(folders, tmp_path, seed) for seed in range(1_000, 4_000)) > 300


def test_a_lost_log_is_found(folders: tuple[list[Path], State], tmp_path: Path) -> None:
    """The log of a killed process holds acknowledged writes: cut anywhere it matters, or gone,
    SQLite sees an older, whole database. The mark tells."""
    made, _ = folders
    for cut in (0, 32, 20_000, None):
        folder = tmp_path / f"cut-{cut}"
        shutil.copytree(made[1], folder)
        log = folder / "truth.db-wal"
        if cut is None:
            log.unlink()
        else:
            os.truncate(log, cut)
        with pytest.raises(VectorDamagedError, match="acknowledged writes are missing"):
            LocalBackend(folder)
