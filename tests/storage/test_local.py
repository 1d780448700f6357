"""What only a folder on a disk can do to us: links, modes, full disks, kills."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from stillhouse.errors import LakeError, LakeLockedError, StillhouseError, StorageError
from stillhouse.interfaces import Store
from stillhouse.storage import LocalStore
from stillhouse.storage.paths import disk_error

Put = Callable[[Store, str, bytes], None]

NOBODY = 65534


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """An empty lake's folder."""
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def paths(store: Store, prefix: str = "") -> list[str]:
    return [entry.path for entry in store.list(prefix)]


def leftovers(folder: Path) -> list[Path]:
    return sorted(folder.rglob(".stillhouse-*"))


def in_child(work: Callable[[], object]) -> str:
    """Run in a forked child that may give away its rights; what a StillhouseError said there,
    or nothing when all went well."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns of a fork beside threads; this child only calls the system and ends.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 70
        with suppress(BaseException):
            try:
                work()
            except StillhouseError as error:
                os.write(writing, str(error).encode())
            code = 0
        os._exit(code)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child broke"
    return said


def as_nobody(folder: Path, work: Callable[[], object]) -> str:
    """The same without root's rights: for root, modes would not bite."""
    if os.geteuid() != 0:
        return in_child(work)
    for parent in folder.parents:
        if Path(tempfile.gettempdir()) not in parent.parents:
            break
        parent.chmod(parent.stat().st_mode | stat.S_IXOTH)

    def without_rights() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        work()

    return in_child(without_rights)


# --------------------------------------------------------------------------------- the lake


def test_a_lake_that_is_missing_says_how_to_get_one(tmp_path: Path) -> None:
    """A missing root, and a file in its place, are each one line with a way out."""
    with pytest.raises(LakeError, match=r"no such lake.*stillhouse demo"):
        LocalStore(tmp_path / "none").check_readable()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LakeError, match="is a file"):
        LocalStore(tmp_path / "file").check_readable()
    assert paths(LocalStore(tmp_path / "none")) == []


def test_a_lake_that_may_not_be_read_says_so(lake: Path) -> None:
    """Modes that bite give one clear line, for the lake, a folder in it and a file."""
    store = LocalStore(lake)
    (lake / "shut").mkdir()
    (lake / "file").write_bytes(b"secret")
    (lake / "file").chmod(0)
    (lake / "shut").chmod(0)
    lake.chmod(0o755)
    assert "permission denied" in as_nobody(lake, lambda: store.read("file"))
    assert "permission denied" in as_nobody(lake, lambda: store.open("file").close())
    assert "permission denied" in as_nobody(lake, lambda: list(store.list("")))
    lake.chmod(0)
    assert "may not be read" in as_nobody(lake, store.check_readable)
    lake.chmod(0o755)
    (lake / "shut").chmod(0o755)


def test_a_read_only_lake_says_so(lake: Path, put: Put) -> None:
    """Writing, creating, publishing, deleting and locking are refused in one line each."""
    store = LocalStore(lake)
    put(store, "x", b"1")
    lake.chmod(0o555)
    for work in (
        lambda: put(store, "y", b"2"),
        lambda: put(store, "new/y", b"2"),
        lambda: store.create("y", b"2"),
        lambda: store.publish("x", "z"),
        lambda: store.delete("x"),
        lambda: store.lock("me").__enter__(),
    ):
        said = as_nobody(lake, work)
        assert "permission denied" in said
        assert "\n" not in said
    lake.chmod(0o755)
    assert paths(store) == ["x"]


# ------------------------------------------------------------------------------------ links


def test_links_are_followed_only_to_files_within_the_lake(lake: Path, tmp_path: Path) -> None:
    """A link to a file inside is that file; out of the lake, broken, or in a circle, nothing."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_bytes(b"secret")
    (lake / "real").mkdir()
    (lake / "real" / "x").write_bytes(b"inside")
    (lake / "inside").symlink_to("real/x")
    (lake / "outside").symlink_to(tmp_path / "secret")
    (lake / "climbs").symlink_to("../secret")
    (lake / "broken").symlink_to("nowhere")
    (lake / "circle").symlink_to("circle")
    (lake / "folder-in").symlink_to("real")
    (lake / "folder-out").symlink_to(tmp_path / "folder")
    store = LocalStore(lake)
    assert paths(store) == ["inside", "real/x"]
    assert store.read("inside") == b"inside"
    for name in ("outside", "climbs", "broken", "circle"):
        assert store.stat(name) is None
        for read in (store.read, store.open):
            with pytest.raises(StorageError, match="link"):
                read(name)
    for attempt in (
        lambda: store.read("folder-out/x"),
        lambda: store.stat("folder-out/x"),
        lambda: store.delete("folder-out/x"),
        lambda: list(store.list("folder-out")),
        lambda: store.writer("folder-out/y").__enter__(),
    ):
        with pytest.raises(StorageError, match="leaves the lake through a symbolic link"):
            attempt()
    assert (tmp_path / "folder" / "x").exists()
    assert paths(store, "folder-in") == ["folder-in/x"]


def test_writing_over_a_link_replaces_the_link(lake: Path, tmp_path: Path, put: Put) -> None:
    """What the link pointed at outside the lake stays as it was."""
    (tmp_path / "outside").write_bytes(b"mine")
    (lake / "x").symlink_to(tmp_path / "outside")
    put(LocalStore(lake), "x", b"new")
    assert (tmp_path / "outside").read_bytes() == b"mine"
    assert not (lake / "x").is_symlink()


def test_the_lake_itself_may_be_a_link(lake: Path, tmp_path: Path, put: Put) -> None:
    """The root is where the user says, link or not."""
    (tmp_path / "alias").symlink_to(lake)
    store = LocalStore(tmp_path / "alias")
    put(store, "a/x", b"1")
    assert paths(store) == ["a/x"]
    assert store.read("a/x") == b"1"


def test_what_is_not_a_regular_file_is_left_out(lake: Path) -> None:
    """A folder named like a log, a pipe and a socket are neither listed nor waited for."""
    (lake / "x.jsonl").mkdir()
    os.mkfifo(lake / "pipe.jsonl")
    (lake / "real.jsonl").write_bytes(b"1")
    (lake / b"bad-\xff.jsonl".decode("utf-8", "surrogateescape")).write_bytes(b"1")
    (lake / "back\\slash.jsonl").write_bytes(b"1")
    store = LocalStore(lake)
    assert paths(store) == ["real.jsonl"]
    assert store.stat("x.jsonl") is None
    assert store.stat("pipe.jsonl") is None
    for name in ("x.jsonl", "pipe.jsonl"):
        with pytest.raises(StorageError, match="not a regular file"):
            store.read(name)
        with pytest.raises(StorageError, match="not a regular file"):
            store.open(name)


# ------------------------------------------------------------------------------ fingerprints


def test_an_edit_changes_the_fingerprint_and_persisting_does_not(lake: Path, put: Put) -> None:
    """A file keeps its fingerprint from when it was published; a changed time is another, and so
    is a changed byte whose size and time were put back."""
    store = LocalStore(lake)
    put(store, "staged/x", b"one")
    store.publish("staged/x", "x")
    published = store.stat("x")
    store.persist(["x"])
    assert store.stat("x") == published
    assert published is not None
    status = (lake / "x").stat()
    time.sleep(0.02)  # a file system's clock may tick that slowly
    for moment in (status.st_mtime_ns + 1, status.st_mtime_ns):
        with (lake / "x").open("r+b") as handle:
            handle.write(b"two")
        os.utime(lake / "x", ns=(status.st_atime_ns, moment))
        edited = store.stat("x")
        assert edited is not None
        assert edited.fingerprint != published.fingerprint


# ----------------------------------------------------------------------------- full and odd


@contextmanager
def limit(kind: int, value: int) -> Iterator[None]:
    """A resource limit of this process for a while."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def put_in_pieces(store: Store, path: str) -> None:
    with store.writer(path) as sink:
        for _ in range(100_000):
            sink.write(b"0123456789")


def test_a_file_that_cannot_grow_leaves_nothing(lake: Path, put: Put) -> None:
    """When the system refuses the bytes, the old file stays and no temporary does."""
    store = LocalStore(lake)
    put(store, "x", b"before")
    # Python ignores the signal that comes with it, so the write fails with EFBIG.
    with limit(resource.RLIMIT_FSIZE, 64_000):
        with pytest.raises(StorageError, match=r"x: cannot write: the file is larger"):
            put(store, "x", b"y" * 1_000_000)
        with pytest.raises(StorageError, match="cannot write"):
            put_in_pieces(store, "x")
        with pytest.raises(StorageError, match="cannot write"):
            store.create("z", b"y" * 1_000_000)
    assert store.read("x") == b"before"
    assert paths(store) == ["x"]
    assert leftovers(lake) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, put: Put) -> None:
    """On a file system of 256 kB, what does not fit is refused, and then there is room again."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not allowed here: {mounted.stderr.decode().strip()}")
    try:
        store = LocalStore(small)
        put(store, "x", b"before")
        with pytest.raises(StorageError, match=r"the disk is full.*Free some space"):
            put(store, "x", b"y" * 1_000_000)
        assert store.read("x") == b"before"
        assert leftovers(small) == []
        put(store, "x", b"z" * 100_000)
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        attempts: list[Callable[[], object]] = [
            lambda: put(store, "y", b"1"),
            lambda: store.lock("me").__enter__(),
        ]
        for work in attempts:
            with pytest.raises(StorageError, match="read-only"):
                work()
        assert store.read("x") == b"z" * 100_000
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_too_many_open_files_is_one_line(lake: Path, put: Put) -> None:
    """The limit is named, not a missing file."""
    store = LocalStore(lake)
    put(store, "x", b"1")
    with limit(resource.RLIMIT_NOFILE, 256), all_handles_taken():
        for work in (
            lambda: store.read("x"),
            lambda: put(store, "y", b"1"),
            lambda: list(store.list("")),
        ):
            with pytest.raises(StorageError, match=r"too many files are open.*ulimit -n"):
                work()


@contextmanager
def all_handles_taken() -> Iterator[None]:
    """No file can be opened for a while."""
    taken = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for handle in taken:
            os.close(handle)


def test_names_that_the_file_system_refuses(lake: Path, put: Put) -> None:
    """Too long is said; the longest that fits can be written; a folder is in the way."""
    store = LocalStore(lake)
    put(store, "n" * 255, b"1")
    assert store.read("n" * 255) == b"1"
    with pytest.raises(StorageError, match="too long"):
        put(store, "n" * 256, b"1")
    with pytest.raises(StorageError, match="too long"):
        store.read("n" * 256)
    put(store, "folder/x", b"1")
    with pytest.raises(StorageError, match="is a folder"):
        put(store, "folder", b"1")
    with pytest.raises(StorageError, match=r"is a folder|not permit"):
        store.delete("folder")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        put(store, "folder/x/y", b"1")
    assert leftovers(lake) == []


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EXDEV, errno.EIO, errno.ESTALE, errno.EBUSY],
)
def test_every_refusal_is_one_line_with_a_way_out(number: int) -> None:
    """What, where and what to do, for numbers that a test machine does not produce too."""
    error = disk_error(OSError(number, os.strerror(number)), "write", "lake/x")
    assert str(error).startswith("lake/x: cannot write: ")
    assert error.way_out
    assert "Errno" not in str(error)


# ------------------------------------------------------------------------------------ locks

HOLDER = """
import sys, time
from stillhouse.storage import LocalStore
with LocalStore(sys.argv[1]).lock("a test"):
    print("held", flush=True)
    time.sleep(60)
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.crash
def test_a_killed_holder_lets_go_at_once(lake: Path) -> None:
    """The second is told process, machine and time; after kill -9 it gets the lake at once."""
    store = LocalStore(lake)
    with start(HOLDER, str(lake)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LakeLockedError, match=rf"a test \(process {holder.pid} on .*since 20"):
            store.lock("me").__enter__()
        assert paths(store) == [".stillhouse/lock"]
        holder.kill()
        holder.wait()
        with store.lock("me"):
            assert "me (process" in (lake / ".stillhouse" / "lock").read_text()


# ------------------------------------------------------------------------------------ kills

WRITER = """
import json, sys
from stillhouse.storage import LocalStore
store = LocalStore(sys.argv[1])
print("go", flush=True)
number = 0
while True:
    number += 1
    line = json.dumps({"n": number}).encode() + b"\\n"
    with store.writer(f"evidence/2026/01/{number % 7:02d}/x.jsonl") as sink:
        for _ in range(3000):
            sink.write(line)
    with store.writer("staging/x") as sink:
        sink.write(line * 3000)
    store.publish("staging/x", "published")
    store.delete("created")
    store.create("created", line * 3000)
"""


@pytest.mark.crash
def test_a_killed_writer_leaves_no_half_file(lake: Path) -> None:
    """At whatever moment kill -9 comes, every visible file is whole; the next writer sweeps."""
    rng = random.Random(20260131)
    store = LocalStore(lake)
    seen = 0
    for _ in range(12):
        with start(WRITER, str(lake)) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(rng.uniform(0.001, 0.06))
            writer.send_signal(signal.SIGKILL)
        for entry in store.list(""):
            if entry.path == ".stillhouse/lock":
                continue
            lines = store.read(entry.path).splitlines(keepends=True)
            assert len(lines) == 3000
            assert len({json.loads(line)["n"] for line in lines}) == 1
            seen += 1
    assert seen > 20
    (lake / ".stillhouse-1-dead.tmp").write_bytes(b"half")
    with store.writer("alive") as sink, store.lock("me"):
        sink.write(b"1")
        assert len(leftovers(lake)) == 1, "only the living writer's temporary file stays"
    assert leftovers(lake) == []
    assert store.read("alive") == b"1"


def test_listing_is_fast(lake: Path) -> None:
    """The files of a million-row lake (about a thousand) are listed within 50 ms."""
    for day in range(120):
        folder = lake / f"evidence/2026/{day // 28 + 1:02d}/{day % 28 + 1:02d}"
        folder.mkdir(parents=True)
        for stem in range(8):
            (folder / f"s{stem}.jsonl").write_bytes(b"x")
    store = LocalStore(lake)
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        assert sum(1 for _ in store.list("evidence")) == 960
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.05


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_cannot_be_made() -> None:
    """Where the file system makes no folders, the error is one line and comes at once."""
    with pytest.raises(StorageError, match="cannot make the folder"):
        LocalStore("/proc/nothing/here", create=True)
