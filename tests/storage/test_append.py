"""One line added to a file: whole or not at all, whoever else writes, on every store."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest

from stillhouse.errors import StillhouseError, StorageError
from stillhouse.interfaces import Store
from stillhouse.storage import LocalStore
from stillhouse.storage.append import append_line, snapshot

Put = Callable[[Store, str, bytes], None]


class TornError(Exception):
    """What the tests' judge of a tail raises."""


def only_digits(tail: bytes, start: int) -> None:
    """A judge to whom a line is whole when it is a number."""
    if not tail.isdigit():
        raise TornError(tail, start)


def test_lines_are_added_to_a_file_that_is_made_with_its_folder(store: Store) -> None:
    """The first line makes the file, each has its line end, in the order they were added."""
    for number in range(3):
        store.append_line("_kb/deep/x.jsonl", b"%d" % number, only_digits)
    assert store.read("_kb/deep/x.jsonl") == b"0\n1\n2\n"


@pytest.mark.parametrize("old", [b"1", b"0\n1", b"x\n1", b"y" * 200_000 + b"\n12"])
def test_a_whole_line_that_lacks_its_end_gets_it(store: Store, put: Put, old: bytes) -> None:
    """The new line does not become a part of it; what stands before is not judged."""
    put(store, "x", old)
    store.append_line("x", b"2", only_digits)
    assert store.read("x") == old + b"\n2\n"


@pytest.mark.parametrize("tail", [b"1x", b"\0\0", b" ", b"z" * 200_000])
def test_a_torn_line_is_the_callers_to_refuse(store: Store, put: Put, tail: bytes) -> None:
    """The judge sees the whole tail and where it begins; the file stays as it is."""
    put(store, "x", b"1\n2\n" + tail)
    before = store.stat("x")
    with pytest.raises(TornError) as caught:
        store.append_line("x", b"3", only_digits)
    assert caught.value.args == (tail, 4)
    assert store.stat("x") == before


def test_a_file_is_cut_while_it_is_the_one_that_was_seen(store: Store, put: Put) -> None:
    """After any change the answer is False, and nothing is cut."""
    put(store, "x", b"1\n2\nto")
    seen = store.stat("x")
    assert seen is not None
    store.append_line("x", b"3", lambda tail, start: None)
    assert store.truncate("x", 4, seen) is False
    assert store.read("x") == b"1\n2\nto\n3\n"
    now = store.stat("x")
    assert now is not None
    assert store.truncate("x", 4, now) is True
    assert store.read("x") == b"1\n2\n"
    store.append_line("x", b"4", only_digits)
    assert store.read("x") == b"1\n2\n4\n"


def test_a_snapshot_is_the_file_and_its_entry(store: Store, put: Put) -> None:
    """Whole, with the entry that `stat` gives; None where there is no file."""
    assert store.snapshot("x") is None
    assert store.snapshot("no/such/x") is None
    for data in (b"", b"1\n" * 50_000):
        put(store, "x", data)
        assert store.snapshot("x") == (store.stat("x"), data)


@pytest.mark.parametrize("path", ["../x", "/x", "", "a//b"])
def test_paths_that_leave_the_lake_are_refused(store: Store, put: Put, path: str) -> None:
    """Adding and cutting keep to the lake as every method does."""
    put(store, "ok", b"x")
    seen = store.stat("ok")
    assert seen is not None
    with pytest.raises(StorageError):
        store.append_line(path, b"1", only_digits)
    with pytest.raises(StorageError):
        store.truncate(path, 0, seen)
    with pytest.raises(StorageError):
        store.snapshot(path)
    assert [entry.path for entry in store.list("")] == ["ok"]


def append_many(store: Store, writer: int, count: int) -> None:
    for number in range(count):
        store.append_line("_kb/x", b"%d%06d" % (writer, number), only_digits)


def check_all_there(store: Store, writers: int, count: int) -> None:
    """Every line of every writer stands there once, and each writer's in its own order."""
    lines = store.read("_kb/x").splitlines()
    wanted = [b"%d%06d" % (writer, number) for writer in range(writers) for number in range(count)]
    assert Counter(lines) == Counter(wanted)
    for writer in range(writers):
        own = [line for line in lines if line[:1] == b"%d" % writer]
        assert own == sorted(own)


def test_threads_that_add_at_once_lose_nothing(store: Store) -> None:
    """Eight writers of one store; on an object store each but one is told to read again."""
    failed: list[StillhouseError] = []

    def work(writer: int) -> None:
        try:
            append_many(store, writer, 5)
        except StillhouseError as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    lines = store.read("_kb/x").splitlines()
    assert Counter(line[:1] for line in lines) == {b"%d" % writer: 5 for writer in range(1, 9)}
    assert len(set(lines)) == 40


# ---------------------------------------------------------------------------------- a disk


def test_a_reader_waits_for_a_line_that_is_being_added(tmp_path: Path) -> None:
    """A snapshot is taken before a line or after it, not in its middle; readers hold up none."""
    path = tmp_path / "x"
    path.write_bytes(b"1")
    seen: list[bytes] = []

    def read() -> None:
        seen.append(snapshot(str(path))[1])

    def begin(tail: bytes, start: int) -> None:
        # Called under the lock: the line is not written yet.
        reader.start()
        reader.join(0.2)
        assert seen == []

    reader = threading.Thread(target=read)
    append_line(str(path), b"2", begin)
    reader.join()
    assert seen == [b"1\n2\n"]


def test_a_replaced_file_is_not_written_behind_its_back(tmp_path: Path) -> None:
    """A writer that waited for the lock of a file which was replaced adds to the new one."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    other = threading.Thread(target=append_line, args=(str(path), b"2", only_digits))

    def replace(tail: bytes, start: int) -> None:
        # Called under the lock of the old file, for which the other waits by now.
        other.start()
        other.join(0.3)
        (tmp_path / "new").write_bytes(b"new\n")
        os.replace(tmp_path / "new", path)

    append_line(str(path), b"1", replace)
    other.join()
    assert path.read_bytes() == b"new\n2\n"


@pytest.mark.parametrize("room", [0, 1, 5, 99])
def test_a_disk_that_takes_only_a_part_leaves_the_file_as_it_was(tmp_path: Path, room: int) -> None:
    """What was written of the line is taken back, and the error says why and what to do."""
    (tmp_path / "x").write_bytes(b"1\n" * 100)
    store = LocalStore(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores the signal that comes with it, so the write is short and the next fails.
    resource.setrlimit(resource.RLIMIT_FSIZE, (200 + room, before[1]))
    try:
        with pytest.raises(StorageError, match=r"/x: cannot add a line: the file is larger than"):
            store.append_line("x", b"9" * 99, only_digits)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.read("x") == b"1\n" * 100
    store.append_line("x", b"9" * 99, only_digits)
    assert store.read("x") == b"1\n" * 100 + b"9" * 99 + b"\n"


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """On a file system without room for the whole line nothing of it stays."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not allowed here: {mounted.stderr.decode().strip()}")
    try:
        store = LocalStore(small)
        store.append_line("x", b"1" * 40_000, only_digits)
        before = store.read("x")
        with pytest.raises(StorageError, match=r"/x: cannot add a line: the disk is full\. Free"):
            store.append_line("x", b"2" * 40_000, only_digits)
        assert store.read("x") == before
        store.append_line("x", b"3", only_digits)
        assert store.read("x") == before + b"3\n"
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_link_out_of_the_lake_is_not_written_through(tmp_path: Path) -> None:
    """A link to a file elsewhere is refused; one to a file of the lake is followed."""
    lake = LocalStore(tmp_path / "lake", create=True)
    (tmp_path / "other").write_bytes(b"1\n")
    (tmp_path / "lake" / "out").symlink_to(tmp_path / "other")
    (tmp_path / "lake" / "in").symlink_to("x")
    (tmp_path / "lake" / "x").write_bytes(b"1\n")
    with pytest.raises(StorageError, match="symbolic link"):
        lake.append_line("out", b"2", only_digits)
    with pytest.raises(StorageError, match="symbolic link"):
        lake.snapshot("out")
    assert (tmp_path / "other").read_bytes() == b"1\n"
    lake.append_line("in", b"2", only_digits)
    assert lake.read("x") == b"1\n2\n"
    (tmp_path / "lake" / "folder").mkdir()
    with pytest.raises(StorageError, match="not a regular file"):
        lake.append_line("folder", b"2", only_digits)


def test_a_file_that_may_not_be_written_says_so(tmp_path: Path) -> None:
    """What the system refuses is one line with the file's name."""
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(StorageError, match=r"x/y: cannot add a line: a part of the path"):
        LocalStore(tmp_path).append_line("x/y", b"1", only_digits)


# ------------------------------------------------------------------------- an object store


@pytest.mark.s3
def test_a_line_whose_answer_was_lost_is_added_once(
    s3_environment: str, s3_client: Any, new_prefix: str
) -> None:
    """The service took the line and its answer never came: sent again, it is refused, and the
    writer sees that its line is there."""
    from stillhouse.storage.objects import ObjectStore

    class Deaf(ObjectStore):
        """A store whose first put succeeds and is said to have failed."""

        deaf = True

        def _swap(self, path: str, data: bytes, meta: Any) -> bool:
            done = super()._swap(path, data, meta)
            heard, self.deaf = done and not self.deaf, False
            return heard

    store = Deaf(f"s3://lakes/{new_prefix}")
    store.append_line("x", b"1", only_digits)
    assert store.read("x") == b"1\n"
    store.deaf = True
    store.append_line("x", b"2", only_digits)
    store.append_line("x", b"2", only_digits)
    assert store.read("x") == b"1\n2\n2\n"


@pytest.mark.s3
def test_a_version_that_changed_after_it_was_read_is_not_overwritten(
    s3_environment: str, s3_client: Any, new_prefix: str
) -> None:
    """Whoever adds between our reading and our writing keeps its line."""
    from stillhouse.storage.objects import ObjectStore

    store = ObjectStore(f"s3://lakes/{new_prefix}")
    other = ObjectStore(f"s3://lakes/{new_prefix}")
    obstore.put(store._client, "x", b"1")
    calls: list[bytes] = []

    def interfere(tail: bytes, start: int) -> None:
        calls.append(tail)
        if len(calls) == 1:
            other.append_line("x", b"2", only_digits)

    store.append_line("x", b"3", interfere)
    assert store.read("x") == b"1\n2\n3\n"
    assert calls == [b"1"]
